//! Rows as an agent hands them in, checked against the contract and the sources.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::spelling::{
    as_spelled, is_entry, is_key, naming, whole_address, whole_name, without_slash,
};
use super::{Author, Cell, Evidence, display, row_key};
use crate::contract::{Column, ColumnType, Contract, is_stated_in, normalise};
use crate::documents::{DocumentError, Documents, Part};

/// Longest quote that is kept, in bytes.
const MAX_QUOTE_BYTES: usize = 400;
/// Most rows of one submission.
const MAX_ROWS: usize = 200;
/// Most problems that are told at once; a model mends few at a time.
const MAX_TOLD: usize = 6;
/// Shortest text, in bytes, that is looked up in the whole document where the line given does not state it: shorter ones
/// stand in other places by chance, and count only where the line has the column's name for its key.
const LEAST_LOOKED_UP: usize = 10;
/// How far from the line given that may be.
const MISCOUNTED: usize = 5;
/// Longest document that is searched for it, in bytes.
const MOST_SEARCHED: usize = 1 << 20;

/// Where quotes are looked up.
pub trait Sources {
    /// The document of this path, or the lines of one that it names.
    ///
    /// # Errors
    /// See [`DocumentError`].
    fn part(&self, path: &str) -> Result<Part, DocumentError>;
}

impl Sources for Documents {
    fn part(&self, path: &str) -> Result<Part, DocumentError> {
        Documents::part(self, path)
    }
}

/// Why a value was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place, as in `anyhow.license` or `row 2`.
    pub place: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Submission {
    /// The values that were taken.
    pub accepted: Vec<Cell>,
    /// Those that were not.
    pub problems: Vec<Problem>,
    /// Columns of accepted rows that nobody has filled yet, as `row.column`.
    pub open: Vec<String>,
    /// The rows that got values.
    pub rows: Vec<String>,
}

impl Submission {
    /// The tool's result. The same submission gives the same bytes.
    pub fn text(&self) -> String {
        let mut text = match self.rows.len() {
            0 => "nothing accepted".to_owned(),
            1 => format!("ok: {}, {} values", self.rows[0], self.accepted.len()),
            rows => format!("ok: {rows} rows, {} values", self.accepted.len()),
        };
        for problem in self.problems.iter().take(MAX_TOLD) {
            text.push_str(&format!("\n{}: {}", problem.place, problem.message));
        }
        if self.problems.len() > MAX_TOLD {
            text.push_str(&format!(
                "\n{} more problems",
                self.problems.len() - MAX_TOLD
            ));
        }
        if !self.open.is_empty() {
            let open: Vec<&str> = self.open.iter().take(16).map(String::as_str).collect();
            text.push_str(&format!(
                "\nmissing: {}; null if not stated",
                open.join(", ")
            ));
        }
        text
    }
}

/// Checks what `submit_rows` was called with. Values are taken one by one: a wrong one does not cost
/// its row the others.
///
/// `wanted` are the columns that this task is to fill (all of them where it is empty); `is_filled`
/// says whether a place has a value already.
pub fn submit(
    contract: &Contract,
    sources: &dyn Sources,
    arguments: &Value,
    author: &Author,
    wanted: &[String],
    is_filled: &dyn Fn(&str, &str) -> bool,
) -> Submission {
    let check = Check {
        contract,
        sources,
        author,
        source: arguments["source"].as_str().unwrap_or_default(),
    };
    let mut submission = Submission::default();
    let empty = Vec::new();
    let rows = arguments["rows"].as_array().unwrap_or(&empty);
    if rows.is_empty() {
        submission.problem(
            "rows".to_owned(),
            "empty; one row per thing found".to_owned(),
        );
    }
    let mut seen = BTreeSet::new();
    for (index, row) in rows.iter().enumerate().take(MAX_ROWS) {
        let empty = Map::new();
        let row = row.as_object().unwrap_or(&empty);
        let Some(key) = check.key(row, index, &mut submission) else {
            continue;
        };
        if !seen.insert(key.clone()) {
            submission.problem(key, "two rows with this key; join them".to_owned());
            continue;
        }
        check.row(row, &key, &mut submission);
        if submission.accepted.iter().any(|cell| cell.row == key) {
            let is_wanted = |column: &&Column| wanted.is_empty() || wanted.contains(&column.name);
            let is_open = |column: &&Column| {
                let is_given = |cell: &Cell| cell.row == key && cell.column == column.name;
                let is_refused = |problem: &Problem| problem.place == place(&key, &column.name);
                !submission.accepted.iter().any(is_given)
                    && !submission.problems.iter().any(is_refused)
                    && !is_filled(&key, &column.name)
            };
            let open = contract.columns.iter().filter(is_wanted).filter(is_open);
            let open: Vec<String> = open.map(|column| place(&key, &column.name)).collect();
            submission.open.extend(open);
            submission.rows.push(key);
        }
    }
    if rows.len() > MAX_ROWS {
        submission.problem(
            "rows".to_owned(),
            format!("only the first {MAX_ROWS} were read"),
        );
    }
    submission
}

fn place(row: &str, column: &str) -> String {
    format!("{row}.{column}")
}

impl Submission {
    fn problem(&mut self, place: String, message: String) {
        self.problems.push(Problem { place, message });
    }
}

struct Check<'a> {
    contract: &'a Contract,
    sources: &'a dyn Sources,
    author: &'a Author,
    /// The document of cells that name none.
    source: &'a str,
}

impl Check<'_> {
    /// The row's key, if all key columns are given.
    fn key(
        &self,
        row: &Map<String, Value>,
        index: usize,
        submission: &mut Submission,
    ) -> Option<String> {
        let mut values = Vec::new();
        for column in self.contract.keys() {
            let value = row
                .get(&column.name)
                .map_or(&Value::Null, |cell| value_of(cell));
            match normalise(column, value) {
                Ok(value) if !value.is_null() => {
                    let cell = row.get(&column.name).unwrap_or(&Value::Null);
                    let found = self.evidence(column, &value, cell);
                    values.push(found.map_or(value, |(value, _)| value));
                }
                Ok(_) => {
                    let message = format!("key {} is missing", column.name);
                    submission.problem(format!("row {}", index + 1), message);
                    return None;
                }
                Err(problem) => {
                    submission.problem(
                        format!("row {}.{}", index + 1, column.name),
                        problem.to_string(),
                    );
                    return None;
                }
            }
        }
        Some(row_key(&values))
    }

    fn row(&self, row: &Map<String, Value>, key: &str, submission: &mut Submission) {
        let mut accepted = Vec::new();
        for (name, cell) in row {
            let Some(column) = self.contract.column(name) else {
                submission.problem(place(key, name), "no such column".to_owned());
                continue;
            };
            match self.cell(column, cell) {
                Ok((value, evidence)) => accepted.push(Cell {
                    row: key.to_owned(),
                    column: name.clone(),
                    value,
                    evidence,
                    author: self.author.clone(),
                    contract: self.contract.version,
                }),
                Err(message) => submission.problem(place(key, name), message),
            }
        }
        for (place, message) in self.taken_twice(&mut accepted) {
            submission.problem(place, message);
        }
        // Without an established key the rest would belong to nobody.
        let has = |column: &Column| accepted.iter().any(|cell| cell.column == column.name);
        if self.contract.keys().all(has) {
            submission.accepted.extend(accepted);
        }
    }

    fn cell(&self, column: &Column, cell: &Value) -> Result<(Value, Option<Evidence>), String> {
        let value = normalise(column, value_of(cell)).map_err(|problem| problem.to_string())?;
        if value.is_null() {
            return Ok((value, None));
        }
        let (value, evidence) = self.evidence(column, &value, cell)?;
        Ok((value, Some(evidence)))
    }

    /// Removes values that one line states once for another column: `version = "1.2"` is no `rust-version`. It is the other's
    /// where the line is nothing but its entry, or names it better and it claims the value too. Where a line names none of
    /// them, or all alike, they stay.
    fn taken_twice(&self, cells: &mut Vec<Cell>) -> Vec<(String, String)> {
        let is_key = |cell: &Cell| self.contract.keys().any(|key| key.name == cell.column);
        let claims: Vec<Cell> = cells.iter().filter(|cell| !is_key(cell)).cloned().collect();
        let owner = |cell: &Cell| {
            let evidence = cell.evidence.as_ref()?;
            let text = display(&cell.value);
            if is_key(cell) || evidence.quote.matches(&text).count() > 1 {
                return None;
            }
            let closeness = |column: &str| naming(column, &evidence.quote);
            let claims_it = |other: &&Cell| {
                let place = |evidence: &Evidence| (evidence.source.clone(), evidence.line);
                other.value == cell.value
                    && other.evidence.as_ref().map(place) == Some(place(evidence))
                    && closeness(&other.column) > closeness(&cell.column)
            };
            let claimed = claims.iter().find(claims_it).map(|other| &other.column);
            claimed.or_else(|| {
                self.entry_of(&text, &evidence.quote)
                    .filter(|name| **name != cell.column)
            })
        };
        let mut problems = Vec::new();
        cells.retain(|cell| {
            let (Some(owner), Some(evidence)) = (owner(cell), &cell.evidence) else {
                return true;
            };
            let shown = shortened(&evidence.quote, 80);
            let message = format!(
                "not on line {}, which says it of {}: {shown}",
                evidence.line, owner
            );
            problems.push((place(&cell.row, &cell.column), message));
            false
        });
        problems
    }

    /// The column that is no key whose entry a line is, with this value.
    fn entry_of(&self, text: &str, line: &str) -> Option<&String> {
        let columns = self.contract.columns.iter();
        let mut others = columns.filter(|column| !column.is_key);
        let owner = others.find(|column| is_entry(&column.name, text, line));
        owner.map(|column| &column.name)
    }

    /// The value as its source spells it, and where it stands there.
    fn evidence(
        &self,
        column: &Column,
        value: &Value,
        cell: &Value,
    ) -> Result<(Value, Evidence), String> {
        let source = cell["source"].as_str().unwrap_or(self.source);
        let part = self.sources.part(source);
        let part = part.map_err(|error| error.to_string())?;
        let document = &part.document;
        let given_line = cell["line"]
            .as_u64()
            .and_then(|line| usize::try_from(line).ok());
        let quote = cell["quote"]
            .as_str()
            .map(str::trim)
            .filter(|quote| !quote.is_empty());
        let (line, quote) = match (quote, part.only_line().or(given_line)) {
            (Some(quote), near) => {
                let found = document.find(quote, near);
                let line = found.ok_or_else(|| format!("the quote is not in {source}"))?;
                (line, quote.to_owned())
            }
            (None, Some(line)) => {
                let text = match document.line(line) {
                    Some(text) => text,
                    None if part.lines.is_some() => "",
                    None => {
                        let lines = document.line_count();
                        return Err(format!("{source} has {lines} lines"));
                    }
                };
                (line, text.trim().to_owned())
            }
            (None, None) => return Err("give the line or a quote".to_owned()),
        };
        let is_within = part.range().contains(&line);
        // A row of a table says of a column what stands below its name, and nothing else.
        let place = document.cell(line, &column.name);
        let text = place.as_deref().unwrap_or(&quote);
        let stated = spelled(column, value, text).filter(|_| is_within);
        let stated = stated.map(|value| (value, line, quote.clone()));
        let Some((value, line, quote)) = stated.or_else(|| elsewhere(column, value, &part, line))
        else {
            let shown = shortened(text, 80);
            return Err(match place {
                _ if !is_within => format!("line {line} is not in {source}"),
                Some(_) => format!("not on line {line}, where {} is {shown:?}", column.name),
                None => format!("not on line {line}: {shown}"),
            });
        };
        let evidence = Evidence {
            source: document.path.clone(),
            line,
            quote: around(&quote, &display(&value)),
            sha256: document.sha256.clone(),
        };
        Ok((value, evidence))
    }
}

/// The value as `quote` spells it, if it states it: with its joints and case, and addresses and the names of rows as far as
/// they go.
fn spelled(column: &Column, value: &Value, quote: &str) -> Option<Value> {
    let text = value.as_str().filter(|_| is_free_text(column));
    let found = text.and_then(|text| match quote.contains(text) {
        true if column.is_key => whole_address(text, quote).or_else(|| whole_name(text, quote)),
        true => whole_address(text, quote),
        false => as_spelled(text, quote).or_else(|| without_slash(text, quote)),
    });
    match found {
        Some(found) => Some(Value::from(found)),
        None => is_stated_in(column, value, quote).then(|| value.clone()),
    }
}

/// The only line of the document, or of its lines that were named, that states a text, if there is one: agents miscount lines more
/// often than they invent what stands there word by word.
fn elsewhere(
    column: &Column,
    value: &Value,
    part: &Part,
    given_line: usize,
) -> Option<(Value, usize, String)> {
    let document = &part.document;
    let text = value.as_str().filter(|_| is_free_text(column))?;
    if document.byte_count() > MOST_SEARCHED {
        return None;
    }
    // A line that cannot be meant says nothing against a short text.
    let is_long_enough = text.len() >= LEAST_LOOKED_UP || !part.range().contains(&given_line);
    let can_be_meant = |line: &str| is_long_enough || is_key(&column.name, line);
    let (first, last) = match part.lines.is_some() || is_long_enough {
        true => part.range().into_inner(),
        false => (
            given_line.saturating_sub(MISCOUNTED),
            given_line.saturating_add(MISCOUNTED),
        ),
    };
    let said = |number| {
        let cell = document.cell(number, &column.name).map(Cow::Owned);
        cell.or_else(|| document.line(number).map(Cow::Borrowed))
    };
    let lines = (first..=last).filter_map(|number| Some((number, said(number)?)));
    let mut places =
        lines.filter(|(_, text)| can_be_meant(text) && is_stated_in(column, value, text));
    let (Some((number, text)), None) = (places.next(), places.next()) else {
        return None;
    };
    let line = document.line(number)?.trim();
    Some((spelled(column, value, &text)?, number, line.to_owned()))
}

/// Whether the column takes texts as sources spell them.
fn is_free_text(column: &Column) -> bool {
    let is_text = matches!(column.kind, ColumnType::Text | ColumnType::Url);
    is_text && column.allowed.is_empty()
}

/// A cell is `{value, …}`; a bare value is taken as one without evidence.
fn value_of(cell: &Value) -> &Value {
    cell.as_object()
        .map_or(cell, |cell| cell.get("value").unwrap_or(&Value::Null))
}

/// At most `bytes` bytes of a text.
pub(crate) fn shortened(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    format!("{}…", &text[..boundary(text, bytes)])
}

/// The last place at or before `bytes` where a character begins.
fn boundary(text: &str, bytes: usize) -> usize {
    let ends = (0..=bytes.min(text.len())).rev();
    ends.into_iter()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

/// A quote of bearable length with the value in it.
fn around(quote: &str, value: &str) -> String {
    if quote.len() <= MAX_QUOTE_BYTES {
        return quote.to_owned();
    }
    let at = quote.find(value).unwrap_or(0);
    let start = boundary(quote, at.saturating_sub(MAX_QUOTE_BYTES / 2));
    let end = boundary(quote, start + MAX_QUOTE_BYTES);
    quote[start..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::contract::parse_columns;
    use crate::documents::{Document, split_part};
    use serde_json::json;

    struct One(Arc<Document>);

    impl Sources for One {
        fn part(&self, path: &str) -> Result<Part, DocumentError> {
            let (name, lines) = match split_part(path) {
                Some((name, lines)) => (name, Some(lines)),
                None => (path, None),
            };
            if name == self.0.path {
                let document = Arc::clone(&self.0);
                return Ok(Part { document, lines });
            }
            Err(DocumentError::NotFound {
                path: path.to_owned(),
                near: None,
            })
        }
    }

    fn check(rows: Value) -> Submission {
        let columns = parse_columns("name*, size:number[kB], license").unwrap();
        let contract = Contract::new(columns).unwrap();
        let text = "name = \"anyhow\"\nsize: 2 MB\nlicense = \"MIT\"\n";
        let sources = One(Arc::new(Document::new(
            "a.toml",
            "h".to_owned(),
            text.to_owned(),
        )));
        let author = Author::Agent {
            name: "r".to_owned(),
            task: "1".to_owned(),
        };
        let arguments = json!({"source": "a.toml", "rows": rows});
        submit(&contract, &sources, &arguments, &author, &[], &|_, _| false)
    }

    #[test]
    fn a_sound_row_is_taken_with_its_quotes() {
        let submission = check(json!([{
            "name": {"value": "anyhow", "line": 1},
            "size": {"value": "2 MB", "line": 2},
            "license": {"value": "MIT", "quote": "license = \"MIT\""},
        }]));
        assert_eq!(submission.text(), "ok: anyhow, 3 values");
        assert_eq!(submission.accepted[1].value, json!(2000));
        let evidence = submission.accepted[2].evidence.as_ref().unwrap();
        assert_eq!(
            (evidence.line, evidence.quote.as_str()),
            (3, "license = \"MIT\"")
        );
    }

    #[test]
    fn each_fault_is_told_and_costs_only_its_own_cell() {
        let submission = check(json!([{
            "name": {"value": "anyhow", "line": 1},
            "size": {"value": 3, "line": 2},
            "colour": {"value": "red", "line": 1},
        }]));
        assert_eq!(
            submission.text(),
            "ok: anyhow, 1 values\nanyhow.size: not on line 2: size: 2 MB\n\
             anyhow.colour: no such column\nmissing: anyhow.license; null if not stated"
        );
        let cases = [
            (json!([]), "rows: empty"),
            (json!([{"size": {"value": 2}}]), "key name is missing"),
            (
                json!([{"name": {"value": "anyhow"}}]),
                "give the line or a quote",
            ),
            (
                json!([{"name": {"value": "anyhow", "line": 9}}]),
                "a.toml has 3 lines",
            ),
            (
                json!([{"name": {"value": "anyhow", "quote": "anyhow 2"}}]),
                "quote is not in a.toml",
            ),
            (
                json!([{"name": {"value": "serde", "line": 1}}]),
                "not on line 1",
            ),
            (
                json!([{"name": {"value": "x", "line": 1, "source": "b"}}]),
                "no document \"b\"",
            ),
        ];
        for (rows, expected) in cases {
            let submission = check(rows);
            assert!(submission.accepted.is_empty());
            assert!(
                submission.text().contains(expected),
                "{}",
                submission.text()
            );
        }
    }

    /// A manifest, and columns that look alike.
    fn check_manifest(row: Value) -> Submission {
        let columns = parse_columns("name*, version, rust-version, repository").unwrap();
        let text = "[package]\nname = \"a-b\"\nversion = \"1.70.0\"\nhomepage = \"https://c.org\"\n\
                    repository = \"https://c.org/a/tree/b\"\n[lib]\nname = \"a_b\"\n";
        let document = Document::new("a.toml", "h".to_owned(), text.to_owned());
        let author = Author::Agent {
            name: "r".to_owned(),
            task: "1".to_owned(),
        };
        let arguments = json!({"source": "a.toml", "rows": [row]});
        let contract = Contract::new(columns).unwrap();
        submit(
            &contract,
            &One(Arc::new(document)),
            &arguments,
            &author,
            &[],
            &|_, _| false,
        )
    }

    #[test]
    fn values_are_spelled_as_their_lines_spell_them() {
        let submission = check_manifest(json!({
            "name": {"value": "A_b", "line": 2},
            "repository": {"value": "https://c.org/a/", "line": 5},
        }));
        let cells = &submission.accepted;
        assert_eq!(
            (cells[0].row.as_str(), &cells[0].value),
            ("a-b", &json!("a-b"))
        );
        assert_eq!(cells[1].value, json!("https://c.org/a/tree/b"));
    }

    #[test]
    fn a_text_that_stands_on_one_line_alone_is_found_there() {
        let submission = check_manifest(json!({
            "name": {"value": "a-b", "line": 2},
            "version": {"value": "1.70.0", "line": 4},
            "rust-version": {"value": "1.70.0", "line": 4},
            "repository": {"value": "https://c.org/a/tree/b", "line": 4},
        }));
        // A short text counts where its column's name is the key; `1.70.0` stands on no line of that name.
        let refused: Vec<&str> = submission
            .problems
            .iter()
            .map(|p| p.place.as_str())
            .collect();
        assert_eq!(refused, ["a-b.rust-version"]);
        let evidence = submission.accepted[1].evidence.as_ref().unwrap();
        assert_eq!(
            (evidence.line, evidence.quote.as_str()),
            (3, "version = \"1.70.0\"")
        );
        let evidence = submission.accepted[2].evidence.as_ref().unwrap();
        assert_eq!(evidence.line, 5);
        assert!(evidence.quote.starts_with("repository"));
        // Far from the line given, it may be another record's.
        let far = format!("name: a\n{}version: 1\n", "x\n".repeat(9));
        let document = Document::new("a", "h".to_owned(), far);
        let row = json!({"name": {"value": "a", "line": 1}, "version": {"value": "1", "line": 1}});
        let arguments = json!({"source": "a", "rows": [row]});
        let contract = Contract::new(parse_columns("name*, version").unwrap()).unwrap();
        let sources = One(Arc::new(document));
        let told = submit(
            &contract,
            &sources,
            &arguments,
            &Author::User,
            &[],
            &|_, _| false,
        );
        assert!(
            told.text().contains("a.version: not on line 1"),
            "{}",
            told.text()
        );
        // On two lines, both as good as the other.
        let ambiguous = check_manifest(json!({
            "name": {"value": "a-b", "line": 2},
            "repository": {"value": "https://c.org", "line": 1},
        }));
        assert_eq!(ambiguous.problems.len(), 1);
    }

    #[test]
    fn what_a_line_says_once_belongs_to_the_column_that_it_names() {
        let submission = check_manifest(json!({
            "name": {"value": "a-b", "line": 2},
            "version": {"value": "1.70.0", "line": 3},
            "rust-version": {"value": "1.70.0", "line": 3},
        }));
        assert_eq!(
            submission.text(),
            "ok: a-b, 2 values\na-b.rust-version: not on line 3, which says it of version: version = \"1.70.0\"\n\
             missing: a-b.repository; null if not stated"
        );
        // Though nobody claims it for that column.
        let alone = check_manifest(json!({
            "name": {"value": "a-b", "line": 2},
            "rust-version": {"value": "1.70.0", "line": 3},
        }));
        assert_eq!(alone.accepted.len(), 1, "{}", alone.text());
        // A line that names neither may be both.
        let both = check(json!([{
            "name": {"value": "anyhow", "line": 1},
            "license": {"value": "anyhow", "line": 1},
        }]));
        assert_eq!(both.problems.len(), 0);
    }

    /// In a row of CSV a value counts below the name of its own column alone; the quote stays the line of the file.
    #[test]
    fn a_cell_of_csv_is_below_its_columns_name() {
        let columns = parse_columns("name*, height:integer, note").unwrap();
        let text = "light,height,built,note\nArholm,31,1871,\"grey, \"\"old\"\"\"\n";
        let document = Document::new("a.csv", "h".to_owned(), text.to_owned());
        let author = Author::User;
        let row = json!({
            "name": {"value": "Arholm", "line": 2},
            "height": {"value": 1871, "line": 2},
            "note": {"value": "grey, \"old\"", "line": 2},
        });
        let submission = submit(
            &Contract::new(columns).unwrap(),
            &One(Arc::new(document)),
            &json!({"source": "a.csv", "rows": [row]}),
            &author,
            &[],
            &|_, _| false,
        );
        assert_eq!(
            submission.text(),
            "ok: arholm, 2 values\narholm.height: not on line 2, where height is \"31\""
        );
        let evidence = submission.accepted[1].evidence.as_ref().unwrap();
        assert_eq!(evidence.quote, "Arholm,31,1871,\"grey, \"\"old\"\"\"");
    }

    /// Lines are miscounted, and most of all where they do not begin with 1.
    #[test]
    fn who_was_given_some_lines_means_those() {
        let columns = parse_columns("name*, kept:integer, by").unwrap();
        let text = "name: Arholm\nkept: 1\nby: Ny\n\nname: Byholm\nkept: 2\nby: Oz\n";
        let document = Arc::new(Document::new("lights", String::new(), text.to_owned()));
        let contract = Contract::new(columns).unwrap();
        let told = |source: &str, row: Value| {
            let arguments = json!({"source": source, "rows": [row]});
            let sources = One(Arc::clone(&document));
            let author = Author::User;
            submit(&contract, &sources, &arguments, &author, &[], &|_, _| false)
        };
        let row = json!({
            "name": {"value": "Byholm", "line": 4},
            "kept": {"value": 1, "line": 2},
            "by": {"value": "Oz", "line": 70},
        });
        let submission = told("lights/5-7", row);
        assert_eq!(
            submission.text(),
            "ok: byholm, 2 values\nbyholm.kept: line 2 is not in lights/5-7"
        );
        let place = |cell: &Cell| {
            let evidence = cell.evidence.as_ref().unwrap();
            (evidence.source.clone(), evidence.line)
        };
        let places: Vec<_> = submission.accepted.iter().map(place).collect();
        let at = |line| ("lights".to_owned(), line);
        assert_eq!(places, [at(5), at(7)]);
        let one = told("lights/5", json!({"name": {"value": "Byholm", "line": 1}}));
        assert_eq!(place(&one.accepted[0]), at(5));
    }

    #[test]
    fn two_rows_of_one_key_are_one_too_many() {
        let row = json!({"name": {"value": "anyhow", "line": 1}});
        let submission = check(json!([row, row]));
        assert_eq!(submission.accepted.len(), 1);
        assert!(submission.text().contains("two rows with this key"));
    }

    #[test]
    fn what_is_not_stated_is_null_and_needs_no_line() {
        let submission = check(json!([{
            "name": {"value": "anyhow", "line": 1},
            "size": {"value": null},
            "license": {"value": ""},
        }]));
        assert_eq!(submission.accepted.len(), 3);
        assert!(submission.accepted[1].value.is_null() && submission.accepted[2].value.is_null());
    }
}
