//! The slices into which the stock tokenizer cuts long text before it looks for pieces.
//!
//! The cuts exist in the stock tokenizer to keep its regular-expression engine within its limits;
//! they are hard borders for pieces and merges, so exact ids need the same ones
//! (specification section 5).

/// No slice has more characters than this.
const MAX_SLICE_CHARS: usize = 400_000;
/// No run of only blank or only non-blank characters within a slice is longer than this.
const MAX_RUN_CHARS: usize = 25_000;

/// Calls `emit` with the slices of `text`, in order; together they are the whole text.
///
/// Two counts run independently: every 400,000 characters of the text begin a new slice, and so does
/// every 25,001st character of one kind in a row, blank or not.
pub(super) fn for_each_slice<'t>(text: &'t str, mut emit: impl FnMut(&'t str)) {
    if text.len() <= MAX_RUN_CHARS {
        return emit(text);
    }
    let mut start = 0;
    let mut slice_chars = 0;
    let mut run_chars = 0;
    let mut run_is_blank = false;
    for (at, c) in text.char_indices() {
        if slice_chars == MAX_SLICE_CHARS {
            emit(&text[start..at]);
            (start, slice_chars, run_chars) = (at, 0, 0);
        }
        slice_chars += 1;
        let is_blank = is_python_space(c);
        if run_chars == 0 || is_blank != run_is_blank {
            (run_chars, run_is_blank) = (1, is_blank);
        } else if run_chars == MAX_RUN_CHARS {
            emit(&text[start..at]);
            (start, run_chars) = (at, 1);
        } else {
            run_chars += 1;
        }
    }
    emit(&text[start..]);
}

/// Python's `str.isspace()`: Unicode white space and the four information separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &str) -> Vec<usize> {
        let mut lengths = Vec::new();
        let mut joined = String::new();
        for_each_slice(text, |slice| {
            lengths.push(slice.chars().count());
            joined.push_str(slice);
        });
        assert_eq!(joined, text, "slices tile the text");
        lengths
    }

    #[test]
    fn short_text_is_one_slice() {
        assert_eq!(lengths(""), [0]);
        assert_eq!(lengths(&"a".repeat(25_000)), [25_000]);
        assert_eq!(lengths(&"漢".repeat(25_000)), [25_000]);
    }

    #[test]
    fn long_runs_are_cut_after_25_000_characters() {
        assert_eq!(lengths(&"é".repeat(25_001)), [25_000, 1]);
        assert_eq!(lengths(&" ".repeat(50_001)), [25_000, 25_000, 1]);
        let two_runs = "a".repeat(20_000) + &" ".repeat(20_000) + &"b".repeat(25_001);
        assert_eq!(lengths(&two_runs), [65_000, 1]);
    }

    #[test]
    fn information_separators_are_blank_here() {
        let text = " ".repeat(24_999) + "\u{1c}\u{1f}";
        assert_eq!(lengths(&text), [25_000, 1]);
    }

    #[test]
    fn every_400_000_characters_the_counts_start_anew() {
        let text = "ab ".repeat(200_000);
        assert_eq!(lengths(&text), [400_000, 200_000]);
        // 399,990 mixed characters, then a run over the border: 10 before it, 25,001 behind.
        let text = "ab ".repeat(133_330) + &"x".repeat(10 + 25_001);
        assert_eq!(lengths(&text), [400_000, 25_000, 1]);
    }
}
