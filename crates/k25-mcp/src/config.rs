//! The file that names MCP servers, in the form that other programs use too.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::McpError;

/// How long a server may take to begin.
const START: Duration = Duration::from_secs(60);
/// Largest file, and most servers in it.
const MAX_BYTES: u64 = 1 << 20;
const MAX_SERVERS: usize = 32;

/// Servers by name.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The servers.
    pub servers: BTreeMap<String, ServerConfig>,
}

/// One server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// How it is reached.
    pub transport: Transport,
    /// How long it may take to begin; package runners fetch what they run first.
    pub start: Duration,
    /// How long one call may take.
    pub timeout: Duration,
    /// Only these of its tools; `None` is all of them.
    pub tools: Option<Vec<String>>,
}

/// How a server is reached. Values have their `${VARIABLE}`s filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A program that speaks on its standard input and output.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables of its environment beside a few harmless ones of ours.
        env: BTreeMap<String, String>,
    },
    /// An address.
    Http {
        /// The address.
        url: String,
        /// Headers of each request.
        headers: BTreeMap<String, String>,
    },
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(rename = "mcpServers")]
    servers: BTreeMap<String, RawServer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    timeout_seconds: Option<u64>,
    tools: Option<Vec<String>>,
    /// Other programs write `stdio` or `http` here; the fields say it already.
    #[serde(rename = "type")]
    _kind: Option<String>,
}

impl Config {
    /// Reads a file; `variable` looks up what its `${NAME}`s stand for.
    ///
    /// # Errors
    /// When the file cannot be read, is not in the form, or wants a variable that is not set.
    pub fn read(path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, McpError> {
        let fault = |problem: String| McpError::Config {
            path: path.display().to_string(),
            problem,
        };
        let size = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?;
        if size.len() > MAX_BYTES {
            return Err(fault("larger than 1 MiB".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        let raw: RawConfig =
            serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
        if raw.servers.len() > MAX_SERVERS {
            return Err(fault(format!("more than {MAX_SERVERS} servers")));
        }
        let mut servers = BTreeMap::new();
        for (name, server) in raw.servers {
            if name.is_empty() || name.len() > 32 || !name.bytes().all(is_plain) {
                return Err(fault(format!(
                    "{name:?} is no name (1 to 32 letters, digits, - and _)"
                )));
            }
            let server = server.resolve(&name, variable, &fault)?;
            servers.insert(name, server);
        }
        Ok(Config { servers })
    }
}

/// What names of servers and tools are made of.
pub(crate) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

impl RawServer {
    fn resolve(
        self,
        name: &str,
        variable: &dyn Fn(&str) -> Option<String>,
        fault: &dyn Fn(String) -> McpError,
    ) -> Result<ServerConfig, McpError> {
        let fill = |text: String| fill(&text, name, variable);
        let fill_all = |map: BTreeMap<String, String>| {
            map.into_iter()
                .map(|(key, value)| Ok((key, fill(value)?)))
                .collect::<Result<BTreeMap<_, _>, McpError>>()
        };
        let transport = match (self.command, self.url) {
            (Some(command), None) => Transport::Stdio {
                command: fill(command)?,
                args: self.args.into_iter().map(fill).collect::<Result<_, _>>()?,
                env: fill_all(self.env)?,
            },
            (None, Some(url)) => Transport::Http {
                url: fill(url)?,
                headers: fill_all(self.headers)?,
            },
            _ => {
                let problem = format!("{name} needs either \"command\" or \"url\"");
                return Err(fault(problem));
            }
        };
        let seconds = self.timeout_seconds.unwrap_or(60).clamp(1, 3_600);
        Ok(ServerConfig {
            transport,
            start: START,
            timeout: Duration::from_secs(seconds),
            tools: self.tools,
        })
    }
}

/// The text with each `${NAME}` replaced.
fn fill(
    text: &str,
    server: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, McpError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        let value = variable(name).ok_or_else(|| McpError::Variable {
            server: server.to_owned(),
            variable: name.to_owned(),
        })?;
        out.push_str(&value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, McpError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Config::read(file.path(), &|name| {
            (name == "KEY").then(|| "k1".to_owned())
        })
    }

    #[test]
    fn both_transports_are_read_and_variables_filled_in() {
        let config = read(
            r#"{"mcpServers": {
                "files": {"type": "stdio", "command": "srv", "args": ["-k", "${KEY}"], "env": {"A": "x${KEY}y"}},
                "web": {"url": "https://x.example/mcp", "headers": {"Authorization": "Bearer ${KEY}"},
                        "timeout_seconds": 5, "tools": ["find"]}}}"#,
        )
        .expect("a configuration");
        assert_eq!(
            config.servers["files"].transport,
            Transport::Stdio {
                command: "srv".to_owned(),
                args: vec!["-k".to_owned(), "k1".to_owned()],
                env: BTreeMap::from([("A".to_owned(), "xk1y".to_owned())]),
            }
        );
        let web = &config.servers["web"];
        assert_eq!(web.timeout, Duration::from_secs(5));
        let Transport::Http { headers, .. } = &web.transport else {
            panic!("it has an address");
        };
        assert_eq!(headers["Authorization"], "Bearer k1");
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("{", "EOF"),
            ("{}", "mcpServers"),
            (r#"{"mcpServers": {"a": {}}}"#, "either"),
            (
                r#"{"mcpServers": {"a": {"command": "x", "url": "y"}}}"#,
                "either",
            ),
            (r#"{"mcpServers": {"a b": {"command": "x"}}}"#, "no name"),
            (r#"{"mcpServers": {"a": {"comand": "x"}}}"#, "comand"),
            (
                r#"{"mcpServers": {"a": {"command": "${NO}"}}}"#,
                "NO is not set",
            ),
        ];
        for (text, expected) in cases {
            let error = read(text).expect_err(text).to_string();
            assert!(
                error.contains(expected) && error.contains("hint"),
                "{error}"
            );
        }
        let missing = Config::read(Path::new("no/such/file"), &|_| None);
        assert!(missing.is_err());
    }
}
