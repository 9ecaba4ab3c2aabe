//! A look at every part of a model and every tensor of its checkpoint, faults and all.

use std::collections::BTreeMap;

use crate::checkpoint::CheckpointError;
use crate::names::{Kind, NameMap, Part, Stray};

use super::error::{Mismatch, Shortlist};
use super::stored::{Finder, PartFault, Stored};

/// What a checkpoint holds of a model, what it lacks, and what it holds beside.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Parts that are there and sound, by kind.
    pub(crate) kinds: BTreeMap<Kind, KindTotals>,
    /// Tensors that are not there.
    pub(crate) missing: Shortlist<String>,
    /// Tensors of another type, shape or value.
    pub(crate) mismatches: Shortlist<Mismatch>,
    /// Tensors that are no part of the model, by what they are.
    pub(crate) strays: BTreeMap<Stray, Shortlist<String>>,
}

/// Totals of one kind.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct KindTotals {
    pub(crate) tensors: usize,
    pub(crate) parameters: u64,
    pub(crate) bytes: u64,
    /// Parameters by the way they are stored.
    pub(crate) storage: BTreeMap<&'static str, u64>,
}

impl Survey {
    /// Looks for every part that `names` lists. Fails only where a file cannot be read.
    pub(crate) fn of(finder: Finder<'_>, names: NameMap<'_>) -> Result<Self, CheckpointError> {
        let mut survey = Self::default();
        let mut used = vec![false; finder.checkpoint().len()];
        for part in names.parts() {
            match finder.find(&part) {
                Ok(stored) => {
                    survey.count(&part, &stored);
                    stored
                        .tensors()
                        .for_each(|tensor| used[tensor.number] = true);
                    continue;
                }
                Err(PartFault::Missing(names)) => {
                    names.into_iter().for_each(|name| survey.missing.push(name));
                }
                Err(PartFault::Mismatch(mismatch)) => survey.mismatches.push(mismatch),
                Err(PartFault::Read(error)) => return Err(error),
            }
            // What is there of a faulty part is not odd on top of it.
            let names = part.packed_names().into_iter().chain([part.name]);
            let found = names.filter_map(|name| finder.checkpoint().find(&name));
            found.for_each(|tensor| used[tensor.number] = true);
        }
        for (tensor, _) in finder
            .checkpoint()
            .tensors()
            .zip(used)
            .filter(|(_, used)| !used)
        {
            let name = tensor.info.name;
            survey
                .strays
                .entry(names.stray(name))
                .or_default()
                .push(name.to_owned());
        }
        Ok(survey)
    }

    fn count(&mut self, part: &Part, stored: &Stored<'_>) {
        let totals = self.kinds.entry(part.kind).or_default();
        for tensor in stored.tensors() {
            totals.tensors += 1;
            totals.bytes += tensor.info.byte_len;
        }
        totals.parameters += part.parameters();
        *totals.storage.entry(stored.label()).or_default() += part.parameters();
    }
}
