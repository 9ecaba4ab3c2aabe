//! Who answers while lessons are recorded: a script that knows what is true of a folder, and does what a good model would.
//!
//! Now and then it makes a mistake on purpose, so that what the tools say about it and how one goes on from there is learned too;
//! the mistaken message itself counts nothing.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use k25_chat::{
    Arguments, ChatClient, ChatError, ChatEvent, ChatRequest, ChatStream, ChatUsage, Content,
    Conversation, Message, ParserEvent, ReplyEnd, Role,
};
use serde_json::{Value, json};

use crate::random::Random;
use crate::world::{Folder, Stated};

/// Tasks that an orchestrator gives out in one turn.
const WIDTH: usize = 20;
/// Rows that are handed in with one call.
const ROWS_PER_CALL: usize = 6;
/// Beginnings of paths that lead nowhere.
const NOWHERE: [&str; 4] = ["docs/", "./files/", "data/", "the "];
/// Windows of a document that are read before a value counts as not stated.
const WINDOWS: usize = 2;

/// What the teacher says.
#[derive(Debug, Clone, Default, PartialEq)]
struct Answer {
    content: String,
    calls: Vec<(&'static str, Value)>,
    /// It is wrong on purpose.
    is_mistake: bool,
}

impl Answer {
    fn text(content: impl Into<String>) -> Self {
        Self {
            content: content.into(),
            ..Self::default()
        }
    }

    fn call(name: &'static str, arguments: Value) -> Self {
        Self {
            calls: vec![(name, arguments)],
            ..Self::default()
        }
    }

    fn mistaken(self) -> Self {
        Self {
            is_mistake: true,
            ..self
        }
    }
}

/// A conversation as it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// What was said, tools declared.
    pub conversation: Conversation,
    /// For every answer of the assistant, how much it counts.
    pub weights: Vec<f32>,
}

/// A [`ChatClient`] that knows a folder.
pub struct Teacher {
    folder: Arc<Folder>,
    mistakes: f64,
    state: Mutex<State>,
}

struct State {
    random: Random,
    /// By the first two messages: the conversation so far, and the weights of its answers.
    threads: BTreeMap<String, Recorded>,
    /// Mistakes that were made, by thread.
    mistakes: HashMap<String, usize>,
}

impl Teacher {
    /// A teacher of a folder that makes mistakes in this part of all tasks.
    pub fn new(folder: Arc<Folder>, random: Random, mistakes: f64) -> Self {
        let state = State {
            random,
            threads: BTreeMap::new(),
            mistakes: HashMap::new(),
        };
        Self {
            folder,
            mistakes,
            state: Mutex::new(state),
        }
    }

    /// The conversations that were held, longest states only.
    pub fn recorded(&self) -> Vec<Recorded> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.threads.values().cloned().collect()
    }

    fn answer(&self, request: &ChatRequest) -> Answer {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = Thread::of(request);
        let made = state.mistakes.get(&thread.id).copied().unwrap_or(0);
        let errs = made == 0 && state.random.chance(self.mistakes);
        let lesson = Lesson {
            folder: &self.folder,
            thread: &thread,
            errs,
            erred: made > 0,
        };
        let answer = lesson.answer(&mut state.random);
        if answer.is_mistake {
            *state.mistakes.entry(thread.id.clone()).or_default() += 1;
        }
        state.note(request, &thread, &answer);
        answer
    }
}

impl State {
    fn note(&mut self, request: &ChatRequest, thread: &Thread<'_>, answer: &Answer) {
        let messages = &request.conversation.messages;
        let said = messages
            .iter()
            .filter(|message| message.role == Role::Assistant)
            .count();
        let before = self.threads.get(&thread.id);
        let mut weights = before
            .map(|recorded| recorded.weights.clone())
            .unwrap_or_default();
        // A history that was made shorter is a new conversation, whose earlier answers have counted already.
        let id = match weights.len() == said {
            true => thread.id.clone(),
            false => {
                weights = vec![0.0; said];
                format!("{}\n{}", thread.id, messages.len())
            }
        };
        weights.push(if answer.is_mistake { 0.0 } else { 1.0 });
        let mut conversation = request.conversation.clone();
        conversation.messages.push(message_of(answer, messages));
        self.threads.insert(
            id,
            Recorded {
                conversation,
                weights,
            },
        );
    }
}

/// The answer as a message, with the ids that the runtime will give its calls.
fn message_of(answer: &Answer, messages: &[Message]) -> Message {
    let first: usize = messages
        .iter()
        .map(|message| message.tool_calls.len())
        .sum();
    let calls = answer
        .calls
        .iter()
        .enumerate()
        .map(|(index, (name, arguments))| k25_chat::ToolCall {
            id: format!("functions.{name}:{}", first + index),
            name: (*name).to_owned(),
            arguments: Arguments::Text(arguments.to_string()),
        });
    Message {
        tool_calls: calls.collect(),
        ..Message::assistant(answer.content.clone())
    }
}

/// A call in a conversation, with its result.
struct Done<'a> {
    name: &'a str,
    arguments: Value,
    result: &'a str,
}

impl Done<'_> {
    fn failed(&self) -> bool {
        self.result.starts_with("error")
    }

    fn is(&self, name: &str, key: &str, value: &str) -> bool {
        self.name == name && self.arguments[key] == value && !self.failed()
    }
}

/// What a request shows of the conversation so far.
struct Thread<'a> {
    id: String,
    tools: Vec<&'a str>,
    user: &'a str,
    done: Vec<Done<'a>>,
    /// What the runtime said last, if nobody has answered yet.
    nudge: Option<&'a str>,
    /// Texts of users behind the first.
    notes: Vec<&'a str>,
}

fn text(message: &Message) -> &str {
    match &message.content {
        Some(Content::Text(text)) => text,
        _ => "",
    }
}

impl<'a> Thread<'a> {
    fn of(request: &'a ChatRequest) -> Self {
        let messages = &request.conversation.messages;
        let tools = request.conversation.tools.iter().filter_map(|tool| {
            tool.as_object()?
                .get("function")?
                .as_object()?
                .get("name")?
                .as_str()
        });
        let results: HashMap<&str, &str> = messages
            .iter()
            .filter_map(|message| Some((message.tool_call_id.as_deref()?, text(message))))
            .collect();
        let calls = messages.iter().flat_map(|message| &message.tool_calls);
        let done = calls.map(|call| Done {
            name: &call.name,
            arguments: match &call.arguments {
                Arguments::Text(text) => serde_json::from_str(text).unwrap_or_default(),
                Arguments::Json(_) => Value::Null,
            },
            result: results.get(call.id.as_str()).copied().unwrap_or_default(),
        });
        let users = messages.iter().filter(|message| message.role == Role::User);
        let notes: Vec<&str> = users.skip(1).map(text).collect();
        let last_is_user = messages.last().is_some_and(|last| last.role == Role::User);
        Self {
            id: messages
                .iter()
                .take(2)
                .map(text)
                .collect::<Vec<_>>()
                .join("\n\n"),
            tools: tools.collect(),
            user: messages.get(1).map(text).unwrap_or_default(),
            done: done.collect(),
            nudge: notes.last().copied().filter(|_| last_is_user),
            notes,
        }
    }

    fn has(&self, tool: &str) -> bool {
        self.tools.contains(&tool)
    }

    /// The windows of a document that were shown: last line of each, and whether there is more.
    fn shown(&self, path: &str) -> Vec<(usize, bool)> {
        let opens = self
            .done
            .iter()
            .filter(|done| done.is("open", "path", path));
        opens.map(|done| window_end(done.result)).collect()
    }
}

/// The last numbered line of what `open` printed, and whether it says that there is more.
fn window_end(result: &str) -> (usize, bool) {
    let more = result
        .lines()
        .last()
        .is_some_and(|line| line.starts_with("more from line"));
    let numbers = result
        .lines()
        .filter_map(|line| line.split_once(':')?.0.parse().ok());
    (numbers.max().unwrap_or(0), more)
}

/// Whether a value stands in the first `end` lines.
fn is_seen(stated: &Option<Stated>, end: usize) -> bool {
    stated.as_ref().is_some_and(|stated| stated.line <= end)
}

/// One answer to be found.
struct Lesson<'a> {
    folder: &'a Folder,
    thread: &'a Thread<'a>,
    /// Whether a mistake is due.
    errs: bool,
    /// Whether one was made.
    erred: bool,
}

impl Lesson<'_> {
    fn answer(&self, random: &mut Random) -> Answer {
        let thread = self.thread;
        if thread.has("define_table") {
            self.define_table()
        } else if thread.has("assign_task") {
            self.orchestrate()
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
            return Answer::text(super::BEYOND);
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

    fn orchestrate(&self) -> Answer {
        let thread = self.thread;
        if thread.notes.is_empty() || thread.nudge.is_some_and(|note| not_opened(note).is_none()) {
            let Some((entries, more)) = self.entries() else {
                return Answer::call("open", json!({"path": "."}));
            };
            if let Some(line) = more
                && self.pattern(&entries).is_none()
            {
                return Answer::call("open", json!({"path": ".", "line": line}));
            }
        }
        let reader = format!("{}-reader", self.folder.noun);
        if !thread
            .done
            .iter()
            .any(|done| done.is("create_subagent", "name", &reader))
        {
            let prompt = format!(
                "You read documents about one {} at a time.",
                self.folder.noun
            );
            return Answer::call(
                "create_subagent",
                json!({"name": reader, "system_prompt": prompt}),
            );
        }
        let given = thread
            .done
            .iter()
            .filter(|done| done.name == "assign_task" && !done.failed());
        let given: Vec<&str> = given
            .filter_map(|done| done.arguments["prompt"].as_str())
            .collect();
        let (entries, _) = self.entries().unwrap_or_default();
        let tasks = match self.pattern(&entries) {
            Some(pattern) if thread.notes.is_empty() => vec![pattern],
            _ => entries,
        };
        let tasks = tasks.iter().map(|entry| self.task(entry));
        let left: Vec<String> = tasks
            .filter(|task| !given.contains(&task.as_str()))
            .take(WIDTH)
            .collect();
        if left.is_empty() {
            return Answer::text("The table is complete.");
        }
        let calls = left
            .into_iter()
            .map(|prompt| ("assign_task", json!({"agent": reader, "prompt": prompt})));
        Answer {
            calls: calls.collect(),
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
        let rows = self
            .folder
            .papers
            .get(path)
            .map(|paper| paper.rows.as_slice())
            .unwrap_or_default();
        let is_wanted = |row: &&Vec<Option<Stated>>| {
            name.is_none_or(|name| {
                row[0]
                    .as_ref()
                    .is_some_and(|stated| stated.value.to_lowercase() == name.to_lowercase())
            })
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
        super::rows::cells(&self.folder.columns, columns, row, end)
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
        Answer::text("The table is complete.")
    }

    /// An answer in words to a question about one value.
    fn reply(&self) -> Answer {
        let Some((name, column)) = asked(self.thread.user) else {
            return Answer::text(super::BEYOND);
        };
        let hits = self.thread.done.iter().find(|done| done.name == "search");
        let Some(hits) = hits else {
            return Answer::call("search", json!({"query": name}));
        };
        let paper = self.folder.papers.iter().find_map(|(path, paper)| {
            let row = paper
                .rows
                .iter()
                .find(|row| row[0].as_ref().is_some_and(|key| key.value == name))?;
            Some((path, row))
        });
        let hit_path = paper
            .as_ref()
            .map(|(path, _)| path.as_str())
            .filter(|path| hits.result.contains(*path));
        let (Some((_, row)), Some(path)) = (paper, hit_path) else {
            return Answer::text("The documents do not say it.");
        };
        if self.thread.shown(path).is_empty() {
            return Answer::call("open", json!({"path": path}));
        }
        let end = self
            .thread
            .shown(path)
            .iter()
            .map(|(end, _)| *end)
            .max()
            .unwrap_or(0);
        let index = self.folder.columns.iter().position(|other| other == column);
        match index.and_then(|index| row[index].as_ref()) {
            Some(stated) if stated.line <= end => {
                Answer::text(format!("{} ({path}:{})", stated.value, stated.line))
            }
            _ => Answer::text("The documents do not say it."),
        }
    }
}

/// The name and column of `What is the COLUMN of NAME?`.
fn asked(question: &str) -> Option<(&str, &str)> {
    let rest = question.strip_prefix("What is the ")?.strip_suffix('?')?;
    let (column, name) = rest.split_once(" of ")?;
    Some((name, column))
}

/// The entries of a note of the runtime about what nobody has opened.
fn not_opened(note: &str) -> Option<Vec<String>> {
    let line = note
        .lines()
        .find(|line| line.starts_with("Not opened yet ("))?;
    let (_, entries) = line.split_once("): ")?;
    Some(
        entries
            .split(", ")
            .filter(|entry| *entry != "…")
            .map(str::to_owned)
            .collect(),
    )
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

impl ChatClient for Teacher {
    fn chat(&self, request: ChatRequest) -> ChatStream {
        let answer = self.answer(&request);
        let prompt: usize = request
            .conversation
            .messages
            .iter()
            .map(|message| text(message).len())
            .sum();
        Box::pin(Said(
            events(answer, &request.conversation.messages, prompt as u64 / 3).into_iter(),
        ))
    }
}

fn events(answer: Answer, messages: &[Message], prompt_tokens: u64) -> Vec<ChatEvent> {
    let message = message_of(&answer, messages);
    let mut outputs = Vec::new();
    if !answer.content.is_empty() {
        outputs.push(ParserEvent::ContentDelta(answer.content));
    }
    let reason = if message.tool_calls.is_empty() {
        ReplyEnd::Stop
    } else {
        ReplyEnd::ToolCalls
    };
    for (index, (call, (_, arguments))) in
        message.tool_calls.into_iter().zip(answer.calls).enumerate()
    {
        outputs.push(ParserEvent::ToolCallBegin {
            index,
            id: call.id,
            name: call.name,
        });
        outputs.push(ParserEvent::ToolCallArgumentsDelta {
            index,
            delta: arguments.to_string(),
        });
        outputs.push(ParserEvent::ToolCallEnd { index });
    }
    let usage = ChatUsage {
        prompt_tokens,
        completion_tokens: 50,
        ..ChatUsage::default()
    };
    let outputs = outputs.into_iter().map(ChatEvent::Output);
    outputs
        .chain([ChatEvent::Finished { reason, usage }])
        .collect()
}

/// Events that are there already.
struct Said(std::vec::IntoIter<ChatEvent>);

impl Stream for Said {
    type Item = Result<ChatEvent, ChatError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}
