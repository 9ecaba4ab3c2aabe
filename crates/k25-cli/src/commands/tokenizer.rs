//! `k25 tokenizer`: make a tokenizer in the family's layout.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use k25_chat::{Conversation, Reading, RenderOptions, SPECIAL_SLOTS, Segment, Tokenizer, render};
use k25_train::vocabulary::{Joining, PieceCounts, Progress};
use serde_json::Value;

use super::Outcome;
use crate::output::{Status, bytes, grouped};

/// `k25 tokenizer`.
#[derive(Debug, Args)]
pub struct TokenizerArgs {
    /// What to do
    #[command(subcommand)]
    pub command: TokenizerCommand,
}

/// The subcommands of `k25 tokenizer`.
#[derive(Debug, Subcommand)]
pub enum TokenizerCommand {
    /// Make a vocabulary from text: byte-pair encoding with the family's special tokens
    Train(TokenizerTrainArgs),
}

/// `k25 tokenizer train`.
#[derive(Debug, Args)]
#[command(after_help = "\
Lines of a .jsonl file that are conversations count as the chat template renders them, tools and
all; other lines as the strings in them; any other file is text.

Examples:
  k25 tokenizer train --out vocabulary --vocab-size 4096 text.txt
  k25 tokenizer train --out vocabulary --vocab-size 8192 data/*.jsonl")]
pub struct TokenizerTrainArgs {
    /// Files of text, or of JSON lines (.jsonl)
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Folder for tiktoken.model and tokenizer_config.json
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Ids in all, the 256 special slots among them
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(512..=262_144))]
    pub vocab_size: u32,
    /// Cut words the same way whatever stands before them, and digits one by one: small models then
    /// copy what they have never read with fewer mistakes
    #[arg(long)]
    pub words_alone: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &TokenizerArgs) -> Result<Outcome> {
    match &args.command {
        TokenizerCommand::Train(args) => train(args),
    }
}

/// Makes a vocabulary from files.
pub fn train(args: &TokenizerTrainArgs) -> Result<Outcome> {
    let status = Status::show("counting …");
    let mut counts = PieceCounts::new();
    let mut size = 0;
    for path in &args.files {
        status.update(&format!("counting {} …", path.display()));
        size +=
            count(path, &mut counts).with_context(|| format!("cannot read {}", path.display()))?;
    }
    if counts.is_empty() {
        bail!("the files hold no text\n  hint: give text, or JSON lines with strings in them");
    }
    let pieces = counts.len();
    let tokens = counts.base_tokens(
        args.vocab_size as usize,
        match args.words_alone {
            true => Joining::WordsAlone,
            false => Joining::Anything,
        },
        &mut |Progress { done, wanted }| {
            status.update(&format!("{done} of {wanted} base tokens …"));
        },
    );
    let tokenizer = Tokenizer::from_base_tokens(&tokens)?;
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    tokenizer.write(&args.out)?;
    drop(status);
    report(args, &tokenizer, size, pieces)?;
    Ok(Outcome::Done)
}

fn report(
    args: &TokenizerTrainArgs,
    tokenizer: &Tokenizer,
    size: u64,
    pieces: usize,
) -> Result<()> {
    let (base, all) = (tokenizer.n_base(), tokenizer.vocab_size());
    let mut stdout = io::stdout().lock();
    if args.json {
        let value = serde_json::json!({ "dir": args.out, "bytes": size, "pieces": pieces, "base_tokens": base, "vocab_size": all });
        writeln!(stdout, "{value}")?;
        return Ok(());
    }
    writeln!(
        stdout,
        "{}: {} base tokens and {SPECIAL_SLOTS} special ones, from {} with {} different pieces",
        args.out.display(),
        grouped(base.into()),
        bytes(size),
        grouped(pieces as u64)
    )?;
    if all < args.vocab_size {
        writeln!(
            stdout,
            "  note     the text has no more pairs that occur twice: {all} ids instead of {}",
            args.vocab_size
        )?;
    }
    writeln!(
        stdout,
        "  try      k25 tokenize {} \"Hello\"",
        args.out.display()
    )?;
    Ok(())
}

/// Counts a file's pieces; returns its size.
fn count(path: &Path, counts: &mut PieceCounts) -> Result<u64> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let is_json = path
        .extension()
        .is_some_and(|extension| extension == "jsonl");
    for (index, line) in BufReader::new(file).split(b'\n').enumerate() {
        let mut line = String::from_utf8_lossy(&line?).into_owned();
        if is_json {
            let value = serde_json::from_str(&line).with_context(|| format!("line {}", index + 1));
            match value {
                Ok(value) => match conversation_texts(&value, &line) {
                    Some(texts) => texts.iter().for_each(|text| counts.add(text)),
                    None => strings(&value, &mut |text| counts.add(text)),
                },
                Err(_) if line.trim().is_empty() => {}
                Err(error) => return Err(error),
            }
        } else {
            line.push('\n');
            counts.add(&line);
        }
    }
    Ok(size)
}

/// The texts of a conversation as models read them; `None` for a line that is none.
fn conversation_texts(value: &Value, line: &str) -> Option<Vec<String>> {
    value.get("messages")?;
    let conversation = Conversation::parse(line, Reading::Service).ok()?;
    let segments = render(&conversation, &RenderOptions::default()).segments;
    let texts = segments.into_iter().filter_map(|segment| match segment {
        Segment::Text(text) => Some(text.to_string()),
        _ => None,
    });
    Some(texts.collect())
}

/// Every string in a value that is no key.
fn strings(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}
