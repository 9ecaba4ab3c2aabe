//! Gradients of a tiny model with every operator against PyTorch's (`tests/golden/make.py`).

use k25_config::ModelConfig;
use k25_model::SafetensorsFile;
use k25_model::vision::VisionItem;
use k25_train::arena::Arena;
use k25_train::exec::{Activations, Batch, Geometry, Pictures, gradient};
use k25_train::model::TrainModel;
use k25_train::tape::Segment;

/// The largest difference of two values, as a fraction of the largest gradient of the same parameter:
/// f32 sums of up to 60 rows in another order lose some 1e-6 of that.
const RELATIVE_ERROR: f32 = 1e-4;

fn fixture(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn golden_model(file: &SafetensorsFile) -> TrainModel {
    let config = ModelConfig::from_file(fixture("golden.json")).expect("a configuration");
    let mut model = TrainModel::fresh(config, 0);
    let entries = model.params.entries().to_vec();
    for entry in entries {
        let tensor = file
            .tensor(&entry.part.name)
            .expect("a weight of every name");
        model.params.values_mut()[entry.param.range()].copy_from_slice(tensor.as_f32());
    }
    let layers: Vec<usize> = model.correction_biases().map(|(layer, _)| layer).collect();
    for (bias, layer) in model.correction_biases_mut().zip(layers) {
        let name = format!("language_model.model.layers.{layer}.mlp.gate.e_score_correction_bias");
        bias.copy_from_slice(file.tensor(&name).expect("a bias").as_f32());
    }
    model
}

fn golden_batch(file: &SafetensorsFile) -> Batch {
    let ids = |name: &str| -> Vec<u32> {
        let tensor = file.tensor(name).expect("ids");
        tensor.as_i64().iter().map(|id| *id as u32).collect()
    };
    let mut start = 0;
    let segments: Vec<Segment> = ids("batch.lens")
        .into_iter()
        .map(|len| {
            let segment = Segment::whole(start, len as usize);
            start += segment.len;
            segment
        })
        .collect();
    Batch {
        tokens: ids("batch.tokens"),
        pictures: golden_pictures(file),
        targets: ids("batch.targets"),
        weights: file
            .tensor("batch.weights")
            .expect("weights")
            .as_f32()
            .to_vec(),
        segments: segments.into(),
    }
}

fn golden_pictures(file: &SafetensorsFile) -> Pictures {
    let sizes = |name: &str| -> Vec<usize> {
        let tensor = file.tensor(name).expect("sizes");
        tensor.as_i64().iter().map(|size| *size as usize).collect()
    };
    let mut pictures = Pictures::default();
    let grids = sizes("batch.item_grids");
    let starts = sizes("batch.item_rows");
    for (index, (grid, start)) in grids.chunks_exact(3).zip(starts).enumerate() {
        let patches = file.tensor(&format!("item.{index}.patches"));
        pictures.items.push(VisionItem {
            grid: [grid[0], grid[1], grid[2]],
            patches: patches.expect("patches").as_f32().to_vec(),
        });
        // Windows of 2 × 2 patches.
        pictures.rows.push(start..start + grid[1] * grid[2] / 4);
    }
    pictures
}

#[test]
fn gradients_are_those_of_pytorch() {
    let file = SafetensorsFile::open(fixture("golden.safetensors")).expect("a fixture opens");
    let (model, batch) = (golden_model(&file), golden_batch(&file));
    let geometry = Geometry::new(&model.config.text, 64);
    let mut grads = vec![0.0; model.params.len()];
    let stats = gradient(
        &model,
        &geometry,
        &batch,
        Activations::Keep,
        1.0,
        &mut grads,
        &mut Arena::new(),
    );
    let expected = f64::from(file.tensor("loss").expect("a loss").as_f32()[0]);
    let found = stats.loss * stats.weight;
    assert!(
        (found - expected).abs() < 1e-5 * expected,
        "loss {found} and {expected}"
    );
    assert!(model.vision.is_some(), "the tower is part of it");
    for entry in model.params.entries() {
        let found = &grads[entry.param.range()];
        let name = format!("grad.{}", entry.part.name);
        let Some(expected) = file.tensor(&name) else {
            assert!(found.iter().all(|g| *g == 0.0), "{name}: no row came by");
            continue;
        };
        let expected = expected.as_f32();
        let largest = expected.iter().fold(0.0_f32, |max, g| max.max(g.abs()));
        let worst = found
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(
            worst <= RELATIVE_ERROR * largest,
            "{name}: {worst} of {largest}"
        );
    }
}
