//! `cargo xtask picture`: what a terminal showed, as an SVG for the documentation.
//!
//! It reads what `script` records and understands what k25 writes: text, line breaks, the cursor up
//! some lines, the rest of the screen emptied, strong and faint text. So the pictures in the
//! documentation are of real runs:
//!
//! ```text
//! script -qec "k25 swarm --example crates" run.typescript
//! cargo xtask picture run.typescript docs/live.svg --at 0.6       the view in the midst of the run
//! cargo xtask picture run.typescript docs/result.svg              what stands there at the end
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// Characters and lines of a picture.
const COLUMNS: usize = 110;
const LINES: usize = 60;
/// Pixels of a character.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 19.0;
const MARGIN: f64 = 16.0;

/// What to draw.
#[derive(clap::Args)]
pub struct Picture {
    /// What `script` recorded
    recording: PathBuf,
    /// The file to write
    svg: PathBuf,
    /// Which of the views that followed each other, from 0 to 1 [default: the screen at the end]
    #[arg(long)]
    at: Option<f64>,
    /// Leave out lines beyond this many, but for the last ones
    #[arg(long, default_value_t = LINES)]
    lines: usize,
    /// How many of the last lines stay
    #[arg(long, default_value_t = 12)]
    last: usize,
}

/// Draws the picture.
pub fn run(picture: &Picture) -> Result<()> {
    let shown = picture.recording.display();
    let bytes = fs::read(&picture.recording).with_context(|| format!("cannot read {shown}"))?;
    let mut screen = Screen::default();
    screen.write(without_frame(&String::from_utf8_lossy(&bytes)));
    let lines = match picture.at {
        None => screen.lines,
        Some(at) if (0.0..=1.0).contains(&at) && !screen.views.is_empty() => {
            let last = screen.views.len() - 1;
            screen
                .views
                .swap_remove((at * last as f64).round() as usize)
        }
        Some(_) => bail!(
            "{shown} shows no such view\n  hint: --at is from 0 to 1, and the recording of a live view"
        ),
    };
    let lines = shortened(lines, picture.lines, picture.last);
    fs::write(&picture.svg, svg(&lines))?;
    println!("{}: {} lines", picture.svg.display(), lines.len());
    Ok(())
}

/// `script` writes a line of its own before and after.
fn without_frame(text: &str) -> &str {
    let text = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("Script started") => rest,
        _ => text,
    };
    text.find("\nScript done").map_or(text, |end| &text[..end])
}

/// How a character looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Style {
    #[default]
    Plain,
    Bold,
    Dim,
}

type Line = Vec<(char, Style)>;

/// As much of a terminal as k25 uses.
#[derive(Debug, Default)]
struct Screen {
    lines: Vec<Line>,
    row: usize,
    column: usize,
    style: Style,
    /// The screen each time before it was drawn over.
    views: Vec<Vec<Line>>,
}

impl Screen {
    fn write(&mut self, text: &str) {
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '\x1b' => self.obey(&mut rest),
                '\n' => self.row += 1,
                '\r' => self.column = 0,
                '\t' => self.column = (self.column / 8 + 1) * 8,
                character if character.is_control() => {}
                character => self.put(character),
            }
            if character == '\n' {
                self.column = 0;
            }
        }
    }

    fn put(&mut self, character: char) {
        if self.lines.len() <= self.row {
            self.lines.resize(self.row + 1, Line::new());
        }
        let line = &mut self.lines[self.row];
        if line.len() <= self.column {
            line.resize(self.column + 1, (' ', Style::Plain));
        }
        line[self.column] = (character, self.style);
        self.column += 1;
    }

    /// A sequence that begins with ESC. Those that are not known change nothing.
    fn obey(&mut self, rest: &mut std::str::Chars<'_>) {
        if rest.as_str().starts_with('[') {
            rest.next();
        } else {
            return;
        }
        let mut parameters = String::new();
        let end = loop {
            match rest.next() {
                Some(character @ '\x40'..='\x7e') => break character,
                Some(character) => parameters.push(character),
                None => return,
            }
        };
        let number = parameters.parse::<usize>();
        match end {
            'A' => {
                self.views.push(self.lines.clone());
                self.row = self.row.saturating_sub(number.unwrap_or(1));
            }
            'J' => self.lines.truncate(self.row),
            'K' => {
                if let Some(line) = self.lines.get_mut(self.row) {
                    line.truncate(self.column);
                }
            }
            'm' => {
                self.style = match parameters.as_str() {
                    "1" => Style::Bold,
                    "2" => Style::Dim,
                    _ => Style::Plain,
                }
            }
            _ => {}
        }
    }
}

/// Long tables are shown by their beginning and end.
fn shortened(mut lines: Vec<Line>, most: usize, last: usize) -> Vec<Line> {
    if lines.len() <= most || last + 1 >= most {
        return lines;
    }
    let end = lines.split_off(lines.len() - last);
    lines.truncate(most - last - 1);
    lines.push(vec![('…', Style::Dim)]);
    lines.extend(end);
    lines
}

fn svg(lines: &[Line]) -> String {
    let columns = lines
        .iter()
        .map(Vec::len)
        .max()
        .unwrap_or(0)
        .clamp(60, COLUMNS);
    let width = columns as f64 * WIDTH + 2.0 * MARGIN;
    let height = lines.len() as f64 * HEIGHT + 2.0 * MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#14161a\"/>\n"
    );
    for (number, line) in lines.iter().enumerate() {
        let y = MARGIN + HEIGHT * (number as f64 + 0.75);
        let runs = line[..line.len().min(COLUMNS)].chunk_by(|(_, a), (_, b)| a == b);
        let mut column = 0;
        for run in runs {
            let words: String = run.iter().map(|(character, _)| *character).collect();
            let x = MARGIN + column as f64 * WIDTH;
            column += run.len();
            if words.trim().is_empty() {
                continue;
            }
            let style = match run[0].1 {
                Style::Plain => "fill=\"#d8dbe0\"",
                Style::Bold => "fill=\"#ffffff\" font-weight=\"bold\"",
                Style::Dim => "fill=\"#80868f\"",
            };
            let length = run.len() as f64 * WIDTH;
            let _ = writeln!(
                text,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\" xml:space=\"preserve\" {style}>{}</text>",
                escaped(&words)
            );
        }
    }
    text + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(lines: &[Line]) -> Vec<String> {
        let word = |line: &Line| line.iter().map(|(character, _)| *character).collect();
        lines.iter().map(word).collect()
    }

    #[test]
    fn views_that_were_drawn_over_are_kept() {
        let mut screen = Screen::default();
        screen.write("head\r\n\x1b[?7lone\r\n two\r\n\x1b[?7h\x1b[2A\x1b[Jthree\r\n\x1b[1A\x1b[J\x1b[1mend\x1b[0m & <\r\n");
        assert_eq!(words(&screen.lines), ["head", "end & <"]);
        assert_eq!(words(&screen.views[0]), ["head", "one", " two"]);
        assert_eq!(words(&screen.views[1]), ["head", "three"]);
        let drawn = svg(&screen.lines);
        assert!(drawn.contains("font-weight=\"bold\"") && drawn.contains("&amp; &lt;"));
    }

    #[test]
    fn what_script_adds_is_no_part_of_the_picture() {
        let recorded = "Script started on 2026\nhello\nScript done on 2026\n";
        assert_eq!(without_frame(recorded), "hello");
        assert_eq!(without_frame("hello\n"), "hello\n");
    }

    #[test]
    fn long_tables_keep_their_ends() {
        let lines: Vec<Line> = ('a'..='j').map(|name| vec![(name, Style::Plain)]).collect();
        assert_eq!(
            words(&shortened(lines.clone(), 6, 2)),
            ["a", "b", "c", "…", "i", "j"]
        );
        assert_eq!(shortened(lines, 10, 2).len(), 10);
    }
}
