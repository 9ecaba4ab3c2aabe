//! `python` and `javascript`: code that the model writes, run where it can do no harm.

use std::sync::Arc;
use std::time::Duration;

use k25_agent::documents::Documents;
use k25_agent::tools::{CallContext, Calling, Effect, FailureKind, Tool, ToolError, ToolOutput};
use k25_sandbox::{Ended, File, FileName, Limits, Output, Program, Sandbox, SandboxError, Spec};
use serde_json::{Value, json};

use crate::workspace::{WorkspaceError, Workspaces};

/// What code is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// The Python of the machine.
    Python,
    /// JavaScript, built in.
    JavaScript,
}

/// Runs code in a task's folder.
pub struct RunCode {
    language: Language,
    sandbox: Sandbox,
    workspaces: Arc<Workspaces>,
    documents: Option<Arc<Documents>>,
    limits: Limits,
}

/// Most files that are named in a result.
const MAX_NAMED: usize = 30;

impl RunCode {
    /// The tool of this language, over the folders of tasks.
    ///
    /// # Errors
    /// When the machine has no interpreter for it.
    pub fn new(
        language: Language,
        sandbox: Sandbox,
        workspaces: Arc<Workspaces>,
    ) -> Result<Self, SandboxError> {
        if language == Language::Python {
            sandbox.python()?;
        }
        Ok(RunCode {
            language,
            sandbox,
            workspaces,
            documents: None,
            limits: Limits::default(),
        })
    }

    /// With documents, of which a call may have copies in its folder.
    #[must_use]
    pub fn with_documents(mut self, documents: Arc<Documents>) -> Self {
        self.documents = Some(documents);
        self
    }

    /// With these limits for each call.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    fn program(&self, code: &str) -> Result<Program, ToolError> {
        match self.language {
            Language::JavaScript => Ok(Program::JavaScript {
                code: code.to_owned(),
            }),
            Language::Python => self
                .sandbox
                .python()
                .map(|python| python.program(code))
                .map_err(|error| said(&error.into())),
        }
    }

    async fn run(&self, arguments: Value, context: CallContext) -> Result<ToolOutput, ToolError> {
        let code = arguments["code"].as_str().unwrap_or_default();
        let program = self.program(code)?;
        let _turn = self.workspaces.turn(&context.task).await;
        let before = self.workspaces.before(&context.task, &context.call);
        let before = before.map_err(|error| broken(&error))?;
        let mut files = before.clone();
        for path in arguments["documents"].as_array().into_iter().flatten() {
            self.lay_in(&mut files, path.as_str().unwrap_or_default())?;
        }
        let spec = Spec {
            program,
            files: files.clone(),
            limits: self.limits,
        };
        let output = self.sandbox.run(spec).await.map_err(|error| said(&error))?;
        let kept = self
            .workspaces
            .keep(&context.task, &context.call, &files, &output);
        kept.map_err(|error| broken(&error))?;
        Ok(report(&output, &self.limits).into())
    }

    /// Lays a copy of a document into the folder, by its last name.
    fn lay_in(&self, files: &mut Vec<File>, path: &str) -> Result<(), ToolError> {
        let refused = |text: String| ToolError::new(FailureKind::Refused, text);
        let Some(documents) = &self.documents else {
            return Err(refused("there are no documents".to_owned()));
        };
        let document = documents
            .read(path)
            .map_err(|error| refused(error.to_string()))?;
        let last = path.rsplit('/').next().unwrap_or(path);
        let name = FileName::new(last).map_err(|error| refused(error.to_string()))?;
        let mut text = String::new();
        let mut number = 1;
        while let Some(line) = document.line(number) {
            text.push_str(line);
            text.push('\n');
            number += 1;
        }
        files.retain(|file| file.name != name);
        files.push(File::new(name, text));
        Ok(())
    }
}

/// A sandbox that does not run, in words for a model.
fn said(error: &SandboxError) -> ToolError {
    let kind = match error {
        SandboxError::Spec { .. } => FailureKind::Arguments,
        SandboxError::Cancelled => FailureKind::Cancelled,
        SandboxError::Launcher { .. } => FailureKind::Transient,
        _ => FailureKind::Refused,
    };
    ToolError::new(kind, error.to_string())
}

fn broken(error: &WorkspaceError) -> ToolError {
    ToolError::new(FailureKind::Internal, error.to_string())
}

/// What the model reads of a run.
fn report(output: &Output, limits: &Limits) -> String {
    let mut text = output.stdout.text();
    let errors = output.stderr.text();
    if !errors.is_empty() {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&errors);
    }
    let mut notes = Vec::new();
    match (output.killed_by, output.ended) {
        (Some(by), _) => notes.push(format!("stopped by {by} ({})", told(limits))),
        (None, Ended::Exited(0 | 1)) => {}
        (None, Ended::Exited(code)) => notes.push(format!("exit code {code}")),
        (None, Ended::Signalled(31)) => {
            notes.push("stopped: a call that is not allowed".to_owned());
        }
        (None, Ended::Signalled(signal)) => notes.push(format!("ended by signal {signal}")),
    }
    if !output.files.is_empty() {
        let named = output.files.iter().take(MAX_NAMED);
        let named: Vec<String> = named
            .map(|file| format!("{} ({} bytes)", file.name, file.bytes.len()))
            .collect();
        let more = match output.files.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(", {more} more"),
        };
        notes.push(format!("files written: {}{more}", named.join(", ")));
    }
    for left in output.left_out.iter().take(MAX_NAMED) {
        notes.push(format!("not kept: {:?}, {}", left.name, left.why));
    }
    if text.is_empty() && notes.is_empty() {
        return "(no output)".to_owned();
    }
    for note in notes {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("[{note}]"));
    }
    text
}

fn told(limits: &Limits) -> String {
    format!(
        "{} s, {} MiB of memory, {} MiB of files",
        limits.wall.as_secs(),
        limits.memory_bytes >> 20,
        limits.files_bytes >> 20
    )
}

impl Tool for RunCode {
    fn name(&self) -> &str {
        match self.language {
            Language::Python => "python",
            Language::JavaScript => "javascript",
        }
    }

    fn description(&self) -> &str {
        match self.language {
            Language::Python => {
                "Run Python 3 in a sandbox without network; the value of a last expression is shown, as in \
                 a notebook. Variables do not stay between calls, files in the current folder do."
            }
            Language::JavaScript => {
                "Run JavaScript (no Node, no network); the value of a last expression is shown. print(…) \
                 or console.log(…); readFile(name), writeFile(name, text or bytes), listFiles(). Variables \
                 do not stay between calls, files do."
            }
        }
    }

    fn schema(&self) -> Value {
        let mut properties = json!({"code": {"type": "string"}});
        if self.documents.is_some() {
            properties["documents"] = json!({
                "type": "array",
                "items": {"type": "string"},
                "description": "paths of documents to copy into the current folder first",
            });
        }
        json!({"type": "object", "properties": properties, "required": ["code"]})
    }

    /// A call that is made again begins with the files that it began with before.
    fn effect(&self) -> Effect {
        Effect::Idempotent
    }

    /// None: the sandbox has its own.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    fn call(&self, arguments: Value, context: CallContext) -> Calling<'_> {
        Box::pin(self.run(arguments, context))
    }
}
