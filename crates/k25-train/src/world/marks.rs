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
    /// Lines above and below the fields of a thing.
    pub block: Option<(&'static str, &'static str)>,
}

/// What everybody writes: `Key: value`.
pub const COLON: Marks = Marks {
    owner: None,
    before: "",
    between: ": ",
    after: "",
    heading: None,
    block: None,
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
/// Marks that belong together, as tags do.
const AROUND: [[&str; 3]; 10] = [
    ["<b>", "</b> ", ""],
    ["<th>", "</th><td>", "</td>"],
    ["<td>", "</td><td>", "</td>"],
    ["<li>", ": ", "</li>"],
    ["<li><b>", "</b>: ", "</li>"],
    ["<span>", "</span><span>", "</span>"],
    ["<key>", "</key><value>", "</value>"],
    ["<item><k>", "</k><v>", "</v></item>"],
    ["{", "}{", "}"],
    ["(", ", ", ")"],
];
const HEADING: [(&str, &str); 13] = [
    ("=== ", " ==="),
    ("<<", ">>"),
    ("--- ", ""),
    ("# ", ""),
    ("* ", ""),
    ("## ", " ##"),
    ("", ":"),
    ("(", ")"),
    ("<h1>", "</h1>"),
    ("<h3>", "</h3>"),
    ("<h4>", "</h4>"),
    ("<b>", "</b>"),
    ("<caption>", "</caption>"),
];
const BLOCK: [(&str, &str); 6] = [
    ("{", "}"),
    ("(", ")"),
    ("begin", "end"),
    ("<ul>", "</ul>"),
    ("<table>", "</table>"),
    ("-----", "-----"),
];
/// Part of the things with a heading whose fields lie in a block.
const BLOCKS: f64 = 0.4;

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
        let owner = (place == 0).then(|| *random.pick(&OWNER));
        let before = random.below(BEFORE.len() + AROUND.len());
        let any: [&str; 2] = [*random.pick(&BETWEEN), *random.pick(&AFTER)];
        let [before, between, after] = match before.checked_sub(BEFORE.len()) {
            Some(around) => AROUND[around],
            None => [BEFORE[before], any[0], any[1]],
        };
        let heading = (place == 1).then(|| *random.pick(&HEADING));
        Self {
            owner,
            before,
            between,
            after,
            heading,
            block: heading.and_then(|_| block(&mut random.aside())),
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

fn block(random: &mut Random) -> Option<(&'static str, &'static str)> {
    random.chance(BLOCKS).then(|| *random.pick(&BLOCK))
}
