//! Which tensor lies where: the layout of a checkpoint before a byte of it is written.

use std::cmp::Reverse;

use k25_config::ModelConfig;

use super::fill::Fill;
use crate::linear::INT4_GROUP;
use crate::names::{Kind, NameMap, Part, Prefix};
use crate::tensor::DType;

/// The layout of a whole checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The files in order.
    pub shards: Vec<PlannedShard>,
}

/// The layout of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedShard {
    /// Its name.
    pub name: String,
    /// Its tensors in the order in which they lie in it.
    pub tensors: Vec<PlannedTensor>,
}

/// One tensor of the layout.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedTensor {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    pub(super) fill: Fill,
}

impl PlannedTensor {
    /// How many bytes it takes.
    pub fn byte_len(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product::<u64>() * self.dtype.bits() as u64 / 8
    }
}

impl PlannedShard {
    /// Bytes of its tensors.
    pub fn values_len(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::byte_len).sum()
    }

    /// The length and the JSON that stand before the values, padded so that these lie aligned.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
        let mut begin = 0;
        for tensor in &self.tensors {
            let PlannedTensor {
                name, dtype, shape, ..
            } = tensor;
            let end = begin + tensor.byte_len();
            json.push_str(&format!(
                r#","{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
            ));
            begin = end;
        }
        json.push('}');
        let padding = json.len().next_multiple_of(8) - json.len();
        json.push_str(&" ".repeat(padding));
        let mut header = (json.len() as u64).to_le_bytes().to_vec();
        header.extend(json.into_bytes());
        header
    }
}

impl Plan {
    /// Lays out `config` in `shards` files of about the same size: the routed experts packed,
    /// correction biases in f32, all else in bf16, under the names of Kimi K2.5.
    ///
    /// Within a file tensors lie as the format's library puts them, by width of type, type and name. In a
    /// sparse one the declared shapes come first, so that they share the few pages that exist.
    pub fn new(config: &ModelConfig, shards: usize, sparse: bool) -> Self {
        let names = NameMap::new(config, Prefix::LanguageModel, true);
        let parts: Vec<_> = names.parts().map(|part| tensors_of(&part)).collect();
        let len =
            |tensors: &[PlannedTensor]| tensors.iter().map(PlannedTensor::byte_len).sum::<u64>();
        let total: u64 = parts.iter().map(|tensors| len(tensors)).sum();
        let mut files: Vec<Vec<PlannedTensor>> = vec![Vec::new(); shards];
        let mut before = 0;
        for tensors in parts {
            // A part goes where its first byte falls when the whole is cut into equal pieces.
            let file = u128::from(before) * shards as u128 / u128::from(total.max(1));
            before += len(&tensors);
            files[file as usize].extend(tensors);
        }
        files.retain(|tensors| !tensors.is_empty());
        let count = files.len();
        let shard = |(index, mut tensors): (usize, Vec<PlannedTensor>)| {
            tensors.sort_by(|a, b| order(a, sparse).cmp(&order(b, sparse)));
            let name = format!("model-{:05}-of-{count:06}.safetensors", index + 1);
            PlannedShard { name, tensors }
        };
        Self {
            shards: files.into_iter().enumerate().map(shard).collect(),
        }
    }

    /// How many tensors there are.
    pub fn tensor_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.tensors.len()).sum()
    }

    /// Bytes of all tensors: `total_size` of the index.
    pub fn total_bytes(&self) -> u64 {
        self.shards.iter().map(PlannedShard::values_len).sum()
    }

    /// Bytes that writing takes, about and not less.
    pub(super) fn bytes_on_disk(&self, sparse: bool) -> u64 {
        const HEADER_AND_INDEX_PER_TENSOR: u64 = 400;
        const OTHER_FILES: u64 = 16 << 20;
        let values = if sparse { 0 } else { self.total_bytes() };
        values + self.tensor_count() as u64 * HEADER_AND_INDEX_PER_TENSOR + OTHER_FILES
    }
}

fn order(tensor: &PlannedTensor, sparse: bool) -> (bool, Reverse<usize>, DType, &str) {
    let first = sparse && matches!(tensor.fill, Fill::Declared { .. });
    (
        !first,
        Reverse(tensor.dtype.bits()),
        tensor.dtype,
        &tensor.name,
    )
}

fn tensors_of(part: &Part) -> Vec<PlannedTensor> {
    let shape = part.shape.clone();
    if part.kind != Kind::RoutedExperts {
        let name = part.name.clone();
        let is_bias = name.ends_with("e_score_correction_bias");
        let dtype = if is_bias { DType::F32 } else { DType::BF16 };
        return vec![PlannedTensor {
            name,
            dtype,
            shape,
            fill: Fill::of_plain(part),
        }];
    }
    let [words, scales, declared] = part.packed_names();
    let (rows, width) = (shape[0], shape[1]);
    let tensor = |name, dtype, shape, fill| PlannedTensor {
        name,
        dtype,
        shape,
        fill,
    };
    vec![
        tensor(words, DType::I32, vec![rows, width / 8], Fill::Codes),
        tensor(
            scales,
            DType::BF16,
            vec![rows, width / INT4_GROUP],
            Fill::of_scales(width),
        ),
        tensor(
            declared,
            DType::I32,
            vec![2],
            Fill::Declared { rows, width },
        ),
    ]
}
