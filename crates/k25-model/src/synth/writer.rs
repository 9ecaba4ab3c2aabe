//! Writing a plan: values made on all threads while the ones before go to disk.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::Path;

use rayon::prelude::*;

use super::fill::{self, Fill};
use super::plan::{Plan, PlannedShard, PlannedTensor};
use super::{Progress, SynthError, SynthOptions};

/// Bytes of one tensor that a thread makes at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Bytes that are made before they are written. Two such batches are in memory at a time.
const BATCH_BYTES: u64 = 64 << 20;

/// A piece of a tensor.
#[derive(Debug, Clone, Copy)]
struct Piece {
    fill: Fill,
    key: u64,
    start: u64,
    len: usize,
}

/// Writes all files of `plan` into `dir`.
pub(super) fn write_shards(
    dir: &Path,
    plan: &Plan,
    options: SynthOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), SynthError> {
    let mut now = Progress {
        done: 0,
        total: plan.total_bytes(),
    };
    for shard in &plan.shards {
        let path = dir.join(&shard.name);
        let mut file = File::create_new(&path).map_err(SynthError::io("create", &path))?;
        let mut write = |file: &mut File| -> std::io::Result<()> {
            file.write_all(&shard.header())?;
            if options.sparse {
                write_sparse(file, shard)?;
                now.done += shard.values_len();
                progress(now);
                return Ok(());
            }
            write_values(file, shard, options.seed, &mut |bytes| {
                now.done += bytes;
                progress(now);
            })
        };
        write(&mut file).map_err(SynthError::io("write", &path))?;
    }
    Ok(())
}

/// Leaves holes in place of the values, except for the declared shapes.
fn write_sparse(file: &mut File, shard: &PlannedShard) -> std::io::Result<()> {
    let mut position = file.stream_position()?;
    let mut declared = Vec::new();
    for tensor in &shard.tensors {
        let len = tensor.byte_len();
        if let Fill::Declared { .. } = tensor.fill {
            // They lie side by side at the start of the values.
            let start = declared.len();
            declared.resize(start + len as usize, 0);
            tensor.fill.write(0, 0, &mut declared[start..]);
        }
        position += len;
    }
    file.write_all(&declared)?;
    file.set_len(position)
}

fn write_values(
    file: &mut File,
    shard: &PlannedShard,
    seed: u64,
    written: &mut dyn FnMut(u64),
) -> std::io::Result<()> {
    let mut batches = batches(&shard.tensors, seed).into_iter();
    let mut current = batches.next().map(|batch| make(&batch));
    while let Some(bytes) = current {
        let next = batches.next();
        // The disk and the arithmetic work at the same time.
        let (result, made) = rayon::join(
            || bytes.iter().try_for_each(|piece| file.write_all(piece)),
            || next.map(|batch| make(&batch)),
        );
        result?;
        written(bytes.iter().map(|piece| piece.len() as u64).sum());
        current = made;
    }
    Ok(())
}

fn make(pieces: &[Piece]) -> Vec<Vec<u8>> {
    let make = |piece: &Piece| {
        let mut bytes = vec![0; piece.len];
        piece.fill.write(piece.key, piece.start, &mut bytes);
        bytes
    };
    pieces.par_iter().map(make).collect()
}

/// Cuts tensors into pieces and collects pieces into batches.
fn batches(tensors: &[PlannedTensor], seed: u64) -> Vec<Vec<Piece>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut batch_len = 0;
    for tensor in tensors {
        let (key, total) = (fill::key(seed, &tensor.name), tensor.byte_len());
        for start in (0..total).step_by(PIECE_BYTES as usize) {
            let len = (total - start).min(PIECE_BYTES);
            batch.push(Piece {
                fill: tensor.fill,
                key,
                start,
                len: len as usize,
            });
            batch_len += len;
            if batch_len >= BATCH_BYTES {
                batches.push(std::mem::take(&mut batch));
                batch_len = 0;
            }
        }
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// Writes the index: which tensor lies in which file, in the order of names.
pub(super) fn write_index(path: &Path, plan: &Plan) -> Result<(), SynthError> {
    let mut places: Vec<_> = plan
        .shards
        .iter()
        .flat_map(|shard| {
            shard
                .tensors
                .iter()
                .map(move |tensor| (&tensor.name, &shard.name))
        })
        .collect();
    places.sort_unstable();
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create_new(path)?);
        let total = plan.total_bytes();
        write!(
            file,
            "{{\n  \"metadata\": {{\n    \"total_size\": {total}\n  }},\n  \"weight_map\": {{"
        )?;
        for (number, (tensor, shard)) in places.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(file, "{comma}\n    \"{tensor}\": \"{shard}\"")?;
        }
        file.write_all(b"\n  }\n}\n")?;
        file.flush()
    };
    write().map_err(SynthError::io("write", path))
}
