//! Random checkpoints in the real layout, for benchmarks and tests.
//!
//! The same preset and seed give the same bytes on every machine and with any number of threads.
//! A sparse checkpoint has true headers, index and `weight_shape` tensors over file holes, so that
//! the whole of Kimi K2.5 can be opened on a small disk; all its other values are zero.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

mod fill;
mod plan;
mod preset;
mod writer;

pub use plan::{Plan, PlannedShard, PlannedTensor};
pub use preset::Preset;

use crate::checkpoint::{Facts, INDEX_FILE, amount};

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SynthOptions {
    /// The shape of the model.
    pub preset: Preset,
    /// Which of the random models of that shape.
    pub seed: u64,
    /// Holes in place of values.
    pub sparse: bool,
}

/// A file that the caller wants beside the weights, such as the tokenizer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFile {
    /// Its name in the folder.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// How far the writing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of values that are written, or left as holes.
    pub done: u64,
    /// Bytes of values in all.
    pub total: u64,
}

/// Why a checkpoint could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// Something is there already.
    #[error("{} is not empty{}", dir.display(), Facts::new()
        .with("hint", "give a new folder: nothing is ever overwritten"))]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// The disk is too small.
    #[error("not enough space for the checkpoint{}", Facts::new()
        .with("folder", dir.display())
        .with("needed", amount(*needed))
        .with("free", amount(*free))
        .with("hint", "choose another disk or a smaller preset, or write it sparse"))]
    NoSpace {
        /// The folder.
        dir: PathBuf,
        /// Bytes that would be written.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), Facts::new()
        .with("hint", "the folder is incomplete now: remove it before the next try"))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SynthError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Writes a checkpoint into `dir`, which is new or empty, and returns what was written.
///
/// `config.json` comes last: a folder without it was not finished.
///
/// # Errors
/// Where the folder holds anything, the disk is too small, or the system refuses.
pub fn write(
    dir: &Path,
    options: SynthOptions,
    extra: &[ExtraFile],
    progress: &mut dyn FnMut(Progress),
) -> Result<Plan, SynthError> {
    let config = options.preset.config();
    let plan = Plan::new(&config, options.preset.shards(), options.sparse);
    create_empty(dir)?;
    check_space(dir, &plan, options.sparse)?;
    writer::write_shards(dir, &plan, options, progress)?;
    writer::write_index(&dir.join(INDEX_FILE), &plan)?;
    for file in extra {
        write_file(&dir.join(&file.name), &file.bytes)?;
    }
    if config.vision.is_some() {
        let text = format!("{:#}\n", media_settings());
        write_file(&dir.join("preprocessor_config.json"), text.as_bytes())?;
    }
    write_file(
        &dir.join("config.json"),
        config.to_checkpoint_json().as_bytes(),
    )?;
    Ok(plan)
}

fn create_empty(dir: &Path) -> Result<(), SynthError> {
    fs::create_dir_all(dir).map_err(SynthError::io("create", dir))?;
    match fs::read_dir(dir)
        .map_err(SynthError::io("list", dir))?
        .next()
    {
        None => Ok(()),
        Some(_) => Err(SynthError::NotEmpty {
            dir: dir.to_owned(),
        }),
    }
}

fn check_space(dir: &Path, plan: &Plan, sparse: bool) -> Result<(), SynthError> {
    let needed = plan.bytes_on_disk(sparse);
    let free =
        fs4::available_space(dir).map_err(SynthError::io("ask for the free space of", dir))?;
    if free < needed {
        return Err(SynthError::NoSpace {
            dir: dir.to_owned(),
            needed,
            free,
        });
    }
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), SynthError> {
    fs::write(path, bytes).map_err(SynthError::io("write", path))
}

/// `preprocessor_config.json` as it is published (spec: architecture §1).
fn media_settings() -> serde_json::Value {
    json!({ "media_proc_cfg": {
        "in_patch_limit": 16384,
        "patch_size": 14,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "merge_kernel_size": 2,
        "fixed_output_tokens": null,
        "patch_limit_on_one_side": 512,
        "in_patch_limit_each_frame": 4096,
        "in_patch_limit_video": null,
        "sample_fps": 2.0,
        "max_num_frames_each_video": null,
        "temporal_merge_kernel_size": 4,
        "timestamp_mode": "hh:mm:ss.fff",
    }})
}

#[cfg(test)]
mod tests;
