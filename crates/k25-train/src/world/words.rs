//! Words that nobody has read before.

use super::Split;
use crate::random::Random;

const ONSETS: [&str; 20] = [
    "b", "br", "c", "ch", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "r", "s", "st",
    "t", "v",
];
const VOWELS: [&str; 8] = ["a", "e", "i", "o", "u", "ai", "ea", "oo"];
const CODAS: [&str; 10] = ["", "", "", "n", "r", "l", "s", "m", "x", "nd"];

/// Keys that real documents have; half of all keys are one of them, with or without a random word before it.
const COMMON_KEYS: [&str; 24] = [
    "name", "version", "license", "author", "owner", "date", "released", "size", "count", "price",
    "status", "city", "country", "code", "url", "email", "weight", "height", "color", "type",
    "port", "limit", "capacity", "model",
];

/// Makes words of one split, no word twice.
#[derive(Debug)]
pub struct Words {
    split: Split,
    used: Vec<String>,
}

impl Words {
    /// A maker of words of `split`.
    pub fn new(split: Split) -> Self {
        Self {
            split,
            used: Vec::new(),
        }
    }

    /// A word of the split of two or three syllables.
    pub fn word(random: &mut Random, split: Split) -> String {
        loop {
            let mut word = String::new();
            for _ in 0..random.between(2, 3) {
                word.push_str(random.pick::<&str>(&ONSETS));
                word.push_str(random.pick::<&str>(&VOWELS));
                word.push_str(random.pick::<&str>(&CODAS));
            }
            if split.owns(&word) {
                return word;
            }
        }
    }

    /// A word that this maker has not made before.
    pub fn different(&mut self, random: &mut Random) -> String {
        loop {
            let word = Self::word(random, self.split);
            if !self.used.contains(&word) {
                self.used.push(word.clone());
                return word;
            }
        }
    }

    /// A key that this maker has not made before: a common one, a common one behind a random word, or random words joined by `_`.
    pub fn key(&mut self, random: &mut Random) -> String {
        loop {
            let split = self.split;
            let mut word = || Self::word(random, split);
            let (a, b) = (word(), word());
            let common = *random.pick(&COMMON_KEYS);
            let key = match random.below(4) {
                0 => common.to_owned(),
                1 => format!("{a}_{common}"),
                2 => a,
                _ => format!("{a}_{b}"),
            };
            if !self.used.contains(&key) {
                self.used.push(key.clone());
                return key;
            }
        }
    }
}
