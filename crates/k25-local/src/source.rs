//! Where a picture or a film lies: a path, a `file://` address, or the bytes themselves in a
//! `data:` URI (RFC 2397, RFC 8089). Nothing here reaches out to a network.

use std::path::PathBuf;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

/// Base64 as people send it: with or without the padding at its end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Most characters of an address that a message repeats.
const SHOWN_CHARACTERS: usize = 80;

/// The place or the content of a medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaSource {
    /// A file on this machine.
    File(PathBuf),
    /// The encoded picture or film itself.
    Bytes(Vec<u8>),
}

/// An address that leads to no picture or film.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SourceError {
    /// Nothing was given.
    #[error("it has no address\n  hint: give a path, a file:// address or a data: URI")]
    Absent,
    /// It lies on another machine.
    #[error("{address} is on another machine\n  hint: download it and give the path of the file")]
    Remote {
        /// The address, shortened.
        address: String,
    },
    /// An address of another kind.
    #[error(
        "{address} is no address of a file\n  hint: give a path, a file:// address or a data: URI"
    )]
    Scheme {
        /// The address, shortened.
        address: String,
    },
    /// A file's address with characters that make no path.
    #[error(
        "{address} is no path: {reason}\n  hint: write it as file:///path/to/file, blanks as %20"
    )]
    FileAddress {
        /// The address, shortened.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A `data:` URI that does not hold what it should.
    #[error("the data: URI cannot be read: {reason}\n  hint: write it as data:image/png;base64,…")]
    Data {
        /// What is wrong with it.
        reason: String,
    },
    /// A `data:` URI with more content than is read.
    #[error(
        "the data: URI holds more than the {limit} bytes that are read\n  hint: give a smaller file"
    )]
    DataTooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// A file's path, where files may not be read.
    #[error(
        "{address} is a file on this machine, and files are not read here\n  \
         hint: send the content itself as a data: URI"
    )]
    FileRefused {
        /// The address, shortened.
        address: String,
    },
}

impl MediaSource {
    /// Reads an address as a client wrote it; of a `data:` URI at most `limit` bytes.
    ///
    /// # Errors
    /// If it is no address, or one of another machine.
    pub fn parse(address: &str, limit: usize) -> Result<Self, SourceError> {
        let scheme = address
            .split_once(':')
            .map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        match scheme {
            _ if address.is_empty() => Err(SourceError::Absent),
            Some((scheme, rest)) if scheme == "data" => Ok(Self::Bytes(data_uri(rest, limit)?)),
            Some((scheme, rest)) if scheme == "file" && rest.starts_with("//") => {
                let fault = |reason| SourceError::FileAddress {
                    address: shortened(address),
                    reason,
                };
                Ok(Self::File(file_path(rest).map_err(fault)?))
            }
            Some((scheme, rest)) if rest.starts_with("//") && is_scheme(&scheme) => {
                let address = shortened(address);
                Err(match scheme.as_str() {
                    "http" | "https" => SourceError::Remote { address },
                    _ => SourceError::Scheme { address },
                })
            }
            _ => Ok(Self::File(PathBuf::from(address))),
        }
    }
}

/// What a message calls an address: its beginning, without a `data:` URI's content.
pub(crate) fn shortened(address: &str) -> String {
    let head = match address.split_once(',') {
        Some((head, _))
            if head
                .get(..5)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) =>
        {
            head
        }
        _ => address,
    };
    let mut shown: String = head
        .chars()
        .take(SHOWN_CHARACTERS)
        .flat_map(char::escape_debug)
        .collect();
    if head.len() < address.len() || head.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The content of a `data:` URI, given without its scheme.
fn data_uri(rest: &str, limit: usize) -> Result<Vec<u8>, SourceError> {
    let fault = |reason: &str| SourceError::Data {
        reason: reason.to_owned(),
    };
    let (kind, content) = rest
        .split_once(',')
        .ok_or_else(|| fault("it has no comma before its content"))?;
    let is_base64 = kind
        .rsplit(';')
        .next()
        .is_some_and(|last| last.eq_ignore_ascii_case("base64"));
    if !is_base64 {
        return Err(fault("it is not marked as base64"));
    }
    if content.len() / 4 * 3 > limit {
        return Err(SourceError::DataTooLarge { limit });
    }
    BASE64.decode(content).map_err(|error| SourceError::Data {
        reason: error.to_string(),
    })
}

/// The path of a `file:` address, given from its two slashes on.
fn file_path(rest: &str) -> Result<PathBuf, &'static str> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (host, path) = rest.split_at(rest.find('/').ok_or("it has no path")?);
    if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
        return Err("it names another machine");
    }
    let bytes =
        percent_decoded(path.as_bytes()).ok_or("a % is not followed by two hexadecimal digits")?;
    String::from_utf8(bytes)
        .map(PathBuf::from)
        .map_err(|_| "it is not UTF-8")
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digit = |at: usize| {
            after
                .get(at)
                .and_then(|&byte| char::from(byte).to_digit(16))
        };
        bytes.push((digit(0)? * 16 + digit(1)?) as u8);
        rest = &after[2..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> Result<MediaSource, SourceError> {
        MediaSource::parse(address, 100)
    }

    #[test]
    fn paths_and_addresses_lead_to_files() {
        let file = |path: &str| Ok(MediaSource::File(PathBuf::from(path)));
        assert_eq!(parse("cat.png"), file("cat.png"));
        assert_eq!(parse("odd:name.png"), file("odd:name.png"));
        assert_eq!(parse("file:///a/b%20c.png"), file("/a/b c.png"));
        assert_eq!(parse("FILE://localhost/a"), file("/a"));
    }

    #[test]
    fn data_uris_are_their_content() {
        let bytes = Ok(MediaSource::Bytes(b"hi".to_vec()));
        assert_eq!(parse("data:image/png;base64,aGk="), bytes);
        assert_eq!(parse("data:;base64,aGk"), bytes, "padding may be left out");
        assert_eq!(parse("DATA:image/png;charset=x;BASE64,aGk="), bytes);
    }

    #[test]
    fn what_is_no_file_is_refused_with_a_way_out() {
        let cases = [
            ("", "no address"),
            ("http://example.org/a.png", "another machine"),
            ("HTTPS://example.org/a.png", "another machine"),
            ("s3://bucket/a.png", "no address of a file"),
            ("file://elsewhere/a.png", "another machine"),
            ("file://nothing", "no path"),
            ("file:///a%2", "two hexadecimal digits"),
            ("file:///a%zz", "two hexadecimal digits"),
            ("file:///%ff", "not UTF-8"),
            ("data:image/png", "no comma"),
            ("data:image/png,hello", "not marked as base64"),
            ("data:image/png;base64,a*", "Invalid"),
        ];
        for (address, expected) in cases {
            let message = parse(address).expect_err(address).to_string();
            assert!(
                message.contains(expected) && message.contains("hint:"),
                "{address}: {message}"
            );
        }
        let large = format!("data:;base64,{}", "A".repeat(200));
        assert_eq!(parse(&large), Err(SourceError::DataTooLarge { limit: 100 }));
    }

    #[test]
    fn messages_do_not_repeat_content_or_control_the_terminal() {
        assert_eq!(
            shortened("data:image/png;base64,AAAA"),
            "data:image/png;base64…"
        );
        assert_eq!(shortened("a\u{1b}[2J"), "a\\u{1b}[2J");
        assert_eq!(
            shortened(&"x".repeat(500)).chars().count(),
            SHOWN_CHARACTERS + 1
        );
    }
}
