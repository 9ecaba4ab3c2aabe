//! HTTP to addresses that strangers name: a person's request, a page, a model.
//!
//! Names are looked up once and the connection goes to what was checked, so that a name cannot lead
//! elsewhere between the two; redirects are checked again; no proxy of the environment is used, since
//! it would look names up itself.

mod address;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

pub use address::{AddressError, Allowed, is_public_address};

const MAX_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that connects to allowed addresses only; a request takes at most `timeout`, its body
/// included. Bodies are not bounded here: read them piece by piece.
///
/// # Errors
/// When the system offers no certificates.
pub fn client(allowed: Allowed, timeout: Duration) -> Result<Client, reqwest::Error> {
    // Two parts of a program may both want the provider: whoever comes second finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = Policy::custom(move |attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("too many redirects");
        }
        match check_url(attempt.url(), allowed) {
            Ok(()) => attempt.follow(),
            Err(error) => attempt.error(error),
        }
    });
    Client::builder()
        .user_agent(concat!("k25/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .dns_resolver(Arc::new(CheckedResolver { allowed }))
        .redirect(redirects)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .pool_max_idle_per_host(0)
        .build()
}

/// What can be checked without looking a name up: the scheme, no user, no address that is refused.
///
/// # Errors
/// [`AddressError`] with the host.
pub fn check_url(url: &Url, allowed: Allowed) -> Result<(), AddressError> {
    let shown = || AddressError(url.host_str().unwrap_or("the address").to_owned());
    let is_web = matches!(url.scheme(), "http" | "https");
    let is_bare = url.username().is_empty() && url.password().is_none();
    // The parser has turned every notation of an address (0x7f.1, 2130706433) into the usual one.
    let host = url.host_str().ok_or_else(shown)?;
    let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    if !is_web || !is_bare || literal.is_some_and(|address| !allowed(address)) {
        return Err(shown());
    }
    Ok(())
}

/// The allowed addresses of a host, which are to be connected to without asking again.
///
/// # Errors
/// When the name is not known, or leads to no allowed address ([`AddressError`] within).
pub async fn resolve(host: &str, port: u16, allowed: Allowed) -> std::io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await?;
    let kept: Vec<SocketAddr> = found.filter(|address| allowed(address.ip())).collect();
    if kept.is_empty() {
        let error = AddressError(host.to_owned());
        return Err(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            error,
        ));
    }
    Ok(kept)
}

/// The refused address behind a failure, if that is what it was.
pub fn refusal(error: &reqwest::Error) -> Option<&AddressError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        // An error of the file system hides what it was made of from `source`.
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && let Some(refused) = io.get_ref().and_then(|inner| inner.downcast_ref())
        {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

/// Keeps only allowed addresses of a name. The check and the connection see the same addresses.
struct CheckedResolver {
    allowed: Allowed,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.allowed;
        Box::pin(async move {
            let kept = resolve(name.as_str(), 0, allowed).await?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> bool {
        let url = Url::parse(url).expect(url);
        check_url(&url, is_public_address).is_ok()
    }

    #[test]
    fn every_notation_of_an_address_is_seen_through() {
        for host in [
            "127.0.0.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "10.0.0.1",
            "user@8.8.8.8",
            "user:key@8.8.8.8",
        ] {
            assert!(!check(&format!("http://{host}:80/a")), "{host}");
        }
        assert!(!check("ftp://8.8.8.8/") && !check("file:///etc/passwd"));
        assert!(check("http://8.8.8.8/") && check("https://example.com/"));
    }

    #[tokio::test]
    async fn names_of_this_machine_lead_nowhere() {
        let error = resolve("localhost", 80, is_public_address).await;
        assert!(
            error
                .expect_err("it is this machine")
                .to_string()
                .contains("localhost")
        );
        let client = client(is_public_address, Duration::from_secs(2)).expect("a client");
        let error = client.get("http://localhost:1/").send().await;
        assert!(refusal(&error.expect_err("refused")).is_some());
    }
}
