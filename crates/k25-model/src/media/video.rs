//! Videos: which frames the model sees, and the chunks they become (spec: architecture §4.2).
//!
//! Frames are numbered from 0 in presentation order, as a decoder yields them; their number is
//! found by decoding, never taken from the container, which may lie. Reading a video therefore
//! decodes it twice: once to count, once to take the sampled frames as they come by. Only one
//! chunk's frames are in memory at a time.
//!
//! ```no_run
//! # use k25_model::media::{VideoLimits, video::Video};
//! # fn f() -> Result<(), k25_model::media::MediaError> {
//! let video = Video::open("talk.mp4", &VideoLimits::default())?;
//! let plan = video.plan(&k25_config::MediaConfig::default())?;
//! // The plan has every chunk's timestamp and number of tokens: enough for the prompt.
//! for chunk in video.chunks(&plan)? {
//!     let item = chunk?.item; // features are computed chunk by chunk
//! }
//! # Ok(()) }
//! ```

mod animation;
mod ffmpeg;
mod process;
mod sampling;
mod timestamp;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use k25_config::MediaConfig;

use super::{
    ImageFormat, MediaError, RgbImage, TargetSize, VideoLimits, frame_size, patches, resize_and_pad,
};
use crate::vision::VisionItem;

pub use sampling::sampled_indices;
pub use timestamp::timestamp;

/// What sampling needs to know about a video.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoInfo {
    /// Frames, counted by decoding.
    pub frames: usize,
    /// Average frames per second; positive and finite.
    pub fps: f64,
    /// Width of a frame as it is shown, pixels.
    pub width: usize,
    /// Height of a frame as it is shown, pixels.
    pub height: usize,
}

/// Which frames of a video the model sees, and the chunks they become.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoPlan {
    /// The sampled frames, ascending.
    pub indices: Vec<usize>,
    /// The chunks in order.
    pub chunks: Vec<ChunkPlan>,
    /// The size that every frame is given.
    pub frame_size: TargetSize,
    config: MediaConfig,
}

/// One chunk before its pixels are read: what the prompt says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPlan {
    /// Time of its first frame, `HH:MM:SS.mmm`.
    pub timestamp: String,
    /// Frames, patch rows and patch columns, `[t, h, w]`.
    pub grid: [usize; 3],
    /// Language-model tokens: how often its media pad is repeated.
    pub tokens: usize,
    /// Its frames, as a range of [`VideoPlan::indices`].
    pub samples: Range<usize>,
}

/// One chunk of up to `temporal_merge_kernel_size` frames.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoChunk {
    /// Time of its first frame, `HH:MM:SS.mmm`.
    pub timestamp: String,
    /// Its patches, one item of the vision tower.
    pub item: VisionItem,
}

/// A video file whose frames have been counted.
#[derive(Debug)]
pub struct Video {
    path: PathBuf,
    source: Source,
    info: VideoInfo,
    limits: VideoLimits,
}

/// Where frames come from.
#[derive(Debug)]
enum Source {
    /// An animated GIF, decoded here.
    Animation(Vec<u8>),
    /// Anything else, decoded by ffmpeg.
    File,
}

/// Frames in order; dropping it stops whatever decodes them.
pub type Frames<'a> = Box<dyn Iterator<Item = Result<RgbImage, MediaError>> + 'a>;

impl VideoPlan {
    /// Plans the sampling of a video.
    ///
    /// # Errors
    /// Where the video has no frame or its rate is no positive number, or where it would give more
    /// frames or patches than `limits` allow.
    pub fn new(
        info: &VideoInfo,
        config: &MediaConfig,
        limits: &VideoLimits,
    ) -> Result<Self, MediaError> {
        let too_large = |reason: String| Err(MediaError::VideoTooLarge { reason });
        if info.frames == 0 || info.width == 0 || info.height == 0 {
            return Err(MediaError::VideoWithoutFrames);
        }
        if !info.fps.is_finite() || info.fps <= 0.0 {
            return Err(MediaError::VideoRate { fps: info.fps });
        }
        if info.frames > limits.decoded_frames {
            return too_large(format!(
                "it has {} frames, more than {}",
                info.frames, limits.decoded_frames
            ));
        }
        let samples = sampling::sample_count(info.frames, info.fps, config.sample_fps);
        if samples > limits.sampled_frames {
            return too_large(format!(
                "{samples} of its frames would be sampled, more than {}",
                limits.sampled_frames
            ));
        }
        let frame_size = frame_size(info.width, info.height, config);
        let [rows, columns] = frame_size.patch_grid(config);
        let patches = samples.saturating_mul(rows * columns);
        if patches > limits.patches {
            return too_large(format!(
                "it would become {patches} patches, more than {}",
                limits.patches
            ));
        }
        let indices = sampled_indices(info.frames, info.fps, config.sample_fps);
        let starts = (0..indices.len()).step_by(config.temporal_merge_kernel_size);
        let chunks = starts.map(|start| {
            let end = indices.len().min(start + config.temporal_merge_kernel_size);
            ChunkPlan {
                timestamp: timestamp(indices[start] as f64 / info.fps),
                grid: [end - start, rows, columns],
                tokens: frame_size.tokens(config),
                samples: start..end,
            }
        });
        let chunks = chunks.collect();
        Ok(Self {
            indices,
            chunks,
            frame_size,
            config: config.clone(),
        })
    }

    /// Turns the sampled frames, in order, into chunks.
    pub fn chunks<'a>(
        &'a self,
        frames: impl IntoIterator<Item = Result<RgbImage, MediaError>> + 'a,
    ) -> impl Iterator<Item = Result<VideoChunk, MediaError>> + 'a {
        let mut frames = frames.into_iter();
        self.chunks
            .iter()
            .map(move |chunk| self.chunk(chunk, &mut frames))
    }

    fn chunk(
        &self,
        plan: &ChunkPlan,
        frames: &mut impl Iterator<Item = Result<RgbImage, MediaError>>,
    ) -> Result<VideoChunk, MediaError> {
        let resized: Vec<RgbImage> = frames
            .take(plan.samples.len())
            .map(|frame| Ok(resize_and_pad(frame?, self.frame_size)))
            .collect::<Result<_, MediaError>>()?;
        if resized.len() < plan.samples.len() {
            return Err(MediaError::VideoWithoutFrames);
        }
        let item = VisionItem {
            grid: plan.grid,
            patches: patches(&resized, &self.config),
        };
        Ok(VideoChunk {
            timestamp: plan.timestamp.clone(),
            item,
        })
    }
}

impl Video {
    /// Opens a video file and counts its frames. Animated GIFs are decoded in this process, other
    /// files by the programs `ffprobe` and `ffmpeg`.
    ///
    /// # Errors
    /// Where the file cannot be read, is beyond `limits`, is no video or a broken one, where
    /// reading takes too long, or where ffmpeg is needed and not installed.
    pub fn open(path: impl AsRef<Path>, limits: &VideoLimits) -> Result<Self, MediaError> {
        let path = path.as_ref();
        let io = |source| MediaError::Io {
            path: path.to_owned(),
            source,
        };
        let metadata = std::fs::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            return Err(io(std::io::Error::other("it is not a regular file")));
        }
        if metadata.len() > limits.file_bytes {
            return Err(MediaError::FileTooLarge {
                bytes: metadata.len(),
                limit: limits.file_bytes,
            });
        }
        let mut start = Vec::new();
        let mut file = File::open(path).map_err(io)?;
        file.by_ref().take(16).read_to_end(&mut start).map_err(io)?;
        let (source, info) = if ImageFormat::sniff(&start) == Some(ImageFormat::Gif) {
            let mut bytes = start;
            file.take(limits.file_bytes)
                .read_to_end(&mut bytes)
                .map_err(io)?;
            let info = animation::survey(&bytes, path, limits)?;
            (Source::Animation(bytes), info)
        } else {
            (Source::File, ffmpeg::survey(path, limits)?)
        };
        Ok(Self {
            path: path.to_owned(),
            source,
            info,
            limits: *limits,
        })
    }

    /// What sampling needs to know.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Plans the sampling of this video.
    ///
    /// # Errors
    /// As [`VideoPlan::new`].
    pub fn plan(&self, config: &MediaConfig) -> Result<VideoPlan, MediaError> {
        VideoPlan::new(&self.info, config, &self.limits)
    }

    /// The chunks of `plan`, decoded as they are asked for.
    ///
    /// # Errors
    /// Where decoding cannot be started; each chunk may still be an error.
    pub fn chunks<'a>(
        &'a self,
        plan: &'a VideoPlan,
    ) -> Result<impl Iterator<Item = Result<VideoChunk, MediaError>> + 'a, MediaError> {
        Ok(plan.chunks(self.frames(&plan.indices)?))
    }

    /// The frames of these ascending numbers, as large as they are shown, decoded as they are asked
    /// for.
    ///
    /// # Errors
    /// Where decoding cannot be started; each frame may still be an error.
    pub fn frames<'a>(&'a self, indices: &'a [usize]) -> Result<Frames<'a>, MediaError> {
        Ok(match &self.source {
            Source::Animation(bytes) => {
                Box::new(animation::frames(bytes, &self.path, indices, &self.limits)?)
            }
            Source::File => Box::new(ffmpeg::frames(
                &self.path,
                &self.info,
                indices,
                &self.limits,
            )?),
        })
    }
}
