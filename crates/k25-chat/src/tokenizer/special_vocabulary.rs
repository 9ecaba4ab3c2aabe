//! The 256 special slots of a checkpoint, with the names that its `tokenizer_config.json` gives.

use std::collections::HashMap;

use super::config_file::{AddedToken, parse_added_tokens};
use super::error::{TokenizerError, shortened};
use crate::byte_trie::ByteTrie;
use crate::special::{SPECIAL_SLOTS, SpecialToken, reserved_token_text};

/// Longest name of a special token, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Names and flags of the special slots, by offset.
#[derive(Debug)]
pub(super) struct SpecialVocabulary {
    slots: Vec<AddedToken>,
    offset_by_name: ByteTrie<u32>,
}

/// What is wrong with an entry, and what to do about it.
struct Fault {
    reason: String,
    hint: &'static str,
}

impl SpecialVocabulary {
    /// The family's names after `n_base` base tokens.
    pub(super) fn of_the_family(n_base: u32) -> Self {
        let named = SpecialToken::ALL
            .iter()
            .map(|&token| (token.offset(), AddedToken::from(token)));
        Self::from_slots(slots_with(n_base, named))
    }

    /// Reads the names from a `tokenizer_config.json`.
    ///
    /// Slots that the file does not name are reserved, and names that the family does not have are
    /// taken as they are. Errors: an id that is no special slot of this vocabulary, an id or name
    /// that stands twice, an empty or over-long name, and a name of the family at another slot than
    /// its own, since prompts place the family's markers by offset.
    pub(super) fn parse(json: &[u8], n_base: u32, origin: &str) -> Result<Self, TokenizerError> {
        let entries = parse_added_tokens(json).map_err(|source| TokenizerError::ConfigJson {
            origin: origin.to_owned(),
            source,
        })?;
        let mut named: HashMap<u32, AddedToken> = HashMap::new();
        for (id, token) in entries {
            let fault = match slot_of(&id, &token, n_base) {
                Err(fault) => fault,
                Ok(offset) if named.contains_key(&offset) => Fault {
                    reason: "stands twice".to_owned(),
                    hint: "keep one of the two entries",
                },
                Ok(offset) => {
                    named.insert(offset, token);
                    continue;
                }
            };
            return Err(special_error(origin, &id, &token.content, fault));
        }
        let slots = slots_with(n_base, named);
        require_distinct_names(&slots, n_base, origin)?;
        Ok(Self::from_slots(slots))
    }

    fn from_slots(slots: Vec<AddedToken>) -> Self {
        let names = slots
            .iter()
            .zip(0u32..)
            .map(|(slot, offset)| (slot.content.as_str(), offset));
        SpecialVocabulary {
            offset_by_name: ByteTrie::new(names),
            slots,
        }
    }

    /// The name of a slot.
    pub(super) fn name(&self, offset: u32) -> Option<&str> {
        Some(&self.slots.get(offset as usize)?.content)
    }

    /// Whether a decode that skips special tokens leaves this slot out.
    pub(super) fn is_special(&self, offset: u32) -> bool {
        self.slots
            .get(offset as usize)
            .is_some_and(|slot| slot.special)
    }

    /// The first name in `text` at or after byte `from`, the longest where several begin: its byte
    /// range and its offset.
    pub(super) fn find(&self, text: &str, from: usize) -> Option<(usize, usize, u32)> {
        let bytes = text.as_bytes();
        (from..bytes.len()).find_map(|start| {
            let (len, offset) = self.offset_by_name.longest_prefix(&bytes[start..])?;
            Some((start, start + len, offset))
        })
    }
}

/// All 256 slots: the named ones, and reserved names for the rest.
fn slots_with(n_base: u32, named: impl IntoIterator<Item = (u32, AddedToken)>) -> Vec<AddedToken> {
    let reserved = |offset| AddedToken {
        content: reserved_token_text(n_base + offset),
        special: true,
    };
    let mut slots: Vec<AddedToken> = (0..SPECIAL_SLOTS).map(reserved).collect();
    for (offset, token) in named {
        slots[offset as usize] = token;
    }
    slots
}

/// The slot that an entry names, if the entry is sound by itself.
fn slot_of(id: &str, token: &AddedToken, n_base: u32) -> Result<u32, Fault> {
    let end = n_base + SPECIAL_SLOTS;
    let offset = id
        .parse()
        .ok()
        .filter(|id: &u32| (n_base..end).contains(id))
        .map(|id| id - n_base)
        .ok_or_else(|| Fault {
            reason: format!(
                "is outside the special slots {n_base} to {} behind {n_base} base tokens",
                end - 1
            ),
            hint: "tiktoken.model and tokenizer_config.json belong to different checkpoints",
        })?;
    if token.content.is_empty() || token.content.len() > MAX_NAME_BYTES {
        return Err(Fault {
            reason: format!("must have a name of 1 to {MAX_NAME_BYTES} bytes"),
            hint: "download tokenizer_config.json again",
        });
    }
    match SpecialToken::from_text(&token.content) {
        Some(known) if known.offset() != offset => Err(Fault {
            reason: format!("must have the id {}", known.id(n_base)),
            hint: "prompts place this marker at a fixed offset from the base tokens; correct the id",
        }),
        _ => Ok(offset),
    }
}

fn require_distinct_names(
    slots: &[AddedToken],
    n_base: u32,
    origin: &str,
) -> Result<(), TokenizerError> {
    let mut first_with = HashMap::new();
    for (slot, id) in slots.iter().zip(n_base..) {
        if let Some(first) = first_with.insert(&slot.content, id) {
            let fault = Fault {
                reason: format!("has the name of token {first}"),
                hint: "every special token needs a name of its own",
            };
            return Err(special_error(origin, &id.to_string(), &slot.content, fault));
        }
    }
    Ok(())
}

fn special_error(origin: &str, id: &str, name: &str, fault: Fault) -> TokenizerError {
    TokenizerError::Special {
        origin: origin.to_owned(),
        id: shortened(id),
        name: shortened(name),
        reason: fault.reason,
        hint: fault.hint,
    }
}
