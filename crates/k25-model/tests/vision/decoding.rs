//! Decoding and resizing against Pillow, of every kind of file (see tests/data/README.md).

use std::path::Path;

use k25_model::checkpoint::SafetensorsFile;
use k25_model::media::{ImageLimits, RgbImage, decode_image, resize_bicubic};

/// The test data that Pillow made.
pub fn images() -> SafetensorsFile {
    SafetensorsFile::open(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images.safetensors"),
    )
    .expect("images.safetensors")
}

#[test]
fn every_kind_of_image_decodes_as_pillow_converts_it() {
    let images = images();
    let mut failures = Vec::new();
    let mut cases = 0;
    for info in images.header().tensors() {
        let Some(name) = info.name.strip_suffix(".file") else {
            continue;
        };
        cases += 1;
        let file = images.tensor(&format!("{name}.file")).expect("the file");
        let expected = images.tensor(&format!("{name}.rgb")).expect("its pixels");
        match decode_image(file.as_u8(), &ImageLimits::default()) {
            Err(error) => failures.push(format!("{name}: {error}")),
            Ok(image) if expected.shape() != [image.height(), image.width(), 3] => {
                failures.push(format!(
                    "{name}: {} × {} pixels",
                    image.width(),
                    image.height()
                ));
            }
            Ok(image) => {
                let differences = image
                    .pixels()
                    .iter()
                    .zip(expected.as_u8())
                    .map(|(a, b)| a.abs_diff(*b));
                let largest = differences.clone().max().unwrap_or(0);
                if largest > 0 {
                    let count = differences.filter(|difference| *difference > 0).count();
                    failures.push(format!(
                        "{name}: {count} of {} differ by up to {largest}",
                        image.pixels().len()
                    ));
                }
            }
        }
    }
    assert!(cases > 100, "only {cases} cases");
    assert!(
        failures.is_empty(),
        "{} of {cases}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_resize_is_pillows_to_the_last_grey_level() {
    let images = images();
    let mut cases = 0;
    for info in images.header().tensors() {
        let Some(name) = info.name.strip_suffix(".input") else {
            continue;
        };
        cases += 1;
        let (input, output) = (
            images.tensor(info.name),
            images.tensor(&format!("{name}.output")),
        );
        let (input, output) = (input.expect("an input"), output.expect("an output"));
        let image = RgbImage::new(input.shape()[1], input.shape()[0], input.as_u8().to_vec());
        let resized = resize_bicubic(image, output.shape()[1], output.shape()[0]);
        let sizes = format!("{name}: {:?} to {:?}", input.shape(), output.shape());
        assert!(resized.pixels() == output.as_u8(), "{sizes}");
    }
    assert!(cases >= 18, "only {cases} cases");
}
