//! Any OpenAI-compatible endpoint (the hosted service, vLLM, SGLang, another k25) as a
//! [`ChatClient`](k25_chat::ChatClient).
//!
//! [`OpenAiClient`] streams every answer, asks again after transient failures as long as nothing of an
//! answer has been told, and asks for only as many answers at once as the endpoint bears. It brings its
//! own thread, so that whoever polls its streams needs no runtime. [`PriceTable`] turns usage into money.
//!
//! ```no_run
//! use k25_client::{OpenAiClient, OpenAiOptions};
//!
//! let client = OpenAiClient::new(OpenAiOptions {
//!     api_key: std::env::var("MOONSHOT_API_KEY").ok(),
//!     ..OpenAiOptions::new("https://api.moonshot.ai/v1")
//! })?;
//! # Ok::<(), k25_client::ClientError>(())
//! ```

mod attempt;
mod failure;
mod fallback;
mod gate;
mod lookup;
mod openai_client;
mod options;
mod prices;
mod sse;

pub use fallback::Fallback;
pub use lookup::ListedModel;
pub use openai_client::OpenAiClient;
pub use options::{ClientError, OpenAiOptions, RetryPolicy};
pub use prices::{PriceTable, Prices};
