//! Tools beyond the documents.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What agents may use beside the documents. Nothing of it unless asked for.
#[derive(Debug, Clone, Default, Args)]
pub struct ToolArgs {
    /// Tools beside search and open (docs/tools.md)
    #[arg(long, value_enum, value_name = "TOOL", value_delimiter = ',')]
    pub tools: Vec<ToolKind>,
    /// Who searches the web [default: the first that the environment sets up]
    #[arg(long, value_enum, value_name = "PROVIDER")]
    pub search: Option<SearchKind>,
    /// The Python that `python` runs in [default: the machine's python3]
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// Calls that run without asking: TOOL, TOOL(PATTERN) or TOOL(ARGUMENT=PATTERN), with * for anything;
    /// what is not named is then asked about (may be repeated)
    #[arg(long, value_name = "RULE")]
    pub allow: Vec<String>,
    /// Calls that are asked about at the terminal, and refused where there is none (may be repeated)
    #[arg(long, value_name = "RULE")]
    pub ask: Vec<String>,
    /// Calls that never run, whatever other rules say (may be repeated)
    #[arg(long, value_name = "RULE")]
    pub deny: Vec<String>,
    /// MCP servers whose tools agents may call: a file {"mcpServers": {"name": {"command": …, "args": […]}}},
    /// or "url" for one over HTTP (may be repeated)
    #[arg(long = "mcp", value_name = "FILE")]
    pub mcp: Vec<PathBuf>,
}

/// A tool that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ToolKind {
    /// Search the web
    Web,
    /// Read pages of the web with Chromium
    Browse,
    /// Run Python in the sandbox
    Python,
    /// Run JavaScript in the sandbox
    Javascript,
    /// Show pictures to the model: those that code makes, and those among the documents
    #[value(alias = "view_image")]
    ViewImage,
}

/// A provider of web search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SearchKind {
    /// An instance of SearXNG: SEARXNG_URL
    Searxng,
    /// Brave: BRAVE_API_KEY
    Brave,
    /// Tavily: TAVILY_API_KEY
    Tavily,
    /// Moonshot's Formula: MOONSHOT_API_KEY
    Kimi,
}
