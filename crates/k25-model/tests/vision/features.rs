//! The vision tower, in the reference and the fast execution, against torch's values.
//!
//! Both compute in f32 and differ in the order of their sums; an f64 computation lies within 6e-6
//! of torch's features. The tolerance leaves a factor of five to that, and a factor of three to
//! the bound that k25 promises (1e-4).

use k25_config::{MediaConfig, VisionConfig};
use k25_kernels::Pool;
use k25_model::checkpoint::SafetensorsFile;
use k25_model::fast::VisionFast;
use k25_model::media::{ImageLimits, preprocess_image};
use k25_model::reference::VisionReference;
use k25_model::vision::weights::VisionWeights;
use k25_model::vision::{VisionError, VisionItem, VisionSite};
use k25_model::weights::Model;
use k25_model::{Rows, Tensor};

use crate::fixtures::{self, max_abs_error};

const TOLERANCE: f32 = 3e-5;

/// The fixture models with a vision tower.
const MODELS: [&str; 2] = ["t1", "t2"];

struct Fixture {
    name: &'static str,
    model: Model,
    expected: SafetensorsFile,
}

impl Fixture {
    fn open(name: &'static str) -> Self {
        let model =
            Model::open(fixtures::path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = SafetensorsFile::open(fixtures::path(&format!(
            "{name}/expected_vision.safetensors"
        )))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            name,
            model,
            expected,
        }
    }

    fn config(&self) -> &VisionConfig {
        self.model
            .config
            .vision
            .as_ref()
            .expect("a vision configuration")
    }

    fn weights(&self) -> &VisionWeights {
        self.model.vision.as_ref().expect("vision weights")
    }

    /// Features of both executions, the reference's first.
    fn features(&self, items: &[VisionItem]) -> [Rows; 2] {
        let (config, weights) = (self.config(), self.weights());
        let reference = VisionReference::new().features(config, weights, items);
        let pool = Pool::new(2);
        let fast = VisionFast::new(&pool).features(config, weights, items);
        [reference.expect("features"), fast.expect("features")]
    }

    fn expect(&self, tensor: &str) -> Tensor {
        self.expected
            .tensor(tensor)
            .unwrap_or_else(|| panic!("{}: no {tensor}", self.name))
    }

    fn assert_close(&self, tensor: &str, execution: &str, found: &[f32]) {
        let error = max_abs_error(found, self.expect(tensor).as_f32());
        println!(
            "{} {tensor}, {execution}: max abs error {error:.1e}",
            self.name
        );
        assert!(
            error <= TOLERANCE,
            "{} {tensor}, {execution}: max abs error {error:e}",
            self.name
        );
    }
}

fn image(name: &str) -> VisionItem {
    let bytes = fixtures::bytes(&format!("images/{name}.png"));
    preprocess_image(&bytes, &ImageLimits::default(), &MediaConfig::default()).expect(name)
}

/// The names in `expected` between `before` and `after`.
fn names(expected: &SafetensorsFile, before: &str, after: &str) -> Vec<String> {
    let tensors = expected.header().tensors();
    let names = tensors.filter_map(|info| {
        info.name
            .strip_prefix(before)?
            .strip_suffix(after)
            .map(str::to_owned)
    });
    let names: Vec<String> = names.collect();
    assert!(!names.is_empty(), "no tensor {before}…{after}");
    names
}

/// Every eighth row where the fixtures hold no more.
fn thinned(features: &Rows, kept: usize) -> Vec<f32> {
    if features.len() == kept {
        return features.values().to_vec();
    }
    assert!(features.len() > 80, "only long items are thinned");
    features.iter().step_by(8).flatten().copied().collect()
}

#[test]
fn every_image_has_the_reference_features_and_states() {
    for fixture in MODELS.map(Fixture::open) {
        for name in names(&fixture.expected, "img.", ".features") {
            let item = image(&name);
            let mut states = Vec::new();
            let mut observer = |site: VisionSite, rows: &Rows| states.push((site, rows.clone()));
            let features = VisionReference::new()
                .with_observer(&mut observer)
                .features(
                    fixture.config(),
                    fixture.weights(),
                    std::slice::from_ref(&item),
                )
                .expect("features");
            let [reference, fast] = fixture.features(std::slice::from_ref(&item));
            assert!(reference == features, "observing changes nothing");
            let tensor = format!("img.{name}.features");
            let kept = fixture.expect(&tensor).shape()[0];
            fixture.assert_close(&tensor, "reference", &thinned(&reference, kept));
            fixture.assert_close(&tensor, "fast", &thinned(&fast, kept));
            for (site, suffix) in [
                (VisionSite::EncoderOut, "encoder_out"),
                (VisionSite::Merged, "merged"),
            ] {
                let tensor = format!("img.{name}.{suffix}");
                let rows = &states
                    .iter()
                    .find(|(at, _)| *at == site)
                    .expect("an observed state")
                    .1;
                if fixture.expected.tensor(&tensor).is_some() {
                    fixture.assert_close(&tensor, "reference", rows.values());
                }
            }
        }
    }
}

#[test]
fn a_packed_batch_has_the_features_of_its_items() {
    let manifest = fixtures::json("manifest.json");
    for fixture in MODELS.map(Fixture::open) {
        let packed = manifest["packed_batch"][fixture.name]
            .as_array()
            .expect("names of the packed batch");
        let items: Vec<_> = packed
            .iter()
            .map(|name| image(name.as_str().expect("a name")))
            .collect();
        let together = fixture.features(&items);
        let apart: Vec<[Rows; 2]> = items
            .iter()
            .map(|item| fixture.features(std::slice::from_ref(item)))
            .collect();
        for (index, execution) in ["reference", "fast"].into_iter().enumerate() {
            fixture.assert_close("packed.features", execution, together[index].values());
            let apart: Vec<f32> = apart
                .iter()
                .flat_map(|rows| rows[index].values().to_vec())
                .collect();
            // The same sums in the same order: packing may not change a bit.
            assert!(
                together[index].values() == apart,
                "{}: packing changes features",
                fixture.name
            );
        }
    }
}

#[test]
fn every_video_has_the_reference_features() {
    let videos = SafetensorsFile::open(fixtures::path("videos.safetensors")).expect("videos");
    for fixture in MODELS.map(Fixture::open) {
        for name in names(&fixture.expected, "vid.", ".features") {
            let grids = videos.tensor(&format!("{name}.grid_thw")).expect("grids");
            let patches = videos
                .tensor(&format!("{name}.pixel_values"))
                .expect("patches");
            let mut rest = patches.as_f32();
            let items: Vec<VisionItem> = grids
                .as_i64()
                .chunks_exact(3)
                .map(|grid| {
                    let grid = [grid[0] as usize, grid[1] as usize, grid[2] as usize];
                    let (own, others) = rest.split_at(grid.iter().product::<usize>() * 588);
                    rest = others;
                    VisionItem {
                        grid,
                        patches: own.to_vec(),
                    }
                })
                .collect();
            assert!(rest.is_empty(), "{name}: patches beyond the grids");
            let [reference, fast] = fixture.features(&items);
            fixture.assert_close(
                &format!("vid.{name}.features"),
                "reference",
                reference.values(),
            );
            fixture.assert_close(&format!("vid.{name}.features"), "fast", fast.values());
        }
    }
}

#[test]
fn grids_that_the_model_cannot_read_are_errors() {
    let fixture = Fixture::open("t1");
    let encode = |grid: [usize; 3], patches: usize| {
        let item = VisionItem {
            grid,
            patches: vec![0.0; patches * 588],
        };
        VisionReference::new()
            .features(fixture.config(), fixture.weights(), &[item])
            .map(|rows| rows.len())
    };
    assert_eq!(encode([1, 2, 4], 8), Ok(2));
    assert!(matches!(
        encode([1, 3, 2], 6),
        Err(VisionError::UnmergeableGrid { item: 0, .. })
    ));
    assert!(matches!(
        encode([1, 2, 5], 10),
        Err(VisionError::UnmergeableGrid { .. })
    ));
    assert!(matches!(
        encode([5, 2, 2], 20),
        Err(VisionError::TooManyFrames {
            frames: 5,
            limit: 4,
            ..
        })
    ));
    assert!(matches!(
        encode([0, 2, 2], 0),
        Err(VisionError::EmptyGrid { .. })
    ));
    assert!(matches!(
        encode([1, 0, 2], 0),
        Err(VisionError::EmptyGrid { .. })
    ));
    assert!(matches!(
        encode([1, 2, 2], 5),
        Err(VisionError::WrongLength { .. })
    ));
    let huge = [1, usize::MAX - 1, usize::MAX - 1];
    assert!(matches!(
        encode(huge, 1),
        Err(VisionError::WrongLength { .. })
    ));
}

#[test]
fn an_empty_batch_has_no_features() {
    let fixture = Fixture::open("t1");
    for features in fixture.features(&[]) {
        assert!(features.is_empty());
        assert_eq!(features.width(), fixture.config().text_hidden_size);
    }
}
