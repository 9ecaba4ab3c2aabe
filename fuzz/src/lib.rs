//! What the fuzz targets share: ways to cut one input into parts, the fixtures' tokenizer, and a
//! folder for what is only read from files.

use std::path::Path;
use std::sync::LazyLock;

use k25_chat::Tokenizer;
use tempfile::TempDir;

/// A folder for files, in memory where the system has such a place.
pub static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    };
    folder.expect("a temporary folder")
});

/// The tokenizer of the reference fixtures: 1,024 base tokens and the family's special slots.
pub static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    Tokenizer::from_bytes(
        include_bytes!("../../fixtures/tokenizer/tiktoken.model"),
        include_bytes!("../../fixtures/tokenizer/tokenizer_config.json"),
    )
    .expect("the fixtures' tokenizer is well-formed")
});

/// Two parts: before the first zero byte and after it.
pub fn split_at_zero(data: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = data.splitn(2, |&byte| byte == 0);
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

/// The first byte, for choices, and the rest as text; `None` where it is not UTF-8.
pub fn choices_and_text(data: &[u8]) -> Option<(u8, &str)> {
    let (&choices, rest) = data.split_first()?;
    Some((choices, std::str::from_utf8(rest).ok()?))
}

/// Numbers that look random and depend on the input alone, so that a finding can be repeated.
pub struct Dice(u64);

impl Dice {
    /// Dice whose throws depend on `data` (FNV-1a).
    pub fn of(data: &[u8]) -> Self {
        let hash = |state: u64, &byte: &u8| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Self(data.iter().fold(0xcbf2_9ce4_8422_2325, hash) | 1)
    }

    /// A number below `end` (xorshift).
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    /// The next part of `text`: up to `longest` characters, at least one if there is any.
    pub fn next_chunk<'t>(&mut self, text: &mut &'t str, longest: usize) -> &'t str {
        let chars = 1 + self.below(longest);
        let end = text
            .char_indices()
            .nth(chars)
            .map_or(text.len(), |(at, _)| at);
        let (chunk, rest) = text.split_at(end);
        *text = rest;
        chunk
    }
}
