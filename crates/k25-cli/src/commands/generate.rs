//! `k25 generate`: one answer.

use std::io;
use std::time::Duration;

use anyhow::Result;
use k25_chat::{
    Content, Conversation, Media, MediaKind, Message, ParsedMessage, ParsedToolCall, Part, Reading,
    Role,
};
use k25_local::{Answer, AnswerOptions, CallRule, FinishReason, Finished, LocalModel, Prepared};
use serde::Serialize;

use super::Outcome;
use crate::answer::{
    AnswerPrinter, cost_line, open, random_seed, render_options, run as answer, sampling,
    tokens_per_second,
};
use crate::args::{GenerateArgs, SamplingArgs};
use crate::input::{Source, media_address, text_or_stdin};
use crate::interrupt::Interrupt;
use crate::model_name::ModelName;
use crate::output::{Screen, print_json};

/// What the model is to read.
enum Input {
    Conversation(Conversation),
    Raw(String),
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Reply<'a> {
    content: Option<&'a str>,
    reasoning: Option<&'a str>,
    /// In the OpenAI form, so that they can go back into a conversation.
    tool_calls: Vec<Call<'a>>,
    finish_reason: &'static str,
    usage: Tokens,
    seed: u64,
    timings: Timings,
}

#[derive(Debug, Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Debug, Serialize)]
struct Tokens {
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
}

#[derive(Debug, Serialize)]
struct Timings {
    load_seconds: f64,
    first_token_seconds: Option<f64>,
    total_seconds: f64,
    /// After the first token.
    tokens_per_second: Option<f64>,
}

pub fn run(args: GenerateArgs) -> Result<Outcome> {
    let GenerateArgs {
        dir,
        how,
        prompt,
        messages,
        images,
        videos,
        system,
        raw,
        sampling: mut flags,
        form,
        samples,
        json,
    } = args;
    let form = form.form()?;
    let input = match (messages, prompt) {
        (Some(path), _) => {
            Input::Conversation(Source::of(&path).read_conversation(Reading::Service)?)
        }
        (None, prompt) => {
            let text = text_or_stdin(prompt.unwrap_or_default())?;
            if raw {
                Input::Raw(text)
            } else {
                Input::Conversation(one_question(text, images, videos, system)?)
            }
        }
    };
    let interrupt = Interrupt::watch()?;
    let name = ModelName::of(dir);
    name.settle(&mut flags);
    let (model, load_time) = open(&name.folder()?, &how)?;
    let mut prepared = prepare(&model, input, &flags)?;
    model.constrain(&mut prepared, form, CallRule::Auto)?;
    let seed = flags.seed.unwrap_or_else(random_seed);
    let params = sampling(&flags, !flags.instant, model.room(&prepared), seed);
    // All begin at once: the engine computes the prompt for one of them, and the answers together.
    let sample = |index| {
        let options = AnswerOptions {
            stop: flags.stop.clone(),
            ..AnswerOptions::new(params.for_sample(index))
        };
        model.answer(prepared.clone(), options)
    };
    let answers = (0..samples).map(sample).collect::<Result<Vec<_>, _>>()?;
    let seeds = (0..samples).map(|index| params.for_sample(index).seed);
    let mut spoken = Vec::with_capacity(samples);
    for begun in answers {
        let (message, finished) = match json {
            true => answer(begun, &interrupt, &mut |_| Ok(()))?,
            false => show(begun, &interrupt)?,
        };
        let is_cancelled = finished.reason == FinishReason::Cancelled;
        spoken.push((message, finished));
        if is_cancelled {
            break;
        }
    }
    if json {
        let replies = spoken.iter().zip(seeds);
        let replies =
            replies.map(|((message, finished), seed)| reply(message, finished, seed, load_time));
        let replies: Vec<_> = replies.collect();
        match replies.as_slice() {
            [one] => print_json(one)?,
            several => print_json(&several)?,
        }
    }
    let is_cancelled = |(_, finished): &(_, Finished)| finished.reason == FinishReason::Cancelled;
    Ok(match spoken.iter().any(is_cancelled) {
        true => Outcome::Interrupted,
        false => Outcome::Done,
    })
}

/// Prints an answer while it comes, and on a terminal what it cost.
fn show(begun: Answer, interrupt: &Interrupt) -> Result<(ParsedMessage, Finished)> {
    let mut printer = AnswerPrinter::new(io::stdout(), Screen::stdout());
    let (message, finished) = answer(begun, interrupt, &mut |event| printer.show(event))?;
    printer.finish()?;
    show_cost(&finished);
    explain_silence(&message);
    Ok((message, finished))
}

/// A conversation of one message: media in the order of their flags, pictures first, then the text.
fn one_question(
    text: String,
    images: Vec<std::path::PathBuf>,
    videos: Vec<std::path::PathBuf>,
    system: Option<String>,
) -> Result<Conversation> {
    // A shell's `echo` ends its line.
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    let mut parts = Vec::new();
    for (kind, paths) in [(MediaKind::Image, images), (MediaKind::Video, videos)] {
        for path in paths {
            parts.push(Part::Media(Media {
                kind,
                source: Some(media_address(path)?),
            }));
        }
    }
    let content = if parts.is_empty() {
        Content::Text(text)
    } else {
        parts.push(Part::Text(text));
        Content::Parts(parts)
    };
    let question = Message {
        content: Some(content),
        ..Message::new(Role::User, "")
    };
    let system = system.map(Message::system);
    Ok(Conversation::new(
        system.into_iter().chain([question]).collect(),
    ))
}

fn prepare(model: &LocalModel, input: Input, flags: &SamplingArgs) -> Result<Prepared> {
    Ok(match input {
        Input::Conversation(conversation) => model.prepare(conversation, &render_options(flags))?,
        Input::Raw(text) => model.prepare_raw(&text)?,
    })
}

/// Says on a terminal what the answer cost, and why it stopped if that needs saying.
fn show_cost(finished: &Finished) {
    let screen = Screen::stderr();
    if !screen.is_terminal {
        return;
    }
    let why = match finished.reason {
        FinishReason::Length => " · cut off by --max-tokens or the context",
        FinishReason::Cancelled => " · interrupted",
        _ => "",
    };
    eprintln!(
        "{}{}{why}{}",
        screen.dim(),
        cost_line(finished),
        screen.plain()
    );
}

/// Says why a pipe got nothing.
fn explain_silence(message: &ParsedMessage) {
    let is_silent = message.content.is_none() && message.tool_calls.is_empty();
    if is_silent && message.reasoning.is_some() && !Screen::stdout().is_terminal {
        eprintln!(
            "note: the answer ended within the reasoning, which only a terminal gets\n  \
             hint     give it room with --max-tokens, ask with --instant, or see all with --json"
        );
    }
}

fn reply<'a>(
    message: &'a ParsedMessage,
    finished: &Finished,
    seed: u64,
    load_time: Duration,
) -> Reply<'a> {
    let call = |call: &'a ParsedToolCall| Call {
        id: &call.id,
        kind: "function",
        function: Function {
            name: &call.name,
            arguments: &call.arguments,
        },
    };
    Reply {
        content: message.content.as_deref(),
        reasoning: message.reasoning.as_deref(),
        tool_calls: message.tool_calls.iter().map(call).collect(),
        finish_reason: finished.reason.as_str(),
        usage: Tokens {
            prompt_tokens: finished.usage.prompt_rows,
            cached_tokens: finished.usage.cached_rows,
            completion_tokens: finished.usage.generated_tokens,
        },
        seed,
        timings: Timings {
            load_seconds: load_time.as_secs_f64(),
            first_token_seconds: finished.timing.first_token.map(|time| time.as_secs_f64()),
            total_seconds: finished.timing.total.as_secs_f64(),
            tokens_per_second: tokens_per_second(finished),
        },
    }
}
