//! A tokenizer as the automata see it: a trie of the tokens' bytes, built once and shared.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use k25_chat::{SpecialToken, Tokenizer};
use llguidance::api::ParserLimits;
use llguidance::toktrie::{
    InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};
use llguidance::{Matcher, ParserFactory};
use thiserror::Error;

use crate::answer::AnswerGrammar;
use crate::constraint::Constraint;
use crate::error::ConstraintError;
use crate::schema::Source;

/// Longest token that a grammar uses, in bytes. The real vocabulary's longest has 128.
const MAX_TOKEN_BYTES: usize = 512;
/// Most bytes of all tokens together: the trie counts its nodes in 22 bits. The real vocabulary has
/// 1.1 million.
const MAX_VOCABULARY_BYTES: usize = 4_000_000;
/// Most compiled schemas that are kept for the next request.
const KEPT_AUTOMATA: usize = 256;

/// Bounds on the work that a stranger's schema can ask for: about 20 ms to build the lexer, 20 ms
/// and 40 MB while it runs.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_lexer_states: 20_000,
        max_grammar_size: 100_000,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}

/// A tokenizer that no grammar can use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VocabularyError {
    /// More than the trie holds.
    #[error(
        "the vocabulary has {bytes} bytes, and grammars work with at most {MAX_VOCABULARY_BYTES}\n  \
         hint: answers of a given form need another tokenizer"
    )]
    TooLarge {
        /// Bytes of all tokens together.
        bytes: usize,
    },
    /// The automata's library refuses it.
    #[error(
        "the vocabulary cannot be used for grammars: {0}\n  hint: the tokenizer's files may be damaged"
    )]
    Refused(String),
}

/// Compiles constraints for one tokenizer. Built once (about two seconds for 163,840 tokens, when the first form is asked for) and
/// shared by all requests.
pub struct Grammars {
    vocabulary: Arc<Vocabulary>,
    factory: ParserFactory,
    /// What was compiled last, latest first.
    kept: Mutex<VecDeque<(Source, Matcher)>>,
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammars")
            .field("vocab_size", &self.vocabulary.vocab_size())
            .finish_non_exhaustive()
    }
}

impl Grammars {
    /// Grammars over the ids below `vocab_size`, the model's.
    ///
    /// # Errors
    /// If the vocabulary is beyond what the automata can hold.
    pub fn new(tokenizer: Arc<Tokenizer>, vocab_size: u32) -> Result<Self, VocabularyError> {
        let vocabulary = Arc::new(Vocabulary::new(tokenizer, vocab_size)?);
        let env: TokEnv = Arc::new(Env(Arc::clone(&vocabulary)));
        let mut factory = ParserFactory::new(
            &env,
            InferenceCapabilities {
                ff_tokens: true,
                ..InferenceCapabilities::default()
            },
            &llguidance::earley::SlicedBiasComputer::general_slices(),
        )
        .map_err(|error| VocabularyError::Refused(error.to_string()))?;
        *factory.limits_mut() = limits();
        factory.quiet();
        Ok(Self {
            vocabulary,
            factory,
            kept: Mutex::new(VecDeque::new()),
        })
    }

    /// The grammar of an answer; `None` where anything goes.
    ///
    /// # Errors
    /// If the constraint contradicts itself or cannot be enforced.
    pub fn answer(
        &self,
        constraint: &Constraint,
    ) -> Result<Option<AnswerGrammar>, ConstraintError> {
        if constraint.is_free() {
            return Ok(None);
        }
        AnswerGrammar::new(self, constraint).map(Some)
    }

    pub(crate) fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// An automaton of its own for `source`, compiled now or before.
    pub(crate) fn automaton(
        &self,
        source: Source,
        place: &str,
    ) -> Result<Matcher, ConstraintError> {
        if let Some(matcher) = self.find(&source) {
            return Ok(matcher);
        }
        let matcher = source.compile(&self.factory, place)?;
        let own = matcher.deep_clone();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((source, matcher));
        kept.truncate(KEPT_AUTOMATA);
        Ok(own)
    }

    fn find(&self, source: &Source) -> Option<Matcher> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == source)?;
        let found = kept.remove(at)?;
        // Each has a lexer of its own: what one request makes of it is gone with that request.
        let matcher = found.1.deep_clone();
        kept.push_front(found);
        Some(matcher)
    }
}

/// The tokens and their ids.
pub(crate) struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
    /// Ids of tokens with text, in the order of their bytes.
    sorted: Vec<u32>,
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vocabulary")
    }
}

impl Vocabulary {
    fn new(tokenizer: Arc<Tokenizer>, vocab_size: u32) -> Result<Self, VocabularyError> {
        let words: Vec<Vec<u8>> = (0..vocab_size).map(|id| word(&tokenizer, id)).collect();
        let bytes = words.iter().map(Vec::len).sum();
        if bytes > MAX_VOCABULARY_BYTES {
            return Err(VocabularyError::TooLarge { bytes });
        }
        let end = tokenizer.special_id(SpecialToken::ImEnd);
        if end >= vocab_size {
            let reason = format!("<|im_end|> is {end}, beyond the model's {vocab_size} tokens");
            return Err(VocabularyError::Refused(reason));
        }
        let trie = TokTrie::from(&TokRxInfo::new(vocab_size, end), &words);
        let mut sorted: Vec<u32> = (0..tokenizer.n_base().min(vocab_size))
            .filter(|&id| !words[id as usize].is_empty())
            .collect();
        sorted.sort_by(|&a, &b| words[a as usize].cmp(&words[b as usize]));
        Ok(Self {
            tokenizer,
            trie,
            sorted,
        })
    }

    pub(crate) fn vocab_size(&self) -> usize {
        self.trie.vocab_size()
    }

    pub(crate) fn special(&self, token: SpecialToken) -> u32 {
        self.tokenizer.special_id(token)
    }

    pub(crate) fn stop_ids(&self) -> [u32; 3] {
        self.tokenizer.stop_ids()
    }

    /// Ids of tokens with text, in the order of their bytes.
    pub(crate) fn texts(&self) -> &[u32] {
        &self.sorted
    }

    /// A token's bytes; nothing for a special one or one that grammars do not use.
    pub(crate) fn text(&self, id: u32) -> &[u8] {
        if id < self.tokenizer.n_base() {
            self.trie.token(id)
        } else {
            &[]
        }
    }

    /// The tokens that begin with `bytes`.
    pub(crate) fn beginning_with(&self, bytes: &[u8]) -> &[u32] {
        let start = self.sorted.partition_point(|&id| self.text(id) < bytes);
        let count = self.sorted[start..].partition_point(|&id| self.text(id).starts_with(bytes));
        &self.sorted[start..start + count]
    }

    /// The tokens that `bytes` begin with.
    pub(crate) fn prefixes_of(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.all_prefixes(bytes)
    }

    /// The tokens that a text becomes.
    pub(crate) fn encode(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie
            .tokenize_with_greedy_fallback(bytes, |text| self.tokenizer.encode_text(text))
    }
}

/// The bytes of a token as the trie wants them: specials behind a byte that no text has.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    if id >= tokenizer.n_base() {
        let marked = [TokTrie::SPECIAL_TOKEN_MARKER].into_iter();
        return match bytes.is_empty() {
            true => Vec::new(),
            false => marked.chain(bytes.iter().copied()).collect(),
        };
    }
    let is_usable = bytes.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER);
    match is_usable && bytes.len() <= MAX_TOKEN_BYTES {
        true => bytes.to_vec(),
        false => Vec::new(),
    }
}

struct Env(Arc<Vocabulary>);

impl TokenizerEnv for Env {
    fn tok_trie(&self) -> &TokTrie {
        &self.0.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.0.encode(bytes)
    }
}
