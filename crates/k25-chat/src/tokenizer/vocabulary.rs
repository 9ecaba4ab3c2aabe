//! The base vocabulary: byte strings numbered by their rank.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Longest token that is accepted, in bytes; the longest of the family has 256.
pub(super) const MAX_TOKEN_BYTES: usize = 4096;
/// Most base tokens that are accepted; the family has 163,584.
pub(super) const MAX_BASE_TOKENS: usize = 1 << 20;

/// Token bytes by rank and rank by token bytes. A base token's id *is* its rank.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// All tokens, one after the other in the order of the ranks.
    bytes: Vec<u8>,
    /// Where each token ends in `bytes`.
    ends: Vec<u32>,
    /// Rank of every single byte.
    byte_ranks: Box<[u32; 256]>,
    /// Ranks of the tokens of two bytes, by `first · 256 + second`.
    pair_ranks: Vec<Option<u32>>,
    /// Ranks of the longer tokens, by the hash of their bytes.
    long: HashTable<u32>,
    hasher: RandomState,
    max_token_bytes: usize,
}

/// Why a list of tokens is no vocabulary.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VocabularyFault {
    /// More tokens than [`MAX_BASE_TOKENS`].
    TooMany,
    /// A token of no bytes or of more than [`MAX_TOKEN_BYTES`].
    BadLength { rank: u32, bytes: usize },
    /// The same bytes twice.
    Duplicate { rank: u32, first_rank: u32 },
    /// A single byte that is no token: text with it could not be encoded.
    MissingByte { byte: u8 },
}

impl Vocabulary {
    /// Builds the vocabulary from the tokens in the order of their ranks.
    pub(super) fn from_tokens<T: AsRef<[u8]>>(tokens: &[T]) -> Result<Self, VocabularyFault> {
        if tokens.len() > MAX_BASE_TOKENS {
            return Err(VocabularyFault::TooMany);
        }
        let mut vocabulary = Vocabulary {
            bytes: Vec::with_capacity(tokens.iter().map(|token| token.as_ref().len()).sum()),
            ends: Vec::with_capacity(tokens.len()),
            byte_ranks: Box::new([u32::MAX; 256]),
            pair_ranks: vec![None; 1 << 16],
            long: HashTable::with_capacity(tokens.len()),
            hasher: RandomState::default(),
            max_token_bytes: 0,
        };
        for (rank, token) in tokens.iter().enumerate() {
            vocabulary.push(rank as u32, token.as_ref())?;
        }
        match vocabulary
            .byte_ranks
            .iter()
            .position(|&rank| rank == u32::MAX)
        {
            Some(byte) => Err(VocabularyFault::MissingByte { byte: byte as u8 }),
            None => Ok(vocabulary),
        }
    }

    fn push(&mut self, rank: u32, token: &[u8]) -> Result<(), VocabularyFault> {
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            let bytes = token.len();
            return Err(VocabularyFault::BadLength { rank, bytes });
        }
        if let Some(first_rank) = self.rank(token) {
            return Err(VocabularyFault::Duplicate { rank, first_rank });
        }
        self.bytes.extend_from_slice(token);
        self.ends.push(self.bytes.len() as u32);
        self.max_token_bytes = self.max_token_bytes.max(token.len());
        match *token {
            [byte] => self.byte_ranks[usize::from(byte)] = rank,
            [first, second] => self.pair_ranks[pair_index(first, second)] = Some(rank),
            _ => {
                let Vocabulary {
                    bytes,
                    ends,
                    long,
                    hasher,
                    ..
                } = self;
                let hash = |&rank: &u32| hasher.hash_one(token_bytes(bytes, ends, rank));
                long.insert_unique(hasher.hash_one(token), rank, hash);
            }
        }
        Ok(())
    }

    /// Number of base tokens.
    pub(super) fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    /// The bytes of a base token.
    pub(super) fn token(&self, rank: u32) -> Option<&[u8]> {
        (rank < self.len()).then(|| token_bytes(&self.bytes, &self.ends, rank))
    }

    /// The rank of a byte string, if it is a base token.
    #[inline]
    pub(super) fn rank(&self, token: &[u8]) -> Option<u32> {
        match *token {
            [] => None,
            [byte] => Some(self.byte_ranks[usize::from(byte)]).filter(|&rank| rank != u32::MAX),
            [first, second] => self.pair_ranks[pair_index(first, second)],
            _ if token.len() > self.max_token_bytes => None,
            _ => {
                let is_token = |&rank: &u32| token_bytes(&self.bytes, &self.ends, rank) == token;
                self.long
                    .find(self.hasher.hash_one(token), is_token)
                    .copied()
            }
        }
    }

    /// The rank of a single byte.
    #[inline]
    pub(super) fn byte_rank(&self, byte: u8) -> u32 {
        self.byte_ranks[usize::from(byte)]
    }
}

fn pair_index(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

#[inline]
fn token_bytes<'v>(bytes: &'v [u8], ends: &[u32], rank: u32) -> &'v [u8] {
    let rank = rank as usize;
    let start = if rank == 0 { 0 } else { ends[rank - 1] };
    &bytes[start as usize..ends[rank] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single_bytes() -> Vec<Vec<u8>> {
        (0..=255).map(|byte| vec![byte]).collect()
    }

    #[test]
    fn every_token_is_found_under_its_rank() {
        let mut tokens = single_bytes();
        tokens.extend(["ab", "abc", "abcdefgh", "漢", " the"].map(|t| t.as_bytes().to_vec()));
        let vocabulary = Vocabulary::from_tokens(&tokens).expect("a vocabulary");
        for (rank, token) in tokens.iter().enumerate() {
            assert_eq!(vocabulary.rank(token), Some(rank as u32));
            assert_eq!(vocabulary.token(rank as u32), Some(token.as_slice()));
        }
        assert_eq!(vocabulary.rank(b"abcd"), None);
        assert_eq!(vocabulary.rank(b""), None);
        assert_eq!(vocabulary.rank(&[b'a'; 10_000]), None);
        assert_eq!(vocabulary.token(tokens.len() as u32), None);
    }

    #[test]
    fn faults_are_found() {
        let with = |token: &[u8]| {
            let mut tokens = single_bytes();
            tokens.push(token.to_vec());
            Vocabulary::from_tokens(&tokens).err()
        };
        let duplicate = VocabularyFault::Duplicate {
            rank: 256,
            first_rank: 65,
        };
        assert_eq!(with(b"A"), Some(duplicate));
        assert_eq!(
            with(b""),
            Some(VocabularyFault::BadLength {
                rank: 256,
                bytes: 0
            })
        );
        let bytes = MAX_TOKEN_BYTES + 1;
        assert_eq!(
            with(&vec![0; bytes]),
            Some(VocabularyFault::BadLength { rank: 256, bytes })
        );
        let missing = VocabularyFault::MissingByte { byte: 255 };
        assert_eq!(
            Vocabulary::from_tokens(&single_bytes()[..255]).err(),
            Some(missing)
        );
    }
}
