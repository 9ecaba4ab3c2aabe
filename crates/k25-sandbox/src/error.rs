//! What can go wrong before the code runs. What goes wrong in the code is [`Output`](crate::Output).

use std::io;

use crate::python::PythonError;

/// Why nothing ran, or nothing is known of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The kernel, or who configured it, lacks what the walls are made of.
    #[error("code cannot be run safely here: no {feature} ({what})")]
    Missing {
        /// The feature.
        feature: String,
        /// What happened.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The launcher could not be started or spoken to.
    #[error("the sandbox's launcher: {what}")]
    Launcher {
        /// What happened.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The launcher could not begin.
    #[error("the sandbox: {what}")]
    Setup {
        /// What happened.
        what: String,
        /// What to do.
        hint: String,
    },
    /// What was asked for makes no sense.
    #[error("{what}")]
    Spec {
        /// What is wrong.
        what: String,
        /// What would be right.
        hint: String,
    },
    /// There is no Python to run.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl SandboxError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            SandboxError::Missing { hint, .. }
            | SandboxError::Launcher { hint, .. }
            | SandboxError::Setup { hint, .. }
            | SandboxError::Spec { hint, .. } => Some(hint),
            SandboxError::Python(error) => Some(error.hint()),
            SandboxError::Cancelled => None,
        }
    }

    pub(crate) fn launcher(what: impl Into<String>, error: &io::Error) -> Self {
        SandboxError::Launcher {
            what: format!("{}: {error}", what.into()),
            hint: "is there memory, and room in the temporary folder?".to_owned(),
        }
    }
}
