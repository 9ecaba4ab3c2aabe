//! `k25 chat`: one message per line, turn by turn.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use anyhow::{Result, anyhow};
use k25_chat::{
    Arguments, Content, Conversation, Media, MediaKind, Message, ParsedMessage, Part,
    RenderOptions, Role, ToolCall,
};
use k25_local::{AnswerForm, AnswerOptions, CallRule, LocalModel};

use super::Outcome;
use crate::answer::{self, AnswerPrinter};
use crate::args::{ChatArgs, SamplingArgs};
use crate::interrupt::Interrupt;
use crate::model_name::ModelName;
use crate::output::{Screen, print_error};

/// Most bytes of one line.
const MAX_LINE_BYTES: u64 = 16 << 20;

const HELP: &str = "\
/image FILE   show a picture with the next message
/video FILE   show a film with the next message
/thinking     let the model reason before it answers
/instant      let it answer at once
/clear        forget the conversation
/quit         leave (or Ctrl-D)";

pub fn run(mut args: ChatArgs) -> Result<Outcome> {
    let interrupt = Interrupt::watch()?;
    let form = args.form.form()?;
    let name = ModelName::chosen(args.dir.as_ref());
    let folder = name.folder()?;
    folder.announce("k25 chat DIR")?;
    name.settle(&mut args.sampling);
    let (model, _) = answer::open(&folder, &args.how)?;
    let mut chat = Chat::new(model, args, form, interrupt);
    let is_person = io::stdin().is_terminal();
    if is_person {
        println_dim("/help lists the commands")?;
    }
    loop {
        if is_person {
            prompt_mark()?;
        }
        let Some(line) = read_line()? else { break };
        match chat.obey(line.trim()) {
            Ok(Next::Line) => {}
            Ok(Next::Quit) => break,
            // A person can try again; a script should not go on without an answer.
            Err(error) if is_person && !error.is::<io::Error>() => print_error(&error),
            Err(error) => return Err(error),
        }
    }
    Ok(Outcome::Done)
}

enum Next {
    Line,
    Quit,
}

/// A conversation in progress.
struct Chat {
    model: LocalModel,
    flags: SamplingArgs,
    /// Of every answer.
    form: AnswerForm,
    interrupt: Interrupt,
    system: Option<String>,
    thinking: bool,
    seed: u64,
    messages: Vec<Message>,
    /// What the next message will show.
    media: Vec<Media>,
}

impl Chat {
    fn new(model: LocalModel, args: ChatArgs, form: AnswerForm, interrupt: Interrupt) -> Self {
        let ChatArgs {
            system,
            sampling: flags,
            ..
        } = args;
        let (thinking, seed) = (
            !flags.instant,
            flags.seed.unwrap_or_else(answer::random_seed),
        );
        let mut chat = Self {
            model,
            flags,
            form,
            interrupt,
            system,
            thinking,
            seed,
            messages: Vec::new(),
            media: Vec::new(),
        };
        chat.clear();
        chat
    }

    fn obey(&mut self, line: &str) -> Result<Next> {
        let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = argument.trim();
        match command {
            "" => {}
            "/quit" | "/exit" => return Ok(Next::Quit),
            "/help" => writeln!(io::stdout(), "{HELP}")?,
            "/clear" => self.clear(),
            "/thinking" => self.thinking = true,
            "/instant" => self.thinking = false,
            "/image" => self.attach(MediaKind::Image, argument)?,
            "/video" => self.attach(MediaKind::Video, argument)?,
            // A path may begin with a slash; commands are single words of letters.
            other if other.strip_prefix('/').is_some_and(is_word) => {
                return Err(anyhow!(
                    "no command {other}\n  hint: /help lists the commands"
                ));
            }
            _ => self.say(line)?,
        }
        Ok(Next::Line)
    }

    fn clear(&mut self) {
        self.messages = self
            .system
            .clone()
            .map(Message::system)
            .into_iter()
            .collect();
        self.media.clear();
    }

    fn attach(&mut self, kind: MediaKind, path: &str) -> Result<()> {
        if path.is_empty() {
            return Err(anyhow!(
                "which file?\n  hint: write for instance /image cat.png"
            ));
        }
        if !std::path::Path::new(path).is_file() {
            return Err(anyhow!(
                "{path} is no file\n  hint: give the path as seen from this folder"
            ));
        }
        self.media.push(Media {
            kind,
            source: Some(path.to_owned()),
        });
        Ok(())
    }

    /// Asks and prints the answer. Where there is none, the conversation stays as it was.
    fn say(&mut self, text: &str) -> Result<()> {
        let before = self.messages.len();
        self.messages
            .push(question(text, std::mem::take(&mut self.media)));
        match self.answer() {
            Ok(message) => {
                self.messages.push(spoken(message));
                Ok(())
            }
            Err(error) => {
                self.messages.truncate(before);
                Err(error)
            }
        }
    }

    fn answer(&mut self) -> Result<ParsedMessage> {
        let options = RenderOptions {
            thinking: self.thinking,
            ..RenderOptions::default()
        };
        let mut prepared = self
            .model
            .prepare(Conversation::new(self.messages.clone()), &options)?;
        self.model
            .constrain(&mut prepared, self.form.clone(), CallRule::Auto)?;
        let params = answer::sampling(
            &self.flags,
            self.thinking,
            self.model.room(&prepared),
            self.seed,
        );
        let mut printer = AnswerPrinter::new(io::stdout(), Screen::stdout());
        let options = AnswerOptions {
            stop: self.flags.stop.clone(),
            ..AnswerOptions::new(params)
        };
        let begun = self.model.answer(prepared, options)?;
        let (message, finished) =
            answer::run(begun, &self.interrupt, &mut |event| printer.show(event))?;
        printer.finish()?;
        println_dim(&answer::cost_line(&finished))?;
        Ok(message)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn question(text: &str, media: Vec<Media>) -> Message {
    if media.is_empty() {
        return Message::user(text);
    }
    let parts = media
        .into_iter()
        .map(Part::Media)
        .chain([Part::Text(text.to_owned())]);
    Message {
        content: Some(Content::Parts(parts.collect())),
        ..Message::new(Role::User, "")
    }
}

/// The model's answer as a message of the history.
fn spoken(message: ParsedMessage) -> Message {
    let calls = message.tool_calls.into_iter().map(|call| ToolCall {
        id: call.id,
        name: call.name,
        arguments: Arguments::Text(call.arguments),
    });
    Message {
        reasoning: message.reasoning,
        tool_calls: calls.collect(),
        ..Message::assistant(message.content.unwrap_or_default())
    }
}

/// The next line without its end; `None` at the end of the input.
fn read_line() -> Result<Option<String>> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_LINE_BYTES + 1)
        .read_until(b'\n', &mut bytes)?;
    if bytes.len() as u64 > MAX_LINE_BYTES {
        return Err(anyhow!(
            "the line has more than {MAX_LINE_BYTES} bytes\n  hint: give long text with k25 generate -"
        ));
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|_| anyhow!("the line is not UTF-8\n  hint: set the terminal to UTF-8"))
}

fn prompt_mark() -> io::Result<()> {
    let mut stdout = io::stdout();
    write!(stdout, "› ")?;
    stdout.flush()
}

/// A remark beside the conversation, for a person at a terminal.
fn println_dim(text: &str) -> io::Result<()> {
    let screen = Screen::stderr();
    if screen.is_terminal {
        writeln!(io::stderr(), "{}{text}{}", screen.dim(), screen.plain())?;
    }
    Ok(())
}
