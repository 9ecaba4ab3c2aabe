//! The family's special tokens, addressed by their offset from the base vocabulary.
//!
//! A checkpoint of the family has `n_base` byte-pair ranks (ids `0..n_base`) followed by 256 special
//! slots (ids `n_base..n_base + 256`). The real vocabulary has `n_base = 163584`; small test
//! checkpoints have fewer ranks but the same slots, so a special is known by its *offset*, never by
//! its absolute id. Slots without a name are called `<|reserved_token_{id}|>`, with the absolute id.
//!
//! Source: specification section 5; the checkpoint's `tokenizer_config.json`.

/// Number of special slots after the base vocabulary.
pub const SPECIAL_SLOTS: u32 = 256;

macro_rules! special_tokens {
    ($($(#[$doc:meta])* $name:ident = $offset:literal, $text:literal, special: $special:literal;)+) => {
        /// A named special token of the family.
        ///
        /// `offset()` is its place among the 256 special slots; the id in a given checkpoint is
        /// `n_base + offset()`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum SpecialToken {
            $($(#[$doc])* $name,)+
        }

        impl SpecialToken {
            /// Every named special, in the order of the offsets.
            pub const ALL: &'static [SpecialToken] = &[$(SpecialToken::$name,)+];

            /// Place of this token among the 256 special slots.
            pub const fn offset(self) -> u32 {
                match self { $(SpecialToken::$name => $offset,)+ }
            }

            /// The token's name, which is also its printed form.
            pub const fn text(self) -> &'static str {
                match self { $(SpecialToken::$name => $text,)+ }
            }

            /// The `special` flag of `tokenizer_config.json`: tokens that a decode with
            /// "skip special tokens" leaves out. The tool-call and think markers are not special in
            /// this sense, so that a parser still sees them.
            pub const fn is_special(self) -> bool {
                match self { $(SpecialToken::$name => $special,)+ }
            }

            /// The named token at an offset, or `None` for a reserved slot.
            pub const fn from_offset(offset: u32) -> Option<SpecialToken> {
                match offset { $($offset => Some(SpecialToken::$name),)+ _ => None }
            }

            /// The token with this printed form.
            pub fn from_text(text: &str) -> Option<SpecialToken> {
                match text { $($text => Some(SpecialToken::$name),)+ _ => None }
            }
        }
    };
}

special_tokens! {
    /// Beginning of a sequence. The stock tokenizer never adds it.
    Bos = 0, "[BOS]", special: true;
    /// End of a sequence (`eos_token_id` of the configuration).
    Eos = 1, "[EOS]", special: true;
    /// End of a message: the normal stop token.
    ImEnd = 2, "<|im_end|>", special: true;
    /// Opens a user message.
    ImUser = 3, "<|im_user|>", special: true;
    /// Opens an assistant message.
    ImAssistant = 4, "<|im_assistant|>", special: true;
    /// Unused by the chat template.
    StartHeaderId = 6, "<|start_header_id|>", special: true;
    /// Unused by the chat template.
    EndHeaderId = 7, "<|end_header_id|>", special: true;
    /// End of a turn; a stop token for safety.
    Eot = 9, "[EOT]", special: true;
    /// Opens a system, tool or any other message.
    ImSystem = 10, "<|im_system|>", special: true;
    /// Opens the section of tool calls.
    ToolCallsSectionBegin = 11, "<|tool_calls_section_begin|>", special: false;
    /// Closes the section of tool calls.
    ToolCallsSectionEnd = 12, "<|tool_calls_section_end|>", special: false;
    /// Opens one call; its id follows.
    ToolCallBegin = 13, "<|tool_call_begin|>", special: false;
    /// Ends a call's id; its arguments follow.
    ToolCallArgumentBegin = 14, "<|tool_call_argument_begin|>", special: false;
    /// Closes one call.
    ToolCallEnd = 15, "<|tool_call_end|>", special: false;
    /// Between a message's name and its body.
    ImMiddle = 17, "<|im_middle|>", special: true;
    /// Opens a picture or a chunk of a video.
    MediaBegin = 18, "<|media_begin|>", special: true;
    /// Between a medium's kind and its placeholder.
    MediaContent = 19, "<|media_content|>", special: true;
    /// Closes a picture or a chunk of a video.
    MediaEnd = 20, "<|media_end|>", special: true;
    /// Placeholder whose embedding is replaced by one vision feature.
    MediaPad = 21, "<|media_pad|>", special: true;
    /// Opens the reasoning.
    Think = 22, "<think>", special: false;
    /// Closes the reasoning.
    ThinkEnd = 23, "</think>", special: false;
    /// Unknown token; byte-level encoding never yields it.
    Unk = 254, "[UNK]", special: true;
    /// Padding.
    Pad = 255, "[PAD]", special: true;
}

impl SpecialToken {
    /// The token's id in a vocabulary of `n_base` base ranks.
    pub const fn id(self, n_base: u32) -> u32 {
        n_base + self.offset()
    }

    /// Generation stops at these (specification section 8): the end of a message, and for safety the
    /// end of a sequence and the end of a turn.
    pub const STOP: [SpecialToken; 3] = [SpecialToken::ImEnd, SpecialToken::Eos, SpecialToken::Eot];
}

/// Printed form of a slot that has no name: it carries the absolute token id.
pub fn reserved_token_text(id: u32) -> String {
    format!("<|reserved_token_{id}|>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_the_real_vocabulary() {
        let id = |token: SpecialToken| token.id(163_584);
        assert_eq!(id(SpecialToken::Bos), 163_584);
        assert_eq!(id(SpecialToken::ImEnd), 163_586);
        assert_eq!(id(SpecialToken::Eot), 163_593);
        assert_eq!(id(SpecialToken::ToolCallsSectionBegin), 163_595);
        assert_eq!(id(SpecialToken::ToolCallEnd), 163_599);
        assert_eq!(id(SpecialToken::ImMiddle), 163_601);
        assert_eq!(id(SpecialToken::MediaPad), 163_605);
        assert_eq!(id(SpecialToken::ThinkEnd), 163_607);
        assert_eq!(id(SpecialToken::Pad), 163_839);
    }

    #[test]
    fn text_and_offset_name_one_token_each() {
        for &token in SpecialToken::ALL {
            assert_eq!(SpecialToken::from_offset(token.offset()), Some(token));
            assert_eq!(SpecialToken::from_text(token.text()), Some(token));
            assert!(token.offset() < SPECIAL_SLOTS);
        }
        assert_eq!(SpecialToken::from_offset(5), None);
        assert_eq!(SpecialToken::from_text("<|im_End|>"), None);
    }
}
