//! Damages of a checkpoint folder, each with what a message about it must say.
//!
//! They are done to a copy of [`crate::write_sound_checkpoint`].

mod config;
mod shards;
mod tokenizer;

use std::io;
use std::path::Path;

/// What changes the files of a folder.
type Action = dyn Fn(&Path) -> io::Result<()>;

/// One damage.
pub struct Damage {
    /// What is done, for the message of a failing test.
    pub what: String,
    /// Words that an error message must contain: the file, the field or the tensor.
    pub named: Vec<String>,
    apply: Box<Action>,
}

impl Damage {
    fn new(
        what: impl Into<String>,
        named: &[&str],
        apply: impl Fn(&Path) -> io::Result<()> + 'static,
    ) -> Self {
        Self {
            what: what.into(),
            named: named.iter().map(|&word| word.to_owned()).collect(),
            apply: Box::new(apply),
        }
    }

    /// Does the damage to the checkpoint in the folder `dir`.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn apply(&self, dir: &Path) -> io::Result<()> {
        (self.apply)(dir)
    }
}

/// Damages of `config.json`.
pub fn of_config() -> Vec<Damage> {
    config::damages()
}

/// Damages of the shards and their index.
pub fn of_shards() -> Vec<Damage> {
    shards::damages()
}

/// Damages of `tiktoken.model` and `tokenizer_config.json`.
pub fn of_tokenizer() -> Vec<Damage> {
    tokenizer::damages()
}
