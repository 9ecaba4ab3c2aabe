//! What can be wrong with an image or a video, told so that a person can mend it.

use std::path::PathBuf;
use std::time::Duration;

use super::ImageFormat;

/// Why an image or a video could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The bytes begin like no format that is read.
    #[error(
        "this is no image that can be read: it begins with {start}\n  \
         hint: give a PNG, JPEG, WebP, GIF or BMP file"
    )]
    UnknownFormat {
        /// The first bytes in hexadecimal.
        start: String,
    },
    /// The encoded file is larger than the limit.
    #[error(
        "the file has {bytes} bytes, more than the {limit} that are read\n  hint: give a smaller file"
    )]
    FileTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The declared size is zero or beyond a limit; nothing was decoded.
    #[error("{format} image of {width} × {height} pixels refused: {reason}\n  hint: {hint}")]
    Size {
        /// The format.
        format: ImageFormat,
        /// Declared width.
        width: u64,
        /// Declared height.
        height: u64,
        /// Which limit it breaks.
        reason: String,
        /// What to do next.
        hint: &'static str,
    },
    /// The image's content contradicts its format.
    #[error(
        "{format} image cannot be decoded: {reason}\n  \
         hint: the file may be cut short or damaged; save or download it again"
    )]
    Broken {
        /// The format.
        format: ImageFormat,
        /// What is wrong and where, as far as the decoder knows.
        reason: String,
    },
    /// The image uses a part of its format that is not read.
    #[error(
        "{format} image cannot be decoded: {feature} is not supported\n  hint: convert it to PNG"
    )]
    Unsupported {
        /// The format.
        format: ImageFormat,
        /// What it uses.
        feature: String,
    },
    /// The file could not be opened or read.
    #[error("cannot read {path}: {source}\n  hint: give the path of a readable file", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The program that decodes videos is not there.
    #[error(
        "cannot start {program}: {source}\n  \
         hint: videos are decoded by ffmpeg; install it (apt-get install ffmpeg, dnf install ffmpeg, brew install ffmpeg), \
         or give an animated GIF or single images"
    )]
    DecoderMissing {
        /// The program's name.
        program: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The program that decodes videos gave up, or gave less than it promised.
    #[error(
        "video {path} cannot be decoded: {reason}{said}\n  \
         hint: the file may be cut short, damaged or no video; try to play it, or convert it (ffmpeg -i FILE -c:v libx264 out.mp4)",
        path = path.display(),
        said = quoted(stderr)
    )]
    Video {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
        /// The end of what the program said, possibly empty.
        stderr: String,
    },
    /// Reading the video took too long and was stopped.
    #[error(
        "video {path} took longer than {limit:?} to read\n  hint: give a shorter or smaller video",
        path = path.display()
    )]
    VideoTimeout {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// The video, or what is left of it, holds no picture.
    #[error("the video has no frame\n  hint: the file may be cut short; try to play it")]
    VideoWithoutFrames,
    /// The video's frame rate is no positive number.
    #[error("the video's frame rate is {fps}\n  hint: convert it (ffmpeg -i FILE -r 25 out.mp4)")]
    VideoRate {
        /// Frames per second.
        fps: f64,
    },
    /// The video is beyond a limit.
    #[error("video refused: {reason}\n  hint: give a shorter or smaller video")]
    VideoTooLarge {
        /// Which limit it breaks.
        reason: String,
    },
}

fn quoted(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!("; the decoder said: {stderr}")
    }
}
