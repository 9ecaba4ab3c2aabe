//! Vision features, computed once per picture however many sequences show it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use k25_config::VisionConfig;
use k25_kernels::Pool;
use k25_model::exec;
use k25_model::fast::VisionFast;
use k25_model::vision::weights::VisionWeights;
use k25_model::vision::{Packing, VisionError, VisionItem};
use k25_model::weights::Model;
use k25_model::{Rows, VisionReference};
use thiserror::Error;

use crate::batch::Batch;
use crate::prompt::{ContentHash, InputRow, MediaItem};

/// Bytes of features that are kept: about 9,000 rows of the real width.
const MOST_BYTES: usize = 256 << 20;

/// A picture that cannot be encoded.
#[derive(Debug, Error)]
pub enum FeatureError {
    /// The model reads text alone.
    #[error(
        "the prompt shows a picture, and this model has no vision tower\n  hint: use a checkpoint with one, such as Kimi K2.5"
    )]
    NoVision,
    /// The item does not fit the vision tower.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// The item claims another number of rows than the tower makes of it.
    #[error(
        "a picture takes {claimed} rows in the prompt, but has {actual} features\n  hint: one media pad per feature row"
    )]
    Rows {
        /// Rows in the prompt.
        claimed: usize,
        /// Feature rows.
        actual: usize,
    },
}

/// What computes features.
#[derive(Clone, Copy)]
pub enum Tower<'a> {
    /// Readable f32.
    Reference,
    /// SIMD kernels on these threads, in f32 whatever the text model is computed in.
    Fast(&'a Pool),
}

/// Features by content; the least recently used go first.
#[derive(Debug, Default)]
pub struct FeatureCache {
    entries: HashMap<ContentHash, Features>,
    bytes: usize,
    /// Counts batches; tells old entries from new ones.
    clock: u64,
}

#[derive(Debug)]
struct Features {
    rows: Rows,
    last_used: u64,
}

impl FeatureCache {
    /// Makes sure that the features of every picture of `batch` are there.
    ///
    /// # Errors
    /// If one cannot be encoded.
    pub fn prepare(
        &mut self,
        tower: Tower<'_>,
        model: &Model,
        batch: &Batch,
    ) -> Result<(), FeatureError> {
        self.clock += 1;
        for row in &batch.rows {
            if let InputRow::Media { item, .. } = row {
                self.prepare_item(tower, model, item)?;
            }
        }
        self.evict();
        Ok(())
    }

    /// What the model reads for a row of the batch that was prepared last.
    ///
    /// # Panics
    /// If the row is of an item that was not prepared.
    pub fn input<'a>(&'a self, row: &'a InputRow) -> exec::InputRow<'a> {
        match row {
            InputRow::Token(token) => exec::InputRow::Token(*token),
            InputRow::Media { item, row } => {
                exec::InputRow::Feature(self.entries[&item.content].rows.row(*row))
            }
        }
    }

    fn prepare_item(
        &mut self,
        tower: Tower<'_>,
        model: &Model,
        item: &MediaItem,
    ) -> Result<(), FeatureError> {
        match self.entries.entry(item.content) {
            Entry::Occupied(mut entry) => {
                check_rows(item, entry.get().rows.len())?;
                entry.get_mut().last_used = self.clock;
            }
            Entry::Vacant(entry) => {
                let rows = encode(tower, model, item)?;
                self.bytes += size_of_val(rows.values());
                entry.insert(Features {
                    rows,
                    last_used: self.clock,
                });
            }
        }
        Ok(())
    }

    /// Drops old entries until the rest fits; what the current batch uses stays.
    fn evict(&mut self) {
        while self.bytes > MOST_BYTES {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, features)| features.last_used);
            let Some((&content, features)) = oldest else {
                return;
            };
            if features.last_used == self.clock {
                return;
            }
            self.bytes -= size_of_val(features.rows.values());
            self.entries.remove(&content);
        }
    }
}

/// Whether the model can read an item, found without encoding it.
///
/// # Errors
/// As [`FeatureCache::prepare`].
pub fn check(model: &Model, item: &MediaItem) -> Result<(), FeatureError> {
    let (config, _) = vision(model)?;
    let packing = Packing::new(&[vision_item(item)], config)?;
    check_rows(item, packing.tokens().sum())
}

fn encode(tower: Tower<'_>, model: &Model, item: &MediaItem) -> Result<Rows, FeatureError> {
    let (config, weights) = vision(model)?;
    let items = [vision_item(item)];
    let features = match tower {
        Tower::Reference => VisionReference::new().features(config, weights, &items)?,
        Tower::Fast(pool) => VisionFast::new(pool).features(config, weights, &items)?,
    };
    check_rows(item, features.len())?;
    Ok(features)
}

fn vision(model: &Model) -> Result<(&VisionConfig, &VisionWeights), FeatureError> {
    let both = model.config.vision.as_ref().zip(model.vision.as_ref());
    both.ok_or(FeatureError::NoVision)
}

fn vision_item(item: &MediaItem) -> VisionItem {
    VisionItem {
        grid: item.grid,
        patches: item.pixels.clone(),
    }
}

fn check_rows(item: &MediaItem, actual: usize) -> Result<(), FeatureError> {
    if actual == item.rows {
        Ok(())
    } else {
        let claimed = item.rows;
        Err(FeatureError::Rows { claimed, actual })
    }
}
