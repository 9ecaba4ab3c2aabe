//! The character classes of the pre-tokenizer's pattern, as one table look-up per character.
//!
//! The sets are taken from the Unicode tables of `regex-syntax`, the ones that tiktoken's own
//! regular-expression engine uses, so both agree on every code point.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Set of the classes that a character belongs to, one bit each.
pub(super) type ClassSet = u8;

/// `\p{Han}`
pub(super) const HAN: ClassSet = 1 << 0;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]`: may stand in the upper part of a word.
pub(super) const UPPER: ClassSet = 1 << 1;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]`: may stand in the lower part of a word.
pub(super) const LOWER: ClassSet = 1 << 2;
/// `\p{N}`
pub(super) const NUMBER: ClassSet = 1 << 3;
/// `[^\r\n\p{L}\p{N}]`: may stand once before a word.
pub(super) const PREFIX: ClassSet = 1 << 4;
/// `[^\s\p{L}\p{N}]`
pub(super) const SYMBOL: ClassSet = 1 << 5;
/// `\s`
pub(super) const SPACE: ClassSet = 1 << 6;
/// `[\r\n]`
pub(super) const NEWLINE: ClassSet = 1 << 7;

const CLASSES: [(ClassSet, &str); 8] = [
    (HAN, r"\p{Han}"),
    (UPPER, r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"),
    (LOWER, r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"),
    (NUMBER, r"\p{N}"),
    (PREFIX, r"[^\r\n\p{L}\p{N}]"),
    (SYMBOL, r"[^\s\p{L}\p{N}]"),
    (SPACE, r"\s"),
    (NEWLINE, r"[\r\n]"),
];

const PAGE: usize = 256;
const CODE_POINTS: usize = 0x11_0000;

/// The table, built once per process.
pub(super) static CHAR_CLASSES: LazyLock<CharClasses> = LazyLock::new(CharClasses::build);

/// Classes of every code point; equal pages of 256 code points are stored once.
pub(super) struct CharClasses {
    ascii: [ClassSet; 128],
    page_of: Vec<u16>,
    pages: Vec<[ClassSet; PAGE]>,
}

impl CharClasses {
    fn build() -> Self {
        let mut flat = vec![0; CODE_POINTS];
        for (class, pattern) in CLASSES {
            mark(&mut flat, class, pattern);
        }
        let mut pages: Vec<[ClassSet; PAGE]> = Vec::new();
        let mut known: HashMap<[ClassSet; PAGE], u16> = HashMap::new();
        let page_of = flat
            .as_chunks::<PAGE>()
            .0
            .iter()
            .map(|page| {
                *known.entry(*page).or_insert_with(|| {
                    pages.push(*page);
                    (pages.len() - 1) as u16
                })
            })
            .collect();
        let mut ascii = [0; 128];
        ascii.copy_from_slice(&flat[..128]);
        CharClasses {
            ascii,
            page_of,
            pages,
        }
    }

    /// Classes of one of the first 128 code points.
    #[inline]
    pub(super) fn of_ascii(&self, byte: u8) -> ClassSet {
        self.ascii[usize::from(byte & 0x7f)]
    }

    /// Classes of any character.
    #[inline]
    pub(super) fn of(&self, c: char) -> ClassSet {
        let code = c as usize;
        self.pages[usize::from(self.page_of[code / PAGE])][code % PAGE]
    }
}

/// Adds `class` to every code point of the set that `pattern` describes.
fn mark(flat: &mut [ClassSet], class: ClassSet, pattern: &str) {
    let parsed = regex_syntax::parse(pattern).expect("the class patterns are constants");
    let regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(set)) = parsed.kind()
    else {
        unreachable!("{pattern} is a set of several characters");
    };
    for range in set.iter() {
        for slot in &mut flat[range.start() as usize..=range.end() as usize] {
            *slot |= class;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(class: ClassSet) -> usize {
        (char::MIN..=char::MAX)
            .filter(|&c| CHAR_CLASSES.of(c) & class != 0)
            .count()
    }

    /// The figures are those of tiktoken 0.14.0's engine (Unicode 16), counted over every scalar
    /// value; a changed Unicode version in `regex-syntax` would change token ids and must show here.
    #[test]
    fn classes_have_the_sizes_of_unicode_16() {
        assert_eq!(count(HAN), 99_030);
        assert_eq!(count(UPPER), 42_584);
        assert_eq!(count(LOWER), 42_953);
        assert_eq!(count(NUMBER), 1_911);
        assert_eq!(count(PREFIX), 969_123);
        assert_eq!(count(SYMBOL), 969_100);
        assert_eq!(count(SPACE), 25);
        assert_eq!(count(NEWLINE), 2);
    }

    #[test]
    fn ascii_table_agrees_with_the_pages() {
        for byte in 0..128 {
            assert_eq!(
                CHAR_CLASSES.of_ascii(byte),
                CHAR_CLASSES.of(char::from(byte))
            );
        }
    }
}
