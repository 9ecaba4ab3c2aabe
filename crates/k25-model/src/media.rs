//! From files that strangers send to what the vision tower reads (spec: architecture §4.1, §4.2).
//!
//! An image goes `bytes → RgbImage → resized and padded → VisionItem`; a video goes
//! `file → sampled frames → chunks`. The arithmetic is the reference's to the last grey level:
//! Pillow's conversion to RGB and its bicubic resampling, Python's and numpy's rounding.
//!
//! Nothing here trusts its input: every size is checked against [`ImageLimits`] or
//! [`VideoLimits`] before memory is asked for.

pub mod decode;
mod error;
mod image;
mod limits;
mod patches;
mod resample;
mod rgb;
mod size;
pub mod video;

pub use decode::{ImageFormat, decode_image};
pub use error::MediaError;
pub use image::{preprocess, preprocess_image, resize_and_pad};
pub use limits::{ImageLimits, VideoLimits};
pub use patches::patches;
pub use resample::resize_bicubic;
pub use rgb::RgbImage;
pub use size::{TargetSize, frame_size, image_size};
pub use video::{ChunkPlan, Video, VideoChunk, VideoInfo, VideoPlan};
