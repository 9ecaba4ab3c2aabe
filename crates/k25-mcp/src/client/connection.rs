//! One server: started, asked, and started again when it died.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use k25_agent::tools::{FailureKind, ToolError};
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, JsonObject, PaginatedRequestParams,
    Tool as RemoteTool,
};
use rmcp::service::{RunningService, ServiceError, ServiceExt};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{Peer, RoleClient};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::config::{ServerConfig, Transport};

/// How long it may take to list its tools, and to leave.
const LIST: Duration = Duration::from_secs(30);
const LEAVE: Duration = Duration::from_secs(3);
/// How often a server that died is started again.
const MAX_STARTS: u32 = 4;
/// Longest message of a server; longer ones are dropped.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Tools of one server, and pages in which it may list them.
const MAX_TOOLS: usize = 128;
const MAX_PAGES: usize = 16;
/// What a server sees of our environment; keys are not among it.
const ENVIRONMENT: [&str; 8] = [
    "PATH", "HOME", "USER", "SHELL", "LANG", "LC_ALL", "TMPDIR", "TERM",
];

type Service = RunningService<RoleClient, ()>;

/// A server of the configuration.
pub(super) struct Connection {
    name: String,
    config: ServerConfig,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    service: Option<Service>,
    child: Option<Child>,
    starts: u32,
}

impl Connection {
    pub(super) fn new(name: String, config: ServerConfig) -> Self {
        Connection {
            name,
            config,
            running: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    pub(super) fn start_time(&self) -> Duration {
        self.config.start
    }

    /// The tools that it lists and the configuration lets through.
    pub(super) async fn tools(&self) -> Result<Vec<RemoteTool>, String> {
        let peer = self.peer().await?;
        let listed = timeout(LIST, list(&peer)).await;
        let mut tools = listed.map_err(|_| "it does not list its tools in time".to_owned())??;
        if let Some(wanted) = &self.config.tools {
            tools.retain(|tool| wanted.iter().any(|name| *name == tool.name));
            if let Some(name) = wanted
                .iter()
                .find(|name| !tools.iter().any(|tool| tool.name == **name))
            {
                return Err(format!("it has no tool {name:?}"));
            }
        }
        tools.truncate(MAX_TOOLS);
        Ok(tools)
    }

    /// Calls a tool. Time is bounded by the caller, and here as well.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: JsonObject,
    ) -> Result<CallToolResult, ToolError> {
        let failed = |kind, problem: String| {
            ToolError::new(kind, format!("MCP server {}: {problem}", self.name))
        };
        let peer = self
            .peer()
            .await
            .map_err(|problem| failed(FailureKind::Internal, problem))?;
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let answered = timeout(self.config.timeout, peer.call_tool_once(params)).await;
        let Ok(answered) = answered else {
            return Err(failed(FailureKind::Timeout, "no answer in time".to_owned()));
        };
        match answered {
            Ok(CallToolResponse::Complete(result)) => Ok(result),
            Ok(_) => {
                let problem = "it asks for more than a tool call can give".to_owned();
                Err(failed(FailureKind::Internal, problem))
            }
            Err(ServiceError::McpError(error)) => {
                let text = super::tool::readable(&error.message);
                Err(failed(FailureKind::Refused, text))
            }
            Err(error) => Err(failed(
                FailureKind::Transient,
                super::tool::readable(&error.to_string()),
            )),
        }
    }

    /// The running server; one that is not running is started.
    async fn peer(&self) -> Result<Peer<RoleClient>, String> {
        let mut running = self.running.lock().await;
        if let Some(service) = &running.service
            && !service.is_closed()
            && !service.is_transport_closed()
        {
            return Ok(service.peer().clone());
        }
        *running = Running {
            starts: running.starts,
            ..Running::default()
        };
        if running.starts == MAX_STARTS {
            return Err(format!(
                "it ended {MAX_STARTS} times and is not started again"
            ));
        }
        running.starts += 1;
        let (service, child) = timeout(self.config.start, self.start())
            .await
            .map_err(|_| "it does not begin in time".to_owned())??;
        let peer = service.peer().clone();
        running.service = Some(service);
        running.child = child;
        Ok(peer)
    }

    async fn start(&self) -> Result<(Service, Option<Child>), String> {
        let said = |error: &dyn std::error::Error| super::tool::readable(&error.to_string());
        match &self.config.transport {
            Transport::Stdio { command, args, env } => {
                let own = ENVIRONMENT
                    .iter()
                    .filter_map(|name| Some((*name, std::env::var_os(name)?)));
                let mut child = Command::new(command)
                    .args(args)
                    .env_clear()
                    .envs(own)
                    .envs(env)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .process_group(0)
                    .kill_on_drop(true)
                    .spawn()
                    .map_err(|error| format!("cannot start {command:?}: {error}"))?;
                let (Some(stdout), Some(stdin)) = (child.stdout.take(), child.stdin.take()) else {
                    return Err("it has no pipes".to_owned());
                };
                let transport = AsyncRwTransport::new_client(stdout, stdin)
                    .with_max_line_length(MAX_MESSAGE_BYTES);
                let service = ().serve(transport).await.map_err(|error| said(&error))?;
                Ok((service, Some(child)))
            }
            Transport::Http { url, headers } => {
                let transport = http_transport(url, headers)?;
                let service = ().serve(transport).await.map_err(|error| said(&error))?;
                Ok((service, None))
            }
        }
    }

    pub(super) async fn close(&self) {
        let mut running = self.running.lock().await;
        if let Some(mut service) = running.service.take() {
            let _ = service.close_with_timeout(LEAVE).await;
        }
        if let Some(mut child) = running.child.take()
            && timeout(LEAVE, child.wait()).await.is_err()
        {
            let _ = child.kill().await;
        }
    }
}

async fn list(peer: &Peer<RoleClient>) -> Result<Vec<RemoteTool>, String> {
    let mut tools = Vec::new();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let page = peer
            .list_tools(Some(params))
            .await
            .map_err(|error| super::tool::readable(&error.to_string()))?;
        tools.extend(page.tools);
        cursor = page.next_cursor;
        if cursor.is_none() || tools.len() >= MAX_TOOLS {
            break;
        }
    }
    Ok(tools)
}

fn http_transport(
    url: &str,
    headers: &std::collections::BTreeMap<String, String>,
) -> Result<StreamableHttpClientTransport<reqwest::Client>, String> {
    // Two parts of a program may both want the provider: whoever comes second finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .user_agent(concat!("k25/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(|error| error.to_string())?;
    let mut custom = HashMap::new();
    for (name, value) in headers {
        let fault = || format!("the header {name:?} is none");
        let name = HeaderName::try_from(name).map_err(|_| fault())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| fault())?;
        value.set_sensitive(true);
        custom.insert(name, value);
    }
    let config = StreamableHttpClientTransportConfig::with_uri(Arc::from(url))
        .custom_headers(custom)
        .max_sse_event_size(MAX_MESSAGE_BYTES);
    Ok(StreamableHttpClientTransport::with_client(client, config))
}
