//! Which tokens end an answer (spec: architecture §8).

use std::collections::BTreeSet;
use std::path::Path;

use k25_chat::Tokenizer;
use k25_config::{GenerationConfig, ModelConfig};

use crate::LocalError;

const GENERATION_CONFIG_FILE: &str = "generation_config.json";

/// The family's ends by their offsets in the tokenizer, and what `config.json` and, where there is
/// one, `generation_config.json` name on top: K2.5's configuration alone would miss the end of a
/// message.
pub(crate) fn stop_ids(
    dir: &Path,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
) -> Result<Vec<u32>, LocalError> {
    let mut ids = BTreeSet::from(tokenizer.stop_ids());
    let vocab_size = config.text.vocab_size;
    let mut add = |origin, named: &[u32]| {
        if let Some(&id) = named.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(LocalError::StopId {
                origin,
                id,
                vocab_size,
            });
        }
        ids.extend(named);
        Ok(())
    };
    add("config.json", &config.eos_token_ids)?;
    let path = dir.join(GENERATION_CONFIG_FILE);
    if path.exists() {
        add(
            GENERATION_CONFIG_FILE,
            &GenerationConfig::from_file(path)?.eos_token_ids,
        )?;
    }
    Ok(ids.into_iter().collect())
}
