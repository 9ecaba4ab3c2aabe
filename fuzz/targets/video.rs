//! Films: an animated GIF on disk, or any frame count, rate and size for the plan of its chunks.
#![no_main]

use std::fs;

use k25_config::MediaConfig;
use k25_fuzz::FOLDER;
use k25_model::media::{ImageFormat, Video, VideoInfo, VideoLimits, VideoPlan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let config = MediaConfig::default();
    // Small enough for thousands of films per second.
    let limits = VideoLimits {
        frame_pixels: 1 << 12,
        decoded_frames: 64,
        sampled_frames: 32,
        ..VideoLimits::default()
    };
    let Some((&form, rest)) = data.split_first() else {
        return;
    };
    if form % 2 == 1 {
        plan_of(rest, &config);
    } else if ImageFormat::sniff(rest) == Some(ImageFormat::Gif) {
        // Other formats go to a child process, which is not what this target feeds.
        animation(rest, &config, &limits);
    }
});

fn animation(file: &[u8], config: &MediaConfig, limits: &VideoLimits) {
    let path = FOLDER.path().join("film.gif");
    fs::write(&path, file).expect("the temporary folder takes files");
    let Ok(video) = Video::open(&path, limits) else {
        return;
    };
    let Ok(plan) = video.plan(config) else { return };
    holds_together(&plan, video.info(), config);
    let Ok(chunks) = video.chunks(&plan) else {
        return;
    };
    for (chunk, planned) in chunks.zip(&plan.chunks) {
        let Ok(chunk) = chunk else { return };
        assert_eq!(chunk.item.grid, planned.grid);
        let values =
            planned.grid.iter().product::<usize>() * 3 * config.patch_size * config.patch_size;
        assert_eq!(chunk.item.patches.len(), values);
    }
}

fn plan_of(numbers: &[u8], config: &MediaConfig) {
    let Some(info) = info(numbers) else { return };
    if let Ok(plan) = VideoPlan::new(&info, config, &VideoLimits::default()) {
        holds_together(&plan, &info, config);
    }
}

/// Frames, rate, width and height out of 20 bytes.
fn info(bytes: &[u8]) -> Option<VideoInfo> {
    let (frames, bytes) = bytes.split_first_chunk()?;
    let (fps, bytes) = bytes.split_first_chunk()?;
    let (width, bytes) = bytes.split_first_chunk()?;
    let (height, _) = bytes.split_first_chunk()?;
    Some(VideoInfo {
        frames: u32::from_le_bytes(*frames) as usize,
        fps: f64::from_le_bytes(*fps),
        width: u32::from_le_bytes(*width) as usize,
        height: u32::from_le_bytes(*height) as usize,
    })
}

/// The samples are frames of the film in order, and the chunks are all of them.
fn holds_together(plan: &VideoPlan, info: &VideoInfo, config: &MediaConfig) {
    assert!(!plan.indices.is_empty() && plan.indices.iter().all(|&index| index < info.frames));
    assert!(plan.indices.is_sorted());
    let mut next = 0;
    for chunk in &plan.chunks {
        assert_eq!(chunk.samples.start, next);
        assert!((1..=config.temporal_merge_kernel_size).contains(&chunk.samples.len()));
        assert_eq!(chunk.grid[0], chunk.samples.len());
        assert_eq!(chunk.timestamp.len(), "HH:MM:SS.mmm".len());
        next = chunk.samples.end;
    }
    assert_eq!(next, plan.indices.len());
}
