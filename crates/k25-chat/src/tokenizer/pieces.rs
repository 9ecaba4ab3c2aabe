//! Splits text into the pieces that byte-pair encoding then works on, one by one.
//!
//! The split is the family's regular expression (specification section 5), read as a hand-written
//! matcher: of its eight alternatives the first that matches at a place wins, each is greedy and
//! gives characters back only where the pattern says so.
//!
//! ```text
//! 1  [\p{Han}]+
//! 2  P? U* L+ C?     P = [^\r\n\p{L}\p{N}]
//! 3  P? U+ L* C?     U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]
//! 4  \p{N}{1,3}      L = [\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]
//! 5   ?[^\s\p{L}\p{N}]+[\r\n]*
//! 6  \s*[\r\n]+      C = (?i:'s|'t|'re|'ve|'m|'ll|'d)
//! 7  \s+(?!\S)
//! 8  \s+
//! ```
//!
//! A backtracking engine has a limit after which it fails and can be made to take quadratic time;
//! this matcher looks at each character a constant number of times whatever the text. The tests hold
//! it against a small backtracking reading of the pattern, and against tiktoken's ids.

use super::char_class::{
    CHAR_CLASSES, CharClasses, ClassSet, HAN, LOWER, NEWLINE, NUMBER, PREFIX, SPACE, SYMBOL, UPPER,
};

/// The pieces of a text, in order; together they are the whole text.
pub(super) struct Pieces<'t> {
    text: &'t str,
    at: usize,
    classes: &'static CharClasses,
}

/// What the letters at a place make for alternatives 2 and 3.
struct Word {
    /// End of `U* L+`, if that matches.
    lower_end: Option<usize>,
    /// End of the run of `U`.
    upper_end: usize,
}

impl<'t> Pieces<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Pieces {
            text,
            at: 0,
            classes: &CHAR_CLASSES,
        }
    }

    /// Classes and byte length of the character at a byte offset; no classes at the end.
    #[inline]
    fn class_at(&self, at: usize) -> (ClassSet, usize) {
        match self.text.as_bytes().get(at) {
            None => (0, 0),
            Some(&byte) if byte < 0x80 => (self.classes.of_ascii(byte), 1),
            Some(_) => {
                let c = self.text[at..].chars().next().unwrap_or_default();
                (self.classes.of(c), c.len_utf8())
            }
        }
    }

    /// End of the run of characters in `class` that starts at `at`.
    #[inline]
    fn run_end(&self, mut at: usize, class: ClassSet) -> usize {
        loop {
            let (classes, len) = self.class_at(at);
            if classes & class == 0 {
                return at;
            }
            at += len;
        }
    }

    /// Alternatives 2 and 3: a word with at most one character before it and an English contraction
    /// after it. Alternative 2 is tried with and then without the character before, then 3 likewise.
    fn letters_end(&self, start: usize, classes: ClassSet, len: usize) -> Option<usize> {
        let after_prefix = start + len;
        let behind = (classes & PREFIX != 0).then(|| self.word(after_prefix));
        if let Some(end) = behind.as_ref().and_then(|word| word.lower_end) {
            return Some(self.contraction_end(end));
        }
        let here = (classes & (UPPER | LOWER) != 0).then(|| self.word(start));
        if let Some(end) = here.as_ref().and_then(|word| word.lower_end) {
            return Some(self.contraction_end(end));
        }
        let upper_only = [behind.map(|w| (after_prefix, w)), here.map(|w| (start, w))];
        upper_only
            .into_iter()
            .flatten()
            .find(|(begin, word)| word.upper_end > *begin)
            .map(|(_, word)| self.contraction_end(word.upper_end))
    }

    /// Reads `U* L+` and `U+` from `start`. Where no plain lower-case letter follows the run of `U`,
    /// `L+` takes the run's last character that is in both classes, and what precedes it.
    fn word(&self, start: usize) -> Word {
        let mut at = start;
        let mut last_lower_end = None;
        loop {
            let (classes, len) = self.class_at(at);
            if classes & UPPER != 0 {
                at += len;
                if classes & LOWER != 0 {
                    last_lower_end = Some(at);
                }
            } else {
                let lower_end = if classes & LOWER != 0 {
                    Some(self.run_end(at, LOWER))
                } else {
                    last_lower_end
                };
                return Word {
                    lower_end,
                    upper_end: at,
                };
            }
        }
    }

    /// End of the optional `(?i:'s|'t|'re|'ve|'m|'ll|'d)`. Case folding makes `ſ` an `s`.
    fn contraction_end(&self, at: usize) -> usize {
        let Some(rest) = self.text.as_bytes()[at..].strip_prefix(b"'") else {
            return at;
        };
        let letters = match rest {
            [b's' | b'S' | b't' | b'T' | b'm' | b'M' | b'd' | b'D', ..] => 1,
            [b'r' | b'R' | b'v' | b'V', b'e' | b'E', ..] | [b'l' | b'L', b'l' | b'L', ..] => 2,
            [0xc5, 0xbf, ..] => 2,
            _ => return at,
        };
        at + 1 + letters
    }

    /// Alternative 4: up to three digits.
    fn number_end(&self, start: usize) -> usize {
        let mut at = start;
        for _ in 0..3 {
            let (classes, len) = self.class_at(at);
            if classes & NUMBER == 0 {
                break;
            }
            at += len;
        }
        at
    }

    /// Alternative 5: symbols with one blank before and line ends behind.
    fn symbols_end(&self, start: usize) -> Option<usize> {
        let blank = usize::from(self.text.as_bytes()[start] == b' ');
        let end = self.run_end(start + blank, SYMBOL);
        (end > start + blank).then(|| self.run_end(end, NEWLINE))
    }

    /// Alternatives 6 to 8: up to the last line end; else all but the last blank, which belongs to
    /// the word behind it; at the end of the text all of it.
    fn whitespace_end(&self, start: usize) -> usize {
        let mut at = start;
        let mut newline_end = None;
        let mut last_start = start;
        loop {
            let (classes, len) = self.class_at(at);
            if classes & SPACE == 0 {
                break;
            }
            last_start = at;
            at += len;
            if classes & NEWLINE != 0 {
                newline_end = Some(at);
            }
        }
        match newline_end {
            Some(end) => end,
            None if at == self.text.len() || last_start == start => at,
            None => last_start,
        }
    }
}

impl<'t> Iterator for Pieces<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let start = self.at;
        if start == self.text.len() {
            return None;
        }
        let (classes, len) = self.class_at(start);
        let end = if classes & HAN != 0 {
            self.run_end(start, HAN)
        } else if let Some(end) = self.letters_end(start, classes, len) {
            end
        } else if classes & NUMBER != 0 {
            self.number_end(start)
        } else if let Some(end) = self.symbols_end(start) {
            end
        } else {
            self.whitespace_end(start)
        };
        self.at = end;
        Some(&self.text[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A part of the pattern: a character set with its least and greatest count, or one of the two
    /// parts that are no sets.
    #[derive(Clone, Copy)]
    enum Part {
        Set(ClassSet, usize, usize),
        Blank,
        Contraction,
        NotBeforeNonSpace,
    }

    const ANY: usize = usize::MAX;

    /// The eight alternatives as the specification writes them.
    const PATTERN: [&[Part]; 8] = [
        &[Part::Set(HAN, 1, ANY)],
        &[
            Part::Set(PREFIX, 0, 1),
            Part::Set(UPPER, 0, ANY),
            Part::Set(LOWER, 1, ANY),
            Part::Contraction,
        ],
        &[
            Part::Set(PREFIX, 0, 1),
            Part::Set(UPPER, 1, ANY),
            Part::Set(LOWER, 0, ANY),
            Part::Contraction,
        ],
        &[Part::Set(NUMBER, 1, 3)],
        &[
            Part::Blank,
            Part::Set(SYMBOL, 1, ANY),
            Part::Set(NEWLINE, 0, ANY),
        ],
        &[Part::Set(SPACE, 0, ANY), Part::Set(NEWLINE, 1, ANY)],
        &[Part::Set(SPACE, 1, ANY), Part::NotBeforeNonSpace],
        &[Part::Set(SPACE, 1, ANY)],
    ];

    /// How many of the characters the parts match from the beginning, by greedy backtracking: every
    /// part takes as much as it can and gives back one by one until the rest matches.
    fn match_parts(parts: &[Part], text: &[char]) -> Option<usize> {
        let Some((&part, rest)) = parts.split_first() else {
            return Some(0);
        };
        let after = |taken: usize| match_parts(rest, &text[taken..]).map(|end| taken + end);
        match part {
            Part::Set(set, least, most) => {
                let is_in = |c: &&char| CHAR_CLASSES.of(**c) & set != 0;
                let longest = text.iter().take(most).take_while(is_in).count();
                (least..=longest).rev().find_map(after)
            }
            Part::Blank if text.first() == Some(&' ') => after(1).or_else(|| after(0)),
            Part::Blank => after(0),
            Part::Contraction => {
                let endings = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
                let folded = |c: char| {
                    if c == 'ſ' {
                        's'
                    } else {
                        c.to_ascii_lowercase()
                    }
                };
                let is_next = |ending: &&str| {
                    let next = text.iter().take(ending.len()).map(|&c| folded(c));
                    next.eq(ending.chars())
                };
                let found = endings.iter().find(|ending| is_next(ending));
                found
                    .and_then(|ending| after(ending.len()))
                    .or_else(|| after(0))
            }
            Part::NotBeforeNonSpace => {
                let is_blank = |c: &char| CHAR_CLASSES.of(*c) & SPACE != 0;
                text.first()
                    .is_none_or(is_blank)
                    .then(|| after(0))
                    .flatten()
            }
        }
    }

    fn split_by_pattern(text: &str) -> Vec<String> {
        let characters: Vec<char> = text.chars().collect();
        let mut pieces = Vec::new();
        let mut rest = characters.as_slice();
        while !rest.is_empty() {
            let end = PATTERN.iter().find_map(|parts| match_parts(parts, rest));
            let (piece, behind) = rest.split_at(end.expect("every character matches"));
            pieces.push(piece.iter().collect());
            rest = behind;
        }
        pieces
    }

    /// One or more characters of every behaviour that the pattern can tell apart.
    fn atoms() -> impl Strategy<Value = String> {
        let atom = prop::sample::select(vec![
            "a",
            "b",
            "s",
            "t",
            "re",
            "LL",
            "'",
            "'s",
            "'Ve",
            "'ſ",
            "ſ",
            "A",
            "B",
            "É",
            "é",
            "ǅ",
            "ʰ",
            "ƻ",
            "한",
            "か",
            "ー",
            "々",
            "〇",
            "漢",
            "字",
            "⼀",
            "𠀀",
            "\u{301}",
            "\u{94d}",
            "\u{16ff0}",
            "1",
            "23",
            "4567",
            "Ⅷ",
            "½",
            "３",
            ".",
            ",",
            "!!",
            "<|",
            "_",
            "🚀",
            "\u{200d}",
            "\u{feff}",
            "\u{0}",
            "\u{1c}",
            " ",
            "  ",
            "\t",
            "\u{a0}",
            "\u{3000}",
            "\u{85}",
            "\u{2028}",
            "\u{b}",
            "\n",
            "\r",
            "\r\n",
        ]);
        prop::collection::vec(atom, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn splits_as_the_pattern_does(text in atoms()) {
            prop_assert_eq!(
                Pieces::new(&text).collect::<Vec<_>>(),
                split_by_pattern(&text)
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_splits_as_the_pattern_does(text in any::<String>()) {
            prop_assert_eq!(
                Pieces::new(&text).collect::<Vec<_>>(),
                split_by_pattern(&text)
            );
        }
    }

    /// Every pair and triple of the behaviours once, which random choice would not promise.
    #[test]
    fn every_triple_of_behaviours_splits_as_the_pattern_does() {
        let kinds = [
            "a",
            "A",
            "ʰ",
            "ƻ",
            "\u{301}",
            "漢",
            "々",
            "〇",
            "⼀",
            "\u{16ff0}",
            "1",
            "!",
            "'",
            "s",
            " ",
            "\t",
            "\n",
            "\r",
            "\u{1c}",
        ];
        for first in kinds {
            for second in kinds {
                for third in kinds {
                    for fourth in kinds {
                        let text = [first, second, third, fourth].concat();
                        assert_eq!(
                            Pieces::new(&text).collect::<Vec<_>>(),
                            split_by_pattern(&text),
                            "{text:?}"
                        );
                    }
                }
            }
        }
    }
}
