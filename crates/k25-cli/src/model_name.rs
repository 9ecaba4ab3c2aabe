//! Which model is meant: nano, which the program brings along, the folder of a checkpoint, or an
//! endpoint.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use k25_model::inspect::Inspection;
use k25_model::names::Kind;

use crate::args::SamplingArgs;
use crate::output::count;

/// Names the model where no flag does.
pub const VARIABLE: &str = "K25_MODEL";

/// A model as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelName {
    /// The small one within the program.
    Nano,
    /// The folder of a checkpoint.
    Folder(PathBuf),
    /// The address of an OpenAI-compatible endpoint.
    Endpoint(String),
}

impl ModelName {
    /// What a person wrote. A folder that is called `nano` is `./nano`.
    pub fn of(text: impl AsRef<OsStr>) -> Self {
        let text = text.as_ref();
        let is_address = |name: &str| name.starts_with("http://") || name.starts_with("https://");
        match text.to_str() {
            Some(k25_nano::NAME) => Self::Nano,
            Some(name) if is_address(name) => Self::Endpoint(name.to_owned()),
            _ => Self::Folder(text.into()),
        }
    }

    /// What the environment names, if anything.
    pub fn of_environment() -> Option<Self> {
        let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
        named.map(Self::of)
    }

    /// What the flag names, or else the environment; nano where neither does.
    pub fn chosen(flag: Option<impl AsRef<OsStr>>) -> Self {
        flag.map(Self::of)
            .or_else(Self::of_environment)
            .unwrap_or(Self::Nano)
    }

    /// The folder of a model that computes here.
    ///
    /// # Errors
    /// If it is an endpoint, or nano cannot be unpacked.
    pub fn folder(&self) -> Result<ModelFolder> {
        match self {
            Self::Nano => ModelFolder::nano(),
            Self::Folder(path) => Ok(ModelFolder::at(path)),
            Self::Endpoint(url) => Err(anyhow!(
                "{url} is an endpoint, and this command computes here\n  hint: name the folder of a checkpoint, or nano, \
                 which is built in; `k25 serve --upstream`, `agent` and `swarm` take endpoints"
            )),
        }
    }

    /// Nano answers as it was trained to, unless flags say otherwise: at once, and the likeliest token.
    pub fn settle(&self, flags: &mut SamplingArgs) {
        if *self == Self::Nano {
            flags.instant |= !flags.thinking;
            flags.temperature.get_or_insert(0.0);
        }
    }
}

/// The folder of a model that computes here.
pub struct ModelFolder {
    path: PathBuf,
    /// How the model is called for people.
    pub title: String,
    /// Goes away with this value where there is no cache.
    _nano: Option<k25_nano::Folder>,
}

impl ModelFolder {
    fn at(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self {
            path: path.to_owned(),
            title: name.to_string_lossy().into_owned(),
            _nano: None,
        }
    }

    fn nano() -> Result<Self> {
        let folder = k25_nano::unpack()?;
        let path = folder.path().to_owned();
        Ok(Self {
            path,
            title: k25_nano::NAME.to_owned(),
            _nano: Some(folder),
        })
    }

    /// Where its files lie.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says in one line that nano answers, what it is, and how to have another.
    ///
    /// # Errors
    /// If its files cannot be read.
    pub fn announce(&self, another: &str) -> Result<()> {
        if self._nano.is_some() {
            let what = nano_title(&self.path)?;
            // Nobody is left to tell where standard error is closed.
            let _ = writeln!(
                io::stderr(),
                "model {what} — small: it fills tables from documents and does little else; another: {another}"
            );
        }
        Ok(())
    }
}

/// Nano with its figures, as they stand in its files.
pub fn nano_title(path: &Path) -> Result<String> {
    let inspection = Inspection::of(path)?;
    let experts = inspection
        .kinds
        .iter()
        .find(|kind| kind.kind == Kind::RoutedExperts);
    let storage = experts.and_then(|experts| experts.storage.first());
    let form = storage.and_then(|storage| storage.split_whitespace().next());
    Ok(format!(
        "{} ({} active, {}, built in)",
        k25_nano::NAME,
        count(inspection.parameters.active),
        form.unwrap_or("dense")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nano_an_address_or_a_folder() {
        assert_eq!(ModelName::of("nano"), ModelName::Nano);
        assert_eq!(ModelName::of("./nano"), ModelName::Folder("./nano".into()));
        assert_eq!(
            ModelName::of("https://a/v1"),
            ModelName::Endpoint("https://a/v1".into())
        );
        assert_eq!(ModelName::of("https"), ModelName::Folder("https".into()));
    }
}
