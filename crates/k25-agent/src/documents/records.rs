//! Records that follow one another in a document, each of several lines: what `dpkg -s` prints, the packages of a `Cargo.lock`, a
//! list in YAML, an array in JSON, an object per line, the elements of a name in XML, the sections of a page, lines that begin with
//! whose value they tell.
//!
//! They are found by how they begin, without reading more into a document than its lines tell: each record opens with the same
//! key, the same header, a heading, an owner or a brace of the same depth. What has another shape has no records, and is read as
//! a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::rows::{ending, plain};

/// Longest text before a mark that counts as a key, in bytes.
const LONGEST_KEY: usize = 60;

/// The records of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Records {
    /// The keys of all of them, as [`plain`] writes them.
    keys: BTreeSet<String>,
    /// The keys of the lines around them.
    around: BTreeSet<String>,
    /// Their lines, counted from 1, in order.
    lines: Vec<RangeInclusive<usize>>,
}

/// Whether a document of this path can have records; no other has to be read to know that it has none.
pub(super) fn can_have_records(path: &str) -> bool {
    const ENDINGS: [&str; 17] = [
        "json",
        "jsonl",
        "ndjson",
        "xml",
        "yaml",
        "yml",
        "toml",
        "lock",
        "txt",
        "md",
        "markdown",
        "html",
        "htm",
        "ini",
        "cfg",
        "conf",
        "properties",
    ];
    let name = path.rsplit('/').next().unwrap_or(path);
    !name.contains('.') || ENDINGS.contains(&ending(name).as_str())
}

impl Records {
    /// The records of a document of this path, if it has two or more.
    pub(super) fn of(path: &str, text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        let found = match ending(path).as_str() {
            "json" => objects(&lines),
            "jsonl" | "ndjson" => objects_per_line(&lines),
            "xml" => elements(&lines),
            "yaml" | "yml" => items(&lines),
            "toml" | "lock" => tables(&lines),
            "md" | "markdown" | "html" | "htm" => sections(&lines, title_depth),
            "ini" | "cfg" | "conf" => tables(&lines)
                .or_else(|| sections(&lines, header_depth))
                .or_else(|| owned(&lines)),
            _ => paragraphs(&lines).or_else(|| owned(&lines)),
        };
        let found = found.filter(|found| found.len() > 1)?;
        let keys = |lines: &[&str]| lines.iter().flat_map(|line| keys_of(line)).collect();
        let (first, end) = (found[0].start, found[found.len() - 1].end);
        let around = [&lines[..first], &lines[end..]].concat();
        let counted = found
            .into_iter()
            .map(|record| record.start + 1..=record.end);
        Some(Self {
            keys: keys(&lines[first..end]),
            around: keys(&around),
            lines: counted.collect(),
        })
    }

    /// Whether these columns are of the records: half of them are, and fewer of the document around them, as where a package's
    /// manifest lists its authors.
    pub(super) fn have(&self, columns: &[&str]) -> bool {
        let count = |keys: &BTreeSet<String>| {
            let is_key = |column: &&&str| keys.contains(&plain(column));
            columns.iter().filter(is_key).count()
        };
        let own = count(&self.keys);
        own * 2 >= columns.len() && own > count(&self.around)
    }

    /// The lines of each record, counted from 1.
    pub(super) fn into_lines(self) -> Vec<RangeInclusive<usize>> {
        self.lines
    }
}

/// Lines by index, the last one not among them.
type Lines = std::ops::Range<usize>;

/// The records that begin at these lines; the last one ends before line `end`. Blank lines behind a record are not part of it.
fn between(starts: &[usize], end: usize, lines: &[&str]) -> Vec<Lines> {
    let ends = starts[1..].iter().copied().chain([end]);
    let records = starts.iter().zip(ends).map(|(&start, end)| {
        let blank = lines[start..end].iter().rev();
        let blank = blank.take_while(|line| line.trim().is_empty()).count();
        start..end - blank
    });
    records.collect()
}

/// Blocks with blank lines between them which all begin with the same key: `Package: …`.
fn paragraphs(lines: &[&str]) -> Option<Vec<Lines>> {
    let is_blank = |index: usize| lines[index].trim().is_empty();
    let begins = |index: &usize| !is_blank(*index) && (*index == 0 || is_blank(index - 1));
    let starts: Vec<usize> = (0..lines.len()).filter(begins).collect();
    let opener = |index: usize| lines[index].split_once([':', '=']).map(|(key, _)| key);
    let first = opener(*starts.first()?)?;
    let is_key = !first.is_empty() && first.len() <= LONGEST_KEY && !first.starts_with([' ', '#']);
    let are_alike = starts.iter().all(|&start| opener(start) == Some(first));
    (is_key && are_alike && starts.len() > 1).then(|| between(&starts, lines.len(), lines))
}

/// The tables of an array of tables in TOML: `[[package]]`.
fn tables(lines: &[&str]) -> Option<Vec<Lines>> {
    let name = |line: &&&str| line.trim().starts_with("[[");
    let header = lines.iter().find(name)?.trim();
    let own = format!("{}.", &header[..header.find(']')?]);
    let starts: Vec<usize> = (0..lines.len())
        .filter(|&index| lines[index].trim() == header)
        .collect();
    let is_other = |line: &&str| {
        let line = line.trim();
        let is_own = line == header || line.starts_with(&own) || line.starts_with(&own[1..]);
        line.starts_with('[') && line.ends_with(']') && !line.contains([',', '"']) && !is_own
    };
    let last = *starts.last()?;
    let rest = lines[last..].iter().position(is_other);
    // A table of another name between two of these: they do not follow one another.
    if lines[starts[0]..last].iter().any(is_other) {
        return None;
    }
    let end = rest.map_or(lines.len(), |at| last + at);
    Some(between(&starts, end, lines))
}

/// The items of a list of mappings in YAML which all begin with the same key: `- name: …`.
fn items(lines: &[&str]) -> Option<Vec<Lines>> {
    let opener = |line: &str| {
        let item = line.trim_start().strip_prefix("- ")?;
        let (key, _) = item.split_once(':')?;
        Some((depth(line), key.trim().to_owned()))
    };
    let first = lines.iter().position(|line| opener(line).is_some())?;
    let wanted = opener(lines[first])?;
    let is_outside = |line: &str| {
        let is_within = depth(line) > wanted.0 || line.trim().is_empty();
        !is_within && opener(line).as_ref() != Some(&wanted) && !line.trim().starts_with('#')
    };
    let rest = lines[first..].iter().position(|line| is_outside(line));
    let end = rest.map_or(lines.len(), |at| first + at);
    // An item that begins otherwise is in none of the records, and would be nobody's.
    let is_item = |line: &&str| depth(line) == wanted.0 && line.trim_start().starts_with("- ");
    if lines.get(end).is_some_and(is_item) {
        return None;
    }
    let is_start = |index: &usize| opener(lines[*index]).as_ref() == Some(&wanted);
    let starts: Vec<usize> = (first..end).filter(is_start).collect();
    Some(between(&starts, end, lines))
}

/// The objects of an array in JSON, each with its braces in lines of their own or in one line.
fn objects(lines: &[&str]) -> Option<Vec<Lines>> {
    let is_open = |line: &str| line.trim_start().starts_with('{');
    let is_closed = |line: &str| line.trim_end_matches([',', ' ']).ends_with('}');
    // The brace around everything is none of a record, and none shares a line with the array's bracket.
    let first = 1 + lines.iter().skip(1).position(|line| is_open(line))?;
    if !lines[first - 1].trim_end().ends_with('[') {
        return None;
    }
    let wanted = depth(lines[first]);
    let mut found = Vec::new();
    let mut start = None;
    for (index, line) in lines.iter().enumerate().skip(first) {
        if depth(line) < wanted && !line.trim().is_empty() {
            break;
        }
        if depth(line) > wanted || line.trim().is_empty() {
            continue;
        }
        match (start, is_open(line), is_closed(line)) {
            (None, true, true) => found.push(index..index + 1),
            (None, true, false) => start = Some(index),
            (Some(begin), false, true) => {
                found.push(begin..index + 1);
                start = None;
            }
            _ => return None,
        }
    }
    start.is_none().then_some(found)
}

/// An object of JSON in every line.
fn objects_per_line(lines: &[&str]) -> Option<Vec<Lines>> {
    let filled = (0..lines.len()).filter(|&index| !lines[index].trim().is_empty());
    let keyed = filled.map(|index| {
        let keys = keys_of_object(lines[index])?;
        Some((index..index + 1, keys.into_iter().collect()))
    });
    alike(keyed.collect::<Option<_>>()?)
}

/// Elements of XML of one name and one depth, each with its two tags in lines of their own: the outermost that there are two of.
fn elements(lines: &[&str]) -> Option<Vec<Lines>> {
    let mut opened: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(name) = opening_tag(line) {
            opened.entry((depth(line), name)).or_default().push(index);
        }
    }
    let several = opened.into_iter().filter(|(_, starts)| starts.len() > 1);
    let outermost = several.min_by_key(|((depth, _), starts)| (*depth, starts[0]));
    let ((wanted, name), starts) = outermost?;
    let closing = format!("</{name}>");
    let is_end = |line: &&str| depth(line) == wanted && line.trim() == closing;
    // Looked for up to the next one alone: elements within one another are no records, and end the search early.
    let nexts = starts[1..].iter().copied().chain([lines.len()]);
    let keyed = starts.iter().zip(nexts).map(|(&start, next)| {
        let end = start + lines[start..next].iter().position(is_end)?;
        let keys = lines[start + 1..end].iter().flat_map(|line| keys_of(line));
        Some((start..end + 1, keys.collect()))
    });
    alike(keyed.collect::<Option<_>>()?)
}

/// The name of an element whose opening tag is all that a line has.
fn opening_tag(line: &str) -> Option<&str> {
    let tag = line.trim().strip_prefix('<')?.strip_suffix('>')?;
    let is_alone = !tag.starts_with(['/', '?', '!']) && !tag.ends_with('/') && !tag.contains('<');
    is_alone.then(|| tag.split_whitespace().next()).flatten()
}

/// The sections below headings of one depth, each with a key that another one has too. A section without any key is words, and
/// none of them.
fn sections(lines: &[&str], heading: fn(&str) -> Option<usize>) -> Option<Vec<Lines>> {
    let headings = lines.iter().enumerate();
    let headings = headings.filter_map(|(index, line)| Some((index, heading(line)?)));
    let headings: Vec<(usize, usize)> = headings.collect();
    let depth = most_frequent(headings.iter().map(|(_, depth)| *depth))?;
    let outer: Vec<(usize, usize)> = headings
        .into_iter()
        .filter(|(_, other)| *other <= depth)
        .collect();
    let ends = outer.iter().skip(1).map(|(index, _)| *index);
    let of_depth = outer
        .iter()
        .zip(ends.chain([lines.len()]))
        .filter(|((_, other), _)| *other == depth);
    let found = of_depth.flat_map(|((start, _), end)| between(&[*start], end, lines));
    let keyed = found.filter_map(|section| {
        let keys: BTreeSet<String> = lines[section.start + 1..section.end]
            .iter()
            .flat_map(|line| keys_of(line))
            .collect();
        (!keys.is_empty()).then_some((section, keys))
    });
    alike(keyed.collect())
}

/// These records, if each has a key that another one has too.
fn alike(keyed: Vec<(Lines, BTreeSet<String>)>) -> Option<Vec<Lines>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let keys = keyed.iter().flat_map(|(_, keys)| keys);
    keys.for_each(|key| *counts.entry(key).or_default() += 1);
    let is_shared = |key: &String| counts[key.as_str()] > 1;
    let are_alike = keyed.iter().all(|(_, keys)| keys.iter().any(is_shared));
    are_alike.then(|| keyed.into_iter().map(|(lines, _)| lines).collect())
}

/// Lines that follow one another and begin with the same owner: `lamp.height = 3`, `lamp / height -> 3`. Nothing else stands between
/// them.
fn owned(lines: &[&str]) -> Option<Vec<Lines>> {
    let filled = (0..lines.len()).filter(|&index| !lines[index].trim().is_empty());
    let filled: Vec<(usize, &str, &str)> = filled
        .map(|index| {
            let (owner, key) = owner_and_key(lines[index])?;
            Some((index, owner, key))
        })
        .collect::<Option<_>>()?;
    let runs: Vec<&[(usize, &str, &str)]> = filled.chunk_by(|a, b| a.1 == b.1).collect();
    let owners: BTreeSet<&str> = runs.iter().map(|run| run[0].1).collect();
    // An owner that comes again has lines elsewhere, which would be nobody's.
    if owners.len() < runs.len() {
        return None;
    }
    let keyed = runs.into_iter().map(|run| {
        let keys = run.iter().map(|(_, _, key)| plain(key)).collect();
        (run[0].0..run[run.len() - 1].0 + 1, keys)
    });
    alike(keyed.collect())
}

/// Whose value a line tells, and of which key.
fn owner_and_key(line: &str) -> Option<(&str, &str)> {
    let path = before_value(line)?.trim();
    let (owner, key) = [" / ", "::", "/", "."]
        .iter()
        .find_map(|mark| path.rsplit_once(mark))?;
    (!owner.is_empty() && !key.is_empty()).then_some((owner, key))
}

/// What stands before the mark in front of a line's value.
fn before_value(line: &str) -> Option<&str> {
    let marks = ["->", ": ", "="];
    let at = marks.iter().filter_map(|mark| line.find(mark)).min()?;
    Some(&line[..at])
}

/// The one of these that comes most often; of several the smallest.
fn most_frequent(depths: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    depths.for_each(|depth| *counts.entry(depth).or_default() += 1);
    let by_count = |(depth, count): (usize, usize)| (count, std::cmp::Reverse(depth));
    let best = counts.into_iter().map(by_count).max()?;
    Some(best.1.0)
}

/// The depth of a heading of Markdown, as which those of a page are read too: `## …`.
fn title_depth(line: &str) -> Option<usize> {
    let depth = line.len() - line.trim_start_matches('#').len();
    ((1..=6).contains(&depth) && line[depth..].starts_with(' ')).then_some(depth)
}

/// The depth of a header of settings, which is the same for all: `[…]`.
fn header_depth(line: &str) -> Option<usize> {
    let line = line.trim();
    (line.starts_with('[') && line.ends_with(']')).then_some(1)
}

/// How far a line is indented.
fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The keys in a line.
fn keys_of(line: &str) -> Vec<String> {
    let line = line.trim();
    if let Some(keys) = keys_of_object(line) {
        return keys;
    }
    if let Some((tag, _)) = line.strip_prefix('<').and_then(|rest| rest.split_once('>'))
        && line.ends_with(&format!("</{tag}>"))
    {
        return vec![plain(tag)];
    }
    let line = line.trim_start_matches(['-', '*', '+']).trim_start();
    let key = line.split_once([':', '=']).map(|(key, _)| key.trim());
    let key = key.map(|key| key.trim_matches(['"', '*', '`', '_']));
    let owned = owner_and_key(line).map(|(_, key)| key);
    let keys = key.into_iter().chain(owned);
    keys.filter(|key| (1..=LONGEST_KEY).contains(&key.len()))
        .map(plain)
        .collect()
}

/// The keys of a line that is an object of JSON.
fn keys_of_object(line: &str) -> Option<Vec<String>> {
    let line = line.trim().trim_end_matches(',');
    let object = line
        .starts_with('{')
        .then(|| serde_json::from_str::<Map<String, Value>>(line).ok());
    Some(object??.keys().map(|key| plain(key)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(path: &str, text: &str) -> Vec<(usize, usize)> {
        let records = Records::of(path, text).map_or(Vec::new(), Records::into_lines);
        let pair = |lines: RangeInclusive<usize>| (*lines.start(), *lines.end());
        records.into_iter().map(pair).collect()
    }

    #[test]
    fn blocks_that_begin_alike_are_records() {
        let status = "Package: a\nVersion: 1\nDescription: words\n more: words\n .\n\nPackage: b\nVersion: 2\n\n\n";
        assert_eq!(lines("status", status), [(1, 5), (7, 8)]);
        assert_eq!(lines("x.txt", status), [(1, 5), (7, 8)]);
        let records = Records::of("status", status).unwrap();
        assert!(records.have(&["package", "Version", "section"]));
        assert!(!records.have(&["package", "license", "section"]));
        for none in [
            "Package: a\nVersion: 1\n",
            "Package: a\n\nwords\n\nPackage: b\n",
            "words\n\nwords\n",
            "# a: b\n\n# a: b\n",
            "\n\n",
            "",
        ] {
            assert_eq!(lines("status", none), [], "{none}");
        }
    }

    #[test]
    fn objects_in_lines_are_records() {
        let list = "{\"name\": \"a\", \"size\": 1}\n\n{\"name\": \"b\"}\n";
        assert_eq!(lines("a.jsonl", list), [(1, 1), (3, 3)]);
        assert!(
            Records::of("a.jsonl", list)
                .unwrap()
                .have(&["name", "size"])
        );
        for none in [
            "{\"a\": 1}\n{\"b\": 1}\n",
            "{\"a\": 1}\nwords\n",
            "{\"a\": 1}\n",
        ] {
            assert_eq!(lines("a.jsonl", none), [], "{none}");
        }
    }

    #[test]
    fn elements_of_a_name_are_records() {
        let list = "<?xml version=\"1.0\"?>\n<list>\n  <lamp id=\"1\">\n    <name>a</name>\n    <more>\n      <x>1</x>\n    </more>\n  </lamp>\n\n  <lamp id=\"2\">\n    <name>b</name>\n    <more>\n    </more>\n  </lamp>\n</list>\n";
        assert_eq!(lines("a.xml", list), [(3, 8), (10, 14)]);
        assert!(Records::of("a.xml", list).unwrap().have(&["name", "x"]));
        let flat = "<lamp>\n<name>a</name>\n</lamp>\n<lamp>\n<name>b</name>\n</lamp>\n";
        assert_eq!(lines("a.xml", flat), [(1, 3), (4, 6)]);
        for none in [
            "<a>\n<b>1</b>\n</a>\n",
            "<a>\n<b>1</b>\n<a>\n<b>1</b>\n",
            "<a>\n<a>\n<b>1</b>\n</a>\n</a>\n",
            "<>\n<>\n",
        ] {
            assert_eq!(lines("a.xml", none), [], "{none}");
        }
    }

    #[test]
    fn arrays_of_tables_are_records() {
        let lock = "# by hand\nversion = 4\n\n[[package]]\nname = \"a\"\ndependencies = [\n \"b\",\n]\n\n[package.more]\nx = 1\n\n[[package]]\nname = \"b\"\n\n[metadata]\ny = 1\n";
        assert_eq!(lines("Cargo.lock", lock), [(4, 11), (13, 14)]);
        let mixed = "[[a]]\nx = 1\n[other]\ny = 1\n[[a]]\nx = 2\n";
        assert_eq!(lines("a.toml", mixed), []);
        assert_eq!(lines("a.toml", "[package]\nname = \"a\"\n"), []);
    }

    #[test]
    fn items_of_a_list_are_records() {
        let list = "lights:\n  - name: a\n    since: 1\n    on:\n      - x: 1\n\n  - name: b\n  # no more\n\nend: 1\n";
        assert_eq!(lines("a.yaml", list), [(2, 5), (7, 8)]);
        assert_eq!(lines("a.yml", "- a: 1\n- a: 2\n"), [(1, 1), (2, 2)]);
        assert_eq!(lines("a.yaml", "- a\n- b\n"), []);
        assert_eq!(lines("a.yaml", "- a: 1\n- b: 2\n"), []);
        assert_eq!(lines("a.yaml", "- a: 1\n- a: 2\n- b: 3\n- a: 4\n"), []);
    }

    #[test]
    fn a_list_within_a_record_is_no_list_of_records() {
        let manifest = "[package]\nname = \"a\"\nversion = \"1\"\n\n[[bin]]\nname = \"b\"\n\n[[bin]]\nname = \"c\"\n";
        let records = Records::of("Cargo.toml", manifest).unwrap();
        assert_eq!(records.lines.len(), 2);
        assert!(!records.have(&["name", "version"]));
        assert!(!records.have(&["name"]));
        assert!(!can_have_records("a/b.rs"));
        assert!(can_have_records("a.b/status") && can_have_records("a/Cargo.LOCK"));
    }

    #[test]
    fn objects_of_an_array_are_records() {
        let array = "[\n  {\n    \"name\": \"a\",\n    \"at\": {\n      \"x\": 1\n    }\n  },\n  {\n    \"name\": \"b\"\n  }\n]\n";
        assert_eq!(lines("a.json", array), [(2, 7), (8, 10)]);
        let within = "{\"all\": [\n{\"name\": \"a\", \"b_c\": 1},\n{\"name\": \"b\"}\n]}\n";
        assert_eq!(lines("a.json", within), []);
        let within = "{\"all\": [\n {\"name\": \"a\", \"b_c\": 1},\n {\"name\": \"b\"}\n]}\n";
        assert_eq!(lines("a.json", within), [(2, 2), (3, 3)]);
        let records = Records::of("a.json", within).unwrap();
        assert!(records.have(&["Name", "b-c", "d"]));
        for none in [
            "{\n  \"a\": 1\n}\n",
            "[\n  {\n  {\n",
            "[\n  {\n",
            "[]",
            "[{\"a\": 1},\n {\"a\": 2},\n {\"a\": 3}\n]\n",
        ] {
            assert_eq!(lines("a.json", none), [], "{none}");
        }
    }

    #[test]
    fn sections_with_the_same_keys_are_records() {
        let page = "# Lights\n\nWords: all of them.\n\n## a\n\n- **Height**: 3\n- **Lit since**: 1\n\n## b\n\n- **Height**: 4\n\n## Sources\n\nMany.\n";
        assert_eq!(lines("a.md", page), [(5, 8), (10, 12)]);
        let records = Records::of("a.md", page).unwrap();
        assert!(records.have(&["height", "lit-since"]) && !records.have(&["words"]));
        let groups = "# x\n## a\nk: 1\n## b\nk: 2\n# y\n## c\nk: 3\n";
        assert_eq!(lines("a.html", groups), [(2, 3), (4, 5), (7, 8)]);
        let chain = "## a\nx: 1\n## b\nx: 1\ny: 1\n## c\ny: 1\n";
        assert_eq!(lines("a.md", chain), [(1, 2), (3, 5), (6, 7)]);
        let settings = "; by hand\n[a]\nhost=1\nport=2\n\n[b]\nhost = 3\n";
        assert_eq!(lines("a.ini", settings), [(2, 4), (6, 7)]);
        let repeated = "[[a]]\nk=1\n\n[[a]]\nk=2\n\n[more]\nx=1\n";
        assert_eq!(lines("a.ini", repeated), [(1, 2), (4, 5)]);
        for none in [
            "[Unit]\nAfter=x\n\n[Service]\nExecStart=y\n",
            "[a]\nk=1\n",
            "[a]\n[b]\n",
            "k=1\n",
        ] {
            assert_eq!(lines("a.conf", none), [], "{none}");
        }
        assert_eq!(lines("a.md", "#no\n####### no\n# a\n"), []);
    }

    #[test]
    fn lines_of_one_owner_after_the_other_are_records() {
        let arrows = "lamp / height -> 3\nlamp / site -> http://a/b\n\npost / site -> x = y\nfar post / height -> 4\n";
        assert_eq!(lines("a.txt", arrows), [(1, 2), (4, 4), (5, 5)]);
        let records = Records::of("a.txt", arrows).unwrap();
        assert!(records.have(&["name", "Height"]) && !records.have(&["name", "colour", "lamp"]));
        let dotted = "a.b.host = 1\na.b.port = 2\nc.host = 3\n";
        assert_eq!(lines("x.properties", dotted), [(1, 2), (3, 3)]);
        assert_eq!(lines("x.conf", "a::k: 1\nb::k: 2\n"), [(1, 1), (2, 2)]);
        for none in [
            "a.k = 1\nb.k = 2\na.l = 3\n",
            "a.k = 1\nwords\nb.k = 2\n",
            "a.k = 1\nb.l = 2\n",
            "a.k = 1\na.l = 2\n",
            "k = 1\n.k = 2\n",
        ] {
            assert_eq!(lines("a.txt", none), [], "{none}");
        }
    }

    /// Lines that openers, ends and what confuses them are made of.
    const PIECES: [&str; 25] = [
        "",
        " ",
        "{",
        "  {",
        "  }",
        "  },",
        "[",
        "]",
        "{\"a\": [",
        "  {\"a\": 1},",
        "- a: 1",
        "  - a: 1",
        "- b",
        "    c: 1",
        "a: 1",
        "a = 1",
        "[[a]]",
        "[a.b]",
        "[b]",
        "é: ü",
        "# é",
        "## b",
        "a.k = 1",
        "b.k = 1",
        "a / é -> b",
    ];

    proptest! {
        /// Whatever the document, its records are within it, in order, none of them empty or within another.
        #[test]
        fn records_lie_behind_each_other(
            pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..30),
            path in prop::sample::select(&["a.json", "a.yaml", "a.toml", "a", "a.md", "a.ini", "a.properties"][..]),
        ) {
            let text = pieces.join("\n");
            let mut before = 0;
            for (first, last) in lines(path, &text) {
                prop_assert!(before < first && first <= last && last <= pieces.len());
                before = last;
            }
        }
    }
}
