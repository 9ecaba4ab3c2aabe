//! Tools beyond the documents, made ready for a run.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use k25_agent::documents::Documents;
use k25_agent::tools::Tool;
use k25_mcp::{Config, Servers};
use k25_web::{Browse, BrowseOptions, Provider, WebSearch};
use serde::{Deserialize, Serialize};

use super::approve::RuleNote;
use super::code::CodeNote;
use crate::args::{SearchKind, ToolArgs, ToolKind};

/// Which tools a run was begun with, so that a resume has the same. No key is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolNote {
    /// Whether agents search the web.
    pub web: bool,
    /// Who searches it for them; `None` is whoever the environment sets up.
    pub provider: Option<String>,
    /// Whether agents read pages of the web.
    pub browse: bool,
    /// Files that name MCP servers.
    pub mcp: Vec<PathBuf>,
    /// Which code agents run.
    pub code: CodeNote,
    /// Which calls run, are asked about, are refused.
    pub rules: RuleNote,
}

impl ToolNote {
    /// What these flags ask for.
    pub fn new(args: &ToolArgs) -> Result<Self> {
        let whole = |path: &PathBuf| {
            path.canonicalize()
                .with_context(|| format!("cannot find {}", path.display()))
        };
        Ok(ToolNote {
            web: args.tools.contains(&ToolKind::Web) || args.search.is_some(),
            provider: args.search.map(|kind| provider(kind).name().to_owned()),
            browse: args.tools.contains(&ToolKind::Browse),
            mcp: args.mcp.iter().map(whole).collect::<Result<_>>()?,
            code: CodeNote::new(args)?,
            rules: RuleNote::new(args)?,
        })
    }
}

fn provider(kind: SearchKind) -> Provider {
    match kind {
        SearchKind::Searxng => Provider::Searxng,
        SearchKind::Brave => Provider::Brave,
        SearchKind::Tavily => Provider::Tavily,
        SearchKind::Kimi => Provider::Kimi,
    }
}

/// The tools of a run, with what stands behind them.
#[derive(Default)]
pub struct MoreTools {
    web: Vec<Arc<dyn Tool>>,
    servers: Option<Servers>,
}

impl MoreTools {
    /// Makes ready what the note asks for; a run does not begin without it.
    pub async fn open(note: &ToolNote) -> Result<Self> {
        let mut tools = MoreTools::default();
        note.code.check().await?;
        if note.web {
            tools.web.push(Arc::new(web_search(note)?));
        }
        tools.servers = servers(&note.mcp).await?;
        Ok(tools)
    }

    /// The same with those that need the run's documents, among which pages are kept.
    pub fn over(mut self, note: &ToolNote, documents: &Arc<Documents>) -> Result<Self> {
        if note.browse {
            let options = BrowseOptions {
                program: std::env::var_os("K25_CHROMIUM").map(PathBuf::from),
                ..BrowseOptions::default()
            };
            let browse = Browse::new(Arc::clone(documents), options)?;
            self.web.push(Arc::new(browse));
        }
        Ok(self)
    }

    /// The tools, in the order in which models are shown them.
    pub fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let of_servers = self.servers.iter().flat_map(Servers::tools);
        self.web.iter().chain(of_servers).cloned().collect()
    }

    /// Ends what was started for the run.
    pub async fn close(self) {
        if let Some(servers) = self.servers {
            servers.close().await;
        }
    }
}

fn web_search(note: &ToolNote) -> Result<WebSearch> {
    let variable = |name: &str| std::env::var(name).ok();
    let named = note.provider.as_ref().and_then(|name| {
        Provider::ALL
            .into_iter()
            .find(|provider| provider.name() == name)
    });
    let provider = match named {
        Some(provider) => provider.open(&variable)?,
        None => Provider::first(&variable)?,
    };
    Ok(WebSearch::new(provider)?)
}

async fn servers(files: &[PathBuf]) -> Result<Option<Servers>> {
    let mut config = Config::default();
    for path in files {
        let more = Config::read(path, &|name| std::env::var(name).ok())?;
        for (name, server) in more.servers {
            if config.servers.insert(name.clone(), server).is_some() {
                bail!("two MCP servers are called {name}\n  hint: rename one in its file");
            }
        }
    }
    match config.servers.is_empty() {
        true => Ok(None),
        false => Ok(Some(Servers::connect(&config).await?)),
    }
}
