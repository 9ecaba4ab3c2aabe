//! What of a record is left out.

use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// Keys of common services, ours among them: whoever pastes one into a conversation does not mean to.
const SECRETS: &str =
    r"\b(sk|pk|ghp|gho|xox[abps]|AKIA)[-_]?[A-Za-z0-9_-]{16,}|(?i:bearer\s+)[A-Za-z0-9._~+/-]{16,}";

/// Rules of redaction. Secrets that look like API keys, and the content of pictures and films, are left out
/// whatever the rules say.
#[derive(Debug, Clone)]
pub struct RedactionRules {
    fields: Vec<String>,
    patterns: Vec<(Regex, String)>,
}

/// Rules that cannot be taken.
#[derive(Debug, Error)]
pub enum RedactionError {
    /// The text is not of the form.
    #[error(
        "no rules: {0}\n  hint: {{\"fields\": [\"reasoning_content\"], \"patterns\": [{{\"pattern\": \"…\", \"with\": \"[name]\"}}]}}"
    )]
    Form(#[from] serde_json::Error),
    /// A pattern is no regular expression.
    #[error(
        "{pattern:?} is no pattern: {fault}\n  hint: write a regular expression without look-around"
    )]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        fault: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    /// Keys whose values are left out, wherever they stand.
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default)]
    patterns: Vec<Pattern>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    pattern: String,
    #[serde(default = "left_out")]
    with: String,
}

fn left_out() -> String {
    "[redacted]".to_owned()
}

impl Default for RedactionRules {
    fn default() -> Self {
        let secrets = Regex::new(SECRETS).expect("a fixed pattern");
        RedactionRules {
            fields: Vec::new(),
            patterns: vec![(secrets, "[secret]".to_owned())],
        }
    }
}

impl RedactionRules {
    /// Reads `{"fields": […], "patterns": [{"pattern": …, "with": …}]}`.
    ///
    /// # Errors
    /// If it is not of this form, or a pattern is none.
    pub fn parse(text: &str) -> Result<Self, RedactionError> {
        let form: Form = serde_json::from_str(text)?;
        let mut rules = RedactionRules {
            fields: form.fields,
            ..RedactionRules::default()
        };
        for Pattern { pattern, with } in form.patterns {
            match Regex::new(&pattern) {
                Ok(regex) => rules.patterns.push((regex, with)),
                Err(error) => {
                    let fault = error.to_string();
                    return Err(RedactionError::Pattern { pattern, fault });
                }
            }
        }
        Ok(rules)
    }

    /// Leaves out what the rules say, in every text of the value.
    pub(crate) fn apply(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.apply_to_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            Value::Object(object) => {
                for (key, inner) in object.iter_mut() {
                    if self.fields.iter().any(|field| field == key) && !inner.is_null() {
                        *inner = left_out().into();
                    } else {
                        self.apply(inner);
                    }
                }
            }
            _ => {}
        }
    }

    fn apply_to_text(&self, text: &mut String) {
        if let Some(kind) = medium(text) {
            *text = format!("[{kind}, {} characters]", text.len());
            return;
        }
        for (pattern, with) in &self.patterns {
            if pattern.is_match(text) {
                *text = pattern.replace_all(text, with.as_str()).into_owned();
            }
        }
    }
}

/// The kind of a picture or film in a `data:` URI.
fn medium(text: &str) -> Option<&str> {
    let (kind, _) = text.strip_prefix("data:")?.split_once([';', ','])?;
    (kind.starts_with("image/") || kind.starts_with("video/") || kind.starts_with("application/"))
        .then_some(kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_reach_every_depth() {
        let rules = RedactionRules::parse(
            r#"{"fields": ["reasoning_content"], "patterns": [{"pattern": "[\\w.]+@[\\w.]+", "with": "[mail]"}]}"#,
        );
        let mut value = json!({"messages": [
            {"content": "I am a.b@c.de", "reasoning_content": "secret"},
            {"content": [{"image_url": {"url": "data:image/png;base64,AAAA"}}], "reasoning_content": null}]});
        rules.expect("rules").apply(&mut value);
        assert_eq!(
            value,
            json!({"messages": [
                {"content": "I am [mail]", "reasoning_content": "[redacted]"},
                {"content": [{"image_url": {"url": "[image/png, 26 characters]"}}], "reasoning_content": null}]})
        );
    }

    #[test]
    fn secrets_go_without_a_rule() {
        let rules = RedactionRules::default();
        for (text, kept) in [
            (
                format!("use sk-k25-{} now", "a1".repeat(32)),
                "use [secret] now",
            ),
            (
                "Authorization: Bearer abcdefghijklmnopqrstuvwx".to_owned(),
                "Authorization: [secret]",
            ),
            ("ghp_abcdefghijklmnopqrst".to_owned(), "[secret]"),
            ("a task-oriented skill".to_owned(), "a task-oriented skill"),
        ] {
            let mut value = Value::String(text);
            rules.apply(&mut value);
            assert_eq!(value, kept);
        }
    }

    #[test]
    fn odd_rules_are_told() {
        for text in [
            "{",
            r#"{"field": []}"#,
            r#"{"patterns": [{"pattern": "("}]}"#,
        ] {
            let error = RedactionRules::parse(text).expect_err(text).to_string();
            assert!(error.contains("hint"), "{error}");
        }
    }
}
