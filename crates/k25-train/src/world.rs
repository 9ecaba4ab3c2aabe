//! Made-up worlds: records with random keys and values, written down in many forms, so that nothing can be learned by heart.
//!
//! A world depends on its seed and its split alone. The held-out split has words that the training split cannot have (see
//! [`Split::owns`]) and forms of documents that it does not use, so a model that answers there has learned to read.

mod folder;
mod form;
mod marks;
mod page;
mod value;
mod words;

use crate::random::Random;

pub use folder::{Folder, Paper, Size};
pub use form::Form;
pub use page::Stated;
pub(crate) use value::capitalized;
pub use value::{Value, ValueKind};
pub use words::Words;

/// Which part of all worlds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// What models are trained on.
    Train,
    /// What they are measured on, and never see before: other words, and other forms beside the trained ones.
    HeldOut,
}

/// One word of this many belongs to the held-out split.
const HELD_OUT_WORDS: u64 = 8;

impl Split {
    /// Whether a random word may occur in this split. Every word belongs to exactly one.
    pub fn owns(self, word: &str) -> bool {
        // FNV-1a, which stays the same from release to release.
        let hash = word.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        let held_out = (hash >> 32).is_multiple_of(HELD_OUT_WORDS);
        held_out == (self == Self::HeldOut)
    }

    /// The stream of random numbers of lesson `index`; streams of the two splits never meet.
    pub fn random(self, seed: u64, index: u64) -> Random {
        Random::new(seed, index << 1 | u64::from(self == Self::HeldOut))
    }
}

/// Several subjects that have the same keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What the subjects are: a word in the singular.
    pub noun: String,
    /// The names of the subjects.
    pub subjects: Vec<String>,
    /// The keys that every subject has, with the kind of their values.
    pub keys: Vec<(String, ValueKind)>,
    /// The values, subject by subject.
    pub values: Vec<Vec<Value>>,
}

impl Table {
    /// A table of `subjects` subjects with `keys` keys each; names and keys are all different.
    pub fn new(random: &mut Random, split: Split, subjects: usize, keys: usize) -> Self {
        Self::of_kinds(random, split, subjects, keys, &ValueKind::ALL)
    }

    /// The same with values of some kinds alone.
    pub fn of_kinds(
        random: &mut Random,
        split: Split,
        subjects: usize,
        keys: usize,
        kinds: &[ValueKind],
    ) -> Self {
        let mut words = Words::new(split);
        let noun = words.different(random);
        let keys: Vec<_> = (0..keys)
            .map(|_| (words.key(random), *random.pick(kinds)))
            .collect();
        let subjects: Vec<String> = (0..subjects).map(|_| words.different(random)).collect();
        let mut row = || {
            keys.iter()
                .map(|(_, kind)| kind.draw(random, split))
                .collect()
        };
        let values = subjects.iter().map(|_| row()).collect();
        Self {
            noun,
            subjects,
            keys,
            values,
        }
    }

    /// Makes one key's values whole numbers that all differ.
    pub fn number_key(&mut self, random: &mut Random, key: usize) {
        self.keys[key].1 = ValueKind::Number;
        let mut used = Vec::new();
        for row in &mut self.values {
            let number = loop {
                let number = random.between(2, 999);
                if !used.contains(&number) {
                    break number;
                }
            };
            used.push(number);
            row[key] = Value::Number(number);
        }
    }

    /// A key that the table does not have.
    pub fn missing_key(&self, random: &mut Random, split: Split) -> String {
        loop {
            let key = Words::new(split).key(random);
            if self.keys.iter().all(|(other, _)| *other != key) {
                return key;
            }
        }
    }
}

#[cfg(test)]
mod tests;
