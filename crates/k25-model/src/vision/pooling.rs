//! Pooling over time and the order of merged windows (spec: architecture §4, step 5).

use super::Packing;

/// Averages each item over its frames and orders patches by merged window, a window's patches row
/// by row: from rows of `width` values, one per patch of the batch, to one per patch of a frame.
pub fn pool_windows(packing: &Packing, width: usize, values: &[f32]) -> Vec<f32> {
    let window: usize = packing.kernel().iter().product();
    let mut pooled = Vec::with_capacity(packing.tokens().sum::<usize>() * window * width);
    for item in packing.items() {
        let [frames, height, columns] = item.grid;
        for_each_window_patch(item.grid, packing.kernel(), |row, column| {
            let start = pooled.len();
            pooled.resize(start + width, 0.0);
            let mean = &mut pooled[start..];
            for frame in 0..frames {
                let patch = item.first_row + (frame * height + row) * columns + column;
                let patch = &values[patch * width..(patch + 1) * width];
                mean.iter_mut()
                    .zip(patch)
                    .for_each(|(sum, value)| *sum += value);
            }
            mean.iter_mut().for_each(|sum| *sum /= frames as f32);
        });
    }
    pooled
}

/// The transpose of [`pool_windows`], for gradients: every pooled row, divided by its item's frames,
/// goes back to the patches that it was averaged of.
pub fn spread_windows(packing: &Packing, width: usize, pooled: &[f32]) -> Vec<f32> {
    let mut values = vec![0.0; packing.rows() * width];
    let mut rest = pooled.chunks_exact(width);
    for item in packing.items() {
        let [frames, height, columns] = item.grid;
        for_each_window_patch(item.grid, packing.kernel(), |row, column| {
            let pooled = rest.next().expect("a pooled row for every patch");
            for frame in 0..frames {
                let patch = item.first_row + (frame * height + row) * columns + column;
                let into = &mut values[patch * width..(patch + 1) * width];
                into.iter_mut()
                    .zip(pooled)
                    .for_each(|(into, value)| *into = value / frames as f32);
            }
        });
    }
    values
}

/// Visits the patches `(row, column)` of a grid window by window, each window row by row.
fn for_each_window_patch(
    grid: [usize; 3],
    kernel: [usize; 2],
    mut visit: impl FnMut(usize, usize),
) {
    for window_row in (0..grid[1]).step_by(kernel[0]) {
        for window_column in (0..grid[2]).step_by(kernel[1]) {
            for row in window_row..window_row + kernel[0] {
                for column in window_column..window_column + kernel[1] {
                    visit(row, column);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::VisionItem;
    use k25_config::VisionConfig;

    #[test]
    fn windows_come_row_by_row_and_frames_are_averaged() {
        let config = VisionConfig {
            patch_size: 1,
            hidden_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            intermediate_size: 1,
            merge_kernel_size: [2, 2],
            init_pos_emb_height: 4,
            init_pos_emb_width: 4,
            init_pos_emb_time: 4,
            mm_hidden_size: 4,
            text_hidden_size: 1,
            projector_ln_eps: 1e-5,
        };
        let item = |grid: [usize; 3]| VisionItem {
            grid,
            patches: vec![0.0; grid.iter().product::<usize>() * 3],
        };
        let packing =
            Packing::new(&[item([1, 2, 2]), item([2, 2, 4])], &config).expect("a packing");
        // The second item's frames are 0..8 and 100..108.
        let values: Vec<f32> = [9.0, 8.0, 7.0, 6.0]
            .into_iter()
            .chain((0..8).map(|value| value as f32))
            .chain((100..108).map(|value| value as f32))
            .collect();
        let expected = [
            9.0, 8.0, 7.0, 6.0, 50.0, 51.0, 54.0, 55.0, 52.0, 53.0, 56.0, 57.0,
        ];
        assert_eq!(pool_windows(&packing, 1, &values), expected);

        // Patches in the order of their rows, each with its window's value over its frames.
        let pooled: Vec<f32> = (1..=12).map(|value| value as f32).collect();
        let frame = [2.5, 3.0, 4.5, 5.0, 3.5, 4.0, 5.5, 6.0];
        let expected = [[1.0, 2.0, 3.0, 4.0].as_slice(), &frame, &frame].concat();
        assert_eq!(spread_windows(&packing, 1, &pooled), expected);
    }
}
