//! `Fast` against `Reference`, and a row's independence of the rest of its batch.

use k25_kernels::Pool;
use k25_model::exec::InputRow;
use k25_model::fast::{
    ActivationFormat, DenseFormat, Fast, FastBatch, FastModel, FastOptions, LatentFormat,
    PagedLatents, SequenceSpan,
};
use k25_model::weights::Model;
use k25_model::{LatentCache, Reference, ReferenceOptions};

/// f32 noise on logits of about 9: two orders of summation differ by 1e-4.
const NOISE: f32 = 1e-3;

const MODELS: [&str; 4] = ["t1", "t2", "t3g", "t1_bf16"];

const EXACT: FastOptions = FastOptions {
    dense: DenseFormat::Stored,
    activations: ActivationFormat::F32,
    fetch_ahead: false,
    memory_limit: None,
};
const W4A8: FastOptions = FastOptions {
    dense: DenseFormat::Int8,
    activations: ActivationFormat::Int8,
    fetch_ahead: false,
    memory_limit: None,
};

fn open(name: &str) -> Model {
    Model::open(format!(
        "{}/../../fixtures/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .expect("a fixture opens")
}

/// Ids that no fixture has: enough for two cache blocks and a part of a third.
fn prompt(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32)
        .map(|i| (i * 7919 + seed * 104_729) % 1024)
        .collect()
}

fn tokens(ids: &[u32]) -> Vec<InputRow<'_>> {
    ids.iter().map(|id| InputRow::Token(*id)).collect()
}

fn reference_logits(model: &Model, ids: &[u32]) -> Vec<f32> {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let wanted: Vec<usize> = (0..ids.len()).collect();
    let mut cache = LatentCache::new(&model.config.text);
    Reference::new(
        &model.config.text,
        ReferenceOptions::default(),
        &mut cache,
        &positions,
    )
    .logits(&model.text, &tokens(ids), &wanted)
    .values()
    .to_vec()
}

/// Sequences side by side in one cache, each with blocks of its own.
struct Session<'a> {
    model: &'a FastModel,
    pool: Pool,
    cache: PagedLatents,
    blocks: Vec<Vec<u32>>,
    cached: Vec<usize>,
}

impl<'a> Session<'a> {
    fn new(model: &'a FastModel, threads: usize, sequences: usize, format: LatentFormat) -> Self {
        let blocks_each = 4;
        let cache = PagedLatents::new(&model.model().config.text, format, sequences * blocks_each);
        // Blocks of different sequences lie interleaved.
        let blocks = (0..sequences)
            .map(|sequence| {
                (0..blocks_each)
                    .map(|block| (block * sequences + sequence) as u32)
                    .collect()
            })
            .collect();
        Self {
            model,
            pool: Pool::new(threads),
            cache,
            blocks,
            cached: vec![0; sequences],
        }
    }

    /// Runs the next rows of several sequences in one pass; logits of all of them.
    fn step(&mut self, parts: &[(usize, &[u32])]) -> Vec<Vec<f32>> {
        let (mut ids, mut positions, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for (sequence, part) in parts {
            let first = ids.len();
            ids.extend_from_slice(part);
            let cached_rows = self.cached[*sequence];
            positions
                .extend((cached_rows..cached_rows + part.len()).map(|position| position as u32));
            let blocks = &self.blocks[*sequence];
            spans.push(SequenceSpan {
                rows: first..ids.len(),
                cached_rows,
                blocks,
            });
        }
        let batch = FastBatch {
            positions: &positions,
            sequences: &spans,
        };
        let wanted: Vec<usize> = (0..ids.len()).collect();
        let logits = Fast::new(self.model, &self.pool, &mut self.cache, batch)
            .logits(&tokens(&ids), &wanted);
        let mut results = Vec::new();
        let mut row = 0;
        for (sequence, part) in parts {
            self.cached[*sequence] += part.len();
            results.push(
                logits.values()[row * logits.width()..(row + part.len()) * logits.width()].to_vec(),
            );
            row += part.len();
        }
        results
    }
}

fn max_error(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    actual
        .iter()
        .zip(expected)
        .map(|(a, e)| (a - e).abs())
        .fold(
            0.0,
            |worst, error| if error <= worst { worst } else { error },
        )
}

#[test]
fn exact_options_agree_with_the_reference() {
    for name in MODELS {
        let ids = prompt(1, 150);
        let expected = reference_logits(&open(name), &ids);
        let model = FastModel::new(open(name), EXACT).unwrap();
        let actual = Session::new(&model, 2, 1, LatentFormat::F32)
            .step(&[(0, &ids)])
            .remove(0);
        let error = max_error(&actual, &expected);
        println!("{name}: {error:e}");
        assert!(error <= NOISE, "{name}: {error}");
    }
}

/// The same bits whether a prompt comes whole, in pieces, beside others, or with other threads.
#[test]
fn a_row_does_not_depend_on_its_batch() {
    for (name, options) in [("t1", EXACT), ("t2", EXACT), ("t3g", W4A8), ("t2", W4A8)] {
        let model = FastModel::new(open(name), options).unwrap();
        let (a, b, c) = (prompt(1, 150), prompt(2, 90), prompt(3, 40));
        let alone = |ids: &[u32]| {
            Session::new(&model, 1, 1, LatentFormat::F32)
                .step(&[(0, ids)])
                .remove(0)
        };
        let expected = [alone(&a), alone(&b), alone(&c)];

        let mut session = Session::new(&model, 2, 3, LatentFormat::F32);
        let mut actual = vec![Vec::new(); 3];
        let steps: [&[(usize, &[u32])]; 5] = [
            &[(0, &a[..70])],
            &[(1, &b[..1]), (0, &a[70..71])],
            &[(0, &a[71..149]), (2, &c[..39]), (1, &b[1..65])],
            &[(1, &b[65..89])],
            &[(2, &c[39..]), (1, &b[89..]), (0, &a[149..])],
        ];
        for step in steps {
            for ((sequence, _), logits) in step.iter().zip(session.step(step)) {
                actual[*sequence].extend(logits);
            }
        }
        for (sequence, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
            let same = actual
                .iter()
                .map(|v| v.to_bits())
                .eq(expected.iter().map(|v| v.to_bits()));
            assert!(
                same,
                "{name} {options:?} sequence {sequence}: off by {}",
                max_error(actual, expected)
            );
        }
    }
}

/// What int8 activations, int8 dense weights and smaller cache formats cost. On random weights router
/// flips dominate the largest errors (manifest of the fixtures), so the bound is on the typical one:
/// half a unit on logits of about 9, in models whose rows are only 64 to 128 values wide.
#[test]
fn quantised_options_stay_close() {
    let ids = prompt(1, 150);
    for name in ["t1", "t2", "t3g"] {
        let expected = reference_logits(&open(name), &ids);
        for (options, format) in [
            (EXACT, LatentFormat::Bf16),
            (EXACT, LatentFormat::Int8),
            (W4A8, LatentFormat::F32),
        ] {
            let model = FastModel::new(open(name), options).unwrap();
            let actual = Session::new(&model, 2, 1, format)
                .step(&[(0, &ids)])
                .remove(0);
            let mut errors: Vec<f32> = actual
                .iter()
                .zip(&expected)
                .map(|(a, e)| (a - e).abs())
                .collect();
            errors.sort_by(f32::total_cmp);
            let median = errors[errors.len() / 2];
            println!(
                "{name} {:?}/{:?}/{format:?}: median {median:.4}, max {:.3}",
                options.dense,
                options.activations,
                errors[errors.len() - 1]
            );
            assert!(
                median < 0.5,
                "{name} {options:?} {format:?}: median error {median}"
            );
        }
    }
}

#[test]
fn int8_dense_weights_need_int8_activations() {
    let options = FastOptions {
        dense: DenseFormat::Int8,
        ..EXACT
    };
    let error = FastModel::new(open("t1"), options).unwrap_err();
    assert!(error.to_string().contains("hint"));
}
