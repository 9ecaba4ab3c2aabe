//! Reading one page: a context of its own, a proxy of its own, and an end.

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use super::chromium::Chromium;
use super::proxy::{Proxy, Rules};
use crate::WebError;

/// What is asked in the page, in a world of its own.
const SNAPSHOT: &str = include_str!("snapshot.js");
/// How long a page may go on drawing after it has loaded.
const SETTLE: Duration = Duration::from_secs(4);
/// How long the snapshot may take.
const SNAPSHOT_MS: u64 = 8_000;
/// Longest response that is kept as it came, after unpacking.
const MAX_RAW: u64 = 8 << 20;

/// A page as it was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub url: String,
    pub title: String,
    pub text: String,
    /// What the server sent for the page itself; empty where it was too long.
    pub raw: Vec<u8>,
    pub kind: String,
    pub status: u64,
}

#[derive(Deserialize)]
struct Snapshot {
    title: String,
    url: String,
    text: String,
}

/// What is known of the main response.
#[derive(Default)]
struct Response {
    request: String,
    kind: String,
    status: u64,
    bytes: u64,
}

/// Reads a page, which has `load` to load. Whatever happens, its context is gone afterwards.
pub(super) async fn read(
    chromium: &Chromium,
    url: &Url,
    rules: Rules,
    load: Duration,
) -> Result<Seen, WebError> {
    let failed = |error: std::io::Error| WebError::Request(error.to_string());
    let proxy = Proxy::start(rules).await.map_err(failed)?;
    let browser = &chromium.connection;
    let params = json!({
        "disposeOnDetach": true,
        "proxyServer": format!("http://{}", proxy.address()),
        "proxyBypassList": "<-loopback>",
    });
    let context = browser
        .command(None, "Target.createBrowserContext", params)
        .await?;
    let context = text(&context["browserContextId"]);
    let seen = in_context(chromium, &context, url, &proxy, load).await;
    let params = json!({"browserContextId": context});
    let _ = browser
        .command(None, "Target.disposeBrowserContext", params)
        .await;
    match seen {
        Err(_) if proxy.has_refused(host(url)) => {
            let refused = k25_fetch::AddressError(host(url).to_owned());
            Err(WebError::Refused(refused.to_string()))
        }
        Err(_) if proxy.is_used_up() => Err(WebError::Request("the page is too large".to_owned())),
        // After a redirect the page's address is no longer the one that was asked for.
        Err(WebError::Request(said)) if !proxy.refused().is_empty() => Err(WebError::Refused(
            format!("{said}; refused: {}", proxy.refused().join(", ")),
        )),
        other => other,
    }
}

async fn in_context(
    chromium: &Chromium,
    context: &str,
    url: &Url,
    proxy: &Proxy,
    load: Duration,
) -> Result<Seen, WebError> {
    let browser = &chromium.connection;
    let params = json!({"url": "about:blank", "browserContextId": context});
    let target = browser.command(None, "Target.createTarget", params).await?;
    let params = json!({"targetId": target["targetId"], "flatten": true});
    let attached = browser
        .command(None, "Target.attachToTarget", params)
        .await?;
    let session = text(&attached["sessionId"]);
    let mut events = browser.listen(&session);
    let seen = async {
        let params = json!({"behavior": "deny", "browserContextId": context});
        browser
            .command(None, "Browser.setDownloadBehavior", params)
            .await?;
        let ask =
            |method: &'static str, params: Value| browser.command(Some(&session), method, params);
        ask("Page.enable", json!({})).await?;
        ask(
            "Network.enable",
            json!({"maxTotalBufferSize": 2 * MAX_RAW, "maxResourceBufferSize": MAX_RAW}),
        )
        .await?;
        ask("Page.setLifecycleEventsEnabled", json!({"enabled": true})).await?;
        let began = ask("Page.navigate", json!({"url": url.as_str()})).await?;
        let frame = text(&began["frameId"]);
        let mut response = Response::default();
        let error = began["errorText"].as_str();
        let may_be_file = error.is_none_or(|error| error == "net::ERR_ABORTED");
        if !may_be_file {
            return Err(WebError::Request(format!(
                "the page cannot be reached ({})",
                error.unwrap_or_default()
            )));
        }
        wait(
            chromium,
            &session,
            &mut events,
            &frame,
            &mut response,
            if error.is_some() { SETTLE / 8 } else { load },
        )
        .await?;
        if response.status == 403 && proxy.has_refused(host(url)) {
            return Err(WebError::Request("refused".to_owned()));
        }
        if error.is_some() || response.kind == "application/pdf" {
            // A download, or a viewer that is no page: the caller fetches it.
            return Ok(Seen {
                url: url.to_string(),
                title: String::new(),
                text: String::new(),
                raw: Vec::new(),
                kind: response.kind,
                status: response.status,
            });
        }
        let snapshot = snapshot(chromium, &session, &frame).await?;
        let raw = raw(chromium, &session, &response).await;
        Ok(Seen {
            url: snapshot.url,
            title: snapshot.title,
            text: snapshot.text,
            raw,
            kind: response.kind,
            status: response.status,
        })
    };
    let seen = seen.await;
    browser.forget(&session);
    seen
}

/// Waits for the page to load, and then for its network to be quiet, both for so long at most.
async fn wait(
    chromium: &Chromium,
    session: &str,
    events: &mut Receiver<Value>,
    frame: &str,
    response: &mut Response,
    load: Duration,
) -> Result<(), WebError> {
    let mut end = Instant::now() + load;
    let mut is_loaded = false;
    loop {
        let event = match timeout_at(end, events.recv()).await {
            // What a slow page shows by now is what there is.
            Err(_) => return Ok(()),
            Ok(None) => return Err(WebError::Request("the browser ended".to_owned())),
            Ok(Some(event)) => event,
        };
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Page.loadEventFired" if !is_loaded => {
                is_loaded = true;
                end = Instant::now() + SETTLE;
            }
            "Page.lifecycleEvent" => {
                let is_quiet = params["name"] == "networkIdle" && params["frameId"] == frame;
                if is_loaded && is_quiet {
                    return Ok(());
                }
            }
            "Page.javascriptDialogOpening" => {
                let close = json!({"accept": false});
                let method = "Page.handleJavaScriptDialog";
                let browser = &chromium.connection;
                let _ = browser.command(Some(session), method, close).await;
            }
            "Network.responseReceived"
                if params["type"] == "Document" && params["frameId"] == frame =>
            {
                *response = Response {
                    request: text(&params["requestId"]),
                    kind: text(&params["response"]["mimeType"]),
                    status: params["response"]["status"].as_u64().unwrap_or(0),
                    bytes: 0,
                };
            }
            "Network.dataReceived" if params["requestId"] == response.request.as_str() => {
                response.bytes += params["dataLength"].as_u64().unwrap_or(0);
            }
            "Inspector.targetCrashed" => {
                return Err(WebError::Request("the page crashed".to_owned()));
            }
            _ => {}
        }
    }
}

async fn snapshot(chromium: &Chromium, session: &str, frame: &str) -> Result<Snapshot, WebError> {
    let ask = |method: &'static str, params: Value| {
        chromium.connection.command(Some(session), method, params)
    };
    let world = json!({"frameId": frame, "worldName": "reader"});
    let world = ask("Page.createIsolatedWorld", world).await?;
    let params = json!({
        "expression": SNAPSHOT,
        "contextId": world["executionContextId"],
        "returnByValue": true,
        "timeout": SNAPSHOT_MS,
    });
    let evaluated = ask("Runtime.evaluate", params).await?;
    let value = evaluated["result"]["value"].as_str().unwrap_or_default();
    serde_json::from_str(value)
        .map_err(|_| WebError::Request("the page does not let itself be read".to_owned()))
}

/// What the server sent for the page itself, if it is short enough to ask for.
async fn raw(chromium: &Chromium, session: &str, response: &Response) -> Vec<u8> {
    if response.request.is_empty() || response.bytes > MAX_RAW {
        return Vec::new();
    }
    let params = json!({"requestId": response.request});
    let method = "Network.getResponseBody";
    let body = chromium
        .connection
        .command(Some(session), method, params)
        .await;
    match body {
        Ok(body) if body["base64Encoded"] == false => text(&body["body"]).into_bytes(),
        _ => Vec::new(),
    }
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_matches(['[', ']'])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
