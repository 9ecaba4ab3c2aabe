//! Records written down line by line, with the line of every value known.

use super::form::{html, xml};
use super::marks::Marks;
use super::value::capitalized;
use super::words::phrase;
use super::{Form, Split};
use crate::random::Random;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// The value as it stands there.
    pub value: String,
    /// The line, counted from 1.
    pub line: usize,
}

#[cfg(test)]
impl Stated {
    /// Whether a line says this value, as it is or as pages write it.
    pub fn is_said(value: &str, line: &str) -> bool {
        line.contains(value) || line.contains(&html(value))
    }
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key's words.
    pub key: Vec<String>,
    /// The value, or the elements of a list.
    pub values: Vec<String>,
    /// Lines of text that belong to the value, where a form has a way to write them.
    pub under: Vec<String>,
    /// Which column asks for it.
    pub column: Option<usize>,
}

impl Field {
    /// A field that no column asks for; the key's words lie between hyphens.
    pub fn new(key: &str, values: Vec<String>) -> Self {
        Self {
            key: key.split('-').map(str::to_owned).collect(),
            values,
            under: Vec::new(),
            column: None,
        }
    }
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
    /// What stands in the place of a value that is not known; nothing if the key is left out too.
    pub absent: Option<&'static str>,
    /// Between the cells of a table without bars.
    pub separator: char,
    /// Whether lists stay on one line.
    pub flat_lists: bool,
    /// Around keys and values, where a form leaves that open.
    pub marks: Marks,
    /// The key of the object that everything lies in, where a form has objects.
    pub wrapper: Option<String>,
    /// The heading of the section that holds the record, where a form has sections.
    pub section: String,
    /// Lines before everything else.
    pub head: Vec<String>,
    /// Further sections behind the record, with keys of their own.
    pub tail: Vec<Record>,
    /// Whether a document of one record is an article about it, in Markdown.
    pub article: Option<Article>,
}

/// A page about one thing: its name as the title, words, and what is known of it below a heading of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// Whose words are used.
    pub split: Split,
    /// The heading above the fields.
    pub heading: Option<String>,
    /// Further headings with words below them.
    pub rest: Vec<String>,
}

impl Style {
    /// Around the name on a line above the fields, where it stands there.
    fn heading(&self, many: bool) -> Option<(&'static str, &'static str)> {
        match self.form {
            Form::MarkdownList if many => Some(("## ", "")),
            Form::MarkdownList => Some(("# ", "")),
            Form::Html => Some(("<h2>", "</h2>")),
            Form::Marked => self.marks.heading,
            _ => None,
        }
    }

    fn key(&self, field: &Field) -> String {
        let is_capital = |at: usize| self.capitals || (self.joint.is_empty() && at > 0);
        let words = field.key.iter().enumerate();
        let words = words.map(|(at, word)| match is_capital(at) {
            true => capitalized(word),
            false => word.clone(),
        });
        words.collect::<Vec<_>>().join(self.joint)
    }

    /// Whether a field gets a line: it has a value, or this style marks values that are not known.
    fn shows(&self, field: &Field) -> bool {
        !field.values.is_empty() || self.absent.is_some()
    }

    /// The value as JSON and TOML write it.
    fn quoted(&self, field: &Field) -> String {
        match self.absent {
            Some(mark) if field.values.is_empty() => mark.to_owned(),
            _ => json_value(&field.values),
        }
    }

    /// The value without quotes.
    fn plain(&self, field: &Field) -> String {
        match self.absent {
            Some(mark) if field.values.is_empty() => mark.to_owned(),
            _ => field.values.join(", "),
        }
    }

    /// The value in a cell of a table.
    fn cell(&self, field: &Field) -> String {
        match self.absent {
            Some(mark) if field.values.is_empty() => mark.to_owned(),
            _ => field.values.join("; "),
        }
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
        if let (Some(article), [record]) = (&style.article, records) {
            self.article(style, article, record, random);
            return;
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

    fn article(&mut self, style: &Style, article: &Article, record: &Record, random: &mut Random) {
        let words = |random: &mut Random| capitalized(&phrase(random, article.split, 5, 14)) + ".";
        self.line(&format!("# {}", record.name));
        let (name, fields): (Vec<&Field>, Vec<&Field>) = record
            .fields
            .iter()
            .partition(|field| field.column == Some(0));
        name.iter().for_each(|field| self.state(0, field));
        self.line("");
        for _ in 0..random.below(3) {
            self.line(&words(random));
            self.line("");
        }
        if let Some(heading) = &article.heading {
            self.line(&format!("## {heading}"));
            self.line("");
        }
        let shown = fields.into_iter().filter(|field| style.shows(field));
        match style.form == Form::MarkdownTable || random.chance(0.2) {
            true => {
                let head = *random.pick(&["| | |", "| Field | Value |", "| Key | Value |"]);
                self.properties(style, head, shown);
            }
            false => {
                for field in shown {
                    self.field(style, field, &record.name, None);
                    self.state(0, field);
                }
            }
        }
        for heading in &article.rest {
            self.line("");
            self.line(&format!("## {heading}"));
            self.line("");
            self.line(&words(random));
        }
    }

    /// A line per field of the only record, below a head of two columns.
    fn properties<'a>(
        &mut self,
        style: &Style,
        head: &str,
        fields: impl Iterator<Item = &'a Field>,
    ) {
        self.line(head);
        self.line("|---|---|");
        for field in fields {
            self.line(&format!("| {} | {} |", style.key(field), style.cell(field)));
            self.state(0, field);
        }
    }

    /// A line per record under a line of keys, or for one record in Markdown a line per field.
    fn table(&mut self, style: &Style, records: &[Record]) {
        let [first, ..] = records else { return };
        let is_csv = style.form == Form::Csv;
        let row = |cells: Vec<String>| match is_csv {
            true => separated(&cells, style.separator),
            false => format!("| {} |", cells.join(" | ")),
        };
        if !is_csv && records.len() == 1 {
            return self.properties(style, "| Field | Value |", first.fields.iter());
        }
        let keys = first.fields.iter().map(|field| style.key(field));
        self.line(&row(keys.collect()));
        if !is_csv {
            self.line(&format!("|{}", "---|".repeat(first.fields.len())));
        }
        for (index, record) in records.iter().enumerate() {
            let cells = record.fields.iter().map(|field| style.cell(field));
            self.line(&row(cells.collect()));
            for field in &record.fields {
                self.state(index, field);
            }
        }
    }

    /// An object, or a list of objects; with a wrapper below its key.
    fn json(&mut self, style: &Style, records: &[Record]) {
        let many = records.len() > 1;
        let depth = usize::from(many) + usize::from(style.wrapper.is_some());
        let margin = "  ".repeat(depth);
        match (&style.wrapper, many) {
            (Some(key), true) => {
                self.line("{");
                self.line(&format!("  \"{key}s\": ["));
            }
            (Some(_), false) => self.line("{"),
            (None, true) => self.line("["),
            (None, false) => {}
        }
        for (index, record) in records.iter().enumerate() {
            match &style.wrapper {
                Some(key) if !many => self.line(&format!("{margin}\"{key}\": {{")),
                _ => self.line(&format!("{margin}{{")),
            }
            let fields = record.fields.iter().filter(|field| style.shows(field));
            let fields: Vec<&Field> = fields.collect();
            for (at, field) in fields.iter().enumerate() {
                let comma = if at + 1 < fields.len() { "," } else { "" };
                let (key, value) = (style.key(field), style.quoted(field));
                self.line(&format!("{margin}  \"{key}\": {value}{comma}"));
                self.state(index, field);
            }
            let comma = if index + 1 < records.len() { "," } else { "" };
            self.line(&format!("{margin}}}{comma}"));
        }
        if many {
            self.line(if style.wrapper.is_some() { "  ]" } else { "]" });
        }
        if style.wrapper.is_some() {
            self.line("}");
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
        let heading = style.heading(many);
        if let (Some((before, after)), Some(at)) = (heading, name_at) {
            self.line(&format!("{before}{}{after}", record.name));
            self.state(index, &record.fields[at]);
        }
        match style.form {
            Form::MarkdownList => self.line(""),
            Form::Xml => self.line(&format!("<{}>", style.section)),
            Form::Marked => self.mark(style.marks.block.map(|(above, _)| above)),
            Form::Toml | Form::Ini if many => self.line(&format!("[[{}]]", style.section)),
            Form::Toml | Form::Ini => self.line(&format!("[{}]", style.section)),
            Form::Yaml if index == 0 => {
                if let Some(key) = &style.wrapper {
                    self.line(&format!("{key}{}:", if many { "s" } else { "" }));
                }
            }
            Form::Prose => return self.prose(style, index, record, random),
            Form::JsonLines => return self.json_line(style, index, record),
            _ => {}
        }
        let mut first = true;
        for (at, field) in record.fields.iter().enumerate() {
            let is_heading = Some(at) == name_at && heading.is_some();
            if !style.shows(field) || is_heading {
                continue;
            }
            self.field(style, field, &record.name, many.then_some(first));
            self.state(index, field);
            self.under(style, field);
            first = false;
        }
        match style.form {
            Form::Yaml => {}
            Form::Xml => self.line(&format!("</{}>", style.section)),
            Form::Marked => {
                self.mark(style.marks.block.map(|(_, below)| below));
                self.line("");
            }
            _ => self.line(""),
        }
    }

    /// A line above or below fields, if there is one.
    fn mark(&mut self, line: Option<&str>) {
        if let Some(line) = line {
            self.line(line);
        }
    }

    /// The first line of a field; `opens` tells whether it begins an element of a list, if there is one.
    fn field(&mut self, style: &Style, field: &Field, name: &str, opens: Option<bool>) {
        let key = style.key(field);
        let plain = style.plain(field);
        let text = match style.form {
            Form::Toml if !field.under.is_empty() => format!("{key} = \"\"\""),
            Form::Toml if field.values.len() > 1 && !style.flat_lists => {
                self.line(&format!("{key} = ["));
                for value in &field.values {
                    self.line(&format!("    \"{value}\","));
                }
                "]".to_owned()
            }
            Form::Toml => format!("{key} = {}", style.quoted(field)),
            Form::Yaml if field.values.len() > 1 && !style.flat_lists => {
                let margin = yaml_margin(style, opens);
                self.line(&format!("{margin}{key}:"));
                let margin = " ".repeat(margin.len() + 2);
                let (last, others) = field.values.split_last().expect("more than one value");
                for value in others {
                    self.line(&format!("{margin}- {}", yaml_value(value)));
                }
                format!("{margin}- {}", yaml_value(last))
            }
            Form::Yaml => {
                let value = match field.values.as_slice() {
                    _ if !field.under.is_empty() => "|".to_owned(),
                    [value] => yaml_value(value),
                    [] => plain,
                    _ => style.quoted(field),
                };
                format!("{}{key}: {value}", yaml_margin(style, opens))
            }
            Form::Ini => format!("{key}={plain}"),
            Form::Html => format!("<p>{key}: {}</p>", html(&plain)),
            Form::Arrows => format!("{name} / {key} -> {plain}"),
            Form::Xml => format!("  <{key}>{}</{key}>", xml(&plain)),
            _ => style.marks.line(name, &key, &plain),
        };
        self.line(text.trim_end());
    }

    /// The lines of text that belong to a field.
    fn under(&mut self, style: &Style, field: &Field) {
        let margin = match style.form {
            Form::Toml => "",
            Form::Yaml => "      ",
            Form::Records => " ",
            _ => return,
        };
        for text in &field.under {
            self.line(&format!("{margin}{text}"));
        }
        if style.form == Form::Toml && !field.under.is_empty() {
            self.line("\"\"\"");
        }
    }

    fn json_line(&mut self, style: &Style, index: usize, record: &Record) {
        let fields = record.fields.iter().filter(|field| style.shows(field));
        let fields: Vec<String> = fields
            .map(|field| format!("\"{}\": {}", style.key(field), style.quoted(field)))
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
            self.field(style, field, &section.name, None);
        }
        self.line("");
    }
}

/// What begins a line of YAML.
fn yaml_margin(style: &Style, opens: Option<bool>) -> String {
    let outer = if style.wrapper.is_some() { "  " } else { "" };
    let mark = match opens {
        Some(true) => "- ",
        Some(false) => "  ",
        None => "",
    };
    format!("{outer}{mark}")
}

/// Cells of a line, those in quotes that hold the separator.
fn separated(cells: &[String], separator: char) -> String {
    let cells = cells.iter().map(|cell| match cell.contains(separator) {
        true => format!("\"{cell}\""),
        false => cell.clone(),
    });
    cells.collect::<Vec<_>>().join(&separator.to_string())
}

/// Whether a value stands without quotes where a form has types.
fn is_bare(value: &str) -> bool {
    let is_number = value
        .parse::<u32>()
        .is_ok_and(|number| number.to_string() == value);
    is_number || value == "true" || value == "false"
}

fn json_value(values: &[String]) -> String {
    let quoted = |value: &String| match is_bare(value) {
        true => value.clone(),
        false => format!("\"{value}\""),
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
    match value.contains(": ") || value.starts_with(['<', '"', '[', '*', '(']) {
        true => format!("\"{value}\""),
        false => value.to_owned(),
    }
}
