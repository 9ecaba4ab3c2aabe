//! For tests only: what damaged files look like, and models and documents that follow a script.
//!
//! The tables here are shared by tests of the libraries and of the program, so that a kind of damage
//! that somebody thinks of is tried wherever a file of that kind is read.

pub mod damage;
pub mod media;
pub mod scripted;
pub mod teacher;
pub mod world;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of the reference fixtures.
pub fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
}

/// Copies the files of the folder `from` into the folder `to`.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// Writes a checkpoint into the folder `to`: the fixture model `t1` and the fixtures' tokenizer,
/// which belongs to it.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write_sound_checkpoint(to: &Path) -> io::Result<()> {
    copy_files(&fixtures().join("t1"), to)?;
    copy_files(&fixtures().join("tokenizer"), to)
}
