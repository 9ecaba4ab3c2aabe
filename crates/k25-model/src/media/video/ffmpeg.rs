//! Videos through the programs `ffprobe` and `ffmpeg`.
//!
//! A child process, because video decoders are large, fast-moving and the classic way into a
//! program: theirs may crash or hang without taking ours along. It gets a file on disk and nothing
//! else: no network protocol, no playlist format, a bound on the pixels of a frame, on time, and
//! on what it may write.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::VideoInfo;
use super::process::Process;
use crate::media::{MediaError, RgbImage, VideoLimits};

/// Containers that hold pictures in themselves. Playlists and scripts, which name other files, are
/// not among them.
const CONTAINERS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,\
    m4v,h263,h264,hevc,vvc,av1,obu,ivf,mjpeg,mpjpeg,nut,mxf,dv,gxf,rm,swf,wtv,amv,apng,yuv4mpegpipe,webm_dash_manifest";

/// Most bytes of the description that `ffprobe` writes.
const DESCRIPTION_BYTES: u64 = 1 << 18;

/// Most bytes of progress reports that `ffmpeg` writes while counting; a few hundred per second.
const PROGRESS_BYTES: u64 = 1 << 26;

/// Most frames that are chosen in one run: their numbers must fit one argument of a program.
const CHOSEN_FRAMES: usize = 4_096;

/// Frame numbers in a leaf of the search tree that chooses frames.
const LEAF: usize = 8;

/// Gives frames the times 0, 1, 2, … of a constant rate, so that none is repeated or left out on
/// the way out, whatever times the file gives them.
const EVERY_FRAME_ONCE: &str = "settb=1/25,setpts=N";

/// What `ffprobe` says about a file's first video stream.
struct Stream {
    width: usize,
    height: usize,
    fps: f64,
}

/// Describes a video and counts its frames.
pub(super) fn survey(path: &Path, limits: &VideoLimits) -> Result<VideoInfo, MediaError> {
    let Stream { width, height, fps } = probe(path, limits)?;
    if width.saturating_mul(height) > limits.frame_pixels {
        let reason = format!(
            "its frames have {width} × {height} pixels, more than {}",
            limits.frame_pixels
        );
        return Err(MediaError::VideoTooLarge { reason });
    }
    Ok(VideoInfo {
        frames: count_frames(path, limits)?,
        fps,
        width,
        height,
    })
}

/// The frames of these ascending numbers.
pub(super) fn frames(
    path: &Path,
    info: &VideoInfo,
    indices: &[usize],
    limits: &VideoLimits,
) -> Result<impl Iterator<Item = Result<RgbImage, MediaError>> + use<>, MediaError> {
    if indices.len() > CHOSEN_FRAMES {
        let reason = format!(
            "{} of its frames are wanted, more than {CHOSEN_FRAMES}",
            indices.len()
        );
        return Err(MediaError::VideoTooLarge { reason });
    }
    // Every frame gets the size that was found, even where a file changes it half way.
    let filter = format!(
        "select={},{EVERY_FRAME_ONCE},scale={}:{}",
        selection(indices),
        info.width,
        info.height
    );
    let mut arguments = input_arguments(path, limits);
    arguments.extend(
        [
            "-map", "0:V:0", "-vf", &filter, "-r", "25", "-pix_fmt", "rgb24",
        ]
        .map(OsString::from),
    );
    arguments.extend(
        [
            "-frames:v",
            &indices.len().to_string(),
            "-f",
            "rawvideo",
            "pipe:1",
        ]
        .map(OsString::from),
    );
    let mut process = Some(Process::start("ffmpeg", &arguments, path, limits.timeout)?);
    let (width, height, count) = (info.width, info.height, indices.len());
    Ok((0..count).map_while(move |index| {
        let running = process.as_mut()?;
        let mut pixels = vec![0; width * height * 3];
        if running.read_exact(&mut pixels).is_err() {
            let error = running.failure(&format!("only {index} of {count} sampled frames came"));
            process = None;
            return Some(Err(error));
        }
        Some(Ok(RgbImage::new(width, height, pixels)))
    }))
}

/// Arguments that both programs understand: what may be read, and the file.
fn guard_arguments(path: &Path, limits: &VideoLimits) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "-protocol_whitelist",
        "file,pipe",
        "-format_whitelist",
        CONTAINERS,
    ]
    .map(OsString::from)
    .to_vec();
    arguments.extend(["-max_pixels", &limits.frame_pixels.to_string(), "-i"].map(OsString::from));
    // The prefix keeps a name such as `-x` or `http:y` from being anything but a file.
    let mut file = OsString::from("file:");
    file.push(path);
    arguments.push(file);
    arguments
}

fn input_arguments(path: &Path, limits: &VideoLimits) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error"]
            .map(OsString::from)
            .to_vec();
    arguments.extend(guard_arguments(path, limits));
    arguments
}

fn probe(path: &Path, limits: &VideoLimits) -> Result<Stream, MediaError> {
    let entries = "stream=width,height,avg_frame_rate,r_frame_rate:stream_side_data=rotation:stream_tags=rotate";
    let mut arguments: Vec<OsString> = [
        "-hide_banner",
        "-loglevel",
        "error",
        "-select_streams",
        "V:0",
        "-show_entries",
        entries,
        "-of",
        "json",
    ]
    .map(OsString::from)
    .to_vec();
    arguments.extend(guard_arguments(path, limits));
    let mut process = Process::start("ffprobe", &arguments, path, limits.timeout)?;
    let mut description = Vec::new();
    let read = process
        .by_ref()
        .take(DESCRIPTION_BYTES + 1)
        .read_to_end(&mut description);
    if read.is_err() || description.len() as u64 > DESCRIPTION_BYTES {
        return Err(process.failure("its description is too long"));
    }
    process.finish()?;
    let described = serde_json::from_slice(&description)
        .ok()
        .as_ref()
        .and_then(stream);
    described.ok_or_else(|| MediaError::Video {
        path: path.to_owned(),
        reason: "it has no video stream with a size and a frame rate".to_owned(),
        stderr: String::new(),
    })
}

/// The first stream of a description; width and height as they are shown.
fn stream(description: &Value) -> Option<Stream> {
    let stream = description["streams"].get(0)?;
    let side = |name: &str| {
        usize::try_from(stream[name].as_u64()?)
            .ok()
            .filter(|side| *side > 0)
    };
    let (width, height) = (side("width")?, side("height")?);
    let fps = rate(&stream["avg_frame_rate"]).or_else(|| rate(&stream["r_frame_rate"]))?;
    let quarter_turn = (rotation(stream).rem_euclid(180.0) - 90.0).abs() < 1.0;
    let (width, height) = if quarter_turn {
        (height, width)
    } else {
        (width, height)
    };
    Some(Stream { width, height, fps })
}

/// A fraction such as `30000/1001`, where it is a positive number.
fn rate(value: &Value) -> Option<f64> {
    let (numerator, denominator) = value.as_str()?.split_once('/')?;
    let rate = numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// By how many degrees the decoder turns the picture.
fn rotation(stream: &Value) -> f64 {
    let side_data = stream["side_data_list"].as_array().into_iter().flatten();
    let matrix = side_data
        .filter_map(|data| data["rotation"].as_f64())
        .next();
    matrix
        .or_else(|| stream["tags"]["rotate"].as_str()?.parse().ok())
        .unwrap_or(0.0)
}

/// Decodes everything and keeps nothing.
fn count_frames(path: &Path, limits: &VideoLimits) -> Result<usize, MediaError> {
    let mut arguments = input_arguments(path, limits);
    arguments.extend(["-map", "0:V:0", "-vf", EVERY_FRAME_ONCE, "-r", "25"].map(OsString::from));
    arguments.extend(["-progress", "pipe:1", "-f", "null", "-"].map(OsString::from));
    let mut process = Process::start("ffmpeg", &arguments, path, limits.timeout)?;
    let mut frames = 0;
    for line in BufReader::new(process.by_ref().take(PROGRESS_BYTES)).lines() {
        let Ok(line) = line else { break };
        if let Some(count) = line.strip_prefix("frame=") {
            frames = count.trim().parse().unwrap_or(frames);
        }
        if frames > limits.decoded_frames {
            let reason = format!("it has more than {} frames", limits.decoded_frames);
            return Err(MediaError::VideoTooLarge { reason });
        }
    }
    // A broken end is no reason to refuse what came before it.
    match process.finish() {
        Err(error @ MediaError::VideoTimeout { .. }) => Err(error),
        Err(error) if frames == 0 => Err(error),
        _ if frames == 0 => Err(MediaError::VideoWithoutFrames),
        _ => Ok(frames),
    }
}

/// An expression that is true for these ascending frame numbers: a search tree, so that a long list
/// costs each frame few comparisons.
fn selection(indices: &[usize]) -> String {
    if indices.len() <= LEAF {
        let equal: Vec<String> = indices
            .iter()
            .map(|index| format!("eq(n\\,{index})"))
            .collect();
        return if equal.is_empty() {
            "0".to_owned()
        } else {
            equal.join("+")
        };
    }
    let (left, right) = indices.split_at(indices.len() / 2);
    format!(
        "if(lt(n\\,{})\\,{}\\,{})",
        right[0],
        selection(left),
        selection(right)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_selection_is_a_balanced_tree() {
        assert_eq!(selection(&[]), "0");
        assert_eq!(selection(&[0, 5, 9]), "eq(n\\,0)+eq(n\\,5)+eq(n\\,9)");
        let ten: Vec<usize> = (0..10).collect();
        let (left, right) = (selection(&ten[..5]), selection(&ten[5..]));
        assert_eq!(selection(&ten), format!("if(lt(n\\,5)\\,{left}\\,{right})"));
    }

    #[test]
    fn the_longest_selection_fits_an_argument() {
        let late: Vec<usize> = (0..CHOSEN_FRAMES).map(|index| 9_000_000 + index).collect();
        // Linux allows 131,072 bytes.
        assert!(selection(&late).len() < 100_000);
    }

    #[test]
    fn descriptions_are_not_trusted() {
        let described =
            |value: Value| stream(&value).map(|stream| (stream.width, stream.height, stream.fps));
        let good = json!({"streams": [{"width": 64, "height": 48, "avg_frame_rate": "30000/1001", "r_frame_rate": "30/1"}]});
        assert_eq!(described(good), Some((64, 48, 30_000.0 / 1_001.0)));
        let fallback = json!({"streams": [{"width": 64, "height": 48, "avg_frame_rate": "0/0", "r_frame_rate": "25/1"}]});
        assert_eq!(described(fallback), Some((64, 48, 25.0)));
        let turned = json!({"streams": [{"width": 64, "height": 48, "avg_frame_rate": "25/1",
            "side_data_list": [{"rotation": -90}]}]});
        assert_eq!(described(turned), Some((48, 64, 25.0)));
        for bad in [
            json!({}),
            json!({"streams": []}),
            json!({"streams": [{"width": 0, "height": 48, "avg_frame_rate": "25/1"}]}),
            json!({"streams": [{"width": -3, "height": 48, "avg_frame_rate": "25/1"}]}),
            json!({"streams": [{"width": 64, "height": 48, "avg_frame_rate": "-25/1"}]}),
            json!({"streams": [{"width": 64, "height": 48, "avg_frame_rate": "1/0", "r_frame_rate": "nan/1"}]}),
        ] {
            assert_eq!(described(bad.clone()), None, "{bad}");
        }
    }
}
