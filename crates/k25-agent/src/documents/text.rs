//! Bytes of a file as text that a model may read.

use super::html;

/// The text of a file, or `None` if it is none. HTML becomes its visible text.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        _ if bytes.contains(&0) => return None,
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            // Old western files; whoever has more bytes than that above 127 is not text.
            Err(_) if is_mostly_ascii(bytes) => {
                bytes.iter().map(|&byte| char::from(byte)).collect()
            }
            Err(_) => return None,
        },
    };
    let lower = name.to_lowercase();
    let is_html = [".html", ".htm", ".xhtml"]
        .iter()
        .any(|end| lower.ends_with(end));
    let text = if is_html {
        html::visible_text(&text)
    } else {
        text
    };
    Some(without_hidden(&text))
}

/// Whether the bytes say that they are a PDF; some files begin with a few others.
pub(super) fn is_pdf(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1_024)];
    head.windows(5).any(|window| window == b"%PDF-")
}

fn is_mostly_ascii(bytes: &[u8]) -> bool {
    let foreign = bytes.iter().filter(|&&byte| byte >= 0x80).count();
    let controls = bytes.iter().filter(|&&byte| byte < 9).count();
    foreign * 5 < bytes.len() && controls == 0
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).collect::<Result<_, _>>().ok()
}

/// Without characters that a person would not see but a model would read: zero-width ones,
/// directions, tags; other controls become blanks.
pub fn without_hidden(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let seen = |c: char| match c {
        '\n' | '\t' => Some(c),
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' => None,
        '\u{feff}' | '\u{ad}' | '\u{e0000}'..='\u{e007f}' => None,
        c if c.is_control() => Some(' '),
        c => Some(c),
    };
    text.chars().filter_map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_go_and_encodings_are_read() {
        assert_eq!(
            decode("a", "a\u{200b}b\u{202e}c\x1b[2J\r\nd".as_bytes()).unwrap(),
            "abc [2J\nd"
        );
        assert_eq!(decode("a", b"\xff\xfeh\0i\0").unwrap(), "hi");
        assert_eq!(decode("a", b"caf\xe9 and more").unwrap(), "café and more");
        assert_eq!(decode("a", b"\x7fELF\0"), None);
        assert_eq!(decode("a.HTML", b"<p>x<script>y</script>").unwrap(), "x\n");
    }
}
