//! Streaming detokenisation against decoding all at once.

use std::sync::Arc;

use k25_chat::{Decoded, Detokenizer, SpecialToken, Specials, Tokenizer, Utf8Stream};
use proptest::prelude::*;

fn tokenizer() -> Arc<Tokenizer> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tokenizer");
    Arc::new(Tokenizer::open(path).expect("the fixture tokenizer opens"))
}

/// The ids of a character's single bytes, which the fixture has no longer token for.
fn byte_ids(tokenizer: &Tokenizer, bytes: &[u8]) -> Vec<u32> {
    let id_of = |byte: &u8| {
        (0..tokenizer.n_base())
            .find(|&id| tokenizer.token_bytes(id).expect("a token") == [*byte])
            .expect("every byte is a token")
    };
    bytes.iter().map(id_of).collect()
}

fn streamed(tokenizer: &Arc<Tokenizer>, ids: &[u32], specials: Specials) -> Vec<String> {
    let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer), specials);
    let mut texts: Vec<String> = ids
        .iter()
        .map(|&id| {
            let mut text = String::new();
            detokenizer.push(id, &mut text).expect("a known id");
            text
        })
        .collect();
    let mut rest = String::new();
    detokenizer.finish(&mut rest);
    texts.push(rest);
    texts
}

#[test]
fn a_character_shows_when_it_is_whole() {
    let tokenizer = tokenizer();
    let ids = byte_ids(&tokenizer, "🚀é".as_bytes());
    assert_eq!(
        streamed(&tokenizer, &ids, Specials::Keep),
        ["", "", "", "🚀", "", "é", ""]
    );
}

#[test]
fn an_unfinished_character_becomes_one_replacement() {
    let tokenizer = tokenizer();
    let ids = byte_ids(&tokenizer, &[0xf0, 0x9f, 0x9a]);
    assert_eq!(
        streamed(&tokenizer, &ids, Specials::Keep),
        ["", "", "", "\u{fffd}"]
    );
}

#[test]
fn specials_are_shown_or_skipped_by_their_flag() {
    let tokenizer = tokenizer();
    let think_end = tokenizer.special_id(SpecialToken::ThinkEnd);
    let im_end = tokenizer.special_id(SpecialToken::ImEnd);
    let reserved = tokenizer.n_base() + 5;
    let ids = [64, think_end, reserved, 65, im_end];
    let kept = streamed(&tokenizer, &ids, Specials::Keep).concat();
    assert_eq!(kept, "a</think><|reserved_token_1029|>b<|im_end|>");
    let skipped = streamed(&tokenizer, &ids, Specials::Skip).concat();
    assert_eq!(skipped, "a</think>b");
}

#[test]
fn special_tokens_are_handed_over_as_such() {
    let tokenizer = tokenizer();
    let half = byte_ids(&tokenizer, &"é".as_bytes()[..1])[0];
    let think_end = tokenizer.special_id(SpecialToken::ThinkEnd);
    let im_end = tokenizer.special_id(SpecialToken::ImEnd);
    let decode_all = |specials| {
        let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer), specials);
        [64, half, think_end, 65, im_end].map(|id| detokenizer.decode(id).expect("a known id"))
    };
    let decoded = |text: &str, special| Decoded {
        text: text.to_owned(),
        special,
    };
    let mut expected = [
        decoded("a", None),
        decoded("", None),
        decoded("\u{fffd}", Some(SpecialToken::ThinkEnd)),
        decoded("b", None),
        decoded("", Some(SpecialToken::ImEnd)),
    ];
    assert_eq!(decode_all(Specials::Keep), expected);
    expected[4].special = None;
    assert_eq!(decode_all(Specials::Skip), expected);
}

#[test]
fn unknown_ids_are_refused_and_harm_nothing() {
    let tokenizer = tokenizer();
    let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer), Specials::Keep);
    let [first, second] = byte_ids(&tokenizer, "é".as_bytes())[..] else {
        panic!("é has two bytes");
    };
    let mut text = String::new();
    detokenizer.push(first, &mut text).expect("a known id");
    assert!(detokenizer.push(1280, &mut text).is_err());
    assert!(detokenizer.decode(1280).is_err());
    detokenizer.push(second, &mut text).expect("a known id");
    assert_eq!(text, "é");
}

/// Bytes around the borders of UTF-8: heads and tails of every length, overlong forms, surrogates,
/// values past the last code point.
fn troublesome_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        prop::sample::select(vec![
            b'a', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe4,
            0xed, 0xef, 0xf0, 0xf3, 0xf4, 0xf5, 0xff,
        ]),
        any::<u8>(),
    ];
    prop::collection::vec(byte, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn stream_of_bytes_is_the_whole(bytes in troublesome_bytes(), sizes in prop::collection::vec(0usize..6, 1..40)) {
        let mut stream = Utf8Stream::default();
        let mut text = String::new();
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle().take(400) {
            let (chunk, behind) = rest.split_at((*size).min(rest.len()));
            stream.push(chunk, &mut text);
            rest = behind;
        }
        stream.push(rest, &mut text);
        stream.finish(&mut text);
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn stream_of_ids_is_the_whole(ids in prop::collection::vec(0u32..1280, 0..60)) {
        let tokenizer = tokenizer();
        let whole = tokenizer.decode(&ids).expect("known ids");
        prop_assert_eq!(streamed(&tokenizer, &ids, Specials::Keep).concat(), whole);
        let without: Vec<u32> = ids.iter().copied().filter(|&id| !tokenizer.is_special(id)).collect();
        let whole = tokenizer.decode(&without).expect("known ids");
        prop_assert_eq!(streamed(&tokenizer, &ids, Specials::Skip).concat(), whole);
    }

    #[test]
    fn any_text_comes_back(text in any::<String>()) {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode_text(&text);
        prop_assert!(ids.iter().all(|&id| id < tokenizer.n_base()));
        prop_assert_eq!(tokenizer.decode(&ids).expect("known ids"), text);
    }
}
