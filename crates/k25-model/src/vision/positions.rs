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
pub fn position_rows<V: AsRef<[f32]>>(table: &PositionTable<V>, packing: &Packing) -> Vec<f32> {
    let hidden = table.values.as_ref().len() / (table.height * table.width);
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
fn resample<V: AsRef<[f32]>>(table: &PositionTable<V>, height: usize, width: usize) -> Vec<f32> {
    let values = table.values.as_ref();
    if (height, width) == (table.height, table.width) {
        return values.to_vec();
    }
    let hidden = values.len() / (table.height * table.width);
    let narrowed: Vec<f32> = {
        let taps = taps(table.width, width);
        let rows = values.chunks_exact(table.width * hidden);
        rows.flat_map(|row_wd| blend(row_wd, hidden, &taps))
            .collect()
    };
    blend(&narrowed, width * hidden, &taps(table.height, height))
}

/// The transpose of [`position_rows`], for gradients: adds to every cell of a table's gradient what the
/// rows that read it bring, weighted as they read it. Times are fixed and have no gradient.
pub fn spread_positions(table: PositionTable<&mut [f32]>, packing: &Packing, rows: &[f32]) {
    let hidden = table.values.len() / (table.height * table.width);
    for item in packing.items() {
        let [frames, height, width] = item.grid;
        let (first, patches) = (item.first_row, height * width);
        let mut plane = rows[first * hidden..(first + patches) * hidden].to_vec();
        for frame in 1..frames {
            let start = (first + frame * patches) * hidden;
            add(&mut plane, &rows[start..start + patches * hidden]);
        }
        if (height, width) == (table.height, table.width) {
            add(table.values, &plane);
            continue;
        }
        let mut narrowed = vec![0.0; table.height * width * hidden];
        spread(
            &plane,
            width * hidden,
            &taps(table.height, height),
            &mut narrowed,
        );
        let taps = taps(table.width, width);
        let narrowed = narrowed.chunks_exact(width * hidden);
        let rows = table.values.chunks_exact_mut(table.width * hidden);
        for (narrowed_wd, row_wd) in narrowed.zip(rows) {
            spread(narrowed_wd, hidden, &taps, row_wd);
        }
    }
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

/// The transpose of [`blend`]: adds each output cell to the input cells that it was made of.
fn spread(output: &[f32], cell: usize, taps: &[[(usize, f32); TAPS]], input: &mut [f32]) {
    for (output, taps) in output.chunks_exact(cell).zip(taps) {
        for (index, weight) in taps {
            let input = &mut input[index * cell..(index + 1) * cell];
            for (input, output) in input.iter_mut().zip(output) {
                *input += weight * output;
            }
        }
    }
}

fn add(into: &mut [f32], values: &[f32]) {
    for (into, value) in into.iter_mut().zip(values) {
        *into += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::VisionItem;
    use k25_config::VisionConfig;

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

    /// ⟨g, A·t⟩ = ⟨Aᵀ·g, t⟩ for tables `t` and gradients of rows `g`, where times are taken off.
    #[test]
    fn spreading_is_the_transpose_of_resampling() {
        let config = VisionConfig {
            patch_size: 1,
            hidden_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            intermediate_size: 1,
            merge_kernel_size: [2, 2],
            init_pos_emb_height: 6,
            init_pos_emb_width: 4,
            init_pos_emb_time: 4,
            mm_hidden_size: 4,
            text_hidden_size: 1,
            projector_ln_eps: 1e-5,
        };
        let grids = [[1, 6, 4], [1, 2, 10], [3, 8, 2]];
        let items = grids.map(|grid: [usize; 3]| VisionItem {
            grid,
            patches: vec![0.0; grid.iter().product::<usize>() * 3],
        });
        let packing = Packing::new(&items, &config).expect("a packing");
        let wave = |len: usize, step: usize| -> Vec<f32> {
            let value = |i: usize| (i * step % 101) as f32 / 50.0 - 1.0;
            (0..len).map(value).collect()
        };
        let at = |values: Vec<f32>| PositionTable {
            values,
            height: 6,
            width: 4,
        };
        let rows = position_rows(&at(wave(96, 37)), &packing);
        let times = position_rows(&at(vec![0.0; 96]), &packing);
        let gradient = wave(rows.len(), 53);
        let mut spread = vec![0.0; 96];
        let into = PositionTable {
            values: spread.as_mut_slice(),
            height: 6,
            width: 4,
        };
        spread_positions(into, &packing, &gradient);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
            products.sum()
        };
        let expected = dot(&gradient, &rows) - dot(&gradient, &times);
        let found = dot(&spread, &wave(96, 37));
        // Some hundred products below 1 with an f32 rounding each.
        assert!((found - expected).abs() < 1e-4, "{found} and {expected}");
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
