//! The folder of a run: its journal, what it was begun with, and its results.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use k25_agent::documents::Documents;
use k25_agent::journal::SqliteJournal;
use k25_agent::run::RunState;
use serde::{Deserialize, Serialize};

use super::sources::Sources;
use super::tools::ToolNote;
use crate::answer::random_seed;
use crate::args::{AgentModelArgs, ToolArgs};
use crate::commands::documents;
use crate::model_name::ModelName;

/// What a resume has to know beside the journal. No key is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunNote {
    /// Folder of the documents; empty where the question needs none.
    pub documents: PathBuf,
    /// The entries at its top that are read, where it is not all of them.
    #[serde(default)]
    pub sample: Option<Vec<String>>,
    /// Folder or address of the model, or `nano`.
    pub model: Option<String>,
    /// Its name at the endpoint.
    pub model_name: String,
    /// The sub-agents' model.
    pub subagent_model: Option<String>,
    /// Who is asked when the model fails.
    #[serde(default)]
    pub fallback_models: Vec<String>,
    /// Tools beyond the documents.
    #[serde(default)]
    pub tools: ToolNote,
}

impl RunNote {
    /// What these flags say.
    pub fn new(sources: &Sources, model: &AgentModelArgs) -> Result<Self> {
        let whole = |path: &Path| {
            path.canonicalize()
                .map_err(|error| anyhow!("cannot open {}: {error}", path.display()))
        };
        let model_folder = |path: &Path| {
            whole(path).with_context(|| {
                format!("there is no model {}\n  hint: --model names the folder of a checkpoint, an address, or nano, which is built in", path.display())
            })
        };
        let name = match ModelName::chosen(model.model.as_ref()) {
            ModelName::Nano => k25_nano::NAME.to_owned(),
            ModelName::Folder(path) => model_folder(&path)?.display().to_string(),
            ModelName::Endpoint(url) => url,
        };
        Ok(RunNote {
            documents: match sources.folder.as_os_str().is_empty() {
                true => PathBuf::new(),
                false => whole(&sources.folder)?,
            },
            sample: sources.only.clone(),
            model: Some(name),
            model_name: model.model_name.clone(),
            subagent_model: model.subagent_model.clone(),
            fallback_models: model.fallback_models.clone(),
            tools: ToolNote::default(),
        })
    }

    /// The same with the tools that these flags ask for.
    pub fn with_tools(mut self, args: &ToolArgs) -> Result<Self> {
        self.tools = ToolNote::new(args)?;
        Ok(self)
    }

    /// Whether the model within the program works.
    pub fn is_nano(&self) -> bool {
        self.model.as_deref() == Some(k25_nano::NAME)
    }

    /// The documents that it was begun with.
    pub fn open_documents(&self) -> Result<Documents> {
        documents::open_only(&self.documents, self.sample.as_deref())
    }
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    /// Its short name.
    pub id: String,
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder of a new run.
    pub fn create(runs: &Path, note: &RunNote) -> Result<Self> {
        fs::create_dir_all(runs).with_context(|| format!("cannot make {}", runs.display()))?;
        for _ in 0..100 {
            let id = format!("{:04x}", random_seed() & 0xffff);
            let path = runs.join(&id);
            if fs::create_dir(&path).is_ok() {
                fs::write(path.join("run.json"), serde_json::to_string_pretty(note)?)?;
                return Ok(RunFolder { id, path });
            }
        }
        Err(anyhow!(
            "cannot make a folder for a run in {}\n  hint: is it writable, and not full of runs?",
            runs.display()
        ))
    }

    /// The run of this name, or the only one whose name begins so.
    pub fn find(runs: &Path, id: &str) -> Result<Self> {
        let all = Self::all(runs);
        let mut found: Vec<RunFolder> = all
            .into_iter()
            .filter(|run| run.id.starts_with(id))
            .collect();
        match (found.pop(), found.is_empty()) {
            (Some(run), true) => Ok(run),
            (Some(_), false) => Err(anyhow!(
                "several runs begin with {id}\n  hint: give more of the name"
            )),
            (None, _) => Err(anyhow!(
                "no run {id:?} in {}\n  hint: `k25 swarm runs` shows the runs; --runs DIR names their folder",
                runs.display()
            )),
        }
    }

    /// All runs, by name.
    pub fn all(runs: &Path) -> Vec<Self> {
        let entries = fs::read_dir(runs).into_iter().flatten().flatten();
        let mut all: Vec<RunFolder> = entries
            .filter(|entry| entry.path().join("journal.db").is_file())
            .filter_map(|entry| {
                let id = entry.file_name().into_string().ok()?;
                Some(RunFolder {
                    id,
                    path: entry.path(),
                })
            })
            .collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// A file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The file that tells the process which works on the run to cancel it.
    pub fn cancel_wish(&self) -> PathBuf {
        self.file("cancel")
    }

    /// What it was begun with.
    pub fn note(&self) -> Result<RunNote> {
        super::read_json(&self.file("run.json"))
    }

    /// Its state, as far as it has come.
    pub fn state(&self) -> Result<RunState> {
        let mut state = RunState::default();
        for event in SqliteJournal::look(&self.file("journal.db"))? {
            state.apply(&event);
        }
        Ok(state)
    }

    /// `ROW.COLUMN` as row and column. Rows and columns may have dots themselves.
    pub fn place(&self, text: &str) -> Result<(String, String)> {
        let state = self.state()?;
        let columns = state
            .contract
            .as_ref()
            .map(|contract| contract.columns.as_slice());
        let mut names: Vec<&str> = columns
            .unwrap_or_default()
            .iter()
            .map(|c| c.name.as_str())
            .collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        for name in &names {
            let row = text
                .strip_suffix(name)
                .and_then(|rest| rest.strip_suffix('.'));
            if let Some(row) = row.filter(|row| !row.is_empty()) {
                return Ok((row.to_owned(), (*name).to_owned()));
            }
        }
        Err(anyhow!(
            "{text:?} names no cell\n  hint: write ROW.COLUMN; the columns are: {}",
            names.join(", ")
        ))
    }
}
