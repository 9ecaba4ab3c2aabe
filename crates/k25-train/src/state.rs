//! A run's state on disk: one file, replaced atomically, from which a run goes on as if it had never stopped.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use k25_model::{DType, SafetensorsFile, Tensor};
use serde::{Deserialize, Serialize};

use crate::data::SourcePosition;
use crate::error::TrainError;
use crate::model::TrainModel;
use crate::optimizer::Optimizer;
use crate::safetensors::{self, Stored};

/// The file's name in a run's folder.
pub const STATE_FILE: &str = "state.safetensors";

/// What a state holds beside numbers in bulk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps that were made.
    pub step: u64,
    /// Steps of the optimiser: fewer where one was left out.
    pub optimizer_steps: u64,
    /// Rows that were trained on.
    pub tokens: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Bytes of the metrics file that belong to these steps.
    pub metrics_bytes: u64,
    /// Where the data is.
    pub positions: Vec<SourcePosition>,
}

/// Writes a state.
///
/// # Errors
/// Where the system refuses.
pub fn save(
    dir: &Path,
    model: &TrainModel,
    optimizer: &Optimizer,
    progress: &Progress,
) -> Result<(), TrainError> {
    let floats = |name: String, values: &'_ [f32]| Stored {
        name,
        dtype: "F32",
        shape: vec![values.len()],
        bytes: Cow::Owned(bytemuck::cast_slice(values).to_vec()),
    };
    let text = serde_json::to_vec(progress).expect("numbers can always be written");
    let mut tensors = vec![
        Stored {
            name: "progress".to_owned(),
            dtype: "U8",
            shape: vec![text.len()],
            bytes: Cow::Owned(text),
        },
        floats("values".to_owned(), model.params.values()),
        floats("optimizer.first".to_owned(), &optimizer.first),
        floats("optimizer.second".to_owned(), &optimizer.second),
    ];
    for (layer, bias) in model.correction_biases() {
        tensors.push(floats(format!("router_bias.{layer}"), bias));
    }
    safetensors::write(&dir.join(STATE_FILE), &tensors)
}

/// An opened state.
pub struct State {
    path: PathBuf,
    file: SafetensorsFile,
}

impl State {
    /// Opens the state in a run's folder; `None` where there is none yet.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn open(dir: &Path) -> Result<Option<Self>, TrainError> {
        let path = dir.join(STATE_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let file = SafetensorsFile::open(&path)?;
        Ok(Some(Self { path, file }))
    }

    /// What the state holds beside numbers in bulk.
    ///
    /// # Errors
    /// Where it is no state.
    pub fn progress(&self) -> Result<Progress, TrainError> {
        let tensor = self.tensor("progress", DType::U8)?;
        serde_json::from_slice(tensor.as_u8()).map_err(|error| self.fault(error.to_string()))
    }

    /// Copies the trained values and the routers' biases into `model`. The state of a model without a vision tower leaves the
    /// tower of `model` as it is.
    ///
    /// # Errors
    /// Where the state belongs to a model of another shape.
    pub fn load_model(&self, model: &mut TrainModel) -> Result<(), TrainError> {
        let text = model.params.text_len();
        let len = match self.tensor("values", DType::F32)?.element_count() {
            len if len == text => text,
            _ => model.params.len(),
        };
        self.load("values", &mut model.params.values_mut()[..len])?;
        let layers: Vec<usize> = model.correction_biases().map(|(layer, _)| layer).collect();
        for (layer, bias) in layers.into_iter().zip(model.correction_biases_mut()) {
            self.load(&format!("router_bias.{layer}"), bias)?;
        }
        Ok(())
    }

    /// Copies the optimiser's moments.
    ///
    /// # Errors
    /// Where the state belongs to a model of another shape.
    pub fn load_optimizer(&self, optimizer: &mut Optimizer) -> Result<(), TrainError> {
        self.load("optimizer.first", &mut optimizer.first)?;
        self.load("optimizer.second", &mut optimizer.second)
    }

    fn load(&self, name: &str, into: &mut [f32]) -> Result<(), TrainError> {
        let tensor = self.tensor(name, DType::F32)?;
        if tensor.element_count() != into.len() {
            let (found, expected) = (tensor.element_count(), into.len());
            return Err(self.fault(format!("{name} has {found} values, the model {expected}")));
        }
        into.copy_from_slice(tensor.as_f32());
        Ok(())
    }

    fn tensor(&self, name: &str, dtype: DType) -> Result<Tensor, TrainError> {
        let tensor = self
            .file
            .tensor(name)
            .filter(|tensor| tensor.dtype() == dtype);
        tensor.ok_or_else(|| self.fault(format!("there is no {dtype} tensor {name}")))
    }

    fn fault(&self, problem: String) -> TrainError {
        TrainError::State {
            path: self.path.clone(),
            problem,
            hint: "give the run's own configuration, or a new folder",
        }
    }
}
