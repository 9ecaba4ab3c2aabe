//! Training speed: the decoder of `bench/train/decoder.py` (plain attention, 6.92 M parameters) and a small
//! mixture-of-experts model with latent attention, with the fraction of this machine's f32 peak.
//!
//! `cargo bench -p k25-train --bench training_speed -- decoder|nano [steps] [tokens per step]`; without arguments both.

use std::sync::Arc;
use std::time::Instant;

use k25_config::ModelConfig;
use k25_kernels::{Isa, Pool, roof};
use k25_model::names::{Form, Kind, Part};
use k25_model::weights::Mlp;
use k25_train::arena::Arena;
use k25_train::exec::{Activations, Batch, Geometry, Pictures, gradient};
use k25_train::model::{Norm, TrainModel};
use k25_train::optimizer::{Matrices, Optimizer, OptimizerConfig};
use k25_train::params::{Param, ParamStore, Storage};
use k25_train::random::Random;
use k25_train::tape::{HeadGradients, QkvGeometry, Segment, Tape, cross_entropy};

const LAYERS: usize = 6;
const HIDDEN: usize = 256;
const INNER: usize = 704;
const HEADS: usize = 8;
const VOCAB: usize = 4096;
const SEQUENCES: usize = 16;
const LEN: usize = 256;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let which = arguments.first().map_or("both", String::as_str);
    let number = |index: usize, default: usize| {
        arguments
            .get(index)
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    if which != "nano" {
        decoder(number(1, 8));
    }
    if which != "decoder" {
        nano(number(1, 8), number(2, 8192));
    }
}

/// Times `step` (the first one not), and prints what came of it.
fn measure(
    name: &str,
    steps: usize,
    tokens: usize,
    flops_per_token: f64,
    mut step: impl FnMut() -> (f64, [f64; 2]),
) {
    let peak = (0..5)
        .map(|_| roof::f32_peak(Isa::best(), &Pool::for_machine()))
        .fold(0.0, f64::max);
    let (first, _) = step();
    let (mut last, mut best, mut parts) = (first, f64::INFINITY, [0.0; 2]);
    let begin = Instant::now();
    for _ in 0..steps {
        let at = Instant::now();
        let (loss, times) = step();
        last = loss;
        if at.elapsed().as_secs_f64() < best {
            best = at.elapsed().as_secs_f64();
            parts = times;
        }
    }
    let mean = begin.elapsed().as_secs_f64() / steps as f64;
    let rate = |seconds: f64| tokens as f64 / seconds;
    println!(
        "{name}: mean {:.0} tok/s, best {:.0} tok/s ({:.3} s: {:.3} gradient, {:.3} optimiser), {:.0} GFLOP/s = {:.0} % of {:.0}; loss {first:.3} → {last:.3}; peak memory {} MB",
        rate(mean),
        rate(best),
        best,
        parts[0],
        parts[1],
        rate(best) * flops_per_token / 1e9,
        rate(best) * flops_per_token / peak * 100.0,
        peak / 1e9,
        peak_memory_mb(),
    );
}

fn peak_memory_mb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kilobytes.unwrap_or(0) / 1024
}

/// Vocabulary of the small mixture of experts.
const NANO_VOCAB: usize = 2048;

/// One layer of the plain decoder.
struct Layer {
    norms: [Norm; 2],
    qkv: Param,
    out: Param,
    mlp: Mlp<Param>,
}

struct Decoder {
    params: ParamStore,
    embed: Param,
    layers: Vec<Layer>,
    norm: Norm,
    head: Param,
}

impl Decoder {
    fn new() -> Self {
        let mut params = ParamStore::default();
        let mut add = |name: &str, kind, shape: &[usize]| {
            let form = if shape.len() > 1 {
                Form::Matrix
            } else {
                Form::Values
            };
            let part = Part {
                name: name.into(),
                kind,
                form,
                shape: shape.into(),
            };
            params.add(part, Storage::Bf16)
        };
        let embed = add("embed", Kind::Embedding, &[VOCAB, HIDDEN]);
        let layers = (0..LAYERS)
            .map(|_| Layer {
                norms: [(); 2].map(|()| Norm {
                    weight: add("norm", Kind::Norms, &[HIDDEN]),
                    eps: 1e-5,
                }),
                qkv: add("qkv", Kind::Attention, &[3 * HIDDEN, HIDDEN]),
                out: add("out", Kind::Attention, &[HIDDEN, HIDDEN]),
                mlp: Mlp {
                    gate: add("gate", Kind::DenseMlp, &[INNER, HIDDEN]),
                    up: add("up", Kind::DenseMlp, &[INNER, HIDDEN]),
                    down: add("down", Kind::DenseMlp, &[HIDDEN, INNER]),
                },
            })
            .collect();
        let norm = Norm {
            weight: add("norm", Kind::Norms, &[HIDDEN]),
            eps: 1e-5,
        };
        let head = add("head", Kind::Head, &[VOCAB, HIDDEN]);
        let entries = params.entries().to_vec();
        for (index, entry) in entries.iter().enumerate() {
            let values = &mut params.values_mut()[entry.param.range()];
            match entry.part.kind {
                Kind::Norms => values.fill(1.0),
                _ => Random::new(1, index as u64).fill_normal(values, 0.02),
            }
        }
        Self {
            params,
            embed,
            layers,
            norm,
            head,
        }
    }

    fn gradient(
        &self,
        geometry: &Arc<QkvGeometry>,
        tokens: &[u32],
        targets: &[u32],
        grads: &mut [f32],
        arena: &mut Arena,
    ) -> f64 {
        let params = self.params.values();
        let mut tape = Tape::new(params, arena);
        let mut residual = tape.embed(
            self.embed,
            tokens.iter().map(|id| Some(*id)).collect(),
            None,
        );
        for layer in &self.layers {
            let normed = tape.rms_norm(layer.norms[0], residual);
            let qkv = tape.linear(layer.qkv, normed);
            let context = tape.attention(geometry, qkv);
            let attended = tape.linear(layer.out, context);
            residual = tape.add(residual, attended);
            let normed = tape.rms_norm(layer.norms[1], residual);
            let transformed = tape.mlp(&layer.mlp, normed);
            residual = tape.add(residual, transformed);
        }
        let normed = tape.rms_norm(self.norm, residual);
        let x = tape.data(normed).to_vec();
        let mut dx = vec![0.0; x.len()];
        let weights = vec![1.0 / tokens.len() as f32; tokens.len()];
        let gradients = HeadGradients {
            x: &mut dx,
            params: grads,
            weights: &weights,
        };
        let loss = cross_entropy(
            params,
            self.head,
            &x,
            targets,
            Some(gradients),
            tape.arena(),
        );
        tape.backward(vec![(normed, dx)], &[], grads);
        loss.losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / loss.losses.len() as f64
    }
}

/// Angles of a rotary embedding with base 10,000 for a head of `dim` values.
fn angles(dim: usize) -> Vec<f32> {
    let row = |row: usize| {
        (0..dim / 2).flat_map(move |pair| {
            let angle = (row % LEN) as f64 * 10_000f64.powf(-2.0 * pair as f64 / dim as f64);
            [angle.cos() as f32, angle.sin() as f32]
        })
    };
    (0..SEQUENCES * LEN).flat_map(row).collect()
}

fn decoder(steps: usize) {
    let mut model = Decoder::new();
    let config = OptimizerConfig {
        matrices: Matrices::Adamw,
        clip_norm: 0.0,
        ..OptimizerConfig::default()
    };
    let mut optimizer = Optimizer::new(config, &model.params);
    let segments: Vec<_> = (0..SEQUENCES)
        .map(|index| Segment::whole(index * LEN, LEN))
        .collect();
    let geometry = Arc::new(QkvGeometry {
        heads: HEADS,
        causal: true,
        angles: angles(HIDDEN / HEADS),
        segments: segments.into(),
    });
    let rows = SEQUENCES * LEN;
    let mut random = Random::new(2, 0);
    let tokens: Vec<u32> = (0..=rows).map(|_| random.below(VOCAB) as u32).collect();
    let mut grads = vec![0.0; model.params.len()];
    let mut arena = Arena::new();
    let matrices = model.params.len() - VOCAB * HIDDEN;
    // 6 per active value, and attention's two products, three times over, half of them masked.
    let flops = 6.0 * matrices as f64 + (LAYERS * 6 * LEN * HIDDEN) as f64;
    measure("decoder 6.92 M", steps, rows, flops, || {
        let begin = Instant::now();
        grads.fill(0.0);
        let loss = model.gradient(
            &geometry,
            &tokens[..rows],
            &tokens[1..],
            &mut grads,
            &mut arena,
        );
        let gradient_seconds = begin.elapsed().as_secs_f64();
        optimizer.step(&mut model.params, &grads, 1e-3);
        (
            loss,
            [
                gradient_seconds,
                begin.elapsed().as_secs_f64() - gradient_seconds,
            ],
        )
    });
}

fn nano_config() -> ModelConfig {
    let mut config = ModelConfig::kimi_k25();
    config.vision = None;
    let text = &mut config.text;
    text.hidden_size = 256;
    text.num_hidden_layers = 6;
    text.intermediate_size = 640;
    text.moe_intermediate_size = 128;
    text.n_routed_experts = 16;
    text.num_experts_per_tok = 2;
    text.num_attention_heads = 8;
    text.q_lora_rank = Some(96);
    text.kv_lora_rank = 64;
    text.qk_nope_head_dim = 32;
    text.qk_rope_head_dim = 16;
    text.v_head_dim = 32;
    text.vocab_size = NANO_VOCAB;
    config
}

fn nano(steps: usize, rows: usize) {
    let mut model = TrainModel::fresh(nano_config(), 1);
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), &model.params);
    let len = 512;
    let geometry = Geometry::new(&model.config.text, len);
    let mut random = Random::new(3, 0);
    let batch = Batch {
        pictures: Pictures::default(),
        tokens: (0..rows).map(|_| random.below(NANO_VOCAB) as u32).collect(),
        targets: (0..rows).map(|_| random.below(NANO_VOCAB) as u32).collect(),
        weights: (0..rows)
            .map(|row| if row % 3 == 0 { 1.0 } else { 0.0 })
            .collect(),
        segments: (0..rows / len)
            .map(|index| Segment::whole(index * len, len))
            .collect(),
    };
    let mut grads = vec![0.0; model.params.len()];
    let mut arena = Arena::new();
    let active = model.active_parameters();
    println!("nano: {} parameters, {active} active", model.params.len());
    let text = model.config.text.clone();
    let head_and_embedding = (text.vocab_size + 1) * text.hidden_size;
    let attention = text.num_hidden_layers
        * text.num_attention_heads
        * len
        * (text.qk_head_dim() + text.v_head_dim)
        / 2;
    // A third of the rows have logits.
    let flops = 6.0
        * (active - head_and_embedding + text.vocab_size * text.hidden_size / 3 + attention) as f64;
    measure(
        "nano, latent attention and experts",
        steps,
        rows,
        flops,
        || {
            let begin = Instant::now();
            grads.fill(0.0);
            let stats = gradient(
                &model,
                &geometry,
                &batch,
                Activations::Keep,
                rows as f64 / 3.0,
                &mut grads,
                &mut arena,
            );
            let gradient_seconds = begin.elapsed().as_secs_f64();
            optimizer.step(&mut model.params, &grads, 1e-3);
            (
                stats.loss,
                [
                    gradient_seconds,
                    begin.elapsed().as_secs_f64() - gradient_seconds,
                ],
            )
        },
    );
}
