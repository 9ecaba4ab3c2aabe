//! Speed of media preprocessing and of the vision tower: `cargo bench -p k25-model`.
//!
//! No harness: each line is the best of a few passes. Arguments are image files to measure beside
//! the photograph of 12 million pixels that ffmpeg makes for this: `cargo bench -p k25-model -- a.jpg`.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use k25_config::{MediaConfig, VisionConfig};
use k25_kernels::Pool;
use k25_model::fast::VisionFast;
use k25_model::linear::{Dense, Linear};
use k25_model::media::{ImageLimits, decode_image, image_size, patches, resize_and_pad};
use k25_model::vision::VisionItem;
use k25_model::vision::weights::{
    BlockWeights, ENCODER_LN_EPS, LayerNorm, LinearBias, PositionTable, ProjectorWeights,
    VisionWeights,
};
use k25_model::{Tensor, VisionReference};

const PASSES: usize = 5;

fn main() {
    let files = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let files: Vec<String> = files.collect();
    let dir = tempfile::tempdir().expect("a folder");
    let photo = dir.path().join("photo.jpg");
    make_photo(&photo);
    image(
        "12 MP JPEG",
        &std::fs::read(&photo).expect("the photograph"),
    );
    for file in files {
        image(&file, &std::fs::read(&file).expect("an image file"));
    }
    vision_tower();
}

/// A baseline JPEG of 4,000 × 3,000 pixels with subsampled colour and some noise.
fn make_photo(out: &Path) {
    let source = "testsrc2=size=4000x3000,noise=alls=12";
    let made = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            source,
            "-frames:v",
            "1",
        ])
        .args(["-pix_fmt", "yuvj420p", "-q:v", "3"])
        .arg(out)
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "needs ffmpeg (apt-get install ffmpeg)"
    );
}

fn image(name: &str, bytes: &[u8]) {
    let (config, limits) = (MediaConfig::default(), ImageLimits::default());
    let image = decode_image(bytes, &limits).expect(name);
    let size = image_size(image.width(), image.height(), &config);
    let padded = resize_and_pad(image.clone(), size);
    println!(
        "{name}: {} × {} pixels, {} bytes, to {} × {}",
        image.width(),
        image.height(),
        bytes.len(),
        size.width,
        size.height
    );
    report("  decode", best(|| decode_image(bytes, &limits)));
    report(
        "  resize and pad",
        best(|| resize_and_pad(image.clone(), size)),
    );
    report(
        "  normalise and cut",
        best(|| patches(std::slice::from_ref(&padded), &config)),
    );
}

/// The tower at K2.5's widths over square images, in both executions. Towers of one block and of
/// two are timed; their difference is a block, and all 27 follow from it.
fn vision_tower() {
    let config = |num_hidden_layers| VisionConfig {
        num_hidden_layers,
        ..k25_vision()
    };
    let weights = [1, 2].map(|blocks| random_weights(&config(blocks)));
    let pool = Pool::for_machine();
    for side in [32, 64, 128] {
        let item = [VisionItem {
            grid: [1, side, side],
            patches: vec![0.1; side * side * 588],
        }];
        let time = |blocks: usize, fast: bool| {
            let (config, weights) = (config(blocks), &weights[blocks - 1]);
            once(|| match fast {
                true => VisionFast::new(&pool).features(&config, weights, &item),
                false => VisionReference::new().features(&config, weights, &item),
            })
        };
        println!("vision tower, {} patches", side * side);
        for (name, fast) in [("reference", false), ("fast", true)] {
            // The reference needs minutes for the largest.
            if fast || side < 128 {
                let (one, two) = (time(1, fast), time(2, fast));
                report(&format!("  {name}: a block"), two.saturating_sub(one));
                report(
                    &format!("  {name}: all"),
                    one + two.saturating_sub(one) * 26,
                );
            }
        }
    }
}

fn k25_vision() -> VisionConfig {
    VisionConfig {
        patch_size: 14,
        hidden_size: 1_152,
        num_hidden_layers: 27,
        num_attention_heads: 16,
        intermediate_size: 4_304,
        merge_kernel_size: [2, 2],
        init_pos_emb_height: 64,
        init_pos_emb_width: 64,
        init_pos_emb_time: 4,
        mm_hidden_size: 1_152,
        text_hidden_size: 7_168,
        projector_ln_eps: 1e-5,
    }
}

fn random_weights(config: &VisionConfig) -> VisionWeights {
    let hidden = config.hidden_size;
    let merged = 4 * hidden;
    let norm = || LayerNorm {
        weight: vec![1.0; hidden],
        bias: vec![0.0; hidden],
        eps: ENCODER_LN_EPS,
    };
    let block = |_| BlockWeights {
        norm0: norm(),
        wqkv: linear(3 * hidden, hidden),
        wo: linear(hidden, hidden),
        norm1: norm(),
        fc0: linear(config.intermediate_size, hidden),
        fc1: linear(hidden, config.intermediate_size),
    };
    VisionWeights {
        patch_embed: linear(hidden, 588),
        positions: PositionTable {
            values: vec![0.1; 64 * 64 * hidden],
            height: 64,
            width: 64,
        },
        blocks: (0..config.num_hidden_layers).map(block).collect(),
        final_norm: norm(),
        projector: ProjectorWeights {
            pre_norm: norm(),
            proj0: linear(merged, merged),
            proj2: linear(config.text_hidden_size, merged),
        },
    }
}

/// A matrix of small numbers that differ.
fn linear(out_features: usize, in_features: usize) -> LinearBias {
    let bits = (0..out_features * in_features)
        .map(|index| 0x3C00 | ((index * 2_654_435_761) >> 20) as u16 & 0x807F);
    let values = Tensor::from_bf16_bits(&[out_features, in_features], bits.collect());
    LinearBias {
        weight: Linear::Bf16(Dense {
            values,
            out_features,
            in_features,
        }),
        bias: vec![0.0; out_features],
    }
}

fn best<T>(mut pass: impl FnMut() -> T) -> Duration {
    (0..PASSES)
        .map(|_| once(&mut pass))
        .min()
        .unwrap_or_default()
}

fn once<T>(pass: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    black_box(pass());
    started.elapsed()
}

fn report(name: &str, time: Duration) {
    println!("{name:24} {:10.1} ms", time.as_secs_f64() * 1e3);
}
