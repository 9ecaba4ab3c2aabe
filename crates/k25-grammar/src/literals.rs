//! One of several texts, token by token.

use std::sync::Arc;

use crate::vocabulary::Vocabulary;

/// Follows a text that must become one of a few.
#[derive(Debug, Clone)]
pub(crate) struct Literals {
    texts: Arc<Vec<String>>,
    /// Which of them it can still become.
    open: Vec<usize>,
    /// Bytes so far.
    at: usize,
}

impl Literals {
    pub(crate) fn new(texts: Vec<String>) -> Self {
        let open = (0..texts.len()).collect();
        Self {
            texts: Arc::new(texts),
            open,
            at: 0,
        }
    }

    /// Which text it is now, if it is one.
    pub(crate) fn complete(&self) -> Option<usize> {
        let is_whole = |&&index: &&usize| self.texts[index].len() == self.at;
        self.open.iter().find(is_whole).copied()
    }

    /// Calls `allow` with every token that goes on.
    pub(crate) fn allowed(&self, vocabulary: &Vocabulary, mut allow: impl FnMut(u32)) {
        for rest in self.rests() {
            vocabulary
                .prefixes_of(rest)
                .into_iter()
                .for_each(&mut allow);
        }
    }

    /// Goes on by these bytes; false where no text does.
    pub(crate) fn accept(&mut self, bytes: &[u8]) -> bool {
        let Self { texts, open, at } = self;
        open.retain(|&index| texts[index].as_bytes()[*at..].starts_with(bytes));
        *at += bytes.len();
        !open.is_empty()
    }

    /// The tokens that surely follow: of what all texts have in common, all but the last, which may
    /// be part of a longer one.
    pub(crate) fn forced(&self, vocabulary: &Vocabulary) -> Vec<u32> {
        let mut rests = self.rests();
        let Some(first) = rests.next() else {
            return Vec::new();
        };
        let common = rests.fold(first.len(), |common, rest| {
            let same = first.iter().zip(rest).take_while(|(a, b)| a == b);
            common.min(same.count())
        });
        let mut tokens = vocabulary.encode(&first[..common]);
        if self.open.len() > 1 {
            tokens.pop();
        }
        tokens
    }

    fn rests(&self) -> impl Iterator<Item = &[u8]> {
        self.open
            .iter()
            .map(|&index| &self.texts[index].as_bytes()[self.at..])
            .filter(|rest| !rest.is_empty())
    }
}
