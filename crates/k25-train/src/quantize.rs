//! Values as an exported checkpoint will hold them: INT4 in groups of 32 for routed experts, bf16 for the rest.
//!
//! Training with quantisation reads these rounded values in the forward pass and moves the unrounded ones (straight-through): the
//! exported model then computes what was trained. The rule is compressed-tensors' `minmax`, symmetric: a group's scale is its largest
//! magnitude divided by 7.5, rounded to bf16; codes are −8 to 7.

use half::bf16;
use k25_model::linear::INT4_GROUP;

use crate::params::Storage;

/// Rounds a parameter of `cols` columns in place as `storage` does.
pub fn round(storage: Storage, cols: usize, values: &mut [f32]) {
    match storage {
        Storage::F32 => {}
        Storage::Bf16 => {
            for value in values {
                *value = bf16::from_f32(*value).to_f32();
            }
        }
        Storage::Int4 => {
            debug_assert!(cols.is_multiple_of(INT4_GROUP), "whole groups in a row");
            for group in values.chunks_mut(INT4_GROUP) {
                let scale = scale(group).to_f32();
                for value in group {
                    *value = f32::from(code(*value, scale)) * scale;
                }
            }
        }
    }
}

/// A matrix in the packed layout: words `[rows, cols / 8]` and scales `[rows, cols / 32]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Eight offset-8 nibbles each, least significant first.
    pub words: Vec<u32>,
    /// bf16 bits.
    pub scales: Vec<u16>,
}

/// Packs a matrix whose rows are whole groups.
pub fn pack(values: &[f32]) -> Packed {
    let mut packed = Packed {
        words: Vec::with_capacity(values.len() / 8),
        scales: Vec::with_capacity(values.len() / INT4_GROUP),
    };
    for group in values.chunks_exact(INT4_GROUP) {
        let scale = scale(group);
        packed.scales.push(scale.to_bits());
        for eight in group.chunks_exact(8) {
            let nibble = |value: &f32| (i32::from(code(*value, scale.to_f32())) + 8) as u32;
            let word = eight
                .iter()
                .rev()
                .fold(0, |word, value| word << 4 | nibble(value));
            packed.words.push(word);
        }
    }
    packed
}

/// The scale of a group; 1 where all its values are zero.
fn scale(group: &[f32]) -> bf16 {
    let largest = group
        .iter()
        .fold(0.0_f32, |max, value| max.max(value.abs()));
    let scale = bf16::from_f32(largest / 7.5);
    if scale.to_f32() > 0.0 {
        scale
    } else {
        bf16::ONE
    }
}

fn code(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-8.0, 7.0) as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use k25_model::Tensor;
    use k25_model::linear::PackedInt4;

    #[test]
    fn packed_values_read_back_as_the_rounded_ones() {
        let (rows, cols) = (5, 96);
        let mut values = vec![0.0; rows * cols];
        Random::new(1, 1).fill_normal(&mut values, 0.3);
        values[..INT4_GROUP].fill(0.0);
        let packed = pack(&values);
        let matrix = PackedInt4 {
            packed: Tensor::from_packed_words(&[rows, cols / 8], packed.words),
            scales: Tensor::from_bf16_bits(&[rows, cols / INT4_GROUP], packed.scales),
            out_features: rows,
            in_features: cols,
        };
        let mut rounded = values.clone();
        round(Storage::Int4, cols, &mut rounded);
        for (row, expected) in rounded.chunks_exact(cols).enumerate() {
            let mut found = vec![0.0; cols];
            matrix.row_to_f32(row, &mut found);
            assert_eq!(found, expected);
        }
        // Half a step of a fifteenth of the range, and the scale's own rounding (2⁻⁹).
        for (group, rounded) in values.chunks(INT4_GROUP).zip(rounded.chunks(INT4_GROUP)) {
            let largest = group
                .iter()
                .fold(0.0_f32, |max, value| max.max(value.abs()));
            for (value, rounded) in group.iter().zip(rounded) {
                assert!(
                    (value - rounded).abs() <= largest * 0.0701,
                    "{value} {rounded}"
                );
            }
        }
    }

    /// Values that are rounded already keep all but what lies on the border of two codes: rounding twice is
    /// rounding once for bf16, and for INT4 wherever a group uses its whole range.
    #[test]
    fn bf16_rounding_is_idempotent() {
        let mut values = vec![0.1, -3.7, 1e-20, 65_000.0];
        round(Storage::Bf16, 4, &mut values);
        let once = values.clone();
        round(Storage::Bf16, 4, &mut values);
        assert_eq!(values, once);
    }
}
