//! `k25 inspect`: what is in a checkpoint.

use std::io::{self, Write};

use anyhow::Result;
use k25_model::inspect::Inspection;
use k25_model::names::Kind;

use super::Outcome;
use crate::args::InspectArgs;
use crate::machine;
use crate::model_name::ModelName;
use crate::output::{Status, bytes, print_json};

pub fn run(args: &InspectArgs) -> Result<Outcome> {
    let folder = ModelName::of(&args.dir).folder()?;
    let dir = folder.path();
    let status = Status::show(&format!("reading the headers in {} …", dir.display()));
    let inspection = Inspection::of(dir)?;
    drop(status);
    if args.json {
        print_json(&inspection)?;
    } else {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", inspection.to_string().trim_end())?;
        if let (true, Some(memory)) = (inspection.is_sound(), machine::memory_bytes()) {
            writeln!(stdout, "runs here?  {}", Reads::of(&inspection).fit(memory))?;
        }
    }
    Ok(if inspection.is_sound() {
        Outcome::Done
    } else {
        Outcome::FallsShort
    })
}

/// What the weights take, and what a token of text reads of them, in bytes.
struct Reads {
    all: u64,
    /// Read for every token.
    always: u64,
    experts: u64,
    /// Of the experts, those that one token visits.
    visited: u64,
}

impl Reads {
    fn of(inspection: &Inspection) -> Self {
        let sum = |wanted: fn(Kind) -> bool| {
            inspection
                .kinds
                .iter()
                .filter(|kind| wanted(kind.kind))
                .map(|kind| kind.bytes)
                .sum()
        };
        let experts: u64 = sum(|kind| kind == Kind::RoutedExperts);
        let shape = &inspection.architecture;
        let share = shape.experts_per_token as f64 / shape.experts.max(1) as f64;
        // Of the embedding a token reads one row, of the vision tower nothing.
        let always = sum(|kind| {
            !matches!(
                kind,
                Kind::RoutedExperts | Kind::Embedding | Kind::Vision | Kind::Projector
            )
        });
        let visited = (experts as f64 * share) as u64;
        Self {
            all: inspection.bytes,
            always,
            experts,
            visited,
        }
    }

    /// Where the weights of a token come from on a machine with this much memory.
    fn fit(&self, memory: u64) -> String {
        let (has, reads) = (bytes(memory), bytes(self.always + self.visited));
        if self.all <= memory / 10 * 9 {
            return format!("all weights fit into the {has} of memory; each token reads {reads}");
        }
        let Some(for_experts) = memory.checked_sub(self.always) else {
            return format!(
                "each token reads {reads}, more than the {has} of memory: most of it comes from the disk every time"
            );
        };
        let kept = (for_experts as f64 / self.experts.max(1) as f64).min(1.0);
        let from_disk = bytes((self.visited as f64 * (1.0 - kept)) as u64);
        format!(
            "{has} of memory hold {:.0} % of the experts beside the rest; each token reads {reads}, about {from_disk} \
             of it from the disk",
            kept * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_token_s_weights_come_from() {
        const GB: u64 = 1_000_000_000;
        let reads = Reads {
            all: 595 * GB,
            always: 21 * GB,
            experts: 570 * GB,
            visited: 12 * GB,
        };
        assert!(reads.fit(700 * GB).contains("all weights fit"));
        assert!(reads.fit(16 * GB).contains("more than the 16.0 GB"));
        let half = reads.fit((21 + 285) * GB);
        assert!(
            half.contains("50 % of the experts") && half.contains("33.0 GB, about 6.0 GB"),
            "{half}"
        );
    }
}
