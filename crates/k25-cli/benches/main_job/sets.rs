//! Documents, questions about them, and what is true.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// Every set, in the order in which they are asked.
pub const NAMES: [&str; 9] = [
    "crates-1",
    "crates-2",
    "crates-3",
    "packages",
    "json",
    "yaml",
    "markdown",
    "csv-files",
    "csv",
];

/// A question over a folder.
pub struct Set {
    /// Copies of the documents.
    pub documents: TempDir,
    /// What is asked.
    pub question: String,
    /// By row and column; `None` where the documents do not say.
    pub rows: Rows,
}

/// Values by row and column.
pub type Rows = BTreeMap<String, BTreeMap<String, Option<String>>>;

/// Crates of a sample.
const CRATES: usize = 34;

/// Packages of a sample.
const PACKAGES: usize = 30;

/// The set of this name, or why there is none.
pub fn set(name: &str) -> Result<Set, String> {
    match name.split_once('-') {
        Some(("crates", seed)) => crates(seed.parse().map_err(|_| "a sample is a number")?),
        _ if name == "packages" => packages(Path::new("/var/lib/dpkg/status")),
        _ => by_hand(name),
    }
}

/// Every `step`-th of `all` from `first` on, around the end, until there are `count`.
fn sample<T>(all: Vec<T>, count: usize, first: usize) -> Vec<T> {
    let step = (all.len() / count).max(1);
    let mut taken: Vec<_> = all.into_iter().enumerate().collect();
    taken.sort_by_key(|(index, _)| ((index + step - first % step) % step, *index));
    taken
        .into_iter()
        .take(count)
        .map(|(_, item)| item)
        .collect()
}

/// Crates that this workspace depends on, with their sources as cargo has unpacked them.
fn crates(seed: usize) -> Result<Set, String> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().ok_or("no packages")?;
    let mut newest = BTreeMap::new();
    for package in packages {
        let is_registered = package["source"]
            .as_str()
            .is_some_and(|source| source.starts_with("registry"));
        if let (true, Some(name)) = (is_registered, package["name"].as_str()) {
            newest.insert(name.to_owned(), package);
        }
    }
    let documents = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut rows = Rows::new();
    for (name, package) in sample(newest.into_iter().collect(), CRATES, seed) {
        let manifest = PathBuf::from(package["manifest_path"].as_str().ok_or("no manifest")?);
        let folder = manifest.parent().ok_or("no folder")?;
        let copy = documents
            .path()
            .join(folder.file_name().ok_or("no folder")?);
        copy_folder(folder, &copy).map_err(|error| format!("{}: {error}", folder.display()))?;
        let text = fs::read_to_string(&manifest).map_err(|error| error.to_string())?;
        let stated = |field: &str| package[field].as_str().map(str::to_owned);
        // Cargo takes 2015 where the manifest does not say.
        let edition =
            stated("edition").filter(|_| text.lines().any(|line| line.starts_with("edition")));
        let row = [
            ("version", stated("version")),
            ("license", stated("license")),
            ("edition", edition),
            ("rust-version", stated("rust_version")),
            ("repository", stated("repository")),
        ];
        rows.insert(
            name,
            row.map(|(column, value)| (column.to_owned(), value)).into(),
        );
    }
    Ok(Set {
        documents,
        question:
            "For each crate in Cargo.toml: version, license, edition, rust-version, repository."
                .to_owned(),
        rows,
    })
}

fn metadata() -> Result<Value, String> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &to)?,
            false => fs::copy(entry.path(), to).map(|_| ())?,
        }
    }
    Ok(())
}

/// Records of installed Debian packages.
fn packages(status: &Path) -> Result<Set, String> {
    let text = fs::read_to_string(status).map_err(|_| "this is no Debian".to_owned())?;
    let documents = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut rows = Rows::new();
    let records = text
        .split("\n\n")
        .filter(|record| !record.trim().is_empty());
    for record in sample(records.collect(), PACKAGES, 0) {
        let stated = |field: &str| {
            let line = record
                .lines()
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
            line.map(str::to_owned)
        };
        let Some(name) = stated("Package") else {
            continue;
        };
        fs::write(documents.path().join(format!("{name}.txt")), record)
            .map_err(|error| error.to_string())?;
        let row = ["version", "architecture", "section", "maintainer"].map(|column| {
            let field = column[..1].to_uppercase() + &column[1..];
            (column.to_owned(), stated(&field))
        });
        rows.insert(name, row.into());
    }
    Ok(Set {
        documents,
        question: "For each package: version, architecture, section, maintainer.".to_owned(),
        rows,
    })
}

#[derive(Deserialize)]
struct Truth {
    question: String,
    rows: Rows,
}

fn by_hand(name: &str) -> Result<Set, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/main_job/folders")
        .join(name);
    let text = fs::read_to_string(folder.join("truth.json"))
        .map_err(|_| format!("no such set; there are {}", NAMES.join(", ")))?;
    let Truth { question, rows } =
        serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let documents = tempfile::tempdir().map_err(|error| error.to_string())?;
    copy_folder(&folder.join("documents"), documents.path()).map_err(|error| error.to_string())?;
    Ok(Set {
        documents,
        question,
        rows,
    })
}
