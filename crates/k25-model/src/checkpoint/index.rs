//! `model.safetensors.index.json`: which shard holds which tensor.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Component, Path};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::MAX_SHARDS;
use super::error::{CheckpointError, shown};

/// The longest index that is read; Kimi K2.5's has about 20 MB.
const MAX_INDEX_BYTES: u64 = 256 << 20;

/// An index, parsed in place over its text.
pub(super) struct Index<'t> {
    /// Plain file names, sorted.
    pub(super) shards: Vec<Cow<'t, str>>,
    /// Tensor and the number of its shard, sorted by tensor.
    pub(super) tensors: Vec<(Cow<'t, str>, u32)>,
    /// `metadata.total_size` in bytes, where the index has it.
    pub(super) total_size: Option<u64>,
}

/// Reads the text of an index file.
pub(super) fn read_text(path: &Path) -> Result<String, CheckpointError> {
    let io = |source| CheckpointError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(io)?;
    if !metadata.is_file() || metadata.len() > MAX_INDEX_BYTES {
        let reason = match metadata.is_file() {
            false => "it is not a regular file".to_owned(),
            true => format!("it has more than {MAX_INDEX_BYTES} bytes"),
        };
        return Err(CheckpointError::Index {
            path: path.to_owned(),
            reason,
        });
    }
    fs::read_to_string(path).map_err(io)
}

impl<'t> Index<'t> {
    /// Parses the text of the index at `path`.
    pub(super) fn parse(text: &'t str, path: &Path) -> Result<Self, CheckpointError> {
        let fault = |reason: String| CheckpointError::Index {
            path: path.to_owned(),
            reason,
        };
        let mut raw: RawIndex<'_> =
            serde_json::from_str(text).map_err(|error| fault(error.to_string()))?;
        let WeightMap { shards, tensors } = &mut raw.weight_map;
        if tensors.is_empty() {
            return Err(fault("its weight_map names no tensor".to_owned()));
        }
        if let Some(shard) = shards.iter().find(|shard| !is_plain_name(shard)) {
            return Err(CheckpointError::Traversal {
                path: path.to_owned(),
                shard: shard.clone().into_owned(),
            });
        }
        sort_shards(shards, tensors);
        tensors.sort_unstable();
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(fault(format!("it names {} twice", shown(&pair[0].0))));
        }
        let RawIndex {
            weight_map: WeightMap { shards, tensors },
            metadata,
        } = raw;
        let total_size = metadata.and_then(|m| m.total_size).and_then(|n| n.as_u64());
        Ok(Self {
            shards,
            tensors,
            total_size,
        })
    }
}

/// Whether a name stays in the folder: one ordinary path component on every system.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    ) && !name.contains(['/', '\\', ':', '\0'])
}

fn sort_shards(shards: &mut [Cow<'_, str>], tensors: &mut [(Cow<'_, str>, u32)]) {
    let mut order: Vec<u32> = (0..shards.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| shards[a as usize].cmp(&shards[b as usize]));
    let mut place = vec![0; order.len()];
    for (new, &old) in (0u32..).zip(&order) {
        place[old as usize] = new;
    }
    shards.sort_unstable();
    for (_, shard) in tensors {
        *shard = place[*shard as usize];
    }
}

#[derive(serde::Deserialize)]
struct RawIndex<'t> {
    #[serde(borrow, deserialize_with = "weight_map")]
    weight_map: WeightMap<'t>,
    metadata: Option<Metadata>,
}

#[derive(serde::Deserialize)]
struct Metadata {
    total_size: Option<serde_json::Number>,
}

#[derive(Default)]
struct WeightMap<'t> {
    /// In the order of their first appearance.
    shards: Vec<Cow<'t, str>>,
    tensors: Vec<(Cow<'t, str>, u32)>,
}

fn weight_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WeightMap<'de>, D::Error> {
    deserializer.deserialize_map(WeightMapVisitor)
}

struct WeightMapVisitor;

impl<'de> Visitor<'de> for WeightMapVisitor {
    type Value = WeightMap<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of file names by tensor name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap<'de>, A::Error> {
        let mut result = WeightMap::default();
        let mut numbers: HashMap<Cow<'de, str>, u32> = HashMap::new();
        while let Some(name) = map.next_key_seed(Text)? {
            let shard = map.next_value_seed(Text)?;
            let number = match numbers.get(&shard) {
                Some(&number) => number,
                None if numbers.len() == MAX_SHARDS => {
                    let reason = format_args!("it names more than {MAX_SHARDS} shards");
                    return Err(de::Error::custom(reason));
                }
                None => {
                    let number = result.shards.len() as u32; // less than MAX_SHARDS
                    result.shards.push(shard.clone());
                    numbers.insert(shard, number);
                    number
                }
            };
            result.tensors.push((name, number));
        }
        Ok(result)
    }
}

/// A string, borrowed from the text unless it has escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Index<'_>, String> {
        Index::parse(text, Path::new("dir/index.json")).map_err(|error| error.to_string())
    }

    #[test]
    fn shards_and_tensors_come_sorted() {
        let text = r#"{"metadata": {"total_size": 7, "more": {}}, "weight_map":
            {"z": "m-2", "a": "m-1", "m": "m-2"}, "other": [1, 2]}"#;
        let index = parse(text).expect("parses");
        assert_eq!(index.shards, ["m-1", "m-2"]);
        assert_eq!(
            index.tensors,
            [("a".into(), 0), ("m".into(), 1), ("z".into(), 1)]
        );
        assert_eq!(index.total_size, Some(7));
    }

    #[test]
    fn names_outside_the_folder_are_refused() {
        for name in [
            "../x", "/etc/x", "a/b", "..", ".", "", "a\\\\b", "c:x", "a/../b", "./x",
        ] {
            let text = format!(r#"{{"weight_map": {{"t": "{name}"}}}}"#);
            let error = parse(&text).err().expect("refused");
            assert!(error.contains("outside the folder"), "{name}: {error}");
            assert!(error.contains("dir/index.json"), "{name}: {error}");
        }
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let cases = [
            ("", "EOF"),
            ("[]", "expected struct RawIndex"),
            ("{}", "missing field `weight_map`"),
            (r#"{"weight_map": []}"#, "an object of file names"),
            (r#"{"weight_map": {}}"#, "names no tensor"),
            (r#"{"weight_map": {"a": 1}}"#, "expected a string"),
            (r#"{"weight_map": {"a": "s", "a": "s"}}"#, "names a twice"),
            (r#"{"weight_map": {"a": "s"}} x"#, "trailing characters"),
        ];
        for (text, expected) in cases {
            let error = parse(text).err().expect("refused");
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_number_of_shards_is_bounded() {
        let entries: Vec<_> = (0..=MAX_SHARDS)
            .map(|i| format!(r#""t{i}": "s{i}""#))
            .collect();
        let text = format!(r#"{{"weight_map": {{{}}}}}"#, entries.join(", "));
        assert!(parse(&text).err().expect("refused").contains("more than"));
    }

    proptest::proptest! {
        /// Whatever is parsed names plain files, and each tensor once and in order.
        #[test]
        fn mutated_indices_never_panic(
            edits in proptest::collection::vec((0usize..90, "[ -~]{0,4}"), 1..5),
        ) {
            let mut text = r#"{"metadata": {"total_size": 7}, "weight_map": {"a": "m-1", "b": "m-2", "c": "m-1"}}"#.to_owned();
            for (at, new) in edits {
                let at = at.min(text.len());
                let end = (at + new.len()).min(text.len());
                text.replace_range(at..end, &new);
            }
            if let Ok(index) = parse(&text) {
                assert!(index.shards.iter().all(|shard| is_plain_name(shard)));
                assert!(index.tensors.windows(2).all(|pair| pair[0].0 < pair[1].0));
                assert!(index.tensors.iter().all(|(_, shard)| (*shard as usize) < index.shards.len()));
            }
        }
    }
}
