//! Which documents a run reads: a folder, some of what lies in it, one file, or those of an example.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use k25_agent::documents::{sample, top_entries};

use super::{example, usage};
use crate::args::DocumentArgs;
use crate::commands::documents;

/// Documents that flags name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Their folder; empty where there is none.
    pub folder: PathBuf,
    /// The entries at its top that are read, where it is not all of them.
    pub only: Option<Vec<String>>,
}

impl Sources {
    /// What the flags name; `None` where they name nothing.
    pub fn of(args: &DocumentArgs) -> Result<Option<Self>> {
        let seed = args.sample_seed.unwrap_or_default();
        if let Some(example) = example::named(args)? {
            let found = example.find()?;
            let count = args.sample.unwrap_or(example::SAMPLE);
            return Ok(Some(Sources {
                folder: found.folder,
                only: Some(sample(found.entries, count, seed)),
            }));
        }
        let Some(folder) = args.docs.clone() else {
            if args.sample.is_some() || args.sample_seed.is_some() {
                return Err(usage(
                    "there is nothing to take a sample of\n  hint: name the folder of documents with --docs DIR",
                ));
            }
            return Ok(None);
        };
        if folder.is_file() {
            return Self::file(&folder, args).map(Some);
        }
        documents::check(&folder)?;
        let only = match args.sample {
            Some(count) => Some(sample(top_entries(&folder)?, count, seed)),
            None if args.sample_seed.is_some() => {
                return Err(usage(
                    "--sample-seed says which sample, and none is taken\n  hint: add --sample N",
                ));
            }
            None => None,
        };
        Ok(Some(Sources { folder, only }))
    }

    /// One file alone: of the folder that it lies in, nothing else is read.
    fn file(path: &Path, args: &DocumentArgs) -> Result<Self> {
        if args.sample.is_some() || args.sample_seed.is_some() {
            return Err(usage(
                "a file has no entries to take a sample of\n  hint: name a folder with --docs DIR, or leave --sample out",
            ));
        }
        let whole = path.canonicalize();
        let whole = whole.map_err(|error| anyhow!("cannot open {}: {error}", path.display()))?;
        let name = whole.file_name().and_then(|name| name.to_str());
        let (Some(folder), Some(name)) = (whole.parent(), name) else {
            return Err(anyhow!(
                "the name of {} is not Unicode text\n  hint: give the file another name",
                path.display()
            ));
        };
        Ok(Sources {
            folder: folder.to_owned(),
            only: Some(vec![name.to_owned()]),
        })
    }
}
