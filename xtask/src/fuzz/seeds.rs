//! Writing the first inputs of a target into its corpus.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::targets::{Seeds, Target};

/// Writes the seeds of `target` into the folder `corpus`; those of an earlier run are written over.
pub fn write(target: &Target, corpus: &Path) -> Result<()> {
    let seeds = match &target.seeds {
        Seeds::Files(places) => files(places)?,
    };
    ensure!(!seeds.is_empty(), "none were found");
    for (number, seed) in seeds.iter().enumerate() {
        // A longer one would be cut by the engine, which makes it another input.
        if seed.len() <= target.longest_input {
            fs::write(corpus.join(format!("seed-{number:04}")), seed)?;
        }
    }
    Ok(())
}

fn files(places: &[(&str, &str)]) -> Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for (folder, ending) in places {
        let before = paths.len();
        collect(Path::new(folder), ending, &mut paths)?;
        ensure!(
            paths.len() > before,
            "no file under {folder} ends in {ending}"
        );
    }
    paths.iter().map(|path| Ok(fs::read(path)?)).collect()
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, ending, found)?;
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    Ok(())
}
