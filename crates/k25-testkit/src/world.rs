//! Folders of made-up documents whose values are known.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// What is true of a world: for each name the values of its columns, `None` where its document does
/// not state it.
pub type Truth = BTreeMap<String, BTreeMap<&'static str, Option<String>>>;

const SYLLABLES: [&str; 12] = [
    "ka", "lo", "mi", "ren", "tu", "so", "vel", "da", "pi", "gor", "ne", "xu",
];
const LICENSES: [&str; 4] = ["MIT", "Apache-2.0", "MIT OR Apache-2.0", "BSD-3-Clause"];
const EDITIONS: [&str; 3] = ["2018", "2021", "2024"];

/// Writes `count` packages, each a folder with a manifest and distractors, and tells what is true of
/// them. The same seed writes the same bytes.
///
/// # Errors
/// When a file cannot be written.
pub fn write_packages(to: &Path, count: usize, seed: u64) -> io::Result<Truth> {
    let mut truth = Truth::new();
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    while truth.len() < count {
        let parts: Vec<&str> = (0..3).map(|_| SYLLABLES[next(SYLLABLES.len())]).collect();
        let name = parts.concat();
        if truth.contains_key(&name) {
            continue;
        }
        let version = format!("{}.{}.{}", next(9), next(30), next(30));
        let license = LICENSES[next(LICENSES.len())].to_owned();
        let edition = (next(6) > 0).then(|| EDITIONS[next(EDITIONS.len())].to_owned());
        let folder = to.join(format!("{name}-{version}"));
        fs::create_dir_all(&folder)?;
        let edition_line = edition
            .as_ref()
            .map(|edition| format!("edition = \"{edition}\"\n"))
            .unwrap_or_default();
        let filler = "# generated, do not edit\n".repeat(next(40));
        let manifest = format!(
            "{filler}[package]\n{edition_line}name = \"{name}\"\nversion = \"{version}\"\n\
             authors = [\"A. Nobody\"]\nlicense = \"{license}\"\n\n[dependencies.other]\nversion = \"9.9.9\"\n"
        );
        fs::write(folder.join("Cargo.toml"), manifest)?;
        fs::write(
            folder.join("README.md"),
            format!("# {name}\n\nA package. License: see the manifest.\n"),
        )?;
        let values = [
            ("name", Some(name.clone())),
            ("version", Some(version)),
            ("license", Some(license)),
            ("edition", edition),
        ];
        truth.insert(name, values.into_iter().collect());
    }
    Ok(truth)
}
