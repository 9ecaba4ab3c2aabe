//! `k25 tokenize`, against the reference's vectors.

use serde_json::Value;

use crate::command::{Folder, fixture, fixture_json, k25, k25_with_input};

fn ids(value: &Value) -> String {
    let ids: Vec<_> = value
        .as_array()
        .expect("ids")
        .iter()
        .map(Value::to_string)
        .collect();
    ids.join(",")
}

#[test]
fn text_becomes_the_reference_s_ids() {
    let vectors = fixture_json("tokenizer/vectors.json");
    let vectors = vectors["vectors"].as_array().expect("vectors");
    assert!(vectors.len() > 20);
    // One vector in four: each costs the start of a program, and the library tests them all.
    for vector in vectors.iter().step_by(4) {
        let text = vector["text"].as_str().expect("text").as_bytes();
        let plain = k25_with_input(["tokenize", &fixture("tokenizer"), "-"], text).success();
        assert_eq!(plain.trim_end(), ids(&vector["ids_plain"]), "{vector}");
        let specials =
            k25_with_input(["tokenize", &fixture("tokenizer"), "-", "--specials"], text).success();
        assert_eq!(
            specials.trim_end(),
            ids(&vector["ids_specials_allowed"]),
            "{vector}"
        );
    }
}

#[test]
fn ids_become_the_reference_s_text() {
    let vectors = fixture_json("tokenizer/vectors.json");
    for vector in vectors["decode"]
        .as_array()
        .expect("vectors")
        .iter()
        .step_by(10)
    {
        let run = k25([
            "tokenize",
            &fixture("tokenizer"),
            "--decode",
            &ids(&vector["ids"]),
            "--json",
        ]);
        assert_eq!(run.json()["text"], vector["text_replace"], "{vector}");
    }
}

#[test]
fn json_shows_each_token() {
    let json = k25(["tokenize", &fixture("tokenizer"), "Hello, world!", "--json"]).json();
    let tokens: Vec<_> = json["tokens"]
        .as_array()
        .expect("tokens")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(tokens.concat(), "Hello, world!");
    assert_eq!(tokens.len(), json["ids"].as_array().expect("ids").len());
}

#[test]
fn what_cannot_be_tokenized_is_named() {
    k25(["tokenize", &fixture("t1"), "Hi"]).fails(&["tiktoken.model"]);
    k25(["tokenize", &fixture("tokenizer"), "--decode", "99999"]).fails(&["token id 99999"]);
    k25_with_input(["tokenize", &fixture("tokenizer"), "-"], b"ab\xFF")
        .fails(&["not UTF-8", "byte 2"]);
    let folder = Folder::empty();
    folder.with("tokenizer_config.json", "{}");
    folder.with("tiktoken.model", "YQ== 0\nYQ== 1\n");
    k25(["tokenize", &folder.arg(""), "Hi"]).fails(&["tiktoken.model"]);
}
