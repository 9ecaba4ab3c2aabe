//! Every product at every level against the scalar reference: bit for bit.

use k25_kernels::{
    Activations, Dense, Int4, Int8Matrix, Isa, Pool, Product, QuantRows, Rows, Weights,
    f32_to_bf16, multiply, multiply_one,
};
use proptest::prelude::*;

/// Small numbers from a seed; every so often a large one, a tiny one or a zero.
struct Numbers(u64);

impl Numbers {
    fn word(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    fn float(&mut self) -> f32 {
        let base = (self.word() % 20_001) as f32 / 10_000.0 - 1.0;
        match self.word() % 40 {
            0 => base * 1e4,
            1 => base * 1e-6,
            2 => 0.0,
            _ => base,
        }
    }
    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.word() as u8).collect()
    }
    fn bf16_bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .flat_map(|_| f32_to_bf16(self.float()).to_le_bytes())
            .collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

struct Case {
    out: usize,
    cols: usize,
    rows: usize,
    /// Bytes by which the checkpoint's data is out of line.
    shift: usize,
    seed: u64,
}

/// Both kinds of INT4 product, dense products and int8 products of a case, at one level.
fn all_products(isa: Isa, pool: &Pool, case: &Case) -> Vec<(&'static str, Vec<f32>)> {
    let &Case {
        out,
        cols,
        rows,
        shift,
        seed,
    } = case;
    let mut numbers = Numbers(seed);
    let x = numbers.floats(rows * cols);
    let packed = numbers.bytes(shift + out * cols / 2);
    let scales = [vec![0; shift], numbers.bf16_bytes(out * cols / 32)].concat();
    let dense = [vec![0; shift], numbers.bf16_bytes(out * cols)].concat();
    let floats = numbers.floats(out * cols);
    let int4 = Int4::new(&packed[shift..], &scales[shift..], out, cols).expect("shape");
    let bf16 = Dense::bf16(&dense[shift..], out, cols).expect("shape");
    let f32 = Dense::f32(&floats, out, cols).expect("shape");
    let int8 = Int8Matrix::quantize(isa, out, cols, |r, row| {
        row.copy_from_slice(&floats[r * cols..(r + 1) * cols]);
    });
    let mut quantized = QuantRows::new();
    quantized.set(pool, isa, &x, rows, cols);
    let exact = Activations::F32 { values: &x, cols };
    let quant = Activations::Quant(&quantized);
    [
        ("int4 × int8", Weights::Int4(int4), quant),
        ("int4 × f32", Weights::Int4(int4), exact),
        ("bf16", Weights::Dense(bf16), exact),
        ("f32", Weights::Dense(f32), exact),
        ("int8", Weights::Int8(&int8), quant),
    ]
    .into_iter()
    .map(|(name, weights, x)| {
        let mut y = vec![f32::NAN; rows * out];
        multiply_one(pool, isa, weights, x, &mut y);
        (name, y)
    })
    .collect()
}

fn compare(case: &Case) {
    let alone = Pool::new(1);
    let expected = all_products(Isa::Scalar, &alone, case);
    for (_, values) in &expected {
        assert!(
            values.iter().all(|value| value.is_finite()),
            "finite input, finite output"
        );
    }
    let two = Pool::new(2);
    for isa in Isa::supported() {
        for ((name, expected), (_, found)) in expected.iter().zip(all_products(isa, &two, case)) {
            assert_eq!(
                bits(expected),
                bits(&found),
                "{name} at {}: out {} cols {} rows {}",
                isa.name(),
                case.out,
                case.cols,
                case.rows
            );
        }
    }
}

#[test]
fn levels_that_ran() {
    let levels: Vec<_> = Isa::supported().map(Isa::name).collect();
    println!("levels tested on this processor: {levels:?}");
    assert!(levels.contains(&"scalar"));
}

#[test]
fn every_level_agrees_at_the_edges() {
    for (out, groups, rows) in [
        (1, 1, 1),
        (16, 8, 1),
        (17, 9, 2),
        (33, 1, 3),
        (15, 3, 5),
        (48, 33, 7),
        (31, 40, 130),
        (5, 70, 4),
        (64, 7, 49),
    ] {
        compare(&Case {
            out,
            cols: 32 * groups,
            rows,
            shift: 1,
            seed: 7,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_level_agrees(
        out in 1_usize..70,
        groups in 1_usize..12,
        rows in 1_usize..12,
        shift in 0_usize..4,
        seed in any::<u64>(),
    ) {
        compare(&Case { out, cols: 32 * groups, rows, shift, seed });
    }
}

/// Dense and int8 weights need no whole groups.
#[test]
fn odd_columns() {
    let mut numbers = Numbers(3);
    for cols in [1, 15, 17, 31, 33, 100, 1025] {
        let (out, rows) = (19, 5);
        let x = numbers.floats(rows * cols);
        let w = numbers.floats(out * cols);
        let int8 = Int8Matrix::quantize(Isa::active(), out, cols, |r, row| {
            row.copy_from_slice(&w[r * cols..(r + 1) * cols]);
        });
        let mut results = Vec::new();
        for isa in Isa::supported() {
            let pool = Pool::new(2);
            let mut quant = QuantRows::new();
            quant.set(&pool, isa, &x, rows, cols);
            let mut dense_y = vec![f32::NAN; rows * out];
            let dense = Dense::f32(&w, out, cols).expect("shape");
            multiply_one(
                &pool,
                isa,
                Weights::Dense(dense),
                Activations::F32 { values: &x, cols },
                &mut dense_y,
            );
            let mut int8_y = vec![f32::NAN; rows * out];
            multiply_one(
                &pool,
                isa,
                Weights::Int8(&int8),
                Activations::Quant(&quant),
                &mut int8_y,
            );
            results.push((bits(&dense_y), bits(&int8_y)));
        }
        assert!(
            results.windows(2).all(|pair| pair[0] == pair[1]),
            "{cols} columns"
        );
    }
}

/// A row's result is the same alone, in any batch, at any place in it, and picked by index.
#[test]
fn rows_do_not_depend_on_their_batch() {
    let (out, cols, rows) = (37, 320, 133);
    let mut numbers = Numbers(11);
    let x = numbers.floats(rows * cols);
    let packed = numbers.bytes(out * cols / 2);
    let scales = numbers.bf16_bytes(out * cols / 32);
    let dense = numbers.bf16_bytes(out * cols);
    let int4 = Int4::new(&packed, &scales, out, cols).expect("shape");
    let bf16 = Dense::bf16(&dense, out, cols).expect("shape");
    let int8 = Int8Matrix::quantize(Isa::active(), out, cols, |r, row| {
        for (c, value) in row.iter_mut().enumerate() {
            *value = bf16.get(r, c);
        }
    });
    for isa in Isa::supported() {
        let pool = Pool::new(2);
        let mut quant = QuantRows::new();
        quant.set(&pool, isa, &x, rows, cols);
        let (exact, quant) = (
            Activations::F32 { values: &x, cols },
            Activations::Quant(&quant),
        );
        for (weights, x) in [
            (Weights::Int4(int4), quant),
            (Weights::Int4(int4), exact),
            (Weights::Dense(bf16), exact),
            (Weights::Int8(&int8), quant),
        ] {
            let mut together = vec![0.0; rows * out];
            multiply_one(&pool, isa, weights, x, &mut together);
            for count in [1, 2, 3, 4, 5, 16, 48, 50] {
                let index: Vec<u32> = (0..count as u32)
                    .map(|i| (i * 29 + 5) % rows as u32)
                    .collect();
                let mut y = vec![0.0; count * out];
                multiply(
                    &pool,
                    isa,
                    &mut [Product {
                        weights,
                        x,
                        rows: Rows::Index(&index),
                        y: &mut y,
                    }],
                );
                for (i, &row) in index.iter().enumerate() {
                    let row = row as usize;
                    assert_eq!(
                        bits(&y[i * out..(i + 1) * out]),
                        bits(&together[row * out..(row + 1) * out]),
                        "{} rows at {}",
                        count,
                        isa.name()
                    );
                }
            }
        }
    }
}

/// Many products of different sizes, some without rows, in one loop equal the same products alone.
#[test]
fn products_together_equal_products_alone() {
    let cols = 64;
    let mut numbers = Numbers(5);
    let x = numbers.floats(9 * cols);
    let shapes = [
        (100, 0),
        (33, 3),
        (700, 1),
        (16, 0),
        (1, 9),
        (250, 2),
        (64, 0),
    ];
    let matrices: Vec<Vec<f32>> = shapes
        .iter()
        .map(|&(out, _)| numbers.floats(out * cols))
        .collect();
    let pool = Pool::new(2);
    let isa = Isa::active();
    let mut together: Vec<Vec<f32>> = shapes
        .iter()
        .map(|&(out, rows)| vec![f32::NAN; out * rows])
        .collect();
    let mut products: Vec<_> = together
        .iter_mut()
        .zip(shapes.iter().zip(&matrices))
        .map(|(y, (&(out, rows), w))| Product {
            weights: Weights::Dense(Dense::f32(w, out, cols).expect("shape")),
            x: Activations::F32 { values: &x, cols },
            rows: Rows::Range(9 - rows..9),
            y,
        })
        .collect();
    multiply(&pool, isa, &mut products);
    for (y, (&(out, rows), w)) in together.iter().zip(shapes.iter().zip(&matrices)) {
        let weights = Weights::Dense(Dense::f32(w, out, cols).expect("shape"));
        let mut alone = vec![f32::NAN; out * rows];
        multiply_one(
            &pool,
            isa,
            weights,
            Activations::F32 {
                values: &x[(9 - rows) * cols..],
                cols,
            },
            &mut alone,
        );
        assert_eq!(bits(y), bits(&alone));
    }
}

/// The oracle of the references themselves: f64 arithmetic on the weights as the format defines them.
#[test]
fn products_match_f64() {
    let (out, cols, rows) = (20, 256, 3);
    let mut numbers = Numbers(9);
    let x: Vec<f32> = (0..rows * cols)
        .map(|_| (numbers.word() % 2001) as f32 / 1000.0 - 1.0)
        .collect();
    let packed = numbers.bytes(out * cols / 2);
    let scales: Vec<u8> = (0..out * cols / 32)
        .flat_map(|i| f32_to_bf16(0.01 + i as f32 * 1e-4).to_le_bytes())
        .collect();
    let int4 = Int4::new(&packed, &scales, out, cols).expect("shape");
    let weight = |r: usize, c: usize| {
        let word = &packed[(r * cols + c / 8 * 8) / 2..][..4];
        let word = u32::from_le_bytes(word.try_into().expect("four bytes"));
        let scale = &scales[2 * (r * cols + c) / 32 / 2 * 2..][..2];
        let scale = f32::from_bits(
            u32::from(u16::from_le_bytes(scale.try_into().expect("two bytes"))) << 16,
        );
        (f64::from(word >> (4 * (c % 8)) & 15) - 8.0) * f64::from(scale)
    };
    let pool = Pool::new(1);
    let mut quant = QuantRows::new();
    quant.set(&pool, Isa::active(), &x, rows, cols);
    let mut exact = vec![0.0; rows * out];
    multiply_one(
        &pool,
        Isa::active(),
        Weights::Int4(int4),
        Activations::F32 { values: &x, cols },
        &mut exact,
    );
    let mut fast = vec![0.0; rows * out];
    multiply_one(
        &pool,
        Isa::active(),
        Weights::Int4(int4),
        Activations::Quant(&quant),
        &mut fast,
    );
    for i in 0..rows {
        for n in 0..out {
            let of = |value: &dyn Fn(usize) -> f64| {
                (0..cols).map(|c| weight(n, c) * value(c)).sum::<f64>()
            };
            let magnitude = (0..cols)
                .map(|c| (weight(n, c) * f64::from(x[i * cols + c])).abs())
                .sum::<f64>();
            // 256 roundings of relative size 6e-8 each, of terms that add up to `magnitude`.
            let tolerance = 256.0 * 6e-8 * magnitude;
            let wanted = of(&|c| f64::from(x[i * cols + c]));
            assert!((wanted - f64::from(exact[i * out + n])).abs() <= tolerance);
            let wanted = of(&|c| f64::from(quant.get(i, c)));
            assert!((wanted - f64::from(fast[i * out + n])).abs() <= tolerance);
        }
    }
}

#[test]
fn a_group_that_is_not_finite_spoils_its_row_alone() {
    let (out, cols) = (16, 64);
    let mut x = vec![1.0; 2 * cols];
    x[3] = f32::INFINITY;
    let w = vec![0.5; out * cols];
    let int8 = Int8Matrix::quantize(Isa::active(), out, cols, |r, row| {
        row.copy_from_slice(&w[r * cols..(r + 1) * cols]);
    });
    for isa in Isa::supported() {
        let pool = Pool::new(1);
        let mut quant = QuantRows::new();
        quant.set(&pool, isa, &x, 2, cols);
        let mut y = vec![0.0; 2 * out];
        multiply_one(
            &pool,
            isa,
            Weights::Int8(&int8),
            Activations::Quant(&quant),
            &mut y,
        );
        assert!(y[..out].iter().all(|y| y.is_nan()));
        assert!(y[out..].iter().all(|y| (y - 32.0).abs() < 1e-4));
    }
}

/// The error that `Int8Matrix` states: weights of a normal distribution, 20 rows of 7168.
#[test]
fn int8_weights_err_by_less_than_stated() {
    let (rows, cols) = (20, 7168);
    let mut numbers = Numbers(21);
    let mut uniform = || (numbers.word() as f64 + 1.0) / f64::from(1_u32 << 31);
    let normal: Vec<f32> = (0..rows * cols)
        .map(|_| {
            ((-2.0 * uniform().ln()).sqrt() * (uniform() * std::f64::consts::TAU).cos()) as f32
        })
        .collect();
    let int8 = Int8Matrix::quantize(Isa::active(), rows, cols, |r, row| {
        row.copy_from_slice(&normal[r * cols..(r + 1) * cols]);
    });
    // A column of the identity at a time gives the weights back; 1.0 quantises without error.
    let pool = Pool::new(2);
    let columns = 512;
    let mut x = vec![0.0; columns * cols];
    for c in 0..columns {
        x[c * cols + c * 14] = 1.0;
    }
    let mut quant = QuantRows::new();
    quant.set(&pool, Isa::active(), &x, columns, cols);
    let mut y = vec![0.0; columns * rows];
    multiply_one(
        &pool,
        Isa::active(),
        Weights::Int8(&int8),
        Activations::Quant(&quant),
        &mut y,
    );
    let squares: f64 = (0..columns)
        .flat_map(|c| (0..rows).map(move |r| (c, r)))
        .map(|(c, r)| f64::from(y[c * rows + r] - normal[r * cols + c * 14]).powi(2))
        .sum();
    let error = (squares / (columns * rows) as f64).sqrt();
    println!(
        "root mean square error of a weight: {:.3} % of the standard deviation",
        100.0 * error
    );
    // 2.7 standard deviations is the usual largest of 128; a step's error is its width over √12.
    assert!((0.005..0.007).contains(&error), "{error}");
}

#[test]
fn values_that_are_not_finite_are_not_lost() {
    for isa in Isa::supported() {
        let int8 = Int8Matrix::quantize(isa, 1, 64, |_, row| {
            row.fill(1.0);
            row[5] = f32::NAN;
        });
        let pool = Pool::new(1);
        let mut quant = QuantRows::new();
        quant.set(&pool, isa, &[1.0; 64], 1, 64);
        let mut y = [0.0];
        let (weights, x) = (Weights::Int8(&int8), Activations::Quant(&quant));
        multiply_one(&pool, isa, weights, x, &mut y);
        assert!(y[0].is_nan());
    }
}
