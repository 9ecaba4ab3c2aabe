//! Values of many kinds.

use std::fmt;

use super::{Split, Words};
use crate::random::Random;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// One or two words.
    Word,
    /// `12.3.4`
    Version,
    /// `2031-07-19`
    Date,
    /// A whole number.
    Number,
    /// `https://…`
    Url,
    /// A licence.
    Licence,
    /// First and last name.
    Person,
    /// Letters and digits.
    Code,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number; written without quotes where a form has numbers.
    Number(i64),
    /// Anything else.
    Text(String),
}

const LICENCES: [&str; 8] = [
    "MIT",
    "Apache-2.0",
    "BSD-3-Clause",
    "GPL-3.0-only",
    "MPL-2.0",
    "ISC",
    "Zlib",
    "CC-BY-4.0",
];
const ENDINGS: [&str; 5] = ["com", "org", "net", "dev", "io"];

impl ValueKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Word,
        Self::Version,
        Self::Date,
        Self::Number,
        Self::Url,
        Self::Licence,
        Self::Person,
        Self::Code,
    ];

    /// A random value of this kind.
    pub fn draw(self, random: &mut Random, split: Split) -> Value {
        let text = match self {
            Self::Number => {
                let digits = random.between(1, 6) as u32;
                return Value::Number(
                    random.between(10_i64.pow(digits - 1), 10_i64.pow(digits) - 1),
                );
            }
            Self::Word if random.chance(0.3) => {
                format!(
                    "{} {}",
                    Words::word(random, split),
                    Words::word(random, split)
                )
            }
            Self::Word => Words::word(random, split),
            Self::Version => {
                let [a, b, c] = [random.below(20), random.below(30), random.below(40)];
                format!("{a}.{b}.{c}")
            }
            Self::Date => {
                let (year, month, day) = (
                    random.between(1950, 2049),
                    random.between(1, 12),
                    random.between(1, 28),
                );
                format!("{year}-{month:02}-{day:02}")
            }
            Self::Url => {
                let (host, page) = (Words::word(random, split), Words::word(random, split));
                format!("https://{host}.{}/{page}", random.pick(&ENDINGS))
            }
            Self::Licence => (*random.pick(&LICENCES)).to_owned(),
            Self::Person => {
                let [first, last] = [(); 2].map(|()| capitalized(&Words::word(random, split)));
                format!("{first} {last}")
            }
            Self::Code => (0..random.between(5, 9))
                .map(|_| char::from(*random.pick(b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789")))
                .collect(),
        };
        Value::Text(text)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A word with a capital first letter.
pub(super) fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
