//! The pictures and films of a conversation, loaded and made ready for the vision tower.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use k25_chat::{Media, MediaKind};
use k25_config::MediaConfig;
use k25_model::media::video::{Video, VideoChunk};
use k25_model::media::{ImageLimits, MediaError, VideoLimits, preprocess_image};
use k25_model::vision::VisionItem;
use tempfile::NamedTempFile;

use crate::source::{MediaSource, SourceError, shortened};
use crate::{LocalError, PreparedMedia};

/// Whether a conversation may name files of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileAccess {
    /// Paths are read: the conversation comes from the person at this machine.
    Allowed,
    /// Only `data:` URIs are read: the conversation comes from somewhere else.
    #[default]
    Refused,
}

/// Loads media within limits.
#[derive(Debug, Clone)]
pub struct MediaLoader {
    /// How patches are made.
    pub config: MediaConfig,
    /// Limits on a picture.
    pub image_limits: ImageLimits,
    /// Limits on a film.
    pub video_limits: VideoLimits,
    /// Whether paths are read.
    pub files: FileAccess,
}

impl MediaLoader {
    /// Loads the conversation's `index`-th medium, counted from 0.
    ///
    /// # Errors
    /// If its address leads nowhere, or the content is no picture or film within the limits.
    pub fn load(&self, index: usize, media: &Media) -> Result<PreparedMedia, LocalError> {
        let address = media.source.as_deref().unwrap_or_default();
        let medium = || match media.kind {
            MediaKind::Image => format!("medium {} (picture {})", index + 1, shortened(address)),
            MediaKind::Video => format!("medium {} (film {})", index + 1, shortened(address)),
        };
        let source = self.source(address).map_err(|source| LocalError::Source {
            medium: medium(),
            source,
        })?;
        let prepared = match media.kind {
            MediaKind::Image => self.image(source).map(PreparedMedia::Image),
            MediaKind::Video => self.video(source).map(PreparedMedia::Video),
        };
        prepared.map_err(|source| LocalError::Media {
            medium: medium(),
            source,
        })
    }

    fn source(&self, address: &str) -> Result<MediaSource, SourceError> {
        let source = MediaSource::parse(address, self.image_limits.file_bytes)?;
        match (&source, self.files) {
            (MediaSource::File(_), FileAccess::Refused) => Err(SourceError::FileRefused {
                address: shortened(address),
            }),
            _ => Ok(source),
        }
    }

    fn image(&self, source: MediaSource) -> Result<VisionItem, MediaError> {
        let bytes = match source {
            MediaSource::File(path) => read_bounded(&path, self.image_limits.file_bytes)?,
            MediaSource::Bytes(bytes) => bytes,
        };
        preprocess_image(&bytes, &self.image_limits, &self.config)
    }

    fn video(&self, source: MediaSource) -> Result<Vec<VideoChunk>, MediaError> {
        match source {
            MediaSource::File(path) => self.video_file(&path),
            MediaSource::Bytes(bytes) => {
                // Decoders want a file that they can move about in.
                let file =
                    NamedTempFile::new().and_then(|mut file| file.write_all(&bytes).map(|()| file));
                let error = |source| MediaError::Io {
                    path: std::env::temp_dir(),
                    source,
                };
                self.video_file(file.map_err(error)?.path())
            }
        }
    }

    fn video_file(&self, path: &Path) -> Result<Vec<VideoChunk>, MediaError> {
        let video = Video::open(path, &self.video_limits)?;
        let plan = video.plan(&self.config)?;
        video.chunks(&plan)?.collect()
    }
}

/// Reads a regular file of at most `limit` bytes.
fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, MediaError> {
    let error = |source| MediaError::Io {
        path: path.to_owned(),
        source,
    };
    // Asked before opening: opening a named pipe would wait for a writer.
    let meta = std::fs::metadata(path).map_err(error)?;
    if !meta.is_file() {
        return Err(error(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        )));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(error)?;
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(error)?;
    if bytes.len() > limit {
        let bytes = meta.len().max(bytes.len() as u64);
        return Err(MediaError::FileTooLarge {
            bytes,
            limit: limit as u64,
        });
    }
    Ok(bytes)
}
