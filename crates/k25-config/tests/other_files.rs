//! `preprocessor_config.json` and `generation_config.json`.

use k25_config::{ConfigError, GenerationConfig, MediaConfig, ModelConfig};
use serde_json::{Value, json};

/// `media_proc_cfg` as K2.5 publishes it.
fn published() -> Value {
    json!({
        "auto_map": {"AutoImageProcessor": "kimi_k25_vision_processing.KimiK25VisionProcessor"},
        "media_proc_cfg": {
            "in_patch_limit": 16384,
            "patch_size": 14,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "merge_kernel_size": 2,
            "fixed_output_tokens": null,
            "patch_limit_on_one_side": 512,
            "in_patch_limit_each_frame": 4096,
            "in_patch_limit_video": null,
            "sample_fps": 2.0,
            "max_num_frames_each_video": null,
            "temporal_merge_kernel_size": 4,
            "timestamp_mode": "hh:mm:ss.fff"
        }
    })
}

#[test]
fn the_published_settings_are_the_defaults() {
    let config = MediaConfig::from_json(published().to_string()).unwrap();
    assert_eq!(config, MediaConfig::default());
    assert_eq!(
        MediaConfig::from_json(r#"{"media_proc_cfg": {}}"#).unwrap(),
        config
    );
    let vision = ModelConfig::kimi_k25().vision.unwrap();
    assert_eq!(MediaConfig::for_vision(&vision), config);
    config.check_against(&vision).unwrap();
}

#[test]
fn other_settings_are_taken() {
    let mut file = published();
    file["media_proc_cfg"]["in_patch_limit"] = json!(1024);
    file["media_proc_cfg"]["in_patch_limit_each_frame"] = json!(null);
    file["media_proc_cfg"]["image_mean"] = json!(0.25);
    file["media_proc_cfg"]["sample_fps"] = json!(1);
    let config = MediaConfig::from_json(file.to_string()).unwrap();
    assert_eq!(
        (config.in_patch_limit, config.in_patch_limit_each_frame),
        (1024, 1024)
    );
    assert_eq!((config.image_mean, config.sample_fps), ([0.25; 3], 1.0));
}

#[test]
fn wrong_settings_are_refused_by_name() {
    for (name, value) in [
        ("in_patch_limit", json!(0)),
        ("patch_size", json!(-14)),
        ("merge_kernel_size", json!([2, 2])),
        ("patch_limit_on_one_side", json!(1_000_000_000_000_u64)),
        ("in_patch_limit_each_frame", json!("4096")),
        ("sample_fps", json!(0)),
        ("temporal_merge_kernel_size", json!(0)),
        ("image_mean", json!([0.5, 0.5])),
        ("image_std", json!(0)),
        ("fixed_output_tokens", json!(64)),
        ("in_patch_limit_video", json!(1)),
        ("max_num_frames_each_video", json!(1)),
        ("timestamp_mode", json!("mm:ss")),
    ] {
        let mut file = published();
        file["media_proc_cfg"][name] = value.clone();
        let Err(ConfigError::Invalid { problems, .. }) = MediaConfig::from_json(file.to_string())
        else {
            panic!("{name} = {value} must be refused");
        };
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].field, format!("media_proc_cfg.{name}"));
        assert_eq!(problems[0].value, value.to_string());
    }
    assert!(
        MediaConfig::from_json("{}")
            .unwrap_err()
            .to_string()
            .contains("media_proc_cfg")
    );
}

#[test]
fn settings_of_another_checkpoint_are_noticed() {
    let vision = ModelConfig::kimi_k25().vision.unwrap();
    let config = MediaConfig {
        patch_size: 16,
        merge_kernel_size: 4,
        temporal_merge_kernel_size: 8,
        ..MediaConfig::default()
    };
    let Err(ConfigError::Invalid { problems, .. }) = config.check_against(&vision) else {
        panic!("must differ")
    };
    let fields: Vec<&str> = problems
        .iter()
        .map(|problem| problem.field.as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "media_proc_cfg.patch_size",
            "media_proc_cfg.merge_kernel_size",
            "media_proc_cfg.temporal_merge_kernel_size"
        ]
    );
}

#[test]
fn end_ids_of_the_generation_configuration() {
    let ids = |text: &str| GenerationConfig::from_json(text).unwrap().eos_token_ids;
    assert_eq!(
        ids(r#"{"max_length": 262144, "eos_token_id": 163586}"#),
        [163_586]
    );
    assert_eq!(
        ids(r#"{"eos_token_id": [163585, 163586]}"#),
        [163_585, 163_586]
    );
    assert_eq!(ids("{}"), [0_u32; 0]);
    assert!(GenerationConfig::from_json(r#"{"eos_token_id": "end"}"#).is_err());
}
