//! A vocabulary without training data, for synthetic checkpoints of any size.

use super::error::TokenizerError;

/// Letters by their frequency in English, so that a small vocabulary holds the likelier syllables.
const LETTERS: &[u8; 26] = b"etaoinshrdlucmfwypvbgkjqxz";

/// Most base tokens that [`synthetic_tokens`] can name: single bytes, and one to four letters with a
/// blank before the strings of up to three.
const MAX: u32 = 256 + 26 + 2 * (26u32.pow(2) + 26u32.pow(3)) + 26u32.pow(4);

/// The first `n_base` tokens of a fixed list: the 256 bytes, then strings of letters, the shortest
/// first. Every longer token is the join of two earlier ones, so byte-pair encoding reaches it.
///
/// English text becomes about one token for every three or four letters: a stand-in of the right
/// form and size for measuring, not a good tokenizer.
pub(super) fn synthetic_tokens(n_base: u32) -> Result<Vec<Vec<u8>>, TokenizerError> {
    if !(256..=MAX).contains(&n_base) {
        return Err(TokenizerError::SyntheticSize {
            asked: n_base,
            min: 256,
            max: MAX,
        });
    }
    let mut tokens: Vec<Vec<u8>> = bytes_in_the_family_s_order()
        .map(|byte| vec![byte])
        .collect();
    let all = syllables(1, true)
        .chain(syllables(2, false))
        .chain(syllables(2, true))
        .chain(syllables(3, false))
        .chain(syllables(3, true))
        .chain(syllables(4, false));
    tokens.extend(all.take(n_base as usize - 256));
    Ok(tokens)
}

/// The byte order of the family's ranks 0 to 255: printable characters first.
fn bytes_in_the_family_s_order() -> impl Iterator<Item = u8> {
    let is_printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=255u8).filter(move |byte| !is_printable(byte));
    (0..=255u8).filter(is_printable).chain(others)
}

/// All strings of `len` letters, the likelier first, each after a blank if asked.
fn syllables(len: u32, after_blank: bool) -> impl Iterator<Item = Vec<u8>> {
    let count = 26u32.pow(len);
    (0..count).map(move |number| {
        let letter = |place: u32| LETTERS[(number / 26u32.pow(place) % 26) as usize];
        let blank = after_blank.then_some(b' ');
        blank.into_iter().chain((0..len).map(letter)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::bpe::Merger;
    use crate::tokenizer::vocabulary::Vocabulary;

    #[test]
    fn largest_vocabulary_has_distinct_tokens() {
        let tokens = synthetic_tokens(MAX).expect("possible");
        assert_eq!(tokens.len(), MAX as usize);
        Vocabulary::from_tokens(&tokens).expect("distinct, with every byte");
        assert!(synthetic_tokens(MAX + 1).is_err());
        assert!(synthetic_tokens(255).is_err());
    }

    #[test]
    fn smaller_vocabulary_is_the_beginning_of_a_larger_one() {
        let large = synthetic_tokens(163_584).expect("the family's size");
        assert_eq!(synthetic_tokens(1_000).expect("possible"), large[..1_000]);
    }

    #[test]
    fn merging_reaches_most_tokens() {
        let tokens = synthetic_tokens(20_000).expect("possible");
        let vocabulary = Vocabulary::from_tokens(&tokens).expect("a vocabulary");
        // Inside a longer piece a token must come out of merges, not of the whole-piece look-up.
        let mut ids = Vec::new();
        Merger::default().encode_piece(&vocabulary, b"theotheratenation", &mut ids);
        let lengths: Vec<usize> = ids.iter().map(|&id| tokens[id as usize].len()).collect();
        assert!(
            lengths.iter().all(|&len| len >= 1) && ids.len() <= 9,
            "{lengths:?}"
        );
    }
}
