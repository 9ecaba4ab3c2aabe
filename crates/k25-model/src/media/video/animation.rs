//! Animated GIFs as videos, decoded in this process.

use std::path::Path;
use std::time::{Duration, Instant};

use super::VideoInfo;
use crate::media::decode::gif::GifFrames;
use crate::media::{ImageLimits, MediaError, RgbImage, VideoLimits};

/// Frames that ask for less than this many hundredths of a second …
const SHORTEST_DELAY: u64 = 2;

/// … are shown for this long, as browsers and ffmpeg do.
const USUAL_DELAY: u64 = 10;

/// Counts the frames and their time by drawing them all.
pub(super) fn survey(
    bytes: &[u8],
    path: &Path,
    limits: &VideoLimits,
) -> Result<VideoInfo, MediaError> {
    let started = Instant::now();
    let mut animation = GifFrames::open(bytes, &image_limits(limits))?;
    let (mut frames, mut hundredths) = (0usize, 0u64);
    while let Some(delay) = animation.advance()? {
        frames += 1;
        hundredths += Some(u64::from(delay))
            .filter(|delay| *delay >= SHORTEST_DELAY)
            .unwrap_or(USUAL_DELAY);
        if frames > limits.decoded_frames {
            let reason = format!("it has more than {} frames", limits.decoded_frames);
            return Err(MediaError::VideoTooLarge { reason });
        }
        if started.elapsed() > limits.timeout {
            return Err(MediaError::VideoTimeout {
                path: path.to_owned(),
                limit: limits.timeout,
            });
        }
    }
    if frames == 0 {
        return Err(MediaError::VideoWithoutFrames);
    }
    let (width, height) = animation.size();
    Ok(VideoInfo {
        frames,
        fps: frames as f64 * 100.0 / hundredths as f64,
        width,
        height,
    })
}

/// The frames of these ascending numbers.
pub(super) fn frames<'a>(
    bytes: &'a [u8],
    path: &'a Path,
    indices: &'a [usize],
    limits: &'a VideoLimits,
) -> Result<impl Iterator<Item = Result<RgbImage, MediaError>> + 'a, MediaError> {
    let mut animation = GifFrames::open(bytes, &image_limits(limits))?;
    let (mut drawn, mut spent) = (0, Duration::ZERO);
    Ok(indices.iter().map(move |&index| {
        let started = Instant::now();
        while drawn <= index {
            animation.advance()?.ok_or(MediaError::VideoWithoutFrames)?;
            drawn += 1;
            check_time(spent + started.elapsed(), path, limits)?;
        }
        spent += started.elapsed();
        Ok(animation.image())
    }))
}

fn check_time(spent: Duration, path: &Path, limits: &VideoLimits) -> Result<(), MediaError> {
    if spent > limits.timeout {
        return Err(MediaError::VideoTimeout {
            path: path.to_owned(),
            limit: limits.timeout,
        });
    }
    Ok(())
}

fn image_limits(limits: &VideoLimits) -> ImageLimits {
    ImageLimits {
        pixels: limits.frame_pixels,
        ..ImageLimits::default()
    }
}
