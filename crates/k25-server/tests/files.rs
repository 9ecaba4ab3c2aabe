//! Uploaded files over real sockets.

#[path = "support/scripted.rs"]
mod scripted;

use std::net::SocketAddr;
use std::path::Path;

use k25_server::{App, FileOptions, KeyFile, KeyLimits, NewKey, Server, ServerOptions};
use reqwest::{Client, Response, StatusCode};
use scripted::Scripted;
use serde_json::{Value, json};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n0123";

struct Running {
    address: SocketAddr,
    client: Client,
    /// Two keys.
    secrets: [String; 2],
}

impl Running {
    async fn start(folder: &Path) -> Self {
        let mut keys = KeyFile::default();
        let secrets = ["alice", "bob"].map(|name| {
            let key = NewKey::make(name, KeyLimits::default()).expect("a key");
            keys.add(key.record).expect("added");
            key.secret
        });
        let options = ServerOptions {
            files: Some(FileOptions {
                max_bytes: 1000,
                max_files: 3,
                ..FileOptions::new(folder.to_owned())
            }),
            ..ServerOptions::default()
        };
        let models = vec![Scripted::default().model()];
        let app = App::new(models, Some(&keys), options).expect("an app");
        let server = Server::bind(app, "127.0.0.1:0".parse().expect("an address")).await;
        let server = server.expect("a port");
        let address = server.address().expect("an address");
        tokio::spawn(server.run(std::future::pending()));
        let client = Client::builder().no_proxy().build().expect("a client");
        Running {
            address,
            client,
            secrets,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v1/files{path}", self.address)
    }

    async fn send(&self, who: usize, body: Vec<u8>, more: &[(&str, &str)]) -> Response {
        let request = self
            .client
            .post(self.url(""))
            .bearer_auth(&self.secrets[who])
            .header("content-type", "multipart/form-data; boundary=XX")
            .body(body);
        let request = more.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.send().await.expect("a response")
    }

    async fn upload(&self, who: usize, purpose: &str, name: &str, content: &[u8]) -> Response {
        self.send(who, form(purpose, name, content), &[]).await
    }

    async fn get(&self, who: usize, path: &str) -> Response {
        let request = self
            .client
            .get(self.url(path))
            .bearer_auth(&self.secrets[who]);
        request.send().await.expect("a response")
    }

    /// The request with this picture, as the model saw it.
    async fn see(&self, who: usize, kind: &str, source: &str) -> Response {
        let body = json!({"model": "scripted", "messages": [{"role": "user", "content": [
            {"type": "text", "text": "{\"echo\": true}"},
            {"type": kind, kind: {"url": source}}]}]});
        let url = format!("http://{}/v1/chat/completions", self.address);
        let request = self
            .client
            .post(url)
            .bearer_auth(&self.secrets[who])
            .json(&body);
        request.send().await.expect("a response")
    }
}

fn form(purpose: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--XX\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--XX\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         content-type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n--XX--\r\n"].concat()
}

async fn json_of(response: Response) -> Value {
    let text = response.text().await.expect("a body");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn files_come_stay_are_used_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Running::start(folder.path()).await;
    let picture = json_of(server.upload(0, "image", "cat.png", PNG).await).await;
    assert_eq!(
        (
            &picture["object"],
            &picture["bytes"],
            &picture["filename"],
            &picture["purpose"]
        ),
        (
            &"file".into(),
            &PNG.len().into(),
            &"cat.png".into(),
            &"image".into()
        )
    );
    let id = picture["id"].as_str().expect("an id");
    let listed = json_of(server.get(0, "").await).await;
    assert_eq!(listed["data"], json!([picture]));
    let others = json_of(server.get(0, "?purpose=video").await).await;
    assert_eq!(others["data"], json!([]));
    let raw = server.get(0, &format!("/{id}/content")).await;
    assert_eq!(raw.headers()["content-type"], "image/png");
    assert_eq!(raw.bytes().await.expect("bytes"), PNG);

    for source in [format!("ms://{id}"), id.to_owned()] {
        let seen = json_of(server.see(0, "image_url", &source).await).await;
        let said = seen["choices"][0]["message"]["content"]
            .as_str()
            .expect("text");
        assert!(
            said.contains("data:image/png;base64,iVBORw0KGgowMTIz"),
            "{said}"
        );
    }
    let wrong = server.see(0, "video_url", &format!("ms://{id}")).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);

    // Another key sees, uses and deletes none of it.
    assert_eq!(json_of(server.get(1, "").await).await["data"], json!([]));
    for path in [format!("/{id}"), format!("/{id}/content")] {
        assert_eq!(server.get(1, &path).await.status(), StatusCode::NOT_FOUND);
    }
    let stolen = server.see(1, "image_url", &format!("ms://{id}")).await;
    assert_eq!(stolen.status(), StatusCode::BAD_REQUEST);
    let delete = |who: usize| {
        let url = server.url(&format!("/{id}"));
        server
            .client
            .delete(url)
            .bearer_auth(&server.secrets[who])
            .send()
    };
    assert_eq!(
        delete(1).await.expect("a response").status(),
        StatusCode::NOT_FOUND
    );
    let deleted = json_of(delete(0).await.expect("a response")).await;
    assert_eq!(
        deleted,
        json!({"id": id, "object": "file", "deleted": true})
    );
    assert_eq!(
        server.get(0, &format!("/{id}")).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn texts_are_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Running::start(folder.path()).await;
    let document = server.upload(
        0,
        "file-extract",
        "notes.md",
        "# Büro\n<|im_end|>".as_bytes(),
    );
    let document = json_of(document.await).await;
    let id = document["id"].as_str().expect("an id");
    let text = json_of(server.get(0, &format!("/{id}/content")).await).await;
    assert_eq!(text["content"], "# Büro\n<|im_end|>");
    assert_eq!(
        (&text["filename"], &text["type"]),
        (&"notes.md".into(), &"file".into())
    );
    let binary = server
        .upload(0, "file-extract", "notes.md", b"\xff\x00")
        .await;
    assert_eq!(binary.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Running::start(folder.path()).await;
    for (purpose, content, status) in [
        ("assistants", PNG, 400),
        ("image", b"no picture", 400),
        ("video", PNG, 400),
        ("image", &[0; 1001], 413),
    ] {
        let response = server.upload(0, purpose, "a.png", content).await;
        assert_eq!(response.status().as_u16(), status, "{purpose}");
        assert!(
            json_of(response).await["error"]["message"]
                .as_str()
                .expect("words")
                .contains("hint")
        );
    }
    let whole = form("image", "a.png", PNG);
    for (body, status) in [
        (b"--XX\r\n".to_vec(), 400),
        (whole[..whole.len() - 12].to_vec(), 400),
        (
            b"--XX\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nimage\r\n--XX--\r\n"
                .to_vec(),
            400,
        ),
        (vec![b'-'; 200_000], 413),
    ] {
        let response = server.send(0, body, &[]).await;
        assert_eq!(response.status().as_u16(), status);
    }
    let from_a_page = server
        .send(0, whole.clone(), &[("sec-fetch-site", "cross-site")])
        .await;
    assert_eq!(from_a_page.status(), StatusCode::FORBIDDEN);
    let unknown = server.client.post(server.url("")).body(whole).send().await;
    assert_eq!(
        unknown.expect("a response").status(),
        StatusCode::UNAUTHORIZED
    );
    let left = std::fs::read_dir(folder.path().join("files")).expect("the folder");
    assert_eq!(left.count(), 0);
    for _ in 0..3 {
        assert_eq!(
            server.upload(0, "image", "a.png", PNG).await.status(),
            StatusCode::OK
        );
    }
    let full = server.upload(0, "image", "a.png", PNG).await;
    assert_eq!(full.status(), StatusCode::BAD_REQUEST);
    let hostile = server
        .upload(1, "image", "../../../../tmp/x\u{202e}.png", PNG)
        .await;
    assert_eq!(json_of(hostile).await["filename"], "x\u{202e}.png");
}
