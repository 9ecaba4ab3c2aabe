//! What to do when a model does not answer well: again, cooler, another model, a rest.

use std::time::Duration;

use k25_chat::{ChatError, ChatErrorKind, Retry};

use super::ModelChoice;
use crate::event::{EventKind, Usage};
use crate::run::Run;

/// Tries of one model for a step.
const MAX_TRIES: u32 = 6;
/// Tries that a model gets when it answers badly.
const MAX_BAD: u32 = 3;
/// The longest wait that an endpoint may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// How far down a step has come.
pub(super) struct Ladder<'a> {
    model: &'a ModelChoice,
    tries: u32,
    bad: u32,
}

/// The next rung.
pub(super) enum Then {
    /// The same model, after this wait.
    Again(Duration),
    /// The next model, at once.
    OtherModel,
    /// The history has to become shorter.
    Shorten,
    /// The run rests: a person must do something.
    Rest(String),
    /// No answer can be had.
    GiveUp(String),
}

/// A failed try.
pub(super) struct Failure {
    error: String,
    message: String,
    pub(super) then: Then,
}

impl Failure {
    /// The failure as it stands in the journal.
    pub(super) fn event(&self, usage: Usage, money: f64) -> EventKind {
        let then = match self.then {
            Then::Again(Duration::ZERO) => "again, cooler",
            Then::Again(_) => "again after a wait",
            Then::OtherModel => "another model",
            Then::Shorten => "shorten the history",
            Then::Rest(_) => "rest",
            Then::GiveUp(_) => "given up",
        };
        EventKind::RequestFailed {
            error: self.error.clone(),
            message: self.message.clone(),
            then: then.to_owned(),
            usage,
            money,
        }
    }
}

impl<'a> Ladder<'a> {
    /// The first rung.
    pub(super) fn new(model: &'a ModelChoice) -> Self {
        Ladder {
            model,
            tries: 0,
            bad: 0,
        }
    }

    /// Who is asked next.
    pub(super) fn model(&self) -> &'a ModelChoice {
        self.model
    }

    /// Whether this model has answered badly.
    pub(super) fn has_seen_bad(&self) -> bool {
        self.bad > 0
    }

    /// An answer came that is of no use.
    pub(super) fn after_bad(&mut self, what: &'static str) -> Failure {
        self.bad += 1;
        let then = if self.bad < MAX_BAD {
            Then::Again(Duration::ZERO)
        } else if self.next_model() {
            Then::OtherModel
        } else {
            Then::GiveUp(format!("the model's answers are {what}"))
        };
        Failure {
            error: what.to_owned(),
            message: String::new(),
            then,
        }
    }

    /// No answer came.
    pub(super) fn after_error(&mut self, run: &Run, error: &ChatError) -> Failure {
        use ChatErrorKind::{ContextTooLong, Overloaded, RateLimited};
        if matches!(error.kind, RateLimited | Overloaded) {
            run.limiter().complained();
        }
        let then = match error.kind {
            ContextTooLong => Then::Shorten,
            _ => self.next_rung(run, error),
        };
        Failure {
            error: format!("{:?}", error.kind),
            message: error.message.clone(),
            then,
        }
    }

    fn next_rung(&mut self, run: &Run, error: &ChatError) -> Then {
        use ChatErrorKind::{
            Authentication, Connection, ModelNotFound, PermissionDenied, QuotaExceeded, RateLimited,
        };
        self.tries += 1;
        let wait = match error.retry() {
            Retry::Never => None,
            Retry::Backoff => Some(run.backoff(self.tries)),
            Retry::After(time) => Some(time.min(LONGEST_WAIT)),
        };
        // A crowded endpoint gets more patience than a broken one.
        let most = if error.kind == RateLimited {
            MAX_TRIES * 4
        } else {
            MAX_TRIES
        };
        if let Some(wait) = wait.filter(|_| self.tries < most) {
            return Then::Again(wait.max(Duration::from_millis(1)));
        }
        if self.next_model() {
            return Then::OtherModel;
        }
        let rests = [
            Authentication,
            PermissionDenied,
            QuotaExceeded,
            ModelNotFound,
            Connection,
        ];
        match rests.contains(&error.kind) {
            true => Then::Rest(error.to_string()),
            false => Then::GiveUp(error.to_string()),
        }
    }

    /// Goes on with the next model, if there is one.
    fn next_model(&mut self) -> bool {
        let Some(next) = &self.model.fallback else {
            return false;
        };
        self.model = next;
        (self.tries, self.bad) = (0, 0);
        true
    }
}
