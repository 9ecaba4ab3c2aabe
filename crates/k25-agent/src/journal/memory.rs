//! A journal that is gone with the process: for tests, and as the oracle of the other one.

use std::sync::{Mutex, PoisonError};

use super::{Appending, Journal, JournalError, NewEvent};
use crate::event::Event;

/// Events in memory.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    events: Mutex<Vec<Event>>,
}

impl MemoryJournal {
    /// A journal that holds these events already.
    pub fn of(events: Vec<Event>) -> Self {
        MemoryJournal {
            events: Mutex::new(events),
        }
    }
}

impl Journal for MemoryJournal {
    fn append(&self, events: Vec<NewEvent>) -> Appending<'_> {
        let mut kept = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.len() as u64 + 1;
        let numbered: Vec<Event> = (first..)
            .zip(events)
            .map(|(seq, event)| event.with(seq))
            .collect();
        kept.extend(numbered.iter().cloned());
        Box::pin(std::future::ready(Ok(numbered)))
    }

    fn read(&self) -> Result<Vec<Event>, JournalError> {
        Ok(self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }
}

impl NewEvent {
    /// The event with its number.
    pub(super) fn with(self, seq: u64) -> Event {
        Event {
            seq,
            at_ms: self.at_ms,
            task: self.task,
            kind: self.kind,
        }
    }
}
