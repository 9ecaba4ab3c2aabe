//! `tiktoken.model` and `tokenizer_config.json`, with a zero byte between them.
#![no_main]

use k25_chat::{SPECIAL_SLOTS, Tokenizer};
use k25_fuzz::split_at_zero;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (tiktoken, config) = split_at_zero(data);
    let Ok(tokenizer) = Tokenizer::from_bytes(tiktoken, config) else {
        return;
    };
    assert_eq!(tokenizer.vocab_size(), tokenizer.n_base() + SPECIAL_SLOTS);
    for id in 0..tokenizer.vocab_size() {
        assert!(tokenizer.token_bytes(id).is_ok());
    }
    assert!(tokenizer.token_bytes(tokenizer.vocab_size()).is_err());
    // Text goes in and comes out the same, whatever the vocabulary.
    for text in ["Hello, world 2024!\n\n  你好 <|im_end|>", "\u{1F600}'ll   "] {
        let ids = tokenizer.encode_text(text);
        assert!(ids.iter().all(|&id| id < tokenizer.n_base()));
        assert_eq!(tokenizer.decode(&ids).ok().as_deref(), Some(text));
        assert_eq!(
            tokenizer
                .decode(&tokenizer.encode_with_specials(text))
                .ok()
                .as_deref(),
            Some(text)
        );
    }
});
