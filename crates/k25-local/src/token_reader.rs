//! Token ids to the parts of an answer.

use std::sync::Arc;

use k25_chat::{
    Detokenizer, ParserEvent, Specials, StreamParser, TokenLogprob, TokenLogprobs, Tokenizer,
    TokenizerError,
};

use crate::stop_texts::{Scan, StopTexts};

/// How the model's tokens are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputForm {
    /// As the answer to a rendered conversation.
    Chat {
        /// It begins in the reasoning.
        thinking: bool,
    },
    /// As text, special tokens by their names.
    Raw,
}

/// Reads one answer. Stop tokens have no text; a stop text ends the answer.
pub(crate) struct TokenReader {
    tokenizer: Arc<Tokenizer>,
    stop_ids: Vec<u32>,
    stop_texts: StopTexts,
    detokenizer: Detokenizer,
    /// `None` for raw text.
    parser: Option<StreamParser>,
    has_tool_calls: bool,
    /// The number of the stop text that was met.
    met_stop_text: Option<usize>,
    tokens: usize,
    reasoning_tokens: usize,
}

impl TokenReader {
    pub(crate) fn new(
        tokenizer: Arc<Tokenizer>,
        stop_ids: Vec<u32>,
        stop_texts: Vec<String>,
        form: OutputForm,
    ) -> Self {
        let parser = match form {
            OutputForm::Chat { thinking } => Some(StreamParser::new(thinking)),
            OutputForm::Raw => None,
        };
        let detokenizer = Detokenizer::new(Arc::clone(&tokenizer), Specials::Keep);
        Self {
            tokenizer,
            stop_ids,
            stop_texts: StopTexts::new(stop_texts),
            detokenizer,
            parser,
            has_tool_calls: false,
            met_stop_text: None,
            tokens: 0,
            reasoning_tokens: 0,
        }
    }

    /// Reads the next token; after a stop text nothing more is said.
    pub(crate) fn read(&mut self, token: u32) -> Result<Vec<ParserEvent>, TokenizerError> {
        if self.has_met_stop_text() {
            return Ok(Vec::new());
        }
        self.tokens += 1;
        if self.stop_ids.contains(&token) {
            return Ok(Vec::new());
        }
        if self.parser.as_ref().is_some_and(StreamParser::is_reasoning) {
            self.reasoning_tokens += 1;
        }
        if self.is_structure(token) {
            return Ok(Vec::new());
        }
        let Some(parser) = &mut self.parser else {
            let mut text = String::new();
            self.detokenizer.push(token, &mut text)?;
            return Ok(self.said(content(text)));
        };
        let decoded = self.detokenizer.decode(token)?;
        let mut deltas = parser.feed(&decoded.text);
        if let Some(special) = decoded.special {
            deltas.extend(parser.feed_special(special));
        }
        Ok(self.said(deltas))
    }

    /// The answer is over: what was kept back.
    pub(crate) fn finish(&mut self) -> Vec<ParserEvent> {
        if self.has_met_stop_text() {
            return Vec::new();
        }
        let mut text = String::new();
        self.detokenizer.finish(&mut text);
        let deltas = match self.parser.take() {
            None => content(text),
            Some(mut parser) => {
                let mut deltas = parser.feed(&text);
                deltas.extend(parser.finish());
                deltas
            }
        };
        let mut said = self.said(deltas);
        said.extend(content(self.stop_texts.release()));
        said
    }

    /// A stop text was met: no token after this one counts.
    pub(crate) fn has_met_stop_text(&self) -> bool {
        self.met_stop_text.is_some()
    }

    /// The number of that stop text.
    pub(crate) fn met_stop_text(&self) -> Option<usize> {
        self.met_stop_text
    }

    pub(crate) fn has_tool_calls(&self) -> bool {
        self.has_tool_calls
    }

    /// Tokens of the answer so far, the stop token among them.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// How many of them were reasoning, the marker that ends it among them.
    pub(crate) fn reasoning_tokens(&self) -> usize {
        self.reasoning_tokens
    }

    /// A token's log-probabilities with the bytes of the tokens.
    pub(crate) fn logprobs(
        &self,
        token: u32,
        logprobs: &k25_engine::sampling::TokenLogprobs,
    ) -> Result<TokenLogprobs, TokenizerError> {
        let named = |id, logprob| {
            let bytes = self.tokenizer.token_bytes(id)?.to_vec();
            Ok(TokenLogprob {
                id: Some(id),
                bytes,
                logprob,
            })
        };
        let top = logprobs.top.iter().map(|&(id, logprob)| named(id, logprob));
        Ok(TokenLogprobs {
            chosen: named(token, logprobs.chosen)?,
            top: top.collect::<Result<_, _>>()?,
        })
    }

    /// Whether a token is one of those around messages, which say nothing within an answer. The
    /// markers of reasoning and tool calls are not among them.
    fn is_structure(&self, token: u32) -> bool {
        let is_marker = || {
            self.tokenizer
                .special_of(token)
                .is_some_and(|special| !special.is_special())
        };
        self.parser.is_some() && self.tokenizer.is_special(token) && !is_marker()
    }

    /// What is said of these deltas: the text of the answer up to a stop text.
    fn said(&mut self, deltas: Vec<ParserEvent>) -> Vec<ParserEvent> {
        let mut said = Vec::with_capacity(deltas.len());
        for delta in deltas {
            match delta {
                ParserEvent::ContentDelta(text) => match self.stop_texts.scan(&text) {
                    Scan::Goes(text) => said.extend(content(text)),
                    Scan::Ends(text, number) => {
                        said.extend(content(text));
                        self.met_stop_text = Some(number);
                        return said;
                    }
                },
                delta => {
                    said.extend(content(self.stop_texts.release()));
                    self.has_tool_calls |= matches!(delta, ParserEvent::ToolCallBegin { .. });
                    said.push(delta);
                }
            }
        }
        said
    }
}

fn content(text: String) -> Vec<ParserEvent> {
    if text.is_empty() {
        Vec::new()
    } else {
        vec![ParserEvent::ContentDelta(text)]
    }
}

#[cfg(test)]
mod tests {
    use k25_chat::{ParsedMessage, SpecialToken};

    use super::*;

    fn tokenizer() -> Arc<Tokenizer> {
        Arc::new(Tokenizer::synthetic(300).expect("a small vocabulary"))
    }

    fn reader(stop_texts: &[&str], form: OutputForm) -> TokenReader {
        let tokenizer = tokenizer();
        let stop_ids = tokenizer.stop_ids().to_vec();
        let stop_texts = stop_texts.iter().map(|&text| text.to_owned()).collect();
        TokenReader::new(tokenizer, stop_ids, stop_texts, form)
    }

    /// Reads text, specials by their names, as a model's tokens.
    fn read(reader: &mut TokenReader, text: &str) -> ParsedMessage {
        let mut message = ParsedMessage::default();
        for token in tokenizer().encode_with_specials(text) {
            message.extend(&reader.read(token).expect("a known token"));
        }
        message.extend(&reader.finish());
        message
    }

    #[test]
    fn stop_tokens_and_structure_have_no_text() {
        let mut reader = reader(&[], OutputForm::Chat { thinking: true });
        let message = read(&mut reader, "so</think>Hi<|im_user|> you[EOT]<|im_end|>");
        assert_eq!(message.reasoning.as_deref(), Some("so"));
        assert_eq!(message.content.as_deref(), Some("Hi you"));
        assert!(!reader.has_tool_calls());
        let reasoning = tokenizer().encode_text("so").len() + 1;
        assert_eq!(reader.reasoning_tokens(), reasoning);
        let said = tokenizer().encode_with_specials("so</think>Hi<|im_user|> you[EOT]<|im_end|>");
        assert_eq!(reader.tokens(), said.len());
    }

    #[test]
    fn tool_calls_are_read_from_their_markers() {
        let text = "ok<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0\
                    <|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|><|tool_calls_section_end|><|im_end|>";
        let mut reader = reader(&["oks"], OutputForm::Chat { thinking: false });
        let message = read(&mut reader, text);
        assert!(reader.has_tool_calls());
        assert_eq!(
            message.content.as_deref(),
            Some("ok"),
            "half a stop text is text"
        );
        assert_eq!(
            (
                message.tool_calls[0].name.as_str(),
                message.tool_calls[0].arguments.as_str()
            ),
            ("f", "{\"a\": 1}")
        );
    }

    #[test]
    fn a_stop_text_ends_the_answer_and_not_the_reasoning() {
        let mut reader = reader(&["STOP"], OutputForm::Chat { thinking: true });
        let text = "a STOP b</think>c STOP d<|tool_call_begin|>functions.f:0";
        let message = read(&mut reader, text);
        assert_eq!(message.reasoning.as_deref(), Some("a STOP b"));
        assert_eq!(message.content.as_deref(), Some("c "));
        assert!(reader.has_met_stop_text() && !reader.has_tool_calls());
    }

    #[test]
    fn raw_text_keeps_its_markers_but_not_the_stop_token() {
        let message = read(
            &mut reader(&[], OutputForm::Raw),
            "a<think>b<|im_user|>c<|im_end|>",
        );
        assert_eq!(message.content.as_deref(), Some("a<think>b<|im_user|>c"));
    }

    #[test]
    fn half_a_character_at_the_end_is_shown_as_one_that_is_missing() {
        let stop_ids = vec![SpecialToken::ImEnd.id(300)];
        let form = OutputForm::Chat { thinking: false };
        let mut reader = TokenReader::new(tokenizer(), stop_ids, Vec::new(), form);
        let half = tokenizer().encode_text("é")[0];
        assert_eq!(reader.read(half).expect("a known token"), Vec::new());
        assert_eq!(reader.finish(), content("\u{fffd}".to_owned()));
    }

    #[test]
    fn a_token_beyond_the_vocabulary_is_an_error() {
        assert!(reader(&[], OutputForm::Raw).read(9999).is_err());
    }
}
