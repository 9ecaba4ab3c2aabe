//! The form of an answer, as the engine sees it.

use k25_engine::TokenMask;
use k25_engine::grammar::{Allowed, Grammar, GrammarError};
use k25_grammar::{AnswerGrammar, GrammarFault};

/// A grammar of text behind the engine's trait, which knows ids alone.
pub(crate) struct EngineGrammar(pub(crate) AnswerGrammar);

impl Grammar for EngineGrammar {
    fn allowed(&mut self, mask: &mut TokenMask) -> Result<Allowed, GrammarError> {
        match self.0.allowed(mask.words_mut()).map_err(failed)? {
            k25_grammar::Allowed::Any => Ok(Allowed::Any),
            k25_grammar::Allowed::Masked => Ok(Allowed::Masked),
        }
    }

    fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        self.0.accept(token).map_err(failed)
    }

    fn forced(&mut self, most: usize) -> Vec<u32> {
        self.0.forced(most)
    }

    fn fork(&self) -> Box<dyn Grammar> {
        Box::new(Self(self.0.clone()))
    }
}

fn failed(fault: GrammarFault) -> GrammarError {
    GrammarError(fault.0)
}
