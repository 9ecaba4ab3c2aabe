//! The forms in which conversations travel over HTTP.
//!
//! A dialect reads what a client sends into a [`ChatRequest`](crate::ChatRequest) and writes
//! [`ChatEvent`](crate::ChatEvent)s the way that client expects them. Both directions stand here, so that
//! the server and the client of an endpoint agree by construction. Nothing here opens a socket.

pub mod anthropic;
mod fields;
pub mod openai;
pub mod responses;
mod shared;

pub use fields::RequestError;
