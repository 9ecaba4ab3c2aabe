//! `k25 serve` and `k25 keys`; what is served is in contract/.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::command::{Folder, fixture, k25, program};

/// A running server.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// Serves the fixture model.
    fn start(more: &[&str]) -> Self {
        let (model, tokenizer) = (fixture("t1"), fixture("tokenizer"));
        let flags = [&model, "--tokenizer", &tokenizer, "--context", "512"];
        Server::with(&[&flags, more].concat())
    }

    fn with(flags: &[&str]) -> Self {
        let mut command = program();
        command
            .args(["serve", "--port", "0"])
            .args(flags)
            .env_remove("MOONSHOT_API_KEY")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = process.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .rsplit("http://")
            .next()
            .and_then(|rest| rest.strip_suffix("/v1"));
        let address = address
            .unwrap_or_else(|| panic!("no address in {line:?}"))
            .to_owned();
        Server { process, address }
    }

    /// The status line and body that a request gets.
    fn get(&self, path: &str, headers: &str) -> String {
        let mut connection = TcpStream::connect(&self.address).expect("a connection");
        write!(
            connection,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n"
        )
        .expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn post(&self, path: &str, body: &str) -> String {
        self.send(path, "application/json", body)
    }

    fn send(&self, path: &str, kind: &str, body: &str) -> String {
        let mut connection = TcpStream::connect(&self.address).expect("a connection");
        write!(
            connection,
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Asks it to stop; returns its exit code and what it logged.
    fn stop(self, signal: &str) -> (Option<i32>, String) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill")
            .args([signal, &id])
            .status()
            .expect("kill");
        assert!(sent.success());
        let output = self.process.wait_with_output().expect("it ends");
        (
            output.status.code(),
            String::from_utf8(output.stderr).expect("text"),
        )
    }
}

#[test]
fn it_serves_until_it_is_asked_to_stop() {
    for signal in ["-TERM", "-INT"] {
        let server = Server::start(&["--name", "tiny", "--log", "json"]);
        assert!(server.get("/readyz", "").starts_with("HTTP/1.1 200"));
        let models = server.get("/v1/models", "x-request-id: mine\r\n");
        assert!(
            models.contains("\"id\":\"tiny\"") && models.contains("x-request-id: mine"),
            "{models}"
        );
        assert!(models.contains("\"context_length\":512"), "{models}");
        let (code, log) = server.stop(signal);
        assert_eq!(code, Some(0), "{log}");
        let line = log
            .lines()
            .find(|line| line.contains("/v1/models"))
            .expect("a log line");
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(
            (&line["request_id"], &line["status"]),
            (&"mine".into(), &200.into())
        );
    }
}

#[test]
fn keys_let_in_and_show_nowhere() {
    let folder = Folder::empty();
    let file = folder.arg("keys.json");
    let add = |name: &str| k25(["keys", "add", name, "--file", &file, "--concurrency", "2"]);
    let secret = add("alice").stdout.trim().to_owned();
    assert!(secret.starts_with("sk-k25-"), "{secret}");
    add("alice").fails(&["there is a key of alice already"]);
    assert!(
        k25(["keys", "list", "--file", &file])
            .success()
            .contains("alice")
    );

    let server = Server::start(&["--keys", &file]);
    assert!(server.get("/v1/models", "").starts_with("HTTP/1.1 401"));
    let header = format!("authorization: Bearer {secret}\r\n");
    assert!(
        server
            .get("/v1/models", &header)
            .starts_with("HTTP/1.1 200")
    );
    let (_, log) = server.stop("-TERM");
    assert!(!log.contains(&secret[7..]), "a key in the log");
    assert!(
        !std::fs::read_to_string(&file)
            .expect("the file")
            .contains(&secret[7..])
    );

    k25(["keys", "remove", "alice", "--file", &file]).success();
    k25(["keys", "remove", "alice", "--file", &file]).fails(&["no key of alice"]);
}

#[test]
fn it_serves_what_other_endpoints_have() {
    let folder = Folder::empty();
    let usage = folder.arg("usage.json");
    let price =
        r#"{"currency": "EUR", "models": {"tiny": {"input": 1, "cached_input": 0, "output": 2}}}"#;
    let prices = folder.with("prices.json", price);
    let behind = Server::start(&["--name", "tiny"]);
    let url = format!("http://{}/v1", behind.address);
    let front = Server::with(&["--upstream", &url, "--prices", &prices, "--usage", &usage]);
    let models = front.get("/v1/models", "");
    assert!(
        models.contains("\"id\":\"tiny\"") && models.contains("\"context_length\":512"),
        "{models}"
    );
    let body =
        r#"{"model": "tiny", "max_tokens": 3, "messages": [{"role": "user", "content": "a"}]}"#;
    let answer = front.post("/v1/chat/completions", body);
    assert!(answer.contains("\"completion_tokens\":3"), "{answer}");
    assert_eq!(front.stop("-TERM").0, Some(0));
    let used = k25(["keys", "usage", "--file", &usage]).success();
    assert!(used.contains("anyone") && used.contains("EUR"), "{used}");
    let used = k25(["keys", "usage", "--file", &usage, "--json"]).json();
    assert_eq!(used["entries"][0]["completion_tokens"], 3);
    assert!(used["entries"][0]["cost"].as_f64().expect("a cost") > 0.0);

    let routes = format!(
        r#"{{"models": {{"renamed": {{"endpoints": [{{"url": "{url}", "model": "tiny"}}]}}}}}}"#
    );
    let routes = folder.with("routes.json", routes);
    let front = Server::with(&["--routes", &routes, "--upstream", &url, "--name", "tiny"]);
    let models = front.get("/v1/models", "");
    assert!(
        models.contains("\"id\":\"renamed\"") && models.contains("\"id\":\"tiny\""),
        "{models}"
    );
    let answer = front.post("/v1/chat/completions", &body.replace("tiny", "renamed"));
    assert!(answer.contains("\"completion_tokens\":3"), "{answer}");
    front.stop("-TERM");
    behind.stop("-TERM");
}

#[test]
fn the_text_of_uploaded_pages_is_taken() {
    let folder = Folder::empty();
    let server = Server::start(&["--data", &folder.arg("data")]);
    let body = "--X\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nfile-extract\r\n--X\r\n\
        content-disposition: form-data; name=\"file\"; filename=\"a.html\"\r\n\r\n\
        <h1>Title</h1><script>no()</script><p>Words.</p>\r\n--X--\r\n";
    let made = server.send("/v1/files", "multipart/form-data; boundary=X", body);
    let id = made
        .split("\"id\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let id = id.unwrap_or_else(|| panic!("{made}"));
    let text = server.get(&format!("/v1/files/{id}/content"), "");
    assert!(
        text.contains("Title") && text.contains("Words.") && !text.contains("no()"),
        "{text}"
    );
    assert!(!text.contains("<p>"), "{text}");
    server.stop("-TERM");
}

#[test]
fn what_cannot_be_served_is_told() {
    let folder = Folder::empty();
    let file = folder.with("keys.json", "{}");
    let keys = folder.with("rules.json", "{\"keys\": []}");
    let tokenizer = fixture("tokenizer");
    let model = fixture("t1");
    let serve = |more: &[&str]| {
        let mut arguments = vec!["serve", model.as_str(), "--tokenizer", tokenizer.as_str()];
        arguments.extend(["--context", "512"]);
        arguments.extend(more);
        k25(arguments)
    };
    serve(&["--keys", &file]).fails(&["is no key file"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    serve(&["--port", &port]).fails(&["cannot listen on", &port]);
    serve(&["--audit", &folder.arg("a"), "--audit-rules", &keys]).fails(&["no rules", "patterns"]);
    serve(&["--otlp", "nowhere"]).fails(&["is no collector's address"]);
    serve(&["--prices", &file]).fails(&["is no price table", "hint"]);
    serve(&["--usage", &file]).fails(&["is no usage file"]);
    serve(&["--upstream", "nowhere"]).fails(&["nowhere", "https://"]);
    serve(&["--routes", &file]).fails(&["no routes", "endpoints"]);
    k25(["serve", "https://example.org/v1"]).fails(&["is an endpoint", "--upstream"]);
}
