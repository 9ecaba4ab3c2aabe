//! Values of many kinds.

use std::fmt;

use super::words::phrase;
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
    /// A name with an address: `Ana Brook <ana@brook.org>`
    Contact,
    /// A number with a unit: `12 MB`
    Amount,
    /// A year, alone.
    Year,
    /// Several words.
    Phrase,
    /// `true` or `false`.
    Flag,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number; written without quotes where a form has numbers.
    Number(i64),
    /// Anything else.
    Text(String),
}

const LICENCES: [&str; 14] = [
    "MIT",
    "Apache-2.0",
    "BSD-3-Clause",
    "GPL-3.0-only",
    "MPL-2.0",
    "ISC",
    "Zlib",
    "CC-BY-4.0",
    "Unlicense",
    "BSL-1.0",
    "Unicode-3.0",
    "LGPL-2.1-or-later",
    "0BSD",
    "CC0-1.0",
];
const ENDINGS: [&str; 5] = ["com", "org", "net", "dev", "io"];

impl ValueKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Word,
        Self::Version,
        Self::Date,
        Self::Number,
        Self::Url,
        Self::Licence,
        Self::Person,
        Self::Code,
        Self::Contact,
        Self::Amount,
        Self::Year,
        Self::Phrase,
        Self::Flag,
    ];

    /// The kind that values of a key usually have; any kind for a key that says nothing.
    pub fn usual(random: &mut Random, key: &str) -> Self {
        let last = key.rsplit('-').next().unwrap_or(key);
        if random.chance(0.15) {
            return *random.pick(&Self::ALL);
        }
        match last {
            "version" => Self::Version,
            "license" => Self::Licence,
            "author" | "owner" | "contact" => *random.pick(&[Self::Person, Self::Contact]),
            "date" | "released" | "release" => Self::Date,
            "size" | "weight" | "height" | "capacity" | "area" | "speed" | "power"
            | "frequency" => *random.pick(&[Self::Amount, Self::Number]),
            "count" | "port" | "limit" | "population" | "score" | "rating" | "users" | "level" => {
                Self::Number
            }
            "url" | "repository" | "homepage" | "documentation" | "website" => Self::Url,
            "year" | "edition" => Self::Year,
            "enabled" | "public" | "archived" => Self::Flag,
            "name" | "city" | "country" | "color" | "vendor" | "region" | "status" => Self::Word,
            _ => *random.pick(&Self::ALL),
        }
    }

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
            Self::Word if random.chance(0.2) => Words::name_like(random, split),
            Self::Word => Words::word(random, split),
            Self::Version => {
                let [a, b, c] = [random.below(20), random.below(30), random.below(240)];
                match random.below(12) {
                    0 => format!("{a}.{b}"),
                    2 => format!("{a}:{b}.{c}-{}", random.below(9)),
                    3 => format!(
                        "{a}.{b}+dfsg-{}+deb{}u{}",
                        random.below(9),
                        random.between(9, 13),
                        random.below(9)
                    ),
                    4 => format!("{a}.{b}.{c}.{}", random.below(40)),
                    1 => format!(
                        "{a}.{b}.{c}-{}",
                        random.pick(&["alpha.1", "beta.2", "rc.1", "1", "2+b1"])
                    ),
                    _ => format!("{a}.{b}.{c}"),
                }
            }
            Self::Date => {
                let (year, month, day) = (
                    random.between(1950, 2049),
                    random.between(1, 12),
                    random.between(1, 28),
                );
                format!("{year}-{month:02}-{day:02}")
            }
            Self::Url => url(random, split),
            Self::Licence => licence(random, split),
            Self::Flag => (*random.pick(&["true", "false"])).to_owned(),
            Self::Contact => {
                let at = match random.chance(0.1) {
                    true => url(random, split),
                    false => address(random, split),
                };
                format!("{} <{at}>", holder(random, split))
            }
            Self::Amount => {
                let unit = *random.pick(&[
                    "MB", "kB", "kg", "m", "km", "EUR", "USD", "ms", "W", "%", "GiB",
                ]);
                match random.chance(0.3) {
                    true => format!("{}.{} {unit}", random.below(100), random.below(10)),
                    false => format!("{} {unit}", random.between(1, 5000)),
                }
            }
            Self::Year => random.between(1950, 2049).to_string(),
            Self::Phrase => phrase(random, split, 2, 5),
            Self::Person => person(random, split, 3),
            Self::Code => (0..random.between(5, 9))
                .map(|_| char::from(*random.pick(b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789")))
                .collect(),
        };
        Value::Text(text)
    }
}

/// Two words and more with capitals, now and then one of letters only: people and teams.
fn person(random: &mut Random, split: Split, most: i64) -> String {
    let words = (0..random.between(2, most)).map(|_| {
        let word = Words::word(random, split);
        match random.chance(0.1) {
            true => word.to_ascii_uppercase(),
            false => capitalized(&word),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Who answers for something: a person or a team, whose name may have a host, a mark or words without capitals in it.
fn holder(random: &mut Random, split: Split) -> String {
    let name = person(random, split, 5);
    match random.below(10) {
        0 => format!("{name} {}", Words::word(random, split)),
        1 => format!("{name} {}", host(random, split)),
        2 => format!("{name} {} maintainers", host(random, split)),
        3 => format!("{name}'{}", Words::word(random, split)),
        4 => format!("{} {name}", Words::name_like(random, split)),
        _ => name,
    }
}

/// An address of mail.
fn address(random: &mut Random, split: Split) -> String {
    let joint = *random.pick(&["-", ".", "_", "+"]);
    let local: Vec<String> = (0..random.between(1, 3))
        .map(|_| Words::word(random, split))
        .collect();
    format!("{}@{}", local.join(joint), host(random, split))
}

/// A host of two to four parts.
fn host(random: &mut Random, split: Split) -> String {
    let mut parts: Vec<String> = (0..random.between(1, 3))
        .map(|_| Words::name_like(random, split))
        .collect();
    parts.push((*random.pick(&ENDINGS)).to_owned());
    parts.join(".")
}

fn url(random: &mut Random, split: Split) -> String {
    let (host, page) = (host(random, split), Words::name_like(random, split));
    let git = if random.chance(0.1) { ".git" } else { "" };
    let owner = match random.chance(0.3) {
        true => capitalized(&Words::word(random, split)),
        false => Words::name_like(random, split),
    };
    match random.below(8) {
        0 => format!("https://{host}"),
        1..4 => format!("https://github.com/{owner}/{page}{git}"),
        4 => format!("https://www.{host}/{page}/"),
        5 => format!("http://{host}/{page}"),
        6 => {
            let part = Words::name_like(random, split);
            let folder = *random.pick(&["", "crates/", "packages/", "src/"]);
            format!("https://github.com/{owner}/{page}/tree/main/{folder}{part}")
        }
        _ => format!("https://{host}/{owner}/{page}"),
    }
}

/// A licence or an expression of several; now and then one that does not exist, so that none is known by heart.
fn licence(random: &mut Random, split: Split) -> String {
    let mut one = || match random.chance(0.2) {
        true => {
            let name = Words::word(random, split).to_ascii_uppercase();
            format!("{name}-{}.{}", random.between(1, 9), random.below(10))
        }
        false => (*random.pick(&LICENCES)).to_owned(),
    };
    let (first, second, third) = (one(), one(), one());
    match random.below(20) {
        0..5 => format!("{first} OR {second}"),
        8 => format!("{first} AND {second}"),
        9 => format!("{first}/{second}"),
        5 => format!("{first} OR {second} OR {third}"),
        6 => format!("({first} OR {second}) AND {third}"),
        7 => format!("{first} WITH LLVM-exception"),
        _ => first,
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
pub(crate) fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
