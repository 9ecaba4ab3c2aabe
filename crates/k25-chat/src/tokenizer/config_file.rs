//! `tokenizer_config.json`: read for the names of the special tokens, written in the family's layout.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::special::SpecialToken;

/// One entry of `added_tokens_decoder`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct AddedToken {
    /// The token's name.
    pub(super) content: String,
    /// Left out by a decode that skips special tokens.
    #[serde(default)]
    pub(super) special: bool,
}

impl From<SpecialToken> for AddedToken {
    fn from(token: SpecialToken) -> Self {
        AddedToken {
            content: token.text().to_owned(),
            special: token.is_special(),
        }
    }
}

/// The entries of `added_tokens_decoder` in the order of the file; none if the file has no such
/// field. Other fields are skipped, however deep they nest.
pub(super) fn parse_added_tokens(
    json: &[u8],
) -> Result<Vec<(String, AddedToken)>, serde_json::Error> {
    #[derive(Deserialize)]
    struct ConfigFile {
        #[serde(default)]
        added_tokens_decoder: Entries,
    }
    let file: ConfigFile = serde_json::from_slice(json)?;
    Ok(file.added_tokens_decoder.0)
}

/// Keys and values as they stand; a map would silently keep one of two equal keys.
#[derive(Default)]
struct Entries(Vec<(String, AddedToken)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from token ids to added tokens")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// The text of a `tokenizer_config.json` that names the family's specials behind `n_base` base
/// tokens.
pub fn write_tokenizer_config(n_base: u32) -> String {
    let additional = |token: &SpecialToken| {
        let is_named_apart = [
            SpecialToken::Bos,
            SpecialToken::Eos,
            SpecialToken::Unk,
            SpecialToken::Pad,
        ];
        token.is_special() && !is_named_apart.contains(token)
    };
    let file = WrittenConfig {
        added_tokens_decoder: WrittenTokens { n_base },
        additional_special_tokens: SpecialToken::ALL
            .iter()
            .filter(|token| additional(token))
            .map(|token| token.text())
            .collect(),
        bos_token: SpecialToken::Bos.text(),
        clean_up_tokenization_spaces: false,
        eos_token: SpecialToken::Eos.text(),
        extra_special_tokens: serde_json::Map::new(),
        model_max_length: NO_LIMIT,
        pad_token: SpecialToken::Pad.text(),
        tokenizer_class: "TikTokenTokenizer",
        unk_token: SpecialToken::Unk.text(),
    };
    serde_json::to_string_pretty(&file).expect("strings and numbers can always be written")
}

/// How `transformers` writes that a tokenizer has no maximum length: the integer nearest to 1e30 that
/// a double can hold.
const NO_LIMIT: u128 = 1_000_000_000_000_000_019_884_624_838_656;

#[derive(Serialize)]
struct WrittenConfig {
    added_tokens_decoder: WrittenTokens,
    additional_special_tokens: Vec<&'static str>,
    bos_token: &'static str,
    clean_up_tokenization_spaces: bool,
    eos_token: &'static str,
    extra_special_tokens: serde_json::Map<String, serde_json::Value>,
    model_max_length: u128,
    pad_token: &'static str,
    tokenizer_class: &'static str,
    unk_token: &'static str,
}

/// The map from ids to added tokens.
struct WrittenTokens {
    n_base: u32,
}

impl Serialize for WrittenTokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct WrittenToken {
            content: &'static str,
            lstrip: bool,
            normalized: bool,
            rstrip: bool,
            single_word: bool,
            special: bool,
        }
        let mut map = serializer.serialize_map(Some(SpecialToken::ALL.len()))?;
        for token in SpecialToken::ALL {
            let written = WrittenToken {
                content: token.text(),
                lstrip: false,
                normalized: false,
                rstrip: false,
                single_word: false,
                special: token.is_special(),
            };
            map.serialize_entry(&token.id(self.n_base).to_string(), &written)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_file_is_the_reference_s() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/tokenizer/tokenizer_config.json"
        );
        let expected = std::fs::read_to_string(path).expect("fixture");
        assert_eq!(write_tokenizer_config(1024), expected);
    }
}
