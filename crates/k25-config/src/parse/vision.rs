//! The vision tower's fields.
//!
//! The published files prefix the encoder's names with `vt_`; transformers' own form drops the
//! prefix, shortens `init_pos_emb_*` and moves the projector's numbers to the top level.

use serde_json::json;

use super::text::EPSILON;
use crate::fields::Fields;
use crate::{VisionConfig, limits};

/// Reads `vision_config` of `top`; `None` where the file has none or `null`.
pub(super) fn read(top: &Fields<'_>) -> Option<VisionConfig> {
    let vision = top.child("vision_config")?;
    refuse_other_computations(&vision);
    let size = |names: &[&str], most: usize| vision.size(vision.first_present(names), 1..=most);
    let hidden_size = size(&["vt_hidden_size", "hidden_size"], limits::WIDTH);
    Some(VisionConfig {
        patch_size: size(&["patch_size"], limits::PATCH_SIDE),
        hidden_size,
        num_hidden_layers: size(
            &["vt_num_hidden_layers", "num_hidden_layers"],
            limits::LAYERS,
        ),
        num_attention_heads: size(
            &["vt_num_attention_heads", "num_attention_heads"],
            limits::HEADS,
        ),
        intermediate_size: size(
            &["vt_intermediate_size", "intermediate_size"],
            limits::INNER_WIDTH,
        ),
        merge_kernel_size: merge_kernel(&vision),
        init_pos_emb_height: size(
            &["init_pos_emb_height", "pos_emb_height"],
            limits::POSITION_TABLE_SIDE,
        ),
        init_pos_emb_width: size(
            &["init_pos_emb_width", "pos_emb_width"],
            limits::POSITION_TABLE_SIDE,
        ),
        init_pos_emb_time: size(
            &["init_pos_emb_time", "pos_emb_time"],
            limits::POSITION_TABLE_SIDE,
        ),
        mm_hidden_size: vision.size_or("mm_hidden_size", 1..=limits::WIDTH, hidden_size),
        text_hidden_size: text_width(&vision, top),
        projector_ln_eps: projector_epsilon(&vision, top),
    })
}

fn refuse_other_computations(vision: &Fields<'_>) {
    vision.only("merge_type", &json!("sd2_tpool"));
    vision.only("mm_projector_type", &json!("patchmerger"));
    vision.only("pos_emb_type", &json!("divided_fixed"));
    vision.only("projector_hidden_act", &json!("gelu"));
    vision.only("video_attn_type", &json!("spatial_temporal"));
    vision.only("hidden_act", &json!("gelu_pytorch_tanh"));
}

/// `[height, width]`, or one number for both.
fn merge_kernel(vision: &Fields<'_>) -> [usize; 2] {
    const NAME: &str = "merge_kernel_size";
    let side = |value: &serde_json::Value| {
        value
            .as_u64()
            .and_then(|side| usize::try_from(side).ok())
            .filter(|side| (1..=limits::MERGE_SIDE).contains(side))
    };
    let sides = vision
        .value(NAME)
        .and_then(|value| match value.as_array().map(Vec::as_slice) {
            Some([height, width]) => Some([side(height)?, side(width)?]),
            Some(_) => None,
            None => side(value).map(|side| [side, side]),
        });
    // Preprocessing pads to squares of patches, so the two sides cannot differ.
    sides
        .filter(|[height, width]| height == width)
        .unwrap_or_else(|| {
            let reason = format!(
                "must be two equal whole numbers from 1 to {}",
                limits::MERGE_SIDE
            );
            vision.note(NAME, reason, "the published models have [2, 2]");
            [1, 1]
        })
}

fn text_width(vision: &Fields<'_>, top: &Fields<'_>) -> usize {
    if vision.value("text_hidden_size").is_some() {
        return vision.size("text_hidden_size", 1..=limits::WIDTH);
    }
    top.child("text_config")
        .and_then(|text| text.optional_size("hidden_size", 1..=limits::WIDTH))
        .unwrap_or(1)
}

fn projector_epsilon(vision: &Fields<'_>, top: &Fields<'_>) -> f32 {
    const PUBLISHED: f64 = 1e-5;
    let outer = top.number_or("projection_layer_norm_eps", EPSILON, PUBLISHED);
    vision.number_or("projector_ln_eps", EPSILON, outer) as f32
}
