//! The swarm as an MCP server on standard input and output: other agents start runs, look at them, and
//! read tables with their evidence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k25_agent::tools::fit;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    Tool, ToolAnnotations, object,
};
use rmcp::service::{RequestContext, ServiceExt};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::McpError;

/// Longest message of a client.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Longest wait of one call, and how often it looks.
const MAX_WAIT_SECONDS: u64 = 300;
const GLANCE: Duration = Duration::from_millis(200);
/// Rows of one call, unless asked otherwise and at most.
const ROWS: u64 = 50;
const MAX_ROWS: u64 = 500;

/// What a client asks a run to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRequest {
    /// What to find out.
    pub question: String,
    /// A folder below the desk's own; `""` is all of it.
    pub folder: String,
    /// The columns, as `--columns` takes them; without them the model proposes some.
    pub columns: Option<String>,
}

/// A wish that cannot be fulfilled, in words for the model of a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeskError(pub String);

/// Whoever starts runs and knows them. Its functions may block; they are called apart.
pub trait Desk: Send + Sync + 'static {
    /// Begins a run and returns its name. It goes on by itself.
    ///
    /// # Errors
    /// When it cannot begin.
    fn start(&self, request: StartRequest) -> Result<String, DeskError>;

    /// How far a run has come: an object whose `status` is `running` while it works.
    ///
    /// # Errors
    /// When there is no such run.
    fn state(&self, run: &str) -> Result<Value, DeskError>;

    /// The table with its evidence: an object with an array `rows`.
    ///
    /// # Errors
    /// When there is no such run, or no table yet.
    fn table(&self, run: &str) -> Result<Value, DeskError>;

    /// Asks a run to rest; what it has found stays.
    ///
    /// # Errors
    /// When there is no such run.
    fn stop(&self, run: &str) -> Result<(), DeskError>;
}

/// Serves a desk until the client goes away.
///
/// # Errors
/// [`McpError::Served`] when the client does not speak the protocol.
pub async fn serve<R, W>(desk: Arc<dyn Desk>, input: R, output: W) -> Result<(), McpError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let transport =
        AsyncRwTransport::new_server(input, output).with_max_line_length(MAX_MESSAGE_BYTES);
    let failed = |error: &dyn std::fmt::Display| McpError::Served(error.to_string());
    let service = SwarmServer { desk }
        .serve(transport)
        .await
        .map_err(|error| failed(&error))?;
    service.waiting().await.map_err(|error| failed(&error))?;
    Ok(())
}

struct SwarmServer {
    desk: Arc<dyn Desk>,
}

impl ServerHandler for SwarmServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("k25", env!("CARGO_PKG_VERSION")))
            .with_instructions(
                "Wide questions over a folder of documents become a table whose every value has \
                 the document, line and quote it stands on. Start a run, wait for it with \
                 swarm_state, read swarm_table.",
            )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.to_string();
        let Some(tool) = tools().into_iter().find(|tool| tool.name == name) else {
            return Err(ErrorData::invalid_params(format!("no tool {name:?}"), None));
        };
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let schema = Value::Object((*tool.input_schema).clone());
        let result = match fit(&schema, arguments) {
            Ok(arguments) => self.answer(&name, arguments).await,
            Err(fault) => Err(DeskError(fault.to_string())),
        };
        // A wish that fails is a result that says so: the model behind the client can mend it.
        Ok(CallToolResponse::Complete(match result {
            Ok(value) => CallToolResult::structured(value),
            Err(error) => CallToolResult::error(vec![ContentBlock::text(error.0)]),
        }))
    }
}

impl SwarmServer {
    async fn answer(&self, tool: &str, arguments: Value) -> Result<Value, DeskError> {
        let text = |key: &str| arguments[key].as_str().map(str::to_owned);
        let run = text("run").unwrap_or_default();
        match tool {
            "swarm_start" => {
                let request = StartRequest {
                    question: text("question").unwrap_or_default(),
                    folder: text("folder").unwrap_or_default(),
                    columns: text("columns"),
                };
                let run = self.apart(move |desk| desk.start(request)).await?;
                Ok(json!({"run": run, "status": "running"}))
            }
            "swarm_state" => {
                let seconds = arguments["wait_seconds"].as_u64().unwrap_or(0);
                self.state(run, seconds.min(MAX_WAIT_SECONDS)).await
            }
            "swarm_table" => {
                let table = self.apart(move |desk| desk.table(&run)).await?;
                Ok(window(table, &arguments))
            }
            _ => {
                let name = run.clone();
                self.apart(move |desk| desk.stop(&run)).await?;
                self.state(name, 0).await
            }
        }
    }

    /// The state, after at most this wait for the run to end.
    async fn state(&self, run: String, seconds: u64) -> Result<Value, DeskError> {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let name = run.clone();
            let state = self.apart(move |desk| desk.state(&name)).await?;
            if state["status"] != "running" || Instant::now() >= end {
                return Ok(state);
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn apart<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Desk) -> Result<T, DeskError> + Send + 'static,
    ) -> Result<T, DeskError> {
        let desk = Arc::clone(&self.desk);
        let asked = tokio::task::spawn_blocking(move || ask(desk.as_ref())).await;
        asked.map_err(|error| DeskError(error.to_string()))?
    }
}

/// The rows from `first` on, and how many there are.
fn window(mut table: Value, arguments: &Value) -> Value {
    let first = arguments["first"].as_u64().unwrap_or(1).max(1) as usize;
    let count = arguments["count"].as_u64().unwrap_or(ROWS).min(MAX_ROWS) as usize;
    if let Some(rows) = table["rows"].as_array_mut() {
        let all = rows.len();
        let shown: Vec<Value> = rows.drain(..).skip(first - 1).take(count).collect();
        let next = first + shown.len();
        *rows = shown;
        table["row_count"] = json!(all);
        if next <= all {
            table["next"] = json!(next);
        }
    }
    table
}

fn tools() -> Vec<Tool> {
    let run = json!({"type": "string", "description": "the run's name, as swarm_start gave it"});
    let tool = |name: &'static str, description: &'static str, schema: Value, reads: bool| {
        let annotations =
            ToolAnnotations::from_raw(None, Some(reads), Some(false), None, Some(false));
        Tool::new(name, description, object(schema)).with_annotations(annotations)
    };
    vec![
        tool(
            "swarm_start",
            "Begin to answer a wide question over the documents with a table. Returns the run's \
             name at once; the run goes on by itself and costs what its model costs.",
            json!({"type": "object", "properties": {
                "question": {"type": "string", "minLength": 1, "maxLength": 8_000},
                "folder": {"type": "string", "description": "only documents below this folder"},
                "columns": {"type": "string", "description":
                    "such as: name*, size:number[MB]=on disk, state:enum(open|closed); * marks a key"},
            }, "required": ["question"]}),
            false,
        ),
        tool(
            "swarm_state",
            "How far a run has come: its status, rows, steps, tokens and failures.",
            json!({"type": "object", "properties": {
                "run": run,
                "wait_seconds": {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS,
                    "description": "wait so long for the run to end"},
            }, "required": ["run"]}),
            true,
        ),
        tool(
            "swarm_table",
            "The table as far as it is filled; each value with its document, line and quote.",
            json!({"type": "object", "properties": {
                "run": run,
                "first": {"type": "integer", "minimum": 1, "description": "first row"},
                "count": {"type": "integer", "minimum": 1, "maximum": MAX_ROWS},
            }, "required": ["run"]}),
            true,
        ),
        tool(
            "swarm_stop",
            "Let a run rest. What it found stays, and `k25 swarm resume` goes on with it.",
            json!({"type": "object", "properties": {"run": run}, "required": ["run"]}),
            false,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_shown_in_windows() {
        let table = json!({"columns": [], "rows": [1, 2, 3]});
        let all = window(table.clone(), &json!({}));
        assert_eq!(all["rows"], json!([1, 2, 3]));
        assert_eq!(
            (all["row_count"].clone(), all.get("next")),
            (json!(3), None)
        );
        let some = window(table.clone(), &json!({"first": 2, "count": 1}));
        assert_eq!(
            (some["rows"].clone(), some["next"].clone()),
            (json!([2]), json!(3))
        );
        assert_eq!(window(table, &json!({"first": 9}))["rows"], json!([]));
    }
}
