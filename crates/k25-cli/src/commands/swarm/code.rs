//! The tools that run code, made ready for a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use k25_agent::documents::Documents;
use k25_agent::tools::Tool;
use k25_code::{Language, RunCode, ViewImage, Workspaces};
use k25_sandbox::{Python, Sandbox, SandboxError};
use serde::{Deserialize, Serialize};

use crate::args::{ToolArgs, ToolKind};

/// Which code agents may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CodeNote {
    /// Whether they run Python.
    pub python: bool,
    /// In which interpreter, where one is named.
    pub interpreter: Option<PathBuf>,
    /// Whether they run JavaScript.
    pub javascript: bool,
    /// Whether they look at pictures.
    pub view_image: bool,
}

impl CodeNote {
    /// What these flags ask for.
    pub fn new(args: &ToolArgs) -> Result<Self> {
        let whole = |path: &PathBuf| {
            std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
        };
        Ok(CodeNote {
            python: args.tools.contains(&ToolKind::Python) || args.python.is_some(),
            interpreter: args.python.as_ref().map(whole).transpose()?,
            javascript: args.tools.contains(&ToolKind::Javascript),
            view_image: args.tools.contains(&ToolKind::ViewImage),
        })
    }

    /// Whether what is asked for can be had here.
    pub async fn check(&self) -> Result<()> {
        if self.python || self.javascript {
            self.sandbox()?
                .check()
                .await
                .map_err(|error| said(&error))?;
        }
        Ok(())
    }

    /// The tools, with the files of tasks below this folder.
    pub fn open(&self, folder: &Path, documents: &Arc<Documents>) -> Result<Vec<Arc<dyn Tool>>> {
        let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
        let workspaces = Arc::new(Workspaces::new(folder));
        let languages = [
            (self.python, Language::Python),
            (self.javascript, Language::JavaScript),
        ];
        for (_, language) in languages.into_iter().filter(|(is_wanted, _)| *is_wanted) {
            let tool = RunCode::new(language, self.sandbox()?, Arc::clone(&workspaces));
            let tool = tool.map_err(|error| said(&error))?;
            tools.push(Arc::new(tool.with_documents(Arc::clone(documents))));
        }
        if self.view_image {
            let root = Some(documents.root().to_owned());
            tools.push(Arc::new(ViewImage::new(workspaces, root)));
        }
        Ok(tools)
    }

    fn sandbox(&self) -> Result<Sandbox> {
        let sandbox = Sandbox::new();
        match &self.interpreter {
            Some(path) if self.python => {
                let python = Python::at(path).map_err(|error| said(&error.into()))?;
                Ok(sandbox.with_python(python))
            }
            _ => {
                if self.python {
                    sandbox.python().map_err(|error| said(&error.into()))?;
                }
                Ok(sandbox)
            }
        }
    }
}

fn said(error: &SandboxError) -> anyhow::Error {
    match error.hint() {
        Some(hint) => anyhow!("{error}\n  hint: {hint}"),
        None => anyhow!("{error}"),
    }
}
