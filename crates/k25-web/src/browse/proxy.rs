//! The only way out of the browser: a proxy that connects to allowed addresses and no others. It looks
//! names up itself and connects to what it checked, so that neither a redirect nor a name that changes
//! leads anywhere else. Each page has its own, with its own count of bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k25_fetch::{Allowed, resolve};
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest head of a request, and how long it may take to come.
const MAX_HEAD: usize = 32 << 10;
const HEAD_TIME: Duration = Duration::from_secs(10);
const CONNECT_TIME: Duration = Duration::from_secs(8);
/// How long a connection may live; a page does not live longer.
const LIFE: Duration = Duration::from_secs(120);
/// Connections at the same time.
const CONNECTIONS: usize = 64;

/// What a page may reach, and how much of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub allowed: Allowed,
    pub allowed_port: fn(u16) -> bool,
    pub bytes: u64,
}

/// A proxy that ends when it is dropped.
pub(super) struct Proxy {
    address: SocketAddr,
    task: JoinHandle<()>,
    gate: Arc<Gate>,
}

struct Gate {
    rules: Rules,
    bytes_left: AtomicU64,
    /// Hosts that were asked for and refused.
    refused: Mutex<Vec<String>>,
    places: Arc<Semaphore>,
}

impl Proxy {
    pub(super) async fn start(rules: Rules) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let gate = Arc::new(Gate {
            rules,
            bytes_left: AtomicU64::new(rules.bytes),
            refused: Mutex::default(),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&gate)));
        Ok(Proxy {
            address,
            task,
            gate,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether this host was asked for and refused.
    pub(super) fn has_refused(&self, host: &str) -> bool {
        let refused = self
            .gate
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        refused.iter().any(|name| name == host)
    }

    /// Every host that was refused.
    pub(super) fn refused(&self) -> Vec<String> {
        let refused = self
            .gate
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.gate.bytes_left.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, gate: Arc<Gate>) {
    // Aborting this task ends every connection with it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&gate.places).acquire_owned().await else {
            return;
        };
        let gate = Arc::clone(&gate);
        connections.spawn(async move {
            let _place = place;
            let _ = timeout(LIFE, serve(stream, &gate)).await;
        });
    }
}

/// Where a request wants to go, and what is sent there first.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    host: String,
    port: u16,
    /// `None` for a tunnel.
    head: Option<Vec<u8>>,
}

async fn serve(mut browser: TcpStream, gate: &Gate) -> io::Result<()> {
    let Ok(Ok((head, rest))) = timeout(HEAD_TIME, read_head(&mut browser)).await else {
        return Ok(());
    };
    let Some(wish) = wish(&head) else {
        return answer(&mut browser, "400 Bad Request").await;
    };
    let Some(mut server) = connect(&wish, gate).await else {
        return answer(&mut browser, "403 Forbidden").await;
    };
    match &wish.head {
        None => {
            let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
            browser.write_all(established).await?;
        }
        Some(head) => server.write_all(head).await?,
    }
    server.write_all(&rest).await?;
    let (mut from_browser, mut to_browser) = browser.split();
    let (mut from_server, mut to_server) = server.split();
    let up = copy(&mut from_browser, &mut to_server, &gate.bytes_left);
    let down = copy(&mut from_server, &mut to_browser, &gate.bytes_left);
    // Whoever ends first ends both: half-open connections are not worth their place.
    tokio::select! {
        result = up => {
            // A request may be over before its answer begins.
            result?;
            Ok(())
        }
        result = down => result,
    }
}

async fn connect(wish: &Wish, gate: &Gate) -> Option<TcpStream> {
    let refuse = || {
        let mut refused = gate.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() < 100 && !refused.contains(&wish.host) {
            refused.push(wish.host.clone());
        }
    };
    if !(gate.rules.allowed_port)(wish.port) {
        refuse();
        return None;
    }
    let addresses = match resolve(&wish.host, wish.port, gate.rules.allowed).await {
        Ok(addresses) => addresses,
        Err(error) => {
            if error.kind() == io::ErrorKind::PermissionDenied {
                refuse();
            }
            return None;
        }
    };
    for address in addresses.into_iter().take(4) {
        if let Ok(Ok(stream)) = timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            return Some(stream);
        }
    }
    None
}

async fn read_head(browser: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = browser.read(&mut piece).await?;
        bytes.extend_from_slice(&piece[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((bytes, rest));
        }
        if count == 0 || bytes.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Reads `CONNECT host:port` or `METHOD http://host/path`; anything else is no wish.
fn wish(head: &[u8]) -> Option<Wish> {
    let head = std::str::from_utf8(head).ok()?;
    let (line, headers) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with("HTTP/1.") {
        return None;
    }
    if method == "CONNECT" {
        let (host, port) = target.rsplit_once(':')?;
        return Some(Wish {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.parse().ok()?,
            head: None,
        });
    }
    let url = Url::parse(target)
        .ok()
        .filter(|url| url.scheme() == "http")?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let query = url
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let mut out = format!("{method} {}{query} HTTP/1.1\r\n", url.path());
    for header in headers.lines().filter(|line| !line.is_empty()) {
        let name = header.split(':').next()?.trim().to_ascii_lowercase();
        if !name.starts_with("proxy-") && name != "connection" {
            out.push_str(header);
            out.push_str("\r\n");
        }
    }
    // One request a connection: the next one may want to go elsewhere.
    out.push_str("Connection: close\r\n\r\n");
    Some(Wish {
        host,
        port: url.port_or_known_default()?,
        head: Some(out.into_bytes()),
    })
}

async fn answer(browser: &mut TcpStream, status: &str) -> io::Result<()> {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    browser.write_all(text.as_bytes()).await?;
    browser.shutdown().await
}

/// Copies until the end, or until the page has used up its bytes.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    left: &AtomicU64,
) -> io::Result<()> {
    let mut piece = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut piece).await?;
        if count == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        let take = |left: u64| Some(left.saturating_sub(count as u64));
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if before.is_ok_and(|before| before < count as u64) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        to.write_all(&piece[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_and_rewritten() {
        let tunnel = wish(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
        assert_eq!(
            tunnel,
            Some(Wish {
                host: "a.example".to_owned(),
                port: 443,
                head: None
            })
        );
        let plain = wish(
            b"GET http://a.example/x?y=1 HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: keep-alive\r\nAccept: */*\r\n\r\n",
        )
        .expect("a wish");
        assert_eq!((plain.host.as_str(), plain.port), ("a.example", 80));
        assert_eq!(
            String::from_utf8(plain.head.expect("a head")).expect("text"),
            "GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        for odd in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"GET ftp://a/ HTTP/1.1\r\n\r\n",
            b"GET https://a/ HTTP/1.1\r\n\r\n",
            b"CONNECT a HTTP/1.1\r\n\r\n",
            b"CONNECT a:99999 HTTP/1.1\r\n\r\n",
            b"GET http://a/ b HTTP/1.1\r\n\r\n",
            b"\xff\r\n\r\n",
        ] {
            assert_eq!(wish(odd), None, "{}", String::from_utf8_lossy(odd));
        }
    }
}
