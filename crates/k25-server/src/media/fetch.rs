//! Fetching a picture or film over HTTP, from public addresses only.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k25_fetch::{AddressError, Allowed, check_url, is_public_address, refusal};
use reqwest::{Client, Url};

use crate::error::{ApiError, ServerError};
use crate::options::FetchOptions;

/// Fetches within limits.
pub(crate) struct MediaFetcher {
    client: Client,
    options: FetchOptions,
    allowed: Allowed,
}

impl MediaFetcher {
    pub fn new(options: FetchOptions) -> Result<Self, ServerError> {
        MediaFetcher::with_allowed(options, is_public_address)
    }

    fn with_allowed(options: FetchOptions, allowed: Allowed) -> Result<Self, ServerError> {
        let client = k25_fetch::client(allowed, options.timeout)
            .map_err(|error| ServerError::Fetch(error.to_string()))?;
        Ok(MediaFetcher {
            client,
            options,
            allowed,
        })
    }

    /// The content as a `data:` URI; `number` counts the addresses of the request.
    pub async fn fetch(&self, address: &str, number: usize) -> Result<String, ApiError> {
        if number > self.options.max_addresses {
            return Err(ApiError::invalid(format!(
                "more than {} addresses to fetch; hint: send the content as data: URIs",
                self.options.max_addresses
            )));
        }
        let url = Url::parse(address)
            .map_err(|error| ApiError::invalid(format!("no address: {error}; hint: check it")))?;
        check_url(&url, self.allowed).map_err(|error| refused(&error))?;
        let response = self.client.get(url).send().await.map_err(failed)?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(ApiError::invalid(format!(
                "its server answered {status}; hint: check the address, or send a data: URI"
            )));
        }
        self.read(response).await
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<String, ApiError> {
        let kind = response.headers().get("content-type");
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_plain = |kind: &&str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/+-.".contains(&byte);
            !kind.is_empty() && kind.bytes().all(plain)
        };
        let kind = kind.split(';').next().map(str::trim).filter(is_plain);
        let kind = kind.unwrap_or("application/octet-stream").to_owned();
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if bytes.len() + piece.len() > self.options.max_bytes {
                return Err(ApiError::invalid(format!(
                    "larger than {} bytes; hint: send a smaller file",
                    self.options.max_bytes
                )));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(format!("data:{kind};base64,{}", STANDARD.encode(&bytes)))
    }
}

/// What a client may learn: not what answers on which of our ports.
fn failed(error: reqwest::Error) -> ApiError {
    if let Some(error) = refusal(&error) {
        return refused(error);
    }
    if error.is_timeout() {
        let message = "fetching took too long; hint: send the content as a data: URI";
        return ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", message);
    }
    ApiError::invalid("it cannot be fetched; hint: check the address, or send a data: URI")
}

/// Why an address is refused, and what to do instead.
fn refused(error: &AddressError) -> ApiError {
    ApiError::invalid(format!("{error}; hint: send the content as a data: URI"))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers everyone with the same bytes.
    async fn server(response: Vec<u8>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&response).await;
            }
        });
        port
    }

    fn ok(body: &[u8]) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: image/png; x=y\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    fn fetcher(allowed: Allowed) -> MediaFetcher {
        let options = FetchOptions {
            max_bytes: 100,
            timeout: Duration::from_secs(2),
            max_addresses: 2,
        };
        MediaFetcher::with_allowed(options, allowed).expect("a client")
    }

    async fn message(fetcher: &MediaFetcher, address: &str) -> String {
        fetcher.fetch(address, 1).await.expect_err(address).message
    }

    #[tokio::test]
    async fn addresses_of_this_machine_and_network_are_refused() {
        let port = server(ok(b"secret")).await;
        let guarded = fetcher(is_public_address);
        for host in [
            "127.0.0.1",
            "localhost",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "10.0.0.1",
            "user@8.8.8.8",
        ] {
            let message = message(&guarded, &format!("http://{host}:{port}/a.png")).await;
            assert!(
                message.contains("not a public address"),
                "{host}: {message}"
            );
        }
    }

    #[tokio::test]
    async fn redirects_are_checked_again() {
        // 127.0.0.2 stands for a public address, 127.0.0.1 for a private one.
        let only_second: Allowed = |address| address == IpAddr::from([127, 0, 0, 2]);
        let inner = server(ok(b"secret")).await;
        let redirect = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{inner}/\r\ncontent-length: 0\r\n\r\n"
        );
        let listener = TcpListener::bind("127.0.0.2:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(redirect.as_bytes()).await;
            }
        });
        let message = message(&fetcher(only_second), &format!("http://127.0.0.2:{port}/")).await;
        assert!(
            message.contains("127.0.0.1 is not a public address"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn content_comes_within_limits() {
        let all: Allowed = |_| true;
        let small = server(ok(b"hi")).await;
        let content = fetcher(all)
            .fetch(&format!("http://127.0.0.1:{small}/"), 1)
            .await;
        assert_eq!(content.expect("fetched"), "data:image/png;base64,aGk=");
        let large = server(ok(&[0; 101])).await;
        let text = message(&fetcher(all), &format!("http://127.0.0.1:{large}/")).await;
        assert!(text.contains("larger than 100 bytes"), "{text}");
        let missing = server(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
        let text = message(&fetcher(all), &format!("http://127.0.0.1:{missing}/")).await;
        assert!(text.contains("404"), "{text}");
        let silent = server(Vec::new()).await;
        let text = message(&fetcher(all), &format!("http://127.0.0.1:{silent}/")).await;
        assert!(text.contains("cannot be fetched"), "{text}");
        let many = fetcher(all)
            .fetch("http://127.0.0.1/", 3)
            .await
            .expect_err("a third");
        assert!(
            many.message.contains("more than 2 addresses"),
            "{}",
            many.message
        );
        for address in ["http://", "ftp://8.8.8.8/", "http://exa mple/"] {
            message(&fetcher(all), address).await;
        }
    }
}
