//! `k25 render`: the prompt that a conversation becomes.

use std::io::{self, Write};

use anyhow::Result;
use k25_chat::{
    Conversation, Reading, RenderOptions, TemplateVersion, Tokenizer, declare_tools, render,
    rewrite_tool_call_ids, segments_to_text,
};
use serde::Serialize;

use super::Outcome;
use crate::args::RenderArgs;
use crate::input::Source;
use crate::output::{Screen, print_json};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Rendering<'a> {
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<&'a [u32]>,
    /// The model's output begins with reasoning.
    ends_in_reasoning: bool,
    /// Why the tools are declared as JSON instead of TypeScript.
    #[serde(skip_serializing_if = "Option::is_none")]
    tools_fallback: Option<String>,
}

pub fn run(args: &RenderArgs) -> Result<Outcome> {
    let conversation = read(args)?;
    let options = RenderOptions {
        thinking: !args.instant,
        preserve_thinking: args.preserve_thinking,
        add_generation_prompt: !args.no_generation_prompt,
    };
    let prompt = render(&conversation, &options);
    let text = segments_to_text(&prompt.segments);
    let ids = match &args.tokenizer {
        Some(dir) if args.ids => {
            let tokenizer = Tokenizer::open(dir)?;
            // The stock tokenizer reads markers in anybody's text; an answer's prompt never does.
            Some(match args.verbatim {
                true => tokenizer.encode_with_specials(&text),
                false => tokenizer.encode_segments(&prompt.segments),
            })
        }
        _ => None,
    };
    if args.json {
        print_json(&Rendering {
            prompt: &text,
            ids: ids.as_deref(),
            ends_in_reasoning: prompt.ends_in_reasoning,
            tools_fallback: fallback(&conversation),
        })?;
        return Ok(Outcome::Done);
    }
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", Screen::stdout().foreign(&text))?;
    if let Some(ids) = ids {
        writeln!(stdout, "{}", super::tokenize::id_list(&ids))?;
    }
    Ok(Outcome::Done)
}

/// The conversation as an answer would read it, or with `--verbatim` as the model's own template does.
fn read(args: &RenderArgs) -> Result<Conversation> {
    let version = if args.preserve_thinking {
        TemplateVersion::K26
    } else {
        TemplateVersion::K25
    };
    let reading = if args.verbatim {
        Reading::Reference(version)
    } else {
        Reading::Service
    };
    let mut conversation = Source::of(&args.conversation).read_conversation(reading)?;
    if let Some(path) = &args.tools {
        conversation.tools = Source::of(path).read_tools()?;
    }
    if !args.verbatim {
        rewrite_tool_call_ids(&mut conversation.messages)?;
    }
    Ok(conversation)
}

fn fallback(conversation: &Conversation) -> Option<String> {
    if conversation.tools.is_empty() {
        return None;
    }
    declare_tools(&conversation.tools)
        .fallback
        .map(|reason| reason.to_string())
}
