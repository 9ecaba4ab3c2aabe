//! Vision features, computed once per picture however many sequences show it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use k25_model::weights::Model;
use k25_model::vision::{VisionError, VisionItem};
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
    #[error("the prompt shows a picture, and this model has no vision tower\n  hint: use a checkpoint with one, such as Kimi K2.5")]
    NoVision,
    /// The item does not fit the vision tower.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// The item claims another number of rows than the tower makes of it.
    #[error("a picture takes {claimed} rows in the prompt, but has {actual} features\n  hint: one media pad per feature row")]
    Rows {
        /// Rows in the prompt.
        claimed: usize,
        /// Feature rows.
        actual: usize,
    },
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
    pub fn prepare(&mut self, model: &Model, batch: &Batch) -> Result<(), FeatureError> {
        self.clock += 1;
        for row in &batch.rows {
            if let InputRow::Media { item, .. } = row {
                self.prepare_item(model, item)?;
            }
        }
        self.evict();
        Ok(())
    }

    /// A feature row of an item that was prepared.
    ///
    /// # Panics
    /// If the item was not prepared for this batch.
    pub fn row(&self, item: &MediaItem, row: usize) -> &[f32] {
        self.entries[&item.content].rows.row(row)
    }

    fn prepare_item(&mut self, model: &Model, item: &MediaItem) -> Result<(), FeatureError> {
        match self.entries.entry(item.content) {
            Entry::Occupied(mut entry) => entry.get_mut().last_used = self.clock,
            Entry::Vacant(entry) => {
                let rows = encode(model, item)?;
                self.bytes += size_of_val(rows.values());
                entry.insert(Features { rows, last_used: self.clock });
            }
        }
        Ok(())
    }

    /// Drops old entries until the rest fits; what the current batch uses stays.
    fn evict(&mut self) {
        while self.bytes > MOST_BYTES {
            let oldest = self.entries.iter().min_by_key(|(_, features)| features.last_used);
            let Some((&content, features)) = oldest else { return };
            if features.last_used == self.clock {
                return;
            }
            self.bytes -= size_of_val(features.rows.values());
            self.entries.remove(&content);
        }
    }
}

fn encode(model: &Model, item: &MediaItem) -> Result<Rows, FeatureError> {
    let (Some(config), Some(weights)) = (&model.config.vision, &model.vision) else {
        return Err(FeatureError::NoVision);
    };
    let vision_item = VisionItem { grid: item.grid, patches: item.pixels.clone() };
    let features = VisionReference::new().features(config, weights, std::slice::from_ref(&vision_item))?;
    if features.len() != item.rows {
        return Err(FeatureError::Rows { claimed: item.rows, actual: features.len() });
    }
    Ok(features)
}
