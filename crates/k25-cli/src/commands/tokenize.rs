//! `k25 tokenize`: text to ids and back.

use std::io::{self, Write};

use anyhow::Result;
use k25_chat::Tokenizer;
use serde::Serialize;

use super::Outcome;
use crate::args::TokenizeArgs;
use crate::input::text_or_stdin;
use crate::model_name::ModelName;
use crate::output::{Screen, print_json};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Tokenized<'a> {
    text: &'a str,
    ids: &'a [u32],
    /// The text of each id; U+FFFD where it is no whole character.
    tokens: Vec<String>,
}

pub fn run(args: TokenizeArgs) -> Result<Outcome> {
    let folder = ModelName::of(&args.tokenizer).folder()?;
    let tokenizer = Tokenizer::open(folder.path())?;
    let (text, ids) = match args.decode {
        Some(ids) => (tokenizer.decode(&ids)?, ids),
        None => {
            let text = text_or_stdin(args.text.unwrap_or_default())?;
            let ids = if args.specials {
                tokenizer.encode_with_specials(&text)
            } else {
                tokenizer.encode_text(&text)
            };
            if !args.json {
                writeln!(io::stdout(), "{}", id_list(&ids))?;
                return Ok(Outcome::Done);
            }
            (text, ids)
        }
    };
    if args.json {
        let tokens = ids
            .iter()
            .map(|&id| tokenizer.decode(&[id]))
            .collect::<Result<_, _>>()?;
        print_json(&Tokenized {
            text: &text,
            ids: &ids,
            tokens,
        })?;
    } else {
        writeln!(io::stdout(), "{}", Screen::stdout().foreign(&text))?;
    }
    Ok(Outcome::Done)
}

/// Ids as `--decode` takes them.
pub fn id_list(ids: &[u32]) -> String {
    let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
    ids.join(",")
}
