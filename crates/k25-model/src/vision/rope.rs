//! Rotary angles in two dimensions (spec: architecture §4, step 3).

use k25_config::VisionConfig;

use super::Packing;

/// Base of the rotary frequencies, which no configuration field names.
const THETA: f32 = 10_000.0;

/// Cosines and sines that queries and keys are turned by: the same for every head and layer.
///
/// The pairs of a head are its neighbouring values (0, 1), (2, 3), …; even pairs turn with the
/// patch's column, odd pairs with its row. Frames repeat the same angles.
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryAngles {
    pairs: usize,
    /// Cosine and sine of every pair, `[rows, pairs]`.
    angles: Vec<(f32, f32)>,
}

impl RotaryAngles {
    /// The angles of every patch in a batch.
    pub fn new(packing: &Packing, config: &VisionConfig) -> Self {
        let head_dim = config.head_dim();
        let frequencies = frequencies(head_dim);
        let mut angles = Vec::with_capacity(packing.rows() * head_dim / 2);
        for item in packing.items() {
            let [frames, height, width] = item.grid;
            let frame_start = angles.len();
            for row in 0..height {
                for column in 0..width {
                    for frequency in &frequencies {
                        angles.push(cos_sin(column, *frequency));
                        angles.push(cos_sin(row, *frequency));
                    }
                }
            }
            let frame = frame_start..angles.len();
            for _ in 1..frames {
                angles.extend_from_within(frame.clone());
            }
        }
        Self {
            pairs: head_dim / 2,
            angles,
        }
    }

    /// Cosine and sine of every pair, `[rows, pairs]`.
    pub fn cos_sin(&self) -> &[(f32, f32)] {
        &self.angles
    }

    /// Turns one head of the query or key of batch row `row`.
    pub fn rotate(&self, row: usize, head: &mut [f32]) {
        let angles = &self.angles[row * self.pairs..(row + 1) * self.pairs];
        for (pair, (cos, sin)) in head.chunks_exact_mut(2).zip(angles) {
            let (even, odd) = (pair[0], pair[1]);
            pair[0] = even * cos - odd * sin;
            pair[1] = even * sin + odd * cos;
        }
    }
}

/// `THETA^(−4i / head_dim)` for `i < head_dim / 4`, each step rounded to f32 as the reference
/// rounds it: far patches turn by up to 511 times this, so a last bit counts.
fn frequencies(head_dim: usize) -> Vec<f32> {
    (0..head_dim / 4)
        .map(|i| {
            let exponent = (4 * i) as f32 / head_dim as f32;
            1.0 / (f64::from(THETA).powf(f64::from(exponent)) as f32)
        })
        .collect()
}

/// Cosine and sine of an angle whose product is rounded to f32.
fn cos_sin(position: usize, frequency: f32) -> (f32, f32) {
    let angle = f64::from(position as f32 * frequency);
    (angle.cos() as f32, angle.sin() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::VisionItem;

    fn config() -> VisionConfig {
        VisionConfig {
            patch_size: 1,
            hidden_size: 16,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 1,
            merge_kernel_size: [2, 2],
            init_pos_emb_height: 4,
            init_pos_emb_width: 4,
            init_pos_emb_time: 4,
            mm_hidden_size: 16,
            text_hidden_size: 1,
            projector_ln_eps: 1e-5,
        }
    }

    fn turned(angles: &RotaryAngles, row: usize) -> Vec<f32> {
        let mut head = [1.0, 0.0].repeat(4);
        angles.rotate(row, &mut head);
        head
    }

    #[test]
    fn even_pairs_turn_with_the_column_and_odd_ones_with_the_row() {
        let item = VisionItem {
            grid: [2, 2, 4],
            patches: vec![0.0; 16 * 3],
        };
        let packing = Packing::new(&[item], &config()).expect("a packing");
        let angles = RotaryAngles::new(&packing, &config());
        // Row 1, column 3; frequencies 1 and 10000^(-4/8) = 0.01.
        let expected: Vec<f32> = [3.0f32, 1.0, 0.03, 0.01]
            .iter()
            .flat_map(|angle| [angle.cos(), angle.sin()])
            .collect();
        for (found, expected) in turned(&angles, 7).iter().zip(&expected) {
            // One rounding of cosine and sine each.
            assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        }
        assert_eq!(
            turned(&angles, 7),
            turned(&angles, 8 + 7),
            "frames repeat the angles"
        );
        assert_eq!(
            turned(&angles, 0),
            [1.0, 0.0].repeat(4),
            "the first patch is not turned"
        );
    }
}
