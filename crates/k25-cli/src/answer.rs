//! Running a model for a person: opening it, drawing tokens as flags say, showing the answer while it
//! comes.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use k25_chat::{ParsedMessage, ParserEvent, RenderOptions};
use k25_local::{
    Answer, Execution, FileAccess, FinishReason, Finished, LocalEvent, LocalModel, LocalOptions,
    Progress, SamplingParams,
};

use crate::args::{self, OpenArgs, SamplingArgs};
use crate::interrupt::Interrupt;
use crate::model_name::ModelFolder;
use crate::output::{Screen, Status};

/// Most tokens of an answer where no flag says otherwise.
const MAX_TOKENS: usize = 4096;
/// How often Ctrl-C is looked for while the model computes.
const GLANCE: Duration = Duration::from_millis(50);

/// Opens a model for a person at this machine; also says how long it took.
pub fn open(folder: &ModelFolder, args: &OpenArgs) -> Result<(LocalModel, Duration)> {
    open_with(folder, args, FileAccess::Allowed)
}

/// Opens a model for conversations that may name files, or not.
pub fn open_with(
    folder: &ModelFolder,
    args: &OpenArgs,
    files: FileAccess,
) -> Result<(LocalModel, Duration)> {
    let _status = Status::show(&format!("opening {} …", folder.path().display()));
    let started = Instant::now();
    if let Some(threads) = args.threads {
        // Fails only where a pool is there already; nothing here makes one before.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
    }
    let options = LocalOptions {
        tokenizer: args.tokenizer.clone(),
        adapter: args.adapter.clone(),
        execution: match args.execution {
            args::Execution::Fast => Execution::Fast,
            args::Execution::Reference => Execution::Reference,
        },
        threads: args.threads,
        context_tokens: args.context,
        fast: args.compute.fast(args.execution)?,
        cache: args.compute.cache.format(),
        files,
        ..LocalOptions::default()
    };
    let model = LocalModel::open(folder.path(), &options)?;
    Ok((model, started.elapsed()))
}

/// How a conversation is rendered with these flags.
pub fn render_options(args: &SamplingArgs) -> RenderOptions {
    RenderOptions {
        thinking: !args.instant,
        ..RenderOptions::default()
    }
}

/// The sampling that flags ask for, with the family's recommendations; `room` is what there is for an
/// answer.
pub fn sampling(args: &SamplingArgs, thinking: bool, room: usize, seed: u64) -> SamplingParams {
    let recommended = if thinking {
        SamplingParams::thinking()
    } else {
        SamplingParams::instant()
    };
    SamplingParams {
        temperature: args.temperature.unwrap_or(recommended.temperature),
        top_p: args.top_p.unwrap_or(recommended.top_p),
        top_k: args.top_k.unwrap_or(recommended.top_k),
        min_p: args.min_p.unwrap_or(recommended.min_p),
        max_tokens: args.max_tokens.unwrap_or(MAX_TOKENS.min(room)),
        seed,
        ..recommended
    }
}

/// A seed that was not asked for; small enough that every JSON reader keeps it exactly.
pub fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() >> 32
}

/// Reads `answer` to its end, handing every step to `show`; the first Ctrl-C ends it early.
pub fn run(
    answer: Answer,
    interrupt: &Interrupt,
    show: &mut dyn FnMut(&ParserEvent) -> io::Result<()>,
) -> Result<(ParsedMessage, Finished)> {
    interrupt.answering();
    let result = follow(answer, interrupt, show);
    interrupt.answered();
    let (message, finished) = result?;
    if let FinishReason::Failed(reason) = &finished.reason {
        return Err(anyhow!("the model could not go on: {reason}"));
    }
    Ok((message, finished))
}

fn follow(
    mut answer: Answer,
    interrupt: &Interrupt,
    show: &mut dyn FnMut(&ParserEvent) -> io::Result<()>,
) -> Result<(ParsedMessage, Finished)> {
    let mut message = ParsedMessage::default();
    let mut is_cancelled = false;
    loop {
        match answer.next_within(GLANCE)? {
            Progress::Event(LocalEvent::Delta(delta)) => {
                show(&delta)?;
                message.add(&delta);
            }
            Progress::Event(LocalEvent::Token(_)) => {}
            Progress::Event(LocalEvent::Finished(finished)) => return Ok((message, finished)),
            Progress::Waiting => {}
            Progress::Ended => return Err(anyhow!("the answer ended without a reason")),
        }
        if interrupt.is_asked() && !is_cancelled {
            answer.cancel();
            is_cancelled = true;
        }
    }
}

/// Prints an answer while it comes. A terminal gets the reasoning too, faintly; a pipe the answer
/// alone.
pub struct AnswerPrinter<W> {
    out: W,
    screen: Screen,
    last: Last,
}

/// What was printed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Reasoning,
    Content,
    Call,
}

impl<W: Write> AnswerPrinter<W> {
    pub fn new(out: W, screen: Screen) -> Self {
        Self {
            out,
            screen,
            last: Last::Nothing,
        }
    }

    /// Prints one step at once.
    pub fn show(&mut self, event: &ParserEvent) -> io::Result<()> {
        match event {
            ParserEvent::ReasoningDelta(text) if self.screen.is_terminal => {
                self.turn_to(Last::Reasoning)?;
                write!(self.out, "{}", self.screen.foreign(text))?;
            }
            ParserEvent::ReasoningDelta(_) => {}
            ParserEvent::ContentDelta(text) => {
                self.turn_to(Last::Content)?;
                write!(self.out, "{}", self.screen.foreign(text))?;
            }
            ParserEvent::ToolCallBegin { name, .. } => {
                self.turn_to(Last::Nothing)?;
                self.turn_to(Last::Call)?;
                write!(self.out, "▸ {} ", self.screen.foreign(name))?;
            }
            ParserEvent::ToolCallArgumentsDelta { delta, .. } => {
                write!(self.out, "{}", self.screen.foreign(delta))?;
            }
            ParserEvent::ToolCallEnd { .. } => {}
        }
        self.out.flush()
    }

    /// Ends the last line.
    pub fn finish(&mut self) -> io::Result<()> {
        self.turn_to(Last::Nothing)?;
        self.out.flush()
    }

    /// Ends what was printed last and begins something else.
    fn turn_to(&mut self, next: Last) -> io::Result<()> {
        if self.last == next {
            return Ok(());
        }
        match self.last {
            Last::Nothing => {}
            Last::Reasoning => writeln!(self.out, "{}", self.screen.plain())?,
            Last::Content | Last::Call => writeln!(self.out)?,
        }
        match next {
            Last::Reasoning => write!(self.out, "{}", self.screen.dim())?,
            Last::Content if self.last == Last::Reasoning => writeln!(self.out)?,
            Last::Nothing | Last::Content | Last::Call => {}
        }
        self.last = next;
        Ok(())
    }
}

/// What an answer cost, on one line.
pub fn cost_line(finished: &Finished) -> String {
    let usage = finished.usage;
    let speed = tokens_per_second(finished)
        .map_or_else(String::new, |speed| format!(" · {speed:.1} tok/s"));
    format!(
        "{} + {} tokens · {:.1} s{speed}",
        usage.prompt_rows,
        usage.generated_tokens,
        finished.timing.total.as_secs_f64()
    )
}

/// Tokens per second after the first; `None` for an answer of fewer than two.
pub fn tokens_per_second(finished: &Finished) -> Option<f64> {
    let after_first = finished
        .timing
        .total
        .checked_sub(finished.timing.first_token?)?
        .as_secs_f64();
    let tokens = finished
        .usage
        .generated_tokens
        .checked_sub(1)
        .filter(|&tokens| tokens > 0)?;
    (after_first > 0.0).then(|| tokens as f64 / after_first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [fn() -> ParserEvent; 5] = [
        || ParserEvent::ReasoningDelta("hm\x1b".to_owned()),
        || ParserEvent::ContentDelta("yes".to_owned()),
        || ParserEvent::ToolCallBegin {
            index: 0,
            id: "functions.f:0".to_owned(),
            name: "f".to_owned(),
        },
        || ParserEvent::ToolCallArgumentsDelta {
            index: 0,
            delta: "{}".to_owned(),
        },
        || ParserEvent::ToolCallEnd { index: 0 },
    ];

    fn printed(screen: Screen) -> String {
        let mut out = Vec::new();
        let mut printer = AnswerPrinter::new(&mut out, screen);
        for event in EVENTS {
            printer.show(&event()).expect("memory takes all");
        }
        printer.finish().expect("memory takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_pipe_gets_the_answer_alone() {
        let pipe = Screen {
            is_terminal: false,
            has_style: false,
            redraws: false,
        };
        assert_eq!(printed(pipe), "yes\n▸ f {}\n");
    }

    #[test]
    fn a_terminal_gets_the_reasoning_faintly_before_the_answer() {
        let styled = Screen {
            is_terminal: true,
            has_style: true,
            redraws: true,
        };
        assert_eq!(printed(styled), "\x1b[2mhm\u{fffd}\x1b[0m\n\nyes\n▸ f {}\n");
        let plain = Screen {
            is_terminal: true,
            has_style: false,
            redraws: true,
        };
        assert_eq!(printed(plain), "hm\u{fffd}\n\nyes\n▸ f {}\n");
    }
}
