//! Which form a file has, by its first bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Purpose;
use crate::error::ApiError;

const HEAD_BYTES: u64 = 64;

/// Beginnings that tell a form: where they stand, and what it is called.
const FORMS: &[(usize, &[u8], &str)] = &[
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp3g", "video/3gpp"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"FLV", "video/x-flv"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-wmv"),
    (0, b"\x00\x00\x01\xba", "video/mpeg"),
    (0, b"\x00\x00\x01\xb3", "video/mpeg"),
    (0, b"%PDF-", "application/pdf"),
];

/// Where nothing tells.
const UNKNOWN: &str = "application/octet-stream";

/// Endings of texts that are more than plain.
const TEXTS: &[(&str, &str)] = &[
    ("md", "text/markdown"),
    ("markdown", "text/markdown"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("csv", "text/csv"),
    ("tsv", "text/tab-separated-values"),
    ("json", "application/json"),
    ("xml", "application/xml"),
];

/// The form that these first bytes tell.
pub(crate) fn media_type(head: &[u8]) -> &'static str {
    let begins = |(at, bytes, _): &&(usize, &[u8], &str)| {
        head.get(*at..).is_some_and(|rest| rest.starts_with(bytes))
    };
    let form = FORMS.iter().find(begins);
    form.map_or(UNKNOWN, |(_, _, name)| name)
}

/// The form of a text, by its name's ending.
fn text_type(path: &Path) -> &'static str {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let ending = ending.to_ascii_lowercase();
    let form = TEXTS.iter().find(|(known, _)| *known == ending);
    form.map_or("text/plain", |(_, name)| name)
}

/// The file's form, if it is one for this purpose.
pub(super) fn check(path: &Path, purpose: Purpose) -> Result<&'static str, ApiError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.map_err(|error| super::broken(&error.to_string()))?;
    let form = media_type(&head);
    let (wanted, hint) = match purpose {
        Purpose::Image => ("image/", "send a PNG, JPEG, WebP, GIF or BMP"),
        Purpose::Video => (
            "video/",
            "send an MP4, MOV, WebM, AVI, FLV, WMV, MPEG or 3GPP",
        ),
        Purpose::FileExtract if form != UNKNOWN => return Ok(form),
        // What has text and no beginning that tells is text itself.
        Purpose::FileExtract => return Ok(text_type(path)),
    };
    if form.starts_with(wanted) {
        return Ok(form);
    }
    Err(ApiError {
        param: Some("file".to_owned()),
        ..ApiError::invalid(format!(
            "file: no {}; hint: {hint}",
            wanted.trim_end_matches('/')
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_tell_forms() {
        assert_eq!(media_type(b"\x89PNG\r\n\x1a\n...."), "image/png");
        assert_eq!(media_type(b"RIFF....WEBPVP8 "), "image/webp");
        assert_eq!(media_type(b"....ftypisom"), "video/mp4");
        assert_eq!(media_type(b"....ftypqt  "), "video/quicktime");
        assert_eq!(media_type(b""), "application/octet-stream");
        assert_eq!(media_type(b"hello"), "application/octet-stream");
    }

    #[test]
    fn names_tell_forms_of_texts() {
        let folder = tempfile::tempdir().expect("a folder");
        let checked = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            check(&path, Purpose::FileExtract).expect("any form has a name")
        };
        assert_eq!(checked("a.MD", b"# a"), "text/markdown");
        assert_eq!(checked("a.csv", b"a,b"), "text/csv");
        assert_eq!(checked("a.rs", b"fn main() {}"), "text/plain");
        assert_eq!(checked("README", b"hello"), "text/plain");
        assert_eq!(
            checked("a.md", b"%PDF-1.7"),
            "application/pdf",
            "bytes tell first"
        );
    }
}
