//! The fuzz targets. Each name is a program of `fuzz/Cargo.toml` and a file of `fuzz/targets`.

/// One fuzz target.
pub struct Target {
    /// The program's name.
    pub name: &'static str,
    /// What untrusted input it feeds, for `--list`.
    pub feeds: &'static str,
    /// The longest input tried, in bytes.
    pub longest_input: usize,
    /// Where its first inputs come from.
    pub seeds: Seeds,
}

/// First inputs of a target, all from files of the repository.
pub enum Seeds {
    /// Every file whose path ends like this, below a folder.
    Files(&'static [(&'static str, &'static str)]),
}

/// Every target.
pub const TARGETS: &[Target] = &[Target {
    name: "config",
    feeds: "config.json, preprocessor_config.json, generation_config.json",
    longest_input: 16 << 10,
    seeds: Seeds::Files(&[
        ("fixtures", "config.json"),
        ("crates/k25-config/tests/data", ".json"),
    ]),
}];
