//! The executions that a model can run on, behind the engine's one trait.

use std::sync::Arc;
use std::thread;

use k25_engine::features::FeatureError;
use k25_engine::{Batch, FastRunner, MediaItem, ModelRunner, ReferenceRunner, SchedulerConfig};
use k25_kernels::Pool;
use k25_model::fast::FastModel;
use k25_model::weights::Model;

use crate::memory::{check_cache, check_limit, populate};
use crate::{LocalError, LocalOptions};

/// How a model is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Execution {
    /// SIMD kernels. Unless options say otherwise with the weights as stored, f32 activations and an
    /// f32 cache: the reference's numbers but for the order of sums.
    #[default]
    Fast,
    /// Readable f32, the oracle of every other execution.
    Reference,
}

/// A runner of either execution.
pub(crate) enum Runner {
    Fast(FastRunner),
    Reference(ReferenceRunner),
}

impl Runner {
    /// A runner for the cache that `scheduler` shares out.
    pub(crate) fn new(
        model: Model,
        options: &LocalOptions,
        scheduler: &SchedulerConfig,
    ) -> Result<Self, LocalError> {
        let blocks = scheduler.blocks as usize;
        check_cache(&model.config.text, options.cache_format(), scheduler)?;
        match options.execution {
            Execution::Reference => Ok(Self::Reference(ReferenceRunner::new(
                Arc::new(model),
                scheduler,
            ))),
            Execution::Fast => {
                let cores = || thread::available_parallelism().map_or(1, usize::from);
                let pool = Pool::new(options.threads.unwrap_or_else(cores));
                let model = Arc::new(FastModel::new(model, options.fast)?);
                check_limit(&model, options.cache, scheduler)?;
                populate(&model);
                let runner = FastRunner::new(model, pool, options.cache, blocks);
                Ok(Self::Fast(runner))
            }
        }
    }
}

impl ModelRunner for Runner {
    type Error = FeatureError;

    fn vocab_size(&self) -> usize {
        match self {
            Self::Fast(runner) => runner.vocab_size(),
            Self::Reference(runner) => runner.vocab_size(),
        }
    }

    fn check_media(&self, item: &MediaItem) -> Result<(), FeatureError> {
        match self {
            Self::Fast(runner) => runner.check_media(item),
            Self::Reference(runner) => runner.check_media(item),
        }
    }

    fn run(&mut self, batch: &Batch, logits: &mut Vec<f32>) -> Result<(), FeatureError> {
        match self {
            Self::Fast(runner) => runner.run(batch, logits),
            Self::Reference(runner) => runner.run(batch, logits),
        }
    }
}
