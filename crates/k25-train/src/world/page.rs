//! Records written down line by line, with the line of every value known.

use super::Form;
use super::value::capitalized;
use crate::random::Random;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// The value as it stands there.
    pub value: String,
    /// The line, counted from 1.
    pub line: usize,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key's words.
    pub key: Vec<String>,
    /// The value, or the elements of a list.
    pub values: Vec<String>,
    /// Which column asks for it.
    pub column: Option<usize>,
}

/// One thing with its fields. The name is a field too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// In the order in which they are written.
    pub fields: Vec<Field>,
}

impl Record {
    fn name_at(&self) -> Option<usize> {
        self.fields.iter().position(|field| field.column == Some(0))
    }
}

/// How the documents of one folder look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Style {
    /// The form.
    pub form: Form,
    /// Between the words of a key.
    pub joint: &'static str,
    /// Whether keys begin with capitals.
    pub capitals: bool,
    /// The heading of the section that holds the record, where a form has sections.
    pub section: String,
    /// Lines before everything else.
    pub head: Vec<String>,
    /// Further sections behind the record, with keys of their own.
    pub tail: Vec<Record>,
}

impl Style {
    fn key(&self, field: &Field) -> String {
        let words = field.key.iter().map(|word| match self.capitals {
            true => capitalized(word),
            false => word.clone(),
        });
        words.collect::<Vec<_>>().join(self.joint)
    }
}

/// A document in the making.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    lines: usize,
    /// What the columns ask for, record by record.
    stated: Vec<Vec<Option<Stated>>>,
}

impl Page {
    /// The text, and for each record what it states, column by column.
    pub fn finish(self) -> (String, Vec<Vec<Option<Stated>>>) {
        (self.text, self.stated)
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
        self.lines += 1;
    }

    /// Notes that the line written last states a field of record `record`.
    fn state(&mut self, record: usize, field: &Field) {
        let (Some(column), [value]) = (field.column, field.values.as_slice()) else {
            return;
        };
        self.stated[record][column] = Some(Stated {
            value: value.clone(),
            line: self.lines,
        });
    }

    /// Writes records of `columns` columns in a style.
    pub fn write(
        &mut self,
        style: &Style,
        records: &[Record],
        columns: usize,
        random: &mut Random,
    ) {
        self.stated = vec![vec![None; columns]; records.len()];
        for line in &style.head {
            self.line(line);
        }
        match style.form {
            Form::Csv | Form::MarkdownTable => self.table(style, records),
            Form::Json => self.json(style, records),
            _ => {
                for (index, record) in records.iter().enumerate() {
                    self.record(style, index, record, records.len() > 1, random);
                }
            }
        }
        if let Form::Toml | Form::Ini | Form::MarkdownList = style.form {
            for section in &style.tail {
                self.section(style, section);
            }
        }
    }

    /// A line per record under a line of keys, or for one record in Markdown a line per field.
    fn table(&mut self, style: &Style, records: &[Record]) {
        let [first, ..] = records else { return };
        let is_csv = style.form == Form::Csv;
        let row = |cells: Vec<String>| match is_csv {
            true => cells.join(","),
            false => format!("| {} |", cells.join(" | ")),
        };
        if !is_csv && records.len() == 1 {
            self.line("| Field | Value |");
            self.line("|---|---|");
            for field in &first.fields {
                self.line(&row(vec![style.key(field), field.values.join("; ")]));
                self.state(0, field);
            }
            return;
        }
        self.line(&row(first
            .fields
            .iter()
            .map(|field| style.key(field))
            .collect()));
        if !is_csv {
            self.line(&format!("|{}", "---|".repeat(first.fields.len())));
        }
        for (index, record) in records.iter().enumerate() {
            self.line(&row(record
                .fields
                .iter()
                .map(|field| field.values.join("; "))
                .collect()));
            for field in record
                .fields
                .iter()
                .filter(|field| !field.values.is_empty())
            {
                self.state(index, field);
            }
        }
    }

    fn json(&mut self, style: &Style, records: &[Record]) {
        let many = records.len() > 1;
        let margin = if many { "  " } else { "" };
        if many {
            self.line("[");
        }
        for (index, record) in records.iter().enumerate() {
            self.line(&format!("{margin}{{"));
            let fields: Vec<&Field> = record
                .fields
                .iter()
                .filter(|field| !field.values.is_empty())
                .collect();
            for (at, field) in fields.iter().enumerate() {
                let comma = if at + 1 < fields.len() { "," } else { "" };
                let value = json_value(&field.values);
                self.line(&format!(
                    "{margin}  \"{}\": {value}{comma}",
                    style.key(field)
                ));
                self.state(index, field);
            }
            let comma = if index + 1 < records.len() { "," } else { "" };
            self.line(&format!("{margin}}}{comma}"));
        }
        if many {
            self.line("]");
        }
    }

    fn record(
        &mut self,
        style: &Style,
        index: usize,
        record: &Record,
        many: bool,
        random: &mut Random,
    ) {
        let name_at = record.name_at();
        match style.form {
            Form::MarkdownList => {
                self.line(&format!(
                    "{} {}",
                    if many { "##" } else { "#" },
                    record.name
                ));
                if let Some(at) = name_at {
                    self.state(index, &record.fields[at]);
                }
                self.line("");
            }
            Form::Toml | Form::Ini if many => self.line(&format!("[[{}]]", style.section)),
            Form::Toml | Form::Ini => self.line(&format!("[{}]", style.section)),
            Form::Html => {
                self.line(&format!("<h2>{}</h2>", record.name));
                if let Some(at) = name_at {
                    self.state(index, &record.fields[at]);
                }
            }
            Form::Prose => return self.prose(style, index, record, random),
            Form::JsonLines => return self.json_line(style, index, record),
            _ => {}
        }
        let mut first = true;
        for (at, field) in record.fields.iter().enumerate() {
            let is_heading =
                Some(at) == name_at && matches!(style.form, Form::MarkdownList | Form::Html);
            if field.values.is_empty() || is_heading {
                continue;
            }
            self.field(style, field, &record.name, many && first);
            self.state(index, field);
            first = false;
        }
        if style.form != Form::Yaml {
            self.line("");
        }
    }

    fn field(&mut self, style: &Style, field: &Field, name: &str, opens: bool) {
        let key = style.key(field);
        let plain = field.values.join(", ");
        let text = match style.form {
            Form::Toml if field.values.len() > 1 => {
                self.line(&format!("{key} = ["));
                for value in &field.values {
                    self.line(&format!("    \"{value}\","));
                }
                "]".to_owned()
            }
            Form::Toml => format!("{key} = {}", json_value(&field.values)),
            Form::Yaml => {
                let mark = if opens {
                    "- "
                } else if style.section.is_empty() {
                    ""
                } else {
                    "  "
                };
                format!("{mark}{key}: {}", yaml_value(&plain))
            }
            Form::MarkdownList => format!("- **{key}**: {plain}"),
            Form::Ini => format!("{key}={plain}"),
            Form::Html => format!("<p>{key}: {plain}</p>"),
            Form::Arrows => format!("{name} / {key} -> {plain}"),
            _ => format!("{key}: {plain}"),
        };
        self.line(&text);
    }

    fn json_line(&mut self, style: &Style, index: usize, record: &Record) {
        let fields = record
            .fields
            .iter()
            .filter(|field| !field.values.is_empty());
        let fields: Vec<String> = fields
            .map(|field| format!("\"{}\": {}", style.key(field), json_value(&field.values)))
            .collect();
        self.line(&format!("{{{}}}", fields.join(", ")));
        for field in &record.fields {
            self.state(index, field);
        }
    }

    /// A sentence per line.
    fn prose(&mut self, style: &Style, index: usize, record: &Record, random: &mut Random) {
        let name = &record.name;
        for field in record
            .fields
            .iter()
            .filter(|field| !field.values.is_empty())
        {
            let (key, value) = (field.key.join(" "), field.values.join(", "));
            let text = match random.below(4) {
                _ if field.column == Some(0) => {
                    format!("This is about {name}, a {}.", style.section)
                }
                0 => format!("The {key} of {name} is {value}."),
                1 => format!("{name} has the {key} {value}."),
                2 => format!("Its {key} is {value}."),
                _ => format!("For the {key}, see {value}."),
            };
            self.line(&text);
            self.state(index, field);
        }
        self.line("");
    }

    fn section(&mut self, style: &Style, section: &Record) {
        match style.form {
            Form::MarkdownList => self.line(&format!("## {}", section.name)),
            _ => self.line(&format!("[{}]", section.name)),
        }
        for field in &section.fields {
            self.field(style, field, &section.name, false);
        }
        self.line("");
    }
}

fn json_value(values: &[String]) -> String {
    let quoted = |value: &String| match value.parse::<u32>() {
        Ok(number) if number.to_string() == *value => value.clone(),
        _ => format!("\"{value}\""),
    };
    match values {
        [value] => quoted(value),
        values => format!(
            "[{}]",
            values.iter().map(quoted).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn yaml_value(value: &str) -> String {
    match value.contains(": ") || value.starts_with(['<', '"', '[', '*']) {
        true => format!("\"{value}\""),
        false => value.to_owned(),
    }
}
