//! `preprocessor_config.json`: how images and videos become patches (spec: architecture §1, §4).

use std::path::Path;

use serde_json::{Value, json};

use crate::fields::{Fields, Problems};
use crate::file::{parse_json, read_json};
use crate::{ConfigError, VisionConfig, limits};

/// The settings under `media_proc_cfg`. The default is what K2.5 publishes.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaConfig {
    /// Side of a square patch in pixels.
    pub patch_size: usize,
    /// Patches merged into one token along each side.
    pub merge_kernel_size: usize,
    /// Most patches of one image, before padding.
    pub in_patch_limit: usize,
    /// Most patches of one video frame, before padding.
    pub in_patch_limit_each_frame: usize,
    /// Most patches along one side of an image or frame.
    pub patch_limit_on_one_side: usize,
    /// Subtracted from each colour, as a fraction of full brightness.
    pub image_mean: [f32; 3],
    /// Divides each colour after that.
    pub image_std: [f32; 3],
    /// Frames sampled per second of video, at most.
    pub sample_fps: f64,
    /// Frames in one video chunk.
    pub temporal_merge_kernel_size: usize,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            patch_size: 14,
            merge_kernel_size: 2,
            in_patch_limit: 16_384,
            in_patch_limit_each_frame: 4096,
            patch_limit_on_one_side: 512,
            image_mean: [0.5; 3],
            image_std: [0.5; 3],
            sample_fps: 2.0,
            temporal_merge_kernel_size: 4,
        }
    }
}

impl MediaConfig {
    /// Reads the `preprocessor_config.json` at `path`; fields that it lacks have K2.5's values.
    ///
    /// # Errors
    /// When the file cannot be read, is not JSON, or asks for what k25 does not compute; the last
    /// names every field at fault.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        from_value(&read_json(path)?, &path.display().to_string())
    }

    /// Reads the text of a `preprocessor_config.json`.
    ///
    /// # Errors
    /// As [`MediaConfig::from_file`].
    pub fn from_json(json: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let origin = "the preprocessor configuration";
        from_value(&parse_json(json.as_ref(), origin)?, origin)
    }

    /// K2.5's settings with the patch geometry of `vision`: what holds for a folder without a
    /// `preprocessor_config.json`.
    pub fn for_vision(vision: &VisionConfig) -> Self {
        let default = Self::default();
        Self {
            patch_size: vision.patch_size,
            merge_kernel_size: vision.merge_kernel_size[0],
            temporal_merge_kernel_size: default
                .temporal_merge_kernel_size
                .min(vision.init_pos_emb_time),
            ..default
        }
    }

    /// Checks that the patches which these settings make are those which `vision` reads.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with each number that differs.
    pub fn check_against(&self, vision: &VisionConfig) -> Result<(), ConfigError> {
        let problems = Problems::default();
        let equal = |name: &str, here: usize, there: usize| {
            if here != there {
                let reason = format!("must equal the vision tower's ({there})");
                problems.note(
                    format!("media_proc_cfg.{name}"),
                    here,
                    reason,
                    "take both files from the same checkpoint",
                );
            }
        };
        equal("patch_size", self.patch_size, vision.patch_size);
        equal(
            "merge_kernel_size",
            self.merge_kernel_size,
            vision.merge_kernel_size[0],
        );
        if self.temporal_merge_kernel_size > vision.init_pos_emb_time {
            equal(
                "temporal_merge_kernel_size",
                self.temporal_merge_kernel_size,
                vision.init_pos_emb_time,
            );
        }
        problems.stop_if_any("preprocessor_config.json")
    }
}

fn from_value(value: &Value, origin: &str) -> Result<MediaConfig, ConfigError> {
    let problems = Problems::default();
    let config = Fields::top(value, &problems).and_then(|top| {
        let media = top.child("media_proc_cfg");
        if top.value("media_proc_cfg").is_none() {
            top.note("media_proc_cfg", "must be there", "take preprocessor_config.json from the published checkpoint, or remove it for its defaults");
        }
        media.map(|media| read(&media))
    });
    problems.stop_if_any(origin)?;
    Ok(config.unwrap_or_default())
}

fn read(media: &Fields<'_>) -> MediaConfig {
    let default = MediaConfig::default();
    // The family leaves these open; their published meaning is not part of the specification.
    media.only_null("fixed_output_tokens");
    media.only_null("in_patch_limit_video");
    media.only_null("max_num_frames_each_video");
    media.only("timestamp_mode", &json!("hh:mm:ss.fff"));
    let image_limit = media.size_or(
        "in_patch_limit",
        1..=limits::PATCHES,
        default.in_patch_limit,
    );
    let frame_limit = if media.has_key("in_patch_limit_each_frame") {
        image_limit
    } else {
        default.in_patch_limit_each_frame
    };
    MediaConfig {
        patch_size: media.size_or("patch_size", 1..=limits::PATCH_SIDE, default.patch_size),
        merge_kernel_size: media.size_or(
            "merge_kernel_size",
            1..=limits::MERGE_SIDE,
            default.merge_kernel_size,
        ),
        in_patch_limit: image_limit,
        in_patch_limit_each_frame: media.size_or(
            "in_patch_limit_each_frame",
            1..=limits::PATCHES,
            frame_limit,
        ),
        patch_limit_on_one_side: media.size_or(
            "patch_limit_on_one_side",
            1..=limits::PATCHES_ON_ONE_SIDE,
            default.patch_limit_on_one_side,
        ),
        image_mean: colours(media, "image_mean", 0.0, default.image_mean),
        image_std: colours(media, "image_std", 1e-6, default.image_std),
        sample_fps: media.number_or("sample_fps", 1e-3..=1e3, default.sample_fps),
        temporal_merge_kernel_size: media.size_or(
            "temporal_merge_kernel_size",
            1..=limits::POSITION_TABLE_SIDE,
            default.temporal_merge_kernel_size,
        ),
    }
}

/// One number per colour, or one for all three, each from `low` to 1.
fn colours(media: &Fields<'_>, name: &str, low: f64, default: [f32; 3]) -> [f32; 3] {
    let Some(value) = media.value(name) else {
        return default;
    };
    let one = |value: &Value| {
        value
            .as_f64()
            .filter(|number| (low..=1.0).contains(number))
            .map(|number| number as f32)
    };
    let colours = match value.as_array().map(Vec::as_slice) {
        Some([red, green, blue]) => one(red)
            .zip(one(green))
            .zip(one(blue))
            .map(|((red, green), blue)| [red, green, blue]),
        Some(_) => None,
        None => one(value).map(|grey| [grey; 3]),
    };
    colours.unwrap_or_else(|| {
        media.note(
            name,
            format!("must be a number from {low:e} to 1, or three of them"),
            "the published models have [0.5, 0.5, 0.5]",
        );
        default
    })
}
