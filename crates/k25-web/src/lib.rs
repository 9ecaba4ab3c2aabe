//! The web as tools of an agent.
//!
//! [`WebSearch`] asks one of several providers; [`Browse`] reads a page through a real browser and keeps
//! it as a document of the run, so that evidence can point into it. What they send is a stranger's:
//! bounded, without what nobody sees, and shown to models as data.

mod browse;
mod search;

use thiserror::Error;

pub use browse::{Browse, BrowseOptions, find_browser};
pub use search::{Answer, Hit, Provider, SearchProvider, WebSearch};

/// Why the web cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WebError {
    /// What a provider needs is not in the environment.
    #[error("{provider} needs {variable} in the environment; hint: {hint}")]
    Variable {
        /// The provider.
        provider: &'static str,
        /// The variable.
        variable: &'static str,
        /// Where it is had.
        hint: &'static str,
    },
    /// No provider is set up.
    #[error(
        "no search provider is set up; hint: set SEARXNG_URL, BRAVE_API_KEY, TAVILY_API_KEY or MOONSHOT_API_KEY"
    )]
    NoProvider,
    /// The client for HTTP could not be made.
    #[error("the web cannot be reached: {0}; hint: are certificates installed?")]
    Client(String),
    /// The browser cannot be had.
    #[error("{0}")]
    Browser(String),
    /// An address that is not connected to.
    #[error("{0}")]
    Refused(String),
    /// A request failed.
    #[error("{0}")]
    Request(String),
}
