//! The forms in which a table is written down.

use std::fmt::Write;

use super::marks::Marks;
use super::value::capitalized;
use super::{Split, Table, Value};
use crate::random::Random;

/// A form of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `[subject]` and `key = "value"`.
    Toml,
    /// `subject:` and indented `key: value`.
    Yaml,
    /// An object of objects.
    Json,
    /// `Key: value`, a subject after the other.
    Records,
    /// A heading per subject and a list of values.
    MarkdownList,
    /// A row per subject.
    MarkdownTable,
    /// A line per subject.
    Csv,
    /// Sentences.
    Prose,
    /// An object per line.
    JsonLines,
    /// An element per value.
    Xml,
    /// A line per value, with any marks around key and value.
    Marked,
    /// `[subject]` and `key=value`; held out of training.
    Ini,
    /// A definition list; held out of training.
    Html,
    /// `subject / key -> value`; held out of training.
    Arrows,
}

impl Form {
    /// Forms that both splits have.
    pub const TRAINED: [Self; 13] = [
        // Twice: most of what a fresh machine has to read is manifests.
        Self::Toml,
        Self::Toml,
        Self::Yaml,
        Self::Json,
        Self::Records,
        Self::MarkdownList,
        Self::MarkdownTable,
        Self::Csv,
        Self::Prose,
        Self::JsonLines,
        Self::Xml,
        // Twice: it is many forms.
        Self::Marked,
        Self::Marked,
    ];

    /// Forms that only the held-out split has.
    pub const HELD_OUT: [Self; 3] = [Self::Ini, Self::Html, Self::Arrows];

    /// A form of the split; half of the held-out documents have a form that training never shows.
    pub fn draw(random: &mut Random, split: Split) -> Self {
        match split {
            Split::HeldOut if random.chance(0.5) => *random.pick(&Self::HELD_OUT),
            _ => *random.pick(&Self::TRAINED),
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Json => "JSON",
            Self::JsonLines => "JSON lines",
            Self::Records => "records",
            Self::MarkdownList => "Markdown lists",
            Self::MarkdownTable => "Markdown tables",
            Self::Csv => "CSV",
            Self::Prose => "prose",
            Self::Xml => "XML",
            Self::Marked => "lines with any marks",
            Self::Ini => "INI",
            Self::Html => "HTML",
            Self::Arrows => "arrows",
        }
    }

    /// The name of a file that holds such a document.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::JsonLines => "jsonl",
            Self::MarkdownList | Self::MarkdownTable => "md",
            Self::Csv => "csv",
            Self::Ini => "ini",
            Self::Html => "html",
            Self::Xml => "xml",
            Self::Marked => "conf",
            Self::Records | Self::Prose | Self::Arrows => "txt",
        }
    }

    /// Writes a table down.
    pub fn write(self, random: &mut Random, table: &Table) -> String {
        let mut text = String::new();
        let marks = Marks::any(random);
        self.head(table, &mut text);
        for (index, subject) in table.subjects.iter().enumerate() {
            let last = index + 1 == table.subjects.len();
            let values: Vec<_> = table
                .keys
                .iter()
                .map(|(key, _)| key.as_str())
                .zip(&table.values[index])
                .collect();
            self.subject(random, marks, subject, &values, last, &mut text);
        }
        self.foot(&mut text);
        text
    }

    fn head(self, table: &Table, text: &mut String) {
        let keys: Vec<&str> = table.keys.iter().map(|(key, _)| key.as_str()).collect();
        match self {
            Self::Json => text.push_str("{\n"),
            Self::Xml => text.push_str("<list>\n"),
            Self::MarkdownTable => {
                let _ = writeln!(text, "| {} | {} |", table.noun, keys.join(" | "));
                let _ = writeln!(text, "|{}", "---|".repeat(keys.len() + 1));
            }
            Self::Csv => {
                let _ = writeln!(text, "{},{}", table.noun, keys.join(","));
            }
            Self::MarkdownList => {
                let _ = writeln!(text, "# {}\n", capitalized(&table.noun));
            }
            _ => {}
        }
    }

    fn foot(self, text: &mut String) {
        match self {
            Self::Json => text.push_str("}\n"),
            Self::Xml => text.push_str("</list>\n"),
            _ => {}
        }
    }

    fn subject(
        self,
        random: &mut Random,
        marks: Marks,
        subject: &str,
        values: &[(&str, &Value)],
        last: bool,
        text: &mut String,
    ) {
        // Writing to text cannot fail.
        let _ = match self {
            Self::Toml => writeln!(
                text,
                "[{subject}]\n{}",
                lines(values, |k, v| format!("{k} = {}", quoted(v)))
            ),
            Self::Yaml => writeln!(
                text,
                "{subject}:\n{}",
                lines(values, |k, v| format!("  {k}: {}", yaml(v))).trim_end()
            ),
            Self::Json => writeln!(
                text,
                "  \"{subject}\": {}{}",
                object(values),
                if last { "" } else { "," }
            ),
            Self::JsonLines => writeln!(text, "{{\"id\": \"{subject}\", {}", &object(values)[1..]),
            Self::Records => writeln!(
                text,
                "Name: {subject}\n{}",
                lines(values, |k, v| format!("{}: {v}", label(k)))
            ),
            Self::MarkdownList => writeln!(
                text,
                "## {subject}\n\n{}",
                lines(values, |k, v| format!("- **{}**: {v}", label(k)))
            ),
            Self::MarkdownTable => writeln!(text, "| {subject} | {} |", joined(values, " | ")),
            Self::Csv => writeln!(text, "{subject},{}", joined(values, ",")),
            Self::Prose => writeln!(text, "{}", prose(random, subject, values)),
            Self::Xml => writeln!(
                text,
                "  <entry id=\"{subject}\">\n{}  </entry>",
                lines(values, |k, v| format!(
                    "    <{k}>{}</{k}>",
                    xml(&v.to_string())
                ))
            ),
            Self::Marked => writeln!(text, "{}", marked(marks, subject, values)),
            Self::Ini => writeln!(
                text,
                "[{subject}]\n{}",
                lines(values, |k, v| format!("{k}={v}"))
            ),
            Self::Html => writeln!(
                text,
                "<h2>{subject}</h2>\n<dl>\n{}</dl>",
                lines(values, |k, v| format!("<dt>{k}</dt><dd>{v}</dd>"))
            ),
            Self::Arrows => write!(
                text,
                "{}",
                lines(values, |k, v| format!("{subject} / {k} -> {v}"))
            ),
        };
    }
}

fn lines(values: &[(&str, &Value)], line: impl Fn(&str, &Value) -> String) -> String {
    values
        .iter()
        .map(|(key, value)| line(key, value) + "\n")
        .collect()
}

/// The lines of a subject, below its name where they do not begin with it.
fn marked(marks: Marks, subject: &str, values: &[(&str, &Value)]) -> String {
    let (before, after) = marks.heading.unwrap_or_default();
    let heading = match marks.owner {
        Some(_) => String::new(),
        None => format!("{before}{subject}{after}\n"),
    };
    let fields = lines(values, |k, v| marks.line(subject, k, &v.to_string()));
    match marks.block {
        Some((above, below)) => format!("{heading}{above}\n{fields}{below}\n"),
        None => heading + &fields,
    }
}

fn joined(values: &[(&str, &Value)], between: &str) -> String {
    let values: Vec<String> = values.iter().map(|(_, value)| value.to_string()).collect();
    values.join(between)
}

fn object(values: &[(&str, &Value)]) -> String {
    let fields: Vec<String> = values
        .iter()
        .map(|(key, value)| format!("\"{key}\": {}", quoted(value)))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Text(text) => format!("\"{text}\""),
    }
}

fn yaml(value: &Value) -> String {
    match value {
        Value::Text(text) if text.contains(':') => format!("\"{text}\""),
        other => other.to_string(),
    }
}

/// The content of an element. Text with angles stays readable as it is.
pub(super) fn xml(text: &str) -> String {
    match text.contains(['<', '>', '&']) {
        true => format!("<![CDATA[{text}]]>"),
        false => text.to_owned(),
    }
}

/// The text of a paragraph: an angle there would begin a tag, and what is in it would be no text.
pub(super) fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A key as people write it in a sentence.
fn label(key: &str) -> String {
    capitalized(&key.replace('_', " "))
}

fn prose(random: &mut Random, subject: &str, values: &[(&str, &Value)]) -> String {
    let sentences: Vec<String> = values
        .iter()
        .map(|(key, value)| {
            let key = key.replace('_', " ");
            match random.below(4) {
                0 => format!("The {key} of {subject} is {value}."),
                1 => format!("{} has the {key} {value}.", capitalized(subject)),
                2 => format!("For {subject}, the {key} is {value}."),
                _ => format!("Its {key} is {value}."),
            }
        })
        .collect();
    // The first sentence must say whose values these are.
    format!("This is about {subject}. {}", sentences.join(" "))
}
