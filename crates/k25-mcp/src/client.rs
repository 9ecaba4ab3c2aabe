//! MCP servers as tools.
//!
//! A server is a stranger even where a person named it: its descriptions, schemas and results are
//! bounded, its schemas go through the gate's normaliser, and a server that dies, hangs or sends
//! nonsense makes its call fail, never the run. One that died is started again, a few times.

mod connection;
mod tool;

use std::collections::HashSet;
use std::sync::Arc;

use k25_agent::tools::Tool;

use crate::McpError;
use crate::config::Config;
use connection::Connection;
use tool::McpTool;

/// The servers of a run.
pub struct Servers {
    connections: Vec<Arc<Connection>>,
    tools: Vec<Arc<dyn Tool>>,
}

impl Servers {
    /// Starts or reaches every server, side by side, and asks for its tools.
    ///
    /// # Errors
    /// [`McpError::Start`] of the first server that cannot be used: a run should not begin without
    /// the tools that a person asked for.
    pub async fn connect(config: &Config) -> Result<Self, McpError> {
        let mut starting = Vec::new();
        for (name, server) in &config.servers {
            let connection = Arc::new(Connection::new(name.clone(), server.clone()));
            let asked = Arc::clone(&connection);
            let listed = tokio::spawn(async move { asked.tools().await });
            starting.push((connection, listed));
        }
        let mut names = HashSet::new();
        let mut servers = Servers {
            connections: Vec::new(),
            tools: Vec::new(),
        };
        for (connection, listed) in starting {
            let fault = |problem: String| McpError::Start {
                server: connection.name().to_owned(),
                problem,
            };
            let listed = listed.await.map_err(|error| fault(error.to_string()))?;
            for remote in listed.map_err(fault)? {
                let tool = McpTool::new(&connection, &remote, &mut names);
                servers.tools.push(Arc::new(tool));
            }
            servers.connections.push(connection);
        }
        Ok(servers)
    }

    /// The tools, named `server__tool`.
    pub fn tools(&self) -> &[Arc<dyn Tool>] {
        &self.tools
    }

    /// Ends the servers that we started. Dropping does so too, less politely.
    pub async fn close(self) {
        for connection in &self.connections {
            connection.close().await;
        }
    }
}
