//! The repository's fixtures.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A path below the repository's fixture folder.
pub fn path(below: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(below)
}

/// A fixture's bytes.
pub fn bytes(below: &str) -> Vec<u8> {
    let path = path(below);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fixture's JSON.
pub fn json(below: &str) -> Value {
    serde_json::from_slice(&bytes(below)).expect(below)
}

/// A field that is a whole number.
pub fn number(value: &Value, field: &str) -> usize {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} of {value}")) as usize
}

/// Values of a list of whole numbers.
pub fn numbers(value: &Value) -> Vec<usize> {
    let list = value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"));
    list.iter()
        .map(|number| number.as_u64().expect("a whole number") as usize)
        .collect()
}

/// The largest absolute difference of two lists of one length; infinite where one is not a number.
pub fn max_abs_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "number of values");
    let difference = |(found, expected): (&f32, &f32)| {
        let difference = (found - expected).abs();
        if difference.is_nan() {
            f32::INFINITY
        } else {
            difference
        }
    };
    found
        .iter()
        .zip(expected)
        .map(difference)
        .fold(0.0, f32::max)
}
