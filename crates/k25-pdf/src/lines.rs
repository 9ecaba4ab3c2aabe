//! Glyphs with positions to lines of text.
//!
//! The order in which a page draws is kept: columns come one after the other then, as their makers
//! meant them. Glyphs on one baseline make a line; gaps become blanks, wide ones a ` | `.

use hayro_cmap::BfString;

use crate::content::Glyph;

/// In sizes of the font: how far a baseline may move within a line (raised figures), what gap is a
/// blank, what gap parts cells, and how far back the next glyph may begin (kerning, accents).
const SAME_LINE: f64 = 0.45;
const BLANK: f64 = 0.16;
const CELL: f64 = 1.6;
const BACK: f64 = 0.6;

const LIGATURES: [(char, &str); 7] = [
    ('\u{fb00}', "ff"),
    ('\u{fb01}', "fi"),
    ('\u{fb02}', "fl"),
    ('\u{fb03}', "ffi"),
    ('\u{fb04}', "ffl"),
    ('\u{fb05}', "st"),
    ('\u{fb06}', "st"),
];

/// The lines of one page.
pub(crate) fn assemble(glyphs: Vec<Glyph>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut last: Option<Glyph> = None;
    for glyph in glyphs {
        if let Some(last) = &last {
            match gap(last, &glyph) {
                Gap::None => {}
                Gap::Blank => push_blank(&mut line, " "),
                Gap::Cell => push_blank(&mut line, " | "),
                Gap::Line => finish(&mut line, &mut lines),
            }
        }
        match &glyph.text {
            BfString::Char(c) => line.push(*c),
            BfString::String(text) => line.push_str(text),
        }
        last = Some(glyph);
    }
    finish(&mut line, &mut lines);
    lines
}

enum Gap {
    None,
    Blank,
    Cell,
    Line,
}

fn gap(last: &Glyph, next: &Glyph) -> Gap {
    let size = last.size.max(next.size);
    let down = (next.y - last.end.y).abs();
    let right = next.x - last.end.x;
    if down > SAME_LINE * size || right < -BACK * size {
        return Gap::Line;
    }
    match right / size {
        gap if gap > CELL => Gap::Cell,
        gap if gap > BLANK => Gap::Blank,
        _ => Gap::None,
    }
}

fn push_blank(line: &mut String, blank: &str) {
    if blank == " " && line.ends_with(' ') {
        return;
    }
    if blank != " " {
        line.truncate(line.trim_end().len());
    }
    line.push_str(blank);
}

/// Control characters, which some fonts claim to show, are blanks; runs of blanks are one; ligatures
/// are the letters that people search for.
fn finish(line: &mut String, lines: &mut Vec<String>) {
    let mut clean = String::with_capacity(line.len());
    for c in line.chars() {
        match LIGATURES.iter().find(|(ligature, _)| *ligature == c) {
            Some((_, letters)) => clean.push_str(letters),
            None if c.is_control() => clean.push(' '),
            None => clean.push(c),
        }
    }
    let words: Vec<&str> = clean.split_whitespace().collect();
    if !words.is_empty() {
        lines.push(words.join(" "));
    }
    line.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, x: f64, y: f64) -> Vec<Glyph> {
        let place = |(index, c): (usize, char)| Glyph {
            text: BfString::Char(c),
            x: x + 5.0 * index as f64,
            y,
            end: (x + 5.0 * (index + 1) as f64, y).into(),
            size: 10.0,
        };
        text.chars().enumerate().map(place).collect()
    }

    #[test]
    fn gaps_say_what_belongs_together() {
        let page = [
            word("one", 0.0, 100.0),
            word("two", 18.0, 100.0),
            word("3", 33.0, 103.5),
            word("cell", 100.0, 100.0),
            word("next", 0.0, 88.0),
            word("column", 300.0, 100.0),
        ];
        assert_eq!(
            assemble(page.concat()),
            ["one two3 | cell", "next", "column"]
        );
        assert!(assemble(Vec::new()).is_empty());
        assert!(assemble(word("\u{1}\u{2} ", 0.0, 0.0)).is_empty());
    }
}
