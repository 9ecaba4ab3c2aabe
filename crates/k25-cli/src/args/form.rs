//! What form an answer must have.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use k25_chat::JsonValue;
use k25_local::AnswerForm;

/// Forms of an answer. The model cannot say anything else; reasoning before it stays free.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct FormArgs {
    /// Answer in JSON that matches this JSON schema
    #[arg(long, value_name = "FILE")]
    pub json_schema: Option<PathBuf>,
    /// Answer with a JSON object
    #[arg(long)]
    pub json_object: bool,
    /// Answer with text that matches this pattern as a whole (syntax of Rust's regex crate)
    #[arg(long, value_name = "PATTERN")]
    pub regex: Option<String>,
}

impl FormArgs {
    /// The form that was asked for.
    ///
    /// # Errors
    /// If the schema cannot be read or is no JSON.
    pub fn form(&self) -> Result<AnswerForm> {
        if let Some(path) = &self.json_schema {
            let shown = path.display();
            let hint = "give the path of a file with a JSON schema";
            let text = std::fs::read_to_string(path)
                .map_err(|error| anyhow!("cannot read {shown}: {error}\n  hint: {hint}"))?;
            let schema = JsonValue::parse(&text)
                .map_err(|error| anyhow!("{shown} is not JSON: {error}\n  hint: {hint}"))?;
            return Ok(AnswerForm::JsonSchema {
                schema,
                strict: true,
            });
        }
        Ok(match &self.regex {
            Some(pattern) => AnswerForm::Regex(pattern.clone()),
            None if self.json_object => AnswerForm::JsonObject,
            None => AnswerForm::Text,
        })
    }
}
