//! `Train`: the execution of the model's wiring that records a tape.

use std::sync::Arc;

use k25_config::TextConfig;
use k25_kernels::RouterShape;
use k25_model::exec::{Exec, InputRow};
use k25_model::text;
use k25_model::vision;
use k25_model::weights::{MlaWeights, Mlp, MoeWeights};

use crate::arena::Arena;
use crate::model::{Norm, TrainModel};
use crate::params::Param;
use crate::tape::{Act, Tape};
use crate::tape::{HeadGradients, cross_entropy};
use crate::tape::{MlaGeometry, Segments};
use crate::values::Values;

mod pictures;

pub use crate::tape::HeadLoss;
pub use pictures::Pictures;

use pictures::VisionTrain;

/// What the operators need to know of the model beside its weights.
#[derive(Debug, Clone)]
pub struct Geometry {
    mla: Arc<MlaGeometry>,
    router: RouterShape,
}

impl Geometry {
    /// The geometry of `config` for sequences of up to `positions` rows.
    pub fn new(config: &TextConfig, positions: usize) -> Self {
        Self {
            mla: Arc::new(MlaGeometry::new(config, positions)),
            router: RouterShape {
                top_k: config.num_experts_per_tok,
                groups: config.n_group,
                top_groups: config.topk_group,
                normalize: config.norm_topk_prob,
                scale: config.routed_scaling_factor,
            },
        }
    }
}

/// Rows of several sequences side by side, and what they are to predict.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The token of every row; where a feature of a picture stands, nobody reads it.
    pub tokens: Vec<u32>,
    /// Pictures, whose features take the place of tokens.
    pub pictures: Pictures,
    /// The sequences, without gaps from row 0 on; attention stays within each.
    pub segments: Segments,
    /// The token that follows each row.
    pub targets: Vec<u32>,
    /// How much each row's prediction counts; rows of weight 0 have no logits at all.
    pub weights: Vec<f32>,
}

/// What one pass over a batch measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PassStats {
    /// Σ weight · loss / Σ weight.
    pub loss: f64,
    /// Σ weight.
    pub weight: f64,
    /// Weighted part of predictions whose target was the likeliest token.
    pub accuracy: f64,
    /// For every layer with experts: how many rows visited each expert.
    pub loads: Vec<Vec<u32>>,
    /// For every layer: the largest attention score of each head.
    pub max_scores: Vec<Vec<f32>>,
}

/// The execution that records.
pub struct Train<'a> {
    tape: Tape<'a>,
    geometry: &'a Geometry,
    segments: Segments,
    /// The features of the batch's pictures, if they were computed here.
    features: Option<Act>,
    loads: Vec<Vec<u32>>,
    max_scores: Vec<Vec<f32>>,
}

impl<'a> Train<'a> {
    /// An execution for rows of `segments`, over these parameter values.
    pub fn new(
        params: impl Into<Values<'a>>,
        geometry: &'a Geometry,
        segments: Segments,
        arena: &'a mut Arena,
    ) -> Self {
        Self {
            tape: Tape::new(params, arena),
            geometry,
            segments,
            features: None,
            loads: Vec::new(),
            max_scores: Vec::new(),
        }
    }

    /// Encodes pictures; returns their features, row after row. Where the input has feature rows afterwards, they are these,
    /// and their gradients flow into the tower.
    ///
    /// # Panics
    /// Where the model has no tower, or the tower cannot read a picture.
    pub fn see(&mut self, model: &TrainModel, pictures: &Pictures) -> Vec<f32> {
        if pictures.is_empty() {
            return Vec::new();
        }
        let tower = model.config.vision.as_ref().zip(model.vision.as_ref());
        let (config, weights) = tower.expect("a model that sees pictures has a tower");
        let mut exec = VisionTrain::new(&mut self.tape);
        let features = vision::encode(&mut exec, config, weights, &pictures.items)
            .expect("pictures are checked against the tower when they are read");
        // A tower under adapters is not trained: its features are an input like any other.
        self.features = (!model.is_adapted()).then_some(features);
        self.tape.data(features).to_vec()
    }

    /// What was recorded.
    pub fn into_tape(self) -> Tape<'a> {
        self.tape
    }
}

impl Exec<Param, Norm> for Train<'_> {
    type Act = Act;

    fn embed(&mut self, table: &Param, rows: &[InputRow<'_>]) -> Act {
        let mut features = Vec::new();
        let tokens = rows
            .iter()
            .map(|row| match row {
                InputRow::Token(id) => Some(*id),
                InputRow::Feature(values) => {
                    features.push(*values);
                    None
                }
            })
            .collect();
        let features = match self.features {
            None if !features.is_empty() => Some(self.tape.input(&features.concat(), table.cols)),
            seen => seen,
        };
        self.tape.embed(*table, tokens, features)
    }

    fn linear(&mut self, weight: &Param, x: &Act) -> Act {
        self.tape.linear(*weight, *x)
    }

    fn rms_norm(&mut self, norm: &Norm, x: &Act) -> Act {
        self.tape.rms_norm(*norm, *x)
    }

    fn add(&mut self, x: Act, y: &Act) -> Act {
        self.tape.add(x, *y)
    }

    fn mla(
        &mut self,
        _layer: usize,
        weights: &MlaWeights<Param, Norm>,
        query: &Act,
        kv: &Act,
    ) -> Act {
        let geometry = &self.geometry.mla;
        let (context, max) = self
            .tape
            .mla(geometry, &self.segments, weights, *query, *kv);
        self.max_scores.push(max);
        context
    }

    fn mlp(&mut self, mlp: &Mlp<Param>, x: &Act) -> Act {
        self.tape.mlp(mlp, *x)
    }

    fn moe(&mut self, _layer: usize, weights: &MoeWeights<Param>, x: &Act) -> Act {
        let (y, loads) = self.tape.moe(self.geometry.router, weights, *x);
        self.loads.push(loads);
        y
    }

    fn select_rows(&mut self, x: &Act, rows: &[usize]) -> Act {
        self.tape.select_rows(*x, rows)
    }
}

/// Whether activations are kept for the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// All of them.
    #[default]
    Keep,
    /// Only those between layers; each layer is computed a second time for its gradient, and the vision tower as a whole.
    Recompute,
}

/// Loss of a batch, and its gradient added to `grads` (which is as long as the parameters).
///
/// The gradient is that of Σ weight · loss, divided by `divisor`: the sum of all weights of a step
/// that is made of several batches.
///
/// # Panics
/// As [`Train::see`]; `evaluate` and `logits` as well.
pub fn gradient(
    model: &TrainModel,
    geometry: &Geometry,
    batch: &Batch,
    activations: Activations,
    divisor: f64,
    grads: &mut [f32],
    arena: &mut Arena,
) -> PassStats {
    let wanted = wanted_rows(batch);
    let pass = Pass {
        model,
        geometry,
        batch,
        wanted: &wanted,
        divisor,
    };
    match activations {
        Activations::Keep => pass.keep(grads, arena),
        Activations::Recompute => pass.recompute(grads, arena),
    }
}

/// Loss of a batch without gradient, and the loss of every row that counts.
pub fn evaluate(
    model: &TrainModel,
    geometry: &Geometry,
    batch: &Batch,
    arena: &mut Arena,
) -> (PassStats, HeadLoss) {
    let wanted = wanted_rows(batch);
    let params = model.params.read();
    let mut train = Train::new(params, geometry, Arc::clone(&batch.segments), arena);
    let normed = hidden_states(&mut train, model, batch, &wanted);
    let x = train.tape.data(normed).to_vec();
    let (loads, max_scores) = (
        std::mem::take(&mut train.loads),
        std::mem::take(&mut train.max_scores),
    );
    train.into_tape().discard();
    let (targets, weights) = wanted_targets(batch, &wanted);
    let head = cross_entropy(params, model.text.lm_head, &x, &targets, None, arena);
    (stats(&head, &weights, loads, max_scores), head)
}

/// Logits `[wanted.len(), vocab]` of chosen rows of a batch.
pub fn logits(
    model: &TrainModel,
    geometry: &Geometry,
    batch: &Batch,
    wanted: &[usize],
    arena: &mut Arena,
) -> Vec<f32> {
    let mut train = Train::new(
        model.params.read(),
        geometry,
        Arc::clone(&batch.segments),
        arena,
    );
    let normed = hidden_states(&mut train, model, batch, wanted);
    let logits = train.linear(&model.text.lm_head, &normed);
    let values = train.tape.data(logits).to_vec();
    train.into_tape().discard();
    values
}

/// Encodes a batch's pictures and runs its rows through every layer.
fn hidden_states(
    train: &mut Train<'_>,
    model: &TrainModel,
    batch: &Batch,
    wanted: &[usize],
) -> Act {
    let features = train.see(model, &batch.pictures);
    let rows = input_rows(model, batch, &features);
    text::hidden_states(train, &model.text, &rows, wanted)
}

fn input_rows<'f>(model: &TrainModel, batch: &Batch, features: &'f [f32]) -> Vec<InputRow<'f>> {
    let width = model.config.text.hidden_size;
    batch.pictures.input_rows(&batch.tokens, features, width)
}

fn wanted_rows(batch: &Batch) -> Vec<usize> {
    (0..batch.tokens.len())
        .filter(|row| batch.weights[*row] != 0.0)
        .collect()
}

fn wanted_targets(batch: &Batch, wanted: &[usize]) -> (Vec<u32>, Vec<f32>) {
    wanted
        .iter()
        .map(|row| (batch.targets[*row], batch.weights[*row]))
        .unzip()
}

fn stats(
    head: &HeadLoss,
    weights: &[f32],
    loads: Vec<Vec<u32>>,
    max_scores: Vec<Vec<f32>>,
) -> PassStats {
    let weight: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    let weighted = |value: &dyn Fn(usize) -> f64| {
        let terms = weights.iter().enumerate();
        let total: f64 = terms.map(|(i, w)| f64::from(*w) * value(i)).sum();
        total / weight.max(1e-20)
    };
    PassStats {
        loss: weighted(&|i| f64::from(head.losses[i])),
        weight,
        accuracy: weighted(&|i| f64::from(u8::from(head.hits[i]))),
        loads,
        max_scores,
    }
}

/// One forward and backward pass.
struct Pass<'a> {
    model: &'a TrainModel,
    geometry: &'a Geometry,
    batch: &'a Batch,
    wanted: &'a [usize],
    divisor: f64,
}

impl Pass<'_> {
    fn train<'t>(&'t self, arena: &'t mut Arena) -> Train<'t> {
        Train::new(
            self.model.params.read(),
            self.geometry,
            Arc::clone(&self.batch.segments),
            arena,
        )
    }

    /// The rows that enter the first layer.
    fn embedded(&self, train: &mut Train<'_>) -> Act {
        let features = train.see(self.model, &self.batch.pictures);
        let rows = input_rows(self.model, self.batch, &features);
        train.embed(&self.model.text.embed, &rows)
    }

    /// The head's loss on normed rows; returns the gradient of the rows.
    fn head(
        &self,
        x: &[f32],
        grads: &mut [f32],
        arena: &mut Arena,
    ) -> (HeadLoss, Vec<f32>, Vec<f32>) {
        let (targets, weights) = wanted_targets(self.batch, self.wanted);
        let factors: Vec<f32> = weights
            .iter()
            .map(|w| (f64::from(*w) / self.divisor) as f32)
            .collect();
        let head = self.model.text.lm_head;
        let mut dx = arena.take(x.len());
        let gradients = HeadGradients {
            x: &mut dx,
            params: grads,
            weights: &factors,
        };
        let params = self.model.params.read();
        let loss = cross_entropy(params, head, x, &targets, Some(gradients), arena);
        (loss, weights, dx)
    }

    fn keep(&self, grads: &mut [f32], arena: &mut Arena) -> PassStats {
        let mut train = self.train(arena);
        let normed = hidden_states(&mut train, self.model, self.batch, self.wanted);
        let x = train.tape.data(normed).to_vec();
        let (loads, max_scores) = (train.loads, train.max_scores);
        let mut tape = train.tape;
        let (loss, weights, dx) = self.head(&x, grads, tape.arena());
        tape.backward(vec![(normed, dx)], &[], grads);
        stats(&loss, &weights, loads, max_scores)
    }

    fn recompute(&self, grads: &mut [f32], arena: &mut Arena) -> PassStats {
        let text = &self.model.text;
        let hidden = text.embed.cols;
        let (mut loads, mut max_scores) = (Vec::new(), Vec::new());

        let mut train = self.train(arena);
        let embedded = self.embedded(&mut train);
        let mut between = vec![train.tape.data(embedded).to_vec()];
        train.into_tape().discard();
        for (index, layer) in text.layers.iter().enumerate() {
            let mut train = self.train(arena);
            let residual = train.tape.input(&between[index], hidden);
            let residual = text::decoder_layer(&mut train, index, layer, residual);
            between.push(train.tape.data(residual).to_vec());
            loads.append(&mut train.loads);
            max_scores.append(&mut train.max_scores);
            train.into_tape().discard();
        }

        let mut train = self.train(arena);
        let last = between.pop().expect("the last layer's rows");
        let residual = train.tape.input(&last, hidden);
        let last = train.select_rows(&residual, self.wanted);
        let normed = train.rms_norm(&text.norm, &last);
        let x = train.tape.data(normed).to_vec();
        let mut tape = train.tape;
        let (loss, weights, dx) = self.head(&x, grads, tape.arena());
        let mut grad = only(tape.backward(vec![(normed, dx)], &[residual], grads));

        for (index, layer) in text.layers.iter().enumerate().rev() {
            let mut train = self.train(arena);
            let rows = between.pop().expect("a layer's rows");
            let input = train.tape.input(&rows, hidden);
            let output = text::decoder_layer(&mut train, index, layer, input);
            grad = only(train.tape.backward(vec![(output, grad)], &[input], grads));
        }
        let mut train = self.train(arena);
        let embedded = self.embedded(&mut train);
        train.tape.backward(vec![(embedded, grad)], &[], grads);
        stats(&loss, &weights, loads, max_scores)
    }
}

/// The gradient of the one activation that was asked for.
fn only(grads: Vec<Option<Vec<f32>>>) -> Vec<f32> {
    let mut grads = grads.into_iter().flatten();
    grads
        .next()
        .expect("every row of a residual stream has a gradient")
}
