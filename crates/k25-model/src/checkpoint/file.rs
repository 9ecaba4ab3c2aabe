//! One safetensors file, mapped.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{CheckpointError, Place};
use super::header::{Header, HeaderError, HeaderFault, TensorInfo};
use super::mmap::MappedFile;
use crate::tensor::{ByteSource, Tensor};

/// An open safetensors file: a shard of a checkpoint, or a file of expected values.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    header: Header,
    map: Arc<MappedFile>,
}

/// Why one file could not be opened; [`SafetensorsFile::open`] adds its name.
pub(super) enum OpenFault {
    Io(&'static str, io::Error),
    Header(HeaderFault),
}

impl SafetensorsFile {
    /// Opens and maps a file, and checks its header. No value is read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        Self::open_unnamed(path).map_err(|fault| fault.named(path, Place::Alone, 0))
    }

    pub(super) fn open_unnamed(path: &Path) -> Result<Self, OpenFault> {
        // Asked before opening, because opening a pipe would wait for somebody to write.
        let metadata = fs::metadata(path).map_err(|e| OpenFault::Io("open", e))?;
        if !metadata.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
            return Err(OpenFault::Io("open", error));
        }
        let mut file = File::open(path).map_err(|e| OpenFault::Io("open", e))?;
        let file_len = metadata.len();
        let header = Header::read(&mut file, file_len).map_err(|error| match error {
            HeaderError::Io(error) => OpenFault::Io("read", error),
            HeaderError::Fault(fault) => OpenFault::Header(fault),
        })?;
        let map = MappedFile::new(file).map_err(|e| OpenFault::Io("map", e))?;
        // The offsets were checked against this length.
        if map.bytes().len() as u64 != file_len {
            let error = io::Error::other("its length changed while it was opened");
            return Err(OpenFault::Io("map", error));
        }
        Ok(Self {
            path: path.to_owned(),
            header,
            map: Arc::new(map),
        })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length in bytes.
    pub fn byte_len(&self) -> u64 {
        self.map.bytes().len() as u64
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The tensor of this name, where there is one. Its values stay in the file.
    pub fn tensor(&self, name: &str) -> Option<Tensor> {
        self.header.find(name).map(|info| self.tensor_of(&info))
    }

    pub(super) fn tensor_of(&self, info: &TensorInfo<'_>) -> Tensor {
        // Within the mapped length, which is a usize.
        let begin = info.begin as usize;
        let part = begin..begin + info.byte_len as usize;
        Tensor::in_source(info.dtype, info.shape.clone(), self.map.clone(), part)
    }

    /// The bytes of a small tensor, read without bringing pages of the map into memory.
    pub(super) fn read_small(&self, info: &TensorInfo<'_>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; info.byte_len as usize];
        self.map.read_exact_at(&mut bytes, info.begin)?;
        Ok(bytes)
    }
}

impl OpenFault {
    pub(super) fn named(
        self,
        path: &Path,
        place: Place,
        others_at_fault: usize,
    ) -> CheckpointError {
        let path = path.to_owned();
        match self {
            Self::Io(action, source) => CheckpointError::Io {
                action,
                path,
                source,
            },
            Self::Header(fault) => CheckpointError::File {
                path,
                place,
                fault: Box::new(fault),
                others_at_fault,
            },
        }
    }
}
