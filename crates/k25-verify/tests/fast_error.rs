//! The error of the fast execution on the fixtures.

use std::path::PathBuf;

use k25_model::fast::{ActivationFormat, DenseFormat, FastOptions, LatentFormat};
use k25_verify::{FastChoice, FastError, fast_errors};

fn errors(choice: &FastChoice) -> Vec<FastError> {
    let fixtures = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"));
    fast_errors(&fixtures, choice, &mut |_| {}).expect("models")
}

#[test]
fn without_quantisation_it_is_the_noise_of_f32() {
    let all = errors(&FastChoice::default());
    assert_eq!(all.len(), 4, "every model of the fixtures");
    for error in all {
        // The bound of `verify` itself: 2e-4 of the largest logit.
        assert!(error.worst_error <= 2e-4 * error.largest_logit, "{error:?}");
        assert_eq!(error.top1_agreement, 1.0, "{error:?}");
        assert!(error.positions > 50 && error.worst_kl < 1e-6, "{error:?}");
    }
}

/// Quantised, the error is seen and small: measured on these fixtures, doubled.
#[test]
fn quantised_it_is_measured_and_bounded() {
    let w4a8 = FastOptions {
        activations: ActivationFormat::Int8,
        ..FastOptions::default()
    };
    let all_int8 = FastOptions {
        dense: DenseFormat::Int8,
        ..w4a8
    };
    let cases = [
        (w4a8, LatentFormat::F32, W4A8),
        (all_int8, LatentFormat::F32, DENSE_INT8),
        (FastOptions::default(), LatentFormat::Bf16, BF16_CACHE),
        (all_int8, LatentFormat::Int8, ALL_INT8),
    ];
    for (options, cache, [error_bound, kl_bound, least_agreement]) in cases {
        let choice = FastChoice {
            options,
            cache,
            threads: None,
        };
        for error in errors(&choice) {
            println!("{options:?} {cache:?}: {error:?}");
            // Without INT4 matrices there is nothing that int8 activations change.
            let is_untouched = error.folder.ends_with("t1_bf16") && options == w4a8;
            assert!(is_untouched || error.worst_error > 0.0, "{error:?}");
            assert!(
                error.mean_error <= error_bound * error.largest_logit,
                "{error:?}"
            );
            assert!(error.mean_kl <= kl_bound, "{error:?}");
            assert!(error.top1_agreement >= least_agreement, "{error:?}");
        }
    }
}

/// Mean error as a fraction of the largest logit, mean KL in nats, least agreement of the likeliest
/// token. Random weights have small gaps between their likeliest tokens and between their experts, so
/// that a small error turns to another token or another expert: agreement is far lower than that of a
/// trained model. Measured: 0.93 to 0.99 with int8 activations, 0.57 to 0.78 with all in int8.
const W4A8: [f64; 3] = [0.0125, 0.035, 0.9];
const DENSE_INT8: [f64; 3] = [0.1, 0.6, 0.5];
const BF16_CACHE: [f64; 3] = [0.009, 0.043, 0.92];
const ALL_INT8: [f64; 3] = [0.1, 0.6, 0.5];
