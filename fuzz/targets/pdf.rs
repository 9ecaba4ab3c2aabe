//! A PDF, whose text is read in this process (the product reads it in a child with limits).
#![no_main]

use k25_pdf::{Limits, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits {
        pages: 20,
        operators: 20_000,
        text_bytes: 10_000,
    };
    if let Ok(text) = text(data.to_vec(), &limits) {
        assert!(text.len() < 11_000);
        assert!(text.lines().all(|line| !line.contains(char::is_control)));
    }
});
