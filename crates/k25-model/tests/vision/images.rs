//! Image preprocessing: every grey level and every value exactly the reference's.

use k25_config::MediaConfig;
use k25_model::checkpoint::SafetensorsFile;
use k25_model::media::{
    self, ImageLimits, RgbImage, TargetSize, decode_image, image_size, preprocess_image,
    resize_and_pad,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::fixtures::{self, number, numbers};

fn cases() -> Vec<Value> {
    let meta = fixtures::json("images/meta.json");
    let cases = meta["images"].as_array().expect("a list of images").clone();
    assert!(!cases.is_empty());
    cases
}

fn name(case: &Value) -> &str {
    case["name"].as_str().expect("a name")
}

fn expected_size(case: &Value) -> TargetSize {
    TargetSize {
        width: number(case, "new_width"),
        height: number(case, "new_height"),
        pad_right: number(case, "pad_right"),
        pad_bottom: number(case, "pad_bottom"),
    }
}

/// The picture of a case: its file, or the formula that the large ones are made by.
fn picture(case: &Value) -> RgbImage {
    let (width, height) = (number(case, "width"), number(case, "height"));
    let image = match case["file"].as_str() {
        Some(file) => decode_image(&fixtures::bytes(file), &ImageLimits::default()).expect(file),
        None => formula_image(
            width,
            height,
            case["formula"].as_str().expect("a file or a formula"),
        ),
    };
    assert_eq!(
        (image.width(), image.height()),
        (width, height),
        "{}",
        name(case)
    );
    image
}

fn formula_image(width: usize, height: usize, formula: &str) -> RgbImage {
    assert_eq!(
        formula,
        "r=(3x+5y+((x*y)>>4))&255, g=(7x+((y*y)>>5))&255, b=(((x*x)>>6)+2y)&255"
    );
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let red = 3 * x + 5 * y + ((x * y) >> 4);
            let green = 7 * x + ((y * y) >> 5);
            let blue = ((x * x) >> 6) + 2 * y;
            pixels.extend([red as u8, green as u8, blue as u8]);
        }
    }
    RgbImage::new(width, height, pixels)
}

#[test]
fn every_fixture_is_resized_and_padded_to_the_last_grey_level() {
    let config = MediaConfig::default();
    let expected = SafetensorsFile::open(fixtures::path("images/processed.safetensors"))
        .expect("expected pixels");
    for case in cases() {
        let image = picture(&case);
        let size = image_size(image.width(), image.height(), &config);
        assert_eq!(size, expected_size(&case), "{}", name(&case));
        let padded = resize_and_pad(image, size);
        let digest = Sha256::digest(padded.pixels());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(all) = expected.tensor(&format!("{}.u8", name(&case))) {
            assert_eq!(
                all.shape(),
                [padded.height(), padded.width(), 3],
                "{}",
                name(&case)
            );
            assert!(
                all.as_u8() == padded.pixels(),
                "{}: pixels differ",
                name(&case)
            );
        } else {
            assert_crops(&expected, name(&case), size, &padded);
        }
        assert_eq!(
            digest,
            case["u8_sha256"].as_str().expect("a digest"),
            "{}",
            name(&case)
        );
    }
}

/// The three crops that stand for a picture too large for the fixtures.
fn assert_crops(expected: &SafetensorsFile, name: &str, size: TargetSize, padded: &RgbImage) {
    let corners = [
        ("u8_crop_tl", 0, 0),
        ("u8_crop_mid", size.height / 2, size.width / 2),
        ("u8_crop_br", padded.height() - 40, padded.width() - 64),
    ];
    for (crop, top, left) in corners {
        let tensor = expected
            .tensor(&format!("{name}.{crop}"))
            .unwrap_or_else(|| panic!("{name}.{crop}"));
        let (height, width) = (tensor.shape()[0], tensor.shape()[1]);
        for (offset, row) in tensor.as_u8().chunks_exact(width * 3).enumerate() {
            let start = ((top + offset) * padded.width() + left) * 3;
            assert_eq!(
                row,
                &padded.pixels()[start..start + width * 3],
                "{name}.{crop} row {offset} of {height}"
            );
        }
    }
}

#[test]
fn every_fixture_has_exactly_the_reference_patches() {
    let config = MediaConfig::default();
    let expected = SafetensorsFile::open(fixtures::path("images/processed.safetensors"))
        .expect("expected values");
    let mut compared = 0;
    for case in cases() {
        let Some(file) = case["file"].as_str() else {
            continue;
        };
        let item =
            preprocess_image(&fixtures::bytes(file), &ImageLimits::default(), &config).expect(file);
        assert_eq!(item.grid.to_vec(), numbers(&case["grid_thw"]), "{file}");
        assert_eq!(
            item.grid.iter().product::<usize>(),
            number(&case, "num_patches"),
            "{file}"
        );
        let size = expected_size(&case);
        assert_eq!(size.tokens(&config), number(&case, "num_tokens"), "{file}");
        if let Some(values) = expected.tensor(&format!("{}.pixel_values", name(&case))) {
            // Normalisation is one rounding of one value: nothing may differ.
            assert!(values.as_f32() == item.patches, "{file}: patches differ");
            compared += 1;
        }
    }
    assert!(compared > 0, "no fixture holds patches");
}

#[test]
fn every_resize_case_is_exact() {
    let meta = fixtures::json("images/meta.json");
    let columns = [
        "width",
        "height",
        "patch_limit",
        "new_width",
        "new_height",
        "pad_right",
        "pad_bottom",
    ];
    let found: Vec<_> = meta["resize_cases_columns"]
        .as_array()
        .expect("columns")
        .iter()
        .collect();
    assert_eq!(found, columns);
    let cases = meta["resize_cases"].as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let case = numbers(case);
        let config = MediaConfig {
            in_patch_limit: case[2],
            in_patch_limit_each_frame: case[2],
            ..Default::default()
        };
        let expected = TargetSize {
            width: case[3],
            height: case[4],
            pad_right: case[5],
            pad_bottom: case[6],
        };
        assert_eq!(image_size(case[0], case[1], &config), expected, "{case:?}");
        assert_eq!(
            media::frame_size(case[0], case[1], &config),
            expected,
            "{case:?}"
        );
    }
}
