//! The fuzz targets. Each name is a program of `fuzz/Cargo.toml` and a file of `fuzz/targets`.

use anyhow::Result;

use super::seeds;

/// One fuzz target.
pub struct Target {
    /// The program's name.
    pub name: &'static str,
    /// What untrusted input it feeds, for `--list`.
    pub feeds: &'static str,
    /// The longest input tried, in bytes.
    pub longest_input: usize,
    /// Its first inputs, made from files of the repository.
    pub seeds: fn() -> Result<Vec<Vec<u8>>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "config",
        feeds: "config.json, preprocessor_config.json, generation_config.json",
        longest_input: 16 << 10,
        seeds: seeds::configurations,
    },
    Target {
        name: "safetensors_header",
        feeds: "the header of a safetensors file",
        longest_input: 16 << 10,
        seeds: seeds::safetensors_headers,
    },
    Target {
        name: "checkpoint",
        feeds: "an index and two shards, on disk",
        longest_input: 4 << 10,
        seeds: seeds::small_checkpoints,
    },
    Target {
        name: "tokenizer_files",
        feeds: "tiktoken.model and tokenizer_config.json",
        longest_input: 20 << 10,
        seeds: seeds::tokenizer_files,
    },
    Target {
        name: "tokenizer_text",
        feeds: "text to encode, bytes to decode",
        longest_input: 4 << 10,
        seeds: seeds::tokenizer_texts,
    },
    Target {
        name: "stream_parser",
        feeds: "a model's output",
        longest_input: 4 << 10,
        seeds: seeds::model_outputs,
    },
    Target {
        name: "template",
        feeds: "conversations for the chat template",
        longest_input: 8 << 10,
        seeds: seeds::conversations,
    },
    Target {
        name: "tool_declaration",
        feeds: "JSON as Python reads it, tool declarations",
        longest_input: 8 << 10,
        seeds: seeds::tools,
    },
    Target {
        name: "image",
        feeds: "encoded images",
        longest_input: 16 << 10,
        seeds: seeds::images,
    },
    Target {
        name: "video",
        feeds: "animated GIFs, and frame counts, rates and sizes of films",
        longest_input: 8 << 10,
        seeds: seeds::films,
    },
    Target {
        name: "media_address",
        feeds: "paths, file:// and data: addresses of media",
        longest_input: 4 << 10,
        seeds: seeds::media_addresses,
    },
    Target {
        name: "pdf",
        feeds: "PDF files",
        longest_input: 32 << 10,
        seeds: seeds::pdfs,
    },
];
