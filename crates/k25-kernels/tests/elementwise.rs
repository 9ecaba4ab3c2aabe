//! Functions of single values and rows: bits equal at every level, errors against f64 as stated.

use k25_kernels::{
    Isa, Pool, add, add_scaled, gelu, gelu_tanh, layer_norm, rms_norm, silu_mul, softmax,
};
use proptest::prelude::*;

fn bits(values: &[f32]) -> Vec<u32> {
    // Zeros of either sign are the same value.
    values.iter().map(|value| (value + 0.0).to_bits()).collect()
}

fn values(count: usize, size: f32) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.0 * size - size)
        .collect()
}

/// Runs `work` at every level and asserts equal bits; returns the result.
fn at_every_level(work: impl Fn(Isa, &Pool) -> Vec<f32>) -> Vec<f32> {
    let expected = work(Isa::Scalar, &Pool::new(1));
    for isa in Isa::supported() {
        for threads in [1, 2] {
            assert_eq!(
                bits(&expected),
                bits(&work(isa, &Pool::new(threads))),
                "{}",
                isa.name()
            );
        }
    }
    expected
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// erf in f64: its series near 0, a continued fraction of the complement beyond.
fn erf(x: f64) -> f64 {
    let root_of_pi = std::f64::consts::PI.sqrt();
    if x.abs() > 3.0 {
        let size = x.abs();
        let fraction = (1..=60)
            .rev()
            .fold(size, |rest, n| size + f64::from(n) / 2.0 / rest);
        return x.signum() * (1.0 - (-size * size).exp() / (root_of_pi * fraction));
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / root_of_pi
}

#[test]
fn silu_mul_is_accurate() {
    let x = values(50_001, 80.0);
    let y = values(50_001, 3.0);
    let found = at_every_level(|isa, pool| {
        let mut found = x.clone();
        silu_mul(pool, isa, &mut found, &y);
        found
    });
    for ((x, y), found) in x.iter().zip(&y).zip(&found) {
        let wanted = f64::from(*x) * sigmoid(f64::from(*x)) * f64::from(*y);
        assert!(
            (wanted - f64::from(*found)).abs() <= 5e-7 * wanted.abs() + 1e-37,
            "{x} {wanted} {found}"
        );
    }
}

#[test]
fn both_gelus_are_accurate() {
    let x = [values(40_001, 6.0), values(2_001, 100.0)].concat();
    let run = |function: fn(&Pool, Isa, &mut [f32])| {
        at_every_level(|isa, pool| {
            let mut found = x.clone();
            function(pool, isa, &mut found);
            found
        })
    };
    for ((x, tanh), exact) in x.iter().zip(run(gelu_tanh)).zip(run(gelu)) {
        let wide = f64::from(*x);
        let u = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044_715 * wide.powi(3));
        let tolerance = 1e-6 * wide.abs().max(1.0);
        assert!(
            (0.5 * wide * (1.0 + u.tanh()) - f64::from(tanh)).abs() <= tolerance,
            "{x} {tanh}"
        );
        let wanted = 0.5 * wide * (1.0 + erf(wide / 2.0_f64.sqrt()));
        assert!(
            (wanted - f64::from(exact)).abs() <= tolerance,
            "{x} {wanted} {exact}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn norms_match_f64(width in 1_usize..300, rows in 1_usize..6, size in 1e-3_f32..1e3) {
        let x = values(width * rows, size);
        let weight = values(width, 1.5);
        let bias = values(width, 0.5);
        let rms = at_every_level(|isa, pool| {
            let mut out = vec![f32::NAN; x.len()];
            rms_norm(pool, isa, &x, &weight, 1e-5, &mut out);
            out
        });
        let layer = at_every_level(|isa, pool| {
            let mut out = vec![f32::NAN; x.len()];
            layer_norm(pool, isa, &x, (&weight, &bias), 1e-5, &mut out);
            out
        });
        for (r, row) in x.chunks(width).enumerate() {
            let count = width as f64;
            let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
            let square = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / count;
            let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
            for (i, x) in row.iter().enumerate() {
                let (x, weight, bias) = (f64::from(*x), f64::from(weight[i]), f64::from(bias[i]));
                let wanted = weight * x / (square + 1e-5).sqrt();
                prop_assert!((wanted - f64::from(rms[r * width + i])).abs() <= 1e-6 * wanted.abs());
                let wanted = weight * (x - mean) / (variance + 1e-5).sqrt() + bias;
                // Subtracting the mean loses up to size·6e-8, which the factor may enlarge.
                let lost = f64::from(size) * 1e-6 / (variance + 1e-5).sqrt();
                prop_assert!((wanted - f64::from(layer[r * width + i])).abs() <= 1e-6 * (wanted.abs() + 1.0) + 2.0 * lost);
            }
        }
    }

    #[test]
    fn softmax_sums_to_one(width in 1_usize..200, rows in 1_usize..5, size in 0.0_f32..200.0) {
        let x = values(width * rows, size);
        let found = at_every_level(|isa, pool| {
            let mut found = x.clone();
            softmax(pool, isa, &mut found, width);
            found
        });
        for (row, found) in x.chunks(width).zip(found.chunks(width)) {
            let largest = row.iter().fold(f64::NEG_INFINITY, |largest, x| largest.max(f64::from(*x)));
            let total: f64 = row.iter().map(|x| (f64::from(*x) - largest).exp()).sum();
            for (x, found) in row.iter().zip(found) {
                let wanted = (f64::from(*x) - largest).exp() / total;
                // x − max is rounded: up to 400·6e-8 of relative error after the exponential.
                prop_assert!((wanted - f64::from(*found)).abs() <= 3e-5 * wanted + 1e-37);
            }
        }
    }

    #[test]
    fn sums_are_exact(count in 0_usize..100, factor in -2.0_f32..2.0) {
        let (x, y) = (values(count, 1.0), values(count, 7.0));
        let sum = at_every_level(|isa, pool| {
            let mut sum = x.clone();
            add(pool, isa, &mut sum, &y);
            add_scaled(pool, isa, &mut sum, &y, factor);
            sum
        });
        for (i, sum) in sum.iter().enumerate() {
            prop_assert_eq!(*sum, y[i].mul_add(factor, x[i] + y[i]));
        }
    }
}

#[test]
fn extreme_and_missing_values() {
    let x = [
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
    ];
    for isa in Isa::supported() {
        let pool = Pool::new(1);
        let mut silu = x;
        silu_mul(&pool, isa, &mut silu, &[1.0; 8]);
        assert!(silu[2].is_nan());
        assert!(
            silu[3] == f32::MAX && silu[4].abs() <= 2.0 && silu[5] == 0.0,
            "{silu:?}"
        );
        let mut row = [f32::NEG_INFINITY, 0.0, 0.0];
        softmax(&pool, isa, &mut row, 3);
        assert!(row[0] < 1e-37 && (row[1] - 0.5).abs() < 1e-6);
        let mut row = [f32::NEG_INFINITY; 5];
        softmax(&pool, isa, &mut row, 5);
        assert!(
            row.iter().all(|x| (x - 0.2).abs() < 1e-6),
            "a row without a maximum is even: {row:?}"
        );
        let mut row = [1.0, f32::NAN, 2.0];
        softmax(&pool, isa, &mut row, 3);
        assert!(row.iter().all(|x| x.is_nan()));
    }
}
