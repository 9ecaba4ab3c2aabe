//! `k25 bench`: how fast this machine computes, beside what it could do at most.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use k25_bench::{BenchOptions, Figure, Machine};
use k25_model::fast::FastOptions;

use super::Outcome;
use crate::args::BenchArgs;
use crate::model_name::ModelName;
use crate::output::{Status, print_json};

pub fn run(args: &BenchArgs) -> Result<Outcome> {
    let folder = args.dir.as_ref().map(|dir| ModelName::of(dir).folder());
    let folder = folder.transpose()?;
    let options = options(args, folder.as_ref().map(|folder| folder.path().to_owned()));
    let status = Status::show("measuring this machine's roofs …");
    let mut sink = |machine: &Machine, figure: Option<&Figure>| {
        if args.json {
            return;
        }
        status.update("");
        let printed = match figure {
            None => print_machine(machine),
            Some(figure) => print_figure(figure),
        };
        if printed.is_err() {
            // Nobody reads the table any more.
            std::process::exit(1);
        }
        status.update("measuring …");
    };
    let report = k25_bench::run(&options, &mut sink)?;
    drop(status);
    if args.json {
        print_json(&report)?;
    }
    Ok(Outcome::Done)
}

fn options(args: &BenchArgs, model: Option<PathBuf>) -> BenchOptions {
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    BenchOptions {
        model,
        threads,
        fast: FastOptions {
            dense: args.dense.format(),
            activations: args.activations.format(),
            ..FastOptions::default()
        },
        cache: args.cache.format(),
        depths: args.depths.clone(),
        prompts: args.prompts.clone(),
        batches: args.batches.clone(),
        sharing: args.sharing,
        moe_rows: args.moe_rows.clone(),
    }
}

fn print_machine(machine: &Machine) -> io::Result<()> {
    writeln!(
        io::stdout(),
        "this machine   {} · {} · {} threads\n  read {:.1} GB/s ({} streams per thread) · INT4 {:.0} Gop/s · int8 {:.0} Gop/s · f32 {:.0} GFLOP/s\n",
        machine.processor,
        machine.isa,
        machine.threads,
        machine.read_bytes_per_second / 1e9,
        machine.read_streams,
        machine.int4_ops_per_second / 1e9,
        machine.int8_ops_per_second / 1e9,
        machine.f32_ops_per_second / 1e9,
    )
}

fn print_figure(figure: &Figure) -> io::Result<()> {
    let of_roof = figure.of_roof.map_or(String::new(), |of_roof| {
        format!("{:>4.0} % of the roof", of_roof * 100.0)
    });
    let note = figure.note.as_deref().unwrap_or_default();
    let line = format!(
        "{:<52} {:>9.2} {:<6} {of_roof}  {note}",
        figure.name, figure.value, figure.unit
    );
    writeln!(io::stdout(), "{}", line.trim_end())
}
