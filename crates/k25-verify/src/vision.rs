//! Expectations on MoonViT-3D: features of pictures, packed batches and films, and the logits of
//! prompts that show them.
//!
//! Tolerances: the reference and an independent f64 computation agree to 6e-6 on features and 9e-5
//! on multimodal logits; 1e-4 and 1e-3 leave room for another order of summation and none for a
//! mistake.

use std::collections::BTreeMap;

use k25_chat::{
    Conversation, JsonValue, Reading, RenderOptions, TemplateVersion, Tokenizer, render,
};
use k25_local::{PreparedMedia, PromptInput, assemble};
use k25_model::exec::InputRow;
use k25_model::media::video::VideoChunk;
use k25_model::vision::{VisionItem, VisionSite};
use k25_model::weights::Model;
use k25_model::{LatentCache, Reference, ReferenceOptions, Rows, VisionReference};

use crate::expected::Expected;
use crate::prompts::{array, field, string};
use crate::report::Part;
use crate::text::LOGITS_TOLERANCE;

const FEATURE_TOLERANCE: f64 = 1e-4;
/// A fixture with more feature rows than this holds every eighth.
const MOST_FEATURE_ROWS: usize = 80;

/// The media that expectations name.
pub struct MediaSet {
    /// Preprocessed pictures.
    pub images: BTreeMap<String, VisionItem>,
    /// Preprocessed films.
    pub videos: BTreeMap<String, Vec<VideoChunk>>,
}

/// What the multimodal expectations need beside the model.
pub struct Surroundings<'a> {
    /// Pictures and films.
    pub media: &'a MediaSet,
    /// The tokenizer, if there is one.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The document with the prompts, if there is one.
    pub prompts: Option<&'a JsonValue>,
    /// Names of the pictures of the packed batch, as the manifest lists them.
    pub packed: Vec<String>,
}

/// Values that one encoding showed.
type Observations = BTreeMap<VisionSite, Rows>;

/// Checks every expectation of `expected`.
pub fn verify(part: &mut Part<'_>, model: &Model, expected: &Expected, around: &Surroundings<'_>) {
    let names = expected.names();
    let mut seen = BTreeMap::new();
    for name in &names {
        let Some((group, rest)) = name.split_once('.') else {
            part.not_checked(name, "unknown expectation");
            continue;
        };
        match group {
            "img" => verify_item(part, model, expected, around, name, rest, &mut seen),
            "vid" => verify_video(part, model, expected, around, name, rest),
            "packed" => verify_packed(part, model, expected, around, name),
            "mm" => {} // prompt by prompt, below
            _ => part.not_checked(name, "unknown expectation"),
        }
    }
    for prompt in expected.names_ending_with("input_ids") {
        verify_prompt(part, model, expected, around, &prompt);
    }
}

fn encode(model: &Model, items: &[VisionItem]) -> Result<Observations, String> {
    let (Some(config), Some(weights)) = (&model.config.vision, &model.vision) else {
        return Err("this model has no vision tower".to_owned());
    };
    let mut observations = Observations::new();
    let mut observer = |site: VisionSite, value: &Rows| {
        if matches!(
            site,
            VisionSite::EncoderOut | VisionSite::Merged | VisionSite::Features
        ) {
            observations.insert(site, value.clone());
        }
    };
    VisionReference::new()
        .with_observer(&mut observer)
        .features(config, weights, items)
        .map_err(|error| error.to_string())?;
    Ok(observations)
}

/// One value of one picture; `seen` keeps the last picture's values.
fn verify_item(
    part: &mut Part<'_>,
    model: &Model,
    expected: &Expected,
    around: &Surroundings<'_>,
    name: &str,
    rest: &str,
    seen: &mut BTreeMap<String, Observations>,
) {
    let Some((image, value)) = rest.rsplit_once('.') else {
        part.not_checked(name, "unknown expectation");
        return;
    };
    let Some(item) = around.media.images.get(image) else {
        part.failed(name, format!("the picture {image} is not in this folder"));
        return;
    };
    if !seen.contains_key(image) {
        match encode(model, std::slice::from_ref(item)) {
            Ok(observations) => {
                seen.clear();
                seen.insert(image.to_owned(), observations);
            }
            Err(reason) => return part.failed(name, reason),
        }
    }
    let site = match value {
        "encoder_out" => VisionSite::EncoderOut,
        "merged" => VisionSite::Merged,
        "features" => VisionSite::Features,
        _ => return part.not_checked(name, "unknown value of a picture"),
    };
    compare(part, expected, name, &seen[image][&site]);
}

fn verify_video(
    part: &mut Part<'_>,
    model: &Model,
    expected: &Expected,
    around: &Surroundings<'_>,
    name: &str,
    rest: &str,
) {
    let video = rest
        .strip_suffix(".features")
        .and_then(|video| around.media.videos.get(video));
    let Some(chunks) = video else {
        part.failed(name, "this film is not in this folder");
        return;
    };
    let items: Vec<VisionItem> = chunks.iter().map(|chunk| chunk.item.clone()).collect();
    verify_features(part, model, expected, name, &items);
}

/// A packed batch must give what its items give one by one: attention never crosses an item.
fn verify_packed(
    part: &mut Part<'_>,
    model: &Model,
    expected: &Expected,
    around: &Surroundings<'_>,
    name: &str,
) {
    if around.packed.is_empty() {
        part.not_checked(name, "no manifest says which pictures were packed");
        return;
    }
    let items: Option<Vec<VisionItem>> = around
        .packed
        .iter()
        .map(|image| around.media.images.get(image).cloned())
        .collect();
    match items {
        Some(items) => verify_features(part, model, expected, name, &items),
        None => part.failed(name, "a picture of the packed batch is not in this folder"),
    }
}

fn verify_features(
    part: &mut Part<'_>,
    model: &Model,
    expected: &Expected,
    name: &str,
    items: &[VisionItem],
) {
    match encode(model, items) {
        Ok(observations) => compare(part, expected, name, &observations[&VisionSite::Features]),
        Err(reason) => part.failed(name, reason),
    }
}

fn compare(part: &mut Part<'_>, expected: &Expected, name: &str, rows: &Rows) {
    let Some(values) = expected.f32(name) else {
        part.failed(name, "not f32 values");
        return;
    };
    let every_eighth: Vec<usize> = (0..rows.len()).step_by(8).collect();
    let is_sampled =
        rows.len() > MOST_FEATURE_ROWS && values.len() == every_eighth.len() * rows.width();
    if is_sampled {
        part.values(
            name,
            rows.select(&every_eighth).values(),
            values,
            FEATURE_TOLERANCE,
        );
    } else {
        part.values(name, rows.values(), values, FEATURE_TOLERANCE);
    }
}

/// A prompt that shows media: its ids, and the logits and state of its last rows.
fn verify_prompt(
    part: &mut Part<'_>,
    model: &Model,
    expected: &Expected,
    around: &Surroundings<'_>,
    name: &str,
) {
    let input = match prompt_input(model, around, name) {
        Ok(input) => input,
        Err(reason) => return part.failed(name, reason),
    };
    let ids = format!("{name}.input_ids");
    part.equal(
        &ids,
        &input.ids,
        &expected.unsigned(&ids).unwrap_or_default(),
    );
    let features = match encode(model, &input.items) {
        Ok(mut observations) => observations.remove(&VisionSite::Features),
        Err(reason) => return part.failed(name, reason),
    };
    let Some(rows) = features
        .as_ref()
        .and_then(|features| input_rows(model, &input, features))
    else {
        return part.failed(
            name,
            "the prompt has not as many media pads as feature rows",
        );
    };
    let positions: Vec<u32> = (0..rows.len() as u32).collect();
    let wanted: Vec<usize> = (0..rows.len()).collect();
    let mut cache = LatentCache::new(&model.config.text);
    let mut reference = Reference::new(
        &model.config.text,
        ReferenceOptions::default(),
        &mut cache,
        &positions,
    );
    let logits = reference.logits(&model.text, &rows, &wanted);
    let mut cache = LatentCache::new(&model.config.text);
    let mut reference = Reference::new(
        &model.config.text,
        ReferenceOptions::default(),
        &mut cache,
        &positions,
    );
    let hidden = reference.hidden_states(&model.text, &rows, &wanted);
    for item in expected.names_below(name) {
        let rows = match &item[name.len() + 1..] {
            "input_ids" => continue,
            "logits_last8" => &logits,
            "hidden_last" => &hidden,
            _ => {
                part.not_checked(&item, "unknown value of a prompt");
                continue;
            }
        };
        let values = expected.f32(&item).unwrap_or_default();
        let last = &rows.values()[rows.values().len().saturating_sub(values.len())..];
        part.values(&item, last, values, LOGITS_TOLERANCE);
    }
}

/// Tokens as they are; each media pad takes the next feature row.
fn input_rows<'a>(
    model: &Model,
    input: &PromptInput,
    features: &'a Rows,
) -> Option<Vec<InputRow<'a>>> {
    let pad = model.config.media_placeholder_token_id;
    let mut next = features.iter();
    let rows: Option<Vec<InputRow<'a>>> = input
        .ids
        .iter()
        .map(|id| {
            if Some(*id) == pad {
                next.next().map(InputRow::Feature)
            } else {
                Some(InputRow::Token(*id))
            }
        })
        .collect();
    rows.filter(|_| next.next().is_none())
}

/// Renders and encodes the conversation that an expectation is about.
fn prompt_input(
    model: &Model,
    around: &Surroundings<'_>,
    name: &str,
) -> Result<PromptInput, String> {
    let tokenizer = around.tokenizer.ok_or("no tokenizer in this folder")?;
    let document = around
        .prompts
        .ok_or("no document with the prompts in this folder")?;
    let vision = model
        .config
        .vision
        .as_ref()
        .ok_or("this model has no vision tower")?;
    let wanted = name.strip_prefix("mm.").unwrap_or(name);
    let prompts = field(document, "prompts")?
        .as_object()
        .ok_or("prompts is no object")?;
    let (_, prompt) = prompts
        .iter()
        .find(|(key, _)| key.replace(':', "_") == wanted)
        .ok_or("the document with the prompts does not have it")?;
    let reading = Reading::Reference(TemplateVersion::K25);
    let conversation =
        Conversation::read(prompt.clone(), reading).map_err(|error| error.to_string())?;
    let options = match field(prompt, "kwargs") {
        Ok(JsonValue::Object(kwargs)) => {
            RenderOptions::from_kwargs(kwargs).map_err(|error| error.to_string())?
        }
        _ => RenderOptions::default(),
    };
    let media = conversation
        .media()
        .map(|media| {
            let source = media.source.as_deref().unwrap_or_default();
            let image = around
                .media
                .images
                .get(source)
                .cloned()
                .map(PreparedMedia::Image);
            image
                .or_else(|| {
                    around
                        .media
                        .videos
                        .get(source)
                        .cloned()
                        .map(PreparedMedia::Video)
                })
                .ok_or_else(|| format!("{source} is not in this folder"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    assemble(
        tokenizer,
        render(&conversation, &options),
        media,
        vision.merge_kernel_size,
    )
    .map_err(|error| error.to_string())
}

/// Names of the pictures that the manifest says were packed for the model `name`.
pub fn packed_names(manifest: Option<&JsonValue>, name: &str) -> Vec<String> {
    let packed = manifest.and_then(|manifest| field(manifest, "packed_batch").ok());
    let names = packed.map_or(&[][..], |packed| array(packed, name));
    names
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// The file names of the pictures that a document lists, by the pictures' names.
pub fn picture_files(document: &JsonValue) -> Vec<(String, String)> {
    array(document, "images")
        .iter()
        .filter_map(|image| {
            Some((
                string(image, "name").ok()?.to_owned(),
                string(image, "file").ok()?.to_owned(),
            ))
        })
        .collect()
}
