//! Texts that end an answer, found while it comes.

/// Most texts of one request.
pub const MAX_STOP_TEXTS: usize = 16;
/// Most bytes of one of them.
pub const MAX_STOP_TEXT_BYTES: usize = 1024;

/// Looks for stop texts in a text that comes in pieces. Of a piece's end that may be the beginning
/// of a stop text nothing is said until that is clear.
#[derive(Debug, Default)]
pub(crate) struct StopTexts {
    texts: Vec<String>,
    /// The end of the text so far that may be the beginning of a stop text.
    held: String,
}

/// What a piece brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// This much can be said.
    Goes(String),
    /// The text ends after this, before the stop text with this number.
    Ends(String, usize),
}

impl StopTexts {
    /// Looks for `texts`; empty ones are never found.
    pub(crate) fn new(texts: Vec<String>) -> Self {
        Self {
            texts,
            held: String::new(),
        }
    }

    /// Takes the next piece of the text.
    pub(crate) fn scan(&mut self, piece: &str) -> Scan {
        self.held.push_str(piece);
        let texts = self.texts.iter().enumerate();
        let texts = texts.filter(|(_, text)| !text.is_empty());
        let found = texts.filter_map(|(number, text)| Some((self.held.find(text)?, number)));
        if let Some((start, number)) = found.min() {
            let mut before = std::mem::take(&mut self.held);
            before.truncate(start);
            return Scan::Ends(before, number);
        }
        let undecided = self
            .held
            .split_off(self.held.len() - self.undecided_bytes());
        Scan::Goes(std::mem::replace(&mut self.held, undecided))
    }

    /// What was held back: the text is over, or something else follows.
    pub(crate) fn release(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end that is the beginning of a stop text.
    fn undecided_bytes(&self) -> usize {
        let of = |text: &String| {
            (1..text.len().min(self.held.len() + 1))
                .rev()
                .filter(|&len| text.is_char_boundary(len))
                .find(|&len| self.held.as_bytes().ends_with(&text.as_bytes()[..len]))
        };
        self.texts.iter().filter_map(of).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of `text`, cut after every character, and whether a stop text ended it.
    fn said(stops: &[&str], text: &str) -> (String, bool) {
        let mut scanner = StopTexts::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut said = String::new();
        for piece in text.chars() {
            match scanner.scan(piece.encode_utf8(&mut [0; 4])) {
                Scan::Goes(text) => said.push_str(&text),
                Scan::Ends(text, _) => return (said + &text, true),
            }
        }
        (said + &scanner.release(), false)
    }

    #[test]
    fn the_text_ends_before_the_first_stop_text() {
        let cases: &[(&[&str], &str, &str, bool)] = &[
            (&["END"], "one END two", "one ", true),
            (&["END"], "one EN", "one EN", false),
            (&["aab"], "aaab", "a", true),
            (&["bc", "abcd"], "abcd", "a", true),
            (&["éa", "è"], "xéè", "xé", true),
            (&[""], "all", "all", false),
            (&[], "all", "all", false),
            (&["x"], "x", "", true),
        ];
        for &(stops, text, expected, ends) in cases {
            assert_eq!(
                said(stops, text),
                (expected.to_owned(), ends),
                "{stops:?} in {text}"
            );
        }
    }

    #[test]
    fn only_what_may_be_a_beginning_is_held_back() {
        let mut scanner = StopTexts::new(vec!["\n\nUser:".to_owned()]);
        assert_eq!(scanner.scan("Hi.\n"), Scan::Goes("Hi.".to_owned()));
        assert_eq!(scanner.scan("Bye."), Scan::Goes("\nBye.".to_owned()));
        assert_eq!(scanner.release(), "");
    }
}
