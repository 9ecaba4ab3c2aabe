//! What conversations show: loaded, cut into patches, and checked against the vision tower that will read it.

use std::path::{Path, PathBuf};

use k25_chat::{Conversation, Media};
use k25_config::{MediaConfig, VisionConfig};
use k25_local::{FileAccess, LocalError, MediaLoader, MediaSource, PreparedMedia};
use k25_model::media::{ImageLimits, VideoLimits};
use k25_model::vision::{Packing, VisionError, VisionItem};

/// Loads pictures and films for a vision tower.
pub(super) struct Sight {
    loader: MediaLoader,
    vision: VisionConfig,
    /// Where paths begin that are not absolute.
    folder: PathBuf,
}

impl Sight {
    /// For the tower of this shape, and conversations from a file in `folder`.
    pub fn new(vision: &VisionConfig, folder: &Path) -> Self {
        Self {
            loader: MediaLoader {
                config: MediaConfig::for_vision(vision),
                image_limits: ImageLimits::default(),
                video_limits: VideoLimits::default(),
                files: FileAccess::Allowed,
            },
            vision: vision.clone(),
            folder: folder.to_owned(),
        }
    }

    /// Patches along each side that become one row.
    pub fn window(&self) -> [usize; 2] {
        self.vision.merge_kernel_size
    }

    /// What the conversation shows, in order; `None` where that takes more than `most` rows.
    ///
    /// # Errors
    /// If an address leads nowhere, or to no picture or film.
    pub fn load(
        &self,
        conversation: &Conversation,
        most: usize,
    ) -> Result<Option<Vec<PreparedMedia>>, LocalError> {
        let (mut loaded, mut rows) = (Vec::new(), 0);
        for (index, media) in conversation.media().enumerate() {
            let prepared = match self.beside_the_file(media) {
                Some(media) => self.loader.load(index, &media)?,
                None => self.loader.load(index, media)?,
            };
            rows += prepared.tokens(self.window());
            if rows > most {
                return Ok(None);
            }
            loaded.push(prepared);
        }
        Ok(Some(loaded))
    }

    /// A medium with its path made absolute; `None` where it needs not be.
    fn beside_the_file(&self, media: &Media) -> Option<Media> {
        // No byte of a data: URI is read for this.
        match MediaSource::parse(media.source.as_deref()?, 0) {
            Ok(MediaSource::File(path)) if path.is_relative() => Some(Media {
                kind: media.kind,
                source: Some(self.folder.join(path).to_string_lossy().into_owned()),
            }),
            _ => None,
        }
    }

    /// Whether the tower can read these items.
    ///
    /// # Errors
    /// As [`Packing::new`].
    pub fn check(&self, items: &[VisionItem]) -> Result<(), VisionError> {
        Packing::new(items, &self.vision).map(drop)
    }
}
