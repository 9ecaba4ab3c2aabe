//! What stands around keys and values, where a form leaves that open.

use crate::random::Random;

/// Around a key and its value on a line of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Between the name of the thing and the key, on lines that begin with the name.
    pub owner: Option<&'static str>,
    /// Before the key, or before the name.
    pub before: &'static str,
    /// Between key and value.
    pub between: &'static str,
    /// Behind the value.
    pub after: &'static str,
    /// Around the name on a line above, where the name has one.
    pub heading: Option<(&'static str, &'static str)>,
}

/// What everybody writes: `Key: value`.
pub const COLON: Marks = Marks {
    owner: None,
    before: "",
    between: ": ",
    after: "",
    heading: None,
};

/// Now and then in records.
const RECORDS: [(&str, &str); 3] = [("", " = "), ("", " : "), ("- ", ": ")];

/// Around the key of an item in a Markdown list.
const LIST: [(&str, &str); 6] = [
    ("- **", "**: "),
    ("- **", "**: "),
    ("* **", ":** "),
    ("- ", ": "),
    ("**", "**: "),
    ("- `", "`: "),
];

// Any mark goes with any other. The arrow and the lone equals sign are not among them: forms that are held out have those.
const BEFORE: [&str; 16] = [
    "", "", "", "", "- ", "* ", "+ ", "> ", "@", "$", ":", "set ", "let ", "  ", "% ", "| ",
];
const BETWEEN: [&str; 20] = [
    ": ", " = ", " : ", " :: ", " := ", "\t", " | ", " ~ ", " - ", " — ", " is ", "; ", " >> ",
    " .. ", ", ", "==", "|", ":", " <- ", " / ",
];
const AFTER: [&str; 10] = ["", "", "", "", "", ";", ",", ".", " |", " !"];
const OWNER: [&str; 8] = [" / ", ".", ": ", ", ", " | ", "::", " ", "/"];
const HEADING: [(&str, &str); 8] = [
    ("=== ", " ==="),
    ("<<", ">>"),
    ("--- ", ""),
    ("# ", ""),
    ("* ", ""),
    ("## ", " ##"),
    ("", ":"),
    ("(", ")"),
];

impl Marks {
    /// Of a record with lines of `Key: value`.
    pub fn of_records(random: &mut Random) -> Self {
        let (before, between) = match random.chance(0.2) {
            true => *random.pick(&RECORDS),
            false => (COLON.before, COLON.between),
        };
        Self {
            before,
            between,
            ..COLON
        }
    }

    /// Of a list in Markdown.
    pub fn of_list(random: &mut Random) -> Self {
        let (before, between) = *random.pick(&LIST);
        Self {
            before,
            between,
            ..COLON
        }
    }

    /// Any: the name on a line above, before every key, or nowhere but in its field.
    pub fn any(random: &mut Random) -> Self {
        let place = random.below(3);
        Self {
            owner: (place == 0).then(|| *random.pick(&OWNER)),
            before: random.pick::<&str>(&BEFORE),
            between: random.pick::<&str>(&BETWEEN),
            after: random.pick::<&str>(&AFTER),
            heading: (place == 1).then(|| *random.pick(&HEADING)),
        }
    }

    /// The line of a key and a value of the thing `name`.
    pub fn line(&self, name: &str, key: &str, value: &str) -> String {
        let Self {
            before,
            between,
            after,
            ..
        } = self;
        match self.owner {
            Some(owner) => format!("{before}{name}{owner}{key}{between}{value}{after}"),
            None => format!("{before}{key}{between}{value}{after}"),
        }
    }
}
