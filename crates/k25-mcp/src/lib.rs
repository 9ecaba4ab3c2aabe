//! The Model Context Protocol, both ways.
//!
//! [`Servers`] are other people's MCP servers, whose tools become tools of an agent; whatever they send
//! is a stranger's. [`serve`] is the other direction: a swarm that other agents start and look at.

mod client;
mod config;
mod server;

use thiserror::Error;

pub use client::Servers;
pub use config::{Config, ServerConfig, Transport};
pub use server::{Desk, DeskError, StartRequest, serve};

/// Why MCP servers cannot be used.
#[derive(Debug, Error)]
pub enum McpError {
    /// The file that names them.
    #[error(
        "{path}: {problem}; hint: write {{\"mcpServers\": {{\"name\": {{\"command\": \"…\", \"args\": […]}}}}}}, or \"url\" for a server over HTTP"
    )]
    Config {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A variable of the environment that the file wants is not set.
    #[error(
        "MCP server {server}: {variable} is not set in the environment; hint: set it, or take it out of the file"
    )]
    Variable {
        /// The server.
        server: String,
        /// The variable.
        variable: String,
    },
    /// A server did not start, or did not answer as one.
    #[error(
        "MCP server {server}: {problem}; hint: does its command run by itself? Is its address right?"
    )]
    Start {
        /// The server.
        server: String,
        /// What happened.
        problem: String,
    },
    /// Our own side of the protocol ended.
    #[error("the MCP client went away: {0}; hint: it has to speak JSON-RPC on standard input")]
    Served(String),
}
