//! Videos: the reference's sampling and chunks, and real files through ffmpeg.
//!
//! The tests that decode files need `ffmpeg` and `ffprobe`; where they are missing these tests fail
//! with the hint how to install them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use k25_config::MediaConfig;
use k25_model::checkpoint::SafetensorsFile;
use k25_model::media::video::{sampled_indices, timestamp};
use k25_model::media::{
    MediaError, RgbImage, Video, VideoChunk, VideoInfo, VideoLimits, VideoPlan,
};
use tempfile::TempDir;

use crate::fixtures::{self, number, numbers};

const BEFORE_CHUNK: &str = "<|media_begin|>video<|media_content|><|media_pad|><|media_end|>";

#[test]
fn every_fixture_is_sampled_and_cut_exactly_as_the_reference_does() {
    let config = MediaConfig::default();
    let frames_file = SafetensorsFile::open(fixtures::path("videos.safetensors")).expect("videos");
    let videos = fixtures::json("videos.json");
    for case in videos.as_array().expect("videos") {
        let name = case["name"].as_str().expect("a name");
        let frames = frames_file
            .tensor(&format!("{name}.frames"))
            .expect("frames");
        let [count, height, width, 3] = *frames.shape() else {
            panic!("{name}: frames {:?}", frames.shape())
        };
        let info = VideoInfo {
            frames: count,
            fps: case["fps"].as_f64().expect("fps"),
            width,
            height,
        };
        let plan = VideoPlan::new(&info, &config, &VideoLimits::default()).expect(name);

        assert_eq!(
            (count, height, width),
            (
                number(case, "num_frames"),
                number(case, "height"),
                number(case, "width")
            )
        );
        assert_eq!(plan.indices, numbers(&case["sampled_indices"]), "{name}");
        let grids: Vec<_> = plan
            .chunks
            .iter()
            .map(|chunk| serde_json::json!(chunk.grid))
            .collect();
        assert_eq!(serde_json::json!(grids), case["grid_thw"], "{name}");
        let tokens: Vec<_> = plan.chunks.iter().map(|chunk| chunk.tokens).collect();
        assert_eq!(tokens, numbers(&case["tokens_per_chunk"]), "{name}");
        let prompt: String = plan
            .chunks
            .iter()
            .map(|chunk| format!("{}{BEFORE_CHUNK}", chunk.timestamp))
            .collect();
        assert_eq!(prompt, case["prompt"].as_str().expect("a prompt"), "{name}");

        let frame = |index: usize| {
            let pixels =
                frames.as_u8()[index * height * width * 3..][..height * width * 3].to_vec();
            Ok(RgbImage::new(width, height, pixels))
        };
        let sampled: Vec<_> = plan.indices.iter().map(|&index| frame(index)).collect();
        let chunks: Vec<VideoChunk> = plan.chunks(sampled).collect::<Result<_, _>>().expect(name);
        let patches: Vec<f32> = chunks
            .iter()
            .flat_map(|chunk| chunk.item.patches.iter().copied())
            .collect();
        let expected = frames_file
            .tensor(&format!("{name}.pixel_values"))
            .expect("pixel values");
        // Normalisation is one rounding of one value: nothing may differ.
        assert!(patches == expected.as_f32(), "{name}: patches differ");
        let found: Vec<_> = chunks.iter().map(|chunk| chunk.item.grid).collect();
        assert!(
            found.iter().eq(plan.chunks.iter().map(|chunk| &chunk.grid)),
            "{name}"
        );
    }
}

#[test]
fn sampling_never_repeats_a_frame_and_keeps_both_ends() {
    for frames in (1..400).chain([10_007, 99_999]) {
        for fps in [0.3, 1.0, 2.0, 2.5, 8.0, 23.976, 29.97, 30.0, 60.0, 1_000.0] {
            let indices = sampled_indices(frames, fps, 2.0);
            assert!(
                indices.windows(2).all(|pair| pair[0] < pair[1]),
                "{frames} at {fps}: {indices:?}"
            );
            assert_eq!(indices[0], 0);
            assert!(
                indices.len() == 1 || indices.last() == Some(&(frames - 1)),
                "{frames} at {fps}"
            );
        }
    }
}

#[test]
fn impossible_numbers_are_errors() {
    let plan = |info: VideoInfo, limits: VideoLimits| {
        VideoPlan::new(&info, &MediaConfig::default(), &limits)
    };
    let good = VideoInfo {
        frames: 100,
        fps: 25.0,
        width: 64,
        height: 48,
    };
    let limits = VideoLimits::default();
    assert!(plan(good, limits).is_ok());
    assert!(matches!(
        plan(VideoInfo { frames: 0, ..good }, limits),
        Err(MediaError::VideoWithoutFrames)
    ));
    assert!(matches!(
        plan(VideoInfo { width: 0, ..good }, limits),
        Err(MediaError::VideoWithoutFrames)
    ));
    for fps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(
            matches!(
                plan(VideoInfo { fps, ..good }, limits),
                Err(MediaError::VideoRate { .. })
            ),
            "{fps}"
        );
    }
    let few = VideoLimits {
        sampled_frames: 7,
        ..limits
    };
    assert!(matches!(
        plan(good, few),
        Err(MediaError::VideoTooLarge { .. })
    ));
    let small = VideoLimits {
        patches: 100,
        ..limits
    };
    assert!(matches!(
        plan(good, small),
        Err(MediaError::VideoTooLarge { .. })
    ));
    let endless = VideoInfo {
        frames: usize::MAX,
        fps: 1e-300,
        ..good
    };
    assert!(matches!(
        plan(endless, limits),
        Err(MediaError::VideoTooLarge { .. })
    ));
    assert_eq!(
        timestamp(usize::MAX as f64 / 1e-300).len(),
        "00:00:00.000".len()
    );
}

#[test]
fn animations_are_drawn_as_pillow_draws_them() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images.safetensors");
    let data = SafetensorsFile::open(data).expect("images.safetensors");
    let dir = TempDir::new().expect("a folder");
    let mut cases = 0;
    for info in data.header().tensors() {
        let Some(name) = info.name.strip_suffix(".animation") else {
            continue;
        };
        cases += 1;
        let path = dir.path().join(format!("{name}.gif"));
        std::fs::write(&path, data.tensor(info.name).expect("the file").as_u8()).expect("a file");
        let expected = data.tensor(&format!("{name}.frames")).expect("its frames");
        let video = Video::open(&path, &VideoLimits::default()).expect(name);
        let [count, height, width, 3] = *expected.shape() else {
            panic!("{name}")
        };
        assert_eq!(
            (video.info().frames, video.info().height, video.info().width),
            (count, height, width),
            "{name}"
        );
        let indices: Vec<usize> = (0..count).collect();
        for (index, frame) in video.frames(&indices).expect(name).enumerate() {
            let pixels = &expected.as_u8()[index * height * width * 3..][..height * width * 3];
            assert!(
                frame.expect(name).pixels() == pixels,
                "{name}: frame {index} differs"
            );
        }
    }
    assert!(cases >= 5, "only {cases} animations");
}

/// Runs ffmpeg to make a test file.
fn ffmpeg(arguments: &[&str], out: &Path) {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-y", "-loglevel", "error"])
        .args(arguments)
        .arg(out)
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("{error}: these tests need ffmpeg (apt-get install ffmpeg)")
    });
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A folder and in it a video of this many frames at 10 per second; frame `n` has the colour
/// `(n, 2n, 255 − n)`, kept without loss.
fn numbered(name: &str, frames: usize) -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join(name);
    let seconds = (frames as f64 / 10.0).to_string();
    let source =
        format!("color=size=34x28:rate=10:duration={seconds},format=rgb24,geq=r=N:g=2*N:b=255-N");
    ffmpeg(
        &[
            "-f", "lavfi", "-i", &source, "-c:v", "ffv1", "-pix_fmt", "bgr0",
        ],
        &path,
    );
    (dir, path)
}

fn open(path: &Path) -> Result<Video, MediaError> {
    Video::open(path, &VideoLimits::default())
}

fn first_pixels(video: &Video, indices: &[usize]) -> Vec<[u8; 3]> {
    let frames = video.frames(indices).expect("frames");
    frames
        .map(|frame| {
            frame.expect("a frame").pixels()[..3]
                .try_into()
                .expect("a pixel")
        })
        .collect()
}

fn colour(frame: usize) -> [u8; 3] {
    [frame as u8, 2 * frame as u8, 255 - frame as u8]
}

#[test]
fn frames_are_counted_and_chosen_by_their_number() {
    let (_dir, path) = numbered("numbers.mkv", 73);
    let video = open(&path).expect("a video");
    assert_eq!(
        *video.info(),
        VideoInfo {
            frames: 73,
            fps: 10.0,
            width: 34,
            height: 28
        }
    );
    let indices = [0, 1, 5, 6, 30, 71, 72];
    assert_eq!(first_pixels(&video, &indices), indices.map(colour));

    let plan = video.plan(&MediaConfig::default()).expect("a plan");
    // 14.6 samples round to 15, over 73 frames.
    assert_eq!(plan.indices, sampled_indices(73, 10.0, 2.0));
    assert_eq!(plan.indices.len(), 15);
    let chunks: Vec<_> = video
        .chunks(&plan)
        .expect("chunks")
        .collect::<Result<_, _>>()
        .expect("chunks");
    assert_eq!(
        chunks
            .iter()
            .map(|chunk| chunk.item.grid)
            .collect::<Vec<_>>(),
        [[4, 2, 4], [4, 2, 4], [4, 2, 4], [3, 2, 4]]
    );
    assert_eq!(
        chunks[1].timestamp,
        timestamp(plan.indices[4] as f64 / 10.0)
    );
    let red = |frame: usize| (f32::from(frame as u8) / 255.0 - 0.5) * 2.0;
    assert_eq!(chunks[0].item.patches[0], red(0));
    assert_eq!(chunks[2].item.patches[0], red(plan.indices[8]));
}

#[test]
fn strange_times_neither_repeat_nor_drop_a_frame() {
    let (dir, path) = numbered("numbers.mkv", 40);
    let uneven = dir.path().join("uneven.mkv");
    let times = "setpts=(N*N/4+N)/10/TB";
    ffmpeg(
        &[
            "-i",
            path.to_str().expect("UTF-8"),
            "-vf",
            times,
            "-fps_mode",
            "passthrough",
            "-c:v",
            "ffv1",
        ],
        &uneven,
    );
    let video = open(&uneven).expect("a video");
    assert_eq!(video.info().frames, 40);
    let all: Vec<usize> = (0..40).collect();
    assert_eq!(
        first_pixels(&video, &all),
        all.iter().map(|&frame| colour(frame)).collect::<Vec<_>>()
    );
}

#[test]
fn reordered_frames_come_in_the_order_they_are_shown() {
    let dir = TempDir::new().expect("a folder");
    for (name, codec) in [
        ("a.mp4", "libx264"),
        ("a.ts", "mpeg2video"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx"),
    ] {
        let path = dir.path().join(name);
        let bframes: &[&str] = if codec == "libvpx" {
            &[]
        } else {
            &["-bf", "2"]
        };
        let source = "color=size=64x48:rate=25:duration=2,format=gray,geq=lum=20+4*N";
        let mut arguments = vec![
            "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", codec, "-b:v", "2M",
        ];
        arguments.extend(bframes);
        ffmpeg(&arguments, &path);
        let video = open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(video.info().frames, 50, "{name}");
        assert!(
            (video.info().fps - 25.0).abs() < 0.01,
            "{name}: {} fps",
            video.info().fps
        );
        let all: Vec<usize> = (0..50).collect();
        let brightness: Vec<u8> = first_pixels(&video, &all)
            .iter()
            .map(|pixel| pixel[1])
            .collect();
        assert!(
            brightness.windows(2).all(|pair| pair[0] < pair[1]),
            "{name}: {brightness:?}"
        );
    }
}

#[test]
fn a_turned_video_has_the_size_it_is_shown_in() {
    let dir = TempDir::new().expect("a folder");
    let turned = dir.path().join("turned.mp4");
    ffmpeg(
        &["-f", "lavfi", "-i", "testsrc=size=64x32:duration=1:rate=5"],
        &turned,
    );
    let mut bytes = std::fs::read(&turned).expect("the file");
    // The matrix of a track header lies 44 bytes behind its name; this one turns by 90 degrees.
    let header = bytes
        .windows(4)
        .position(|name| name == b"tkhd")
        .expect("a track header");
    let quarter_turn = [
        0,
        0x1_0000,
        0,
        0xFFFF_0000,
        0,
        0,
        0x20_0000,
        0,
        0x4000_0000u32,
    ];
    let matrix: Vec<u8> = quarter_turn
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect();
    bytes[header + 44..header + 80].copy_from_slice(&matrix);
    std::fs::write(&turned, &bytes).expect("a file");
    let video = open(&turned).expect("a video");
    assert_eq!((video.info().width, video.info().height), (32, 64));
    let frame = video
        .frames(&[4])
        .expect("frames")
        .next()
        .expect("one")
        .expect("a frame");
    assert_eq!((frame.width(), frame.height()), (32, 64));
}

#[test]
fn a_name_is_only_ever_a_name() {
    let (dir, path) = numbered("numbers.mkv", 5);
    for name in [
        "-i.mkv",
        "http:x.mkv",
        "a b'c\"d;e$(f).mkv",
        "100%d.mkv",
        "ein Bär.mkv",
    ] {
        let strange = dir.path().join(name);
        std::fs::copy(&path, &strange).expect("a copy");
        assert_eq!(
            open(&strange)
                .unwrap_or_else(|error| panic!("{name}: {error}"))
                .info()
                .frames,
            5,
            "{name}"
        );
    }
}

#[test]
fn a_file_cut_short_gives_what_it_holds_or_an_error() {
    let (dir, path) = numbered("numbers.mkv", 60);
    let whole = std::fs::read(&path).expect("the file");
    let cut = dir.path().join("cut.mkv");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("a file");
    let video = open(&cut).expect("half a video");
    let frames = video.info().frames;
    assert!((10..60).contains(&frames), "{frames} frames");
    let last = frames - 1;
    assert_eq!(first_pixels(&video, &[0, last])[0], colour(0));

    let mp4 = dir.path().join("whole.mp4");
    ffmpeg(
        &["-i", path.to_str().expect("UTF-8"), "-pix_fmt", "yuv420p"],
        &mp4,
    );
    let whole = std::fs::read(&mp4).expect("the file");
    std::fs::write(&mp4, &whole[..whole.len() / 2]).expect("a file");
    let error = open(&mp4).expect_err("an MP4 without its index");
    assert!(
        matches!(&error, MediaError::Video { stderr, .. } if stderr.contains("moov atom not found")),
        "{error}"
    );
    assert!(error.to_string().contains("hint:"), "{error}");
}

#[test]
fn damaged_bytes_never_hang_or_panic() {
    let (dir, path) = numbered("numbers.mkv", 30);
    let whole = std::fs::read(&path).expect("the file");
    let damaged = dir.path().join("damaged.mkv");
    for seed in 0..6usize {
        let mut bytes = whole.clone();
        for step in 0..40 {
            let at = (seed * 7_919 + step * 104_729) % bytes.len();
            bytes[at] ^= (1 + seed + step) as u8;
        }
        std::fs::write(&damaged, &bytes).expect("a file");
        let started = Instant::now();
        if let Ok(video) = open(&damaged) {
            let indices = sampled_indices(video.info().frames, video.info().fps, 2.0);
            for frame in video.frames(&indices).expect("frames") {
                let Ok(frame) = frame else { break };
                assert_eq!(
                    (frame.width(), frame.height()),
                    (video.info().width, video.info().height)
                );
            }
        }
        assert!(started.elapsed() < Duration::from_secs(60), "seed {seed}");
    }
}

#[test]
fn what_is_no_video_is_an_error_that_says_so() {
    let dir = TempDir::new().expect("a folder");
    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path
    };
    let secret = write("secret.txt", b"secret");
    let playlist = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{}\n#EXT-X-ENDLIST\n",
        secret.display()
    );
    let (_numbers, video) = numbered("numbers.mkv", 5);
    let script = format!("ffconcat version 1.0\nfile '{}'\n", video.display());
    let sound = dir.path().join("sound.wav");
    ffmpeg(&["-f", "lavfi", "-i", "sine=duration=1"], &sound);
    for path in [
        write("empty.mp4", b""),
        write("text.mp4", b"not a video at all"),
        write("zeros.mp4", &[0; 4_096]),
        write("list.m3u8", playlist.as_bytes()),
        write("remote.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"),
        write("list.ffconcat", script.as_bytes()),
        sound,
        fixtures::path("images/rgb_28x28.png"),
    ] {
        let error = open(&path).expect_err(&format!("{} is no video", path.display()));
        assert!(matches!(error, MediaError::Video { .. }), "{}: {error}", path.display());
    }
    assert!(matches!(open(dir.path()), Err(MediaError::Io { .. })));
    assert!(matches!(
        open(&dir.path().join("nothing.mp4")),
        Err(MediaError::Io { .. })
    ));
}

#[test]
fn limits_are_kept() {
    let (_dir, path) = numbered("numbers.mkv", 60);
    let open = |limits: VideoLimits| Video::open(&path, &limits).map(|video| video.info().frames);
    let limits = VideoLimits::default();
    assert!(matches!(open(limits), Ok(60)));
    assert!(matches!(
        open(VideoLimits {
            frame_pixels: 900,
            ..limits
        }),
        Err(MediaError::VideoTooLarge { .. } | MediaError::Video { .. })
    ));
    assert!(matches!(
        open(VideoLimits {
            decoded_frames: 59,
            ..limits
        }),
        Err(MediaError::VideoTooLarge { .. })
    ));
    assert!(matches!(
        open(VideoLimits {
            file_bytes: 100,
            ..limits
        }),
        Err(MediaError::FileTooLarge { .. })
    ));
    let hasty = VideoLimits {
        timeout: Duration::from_millis(1),
        ..limits
    };
    assert!(matches!(open(hasty), Err(MediaError::VideoTimeout { .. })));
}

#[test]
fn frames_that_nobody_wants_any_more_stop_the_decoder() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("long.mkv");
    let source = "testsrc=size=320x240:rate=25:duration=60";
    ffmpeg(&["-f", "lavfi", "-i", source, "-c:v", "mjpeg"], &path);
    let video = open(&path).expect("a video");
    assert_eq!(video.info().frames, 1_500);
    let all: Vec<usize> = (0..1_500).collect();
    let mut frames = video.frames(&all).expect("frames");
    assert!(frames.next().expect("one").is_ok());
    let started = Instant::now();
    drop(frames);
    assert!(started.elapsed() < Duration::from_secs(5));
}
