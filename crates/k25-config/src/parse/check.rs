//! Stage two: the numbers against each other.

use crate::fields::Problems;
use crate::model::parameters;
use crate::{ModelConfig, TextConfig, VisionConfig, limits};

/// Notes every relation between fields that does not hold. `text_prefix` leads to the language
/// model's fields in the file.
pub(super) fn check(config: &ModelConfig, text_prefix: &str, problems: &Problems) {
    let text = Section {
        prefix: text_prefix,
        problems,
    };
    let vision = Section {
        prefix: "vision_config.",
        problems,
    };
    check_text(&config.text, &text);
    if config.text.n_routed_experts > 0 {
        check_experts(&config.text, &text);
    }
    if let Some(numbers) = &config.vision {
        check_vision(numbers, &config.text, &vision);
    }
    check_token_ids(
        config,
        &Section {
            prefix: "",
            problems,
        },
    );
    check_parameters(config, &text);
}

/// A part of the file, for messages.
struct Section<'a> {
    prefix: &'a str,
    problems: &'a Problems,
}

impl Section<'_> {
    fn note(&self, field: &str, value: usize, reason: impl Into<String>) {
        let hint = "compare with the model's published file";
        self.problems
            .note(format!("{}{field}", self.prefix), value, reason, hint);
    }
}

fn check_text(text: &TextConfig, section: &Section<'_>) {
    if !text.qk_rope_head_dim.is_multiple_of(2) {
        section.note(
            "qk_rope_head_dim",
            text.qk_rope_head_dim,
            "must be even: it is rotated in pairs",
        );
    }
}

fn check_experts(text: &TextConfig, section: &Section<'_>) {
    let experts = text.n_routed_experts;
    let all = experts.saturating_mul(text.num_hidden_layers);
    if all > limits::ALL_EXPERTS {
        let reason = format!(
            "makes {all} experts in all layers, more than the {} that are believed",
            limits::ALL_EXPERTS
        );
        section.note("n_routed_experts", experts, reason);
    }
    if !experts.is_multiple_of(text.n_group) {
        section.note(
            "n_group",
            text.n_group,
            format!("must divide n_routed_experts ({experts})"),
        );
        return;
    }
    let per_group = experts / text.n_group;
    if text.n_group > 1 && per_group < 2 {
        section.note(
            "n_group",
            text.n_group,
            "must leave two experts in each group: its two best judge it",
        );
        return;
    }
    if text.topk_group > text.n_group {
        section.note(
            "topk_group",
            text.topk_group,
            format!("must not be above n_group ({})", text.n_group),
        );
        return;
    }
    let choosable = text.topk_group * per_group;
    if text.num_experts_per_tok > choosable {
        let reason = format!(
            "must not be above {choosable}, the experts in {} of {} groups",
            text.topk_group, text.n_group
        );
        section.note("num_experts_per_tok", text.num_experts_per_tok, reason);
    }
}

fn check_vision(vision: &VisionConfig, text: &TextConfig, section: &Section<'_>) {
    let heads = vision.num_attention_heads;
    if !vision.hidden_size.is_multiple_of(heads) {
        section.note(
            "vt_num_attention_heads",
            heads,
            format!("must divide the encoder's width ({})", vision.hidden_size),
        );
    } else if !vision.head_dim().is_multiple_of(4) {
        let reason = format!(
            "makes heads {} wide; two-dimensional rotation needs a multiple of 4",
            vision.head_dim()
        );
        section.note("vt_num_attention_heads", heads, reason);
    }
    if vision.mm_hidden_size != vision.hidden_size {
        let reason = format!("must equal the encoder's width ({})", vision.hidden_size);
        section.note("mm_hidden_size", vision.mm_hidden_size, reason);
    }
    if vision.text_hidden_size != text.hidden_size {
        let reason = format!(
            "must equal the language model's hidden_size ({})",
            text.hidden_size
        );
        section.note("text_hidden_size", vision.text_hidden_size, reason);
    }
}

fn check_token_ids(config: &ModelConfig, section: &Section<'_>) {
    let vocabulary = config.text.vocab_size;
    let single = [
        ("bos_token_id", config.bos_token_id),
        ("pad_token_id", config.pad_token_id),
        (
            "media_placeholder_token_id",
            config.media_placeholder_token_id,
        ),
    ];
    let several = config
        .eos_token_ids
        .iter()
        .map(|&id| ("eos_token_id", Some(id)));
    for (name, id) in single.into_iter().chain(several) {
        if let Some(id) = id.map(|id| id as usize).filter(|&id| id >= vocabulary) {
            section.note(
                name,
                id,
                format!("is not in the vocabulary of {vocabulary}"),
            );
        }
    }
}

/// Each number may be believable and their product not.
fn check_parameters(config: &ModelConfig, section: &Section<'_>) {
    let count = parameters::total(&config.text, config.vision.as_ref());
    if count > limits::PARAMETERS {
        let most = limits::PARAMETERS;
        let reason = format!(
            "makes {count} parameters with the other sizes, more than the {most} that are believed"
        );
        section.note("hidden_size", config.text.hidden_size, reason);
    }
}
