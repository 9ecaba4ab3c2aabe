//! Names of OpenTelemetry's semantic conventions for generative AI, at one version. They are still in
//! development there: another version is a change of this file.

/// The version that these names are of.
pub const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

pub const SERVICE_NAME: &str = "service.name";
pub const SERVICE_VERSION: &str = "service.version";
pub const ERROR_TYPE: &str = "error.type";

pub const OPERATION: &str = "gen_ai.operation.name";
pub const CHAT: &str = "chat";
pub const PROVIDER: &str = "gen_ai.provider.name";
pub const MOONSHOT: &str = "moonshot_ai";
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
pub const MAX_TOKENS: &str = "gen_ai.request.max_tokens";
pub const TEMPERATURE: &str = "gen_ai.request.temperature";
pub const TOP_P: &str = "gen_ai.request.top_p";
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub const INPUT_MESSAGES: &str = "gen_ai.input.messages";
pub const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";

// What the conventions have no name for.
pub const CACHED_TOKENS: &str = "k25.usage.cached_tokens";
pub const REASONING_TOKENS: &str = "k25.usage.reasoning_tokens";
pub const FIRST_TOKEN: &str = "k25.time_to_first_token_seconds";
pub const REQUEST_ID: &str = "k25.request_id";
pub const KEY: &str = "k25.key_name";
pub const THINKING: &str = "k25.thinking";
