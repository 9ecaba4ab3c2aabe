//! One task for each of many documents, by a pattern in a task's prompt; and for each part of a long list of records.
//!
//! `Fill the rows of {*/Cargo.toml}` stands for one task per document that matches. What an
//! orchestrator would else write out a hundred times costs one call, and nothing is left out. A document with more records than an
//! agent reads and hands in well becomes a task for each part of it ([`Part`](crate::documents::Part)), whether a pattern or the
//! prompt itself names it.

use std::collections::{BTreeMap, BTreeSet};

use glob::{MatchOptions, Pattern};

use crate::documents::{Documents, Part, PartSize, parts_of_records};

/// Most tasks of one call.
const MOST: usize = 1_000;
/// `*` stays within a folder; `**` does not.
const WITHIN_FOLDERS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// One of the tasks that a prompt stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spread {
    /// The document or the part of it, or the folder with a `/` behind it.
    pub(super) path: String,
    /// The prompt with that in the pattern's place.
    pub(super) prompt: String,
}

impl Spread {
    fn new(before: &str, path: String, after: &str) -> Self {
        Spread {
            prompt: format!("{before}{path}{after}"),
            path,
        }
    }
}

/// Which documents are taken apart.
pub(super) struct Lists<'a> {
    /// The columns that are to be filled.
    pub(super) columns: Vec<&'a str>,
    /// How much of one an agent gets, at most.
    pub(super) part: PartSize,
}

impl Lists<'_> {
    /// The paths of a document's parts, or its own where it is not taken apart. What cannot be read is left to those who
    /// open it, who are told why.
    fn parts(&self, path: String, documents: &Documents) -> Vec<String> {
        let document = documents.with_records(&path);
        let parts = document
            .and_then(|document| parts_of_records(&document, &self.columns, self.part, MOST));
        parts.map_or(vec![path], |parts| parts.iter().map(Part::path).collect())
    }
}

/// The tasks that a prompt stands for; `None` where it stands for itself.
///
/// # Errors
/// In words for the model: nothing matches, or too much.
pub(super) fn spread(
    prompt: &str,
    documents: &Documents,
    lists: &Lists<'_>,
) -> Result<Option<Vec<Spread>>, String> {
    let Some((before, pattern, after)) = parts(prompt) else {
        return Ok(one_list(prompt, documents, lists));
    };
    let matcher = Pattern::new(pattern).map_err(|error| format!("{{{pattern}}}: {}", error.msg))?;
    let paths = match pattern.ends_with('/') {
        true => folders(documents),
        false => documents.files().map(str::to_owned).collect(),
    };
    let paths = paths
        .into_iter()
        .filter(|path| matcher.matches_with(path, WITHIN_FOLDERS));
    let paths = paths.flat_map(|path| lists.parts(path, documents));
    let tasks: Vec<Spread> = paths.map(|path| Spread::new(before, path, after)).collect();
    match tasks.len() {
        0 => Err(match meant(pattern, documents) {
            Some((other, count)) => {
                format!("no document matches {{{pattern}}}; {count} match {{{other}}}")
            }
            None => format!("no document matches {{{pattern}}}"),
        }),
        count if count > MOST => Err(format!(
            "{count} documents match {{{pattern}}}; at most {MOST} in one call"
        )),
        _ => Ok(Some(tasks)),
    }
}

/// The pattern that one which matches nothing may stand for, and how many documents match: of those whose names end as it does,
/// at the depth where most of them lie.
fn meant(pattern: &str, documents: &Documents) -> Option<(String, usize)> {
    let ending = pattern.trim_end_matches('/').rsplit(['*', '/']).next()?;
    let ending = ending.trim_start_matches('.');
    if ending.is_empty() {
        return None;
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for path in documents.files() {
        let (folders, name) = path.rsplit_once('/').map_or(("", path), |parts| parts);
        let depth = folders.split('/').filter(|folder| !folder.is_empty());
        let within = "*/".repeat(depth.count());
        let is_ending = |rest: &str| rest.is_empty() || rest.ends_with('.');
        if name.strip_suffix(ending).is_some_and(is_ending) {
            let name = if name == ending { "" } else { "*." };
            *counts.entry(format!("{within}{name}{ending}")).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count)
}

/// The tasks of a prompt that names one document of many records.
fn one_list(prompt: &str, documents: &Documents, lists: &Lists<'_>) -> Option<Vec<Spread>> {
    let words = prompt.split_whitespace();
    let bare = words.map(|word| word.trim_matches(|c: char| "\"'`()[]<>,;:.".contains(c)));
    let named: BTreeSet<&str> = bare.filter(|word| documents.has_file(word)).collect();
    let mut named = named.into_iter();
    let (Some(path), None) = (named.next(), named.next()) else {
        return None;
    };
    let (before, after) = prompt.split_once(path)?;
    let parts = lists.parts(path.to_owned(), documents).into_iter();
    let tasks: Vec<Spread> = parts.map(|path| Spread::new(before, path, after)).collect();
    (tasks.len() > 1).then_some(tasks)
}

/// What stands before, in and behind the first braces that hold a pattern. Braces of JSON or of code
/// have blanks, quotes or colons in them, or no star.
fn parts(prompt: &str) -> Option<(&str, &str, &str)> {
    let is_pattern = |text: &str| {
        text.contains('*') && !text.contains(|c: char| c.is_whitespace() || "\"':;,{".contains(c))
    };
    prompt.match_indices('{').find_map(|(start, _)| {
        let (pattern, after) = prompt[start + 1..].split_once('}')?;
        is_pattern(pattern).then(|| (&prompt[..start], pattern, after))
    })
}

/// Every folder that a document lies in or below, with a `/` behind it.
fn folders(documents: &Documents) -> BTreeSet<String> {
    let ends = documents
        .files()
        .flat_map(|file| file.match_indices('/').map(move |(at, _)| &file[..=at]));
    ends.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_of(files: &[&str]) -> (tempfile::TempDir, Documents) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let documents = Documents::open(dir.path()).unwrap();
        (dir, documents)
    }

    const fn part(records: usize) -> PartSize {
        PartSize {
            records,
            lines: 60,
            bytes: 2_400,
        }
    }

    const LISTS: Lists<'_> = Lists {
        columns: Vec::new(),
        part: part(1),
    };

    fn paths(prompt: &str, documents: &Documents) -> Vec<String> {
        let tasks = spread(prompt, documents, &LISTS).unwrap().unwrap();
        tasks.into_iter().map(|task| task.path).collect()
    }

    #[test]
    fn patterns_stand_for_documents_and_folders() {
        let files = [
            "a/Cargo.toml",
            "a/README.md",
            "b/Cargo.toml",
            "b/c/Cargo.toml",
            "d.json",
        ];
        let (_dir, documents) = folder_of(&files);
        let tasks = spread("Fill the rows of {*/Cargo.toml} please", &documents, &LISTS);
        assert_eq!(
            tasks.unwrap().unwrap()[1].prompt,
            "Fill the rows of b/Cargo.toml please"
        );
        assert_eq!(paths("{*}", &documents), ["d.json"]);
        assert_eq!(paths("{*/}", &documents), ["a/", "b/"]);
        assert_eq!(
            paths("{**/Cargo.toml}", &documents),
            ["a/Cargo.toml", "b/Cargo.toml", "b/c/Cargo.toml"]
        );
    }

    #[test]
    fn other_braces_are_words() {
        let (_dir, documents) = folder_of(&["a.txt"]);
        for prompt in [
            "read a.txt",
            "{a.txt}",
            r#"{"a": "*"}"#,
            "{ * }",
            "{*",
            "*}",
        ] {
            assert_eq!(spread(prompt, &documents, &LISTS), Ok(None), "{prompt}");
        }
        assert_eq!(paths(r#"as {"a": 1} of {*}"#, &documents), ["a.txt"]);
    }

    #[test]
    fn what_matches_nothing_or_too_much_is_said() {
        let (_dir, documents) = folder_of(&["a.txt"]);
        let none = spread("{*.toml}", &documents, &LISTS).unwrap_err();
        assert_eq!(none, "no document matches {*.toml}");
        let none = spread("{*.*.txt}", &documents, &LISTS).unwrap_err();
        assert_eq!(none, "no document matches {*.*.txt}; 1 match {*.txt}");
        assert!(
            spread("{***}", &documents, &LISTS)
                .unwrap_err()
                .starts_with("{***}: ")
        );
        let many: Vec<String> = (0..=MOST).map(|index| index.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (_dir, documents) = folder_of(&many);
        let error = spread("{*}", &documents, &LISTS).unwrap_err();
        assert_eq!(error, "1001 documents match {*}; at most 1000 in one call");
    }

    #[test]
    fn a_pattern_that_is_nearly_right_is_put_right() {
        let files = ["a/Cargo.toml", "b/Cargo.toml", "Cargo.toml", "b/my.toml"];
        let (_dir, documents) = folder_of(&files);
        let told = |prompt: &str| spread(prompt, &documents, &LISTS).unwrap_err();
        assert!(told("{*.Cargo.toml}").ends_with("; 2 match {*/Cargo.toml}"));
        assert!(told("{*.Cargo.toml/}").ends_with("; 2 match {*/Cargo.toml}"));
        assert!(told("{*/*/y/Cargo.toml}").ends_with("; 2 match {*/Cargo.toml}"));
        assert!(told("{x/*.toml}").ends_with("; 3 match {*/*.toml}"));
        assert!(told("{*/*.o.toml}").ends_with("matches {*/*.o.toml}"));
    }

    #[test]
    fn long_lists_are_taken_apart() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("lights.csv", "name,since\nA,1\nB,2\nC,3\n");
        write("other.csv", "day,wind\n1,2\n3,4\n");
        write("one.csv", "name,since\nD,4\n");
        write("notes.txt", "name,since\nE,5\nF,6\n");
        write(
            "kept",
            "name: A\nsince: 1\n\nname: B\nsince: 2\nkeeper: C\n",
        );
        let documents = Documents::open(dir.path()).unwrap();
        let lists = |rows| Lists {
            columns: vec!["name", "since", "keeper"],
            part: part(rows),
        };
        let paths = |prompt: &str, rows| {
            let tasks = spread(prompt, &documents, &lists(rows)).unwrap();
            tasks.map(|tasks| tasks.into_iter().map(|task| task.path).collect::<Vec<_>>())
        };
        let each = ["lights.csv/2", "lights.csv/3", "lights.csv/4"];
        assert_eq!(paths("Fill the rows of lights.csv", 1).unwrap(), each);
        assert_eq!(
            paths("Fill the rows of \"lights.csv\".", 2).unwrap(),
            ["lights.csv/2-3", "lights.csv/4-4"].map(|path| path.replace("4-4", "4"))
        );
        assert_eq!(
            paths("{*.csv}", 1).unwrap(),
            [&each[..], &["one.csv", "other.csv"]].concat()
        );
        assert_eq!(paths("read kept", 1).unwrap(), ["kept/1-2", "kept/4-6"]);
        for whole in [
            "read notes.txt",
            "read other.csv",
            "read one.csv",
            "lights.csv and other.csv",
            "read lights.csv/2",
            "no document",
        ] {
            assert_eq!(paths(whole, 1), None, "{whole}");
        }
        assert_eq!(paths("read lights.csv", 3), None);
        let rows: String = (0..=MOST).map(|row| format!("{row},{row}\n")).collect();
        write("long.csv", &format!("name,since\n{rows}"));
        let documents = Documents::open(dir.path()).unwrap();
        let tasks = spread("read long.csv", &documents, &lists(1)).unwrap();
        let tasks = tasks.unwrap();
        assert_eq!(tasks[0].path, "long.csv/2-3");
        assert_eq!(tasks.len(), MOST / 2 + 1);
    }
}
