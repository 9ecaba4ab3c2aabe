//! The engine's view of a model: something that runs a batch.

use std::fmt;

use crate::batch::Batch;
use crate::prompt::MediaItem;

/// Runs batches over a latent cache of its own, whose rows lie where the scheduler says.
pub trait ModelRunner {
    /// Why a batch could not be run.
    type Error: fmt::Display;

    /// Logits per row.
    fn vocab_size(&self) -> usize;

    /// Whether the runner can read a media item; asked when a request comes, so that one that it cannot
    /// read never reaches a batch, where it would fail others with it.
    fn check_media(&self, item: &MediaItem) -> Result<(), Self::Error>;

    /// Does the batch's copies, computes its rows, and writes the logits of `batch.logits_rows`, one
    /// row after the other, to `logits`, which comes empty.
    ///
    /// After an error the cache's content is void: the engine starts every sequence again.
    fn run(&mut self, batch: &Batch, logits: &mut Vec<f32>) -> Result<(), Self::Error>;
}
