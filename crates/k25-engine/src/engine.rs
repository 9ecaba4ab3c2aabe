//! Scheduler, runner and sampler in one loop: [`step`](Engine::step) plans, runs, samples and tells.

mod generation;
mod worker;

pub use worker::{EngineHandle, EngineStopped, spawn};

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch::{Batch, Span};
use crate::request::{Event, EventSink, FinishReason, Request, RequestId, SequenceId};
use crate::runner::ModelRunner;
use crate::sampling::{Sampled, Sampler};
use crate::scheduler::{AdmissionError, ConfigError, Counters, Job, Scheduler, SchedulerConfig};
use generation::Generation;

/// Serves requests with one model, one step at a time.
pub struct Engine<R> {
    scheduler: Scheduler,
    runner: R,
    sampler: Sampler,
    requests: HashMap<RequestId, Live>,
    logits: Vec<f32>,
    next_id: Arc<AtomicU64>,
}

/// A request that has not ended.
struct Live {
    events: EventSink,
    /// By sample; `None` after its end.
    generations: Vec<Option<Generation>>,
}

/// What the engine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Sequences that wait for their turn.
    pub waiting_sequences: usize,
    /// Sequences that have their turn.
    pub running_sequences: usize,
    /// Blocks that no sequence uses; the prefix tree may have rows in them.
    pub available_blocks: usize,
    /// What happened since the start.
    pub counters: Counters,
}

impl<R: ModelRunner> Engine<R> {
    /// An engine over a runner whose cache has the blocks that `config` speaks of.
    pub fn new(config: SchedulerConfig, runner: R) -> Result<Self, ConfigError> {
        Ok(Self {
            scheduler: Scheduler::new(config)?,
            runner,
            sampler: Sampler::new(),
            requests: HashMap::new(),
            logits: Vec::new(),
            next_id: Arc::new(AtomicU64::new(0)),
        })
    }

    /// Accepts a request, or says why it can never be served. Its events go to `events`.
    pub fn submit(
        &mut self,
        request: Request,
        events: EventSink,
    ) -> Result<RequestId, AdmissionError> {
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.admit(id, request, events)
            .map_err(|(error, _)| error)?;
        Ok(id)
    }

    /// Ends a request; every sample that still runs finishes as cancelled.
    pub fn cancel(&mut self, id: RequestId) {
        let samples = self
            .requests
            .get(&id)
            .map_or(0, |live| live.generations.len() as u32);
        for sample in 0..samples {
            self.finish(
                SequenceId {
                    request: id,
                    sample,
                },
                FinishReason::Cancelled,
            );
        }
    }

    /// Computes one step; false where there was nothing to do.
    pub fn step(&mut self) -> bool {
        let batch = self.scheduler.schedule();
        if batch.is_empty() {
            assert!(
                self.scheduler.is_idle(),
                "the first sequence in order always moves on"
            );
            return false;
        }
        self.logits.clear();
        match self.runner.run(&batch, &mut self.logits) {
            Ok(()) => {
                let expected = batch.logits_rows.len() * self.runner.vocab_size();
                assert_eq!(self.logits.len(), expected, "a runner's logits");
                batch
                    .spans
                    .iter()
                    .for_each(|span| self.take_span(&batch, span));
            }
            Err(error) => self.fail(&batch, &error.to_string()),
        }
        true
    }

    /// Whether no request is open.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    /// What the engine is doing.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            waiting_sequences: self.scheduler.waiting(),
            running_sequences: self.scheduler.running(),
            available_blocks: self.scheduler.available_blocks(),
            counters: self.scheduler.counters(),
        }
    }

    /// The scheduler, to look at.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// The runner, to look at.
    pub fn runner(&self) -> &R {
        &self.runner
    }

    /// Lets `change` change the model. What was computed before no longer holds: running sequences
    /// go on from their tokens with rows computed anew.
    pub fn change_model<T>(&mut self, change: impl FnOnce(&mut R) -> T) -> T {
        let result = change(&mut self.runner);
        self.scheduler.reset_cache();
        result
    }

    fn admit(
        &mut self,
        id: RequestId,
        request: Request,
        events: EventSink,
    ) -> Result<(), (AdmissionError, EventSink)> {
        match self.put_in_line(id, request) {
            Ok(generations) => {
                self.requests.insert(
                    id,
                    Live {
                        events,
                        generations,
                    },
                );
                Ok(())
            }
            Err(error) => Err((error, events)),
        }
    }

    fn put_in_line(
        &mut self,
        id: RequestId,
        request: Request,
    ) -> Result<Vec<Option<Generation>>, AdmissionError> {
        let Request {
            prompt,
            params,
            samples,
            priority,
            grammar,
        } = request;
        prompt.validate(self.runner.vocab_size())?;
        params.validate(self.runner.vocab_size())?;
        for item in prompt.media() {
            let refused = |error: R::Error| AdmissionError::Media(error.to_string());
            self.runner.check_media(item).map_err(refused)?;
        }
        let (prompt, max_tokens) = (Arc::new(prompt), params.max_tokens);
        self.scheduler.add(Job {
            id,
            prompt: Arc::clone(&prompt),
            max_tokens,
            samples,
            priority,
        })?;
        let generation = |sample| {
            let grammar = grammar.as_ref().map(|grammar| grammar.fork());
            Some(Generation::new(
                params.for_sample(sample as usize),
                &prompt,
                grammar,
            ))
        };
        Ok((0..samples).map(generation).collect())
    }

    /// Samples what a span's logits are for, tells it, and lets the scheduler know.
    fn take_span(&mut self, batch: &Batch, span: &Span) {
        let id = span.sequence;
        let vocab_size = self.runner.vocab_size();
        let Some(live) = self.requests.get_mut(&id.request) else {
            return;
        };
        let Some(generation) = live.generations[id.sample as usize].as_mut() else {
            return;
        };
        let rows = self.logits[span.logits.start * vocab_size..span.logits.end * vocab_size]
            .chunks_exact(vocab_size);
        let known_rows = span.cached_rows + span.rows.len() - span.drafts;
        let (sampled, end) =
            generation.advance(&mut self.sampler, rows, known_rows, batch.drafts(span));

        let tokens: Vec<u32> = sampled.iter().map(|sampled| sampled.token).collect();
        self.scheduler.update(span, &tokens);
        if end.is_none() && !tokens.is_empty() {
            let most = self.scheduler.config().grammar_drafts;
            self.scheduler.guess(id, generation.forced(most));
        }
        let mut wanted = true;
        for Sampled { token, logprobs } in sampled {
            wanted = wanted
                && (live.events)(Event::Token {
                    sample: id.sample,
                    token,
                    logprobs,
                });
        }
        if !wanted {
            self.cancel(id.request);
        } else if let Some(reason) = end {
            self.finish(id, reason);
        }
    }

    fn finish(&mut self, id: SequenceId, reason: FinishReason) {
        let Some(usage) = self.scheduler.remove(id) else {
            return;
        };
        let Some(live) = self.requests.get_mut(&id.request) else {
            return;
        };
        live.generations[id.sample as usize] = None;
        let wanted = (live.events)(Event::Finished {
            sample: id.sample,
            reason,
            usage,
        });
        if live.generations.iter().all(Option::is_none) {
            self.requests.remove(&id.request);
        } else if !wanted {
            self.cancel(id.request);
        }
    }

    /// Ends the sequences of a batch that could not be run; the others start again.
    fn fail(&mut self, batch: &Batch, error: &str) {
        self.scheduler.reset_cache();
        for span in &batch.spans {
            self.finish(span.sequence, FinishReason::Failed(error.to_owned()));
        }
    }
}
