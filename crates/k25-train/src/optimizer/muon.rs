//! Muon: momentum made orthogonal by Newton–Schulz iterations.
//!
//! `M ← μM + G`, `O = NS(M) · √max(rows, cols) · 0.2`, `W ← W − η(O + λW)`; the 0.2 gives an update the size of AdamW's.

use super::{Moved, Step};
use crate::matmul::{Mat, Store, multiply};
use crate::simd::{blend, square_sum};

/// Coefficients of the quintic iteration.
const NEWTON_SCHULZ: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Iterations: singular values end between about 0.7 and 1.2.
const ITERATIONS: usize = 5;

/// Root mean square of an update.
const UPDATE_SIZE: f32 = 0.2;

/// Moves one matrix.
pub(super) fn apply(step: &Step, moved: Moved<'_>) {
    let (rows, cols) = (moved.entry.param.rows, moved.entry.param.cols);
    blend(moved.first, step.config.momentum, step.scale, moved.grads);
    let update = orthogonal(moved.first, rows, cols);
    let factor = step.rate * UPDATE_SIZE * (rows.max(cols) as f32).sqrt();
    blend(moved.values, step.decay(moved.entry), -factor, &update);
}

/// A matrix `[rows, cols]` with its singular values moved towards 1; zeros stay zeros.
pub(super) fn orthogonal(matrix: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let length = square_sum(matrix).sqrt() as f32;
    let factor = 1.0 / (length + 1e-7);
    // The products of rows are the smaller where rows are fewer.
    let tall = rows > cols;
    let (short, long) = if tall { (cols, rows) } else { (rows, cols) };
    let mut x = vec![0.0; matrix.len()];
    for (index, value) in matrix.iter().enumerate() {
        let place = if tall {
            (index % cols) * rows + index / cols
        } else {
            index
        };
        x[place] = value * factor;
    }
    let [a, b, c] = NEWTON_SCHULZ;
    let (mut gram, mut squared) = (vec![0.0; short * short], vec![0.0; short * short]);
    let mut moved = vec![0.0; x.len()];
    for _ in 0..ITERATIONS {
        let view = Mat::new(&x, short, long);
        multiply(&mut gram, Store::Set, view, view.t());
        let square = Mat::new(&gram, short, short);
        multiply(&mut squared, Store::Set, square, square);
        blend(&mut squared, c, b, &gram);
        multiply(
            &mut moved,
            Store::Set,
            Mat::new(&squared, short, short),
            view,
        );
        blend(&mut x, a, 1.0, &moved);
    }
    if !tall {
        return x;
    }
    (0..matrix.len())
        .map(|index| x[(index % cols) * rows + index / cols])
        .collect()
}
