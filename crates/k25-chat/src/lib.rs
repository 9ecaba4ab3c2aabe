//! Messages to tokens and back.

mod byte_trie;
mod client;
mod detokenizer;
pub mod dialect;
mod message;
mod python_json;
mod segment;
mod special;
mod stream_parser;
mod template;
mod tokenizer;
mod tool_declaration;
mod tool_ids;

pub use client::{
    ChatClient, ChatError, ChatErrorKind, ChatEvent, ChatReply, ChatRequest, ChatStream, ChatUsage,
    Priority, ReplyEnd, ResponseFormat, Retry, SamplingOptions, TokenLogprob, TokenLogprobs,
    ToolChoice,
};
pub use detokenizer::{Decoded, Detokenizer, Specials, Utf8Stream};
pub use message::{
    Arguments, Content, Conversation, Media, Message, MessageError, Part, Reading, Role,
    TemplateVersion, ToolCall,
};
pub use python_json::{
    Integer, JsonError, JsonObject, JsonProblem, JsonValue, MAX_INTEGER_DIGITS, MAX_JSON_DEPTH,
    TooDeep,
};
pub use segment::{MediaKind, Segment, segments_to_text};
pub use special::{SPECIAL_SLOTS, SpecialToken, reserved_token_text};
pub use stream_parser::{ParsedMessage, ParsedToolCall, ParserEvent, StreamParser, parse_message};
pub use template::{
    KwargsError, Prompt, RenderOptions, fill_media, image_prompt, render, video_chunk_prompt,
};
pub use tokenizer::{
    TIKTOKEN_FILE, TOKENIZER_CONFIG_FILE, Tokenizer, TokenizerError, split_pieces, write_tiktoken,
    write_tokenizer_config,
};
pub use tool_declaration::{
    Declaration, DeclarationError, SchemaProblem, declare_tools, typescript_declaration,
};
pub use tool_ids::{ToolIdError, rewrite_tool_call_ids};
