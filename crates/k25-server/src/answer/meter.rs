//! What an answer leaves in the metrics and the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use k25_chat::{ChatEvent, ChatReply, ChatRequest, ChatUsage};

use crate::app::App;
use crate::audit::AuditLog;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::record::{AnswerRecord, Asked};
use crate::request_log::Asker;
use crate::telemetry::Telemetry;
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
    /// Only where somebody keeps records.
    record: Option<Box<AnswerRecord>>,
    audit: Option<Arc<AuditLog>>,
    telemetry: Option<Arc<Telemetry>>,
}

impl AnswerMeter {
    pub fn new(
        app: &App,
        asker: &Asker,
        chat: &ChatRequest,
        model: &str,
        choices: u32,
        began: Instant,
    ) -> Self {
        asker.is_followed.store(true, Ordering::Relaxed);
        let is_recorded = app.audit.is_some() || app.telemetry.is_some();
        let with_words =
            app.audit.is_some() || app.telemetry.as_ref().is_some_and(|it| it.wants_content());
        let record = is_recorded.then(|| {
            Box::new(AnswerRecord {
                request_id: asker.request_id.clone(),
                key: asker.account.name.clone(),
                model: model.to_owned(),
                trace: asker.trace,
                began: SystemTime::now() - began.elapsed(),
                took: Duration::ZERO,
                first_piece: None,
                max_tokens: chat.max_tokens,
                temperature: chat.sampling.temperature,
                top_p: chat.sampling.top_p,
                thinking: chat.thinking,
                asked: with_words.then(|| Asked::of(chat)),
                replies: vec![ChatReply::default(); choices as usize],
                usage: ChatUsage::default(),
                end: "",
                error: None,
            })
        });
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
            record,
            audit: app.audit.clone(),
            telemetry: app.telemetry.clone(),
        }
    }

    pub fn event(&mut self, index: usize, event: &ChatEvent) {
        if let Some(record) = &mut self.record {
            record.replies[index].add(event);
        }
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
        if let Some(mut record) = self.record.take() {
            record.took = self.began.elapsed();
            record.first_piece = self.first_piece;
            record.usage = usage;
            record.end = end;
            record.error = error.map(str::to_owned);
            self.audit.iter().for_each(|audit| audit.write(&record));
            self.telemetry.iter().for_each(|it| it.record(&record));
        }
    }
}

impl Drop for AnswerMeter {
    fn drop(&mut self) {
        if !self.told {
            self.cut_short("cancelled", None);
        }
    }
}
