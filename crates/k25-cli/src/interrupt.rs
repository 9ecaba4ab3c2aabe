//! Ctrl-C: the first one ends an answer, the second one, or one without an answer, the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};

/// Watches for Ctrl-C.
pub struct Interrupt {
    /// Whether the next Ctrl-C ends the program.
    is_last: Arc<AtomicBool>,
}

impl Interrupt {
    /// Begins to watch. Until [`answering`](Self::answering), Ctrl-C ends the program.
    pub fn watch() -> Result<Self> {
        let is_last = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&is_last);
        let on_interrupt = move || {
            if seen.swap(true, Ordering::SeqCst) {
                std::process::exit(crate::INTERRUPTED.into());
            }
        };
        ctrlc::set_handler(on_interrupt)
            .map_err(|error| anyhow!("cannot watch for Ctrl-C: {error}"))?;
        Ok(Self { is_last })
    }

    /// From now on the first Ctrl-C only [asks](Self::is_asked).
    pub fn answering(&self) {
        self.is_last.store(false, Ordering::SeqCst);
    }

    /// Whether Ctrl-C came since the answer began.
    pub fn is_asked(&self) -> bool {
        self.is_last.load(Ordering::SeqCst)
    }

    /// The answer is over: Ctrl-C ends the program again.
    pub fn answered(&self) {
        self.is_last.store(true, Ordering::SeqCst);
    }
}
