//! Expectations on films: sampled frames, chunks, times, patches. All exact.

use k25_chat::{JsonValue, Segment, segments_to_text, video_chunk_prompt};
use k25_config::MediaConfig;
use k25_model::Tensor;
use k25_model::media::video::{VideoChunk, VideoInfo, VideoPlan};
use k25_model::media::{RgbImage, VideoLimits};

use crate::expected::Expected;
use crate::images::{as_usize, number};
use crate::prompts::{array, field, string};
use crate::report::Part;

/// Checks every film that `films` lists; its frames are in `tensors`.
pub fn verify(part: &mut Part<'_>, films: &[JsonValue], tensors: &Expected) {
    for film in films {
        let name = string(film, "name")
            .unwrap_or("film without a name")
            .to_owned();
        if let Err(reason) = verify_film(part, film, &name, tensors) {
            part.failed(&name, reason);
        }
    }
}

/// The chunks of every film that `document` lists; films that cannot be prepared are left out.
pub fn prepare_all(
    document: &JsonValue,
    tensors: &Expected,
    config: &MediaConfig,
) -> Vec<(String, Vec<VideoChunk>)> {
    let JsonValue::Array(films) = document else {
        return Vec::new();
    };
    films
        .iter()
        .filter_map(|film| {
            let name = string(film, "name").ok()?.to_owned();
            let plan = plan(film, config).ok()?;
            Some((name.clone(), chunks(&name, &plan, tensors).ok()?))
        })
        .collect()
}

fn verify_film(
    part: &mut Part<'_>,
    film: &JsonValue,
    name: &str,
    tensors: &Expected,
) -> Result<(), String> {
    let plan = plan(film, &MediaConfig::default())?;
    part.equal(
        &format!("{name}, sampled frames"),
        &plan.indices,
        &numbers(film, "sampled_indices")?,
    );
    let tokens: Vec<usize> = plan.chunks.iter().map(|chunk| chunk.tokens).collect();
    part.equal(
        &format!("{name}, tokens per chunk"),
        &tokens,
        &numbers(film, "tokens_per_chunk")?,
    );
    let prompt: Vec<Segment> = plan
        .chunks
        .iter()
        .flat_map(|chunk| video_chunk_prompt(&chunk.timestamp, 1))
        .collect();
    part.equal(
        &format!("{name}, prompt"),
        &[segments_to_text(&prompt)],
        &[string(film, "prompt")?.to_owned()],
    );

    let chunks = chunks(name, &plan, tensors)?;
    let grids: Vec<u32> = chunks
        .iter()
        .flat_map(|chunk| chunk.item.grid)
        .map(|side| side as u32)
        .collect();
    let grid_name = format!("{name}.grid_thw");
    part.equal(
        &grid_name,
        &grids,
        &tensors.unsigned(&grid_name).ok_or("the grid is missing")?,
    );
    let patches: Vec<f32> = chunks
        .iter()
        .flat_map(|chunk| chunk.item.patches.iter().copied())
        .collect();
    let values_name = format!("{name}.pixel_values");
    part.values(
        &values_name,
        &patches,
        tensors.f32(&values_name).ok_or("the patches are missing")?,
        0.0,
    );
    Ok(())
}

fn plan(film: &JsonValue, config: &MediaConfig) -> Result<VideoPlan, String> {
    let fps = match field(film, "fps")? {
        JsonValue::Float(fps) => *fps,
        whole => as_usize(whole)? as f64,
    };
    let info = VideoInfo {
        frames: number(film, "num_frames")?,
        fps,
        width: number(film, "width")?,
        height: number(film, "height")?,
    };
    VideoPlan::new(&info, config, &VideoLimits::default()).map_err(|error| error.to_string())
}

fn chunks(name: &str, plan: &VideoPlan, tensors: &Expected) -> Result<Vec<VideoChunk>, String> {
    let frames = tensors
        .get(&format!("{name}.frames"))
        .ok_or("the frames are missing")?;
    let sampled: Vec<RgbImage> = plan
        .indices
        .iter()
        .map(|index| frame(frames, *index))
        .collect::<Result<_, _>>()?;
    plan.chunks(sampled.into_iter().map(Ok))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// Frame `index` of `[frames, height, width, 3]` bytes.
fn frame(frames: &Tensor, index: usize) -> Result<RgbImage, String> {
    let [count, height, width, 3] = *frames.shape() else {
        return Err("frames are no [n, h, w, 3]".to_owned());
    };
    if index >= count {
        return Err(format!("frame {index} of {count}"));
    }
    let bytes = height * width * 3;
    Ok(RgbImage::new(
        width,
        height,
        frames.bytes()[index * bytes..(index + 1) * bytes].to_vec(),
    ))
}

fn numbers(film: &JsonValue, key: &str) -> Result<Vec<usize>, String> {
    field(film, key)?;
    array(film, key).iter().map(as_usize).collect()
}
