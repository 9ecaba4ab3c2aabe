//! Words that nobody has read before.

use super::Split;
use crate::random::Random;

const ONSETS: [&str; 44] = [
    "", "b", "br", "bl", "c", "ch", "cl", "cr", "d", "dr", "f", "fl", "fr", "g", "gl", "gr", "h",
    "j", "k", "kn", "l", "m", "n", "p", "pl", "pr", "ph", "qu", "r", "s", "sc", "sh", "sk", "sl",
    "sp", "st", "sw", "t", "th", "tr", "v", "w", "y", "z",
];
const VOWELS: [&str; 18] = [
    "a", "e", "i", "o", "u", "a", "e", "i", "o", "y", "ai", "ea", "oo", "ou", "ie", "ee", "ia",
    "au",
];
const CODAS: [&str; 32] = [
    "", "", "", "", "", "", "", "n", "r", "l", "s", "m", "x", "nd", "t", "ck", "k", "d", "p", "b",
    "g", "st", "ng", "rs", "ct", "th", "er", "nt", "ll", "ss", "w", "z",
];

/// Keys that real documents have, with `-` between words; half of all keys are one of them, with or without a random word before it.
const COMMON_KEYS: [&str; 64] = [
    "version",
    "license",
    "author",
    "owner",
    "date",
    "released",
    "size",
    "count",
    "price",
    "status",
    "city",
    "country",
    "code",
    "url",
    "email",
    "weight",
    "height",
    "color",
    "type",
    "port",
    "limit",
    "capacity",
    "model",
    "edition",
    "repository",
    "homepage",
    "documentation",
    "rust-version",
    "readme",
    "language",
    "year",
    "rating",
    "publisher",
    "area",
    "population",
    "currency",
    "timezone",
    "protocol",
    "vendor",
    "serial-number",
    "priority",
    "category",
    "channel",
    "region",
    "stage",
    "score",
    "speed",
    "power",
    "frequency",
    "material",
    "origin",
    "contact",
    "support-email",
    "release-date",
    "first-release",
    "download-size",
    "max-users",
    "website",
    "default-port",
    "checksum",
    "brand",
    "manufacturer",
    "grade",
    "level",
];

/// What records are about.
const NOUNS: [&str; 32] = [
    "crate", "package", "book", "city", "planet", "ship", "server", "product", "library", "person",
    "company", "song", "plant", "bird", "river", "bridge", "engine", "device", "module", "project",
    "tool", "game", "film", "school", "mountain", "train", "plane", "recipe", "sensor", "service",
    "dataset", "font",
];

/// Common words, for sentences that say nothing.
const COMMON_WORDS: [&str; 130] = [
    "the",
    "a",
    "of",
    "and",
    "to",
    "in",
    "for",
    "is",
    "on",
    "with",
    "as",
    "by",
    "that",
    "it",
    "from",
    "or",
    "be",
    "are",
    "this",
    "an",
    "at",
    "not",
    "which",
    "can",
    "use",
    "used",
    "file",
    "data",
    "set",
    "time",
    "new",
    "first",
    "when",
    "all",
    "one",
    "two",
    "more",
    "other",
    "has",
    "have",
    "will",
    "if",
    "may",
    "must",
    "see",
    "also",
    "only",
    "into",
    "over",
    "than",
    "then",
    "these",
    "some",
    "each",
    "any",
    "no",
    "value",
    "values",
    "name",
    "names",
    "list",
    "line",
    "type",
    "part",
    "page",
    "note",
    "code",
    "source",
    "text",
    "read",
    "write",
    "make",
    "made",
    "work",
    "works",
    "run",
    "open",
    "close",
    "fast",
    "small",
    "large",
    "simple",
    "common",
    "default",
    "support",
    "supports",
    "library",
    "function",
    "functions",
    "method",
    "error",
    "errors",
    "test",
    "tests",
    "build",
    "system",
    "user",
    "users",
    "version",
    "versions",
    "package",
    "packages",
    "license",
    "documentation",
    "generated",
    "automatically",
    "original",
    "contents",
    "about",
    "after",
    "before",
    "between",
    "under",
    "without",
    "within",
    "provides",
    "based",
    "needed",
    "optional",
    "example",
    "examples",
    "please",
    "should",
    "would",
    "there",
    "their",
    "because",
    "different",
    "available",
    "standard",
];

/// Words that names of people, teams, things and places are made of.
const NAME_WORDS: [&str; 130] = [
    "team",
    "group",
    "project",
    "developers",
    "maintainers",
    "force",
    "task",
    "strike",
    "core",
    "common",
    "runtime",
    "shared",
    "static",
    "dynamic",
    "utils",
    "tools",
    "admin",
    "devel",
    "libs",
    "fonts",
    "games",
    "graphics",
    "sound",
    "video",
    "kernel",
    "shell",
    "editors",
    "perl",
    "python",
    "java",
    "ruby",
    "rust",
    "haskell",
    "scala",
    "main",
    "extra",
    "contrib",
    "amd64",
    "arm64",
    "i386",
    "linux",
    "windows",
    "darwin",
    "debian",
    "ubuntu",
    "fedora",
    "gentoo",
    "alpine",
    "lists",
    "mail",
    "bugs",
    "security",
    "release",
    "debug",
    "server",
    "client",
    "proxy",
    "cache",
    "store",
    "index",
    "parser",
    "lexer",
    "macro",
    "macros",
    "derive",
    "async",
    "sync",
    "stream",
    "buffer",
    "bytes",
    "string",
    "strings",
    "unicode",
    "locale",
    "encoding",
    "decode",
    "encode",
    "crypto",
    "hash",
    "random",
    "number",
    "float",
    "integer",
    "matrix",
    "vector",
    "graph",
    "tree",
    "table",
    "array",
    "north",
    "south",
    "east",
    "west",
    "upper",
    "lower",
    "old",
    "great",
    "saint",
    "port",
    "lake",
    "hill",
    "green",
    "red",
    "blue",
    "black",
    "white",
    "golden",
    "silver",
    "john",
    "maria",
    "peter",
    "anna",
    "david",
    "thomas",
    "michael",
    "santiago",
    "nicolas",
    "matthias",
    "andreas",
    "martin",
    "sweet",
    "fresh",
    "dry",
    "hot",
    "cold",
    "half",
    "full",
    "open",
    "free",
    "wasm",
];

/// A sentence of `least` to `most` words, some of them never read before.
pub(super) fn phrase(random: &mut Random, split: Split, least: i64, most: i64) -> String {
    let words: Vec<String> = (0..random.between(least, most))
        .map(|_| match random.chance(0.8) {
            true => (*random.pick(&COMMON_WORDS)).to_owned(),
            false => Words::word(random, split),
        })
        .collect();
    super::value::capitalized(&words.join(" ")) + if random.chance(0.6) { "." } else { "" }
}

/// Part of the keys that look like another one.
const LIKE_ANOTHER: f64 = 0.25;

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
            // What rows are told apart by is called so, whatever else they have.
            used: ["name", "title", "id"].map(str::to_owned).to_vec(),
        }
    }

    /// A word of the split: syllables that sound like words, pieces of common words in new company, or letters.
    pub fn word(random: &mut Random, split: Split) -> String {
        loop {
            let word = match random.below(100) {
                0..8 => Self::letters(random),
                8..12 => Self::joined(random),
                12..26 => Self::usual(random),
                26..50 => Self::pieces(random),
                50..54 => format!("{}{}", Self::syllables(random), random.between(2, 128)),
                54..57 => super::value::capitalized(&Self::syllables(random)),
                _ => Self::syllables(random),
            };
            if word.len() > 1 && split.owns(&word) {
                return word;
            }
        }
    }

    /// Pieces of common words. A vocabulary has a token for such a piece, and a model that never met it elsewhere cannot copy it.
    fn pieces(random: &mut Random) -> String {
        let mut word = String::new();
        for _ in 0..random.between(1, 3) {
            let known = match random.below(4) {
                0 => *random.pick::<&str>(&COMMON_WORDS),
                3 => *random.pick::<&str>(&NAME_WORDS),
                1 => *random.pick::<&str>(&COMMON_KEYS),
                _ => *random.pick::<&str>(&NOUNS),
            };
            let begin = random.below(known.len());
            let length = 1 + random.below((known.len() - begin).min(7));
            word.push_str(&known[begin..begin + length].replace('-', ""));
        }
        word
    }

    /// A word that real names have.
    fn usual(random: &mut Random) -> String {
        match random.chance(0.6) {
            true => (*random.pick(&NAME_WORDS)).to_owned(),
            false => (*random.pick(&COMMON_WORDS)).to_owned(),
        }
    }

    /// Two common words in one.
    fn joined(random: &mut Random) -> String {
        let [first, second] = [(); 2].map(|()| *random.pick::<&str>(&COMMON_WORDS));
        match random.below(3) {
            0 => format!("{first}{}", super::value::capitalized(second)),
            _ => format!("{first}{second}"),
        }
    }

    fn syllables(random: &mut Random) -> String {
        let mut word = String::new();
        for _ in 0..random.between(1, 3) {
            word.push_str(random.pick::<&str>(&ONSETS));
            word.push_str(random.pick::<&str>(&VOWELS));
            word.push_str(random.pick::<&str>(&CODAS));
        }
        word
    }

    /// Letters that no language puts in a row, as abbreviations have them.
    fn letters(random: &mut Random) -> String {
        let letters = (0..random.between(2, 7)).map(|_| char::from(b'a' + random.below(26) as u8));
        letters.collect()
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

    /// A noun: a common one, or a new word.
    pub fn noun(&mut self, random: &mut Random) -> String {
        if random.chance(0.3) {
            return self.different(random);
        }
        let noun = (*random.pick(&NOUNS)).to_owned();
        self.used.push(noun.clone());
        noun
    }

    /// Two to four words with capitals that no other title has.
    pub fn title(&mut self, random: &mut Random) -> String {
        loop {
            let words = (0..random.between(2, 4)).map(|at| {
                let word = Self::word(random, self.split);
                match at == 0 || random.chance(0.7) {
                    true => super::value::capitalized(&word),
                    false => word,
                }
            });
            let title = words.collect::<Vec<_>>().join(" ");
            if !self.used.contains(&title) {
                self.used.push(title.clone());
                return title;
            }
        }
    }

    /// A name that this maker has not made before, as packages and products have them.
    pub fn name(&mut self, random: &mut Random) -> String {
        loop {
            let name = Self::name_like(random, self.split);
            if !self.used.contains(&name) {
                self.used.push(name.clone());
                return name;
            }
        }
    }

    /// A name as packages and products have them.
    pub fn name_like(random: &mut Random, split: Split) -> String {
        let word = Self::word(random, split);
        match random.below(10) {
            0 | 1 => format!("{word}-{}", Self::word(random, split)),
            2 | 3 => format!("{word}_{}", Self::word(random, split)),
            4 => format!("{word}{}", random.between(1, 99)),
            6 if random.chance(0.5) => format!("{word}.{}", Self::word(random, split)),
            5 => {
                let [first, last] = [(); 2].map(|()| Self::word(random, split));
                format!("{first}-{word}-{last}")
            }
            _ => word,
        }
    }

    /// The words of a key that this maker has not made before: a common one, a common one behind a random word, random words, or
    /// one that looks like another.
    pub fn key_words(&mut self, random: &mut Random) -> Vec<String> {
        loop {
            let words = match random.chance(LIKE_ANOTHER) {
                true => self.words_like_another(random),
                false => Self::new_key_words(random, self.split),
            };
            let key = words.join("-");
            if !self.used.contains(&key) {
                self.used.push(key);
                return words;
            }
        }
    }

    fn new_key_words(random: &mut Random, split: Split) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let kind = random.below(10);
        if kind >= 5 {
            words.push(Self::word(random, split));
        }
        match kind {
            0..7 => {
                let common = random.pick::<&str>(&COMMON_KEYS).split('-');
                words.extend(common.map(str::to_owned));
            }
            7 | 8 => {}
            _ => words.push(Self::word(random, split)),
        }
        words
    }

    /// `version` where there is `rust-version`, or `min-version` where there is `version`: whoever looks one up meets the other.
    fn words_like_another(&self, random: &mut Random) -> Vec<String> {
        let another = random.pick(&self.used).split('-').map(str::to_owned);
        let mut words: Vec<String> = another.collect();
        match words.len() > 1 && random.chance(0.5) {
            true => drop(words.remove(0)),
            false => words.insert(0, Self::word(random, self.split)),
        }
        words
    }

    /// A key that this maker has not made before, in one piece.
    pub fn key(&mut self, random: &mut Random) -> String {
        self.key_words(random).join("_")
    }
}
