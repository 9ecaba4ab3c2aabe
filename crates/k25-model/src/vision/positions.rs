//! Learned positions resampled to an item's size, and fixed temporal ones
//! (spec: architecture §4, step 2).
//!
//! Shape suffixes: `h`, `w` rows and columns of an item, `d` the encoder's width.

use std::collections::HashMap;

use super::Packing;
use super::weights::PositionTable;

/// The free parameter of the cubic kernel. (Images are resampled with another.)
const KERNEL_A: f32 = -0.75;

/// Input cells that one output reads along an axis.
const TAPS: usize = 4;

/// What is added to the embedded patches, `[rows, hidden]`.
pub(super) fn position_rows(table: &PositionTable, packing: &Packing) -> Vec<f32> {
    let hidden = table.hidden();
    let mut planes: HashMap<[usize; 2], Vec<f32>> = HashMap::new();
    let mut rows = Vec::with_capacity(packing.rows() * hidden);
    for item in packing.items() {
        let [frames, height, width] = item.grid;
        let plane = planes
            .entry([height, width])
            .or_insert_with(|| resample(table, height, width));
        // One frame gets no time at all, not time zero.
        if frames == 1 {
            rows.extend_from_slice(plane);
            continue;
        }
        for frame in 0..frames {
            let time = temporal(frame, hidden);
            for position in plane.chunks_exact(hidden) {
                rows.extend(
                    position
                        .iter()
                        .zip(&time)
                        .map(|(position, time)| position + time),
                );
            }
        }
    }
    rows
}

/// Sines of all frequencies, then their cosines, at frame `frame`.
fn temporal(frame: usize, hidden: usize) -> Vec<f32> {
    let half = hidden / 2;
    let angle = |k: usize| frame as f64 * 10_000f64.powf(-(k as f64) / half as f64);
    let sines = (0..half).map(|k| angle(k).sin() as f32);
    sines
        .chain((0..half).map(|k| angle(k).cos() as f32))
        .collect()
}

/// The table at another size: bicubic, borders repeated, without antialiasing; in f32, as the
/// reference computes it.
fn resample(table: &PositionTable, height: usize, width: usize) -> Vec<f32> {
    if (height, width) == (table.height, table.width) {
        return table.values.clone();
    }
    let hidden = table.hidden();
    let narrowed: Vec<f32> = {
        let taps = taps(table.width, width);
        let rows = table.values.chunks_exact(table.width * hidden);
        rows.flat_map(|row_wd| blend(row_wd, hidden, &taps))
            .collect()
    };
    blend(&narrowed, width * hidden, &taps(table.height, height))
}

/// For every output cell of an axis, the input cells that it reads and their weights.
fn taps(from: usize, to: usize) -> Vec<[(usize, f32); TAPS]> {
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|output| {
            let source = scale * (output as f32 + 0.5) - 0.5;
            let base = source.floor();
            let weights = cubic_weights(source - base);
            std::array::from_fn(|tap| {
                let input = base as isize + tap as isize - 1;
                (input.clamp(0, from as isize - 1) as usize, weights[tap])
            })
        })
        .collect()
}

/// Weights of the cells at distances `1 + t`, `t`, `1 − t` and `2 − t`.
fn cubic_weights(t: f32) -> [f32; TAPS] {
    let near = |x: f32| ((KERNEL_A + 2.0) * x - (KERNEL_A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((KERNEL_A * x - 5.0 * KERNEL_A) * x + 8.0 * KERNEL_A) * x - 4.0 * KERNEL_A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

/// Weighted sums of cells of `cell` values each.
fn blend(input: &[f32], cell: usize, taps: &[[(usize, f32); TAPS]]) -> Vec<f32> {
    let cell_at = |index: usize| &input[index * cell..(index + 1) * cell];
    taps.iter()
        .flat_map(|taps| {
            let [(a, wa), (b, wb), (c, wc), (d, wd)] = *taps;
            let (a, b, c, d) = (cell_at(a), cell_at(b), cell_at(c), cell_at(d));
            (0..cell).map(move |i| a[i] * wa + b[i] * wb + c[i] * wc + d[i] * wd)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(height: usize, width: usize, value: impl Fn(usize, usize) -> f32) -> PositionTable {
        let cells = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        PositionTable {
            values: cells.map(|(row, column)| value(row, column)).collect(),
            height,
            width,
        }
    }

    #[test]
    fn the_tables_own_size_is_the_table() {
        let table = table(5, 7, |row, column| (row * 31 + column) as f32);
        assert_eq!(resample(&table, 5, 7), table.values);
    }

    #[test]
    fn a_slope_stays_a_slope_away_from_the_borders() {
        let table = table(64, 64, |row, column| row as f32 + 100.0 * column as f32);
        let (height, width) = (40, 96);
        let plane = resample(&table, height, width);
        for row in 3..height - 3 {
            for column in 4..width - 4 {
                let source =
                    |index: usize, size: usize| (index as f32 + 0.5) * 64.0 / size as f32 - 0.5;
                let expected = source(row, height) + 100.0 * source(column, width);
                let found = plane[row * width + column];
                // Weights with a = -0.75 bend a slope by up to 0.049 cells; f32 noise is far smaller.
                assert!(
                    (found - expected).abs() < 0.05 * 101.0,
                    "{row}, {column}: {found} and {expected}"
                );
            }
        }
    }

    #[test]
    fn far_larger_and_smaller_sizes_stay_within_the_table() {
        let table = table(64, 64, |_, _| 2.5);
        for (height, width) in [(1, 1), (2, 512), (512, 2), (3, 200)] {
            let plane = resample(&table, height, width);
            assert_eq!(plane.len(), height * width);
            // Four weights sum to 1 up to their rounding.
            assert!(
                plane.iter().all(|value| (value - 2.5).abs() < 1e-5),
                "{height} x {width}"
            );
        }
    }

    #[test]
    fn time_zero_is_zeros_and_ones() {
        assert_eq!(temporal(0, 6), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let later = temporal(2, 4);
        let expected =
            [2.0f64.sin(), 0.02f64.sin(), 2.0f64.cos(), 0.02f64.cos()].map(|value| value as f32);
        assert_eq!(later, expected);
    }
}
