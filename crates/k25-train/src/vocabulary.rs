//! Making a vocabulary: byte-level byte-pair encoding over the pieces that the family's tokenizer works on.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use k25_chat::{SPECIAL_SLOTS, split_pieces};

/// How often each piece of text occurs.
#[derive(Debug, Default)]
pub struct PieceCounts {
    counts: HashMap<Vec<u8>, u64>,
}

/// How far the making is: base tokens that are there, and that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tokens that are there.
    pub done: usize,
    /// Tokens that are wanted.
    pub wanted: usize,
}

/// What may become a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Joining {
    /// Whatever is frequent: plain byte-pair encoding.
    #[default]
    Anything,
    /// Words are cut the same way whatever stands before them, and digits stay single: byte-pair encoding works on the letters alone,
    /// and a blank or mark is joined only to a whole word that is one token. A small model that copies words it has never read
    /// (`"brook` as ` brook`) copies the same tokens then, except where a new word begins with a whole frequent one.
    WordsAlone,
}

/// Words that are rarer than one in this many pieces make no tokens of their own in [`Joining::WordsAlone`].
const RAREST: u64 = 100_000;
/// One of this many tokens is a word with what stands before it, in [`Joining::WordsAlone`].
const PREFIXED_PART: usize = 4;

/// Two neighbouring tokens.
type Pair = (u32, u32);

/// Pieces longer than this are left out: nobody wants a token of theirs, and they cost most.
const LONGEST_PIECE: usize = 256;

impl PieceCounts {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the pieces of a text.
    pub fn add(&mut self, text: &str) {
        for piece in split_pieces(text).filter(|piece| piece.len() <= LONGEST_PIECE) {
            match self.counts.get_mut(piece.as_bytes()) {
                Some(count) => *count += 1,
                None => {
                    self.counts.insert(piece.as_bytes().to_vec(), 1);
                }
            }
        }
    }

    /// Different pieces.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The base tokens of a vocabulary of `vocab_size` ids, the family's 256 special slots among them: all single bytes, then what
    /// the most frequent pairs of neighbours make, ties to the lower ids. Fewer where the text has no more pairs.
    pub fn base_tokens(
        self,
        vocab_size: usize,
        joining: Joining,
        progress: &mut dyn FnMut(Progress),
    ) -> Vec<Vec<u8>> {
        let wanted = vocab_size.saturating_sub(SPECIAL_SLOTS as usize).max(256);
        match joining {
            Joining::Anything => self.merged(wanted, progress),
            Joining::WordsAlone => self.words_alone(wanted, progress),
        }
    }

    fn words_alone(self, wanted: usize, progress: &mut dyn FnMut(Progress)) -> Vec<Vec<u8>> {
        let mut bodies = Self::new();
        let all: u64 = self.counts.values().sum();
        for (piece, count) in &self.counts {
            let is_digits = piece.iter().any(u8::is_ascii_digit);
            if !is_digits && count * RAREST >= all {
                let (_, body) = split_prefix(piece);
                *bodies.counts.entry(body.to_vec()).or_default() += count;
            }
        }
        let mut tokens = bodies.merged(wanted - (wanted - 256) / PREFIXED_PART, progress);
        let known: HashSet<&[u8]> = tokens.iter().map(Vec::as_slice).collect();
        let mut prefixed: Vec<(&Vec<u8>, u64)> = self
            .counts
            .iter()
            .filter(|(piece, count)| {
                let (prefix, body) = split_prefix(piece);
                !prefix.is_empty() && **count >= 2 && known.contains(body)
            })
            .map(|(piece, count)| (piece, *count))
            .collect();
        prefixed.sort_unstable_by_key(|(piece, count)| (Reverse(*count), *piece));
        let prefixed = prefixed.into_iter().map(|(piece, _)| piece.clone());
        let prefixed: Vec<Vec<u8>> = prefixed.take(wanted - tokens.len()).collect();
        tokens.extend(prefixed);
        tokens
    }

    fn merged(self, wanted: usize, progress: &mut dyn FnMut(Progress)) -> Vec<Vec<u8>> {
        let mut merges = Merges::new(self.counts);
        while merges.tokens.len() < wanted && merges.merge_most_frequent() {
            if merges.tokens.len().is_multiple_of(256) {
                progress(Progress {
                    done: merges.tokens.len(),
                    wanted,
                });
            }
        }
        merges.tokens
    }
}

/// The blank or mark before a word, and the word; pieces of another kind are all body.
fn split_prefix(piece: &[u8]) -> (&[u8], &[u8]) {
    match piece {
        [first, rest @ ..]
            if !first.is_ascii_alphabetic()
                && rest.first().is_some_and(u8::is_ascii_alphabetic) =>
        {
            piece.split_at(1)
        }
        _ => (&[], piece),
    }
}

/// A piece as the tokens it is cut into so far.
struct Word {
    tokens: Vec<u32>,
    count: i64,
}

struct Merges {
    tokens: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, u32>,
    words: Vec<Word>,
    counts: HashMap<Pair, i64>,
    /// Words that may hold a pair; some no longer do.
    places: HashMap<Pair, BTreeSet<usize>>,
    /// Pairs by count; some counts are out of date.
    heap: BinaryHeap<(i64, Reverse<Pair>)>,
}

impl Merges {
    fn new(counts: HashMap<Vec<u8>, u64>) -> Self {
        let tokens: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
        let mut pieces: Vec<_> = counts.into_iter().collect();
        pieces.sort_unstable();
        let mut merges = Self {
            ids: tokens.iter().cloned().zip(0..).collect(),
            tokens,
            words: Vec::with_capacity(pieces.len()),
            counts: HashMap::new(),
            places: HashMap::new(),
            heap: BinaryHeap::new(),
        };
        for (index, (piece, count)) in pieces.into_iter().enumerate() {
            let word = Word {
                tokens: piece.into_iter().map(u32::from).collect(),
                count: count as i64,
            };
            for pair in pairs(&word.tokens) {
                *merges.counts.entry(pair).or_default() += word.count;
                merges.places.entry(pair).or_default().insert(index);
            }
            merges.words.push(word);
        }
        merges.heap = merges
            .counts
            .iter()
            .map(|(pair, count)| (*count, Reverse(*pair)))
            .collect();
        merges
    }

    /// Joins the most frequent pair everywhere; false where no pair occurs twice.
    fn merge_most_frequent(&mut self) -> bool {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            let now = self.counts.get(&pair).copied().unwrap_or(0);
            if now != count {
                // The count fell since; the pair comes back with what it has.
                if now > 0 {
                    self.heap.push((now, Reverse(pair)));
                }
                continue;
            }
            if count < 2 {
                return false;
            }
            self.merge(pair);
            return true;
        }
        false
    }

    fn merge(&mut self, pair: Pair) {
        let bytes = [
            &self.tokens[pair.0 as usize][..],
            &self.tokens[pair.1 as usize],
        ]
        .concat();
        // Another pair may have made the same bytes before.
        let next = self.tokens.len() as u32;
        let joined = *self.ids.entry(bytes.clone()).or_insert(next);
        if joined == next {
            self.tokens.push(bytes);
        }
        let mut changed = BTreeSet::new();
        for index in self.places.remove(&pair).unwrap_or_default() {
            let word = &mut self.words[index];
            for old in pairs(&word.tokens) {
                *self.counts.entry(old).or_default() -= word.count;
            }
            word.tokens = join(&word.tokens, pair, joined);
            for new in pairs(&word.tokens) {
                *self.counts.entry(new).or_default() += word.count;
                if new.0 == joined || new.1 == joined {
                    self.places.entry(new).or_default().insert(index);
                    changed.insert(new);
                }
            }
        }
        self.counts.remove(&pair);
        for pair in changed {
            self.heap.push((self.counts[&pair], Reverse(pair)));
        }
    }
}

fn pairs(tokens: &[u32]) -> impl Iterator<Item = Pair> + '_ {
    tokens.windows(2).map(|pair| (pair[0], pair[1]))
}

fn join(tokens: &[u32], pair: Pair, joined: u32) -> Vec<u32> {
    let mut result = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if at + 1 < tokens.len() && (tokens[at], tokens[at + 1]) == pair {
            result.push(joined);
            at += 2;
        } else {
            result.push(tokens[at]);
            at += 1;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use k25_chat::Tokenizer;

    const TEXT: &str = "the cat and the hat and the bat sat on the mat; 2024-11-22 the end\n";

    /// The most frequent pair of the pieces, counted anew each time.
    fn naive(text: &str, wanted: usize) -> Vec<Vec<u8>> {
        let mut tokens: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
        let mut words: Vec<Vec<u32>> = split_pieces(text)
            .map(|piece| piece.bytes().map(u32::from).collect())
            .collect();
        while tokens.len() < wanted {
            let mut counts: HashMap<Pair, i64> = HashMap::new();
            for pair in words.iter().flat_map(|word| pairs(word)) {
                *counts.entry(pair).or_default() += 1;
            }
            let best = counts
                .into_iter()
                .max_by_key(|(pair, count)| (*count, Reverse(*pair)));
            let Some((pair, 2..)) = best else { break };
            let bytes = [&tokens[pair.0 as usize][..], &tokens[pair.1 as usize]].concat();
            let joined = match tokens.iter().position(|token| *token == bytes) {
                Some(id) => id as u32,
                None => {
                    tokens.push(bytes);
                    tokens.len() as u32 - 1
                }
            };
            words
                .iter_mut()
                .for_each(|word| *word = join(word, pair, joined));
        }
        tokens
    }

    #[test]
    fn merges_are_those_of_counting_anew() {
        for text in [TEXT.repeat(3), "aaaa aaaa aaa aa abab bababa".repeat(2)] {
            let mut counts = PieceCounts::new();
            counts.add(&text);
            let found = counts.base_tokens(256 + 290, Joining::Anything, &mut |_| ());
            assert_eq!(found, naive(&text, 290));
        }
    }

    #[test]
    fn a_vocabulary_encodes_what_it_was_made_of_in_few_tokens() {
        let mut counts = PieceCounts::new();
        counts.add(&TEXT.repeat(5));
        let tokens = counts.base_tokens(256 + 320, Joining::Anything, &mut |_| ());
        let tokenizer = Tokenizer::from_base_tokens(&tokens).expect("a vocabulary");
        let ids = tokenizer.encode_text(TEXT);
        assert_eq!(tokenizer.decode(&ids).expect("text"), TEXT);
        assert!(ids.len() < TEXT.len() / 2, "{} tokens", ids.len());
    }

    #[test]
    fn words_alone_are_cut_the_same_behind_everything() {
        let mut counts = PieceCounts::new();
        counts.add(&TEXT.repeat(5));
        let tokens = counts.base_tokens(256 + 320, Joining::WordsAlone, &mut |_| ());
        let tokenizer = Tokenizer::from_base_tokens(&tokens).expect("a vocabulary");
        for word in ["natcat", "qothe", "xyz"] {
            let alone = tokenizer.encode_text(word);
            for before in [" ", "\"", "/", ": ", "=\""] {
                let behind = tokenizer.encode_text(&format!("{before}{word}"));
                assert!(behind.ends_with(&alone), "{before}{word}");
            }
        }
        assert_eq!(tokenizer.encode_text(" the").len(), 1);
        assert_eq!(tokenizer.encode_text("2024").len(), 4);
    }
}
