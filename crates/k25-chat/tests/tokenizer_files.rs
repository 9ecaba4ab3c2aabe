//! Vocabulary files: written and read back, and every kind of damage.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k25_chat::{
    SpecialToken, TIKTOKEN_FILE, TOKENIZER_CONFIG_FILE, Tokenizer, TokenizerError, write_tiktoken,
    write_tokenizer_config,
};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/tokenizer"
    ))
    .join(name)
}

/// The fixture's two files.
fn sound_files() -> (String, String) {
    let read = |name| std::fs::read_to_string(fixture(name)).expect("fixture");
    (read(TIKTOKEN_FILE), read(TOKENIZER_CONFIG_FILE))
}

/// The message of the error, which must name its file and give a hint.
fn message(result: Result<Tokenizer, TokenizerError>, origin: &str) -> String {
    let message = result.expect_err("damaged").to_string();
    assert!(
        message.contains(origin) && message.contains("hint:"),
        "{message}"
    );
    message
}

/// The error for a changed `tiktoken.model`.
fn ranks_error(change: impl FnOnce(&mut Vec<String>)) -> String {
    let (ranks, config) = sound_files();
    let mut lines: Vec<String> = ranks.lines().map(str::to_owned).collect();
    change(&mut lines);
    let result = Tokenizer::from_bytes(lines.join("\n").as_bytes(), config.as_bytes());
    message(result, TIKTOKEN_FILE)
}

/// The error for a `tokenizer_config.json` with this `added_tokens_decoder`.
fn config_error(added_tokens_decoder: &str) -> String {
    let (ranks, _) = sound_files();
    let config = format!("{{\"added_tokens_decoder\": {added_tokens_decoder}}}");
    message(
        Tokenizer::from_bytes(ranks.as_bytes(), config.as_bytes()),
        TOKENIZER_CONFIG_FILE,
    )
}

#[test]
fn order_of_lines_and_line_ends_do_not_matter() {
    let (ranks, config) = sound_files();
    let mut lines: Vec<&str> = ranks.lines().collect();
    lines.reverse();
    let text = format!("\r\n{}\r\n\n", lines.join("\r\n"));
    let tokenizer = Tokenizer::from_bytes(text.as_bytes(), config.as_bytes()).expect("sound");
    let expected = Tokenizer::open(fixture("")).expect("sound");
    let sample = "Hello, world! 你好 <|im_end|>\n";
    assert_eq!(tokenizer.encode_text(sample), expected.encode_text(sample));
}

#[test]
fn damaged_ranks_name_line_and_reason() {
    let duplicate_rank = ranks_error(|lines| lines[700] = lines[700].replace(" 700", " 699"));
    assert!(
        duplicate_rank.contains("line 701: rank 699 already stands on line 700"),
        "{duplicate_rank}"
    );

    let duplicate_token = ranks_error(|lines| lines[900] = lines[300].replace(" 300", " 900"));
    assert!(
        duplicate_token.contains("line 901") && duplicate_token.contains("line 301"),
        "{duplicate_token}"
    );

    let gap = ranks_error(|lines| drop(lines.remove(500)));
    assert!(
        gap.contains("rank 500 is missing") && gap.contains("line 501 has rank 501"),
        "{gap}"
    );

    let bad_base64 = ranks_error(|lines| lines[9] = "K*== 9".to_owned());
    assert!(
        bad_base64.contains("line 10: \"K*==\" is not base64"),
        "{bad_base64}"
    );

    for bad_rank in [
        "-1",
        "+7",
        "7.0",
        "99999999999999999999",
        "７",
        "0x7",
        "1_0",
    ] {
        let error = ranks_error(|lines| lines[7] = format!("KA== {bad_rank}"));
        assert!(
            error.contains("line 8: the rank") && error.contains("32 bits"),
            "{error}"
        );
    }
    for bad_line in [
        "KA==",
        "KA== 7 8",
        "\u{feff}KA==7",
        "version https://git-lfs.github.com/spec/v1",
    ] {
        let error = ranks_error(|lines| lines[7] = bad_line.to_owned());
        assert!(error.contains("line 8: "), "{error}");
    }
    let long_line = ranks_error(|lines| lines[7] = "A".repeat(1 << 20) + " 7");
    assert!(
        long_line.contains("line 8: the token is longer than 4096 bytes"),
        "{long_line}"
    );
    assert!(
        long_line.len() < 500,
        "a long line is not repeated in the message"
    );

    let empty = ranks_error(Vec::clear);
    assert!(empty.contains("byte 0x00 is no token"), "{empty}");
    let no_bang = ranks_error(|lines| lines[0] = "ISEhIQ== 0".to_owned());
    assert!(
        no_bang.contains("the single byte 0x21 is no token"),
        "{no_bang}"
    );
    let empty_token = ranks_error(|lines| lines[1023] = "==== 1023".to_owned());
    assert!(empty_token.contains("line 1024"), "{empty_token}");
}

#[test]
fn bytes_that_are_no_text_name_their_line() {
    let (ranks, config) = sound_files();
    for foreign in [
        b"\0\0\0\0 5".as_slice(),
        b"\xff\xfe 5",
        b"KA=\xc0 5",
        b"KA== \xff",
    ] {
        let mut bytes = ranks.as_bytes().to_vec();
        bytes.extend_from_slice(foreign);
        let error = message(
            Tokenizer::from_bytes(&bytes, config.as_bytes()),
            TIKTOKEN_FILE,
        );
        assert!(error.contains("line 1025"), "{error}");
    }
}

#[test]
fn more_tokens_than_possible_are_refused() {
    let (_, config) = sound_files();
    let ranks = "KA== 7\n".repeat((1 << 20) + 1);
    let error = message(
        Tokenizer::from_bytes(ranks.as_bytes(), config.as_bytes()),
        TIKTOKEN_FILE,
    );
    assert!(error.contains("more than 1048576 tokens"), "{error}");
}

#[test]
fn special_names_of_the_checkpoint_are_used() {
    let (ranks, _) = sound_files();
    let config = r#"{"added_tokens_decoder": {
        "1026": {"content": "<|im_end|>", "special": true},
        "1046": {"content": "◁think▷"},
        "1029": {"content": "<|new|>", "special": false, "lstrip": false},
        "1279": {"content": "[PAD]", "special": true}}}"#;
    let tokenizer = Tokenizer::from_bytes(ranks.as_bytes(), config.as_bytes()).expect("sound");
    assert_eq!(
        tokenizer.encode_with_specials("◁think▷<|new|>[PAD]"),
        [1046, 1029, 1279]
    );
    assert_eq!(
        tokenizer.decode(&[1046, 1047, 1024]).expect("known"),
        "◁think▷<|reserved_token_1047|><|reserved_token_1024|>"
    );
    assert_eq!(tokenizer.special_of(1026), Some(SpecialToken::ImEnd));
    assert_eq!(
        tokenizer.special_of(1046),
        None,
        "the slot has another name here"
    );
    assert_eq!(tokenizer.special_id(SpecialToken::Think), 1046);
    assert!(!tokenizer.is_special(1046) && !tokenizer.is_special(1029) && !tokenizer.is_special(7));
    assert!(tokenizer.is_special(1026) && tokenizer.is_special(1024));
    assert_eq!(tokenizer.stop_ids(), [1026, 1025, 1033]);
    assert_eq!(tokenizer.vocab_size(), 1280);
}

#[test]
fn a_configuration_without_names_leaves_all_slots_reserved() {
    let (ranks, _) = sound_files();
    let tokenizer = Tokenizer::from_bytes(ranks.as_bytes(), b"{}").expect("sound");
    assert_eq!(
        tokenizer.decode(&[1026]).expect("known"),
        "<|reserved_token_1026|>"
    );
}

#[test]
fn wrong_special_entries_name_id_and_reason() {
    for (entries, expected) in [
        (
            r#"{"163586": {"content": "<|im_end|>"}}"#,
            "outside the special slots 1024 to 1279",
        ),
        (r#"{"1023": {"content": "x"}}"#, "outside the special slots"),
        (r#"{"1280": {"content": "x"}}"#, "outside the special slots"),
        (
            r#"{"99999999999999999999": {"content": "x"}}"#,
            "outside the special slots",
        ),
        (r#"{"-1": {"content": "x"}}"#, "outside the special slots"),
        (r#"{"x": {"content": "x"}}"#, "outside the special slots"),
        (
            r#"{"1027": {"content": "<|im_end|>"}}"#,
            "must have the id 1026",
        ),
        (r#"{"1027": {"content": ""}}"#, "must have a name"),
        (
            r#"{"1100": {"content": "x"}, "1101": {"content": "x"}}"#,
            "has the name of token 1100",
        ),
        (
            r#"{"1100": {"content": "<|reserved_token_1101|>"}}"#,
            "has the name of token 1100",
        ),
        (
            r#"{"1100": {"content": "x"}, "1100": {"content": "y"}}"#,
            "stands twice",
        ),
    ] {
        let error = config_error(entries);
        assert!(error.contains(expected), "{entries}: {error}");
    }
    let long = config_error(&format!(
        r#"{{"1100": {{"content": "{}"}}}}"#,
        "x".repeat(1 << 16)
    ));
    assert!(
        long.contains("must have a name of 1 to 256 bytes") && long.len() < 500,
        "{long}"
    );
}

#[test]
fn configurations_that_are_not_of_the_form_are_refused() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    let deep_token = format!(r#"{{"1100": {{"content": {deep}}}}}"#);
    for entries in [
        "[]",
        "7",
        "null",
        r#"{"1100": "x"}"#,
        r#"{"1100": {"special": true}}"#,
        r#"{"1100": {"content": "x", "special": "yes"}}"#,
        r#"{"1100": {"content": 7}}"#,
        r#"{"1100": {"content": "x""#,
        &deep,
        &deep_token,
    ] {
        let error = config_error(entries);
        assert!(
            error.contains("cannot be read") && error.len() < 500,
            "{error}"
        );
    }
    let (ranks, _) = sound_files();
    for config in [
        b"".as_slice(),
        b"\0",
        b"\xff\xfe{}",
        b"{\"added_tokens_decoder\": {\"1100\": {\"content\": \"\xff\"}}}",
    ] {
        message(
            Tokenizer::from_bytes(ranks.as_bytes(), config),
            TOKENIZER_CONFIG_FILE,
        );
    }
}

#[test]
fn fields_that_are_not_read_may_nest_as_they_like() {
    let (ranks, _) = sound_files();
    let config = format!(
        "{{\"other\": {}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    Tokenizer::from_bytes(ranks.as_bytes(), config.as_bytes()).expect("the field is skipped");
}

#[test]
fn missing_and_foreign_files_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = message(Tokenizer::open(dir.path()), TIKTOKEN_FILE);
    assert!(error.contains("cannot access"), "{error}");

    std::fs::copy(fixture(TIKTOKEN_FILE), dir.path().join(TIKTOKEN_FILE)).expect("copied");
    message(Tokenizer::open(dir.path()), TOKENIZER_CONFIG_FILE);

    std::fs::create_dir(dir.path().join(TOKENIZER_CONFIG_FILE)).expect("made");
    let error = message(Tokenizer::open(dir.path()), TOKENIZER_CONFIG_FILE);
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn huge_files_are_refused_without_being_read_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = std::fs::File::create(dir.path().join(TIKTOKEN_FILE)).expect("made");
    // A hole: no disk space is used.
    file.set_len(1 << 40).expect("a sparse file");
    let start = Instant::now();
    let error = message(Tokenizer::open(dir.path()), TIKTOKEN_FILE);
    assert!(error.contains("larger than 67108864 bytes"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn written_files_are_read_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let written = Tokenizer::synthetic(5_000).expect("possible");
    written.write(dir.path()).expect("written");
    let read = Tokenizer::open(dir.path()).expect("sound");
    assert_eq!(read.n_base(), 5_000);
    let sample = "The name of the rose <|im_end|> 薔薇\n";
    assert_eq!(read.encode_text(sample), written.encode_text(sample));
    assert_eq!(
        read.encode_with_specials(sample),
        written.encode_with_specials(sample)
    );
    assert_eq!(read.special_of(5_002), Some(SpecialToken::ImEnd));
}

#[test]
fn fixture_ranks_are_rewritten_byte_for_byte() {
    let (ranks, config) = sound_files();
    let tokenizer = Tokenizer::open(fixture("")).expect("sound");
    let tokens: Vec<&[u8]> = (0..tokenizer.n_base())
        .map(|id| tokenizer.token_bytes(id).expect("a token"))
        .collect();
    assert_eq!(write_tiktoken(&tokens).trim_end(), ranks.trim_end());
    assert_eq!(write_tokenizer_config(1024), config);
}

#[test]
fn synthetic_vocabulary_of_the_family_s_size() {
    let tokenizer = Tokenizer::synthetic(163_584).expect("possible");
    assert_eq!(tokenizer.vocab_size(), 163_840);
    assert_eq!(tokenizer.stop_ids(), [163_586, 163_585, 163_593]);
    let text = "It was the best of times, it was the worst of times";
    let ids = tokenizer.encode_text(text);
    assert!(ids.len() * 2 < text.len(), "{} ids", ids.len());
    assert_eq!(tokenizer.decode(&ids).expect("known"), text);
}

#[test]
fn ids_outside_the_vocabulary_are_refused() {
    let tokenizer = Tokenizer::open(fixture("")).expect("sound");
    for id in [1280, 163_586, u32::MAX] {
        let error = tokenizer
            .decode(&[65, id])
            .expect_err("outside")
            .to_string();
        assert!(
            error.contains(&id.to_string()) && error.contains("1280 tokens"),
            "{error}"
        );
    }
}

proptest! {
    /// One damaged byte anywhere: an error or another sound vocabulary, never a panic, and what
    /// opens can encode every text.
    #[test]
    fn one_wrong_byte_never_panics(at in any::<prop::sample::Index>(), byte: u8, in_config: bool) {
        let (ranks, config) = sound_files();
        let mut files = [ranks.into_bytes(), config.into_bytes()];
        let file = &mut files[usize::from(in_config)];
        let at = at.index(file.len());
        file[at] = byte;
        match Tokenizer::from_bytes(&files[0], &files[1]) {
            Ok(tokenizer) => {
                let text = "any text: été 漢字 <|im_end|>";
                let ids = tokenizer.encode_text(text);
                prop_assert_eq!(tokenizer.decode(&ids).expect("known"), text);
            }
            Err(error) => prop_assert!(error.to_string().contains("hint:")),
        }
    }

    #[test]
    fn random_lines_never_panic(lines in prop::collection::vec("[A-Za-z0-9+/=]{0,12}[ \t]{0,2}[0-9]{0,12}", 0..50)) {
        let result = Tokenizer::from_bytes(lines.join("\n").as_bytes(), b"{}");
        prop_assert!(result.is_err(), "fifty lines cannot hold every byte");
    }
}
