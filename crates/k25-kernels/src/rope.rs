//! Rotary position embedding on interleaved pairs (architecture §3.1).

/// Rotates a vector in place: pair j is components (2j, 2j + 1); e' = e·cos − o·sin, o' = o·cos + e·sin.
///
/// One implementation serves every level: a token has 64 heads of 32 pairs, next to nothing.
///
/// # Panics
/// When `x` is not two values per angle.
pub fn rotate_pairs(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    assert!(
        cos.len() == sin.len() && x.len() == 2 * cos.len(),
        "{} values for {} pairs",
        x.len(),
        cos.len()
    );
    for ((pair, cos), sin) in x.chunks_exact_mut(2).zip(cos).zip(sin) {
        let (even, odd) = (pair[0], pair[1]);
        pair[0] = even * cos - odd * sin;
        pair[1] = odd * cos + even * sin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_is_multiplication_of_complex_numbers() {
        let mut x = [1.0, 2.0, 3.0, -4.0];
        rotate_pairs(&mut x, &[0.6, 0.0], &[0.8, 1.0]);
        // (1 + 2i)(0.6 + 0.8i) = −1 + 2i; (3 − 4i)·i = 4 + 3i. Four products of short decimals: one rounding each.
        for (found, wanted) in x.iter().zip([-1.0, 2.0, 4.0, 3.0]) {
            assert!((found - wanted).abs() < 1e-6);
        }
    }
}
