//! A runner over the readable execution: slow, and right.

use std::sync::Arc;

use k25_model::weights::Model;
use k25_model::{LatentCache, Reference, ReferenceOptions, exec};

use crate::batch::{Batch, Span};
use crate::features::{self, FeatureCache, FeatureError, Tower};
use crate::paged_cache::{BlockCopy, BlockId};
use crate::prompt::MediaItem;
use crate::runner::ModelRunner;
use crate::scheduler::SchedulerConfig;

/// Runs batches with the reference arithmetic, one sequence after the other.
pub struct ReferenceRunner {
    model: Arc<Model>,
    cache: PagedRows,
    features: FeatureCache,
}

/// Blocks of cached rows in f32: `[layer][block, row, width]`.
struct PagedRows {
    layers: Vec<Vec<f32>>,
    width: usize,
    block_rows: usize,
}

impl ReferenceRunner {
    /// A runner with the cache that `scheduler` shares out.
    pub fn new(model: Arc<Model>, scheduler: &SchedulerConfig) -> Self {
        let (width, layers) = (
            model.config.text.latent_width(),
            model.config.text.num_hidden_layers,
        );
        let cache = PagedRows {
            // One by one: memory is taken as rows are written, and copies would write all of them.
            layers: (0..layers)
                .map(|_| vec![0.0; scheduler.cache_rows() * width])
                .collect(),
            width,
            block_rows: scheduler.block_rows,
        };
        Self {
            model,
            cache,
            features: FeatureCache::default(),
        }
    }

    fn run_span(&mut self, batch: &Batch, span: &Span, logits: &mut Vec<f32>) {
        let config = &self.model.config.text;
        let mut cache = LatentCache::new(config);
        for layer in 0..config.num_hidden_layers {
            for position in 0..span.cached_rows {
                cache.push(
                    layer,
                    self.cache.row(layer, self.place(batch, span, position)),
                );
            }
        }
        let rows: Vec<exec::InputRow<'_>> = batch.rows[span.rows.clone()]
            .iter()
            .map(|row| self.features.input(row))
            .collect();
        let wanted: Vec<usize> = (span.rows.len() - span.logits.len()..span.rows.len()).collect();
        let positions = &batch.positions[span.rows.clone()];
        let options = ReferenceOptions::default();
        let computed = Reference::new(config, options, &mut cache, positions).logits(
            &self.model.text,
            &rows,
            &wanted,
        );
        logits.extend_from_slice(computed.values());

        for layer in 0..config.num_hidden_layers {
            for position in span.cached_rows..cache.len() {
                let place = self.place(batch, span, position);
                self.cache
                    .row_mut(layer, place)
                    .copy_from_slice(cache.row(layer, position));
            }
        }
    }

    fn place(&self, batch: &Batch, span: &Span, position: usize) -> (BlockId, usize) {
        batch.place(span, position, self.cache.block_rows)
    }
}

impl PagedRows {
    fn start(&self, (block, row): (BlockId, usize)) -> usize {
        (block.index() * self.block_rows + row) * self.width
    }

    fn row(&self, layer: usize, place: (BlockId, usize)) -> &[f32] {
        let start = self.start(place);
        &self.layers[layer][start..start + self.width]
    }

    fn row_mut(&mut self, layer: usize, place: (BlockId, usize)) -> &mut [f32] {
        let start = self.start(place);
        &mut self.layers[layer][start..start + self.width]
    }

    fn copy(&mut self, copy: BlockCopy) {
        let (from, to) = (self.start((copy.from, 0)), self.start((copy.to, 0)));
        for layer in &mut self.layers {
            layer.copy_within(from..from + copy.rows * self.width, to);
        }
    }
}

impl ModelRunner for ReferenceRunner {
    type Error = FeatureError;

    fn vocab_size(&self) -> usize {
        self.model.config.text.vocab_size
    }

    fn check_media(&self, item: &MediaItem) -> Result<(), FeatureError> {
        features::check(&self.model, item)
    }

    fn run(&mut self, batch: &Batch, logits: &mut Vec<f32>) -> Result<(), FeatureError> {
        self.features
            .prepare(Tower::Reference, &self.model, batch)?;
        for &copy in &batch.copies {
            self.cache.copy(copy);
        }
        for span in &batch.spans {
            self.run_span(batch, span, logits);
        }
        Ok(())
    }
}
