//! The vision tower of a model in training: where its parameters lie, and a checkpoint's values for them.

use k25_model::names::{BiasedParts, Part, VisionNames};
use k25_model::vision::weights::{
    BlockWeights, ENCODER_LN_EPS, LayerNorm, LinearBias, PositionTable, ProjectorWeights,
    VisionWeights,
};

use crate::frozen::{Frozen, Kept};
use crate::params::Param;

/// The tree of the tower's parameters.
pub type TrainVision = VisionWeights<Param, Param>;

/// Makes room for every part of the tower, where `add` says.
pub(super) fn shaped(add: &mut dyn FnMut(Part) -> Param, names: VisionNames<'_>) -> TrainVision {
    let config = names.config();
    let mut biased = |parts: BiasedParts| LinearBias {
        weight: add(parts.weight),
        bias: add(parts.bias),
    };
    let norm = |parts: LinearBias<Param, Param>, eps: f32| LayerNorm {
        weight: parts.weight,
        bias: parts.bias,
        eps,
    };
    let patch_embed = biased(names.patch_embed());
    let blocks = (0..config.num_hidden_layers)
        .map(|index| {
            let parts = names.block(index);
            BlockWeights {
                norm0: norm(biased(parts.norm0), ENCODER_LN_EPS),
                wqkv: biased(parts.wqkv),
                wo: biased(parts.wo),
                norm1: norm(biased(parts.norm1), ENCODER_LN_EPS),
                fc0: biased(parts.fc0),
                fc1: biased(parts.fc1),
            }
        })
        .collect();
    let final_norm = norm(biased(names.final_norm()), ENCODER_LN_EPS);
    let projector = ProjectorWeights {
        pre_norm: norm(biased(names.projector_norm()), config.projector_ln_eps),
        proj0: biased(names.projector_in()),
        proj2: biased(names.projector_out()),
    };
    VisionWeights {
        patch_embed,
        positions: PositionTable {
            values: add(names.positions()),
            height: config.init_pos_emb_height,
            width: config.init_pos_emb_width,
        },
        blocks,
        final_norm,
        projector,
    }
}

/// Copies the values of a checkpoint's tower of the same shape.
pub(super) fn copy(places: &TrainVision, loaded: &VisionWeights, values: &mut [f32]) {
    let (matrices, few) = parts(places);
    let (loaded_matrices, loaded_few) = parts(loaded);
    for (param, linear) in matrices.into_iter().zip(loaded_matrices) {
        let values = &mut values[param.range()];
        for (row, into) in values.chunks_exact_mut(param.cols).enumerate() {
            linear.row_to_f32(row, into);
        }
    }
    for (param, loaded) in few.into_iter().zip(loaded_few) {
        values[param.range()].copy_from_slice(loaded);
    }
}

/// Leaves the values of a checkpoint's tower of the same shape where they are: it is not trained.
pub(crate) fn keep(places: &TrainVision, loaded: &VisionWeights, frozen: &mut Frozen) {
    let (matrices, few) = parts(places);
    let (loaded_matrices, loaded_few) = parts(loaded);
    for (param, linear) in matrices.into_iter().zip(loaded_matrices) {
        frozen.keep(*param, Kept::Matrix(linear.clone()));
    }
    for (param, loaded) in few.into_iter().zip(loaded_few) {
        frozen.keep(*param, Kept::Values(loaded.clone()));
    }
}

/// Every matrix and every few values of a tower, in one order whatever they are.
fn parts<M, V>(tower: &VisionWeights<M, V>) -> (Vec<&M>, Vec<&V>) {
    let projector = &tower.projector;
    let mut linears = vec![&tower.patch_embed, &projector.proj0, &projector.proj2];
    let mut norms = vec![&tower.final_norm, &projector.pre_norm];
    for block in &tower.blocks {
        linears.extend([&block.wqkv, &block.wo, &block.fc0, &block.fc1]);
        norms.extend([&block.norm0, &block.norm1]);
    }
    let matrices = linears.iter().map(|linear| &linear.weight).collect();
    let biases = linears.into_iter().map(|linear| &linear.bias);
    let norms = norms
        .into_iter()
        .flat_map(|norm| [&norm.weight, &norm.bias]);
    let few = std::iter::once(&tower.positions.values);
    (matrices, few.chain(biases).chain(norms).collect())
}
