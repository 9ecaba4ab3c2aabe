//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;

use crate::admission::Admission;
use crate::audit::AuditLog;
use crate::body::BodyBudget;
use crate::error::{ApiError, ServerError};
use crate::files::FileStore;
use crate::keys::{KeyFile, Keys};
use crate::media::MediaFetcher;
use crate::metrics::{Gauges, Metrics, UpstreamGauge};
use crate::model::Model;
use crate::options::ServerOptions;
use crate::record::AnswerRecord;
use crate::routes;
use crate::telemetry::Telemetry;
use crate::usage::UsageLedger;

/// The models, keys, limits and figures of a server.
pub struct App {
    pub(crate) options: ServerOptions,
    pub(crate) models: Vec<Model>,
    pub(crate) keys: Keys,
    pub(crate) admission: Arc<Admission>,
    pub(crate) budget: Arc<BodyBudget>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ledger: Arc<UsageLedger>,
    pub(crate) fetcher: Option<MediaFetcher>,
    pub(crate) files: Option<Arc<FileStore>>,
    pub(crate) audit: Option<Arc<AuditLog>>,
    pub(crate) telemetry: Option<Arc<Telemetry>>,
    draining: AtomicBool,
    /// Ids are this start, random, and a number.
    id_start: u64,
    next_id: AtomicU64,
}

impl App {
    /// Puts a server together. Without a key file everyone may ask.
    ///
    /// # Errors
    /// If pictures cannot be fetched, or usage cannot be kept, as `options` want it.
    pub fn new(
        models: Vec<Model>,
        keys: Option<&KeyFile>,
        options: ServerOptions,
    ) -> Result<Arc<Self>, ServerError> {
        let fetcher = options.fetch.clone().map(MediaFetcher::new).transpose()?;
        let files = options.files.clone().map(FileStore::open).transpose()?;
        let audit = options.audit.clone().map(AuditLog::open).transpose()?;
        let telemetry = options.telemetry.as_ref().map(Telemetry::new).transpose()?;
        let ledger = UsageLedger::open(options.prices.clone(), options.usage_file.clone())?;
        let mut start = [0; 8];
        // Ids need not be secret: without random numbers they only repeat after a restart.
        let _ = getrandom::fill(&mut start);
        Ok(Arc::new(App {
            models,
            keys: Keys::new(keys),
            admission: Arc::new(Admission::new(options.max_running, options.max_waiting)),
            budget: Arc::new(BodyBudget::new(options.max_held_bytes)),
            metrics: Arc::new(Metrics::new()),
            ledger: Arc::new(ledger),
            fetcher,
            files: files.map(Arc::new),
            audit: audit.map(Arc::new),
            telemetry: telemetry.map(Arc::new),
            draining: AtomicBool::new(false),
            id_start: u64::from_le_bytes(start),
            next_id: AtomicU64::new(0),
            options,
        }))
    }

    /// The routes.
    pub fn router(self: &Arc<Self>) -> Router {
        routes::router(Arc::clone(self))
    }

    /// From now on `/readyz` says no, so that a balancer sends nobody here.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn model(&self, name: &str) -> Result<&Model, ApiError> {
        let model = self.models.iter().find(|model| model.is_called(name));
        model.ok_or_else(|| {
            let names: Vec<_> = self
                .models
                .iter()
                .map(|model| model.info.name.as_str())
                .collect();
            let shown: String = name.chars().take(80).collect();
            ApiError {
                param: Some("model".to_owned()),
                ..ApiError::not_found(format!(
                    "no model is called {shown:?}; hint: there is {}",
                    names.join(", ")
                ))
            }
            .with_code("model_not_found")
        })
    }

    /// Tells those who keep records of a request that reached no model.
    pub(crate) fn put_on_record(&self, record: impl FnOnce() -> AnswerRecord) {
        if self.audit.is_none() && self.telemetry.is_none() {
            return;
        }
        let record = record();
        self.audit.iter().for_each(|audit| audit.refused(&record));
        self.telemetry.iter().for_each(|it| it.record(&record));
    }

    /// A new id with this beginning.
    pub(crate) fn new_id(&self, prefix: &str) -> String {
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}{:016x}{number:08x}", self.id_start)
    }

    fn upstream_gauges(&self) -> Vec<UpstreamGauge> {
        let endpoints = self.models.iter().flat_map(|model| {
            let name = &model.info.name;
            model.upstreams.iter().map(move |client| (name, client))
        });
        endpoints
            .map(|(model, client)| UpstreamGauge {
                model: model.clone(),
                url: client.base_url().to_owned(),
                concurrency: client.concurrency(),
                attempts: client.attempts(),
            })
            .collect()
    }

    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            running: self.admission.running(),
            waiting: self.admission.waiting(),
            held_bytes: self.budget.held(),
            upstreams: self.upstream_gauges(),
        }
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |time| time.as_secs())
}
