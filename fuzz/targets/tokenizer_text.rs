//! Text through the tokenizer, and any bytes through the streaming decoder.
#![no_main]

use k25_chat::{Segment, SpecialToken, Utf8Stream};
use k25_fuzz::{Dice, TOKENIZER};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let ids = TOKENIZER.encode_text(&text);
    assert!(
        ids.iter().all(|&id| id < TOKENIZER.n_base()),
        "text made a special token"
    );
    assert_eq!(TOKENIZER.decode(&ids).as_deref().ok(), Some(&*text));
    let with_specials = TOKENIZER.encode_with_specials(&text);
    assert_eq!(
        TOKENIZER.decode(&with_specials).as_deref().ok(),
        Some(&*text)
    );

    let mut dice = Dice::of(data);
    segments_are_the_text(&text, &ids, &mut dice);
    stream_is_the_whole(data, &mut dice);
});

/// How text is cut into segments changes no id.
fn segments_are_the_text(text: &str, ids: &[u32], dice: &mut Dice) {
    let mut segments = vec![Segment::Special(SpecialToken::ImUser)];
    let mut rest = text;
    while !rest.is_empty() {
        segments.push(Segment::Text(dice.next_chunk(&mut rest, 12).to_owned()));
    }
    let encoded = TOKENIZER.encode_segments(&segments);
    assert_eq!(
        encoded.split_first(),
        Some((&TOKENIZER.special_id(SpecialToken::ImUser), ids))
    );
}

/// Bytes that arrive in pieces show the same text as all at once.
fn stream_is_the_whole(data: &[u8], dice: &mut Dice) {
    let (mut stream, mut shown) = (Utf8Stream::default(), String::new());
    let mut rest = data;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at((1 + dice.below(4)).min(rest.len()));
        stream.push(piece, &mut shown);
        rest = later;
    }
    stream.finish(&mut shown);
    assert_eq!(shown, String::from_utf8_lossy(data));
}
