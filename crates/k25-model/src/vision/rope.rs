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
