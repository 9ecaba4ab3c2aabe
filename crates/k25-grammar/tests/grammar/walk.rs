//! A walk through a grammar, every allowed token equally likely.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use k25_chat::{JsonValue, ParsedMessage, SpecialToken, Tokenizer, parse_message};
use k25_grammar::{Allowed, AnswerForm, AnswerGrammar, CallRule, Constraint, Grammars, Opening};

/// Ids of the model: more than the tokenizer has, as in a padded embedding.
pub const VOCAB_SIZE: u32 = 1312;
/// Longest walk.
const MOST_TOKENS: usize = 3000;

pub static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let dir = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/tokenizer"
    ));
    Arc::new(Tokenizer::open(dir).expect("the fixture's tokenizer"))
});

pub static GRAMMARS: LazyLock<Grammars> = LazyLock::new(|| {
    Grammars::new(Arc::clone(&TOKENIZER), VOCAB_SIZE).expect("a small vocabulary")
});

pub fn json(text: &str) -> JsonValue {
    JsonValue::parse(text).expect("JSON")
}

/// Instant answers of this form, without tools.
pub fn constraint(form: AnswerForm) -> Constraint {
    Constraint {
        form,
        calls: CallRule::Auto,
        tools: Vec::new(),
        next_call: 0,
        opening: Opening::Answer(String::new()),
    }
}

pub fn grammar(constraint: &Constraint) -> AnswerGrammar {
    let grammar = GRAMMARS.answer(constraint).expect("a good constraint");
    grammar.expect("it constrains")
}

/// Whether a grammar lets `token` come next.
pub fn allows(grammar: &mut AnswerGrammar, token: u32) -> bool {
    let mut words = vec![0; (VOCAB_SIZE as usize).div_ceil(32)];
    match grammar.allowed(&mut words).expect("a mask") {
        Allowed::Any => true,
        Allowed::Masked => words[token as usize / 32] & (1 << (token % 32)) != 0,
    }
}

/// Chance without a crate: SplitMix64.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % count as u64) as usize
    }
}

/// Draws tokens until the answer ends; `None` where it does not within the bound. One time in four
/// an ending is taken where there is one, so that walks end.
pub fn walk(mut grammar: AnswerGrammar, seed: u64) -> Option<Vec<u32>> {
    let mut chance = Chance(seed);
    let end = TOKENIZER.special_id(SpecialToken::ImEnd);
    let enders = [
        SpecialToken::ThinkEnd,
        SpecialToken::ToolCallEnd,
        SpecialToken::ToolCallsSectionEnd,
        SpecialToken::ImEnd,
    ];
    let enders = enders.map(|token| TOKENIZER.special_id(token));
    let mut tokens = Vec::new();
    while tokens.len() < MOST_TOKENS {
        let mut words = vec![0; (VOCAB_SIZE as usize).div_ceil(32)];
        let everything = grammar.allowed(&mut words).expect("a mask") == Allowed::Any;
        let allowed: Vec<u32> = (0..VOCAB_SIZE)
            .filter(|id| everything || words[*id as usize / 32] & (1 << (id % 32)) != 0)
            .collect();
        assert!(!allowed.is_empty(), "something goes on after {tokens:?}");
        let ender = enders.iter().find(|ender| allowed.contains(ender));
        let token = match ender {
            Some(&ender) if chance.below(4) == 0 => ender,
            _ => allowed[chance.below(allowed.len())],
        };
        if TOKENIZER.stop_ids().contains(&token) {
            assert_eq!(
                token, end,
                "of the ends, a constrained answer takes this one"
            );
            return Some(tokens);
        }
        grammar.accept(token).expect("what was allowed is accepted");
        tokens.push(token);
    }
    None
}

/// What a reader makes of the tokens.
pub fn read(tokens: &[u32], thinking: bool) -> ParsedMessage {
    let text = TOKENIZER.decode(tokens).expect("known tokens");
    parse_message(&text, thinking)
}

/// Whether another library finds that `text` is JSON of `schema`.
pub fn check(schema: &JsonValue, text: &str) -> Result<(), String> {
    let mut printed = String::new();
    printed.push_str(&schema.to_json());
    let schema = serde_json::from_str(&printed).map_err(|error| error.to_string())?;
    let value = serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
    validator
        .validate(&value)
        .map_err(|error| format!("{error} in {text}"))
}
