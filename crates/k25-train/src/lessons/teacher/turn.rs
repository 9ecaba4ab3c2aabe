//! What a good model does next: as the one who defines the table, as orchestrator, as sub-agent, alone, or asked in words.

use std::collections::BTreeMap;

use k25_agent::documents::split_part;
use serde_json::{Value, json};

use super::Answer;
use super::thread::{Done, Thread, not_opened};
use crate::lessons::BEYOND;
use crate::lessons::record::asked;
use crate::lessons::rows::cells;
use crate::random::Random;
use crate::world::{Folder, Stated};

/// Tasks that an orchestrator gives out in one turn.
const WIDTH: usize = 20;
/// What an orchestrator says at the end.
const COMPLETE: &str = "The table is complete.";
/// What is answered to a question about a value that no document states.
const NOT_SAID: &str = "The documents do not say it.";
/// Rows that are handed in with one call.
const ROWS_PER_CALL: usize = 6;
/// Beginnings of paths that lead nowhere.
const NOWHERE: [&str; 4] = ["docs/", "./files/", "data/", "the "];
/// Windows of a document that are read before a value counts as not stated.
const WINDOWS: usize = 2;

/// Whether a value stands in the first `end` lines.
fn is_seen(stated: &Option<Stated>, end: usize) -> bool {
    stated.as_ref().is_some_and(|stated| stated.line <= end)
}

/// One answer to be found.
pub(super) struct Turn<'a> {
    pub(super) folder: &'a Folder,
    pub(super) thread: &'a Thread<'a>,
    /// Whether a mistake is due.
    pub(super) errs: bool,
    /// Whether one was made.
    pub(super) erred: bool,
}

impl Turn<'_> {
    pub(super) fn answer(&self, random: &mut Random) -> Answer {
        let thread = self.thread;
        if thread.has("define_table") {
            self.define_table()
        } else if thread.has("assign_task") {
            self.orchestrate(random)
        } else if !thread.has("submit_rows") {
            self.reply()
        } else if thread.user == self.folder.question {
            self.alone()
        } else {
            self.subagent(random)
        }
    }

    fn define_table(&self) -> Answer {
        let asks = |column: &String| self.folder.question.contains(column.as_str());
        if !self.folder.columns[1..].iter().all(asks) {
            return Answer::text(BEYOND);
        }
        let columns = self
            .folder
            .columns
            .iter()
            .enumerate()
            .map(|(index, name)| match index {
                0 => json!({"name": name, "key": true}),
                _ => json!({"name": name}),
            });
        Answer::call(
            "define_table",
            json!({"columns": columns.collect::<Vec<_>>()}),
        )
    }

    /// The entries at the top as far as a conversation shows them, and where their list goes on.
    fn entries(&self) -> Option<(Vec<String>, Option<u64>)> {
        if let Some(note) = self
            .thread
            .notes
            .iter()
            .rev()
            .find_map(|note| not_opened(note))
        {
            return Some((note, None));
        }
        let lists: Vec<&Done<'_>> = self
            .thread
            .done
            .iter()
            .filter(|done| done.is("open", "path", "."))
            .collect();
        let last = lists.last()?;
        let lines = lists.iter().flat_map(|list| list.result.lines().skip(1));
        let entries = lines.filter(|line| !line.starts_with("more from"));
        let entries = entries
            .map(|line| line.split(" (").next().unwrap_or(line).to_owned())
            .collect();
        let more = last
            .result
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("more from line "));
        Some((entries, more.and_then(|line| line.parse().ok())))
    }

    fn orchestrate(&self, random: &mut Random) -> Answer {
        if let Some(answer) = self.look().or_else(|| self.create_reader()) {
            return answer;
        }
        let last = self.thread.done.last().filter(|done| !done.failed());
        let is_spread = |done: &Done<'_>| {
            let prompt = done.arguments["prompt"].as_str();
            done.name == "assign_task" && prompt.is_some_and(|prompt| prompt.contains("{*"))
        };
        match last.is_some_and(is_spread) && self.thread.nudge.is_none() {
            true => Answer::text(COMPLETE),
            false => self.assign(random),
        }
    }

    /// Looks at what lies at the top, as far as it has to be known; nothing where it is.
    fn look(&self) -> Option<Answer> {
        let thread = self.thread;
        let is_told = thread.nudge.is_none_or(|note| not_opened(note).is_some());
        if !thread.notes.is_empty() && is_told {
            return None;
        }
        let Some((entries, more)) = self.entries() else {
            return Some(Answer::call("open", json!({"path": "."})));
        };
        let line = more.filter(|_| self.pattern(&entries).is_none())?;
        Some(Answer::call("open", json!({"path": ".", "line": line})))
    }

    /// The name of the sub-agent that reads.
    fn reader(&self) -> String {
        format!("{}-reader", self.folder.noun)
    }

    /// Makes the sub-agent that reads, if there is none yet.
    fn create_reader(&self) -> Option<Answer> {
        let (noun, reader) = (&self.folder.noun, self.reader());
        let is_creation = |done: &Done<'_>| done.is("create_subagent", "name", &reader);
        if self.thread.done.iter().any(is_creation) {
            return None;
        }
        let prompt = format!("You read documents about one {noun} at a time.");
        let call = json!({"name": reader, "system_prompt": prompt});
        Some(Answer::call("create_subagent", call))
    }

    /// Gives out what is left to read; ends where nothing is.
    fn assign(&self, random: &mut Random) -> Answer {
        let (thread, reader) = (self.thread, self.reader());
        let assigned = thread.done.iter();
        let assigned = assigned.filter(|done| done.name == "assign_task" && !done.failed());
        let given: Vec<&str> = assigned
            .filter_map(|done| done.arguments["prompt"].as_str())
            .collect();
        let (entries, _) = self.entries().unwrap_or_default();
        let documents = match (&self.folder.named_table, self.pattern(&entries)) {
            (Some(table), _) => vec![table.clone()],
            (None, Some(pattern)) if self.errs && given.is_empty() => {
                let prompt = self.task(&misspelled(&pattern, random));
                let call = json!({"agent": reader, "prompt": prompt});
                return Answer::call("assign_task", call).mistaken();
            }
            (None, Some(pattern)) if thread.notes.is_empty() || given.is_empty() => vec![pattern],
            _ => entries,
        };
        let tasks = documents.iter().map(|entry| self.task(entry));
        let left = tasks.filter(|task| !given.contains(&task.as_str()));
        let calls: Vec<_> = left
            .take(WIDTH)
            .map(|prompt| ("assign_task", json!({"agent": reader, "prompt": prompt})))
            .collect();
        if calls.is_empty() {
            return Answer::text(COMPLETE);
        }
        Answer {
            calls,
            ..Answer::default()
        }
    }

    /// What stands for most of the entries, if there are several.
    fn pattern(&self, entries: &[String]) -> Option<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in entries {
            let ending = match entry.ends_with('/') {
                true => "/",
                false => &entry[entry.rfind('.')?..],
            };
            *counts.entry(ending).or_default() += 1;
        }
        let (ending, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let file = match &self.folder.named_file {
            Some(file) if ending == "/" => file.as_str(),
            _ => "",
        };
        (count > 1).then(|| format!("{{*{ending}{file}}}"))
    }

    /// The task for an entry at the top.
    fn task(&self, entry: &str) -> String {
        match &self.folder.named_file {
            Some(file) if entry.ends_with('/') => format!("Fill the rows of {entry}{file}"),
            _ => format!("Fill the rows of {entry}"),
        }
    }

    fn subagent(&self, random: &mut Random) -> Answer {
        let user = self.thread.user;
        if let Some(rest) = user.strip_prefix("Row ") {
            return self.fill(rest, random);
        }
        let target = user.strip_prefix("Fill the rows of ").unwrap_or_default();
        let path = match self.folder.wanted.get(target) {
            Some(path) if target.ends_with('/') => {
                if !self
                    .thread
                    .done
                    .iter()
                    .any(|done| done.is("open", "path", target))
                {
                    return Answer::call("open", json!({"path": target}));
                }
                path.as_str()
            }
            _ => target,
        };
        let columns: Vec<usize> = (0..self.folder.columns.len()).collect();
        self.read(path, &columns, None, random)
    }

    /// A task of the runtime's own: `NAME: fill a, b.` and `Documents: …`.
    fn fill(&self, rest: &str, random: &mut Random) -> Answer {
        let (name, rest) = rest.split_once(": fill ").unwrap_or((rest, ""));
        let (asked, documents) = rest.split_once(".\nDocuments: ").unwrap_or((rest, ""));
        let path = documents.split(", ").next().unwrap_or_default();
        let asked: Vec<&str> = asked.trim_end_matches('.').split(", ").collect();
        let is_asked =
            |index: &usize| *index == 0 || asked.contains(&self.folder.columns[*index].as_str());
        let columns: Vec<usize> = (0..self.folder.columns.len()).filter(is_asked).collect();
        self.read(path, &columns, Some(name), random)
    }

    fn rows(&self, path: &str, name: Option<&str>) -> Vec<&Vec<Option<Stated>>> {
        let (path, lines) = match split_part(path) {
            Some((document, lines)) => (document, Some(lines)),
            None => (path, None),
        };
        let rows = self
            .folder
            .papers
            .get(path)
            .map(|paper| paper.rows.as_slice())
            .unwrap_or_default();
        let is_within = |line| lines.as_ref().is_none_or(|lines| lines.contains(&line));
        let is_wanted = |row: &&Vec<Option<Stated>>| {
            let is_here = |stated: &Stated| {
                let is_called = |name: &str| stated.value.to_lowercase() == name.to_lowercase();
                name.is_none_or(is_called) && is_within(stated.line)
            };
            let is_unnamed = name.is_none() && lines.is_none();
            row[0].as_ref().map_or(is_unnamed, is_here)
        };
        rows.iter().filter(is_wanted).collect()
    }

    /// Reads a document window by window and hands in after each what it states, a few rows at a time; mends what was
    /// refused. What is handed in early is not lost when a long document ends the work.
    fn read(
        &self,
        path: &str,
        columns: &[usize],
        name: Option<&str>,
        random: &mut Random,
    ) -> Answer {
        let shown = self.thread.shown(path);
        let Some((end, more)) = shown.iter().copied().max() else {
            if self.errs && random.chance(0.3) {
                let wrong = format!("{}{path}", random.pick::<&str>(&NOWHERE));
                return Answer::call("open", json!({"path": wrong})).mistaken();
            }
            return Answer::call("open", json!({"path": path}));
        };
        let goes_on = more && shown.len() < WINDOWS;
        let submits = self.submits().count();
        // Some give up with rows that have open places, so that there is something for others to fill.
        if self.erred && submits == 1 && random.chance(0.5) {
            return Answer::text("done").mistaken();
        }
        let rows = self.rows(path, name);
        let mut handed = self.open_rows(&rows, columns, end, goes_on);
        if !handed.is_empty() {
            let errs = self.errs && submits == 0;
            if errs {
                spoil(&mut handed[0], random);
            }
            let answer = Answer::call("submit_rows", json!({"source": path, "rows": handed}));
            return if errs { answer.mistaken() } else { answer };
        }
        let all_seen = rows
            .iter()
            .all(|row| columns.iter().all(|column| is_seen(&row[*column], end)));
        if goes_on && (rows.is_empty() || !all_seen) {
            return Answer::call("open", json!({"path": path, "line": end + 1}));
        }
        match submits {
            0 => Answer::text("not found"),
            _ => Answer::text("done"),
        }
    }

    /// Rows with open places, as they are handed in. What was not seen yet is left open where the document goes on, else it
    /// is not stated.
    fn open_rows(
        &self,
        rows: &[&Vec<Option<Stated>>],
        columns: &[usize],
        end: usize,
        goes_on: bool,
    ) -> Vec<Value> {
        let submits: Vec<&Done<'_>> = self.submits().collect();
        let seen = rows.iter().filter(|row| is_seen(&row[0], end));
        let handed = seen.filter_map(|row| {
            let key = row[0].as_ref().map_or("", |stated| stated.value.as_str());
            let is_open = |column: &&usize| {
                let is_due = !goes_on || is_seen(&row[**column], end);
                is_due && !submits.iter().any(|done| self.took(done, key, **column))
            };
            let open: Vec<usize> = columns.iter().filter(is_open).copied().collect();
            let is_key = |column: &usize| *column == 0;
            if open.iter().all(is_key) {
                return None;
            }
            let is_handed = |column: &&usize| is_key(column) || open.contains(column);
            let places: Vec<usize> = columns.iter().filter(is_handed).copied().collect();
            Some(self.row(row, &places, end))
        });
        handed.take(ROWS_PER_CALL).collect()
    }

    fn submits(&self) -> impl Iterator<Item = &Done<'_>> {
        let done = self.thread.done.iter();
        done.filter(|done| done.name == "submit_rows")
    }

    /// Whether a submission's value of a place was taken.
    fn took(&self, done: &Done<'_>, key: &str, column: usize) -> bool {
        let name = &self.folder.columns[column];
        let key_column = &self.folder.columns[0];
        let rows = done.arguments["rows"].as_array();
        let row = rows
            .into_iter()
            .flatten()
            .find(|row| row[key_column]["value"] == key);
        let place = format!("{}.{name}: ", key.to_lowercase());
        let was_refused = done.result.lines().any(|line| line.starts_with(&place));
        let all_refused = done.failed() || done.result.starts_with("nothing accepted");
        row.is_some_and(|row| row.get(name).is_some()) && !was_refused && !all_refused
    }

    fn row(&self, row: &[Option<Stated>], columns: &[usize], end: usize) -> Value {
        cells(&self.folder.columns, columns, row, end)
    }

    /// One agent that does everything, two documents at a time.
    fn alone(&self) -> Answer {
        let Some((entries, more)) = self.entries() else {
            return Answer::call("open", json!({"path": "."}));
        };
        if let Some(line) = more {
            return Answer::call("open", json!({"path": ".", "line": line}));
        }
        let columns: Vec<usize> = (0..self.folder.columns.len()).collect();
        for entry in &entries {
            let path = self.folder.wanted.get(entry).unwrap_or(entry);
            let looked = self
                .thread
                .done
                .iter()
                .any(|done| done.is("open", "path", entry));
            if entry.ends_with('/') && self.folder.named_file.is_none() && !looked {
                return Answer::call("open", json!({"path": entry}));
            }
            let shown = self.thread.shown(path);
            let Some(end) = shown.iter().map(|(end, _)| *end).max() else {
                return Answer::call("open", json!({"path": path}));
            };
            let given = self
                .thread
                .done
                .iter()
                .any(|done| done.is("submit_rows", "source", path));
            let rows = self.rows(path, None);
            if !given && !rows.is_empty() {
                let rows: Vec<Value> = rows
                    .iter()
                    .take(ROWS_PER_CALL)
                    .map(|row| self.row(row, &columns, end))
                    .collect();
                return Answer::call("submit_rows", json!({"source": path, "rows": rows}));
            }
        }
        Answer::text(COMPLETE)
    }

    /// An answer in words to a question about one value. It says whose value it is and which before the value itself: whatever a
    /// model writes directly behind a key it copies rightly, long before it finds a value for a question further back.
    fn reply(&self) -> Answer {
        let Some((name, column)) = asked(self.thread.user) else {
            return Answer::text(BEYOND);
        };
        let hits = self.thread.done.iter().find(|done| done.name == "search");
        let Some(hits) = hits else {
            return Answer::call("search", json!({"query": name}));
        };
        let is_asked = |row: &&Vec<Option<Stated>>| {
            let key = row[0].as_ref();
            key.is_some_and(|key| key.value == name)
        };
        let mut papers = self.folder.papers.iter();
        let found =
            papers.find_map(|(path, paper)| Some((path, paper.rows.iter().find(is_asked)?)));
        let Some((path, row)) = found.filter(|(path, _)| hits.result.contains(*path)) else {
            return Answer::text(NOT_SAID);
        };
        let line = row[0].as_ref().map_or(0, |name| name.line);
        let place = place_of(hits.result, path, line);
        let shown = self.thread.shown(&place);
        let Some(end) = shown.iter().map(|(end, _)| *end).max() else {
            return Answer::call("open", json!({"path": place}));
        };
        let index = self.folder.columns.iter().position(|other| other == column);
        match index.and_then(|index| row[index].as_ref()) {
            Some(stated) if stated.line <= end => Answer::text(said(name, column, stated, path)),
            _ => Answer::text(NOT_SAID),
        }
    }
}

/// The path in these hits of the record of a document that has this line, or the document's own.
fn place_of(hits: &str, path: &str, line: usize) -> String {
    let mut parts = hits.lines().filter_map(|hit| {
        let (part, _) = hit.strip_prefix(path)?.split_once(':')?;
        let place = format!("{path}{part}");
        let is_it = split_part(&place).is_some_and(|(_, lines)| lines.contains(&line));
        is_it.then_some(place)
    });
    parts.next().unwrap_or_else(|| path.to_owned())
}

/// What is answered in words: whose value it is and which, the value, and where it stands.
fn said(name: &str, column: &str, stated: &Stated, path: &str) -> String {
    format!(
        "{name}: {column} = {} ({path}:{})",
        stated.value, stated.line
    )
}

/// A pattern that is nearly this one and matches nothing.
fn misspelled(pattern: &str, random: &mut Random) -> String {
    let inner = pattern.trim_matches(['{', '}']).trim_start_matches('*');
    let inner = inner.trim_start_matches(['/', '.']);
    let is_in_folders = pattern.starts_with("{*/");
    match random.below(5) {
        // Numbers of versions, as names of folders end in.
        0 if is_in_folders => {
            let [a, b, c] = [random.below(30), random.below(30), random.below(30)];
            format!("{{*.{a}.{b}.{c}/{inner}}}")
        }
        _ if inner.is_empty() => "{*./}".to_owned(),
        1 if is_in_folders => format!("{{*.{inner}}}"),
        2 => format!("{{*/*/{inner}}}"),
        3 => format!("{{*.{inner}/}}"),
        _ => format!("{{*.*.{inner}}}"),
    }
}

/// Makes one cell of a row wrong: another line, or left out.
fn spoil(row: &mut Value, random: &mut Random) {
    let Some(cells) = row.as_object_mut() else {
        return;
    };
    let names: Vec<String> = cells.keys().skip(1).cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = random.pick(&names);
    let line = cells[name]["line"].as_u64();
    match line {
        Some(line) if random.chance(0.6) => {
            cells[name]["line"] = json!(line + 1 + random.below(3) as u64);
        }
        _ => {
            cells.remove(name);
        }
    }
}
