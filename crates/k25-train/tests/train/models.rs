//! Small models and batches for tests.

use k25_config::{ModelConfig, TextConfig, VisionConfig};
use k25_model::vision::VisionItem;
use k25_train::exec::{Batch, Pictures};
use k25_train::random::Random;
use k25_train::tape::Segment;

/// A text-only configuration with every operator: latent queries, YaRN, a dense first layer, grouped
/// routing, a shared expert.
pub fn tiny_config() -> ModelConfig {
    let mut config = ModelConfig::kimi_k25();
    config.vision = None;
    tiny_text(&mut config.text);
    (
        config.bos_token_id,
        config.eos_token_ids,
        config.pad_token_id,
    ) = (Some(0), vec![1], Some(2));
    config.media_placeholder_token_id = Some(3);
    config
}

/// The same with a vision tower whose position table is larger than a picture in one direction and smaller in the other.
pub fn tiny_config_that_sees() -> ModelConfig {
    let mut config = tiny_config();
    config.vision = ModelConfig::kimi_k25().vision.map(|vision| VisionConfig {
        patch_size: 4,
        hidden_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 40,
        init_pos_emb_height: 6,
        init_pos_emb_width: 4,
        mm_hidden_size: 24,
        text_hidden_size: 32,
        ..vision
    });
    config
}

/// Random patches of `patch` pixels a side.
pub fn item(grid: [usize; 3], patch: usize, seed: u64) -> VisionItem {
    let mut patches = vec![0.0; grid.iter().product::<usize>() * 3 * patch * patch];
    Random::new(seed, 78).fill_normal(&mut patches, 0.7);
    VisionItem { grid, patches }
}

fn tiny_text(text: &mut TextConfig) {
    text.hidden_size = 32;
    text.num_hidden_layers = 3;
    text.intermediate_size = 48;
    text.moe_intermediate_size = 32;
    text.n_routed_experts = 8;
    text.num_experts_per_tok = 3;
    text.n_group = 2;
    text.topk_group = 1;
    text.num_attention_heads = 2;
    text.q_lora_rank = Some(24);
    text.kv_lora_rank = 16;
    text.qk_nope_head_dim = 12;
    text.qk_rope_head_dim = 8;
    text.v_head_dim = 10;
    text.vocab_size = 61;
}

/// Random sequences of these lengths; about a third of the rows do not count.
pub fn batch(vocab: usize, lens: &[usize], seed: u64) -> Batch {
    let mut random = Random::new(seed, 77);
    let rows: usize = lens.iter().sum();
    let mut start = 0;
    let segments: Vec<Segment> = lens
        .iter()
        .map(|&len| {
            start += len;
            Segment::whole(start - len, len)
        })
        .collect();
    Batch {
        pictures: Pictures::default(),
        tokens: (0..rows).map(|_| random.below(vocab) as u32).collect(),
        targets: (0..rows).map(|_| random.below(vocab) as u32).collect(),
        weights: (0..rows)
            .map(|_| {
                if random.chance(0.3) {
                    0.0
                } else {
                    0.25 + random.unit() as f32
                }
            })
            .collect(),
        segments: segments.into(),
    }
}
