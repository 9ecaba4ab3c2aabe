//! A model, its tokenizer and an engine, behind two calls: prepare a conversation, answer it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use k25_chat::{
    Content, Conversation, JsonValue, Part, RenderOptions, SpecialToken, TIKTOKEN_FILE, Tokenizer,
    ToolCall, render, rewrite_tool_call_ids,
};
use k25_config::{MediaConfig, ModelConfig, VisionConfig};
use k25_engine::{
    ContentHash, Engine, EngineHandle, Grammar, MediaItem, MediaSpan, Priority, Prompt, Request,
    SamplingParams, SchedulerConfig, Snapshot, event_channel, spawn,
};
use k25_grammar::{
    AnswerForm, AnswerGrammar, CallRule, Constraint, Grammars, Opening, VocabularyError,
};
use k25_model::LoraAdapter;
use k25_model::fast::{FastOptions, LatentFormat, PagedLatents};
use k25_model::media::{ImageLimits, VideoLimits};
use k25_model::vision::VisionItem;
use k25_model::weights::Model;
use sha2::{Digest, Sha256};

use crate::answer::Transcript;
use crate::grammar::EngineGrammar;
use crate::memory::free_share;
use crate::prompt::tokens;
use crate::runner::{Execution, Runner};
use crate::stop::stop_ids;
use crate::token_reader::{OutputForm, TokenReader};
use crate::{
    Answer, FileAccess, LocalError, MediaLoader, PreparedMedia, PromptError, PromptInput, assemble,
};

const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// Memory for the latent cache unless the caller says otherwise, in bytes. With K2.5, 140,544 bytes
/// per position, it holds 30,560 positions.
const CACHE_BYTES: usize = 4 << 30;

/// Blocks beyond those of full contexts, so that a prefix can stay while another request ends.
const SPARE_BLOCKS: usize = 16;

/// Most full contexts that the cache has room for unless the caller says otherwise: the agents of a
/// swarm that a machine computes side by side.
const MAX_SEQUENCES: usize = 32;

/// How a model is opened.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    /// Folder of the tokenizer, where it is not the checkpoint's.
    pub tokenizer: Option<PathBuf>,
    /// Folder of an adapter in PEFT's layout that is put on the checkpoint's matrices.
    pub adapter: Option<PathBuf>,
    /// How the model is computed.
    pub execution: Execution,
    /// What the fast execution computes with; exact unless said otherwise.
    pub fast: FastOptions,
    /// How the fast execution keeps cached rows.
    pub cache: LatentFormat,
    /// Threads that compute; `None` for all cores.
    pub threads: Option<usize>,
    /// Positions to keep room for, prompt and answer together; `None` for what the model was trained
    /// for or 4 GiB hold.
    pub context_tokens: Option<usize>,
    /// Conversations with a full context that the cache has room for at the same time; `None` for as
    /// many as a quarter of the free memory and 4 GiB hold, up to 32, and one below a memory limit. More
    /// may run: those that find no
    /// room wait, or make room and are computed again.
    pub sequences: Option<usize>,
    /// Whether conversations may name files of this machine.
    pub files: FileAccess,
    /// Limits on a picture.
    pub image_limits: ImageLimits,
    /// Limits on a film.
    pub video_limits: VideoLimits,
}

/// How an answer is drawn, and where it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerOptions {
    /// How tokens are chosen. The model's stop tokens are added to its own.
    pub sampling: SamplingParams,
    /// Texts that end the answer and are not part of it; they are looked for in the answer, not in
    /// the reasoning or in tool calls. An empty one is never met.
    pub stop: Vec<String>,
    /// How soon.
    pub priority: Priority,
}

impl AnswerOptions {
    /// Options for someone who watches the answer grow.
    pub fn new(sampling: SamplingParams) -> Self {
        Self {
            sampling,
            stop: Vec::new(),
            priority: Priority::Interactive,
        }
    }
}

impl LocalOptions {
    /// How cached rows are kept with these options.
    pub(crate) fn cache_format(&self) -> LatentFormat {
        match self.execution {
            Execution::Fast => self.cache,
            Execution::Reference => LatentFormat::F32,
        }
    }
}

/// A conversation or text that the engine can take.
#[derive(Clone)]
pub struct Prepared {
    prompt: Prompt,
    form: OutputForm,
    /// What a grammar of the answer must know.
    surroundings: Surroundings,
    grammar: Option<AnswerGrammar>,
}

/// What comes before an answer and bears on its form.
#[derive(Clone)]
struct Surroundings {
    tools: Vec<JsonValue>,
    next_call: u64,
    opening: Opening,
}

impl Surroundings {
    /// Nothing: the answer to text as it is.
    fn none() -> Self {
        Self {
            tools: Vec::new(),
            next_call: 0,
            opening: Opening::Answer(String::new()),
        }
    }

    fn of(conversation: &Conversation, options: &RenderOptions, thinking: bool) -> Self {
        let opening = match thinking {
            true => Opening::Reasoning,
            false => Opening::Answer(begun_text(conversation, options)),
        };
        Self {
            tools: conversation.tools.clone(),
            next_call: next_call(conversation),
            opening,
        }
    }
}

/// The text of the message that the model is to continue.
fn begun_text(conversation: &Conversation, options: &RenderOptions) -> String {
    let last = conversation.messages.last();
    let begun = last.filter(|message| message.partial && options.add_generation_prompt);
    match begun.and_then(|message| message.content.as_ref()) {
        Some(Content::Text(text)) => text.clone(),
        Some(Content::Parts(parts)) => parts
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Media(_) => None,
            })
            .collect(),
        None => String::new(),
    }
}

/// The number of the next tool call; ids have been rewritten to `functions.NAME:IDX`.
fn next_call(conversation: &Conversation) -> u64 {
    let calls = conversation
        .messages
        .iter()
        .flat_map(|message| &message.tool_calls);
    let index = |call: &ToolCall| call.id.rsplit_once(':')?.1.parse::<u64>().ok();
    calls
        .filter_map(index)
        .max()
        .map_or(0, |last| last.saturating_add(1))
}

impl Prepared {
    /// Tokens of the prompt, feature rows of media among them.
    pub fn tokens(&self) -> usize {
        self.prompt.len()
    }
}

/// A checkpoint that answers.
pub struct LocalModel {
    config: Arc<ModelConfig>,
    tokenizer: Arc<Tokenizer>,
    /// `None` where the model reads text alone.
    vision: Option<Vision>,
    stop_ids: Vec<u32>,
    context_tokens: usize,
    grammars: OnceLock<Result<Grammars, VocabularyError>>,
    engine: EngineHandle<Runner>,
}

/// How pictures and films come in.
struct Vision {
    loader: MediaLoader,
    /// Patches along each side that become one token.
    window: [usize; 2],
}

impl LocalModel {
    /// Opens the checkpoint in `dir` and starts its engine.
    ///
    /// # Errors
    /// If a file is not as it should be, the files do not fit each other, or an option cannot work.
    pub fn open(dir: impl AsRef<Path>, options: &LocalOptions) -> Result<Self, LocalError> {
        let dir = dir.as_ref();
        let mut model = Model::open(dir)?;
        if let Some(adapter) = &options.adapter {
            model.adapt(&LoraAdapter::open(adapter)?)?;
        }
        let config = Arc::clone(&model.config);
        let tokenizer = open_tokenizer(options.tokenizer.as_deref().unwrap_or(dir), &config)?;
        let stop_ids = stop_ids(dir, &config, &tokenizer)?;
        let vision = match (&config.vision, &model.vision) {
            (Some(vision), Some(_)) => Some(Vision::open(dir, vision, options)?),
            _ => None,
        };
        let scheduler = scheduler_config(&config, options);
        let runner = Runner::new(model, options, &scheduler)?;
        let context_tokens = scheduler.context_rows;
        let (engine, _thread) =
            spawn(Engine::new(scheduler, runner)?).map_err(LocalError::Thread)?;
        Ok(Self {
            config,
            tokenizer: Arc::new(tokenizer),
            vision,
            stop_ids,
            context_tokens,
            grammars: OnceLock::new(),
            engine,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Tokens that end an answer, in ascending order.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// What the engine was doing after its last step.
    pub fn snapshot(&self) -> Snapshot {
        self.engine.snapshot()
    }

    /// Positions that there is room for, prompt and answer together.
    pub fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    /// Whether it reads pictures and films.
    pub fn sees(&self) -> bool {
        self.vision.is_some()
    }

    /// Most tokens that can answer a prompt.
    pub fn room(&self, prepared: &Prepared) -> usize {
        self.context_tokens.saturating_sub(prepared.tokens())
    }

    /// Renders a conversation, loads its media and encodes it.
    ///
    /// # Errors
    /// If the conversation is empty, a tool call or medium in it is not as it should be, or it is too
    /// long.
    pub fn prepare(
        &self,
        mut conversation: Conversation,
        options: &RenderOptions,
    ) -> Result<Prepared, LocalError> {
        if conversation.messages.is_empty() {
            return Err(LocalError::Empty);
        }
        rewrite_tool_call_ids(&mut conversation.messages)?;
        let media = self.load_media(&conversation)?;
        let window = self.window();
        let input = assemble(
            &self.tokenizer,
            render(&conversation, options),
            media,
            window,
        )?;
        let form = OutputForm::Chat {
            thinking: input.ends_in_reasoning,
        };
        let pad = self.tokenizer.special_id(SpecialToken::MediaPad);
        let surroundings = Surroundings::of(&conversation, options, input.ends_in_reasoning);
        self.checked(Prepared {
            prompt: engine_prompt(input, pad, window)?,
            form,
            surroundings,
            grammar: None,
        })
    }

    /// Takes text as it is, without template; the names of special tokens in it are read as such, and
    /// the answer is not taken apart.
    ///
    /// # Errors
    /// If it is empty or too long.
    pub fn prepare_raw(&self, text: &str) -> Result<Prepared, LocalError> {
        let prompt = Prompt::text(self.tokenizer.encode_with_specials(text));
        self.checked(Prepared {
            prompt: prompt.map_err(rejected)?,
            form: OutputForm::Raw,
            surroundings: Surroundings::none(),
            grammar: None,
        })
    }

    /// Lets the answer have this form, and call tools so. Without this call anything goes; with
    /// [`CallRule::Auto`] the arguments of calls match the schemas of the conversation's tools.
    ///
    /// # Errors
    /// If a schema or pattern cannot be enforced, or what is demanded contradicts itself.
    pub fn constrain(
        &self,
        prepared: &mut Prepared,
        form: AnswerForm,
        calls: CallRule,
    ) -> Result<(), LocalError> {
        let Surroundings {
            tools,
            next_call,
            opening,
        } = &prepared.surroundings;
        let constraint = Constraint {
            form,
            calls,
            tools: tools.clone(),
            next_call: *next_call,
            opening: opening.clone(),
        };
        prepared.grammar = match constraint.is_free() {
            true => None,
            false => self.grammars()?.answer(&constraint)?,
        };
        Ok(())
    }

    /// What compiles forms; made when the first is asked for.
    fn grammars(&self) -> Result<&Grammars, LocalError> {
        let vocab_size = self.config.text.vocab_size as u32;
        let make = || Grammars::new(Arc::clone(&self.tokenizer), vocab_size);
        let grammars = self.grammars.get_or_init(make);
        grammars.as_ref().map_err(|error| error.clone().into())
    }

    /// Begins to answer.
    ///
    /// # Errors
    /// If there is no room for as many tokens as `options` allow, or the engine is gone.
    pub fn answer(&self, prepared: Prepared, options: AnswerOptions) -> Result<Answer, LocalError> {
        let started = Instant::now();
        let (request, reader) = self.request(prepared, options)?;
        let (sink, events) = event_channel();
        let id = self.engine.submit(request, sink)?;
        let transcript = Transcript::new(reader, started);
        Ok(Answer::new(events, self.engine.clone(), id, transcript))
    }

    /// What the engine is asked, and how its tokens are to be read.
    pub(crate) fn request(
        &self,
        prepared: Prepared,
        options: AnswerOptions,
    ) -> Result<(Request, TokenReader), LocalError> {
        let AnswerOptions {
            mut sampling,
            stop,
            priority,
        } = options;
        if sampling.max_tokens > self.room(&prepared) {
            return Err(LocalError::AnswerTooLong {
                prompt_tokens: prepared.tokens(),
                max_tokens: sampling.max_tokens,
                context_tokens: self.context_tokens,
                hint: self.context_hint(),
            });
        }
        sampling.stop_ids.extend(&self.stop_ids);
        let stop_ids = sampling.stop_ids.clone();
        let reader = TokenReader::new(Arc::clone(&self.tokenizer), stop_ids, stop, prepared.form);
        let grammar = prepared.grammar.map(|grammar| {
            let grammar: Box<dyn Grammar> = Box::new(EngineGrammar(grammar));
            grammar
        });
        let request = Request {
            priority,
            grammar,
            ..Request::new(prepared.prompt, sampling)
        };
        Ok((request, reader))
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &EngineHandle<Runner> {
        &self.engine
    }

    /// Loads media in order, and no more of them than there is room for.
    fn load_media(&self, conversation: &Conversation) -> Result<Vec<PreparedMedia>, LocalError> {
        let mut prepared = Vec::new();
        let mut tokens = 0;
        for (index, medium) in conversation.media().enumerate() {
            let vision = self.vision.as_ref().ok_or(PromptError::NoVision)?;
            let medium = vision.loader.load(index, medium)?;
            tokens += medium.tokens(vision.window);
            if tokens >= self.context_tokens {
                let context_tokens = self.context_tokens;
                return Err(LocalError::MediaTooLong {
                    media: index + 1,
                    tokens,
                    context_tokens,
                });
            }
            prepared.push(medium);
        }
        Ok(prepared)
    }

    fn window(&self) -> [usize; 2] {
        self.vision.as_ref().map_or([1, 1], |vision| vision.window)
    }

    fn checked(&self, prepared: Prepared) -> Result<Prepared, LocalError> {
        match self.room(&prepared) {
            0 => Err(LocalError::TooLong {
                prompt_tokens: prepared.tokens(),
                context_tokens: self.context_tokens,
                hint: self.context_hint(),
            }),
            _ => Ok(prepared),
        }
    }

    fn context_hint(&self) -> &'static str {
        if self.context_tokens < self.config.text.max_position_embeddings {
            "shorten the prompt, ask for fewer tokens, or keep room for more (--context N)"
        } else {
            "shorten the prompt or ask for fewer tokens: the model was trained for no more"
        }
    }
}

impl Vision {
    fn open(dir: &Path, vision: &VisionConfig, options: &LocalOptions) -> Result<Self, LocalError> {
        let path = dir.join(PREPROCESSOR_FILE);
        let config = match path.exists() {
            true => MediaConfig::from_file(path)?,
            false => MediaConfig::for_vision(vision),
        };
        config.check_against(vision)?;
        let LocalOptions {
            image_limits,
            video_limits,
            files,
            ..
        } = *options;
        let loader = MediaLoader {
            config,
            image_limits,
            video_limits,
            files,
        };
        Ok(Self {
            loader,
            window: vision.merge_kernel_size,
        })
    }
}

fn open_tokenizer(dir: &Path, config: &ModelConfig) -> Result<Tokenizer, LocalError> {
    if dir.is_dir() && !dir.join(TIKTOKEN_FILE).exists() {
        return Err(LocalError::NoTokenizer {
            dir: dir.to_owned(),
        });
    }
    let tokenizer = Tokenizer::open(dir)?;
    let (tokens, vocab_size) = (tokenizer.vocab_size(), config.text.vocab_size);
    if tokens as usize > vocab_size {
        return Err(LocalError::TooManyTokens {
            dir: dir.to_owned(),
            tokens,
            vocab_size,
        });
    }
    let found = tokenizer.special_id(SpecialToken::MediaPad);
    match config.media_placeholder_token_id {
        Some(configured) if configured != found => Err(LocalError::MediaPad {
            dir: dir.to_owned(),
            configured,
            found,
        }),
        _ => Ok(tokenizer),
    }
}

/// The latent cache: blocks of one or several full contexts, and some to spare.
fn scheduler_config(config: &ModelConfig, options: &LocalOptions) -> SchedulerConfig {
    let text = &config.text;
    let block_bytes = PagedLatents::block_bytes(text, options.cache_format());
    let position_bytes = block_bytes / PagedLatents::BLOCK_ROWS;
    // Of a limit, most is for weights.
    let limit = options.fast.memory_limit.unwrap_or(usize::MAX) / 8;
    let context = options
        .context_tokens
        .unwrap_or(CACHE_BYTES.min(limit) / position_bytes)
        .min(text.max_position_embeddings);
    let mut scheduler = SchedulerConfig::new(0, context);
    let of_one = context.div_ceil(scheduler.block_rows);
    let share = match options.fast.memory_limit {
        // Weights need the room more.
        Some(_) => 0,
        None => CACHE_BYTES.min(free_share()),
    };
    let sequences = options
        .sequences
        .unwrap_or_else(|| (share / (of_one * block_bytes).max(1)).min(MAX_SEQUENCES));
    let blocks = of_one * sequences.max(1) + SPARE_BLOCKS;
    scheduler.blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
    scheduler
}

/// The engine's form of a prompt: each item covers its run of pads, one feature row per pad.
fn engine_prompt(input: PromptInput, pad: u32, window: [usize; 2]) -> Result<Prompt, LocalError> {
    let mut media = Vec::with_capacity(input.items.len());
    let mut from = 0;
    for item in input.items {
        let item = Arc::new(media_item(item, window));
        let distance = input.ids[from..]
            .iter()
            .position(|&id| id == pad)
            .unwrap_or(0);
        let start = from + distance;
        from = (start + item.rows).min(input.ids.len());
        media.push(MediaSpan { start, item });
    }
    Prompt::new(input.ids, media).map_err(rejected)
}

fn rejected(error: k25_engine::prompt::PromptError) -> LocalError {
    LocalError::Rejected(error.into())
}

fn media_item(item: VisionItem, window: [usize; 2]) -> MediaItem {
    let rows = tokens(&item, window);
    MediaItem {
        content: content_hash(&item),
        grid: item.grid,
        pixels: item.patches,
        rows,
    }
}

/// SHA-256 of the grid and the patch values.
fn content_hash(item: &VisionItem) -> ContentHash {
    const VALUES_AT_ONCE: usize = 4096;
    let mut hash = Sha256::new();
    for size in item.grid {
        hash.update((size as u64).to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(VALUES_AT_ONCE * size_of::<f32>());
    for values in item.patches.chunks(VALUES_AT_ONCE) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        hash.update(&bytes);
    }
    ContentHash(hash.finalize().into())
}
