//! What an answer leaves in the metrics and the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k25_chat::{ChatEvent, ChatUsage};

use crate::app::App;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::request_log::Asker;
use crate::usage::UsageLedger;

/// Follows one request's answers. Dropped before they are over, it counts them as cancelled.
pub(super) struct AnswerMeter {
    metrics: Arc<Metrics>,
    ledger: Arc<UsageLedger>,
    request_id: String,
    key: String,
    model: String,
    began: Instant,
    last_piece: Option<Instant>,
    first_piece: Option<Duration>,
    end: Option<&'static str>,
    /// As far as they are known before the end.
    prompt_tokens: u64,
    /// Pieces so far: about the tokens of an answer that is cut short.
    pieces: u64,
    told: bool,
}

impl AnswerMeter {
    pub fn new(app: &App, asker: &Asker, model: &str, began: Instant) -> Self {
        AnswerMeter {
            metrics: Arc::clone(&app.metrics),
            ledger: Arc::clone(&app.ledger),
            request_id: asker.request_id.clone(),
            key: asker.account.name.clone(),
            model: model.to_owned(),
            began,
            last_piece: None,
            first_piece: None,
            end: None,
            prompt_tokens: 0,
            pieces: 0,
            told: false,
        }
    }

    pub fn event(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Output(_) => self.piece(Instant::now()),
            ChatEvent::Begun { prompt_tokens } => self.prompt_tokens = *prompt_tokens,
            ChatEvent::Tokens(_) => {}
            ChatEvent::Finished { reason, .. } => self.end = Some(reason.openai_name()),
        }
    }

    fn piece(&mut self, now: Instant) {
        self.pieces += 1;
        match self.last_piece.replace(now) {
            Some(last) => self.metrics.next_token(now - last),
            None => {
                let time = now - self.began;
                self.first_piece = Some(time);
                self.metrics.first_token(time);
            }
        }
    }

    /// All answers of the request are complete.
    pub fn finished(&mut self, usage: ChatUsage) {
        let end = self.end.take().unwrap_or("stop");
        self.metrics.count_answer(end);
        self.count(usage);
        self.tell(end, usage, None);
    }

    fn count(&self, usage: ChatUsage) {
        self.metrics.count_tokens(&self.model, &self.key, usage);
        let cost = self.ledger.count(&self.key, &self.model, &usage);
        if let (Some(cost), Some(currency)) = (cost, self.ledger.currency()) {
            let Self { model, key, .. } = self;
            self.metrics.count_cost(model, key, currency, cost);
        }
    }

    /// What an answer that broke off cost, as far as it is known.
    fn cut_short(&mut self, end: &'static str, error: Option<&str>) {
        let usage = ChatUsage {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.pieces,
            ..ChatUsage::default()
        };
        self.metrics.count_answer(end);
        if usage != ChatUsage::default() {
            self.count(usage);
        }
        self.tell(end, usage, error);
    }

    pub fn failed(&mut self, error: &ApiError) {
        self.cut_short("error", Some(&error.message));
    }

    fn tell(&mut self, end: &'static str, usage: ChatUsage, error: Option<&str>) {
        self.told = true;
        tracing::info!(
            request_id = self.request_id,
            key = self.key,
            model = self.model,
            end,
            error,
            prompt_tokens = usage.prompt_tokens,
            cached_tokens = usage.cached_tokens,
            completion_tokens = usage.completion_tokens,
            first_token_ms = self.first_piece.map(|time| time.as_secs_f64() * 1e3),
            total_ms = self.began.elapsed().as_secs_f64() * 1e3,
            "answer"
        );
    }
}

impl Drop for AnswerMeter {
    fn drop(&mut self) {
        if !self.told {
            self.cut_short("cancelled", None);
        }
    }
}
