//! Expectations on picture preprocessing: sizes, pixels and patches. All exact.

use std::fmt::Write;
use std::path::Path;

use k25_chat::JsonValue;
use k25_config::MediaConfig;
use k25_model::media::{
    ImageLimits, RgbImage, TargetSize, decode_image, image_size, patches, resize_and_pad,
};
use sha2::{Digest, Sha256};

use crate::expected::Expected;
use crate::prompts::{array, field, first_failure, same, string};
use crate::report::Part;

/// The only formula that the fixtures draw pictures with.
const FORMULA: &str = "r=(3x+5y+((x*y)>>4))&255, g=(7x+((y*y)>>5))&255, b=(((x*x)>>6)+2y)&255";

/// Checks every picture that `document` lists, and every size.
pub fn verify(
    part: &mut Part<'_>,
    root: &Path,
    document: &JsonValue,
    processed: Option<&Expected>,
) {
    let config = MediaConfig::default();
    for image in array(document, "images") {
        let name = string(image, "name")
            .unwrap_or("picture without a name")
            .to_owned();
        match source(root, image) {
            Ok(Source::Picture(picture)) => {
                verify_image(part, &config, &name, image, picture, processed);
            }
            Ok(Source::Unknown(reason)) => part.not_checked(&name, reason),
            Err(reason) => part.failed(&name, reason),
        }
    }
    let cases = array(document, "resize_cases");
    if !cases.is_empty() {
        part.cases(
            "resize cases",
            cases.len(),
            first_failure(cases, |case| resize_case(&config, case)),
        );
    }
}

enum Source {
    Picture(RgbImage),
    Unknown(String),
}

/// The picture that an entry describes: a file, or a formula.
fn source(root: &Path, image: &JsonValue) -> Result<Source, String> {
    if let Ok(file) = string(image, "file") {
        return load(root, file).map(Source::Picture);
    }
    match string(image, "formula")? {
        FORMULA => Ok(Source::Picture(draw(
            number(image, "width")?,
            number(image, "height")?,
        ))),
        other => Ok(Source::Unknown(format!("unknown formula {other}"))),
    }
}

/// Decodes the picture `file`, a path relative to the fixture folder.
pub fn load(root: &Path, file: &str) -> Result<RgbImage, String> {
    let path = root.join(file);
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    decode_image(&bytes, &ImageLimits::default()).map_err(|error| error.to_string())
}

/// The picture of [`FORMULA`].
fn draw(width: usize, height: usize) -> RgbImage {
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let red = 3 * x + 5 * y + ((x * y) >> 4);
            let green = 7 * x + ((y * y) >> 5);
            let blue = ((x * x) >> 6) + 2 * y;
            pixels.extend([red, green, blue].map(|value| (value & 255) as u8));
        }
    }
    RgbImage::new(width, height, pixels)
}

fn verify_image(
    part: &mut Part<'_>,
    config: &MediaConfig,
    name: &str,
    image: &JsonValue,
    picture: RgbImage,
    processed: Option<&Expected>,
) {
    let size = image_size(picture.width(), picture.height(), config);
    let sizes =
        expected_sizes(image).and_then(|expected| same(&numbers_of(size, config), &expected));
    part.cases(&format!("{name}, sizes"), 7, sizes.err());
    let padded = resize_and_pad(picture, size);
    if let Ok(digest) = string(image, "u8_sha256") {
        part.cases(
            &format!("{name}, pixels (digest)"),
            padded.pixels().len(),
            same(&sha256(&padded).as_str(), &digest).err(),
        );
    }
    let Some(processed) = processed else { return };
    for item in processed.names_below(name) {
        let Some(tensor) = processed.get(&item) else {
            continue;
        };
        match &item[name.len() + 1..] {
            "u8" => part.equal(&item, padded.pixels(), tensor.bytes()),
            "pixel_values" => {
                part.values(
                    &item,
                    &patches(std::slice::from_ref(&padded), config),
                    tensor.as_f32(),
                    0.0,
                );
            }
            crop => match crop_of(&padded, size, crop, tensor.shape()) {
                Some(pixels) => part.equal(&item, &pixels, tensor.bytes()),
                None => part.not_checked(&item, "unknown value of a picture"),
            },
        }
    }
}

/// A part of the padded picture: its top left, from the middle of the resized picture, or its bottom
/// right.
fn crop_of(padded: &RgbImage, size: TargetSize, name: &str, shape: &[usize]) -> Option<Vec<u8>> {
    let [height, width, 3] = *shape else {
        return None;
    };
    let (top, left) = match name {
        "u8_crop_tl" => (0, 0),
        "u8_crop_mid" => (size.height / 2, size.width / 2),
        "u8_crop_br" => (
            padded.height().checked_sub(height)?,
            padded.width().checked_sub(width)?,
        ),
        _ => return None,
    };
    if top + height > padded.height() || left + width > padded.width() {
        return None;
    }
    let row = |y: usize| {
        let start = (y * padded.width() + left) * 3;
        &padded.pixels()[start..start + width * 3]
    };
    Some((top..top + height).flat_map(row).copied().collect())
}

fn resize_case(config: &MediaConfig, case: &JsonValue) -> Result<(), String> {
    let JsonValue::Array(columns) = case else {
        return Err("is no list".to_owned());
    };
    let columns = columns
        .iter()
        .map(as_usize)
        .collect::<Result<Vec<_>, _>>()?;
    let [width, height, in_patch_limit, ref expected @ ..] = columns[..] else {
        return Err("has too few columns".to_owned());
    };
    let size = image_size(
        width,
        height,
        &MediaConfig {
            in_patch_limit,
            ..config.clone()
        },
    );
    same(
        &[size.width, size.height, size.pad_right, size.pad_bottom].as_slice(),
        &expected,
    )
    .map_err(|reason| format!("{width} × {height}: {reason}"))
}

/// New size, padding, and grid.
fn numbers_of(size: TargetSize, config: &MediaConfig) -> Vec<usize> {
    let [rows, columns] = size.patch_grid(config);
    vec![
        size.width,
        size.height,
        size.pad_right,
        size.pad_bottom,
        1,
        rows,
        columns,
    ]
}

fn expected_sizes(image: &JsonValue) -> Result<Vec<usize>, String> {
    let mut numbers = ["new_width", "new_height", "pad_right", "pad_bottom"]
        .into_iter()
        .map(|key| number(image, key))
        .collect::<Result<Vec<_>, _>>()?;
    for side in array(image, "grid_thw") {
        numbers.push(as_usize(side)?);
    }
    Ok(numbers)
}

pub(crate) fn number(value: &JsonValue, key: &str) -> Result<usize, String> {
    as_usize(field(value, key)?).map_err(|reason| format!("{key} {reason}"))
}

pub(crate) fn as_usize(value: &JsonValue) -> Result<usize, String> {
    match value {
        JsonValue::Integer(integer) => integer
            .as_str()
            .parse()
            .map_err(|_| format!("is {}", integer.as_str())),
        other => Err(format!("is {}", other.kind())),
    }
}

fn sha256(image: &RgbImage) -> String {
    Sha256::digest(image.pixels())
        .iter()
        .fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
