//! One answer in the model's own format, followed token by token.
//!
//! ```text
//! reasoning </think> text <|im_end|>
//! reasoning </think> text <|tool_calls_section_begin|>
//!   <|tool_call_begin|> functions.NAME:IDX <|tool_call_argument_begin|> {…} <|tool_call_end|> …
//! <|tool_calls_section_end|> <|im_end|>
//! ```

use std::sync::Arc;

use k25_chat::{JsonValue, SpecialToken};
use llguidance::Matcher;

use crate::constraint::{AnswerForm, CallRule, Constraint, Opening};
use crate::error::{ConstraintError, GrammarFault};
use crate::literals::Literals;
use crate::schema::{MAX_TOOLS, Source};
use crate::spelled::{ALL_MARKERS, CALL_MARKERS, Tail};
use crate::vocabulary::{Grammars, Vocabulary};

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Any token.
    Any,
    /// Those in the mask.
    Masked,
}

/// The grammar of one answer, and how far the answer is.
#[derive(Clone)]
pub struct AnswerGrammar {
    plan: Arc<Plan>,
    phase: Phase,
    /// Calls begun so far.
    calls: u64,
    tail: Tail,
}

/// What does not change while the answer comes.
struct Plan {
    vocabulary: Arc<Vocabulary>,
    ids: Ids,
    /// The automaton of the answer's text; `None` for free text.
    form: Option<Matcher>,
    tools: Vec<Tool>,
    rule: CallRule,
    first_call: u64,
}

struct Tool {
    name: String,
    arguments: Matcher,
}

/// The ids of the markers.
struct Ids {
    end: u32,
    think_end: u32,
    section_begin: u32,
    section_end: u32,
    call_begin: u32,
    argument_begin: u32,
    call_end: u32,
}

#[derive(Clone)]
enum Phase {
    Reasoning,
    /// Free text of the answer.
    Text,
    /// Text of a given form.
    Formed {
        matcher: Box<Matcher>,
        has_begun: bool,
    },
    /// The answer's first and only part is a section of calls.
    MustCall,
    /// Between calls.
    AmongCalls,
    /// In a call's id.
    CallId(Literals),
    /// In a call's arguments.
    Arguments(Box<Matcher>),
    /// Nothing may follow but the end.
    Over,
}

impl Ids {
    fn new(vocabulary: &Vocabulary) -> Self {
        Self {
            end: vocabulary.special(SpecialToken::ImEnd),
            think_end: vocabulary.special(SpecialToken::ThinkEnd),
            section_begin: vocabulary.special(SpecialToken::ToolCallsSectionBegin),
            section_end: vocabulary.special(SpecialToken::ToolCallsSectionEnd),
            call_begin: vocabulary.special(SpecialToken::ToolCallBegin),
            argument_begin: vocabulary.special(SpecialToken::ToolCallArgumentBegin),
            call_end: vocabulary.special(SpecialToken::ToolCallEnd),
        }
    }
}

impl AnswerGrammar {
    pub(crate) fn new(
        grammars: &Grammars,
        constraint: &Constraint,
    ) -> Result<Self, ConstraintError> {
        let source = match &constraint.form {
            AnswerForm::Text => None,
            AnswerForm::JsonObject => Some(Source::json_object()),
            AnswerForm::JsonSchema { schema, strict } => {
                Some(Source::schema(schema, *strict, "response_format")?)
            }
            AnswerForm::Regex(pattern) => Some(Source::regex(pattern)?),
        };
        let form = source.map(|source| grammars.automaton(source, "response_format"));
        let plan = Plan {
            vocabulary: Arc::clone(grammars.vocabulary()),
            ids: Ids::new(grammars.vocabulary()),
            form: form.transpose()?,
            tools: tools(grammars, constraint)?,
            rule: constraint.calls.clone(),
            first_call: constraint.next_call,
        };
        let mut grammar = Self {
            plan: Arc::new(plan),
            phase: Phase::Reasoning,
            calls: 0,
            tail: Tail::default(),
        };
        if let Opening::Answer(text) = &constraint.opening {
            grammar.phase = grammar.after_reasoning();
            grammar.continue_text(text)?;
        }
        Ok(grammar)
    }

    /// Sets the bits of the tokens that may come next; `words` has 32 ids each, the lowest in the
    /// lowest bit, and comes cleared.
    ///
    /// # Errors
    /// If the automaton has become too complex.
    pub fn allowed(&mut self, words: &mut [u32]) -> Result<Allowed, GrammarFault> {
        let plan = Arc::clone(&self.plan);
        let ids = &plan.ids;
        let may_call = plan.may_call();
        match &mut self.phase {
            Phase::Reasoning => {
                let may_end = plan.is_undemanding();
                return Ok(self.free(words, may_end, Some(ids.think_end)));
            }
            Phase::Text => return Ok(self.free(words, true, None)),
            Phase::Formed { matcher, has_begun } => {
                copy_mask(matcher, words)?;
                if may_call && !*has_begun {
                    allow(words, ids.section_begin);
                }
                self.tail.forbid(&plan.vocabulary, ALL_MARKERS, words);
            }
            Phase::MustCall => allow(words, ids.section_begin),
            Phase::AmongCalls => {
                if self.calls == 0 || plan.may_call_again() {
                    allow(words, ids.call_begin);
                }
                if self.calls > 0 {
                    allow(words, ids.section_end);
                }
            }
            Phase::CallId(id) => {
                id.allowed(&plan.vocabulary, |token| allow(words, token));
                if id.complete().is_some() {
                    allow(words, ids.argument_begin);
                }
            }
            Phase::Arguments(matcher) => {
                copy_mask(matcher, words)?;
                if forbid(words, ids.end) {
                    allow(words, ids.call_end);
                }
                self.tail.forbid(&plan.vocabulary, ALL_MARKERS, words);
            }
            Phase::Over => allow(words, ids.end),
        }
        Ok(Allowed::Masked)
    }

    /// Moves on by a token that was allowed and does not end the answer.
    ///
    /// # Errors
    /// If it was not allowed.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarFault> {
        let plan = Arc::clone(&self.plan);
        let (ids, text) = (&plan.ids, plan.vocabulary.text(token));
        if text.is_empty() {
            self.tail.clear();
        } else {
            self.tail.push(text);
        }
        match &mut self.phase {
            Phase::Reasoning if token == ids.think_end => self.phase = self.after_reasoning(),
            Phase::Reasoning | Phase::Text | Phase::MustCall if token == ids.section_begin => {
                self.phase = Phase::AmongCalls;
            }
            // The section's beginning may be missing: readers do without it.
            Phase::Reasoning | Phase::Text if token == ids.call_begin && plan.may_call() => {
                self.begin_call();
            }
            Phase::Reasoning | Phase::Text => {}
            Phase::Formed { has_begun, .. } if token == ids.section_begin && !*has_begun => {
                self.phase = Phase::AmongCalls;
            }
            Phase::Formed { matcher, has_begun } => {
                *has_begun = true;
                consume(matcher, token)?;
            }
            Phase::AmongCalls if token == ids.call_begin => self.begin_call(),
            Phase::AmongCalls if token == ids.section_end => self.phase = Phase::Over,
            Phase::CallId(id) => match id.complete() {
                Some(tool) if token == ids.argument_begin => {
                    let matcher = plan.tools[tool].arguments.clone();
                    self.phase = Phase::Arguments(Box::new(matcher));
                }
                _ if !text.is_empty() && id.accept(text) => {}
                _ => return Err(unexpected(token)),
            },
            Phase::Arguments(matcher) if token == ids.call_end => {
                // Only whole arguments end; whoever sends more than was allowed learns of it here.
                let is_whole = matcher.is_accepting().map_err(fault)?;
                if !is_whole {
                    return Err(unexpected(token));
                }
                self.phase = Phase::AmongCalls;
            }
            Phase::Arguments(matcher) => consume(matcher, token)?,
            Phase::MustCall | Phase::AmongCalls | Phase::Over => return Err(unexpected(token)),
        }
        Ok(())
    }

    /// At most `most` tokens that very likely follow, because the grammar leaves no other text. What
    /// they are made of may still be other tokens of the same bytes.
    pub fn forced(&mut self, most: usize) -> Vec<u32> {
        let mut tokens = self.forced_here();
        if tokens.is_empty() {
            return tokens;
        }
        let mut ahead = self.clone();
        let mut followed = 0;
        while tokens.len() < most {
            let step = &tokens[followed..];
            if !step.iter().all(|&token| ahead.accept(token).is_ok()) {
                break;
            }
            followed = tokens.len();
            let next = ahead.forced_here();
            if next.is_empty() {
                break;
            }
            tokens.extend(next);
        }
        tokens.truncate(most);
        tokens
    }

    fn forced_here(&mut self) -> Vec<u32> {
        let plan = Arc::clone(&self.plan);
        let ids = &plan.ids;
        match &mut self.phase {
            Phase::Reasoning | Phase::Text | Phase::Over => Vec::new(),
            Phase::MustCall => vec![ids.section_begin],
            Phase::AmongCalls if self.calls == 0 => vec![ids.call_begin],
            Phase::AmongCalls if !plan.may_call_again() => vec![ids.section_end],
            Phase::AmongCalls => Vec::new(),
            Phase::CallId(id) => match (id.forced(&plan.vocabulary), id.complete()) {
                (tokens, None) => tokens,
                (tokens, Some(_)) if tokens.is_empty() => vec![ids.argument_begin],
                _ => Vec::new(),
            },
            Phase::Formed { matcher, has_begun } if *has_begun || !plan.may_call() => {
                let mut tokens = matcher.compute_ff_tokens();
                tokens.retain(|&token| token != ids.end);
                tokens
            }
            Phase::Formed { .. } => Vec::new(),
            Phase::Arguments(matcher) => {
                let mut tokens = matcher.compute_ff_tokens();
                tokens.retain(|&token| token != ids.end);
                if tokens.is_empty() && matcher.is_stopped() {
                    tokens.push(ids.call_end);
                }
                tokens
            }
        }
    }

    /// The phase behind the reasoning.
    fn after_reasoning(&self) -> Phase {
        match (&self.plan.rule, &self.plan.form) {
            (CallRule::Required | CallRule::Named(_), _) => Phase::MustCall,
            (_, None) => Phase::Text,
            (_, Some(matcher)) => Phase::Formed {
                matcher: Box::new(matcher.clone()),
                has_begun: false,
            },
        }
    }

    /// Goes on behind text of the answer that is there already.
    fn continue_text(&mut self, text: &str) -> Result<(), ConstraintError> {
        if text.is_empty() {
            return Ok(());
        }
        self.tail.push(text.as_bytes());
        match &mut self.phase {
            Phase::MustCall => Err(ConstraintError::CallAfterText),
            Phase::Formed { matcher, has_begun } => {
                *has_begun = true;
                let tokens = self.plan.vocabulary.encode(text.as_bytes());
                match matcher.try_consume_tokens(&tokens) {
                    Ok(count) if count == tokens.len() => Ok(()),
                    _ => Err(ConstraintError::Beginning),
                }
            }
            _ => Ok(()),
        }
    }

    fn begin_call(&mut self) {
        let index = self.plan.first_call + self.calls;
        self.calls += 1;
        let id = |tool: &Tool| format!("functions.{}:{index}", tool.name);
        self.phase = Phase::CallId(Literals::new(self.plan.tools.iter().map(id).collect()));
    }

    /// The mask of a phase without automaton. `marker` is one that may come beside text.
    fn free(&self, words: &mut [u32], may_end: bool, marker: Option<u32>) -> Allowed {
        let plan = &self.plan;
        if may_end && plan.may_call() {
            let completes = self.tail.completions(CALL_MARKERS).next().is_some();
            if !completes {
                return Allowed::Any;
            }
            words.fill(u32::MAX);
            self.tail.forbid(&plan.vocabulary, CALL_MARKERS, words);
            return Allowed::Masked;
        }
        plan.vocabulary
            .texts()
            .iter()
            .for_each(|&id| allow(words, id));
        if may_end {
            let stop_ids = plan.vocabulary.stop_ids();
            stop_ids.into_iter().for_each(|id| allow(words, id));
        }
        if plan.may_call() {
            allow(words, plan.ids.section_begin);
        }
        if let Some(marker) = marker {
            allow(words, marker);
        }
        self.tail.forbid(&plan.vocabulary, ALL_MARKERS, words);
        Allowed::Masked
    }
}

impl Plan {
    fn may_call(&self) -> bool {
        !self.tools.is_empty() && self.rule != CallRule::Never
    }

    fn may_call_again(&self) -> bool {
        !matches!(self.rule, CallRule::Named(_))
    }

    /// Whether the answer may end in its reasoning: nothing is asked of what follows.
    fn is_undemanding(&self) -> bool {
        self.form.is_none() && matches!(self.rule, CallRule::Auto | CallRule::Never)
    }
}

/// The tools that may be called, with the automata of their arguments.
fn tools(grammars: &Grammars, constraint: &Constraint) -> Result<Vec<Tool>, ConstraintError> {
    if constraint.calls == CallRule::Never {
        return Ok(Vec::new());
    }
    let count = constraint.tools.len();
    if count > MAX_TOOLS {
        return Err(ConstraintError::TooManyTools { count });
    }
    let mut functions = Vec::with_capacity(count);
    for (index, tool) in constraint.tools.iter().enumerate() {
        functions.push(Function::read(index, tool)?);
    }
    match &constraint.calls {
        CallRule::Required if functions.is_empty() => return Err(ConstraintError::NoTools),
        CallRule::Named(name) => {
            let known = known_names(&functions);
            functions.retain(|function| function.name == name);
            // A function that is declared twice is called once.
            functions.truncate(1);
            if functions.is_empty() {
                let name = name.clone();
                return Err(ConstraintError::UnknownFunction { name, known });
            }
        }
        _ => {}
    }
    functions
        .into_iter()
        .map(|function| function.compile(grammars))
        .collect()
}

fn known_names(functions: &[Function<'_>]) -> String {
    let mut names: Vec<&str> = functions.iter().map(|function| function.name).collect();
    names.truncate(10);
    match names.is_empty() {
        true => "send `tools` too".to_owned(),
        false => format!("one of {}", names.join(", ")),
    }
}

/// A tool as it was declared.
struct Function<'a> {
    name: &'a str,
    parameters: Option<&'a JsonValue>,
    strict: bool,
}

impl<'a> Function<'a> {
    fn read(index: usize, tool: &'a JsonValue) -> Result<Self, ConstraintError> {
        let fault = |reason: &str| ConstraintError::Tool {
            index,
            reason: reason.to_owned(),
        };
        let tool = tool.as_object().ok_or_else(|| fault("it is no object"))?;
        let function = tool.get("function").and_then(JsonValue::as_object);
        let function = function.ok_or_else(|| fault("it has no `function`"))?;
        let name = function.get("name").and_then(JsonValue::as_str);
        let name = name.filter(|name| !name.is_empty() && name.len() <= 256);
        let name = name.ok_or_else(|| fault("its function has no name of at most 256 bytes"))?;
        if name.contains("<|tool_call") || name.trim() != name {
            return Err(fault(
                "its function's name cannot be told from its surroundings",
            ));
        }
        Ok(Self {
            name,
            parameters: function.get("parameters"),
            strict: function.get("strict") == Some(&JsonValue::Bool(true)),
        })
    }

    fn compile(&self, grammars: &Grammars) -> Result<Tool, ConstraintError> {
        let place = format!("parameters of {}", self.name);
        let source = Source::arguments(self.parameters, self.strict, &place)?;
        Ok(Tool {
            name: self.name.to_owned(),
            arguments: grammars.automaton(source, &place)?,
        })
    }
}

fn allow(words: &mut [u32], id: u32) {
    if let Some(word) = words.get_mut(id as usize / 32) {
        *word |= 1 << (id % 32);
    }
}

/// Takes an id out; says whether it was in.
fn forbid(words: &mut [u32], id: u32) -> bool {
    let Some(word) = words.get_mut(id as usize / 32) else {
        return false;
    };
    let was_in = *word & (1 << (id % 32)) != 0;
    *word &= !(1 << (id % 32));
    was_in
}

fn copy_mask(matcher: &mut Matcher, words: &mut [u32]) -> Result<(), GrammarFault> {
    let mask = matcher.compute_mask_or_eos().map_err(fault)?;
    for (word, &bits) in words.iter_mut().zip(mask.as_slice()) {
        *word = bits;
    }
    Ok(())
}

fn consume(matcher: &mut Matcher, token: u32) -> Result<(), GrammarFault> {
    matcher.consume_token(token).map_err(fault)
}

fn fault(error: impl std::fmt::Display) -> GrammarFault {
    GrammarFault(error.to_string())
}

fn unexpected(token: u32) -> GrammarFault {
    GrammarFault(format!("token {token} is not what the form asks for here"))
}
