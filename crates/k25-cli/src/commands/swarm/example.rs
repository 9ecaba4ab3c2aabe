//! Questions over documents that lie on this machine anyway, to be tried without any of one's own.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use k25_agent::documents::top_entries;

use super::usage;
use crate::args::DocumentArgs;
use crate::commands::Outcome;

/// Documents that an example takes, unless a flag says otherwise.
pub const SAMPLE: usize = 34;

/// A question and where its documents are.
pub struct Example {
    /// What the flag calls it.
    pub name: &'static str,
    /// Asked of a swarm.
    pub question: &'static str,
    /// Asked of one agent.
    pub agent_question: &'static str,
    what: &'static str,
    find: fn() -> Result<Found>,
}

/// Documents of an example, of which a sample is taken.
pub struct Found {
    /// Where they lie.
    pub folder: PathBuf,
    /// Those that may be taken.
    pub entries: Vec<String>,
}

const EXAMPLES: [Example; 1] = [Example {
    name: "crates",
    question: "For each crate in Cargo.toml: version, license, edition, rust-version, repository.",
    agent_question: "Which crates have the edition 2024 in their Cargo.toml?",
    what: "sources that cargo has unpacked, one version of each crate",
    find: crates,
}];

/// The example that the flags name, if they name one.
pub fn named(args: &DocumentArgs) -> Result<Option<&'static Example>> {
    args.example.as_deref().map(of).transpose()
}

/// The example of this name.
fn of(name: &str) -> Result<&'static Example> {
    let found = EXAMPLES.iter().find(|example| example.name == name);
    found.ok_or_else(|| {
        let names = EXAMPLES.map(|example| example.name).join(", ");
        usage(&format!(
            "there is no example {name:?}\n  hint: there is {names}; --example without a name tells more"
        ))
    })
}

/// Says which examples there are.
pub fn list() -> Result<Outcome> {
    let mut stdout = io::stdout().lock();
    for Example {
        name,
        question,
        what,
        ..
    } in EXAMPLES
    {
        writeln!(stdout, "{name}\n  documents  {what}; {SAMPLE} of them")?;
        writeln!(stdout, "  question   {question}")?;
        writeln!(stdout, "  run        k25 swarm --example {name}")?;
    }
    Ok(Outcome::Done)
}

impl Example {
    /// Looks for its documents.
    pub fn find(&self) -> Result<Found> {
        (self.find)()
    }
}

/// The sources in cargo's registry: of several registries the one with the most.
fn crates() -> Result<Found> {
    let sources = cargo_home().map(|home| home.join("registry/src"));
    let none = |place: &str| {
        anyhow!(
            "cargo has unpacked no crates in {place}\n  hint: `cargo fetch` in any project with dependencies unpacks them; \
             CARGO_HOME names cargo's folder; or take documents of your own with --docs DIR"
        )
    };
    let sources = sources.ok_or_else(|| none("~/.cargo/registry/src"))?;
    let registries = top_entries(&sources).unwrap_or_default();
    let registries = registries.iter().map(|name| sources.join(name));
    let found = registries.filter_map(|folder| {
        let entries = newest(top_entries(&folder).ok()?, &folder);
        Some(Found { folder, entries })
    });
    found
        .max_by_key(|found| found.entries.len())
        .filter(|found| !found.entries.is_empty())
        .ok_or_else(|| none(&sources.display().to_string()))
}

/// Where the crates of the example lie, and how many.
pub fn registry_crates() -> Result<(PathBuf, usize)> {
    let found = crates()?;
    Ok((found.folder, found.entries.len()))
}

/// Where cargo keeps what it downloads.
fn cargo_home() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    folder("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(folder("HOME")?).join(".cargo")))
}

/// Of each crate the newest version that has a manifest.
fn newest(entries: Vec<String>, folder: &Path) -> Vec<String> {
    let mut crates: BTreeMap<String, (Version, String)> = BTreeMap::new();
    for entry in entries {
        let Some((name, version)) = split(&entry) else {
            continue;
        };
        if !folder.join(&entry).join("Cargo.toml").is_file() {
            continue;
        }
        let is_newer = |(known, _): &(Version, String)| version > *known;
        if crates.get(name).is_none_or(is_newer) {
            crates.insert(name.to_owned(), (version, entry));
        }
    }
    crates.into_values().map(|(_, entry)| entry).collect()
}

/// Three numbers, and what may follow them; a version with a suffix comes before the one without.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    suffix: String,
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let key = |version: &Self| (version.numbers, version.suffix.is_empty());
        let by_key = key(self).cmp(&key(other));
        Some(by_key.then_with(|| self.suffix.cmp(&other.suffix)))
    }
}

/// `NAME-VERSION` as cargo names folders; both parts may have hyphens.
fn split(entry: &str) -> Option<(&str, Version)> {
    let hyphens = entry.match_indices('-').map(|(at, _)| at);
    hyphens
        .filter_map(|at| Some((&entry[..at], version(&entry[at + 1..])?)))
        .next()
}

fn version(text: &str) -> Option<Version> {
    // What follows a plus is of no order, as in 0.11.0+wasi-snapshot.
    let text = text.split('+').next()?;
    let (numbers, suffix) = text.split_once('-').unwrap_or((text, ""));
    let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then(|| Version {
        numbers,
        suffix: suffix.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_cargo_are_taken_apart() {
        let numbers = |entry: &str| split(entry).map(|(name, v)| (name.to_owned(), v.numbers));
        let of = |name: &str, numbers| Some((name.to_owned(), numbers));
        assert_eq!(numbers("anyhow-1.0.102"), of("anyhow", [1, 0, 102]));
        assert_eq!(numbers("r-efi-5.3.0"), of("r-efi", [5, 3, 0]));
        assert_eq!(numbers("utf-8-0.7.6"), of("utf-8", [0, 7, 6]));
        let wasi = "wasi-0.11.0+wasi-snapshot-preview1";
        assert_eq!(numbers(wasi), of("wasi", [0, 11, 0]));
        assert_eq!(numbers("x-1.0.0-rc.1"), of("x", [1, 0, 0]));
        assert_eq!(numbers("x-1.0"), None);
        assert_eq!(numbers("README.md"), None);
    }

    #[test]
    fn of_each_crate_the_newest_version_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        let entries = [
            "a-1.9.0",
            "a-1.10.0",
            "a-1.10.0-rc.2",
            "b-0.1.0-beta",
            "c-3.0.0",
            "notes",
        ];
        for entry in entries {
            std::fs::create_dir(dir.path().join(entry)).expect("a folder");
            // What cargo was stopped at while it unpacked has no manifest.
            if entry != "c-3.0.0" {
                let manifest = dir.path().join(entry).join("Cargo.toml");
                std::fs::write(manifest, "").expect("a file");
            }
        }
        let entries = entries.map(str::to_owned).to_vec();
        assert_eq!(newest(entries, dir.path()), ["a-1.10.0", "b-0.1.0-beta"]);
    }
}
