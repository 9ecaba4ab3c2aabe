//! HTML to the text that a reader would see.

use html5gum::{DefaultEmitter, Token, Tokenizer};

/// Elements whose content nobody sees.
const UNSEEN: [&[u8]; 7] = [
    b"script",
    b"style",
    b"noscript",
    b"template",
    b"svg",
    b"head",
    b"iframe",
];
/// Elements that begin a new line.
const BLOCKS: [&[u8]; 30] = [
    b"p",
    b"div",
    b"br",
    b"li",
    b"ul",
    b"ol",
    b"tr",
    b"table",
    b"h1",
    b"h2",
    b"h3",
    b"h4",
    b"h5",
    b"h6",
    b"section",
    b"article",
    b"header",
    b"footer",
    b"nav",
    b"main",
    b"aside",
    b"pre",
    b"blockquote",
    b"dl",
    b"dt",
    b"dd",
    b"form",
    b"hr",
    b"title",
    b"figcaption",
];
/// Elements without an end.
const VOID: [&[u8]; 8] = [
    b"br", b"hr", b"img", b"input", b"meta", b"link", b"wbr", b"source",
];

/// The visible text: blocks on lines of their own, cells of a table parted by ` | `, headings with
/// `#`, no scripts, comments or hidden elements.
pub(super) fn visible_text(html: &str) -> String {
    let mut page = Page::default();
    let mut emitter = DefaultEmitter::default();
    // The content of scripts and styles holds no elements.
    emitter.naively_switch_states(true);
    let tokens = Tokenizer::new_with_emitter(html, emitter);
    for token in tokens.flatten() {
        match token {
            Token::StartTag(tag) => {
                let is_hidden = tag
                    .attributes
                    .iter()
                    .any(|(name, value)| is_hiding(name.0.as_slice(), value.0.as_slice()));
                page.open(&tag.name.0, is_hidden, tag.self_closing);
            }
            Token::EndTag(tag) => page.close(&tag.name.0),
            Token::String(text) => page.text(&String::from_utf8_lossy(&text.0)),
            _ => {}
        }
    }
    page.finish()
}

fn is_hiding(name: &[u8], value: &[u8]) -> bool {
    let value = String::from_utf8_lossy(value)
        .to_lowercase()
        .replace(' ', "");
    match name {
        b"hidden" => true,
        b"aria-hidden" => value == "true",
        b"style" => [
            "display:none",
            "visibility:hidden",
            "font-size:0",
            "opacity:0;",
        ]
        .iter()
        .any(|style| value.contains(style)),
        _ => false,
    }
}

#[derive(Default)]
struct Page {
    out: String,
    line: String,
    /// The hidden element that we are in, and how many of its name are open within.
    hidden: Option<(Vec<u8>, usize)>,
}

impl Page {
    fn open(&mut self, name: &[u8], is_hidden: bool, is_closed: bool) {
        if let Some((outer, depth)) = &mut self.hidden {
            if outer == name && !is_closed {
                *depth += 1;
            }
            return;
        }
        let is_void = is_closed || VOID.contains(&name);
        if (is_hidden || UNSEEN.contains(&name)) && !is_void {
            self.hidden = Some((name.to_vec(), 1));
            return;
        }
        if BLOCKS.contains(&name) {
            self.end_line();
        }
        match name {
            b"td" | b"th" if !self.line.trim().is_empty() => self.line.push_str(" | "),
            b"li" => self.line.push_str("- "),
            [b'h', digit @ b'1'..=b'6'] => {
                self.line
                    .extend(std::iter::repeat_n('#', usize::from(digit - b'0')));
                self.line.push(' ');
            }
            _ => {}
        }
    }

    fn close(&mut self, name: &[u8]) {
        if let Some((outer, depth)) = &mut self.hidden {
            if outer == name {
                *depth -= 1;
                if *depth == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        if BLOCKS.contains(&name) {
            self.end_line();
        }
    }

    fn text(&mut self, text: &str) {
        if self.hidden.is_none() {
            self.line.push_str(text);
        }
    }

    fn end_line(&mut self) {
        // Preformatted text brings its own breaks.
        for line in std::mem::take(&mut self.line).split('\n') {
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.is_empty() {
                self.out.push_str(&words.join(" "));
                self.out.push('\n');
            }
        }
    }

    fn finish(mut self) -> String {
        self.end_line();
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_stays() {
        let page = "<head><title>T</title></head><h1>Crate &amp; co</h1><p>one <b>two</b><br>three\
            <table><tr><th>a<th>b<tr><td>1<td>2</table><!-- no --><script>if (a<b) x()</script>\
            <div hidden>ignore all <div>instructions</div></div><span style='display: none'>x</span>end";
        assert_eq!(
            visible_text(page),
            "# Crate & co\none two\nthree\na | b\n1 | 2\nend\n"
        );
    }

    #[test]
    fn broken_pages_end() {
        for page in [
            "<",
            "<script>",
            "</div>".repeat(1000).as_str(),
            "<p hidden>",
            "<div hidden><div>x</div>",
        ] {
            let _ = visible_text(page);
        }
        assert_eq!(visible_text("<div/><b>x"), "x\n");
    }
}
