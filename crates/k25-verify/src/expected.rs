//! A file of expected values: tensors by name.

use std::collections::BTreeMap;
use std::path::Path;

use k25_model::checkpoint::{CheckpointError, SafetensorsFile};
use k25_model::linear::{INT4_GROUP, PackedInt4};
use k25_model::{DType, Tensor};

/// The tensors of one safetensors file.
pub struct Expected {
    tensors: BTreeMap<String, Tensor>,
}

impl Expected {
    /// Opens a file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = SafetensorsFile::open(path)?;
        let tensors = file
            .header()
            .tensors()
            .filter_map(|info| Some((info.name.to_owned(), file.tensor(info.name)?)))
            .collect();
        Ok(Self { tensors })
    }

    /// A tensor by name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Values of an f32 tensor; `None` if it is absent or of another type.
    pub fn f32(&self, name: &str) -> Option<&[f32]> {
        self.get(name)
            .filter(|tensor| tensor.dtype() == DType::F32)
            .map(Tensor::as_f32)
    }

    /// Values of a tensor of 32- or 64-bit integers, none negative or above `u32::MAX`.
    pub fn unsigned(&self, name: &str) -> Option<Vec<u32>> {
        let tensor = self.get(name)?;
        let bytes = tensor.bytes();
        match tensor.dtype() {
            DType::I32 => bytes
                .chunks_exact(4)
                .map(|bytes| u32::try_from(i32::from_le_bytes(bytes.try_into().ok()?)).ok())
                .collect(),
            DType::I64 => bytes
                .chunks_exact(8)
                .map(|bytes| u32::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok())
                .collect(),
            _ => None,
        }
    }

    /// Every name, sorted.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// The `X` of every name `X.ending`, sorted.
    pub fn names_ending_with(&self, ending: &str) -> Vec<String> {
        let suffix = format!(".{ending}");
        self.tensors
            .keys()
            .filter_map(|name| name.strip_suffix(&suffix))
            .map(str::to_owned)
            .collect()
    }

    /// Every name that starts with `prefix.`, sorted.
    pub fn names_below(&self, prefix: &str) -> Vec<String> {
        let prefix = format!("{prefix}.");
        self.tensors
            .keys()
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect()
    }

    /// The matrix stored as `weight_packed` and `weight_scale`; `None` unless the shapes agree.
    pub fn packed_int4(&self) -> Option<PackedInt4> {
        let (packed, scales) = (self.get("weight_packed")?, self.get("weight_scale")?);
        let [out_features, words] = *packed.shape() else {
            return None;
        };
        let in_features = words * 8;
        let types_fit = packed.dtype() == DType::I32 && scales.dtype() == DType::BF16;
        let shapes_fit = scales.shape() == [out_features, in_features / INT4_GROUP];
        let declared = self.unsigned("weight_shape")?;
        let declared_fits = declared == [out_features as u32, in_features as u32];
        (types_fit && shapes_fit && declared_fits).then(|| PackedInt4 {
            packed: packed.clone(),
            scales: scales.clone(),
            out_features,
            in_features,
        })
    }
}
