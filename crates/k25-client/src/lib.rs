//! Any OpenAI-compatible endpoint as a `ChatClient`.
