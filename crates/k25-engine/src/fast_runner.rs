//! A runner over the fast execution and its paged cache.

use std::sync::Arc;

use k25_kernels::Pool;
use k25_model::exec;
use k25_model::fast::{
    Fast, FastBatch, FastModel, LatentFormat, PagedLatents, RowCopy, SequenceSpan,
};

use crate::batch::Batch;
use crate::features::{self, FeatureCache, FeatureError, Tower};
use crate::prompt::MediaItem;
use crate::runner::ModelRunner;

/// Runs batches with SIMD kernels.
pub struct FastRunner {
    model: Arc<FastModel>,
    pool: Pool,
    cache: PagedLatents,
    features: FeatureCache,
}

impl FastRunner {
    /// A runner with a cache of `blocks` blocks of [`PagedLatents::BLOCK_ROWS`] rows.
    pub fn new(model: Arc<FastModel>, pool: Pool, format: LatentFormat, blocks: usize) -> Self {
        let cache = PagedLatents::new(&model.model().config.text, format, blocks);
        Self {
            model,
            pool,
            cache,
            features: FeatureCache::default(),
        }
    }
}

impl ModelRunner for FastRunner {
    type Error = FeatureError;

    fn vocab_size(&self) -> usize {
        self.model.model().config.text.vocab_size
    }

    fn check_media(&self, item: &MediaItem) -> Result<(), FeatureError> {
        features::check(self.model.model(), item)
    }

    fn run(&mut self, batch: &Batch, logits: &mut Vec<f32>) -> Result<(), FeatureError> {
        let tower = Tower::Fast(&self.pool);
        self.features.prepare(tower, self.model.model(), batch)?;
        for copy in &batch.copies {
            self.cache.copy_rows(RowCopy {
                from: copy.from.0,
                to: copy.to.0,
                rows: copy.rows,
            });
        }
        let blocks: Vec<u32> = batch.blocks.iter().map(|block| block.0).collect();
        let sequences: Vec<SequenceSpan<'_>> = batch
            .spans
            .iter()
            .map(|span| SequenceSpan {
                rows: span.rows.clone(),
                cached_rows: span.cached_rows,
                blocks: &blocks[span.blocks.clone()],
            })
            .collect();
        let rows: Vec<exec::InputRow<'_>> = batch
            .rows
            .iter()
            .map(|row| self.features.input(row))
            .collect();
        let plan = FastBatch {
            positions: &batch.positions,
            sequences: &sequences,
        };
        let computed = Fast::new(&self.model, &self.pool, &mut self.cache, plan)
            .logits(&rows, &batch.logits_rows);
        logits.extend_from_slice(computed.values());
        Ok(())
    }
}
