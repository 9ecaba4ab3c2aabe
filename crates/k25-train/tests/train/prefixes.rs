//! Documents that begin alike share rows, and nothing else changes.

use k25_train::arena::Arena;
use k25_train::data::{Document, Packing};
use k25_train::exec::{Activations, Batch, Geometry, PassStats, Pictures, gradient};
use k25_train::model::TrainModel;
use k25_train::random::Random;
use k25_train::tape::{Prefix, Segment};

use crate::models::tiny_config;

/// A document of the first `common` tokens of `like` and random ones behind them.
fn document(random: &mut Random, like: &Document, common: usize, len: usize) -> Document {
    let mut tokens = like.tokens[..common].to_vec();
    let mut weights = like.weights[..common].to_vec();
    while tokens.len() < len {
        tokens.push(random.below(61) as u32);
        weights.push(if random.chance(0.4) {
            0.0
        } else {
            random.unit() as f32
        });
    }
    Document {
        tokens,
        weights,
        ..Document::default()
    }
}

/// A conversation, a longer turn of the same, another one with the same tools, one of another kind, the first once more.
fn documents() -> [Document; 5] {
    let mut random = Random::new(11, 0);
    let first = document(&mut random, &Document::default(), 0, 80);
    let turn = document(&mut random, &first, 70, 120);
    let sibling = document(&mut random, &turn, 90, 110);
    let other = document(&mut random, &first, 20, 60);
    [first.clone(), turn, sibling, other, first]
}

fn packed(documents: &[Document]) -> Batch {
    let mut packing = Packing::default();
    for document in documents {
        let rows = packing.rows_with(document);
        packing.add(document);
        assert_eq!(packing.rows(), rows);
    }
    packing.finish()
}

/// Every document with all of its rows.
fn apart(documents: &[Document]) -> Batch {
    let mut batch = Batch {
        tokens: Vec::new(),
        pictures: Pictures::default(),
        segments: [].into(),
        targets: Vec::new(),
        weights: Vec::new(),
    };
    let mut segments = Vec::new();
    for Document {
        tokens, weights, ..
    } in documents
    {
        segments.push(Segment::whole(batch.tokens.len(), tokens.len() - 1));
        batch.tokens.extend(&tokens[..tokens.len() - 1]);
        batch.targets.extend(&tokens[1..]);
        batch.weights.extend(&weights[1..]);
    }
    batch.segments = segments.into();
    batch
}

#[test]
fn a_beginning_is_computed_once_up_to_the_first_other_target() {
    let batch = packed(&documents());
    let prefixes: Vec<_> = batch
        .segments
        .iter()
        .map(|segment| (segment.prefix, segment.len))
        .collect();
    let of = |of, len| Some(Prefix { of, len });
    assert_eq!(
        prefixes,
        [
            (None, 79),
            (of(0, 69), 50),
            (of(1, 89), 20),
            (None, 59),
            // The first again: its last row stays its own, since no segment is empty.
            (of(0, 78), 1)
        ]
    );
    let sibling = batch.segments[2];
    assert_eq!(sibling.row(68, &batch.segments), 68);
    assert_eq!(sibling.row(69, &batch.segments), 79);
    assert_eq!(sibling.row(89, &batch.segments), sibling.start);
    let sum = |batch: &Batch| batch.weights.iter().map(|w| f64::from(*w)).sum::<f64>();
    assert!((sum(&batch) - sum(&apart(&documents()))).abs() < 1e-4);
}

fn gradient_of(
    model: &TrainModel,
    batch: &Batch,
    activations: Activations,
) -> (PassStats, Vec<f32>) {
    let geometry = Geometry::new(&model.config.text, 128);
    let mut grads = vec![0.0; model.params.len()];
    let mut arena = Arena::new();
    let stats = gradient(
        model,
        &geometry,
        batch,
        activations,
        100.0,
        &mut grads,
        &mut arena,
    );
    (stats, grads)
}

/// The same sums in another order: equal within f32 noise.
#[test]
fn loss_and_gradient_are_those_of_documents_apart() {
    let model = TrainModel::fresh(tiny_config(), 5);
    let documents = documents();
    let (expected_stats, expected) = gradient_of(&model, &apart(&documents), Activations::Keep);
    for activations in [Activations::Keep, Activations::Recompute] {
        let (stats, found) = gradient_of(&model, &packed(&documents), activations);
        assert!((stats.loss - expected_stats.loss).abs() < 1e-5);
        assert!((stats.accuracy - expected_stats.accuracy).abs() < 1e-5);
        for entry in model.params.entries() {
            let range = entry.param.range();
            let norm =
                |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let pairs = || found[range.clone()].iter().zip(&expected[range.clone()]);
            let off = norm(&mut pairs().map(|(a, b)| f64::from(a - b)));
            let size = norm(&mut pairs().map(|(_, b)| f64::from(*b)));
            assert!(
                off <= 2e-5 * size + 1e-9,
                "{}: {off:e} of {size:e}",
                entry.part.name
            );
        }
    }
}
