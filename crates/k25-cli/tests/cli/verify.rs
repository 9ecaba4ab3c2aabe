//! `k25 verify`.

use std::fs;

use crate::command::{Folder, fixture, fixture_json, k25};

/// A folder with the tokenizer's files and vectors alone.
fn tokenizer_folder() -> Folder {
    let folder = Folder::empty();
    fs::create_dir(folder.path("tokenizer")).expect("a folder");
    for name in ["tiktoken.model", "tokenizer_config.json", "vectors.json"] {
        fs::copy(
            fixture(&format!("tokenizer/{name}")),
            folder.path("tokenizer").join(name),
        )
        .expect("a copy");
    }
    folder
}

#[test]
fn a_part_that_holds() {
    let folder = tokenizer_folder();
    let text = k25(["verify", &folder.arg("")]).success();
    assert!(
        text.starts_with("item") && text.contains("  ok\n") && text.contains("0 fall short"),
        "{text}"
    );
    let short = k25(["verify", &folder.arg(""), "--short"]).success();
    assert!(short.lines().count() < text.lines().count(), "{short}");
    let json = k25(["verify", &folder.arg(""), "--json"]).json();
    assert_eq!(json[0]["passed"], true);
    assert!(
        json[0]["checks"]
            .as_array()
            .is_some_and(|checks| !checks.is_empty())
    );
}

#[test]
fn a_value_that_is_off_is_shown_and_falls_short() {
    let folder = tokenizer_folder();
    let mut vectors = fixture_json("tokenizer/vectors.json");
    vectors["vectors"][3]["ids_plain"][0] = 7.into();
    fs::write(folder.path("tokenizer/vectors.json"), vectors.to_string()).expect("a file");
    let run = k25(["verify", &folder.arg("")]);
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stdout.contains("FALLS SHORT"), "{}", run.stdout);
    let run = k25(["verify", &folder.arg(""), "--json"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("\"passed\": false"), "{}", run.stdout);
}

#[test]
fn a_folder_with_nothing_to_compare_is_an_error() {
    let run = k25(["verify", &Folder::empty().arg("")]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("no expectations") && run.stderr.contains("  hint  "),
        "{}",
        run.stderr
    );
    let run = k25(["verify", "/no/such/folder"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("/no/such/folder"), "{}", run.stderr);
}
