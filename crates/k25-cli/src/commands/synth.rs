//! `k25 synth`: a random checkpoint in the real layout.

use std::io::{self, Write};

use anyhow::Result;
use k25_chat::{
    SPECIAL_SLOTS, TIKTOKEN_FILE, TOKENIZER_CONFIG_FILE, Tokenizer, write_tiktoken,
    write_tokenizer_config,
};
use k25_model::synth::{ExtraFile, Preset, Progress, SynthOptions, write};

use super::Outcome;
use crate::args::SynthArgs;
use crate::output::{Status, bytes, grouped};

pub fn run(args: &SynthArgs) -> Result<Outcome> {
    let options = SynthOptions {
        preset: args.preset,
        seed: args.seed,
        sparse: args.sparse,
    };
    let tokenizer = tokenizer_files(args.preset)?;
    let status = Status::show("laying out …");
    let mut shown = None;
    let mut progress = |Progress { done, total }: Progress| {
        let percent = (u128::from(done) * 100).checked_div(total.into());
        if percent != shown {
            shown = percent;
            status.update(&format!(
                "writing {} … {} %",
                bytes(total),
                percent.unwrap_or(100)
            ));
        }
    };
    let plan = write(&args.dir, options, &tokenizer, &mut progress)?;
    drop(status);

    let tensors: usize = plan.shards.iter().map(|shard| shard.tensors.len()).sum();
    let values: u64 = plan.shards.iter().map(|shard| shard.values_len()).sum();
    let dir = args.dir.display();
    let holes = if args.sparse { ", all of it holes" } else { "" };
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        "{dir}: {}, seed {}, {} tensors in {} files, {}{holes}",
        args.preset,
        args.seed,
        grouped(tensors as u64),
        plan.shards.len(),
        bytes(values)
    )?;
    writeln!(stdout, "  look     k25 inspect {dir}")?;
    writeln!(
        stdout,
        "  try      k25 generate {dir} --max-tokens 8 \"Hello\""
    )?;
    Ok(Outcome::Done)
}

/// A tokenizer with as many ids as the model has embeddings.
fn tokenizer_files(preset: Preset) -> Result<Vec<ExtraFile>> {
    let vocab_size = preset.config().text.vocab_size as u32;
    let tokenizer = Tokenizer::synthetic(vocab_size - SPECIAL_SLOTS)?;
    let tokens = (0..tokenizer.n_base())
        .map(|id| tokenizer.token_bytes(id))
        .collect::<Result<Vec<_>, _>>()?;
    let (tokens, config) = (
        write_tiktoken(&tokens),
        write_tokenizer_config(tokenizer.n_base()),
    );
    Ok(vec![
        ExtraFile {
            name: TIKTOKEN_FILE.to_owned(),
            bytes: tokens.into_bytes(),
        },
        ExtraFile {
            name: TOKENIZER_CONFIG_FILE.to_owned(),
            bytes: config.into_bytes(),
        },
    ])
}
