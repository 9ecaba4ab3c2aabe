//! One task for each of many documents, by a pattern in a task's prompt.
//!
//! `Fill the rows of {*/Cargo.toml}` stands for one task per document that matches. What an
//! orchestrator would else write out a hundred times costs one call, and nothing is left out.

use std::collections::BTreeSet;

use glob::{MatchOptions, Pattern};

use crate::documents::Documents;

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
    /// The document, or the folder with a `/` behind it.
    pub(super) path: String,
    /// The prompt with the document in the pattern's place.
    pub(super) prompt: String,
}

/// The tasks that a prompt stands for; `None` where it has no pattern.
///
/// # Errors
/// In words for the model: nothing matches, or too much.
pub(super) fn spread(prompt: &str, documents: &Documents) -> Result<Option<Vec<Spread>>, String> {
    let Some((before, pattern, after)) = parts(prompt) else {
        return Ok(None);
    };
    let matcher = Pattern::new(pattern).map_err(|error| format!("{{{pattern}}}: {}", error.msg))?;
    let paths = match pattern.ends_with('/') {
        true => folders(documents),
        false => documents.files().map(str::to_owned).collect(),
    };
    let tasks: Vec<Spread> = paths
        .into_iter()
        .filter(|path| matcher.matches_with(path, WITHIN_FOLDERS))
        .map(|path| Spread {
            prompt: format!("{before}{path}{after}"),
            path,
        })
        .collect();
    match tasks.len() {
        0 => Err(format!("no document matches {{{pattern}}}")),
        count if count > MOST => Err(format!(
            "{count} documents match {{{pattern}}}; at most {MOST} in one call"
        )),
        _ => Ok(Some(tasks)),
    }
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

    fn paths(prompt: &str, documents: &Documents) -> Vec<String> {
        let tasks = spread(prompt, documents).unwrap().unwrap();
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
        let tasks = spread("Fill the rows of {*/Cargo.toml} please", &documents);
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
            assert_eq!(spread(prompt, &documents), Ok(None), "{prompt}");
        }
        assert_eq!(paths(r#"as {"a": 1} of {*}"#, &documents), ["a.txt"]);
    }

    #[test]
    fn what_matches_nothing_or_too_much_is_said() {
        let (_dir, documents) = folder_of(&["a.txt"]);
        let none = spread("{*.toml}", &documents).unwrap_err();
        assert_eq!(none, "no document matches {*.toml}");
        assert!(
            spread("{***}", &documents)
                .unwrap_err()
                .starts_with("{***}: ")
        );
        let many: Vec<String> = (0..=MOST).map(|index| index.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (_dir, documents) = folder_of(&many);
        let error = spread("{*}", &documents).unwrap_err();
        assert_eq!(error, "1001 documents match {*}; at most 1000 in one call");
    }
}
