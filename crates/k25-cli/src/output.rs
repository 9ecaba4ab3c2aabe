//! How things are printed: numbers, sizes, tables, errors, and what a terminal gets that a pipe does
//! not.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// Begins faint text on a terminal.
const DIM: &str = "\x1b[2m";
/// Begins strong text on a terminal.
const BOLD: &str = "\x1b[1m";
/// Ends either.
const PLAIN: &str = "\x1b[0m";
/// Goes to the line's beginning and empties it.
const CLEAR_LINE: &str = "\r\x1b[K";

/// What the reader of our output can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// A person looks at it.
    pub is_terminal: bool,
    /// Faint and strong text may be used.
    pub has_style: bool,
    /// What was written can be written over.
    pub redraws: bool,
}

impl Screen {
    /// Standard output.
    pub fn stdout() -> Self {
        Self::of(io::stdout().is_terminal())
    }

    /// Standard error.
    pub fn stderr() -> Self {
        Self::of(io::stderr().is_terminal())
    }

    fn of(is_terminal: bool) -> Self {
        let asks_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_terminal,
            has_style: is_terminal && !asks_for_none && !is_dumb,
            redraws: is_terminal && !is_dumb,
        }
    }

    /// How many characters fit into a line, where a person looks at it.
    pub fn width(self) -> Option<usize> {
        self.size().map(|(width, _)| width)
    }

    /// Characters in a line, and lines.
    pub fn size(self) -> Option<(usize, usize)> {
        let size =
            || terminal_size::terminal_size_of(io::stderr()).or_else(terminal_size::terminal_size);
        let usual = (100, 30);
        self.is_terminal.then(|| {
            size().map_or(usual, |(width, height)| {
                (usize::from(width.0), usize::from(height.0))
            })
        })
    }

    /// What begins faint text here.
    pub fn dim(self) -> &'static str {
        if self.has_style { DIM } else { "" }
    }

    /// What begins strong text here.
    pub fn bold(self) -> &'static str {
        if self.has_style { BOLD } else { "" }
    }

    /// What ends either.
    pub fn plain(self) -> &'static str {
        if self.has_style { PLAIN } else { "" }
    }

    /// Text that we did not write, as it can be shown here: a terminal gets no control characters
    /// but line breaks and tabs, since they could move the cursor or change its settings.
    pub fn foreign(self, text: &str) -> Cow<'_, str> {
        if self.is_terminal {
            without_controls(text)
        } else {
            Cow::Borrowed(text)
        }
    }
}

fn without_controls(text: &str) -> Cow<'_, str> {
    let is_harmful = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if text.contains(is_harmful) {
        Cow::Owned(text.replace(is_harmful, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Prints an error: the headline, what is known about it, what to do.
pub fn print_error(error: &anyhow::Error) {
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(io::stderr(), "error: {}", error_text(&error.to_string()));
}

/// Rooms write a hint behind a semicolon or on a line of its own; people see it in one form.
fn error_text(message: &str) -> String {
    let message = message.replace("; hint: ", "\n  hint: ");
    let lines = message
        .split('\n')
        .map(|line| match line.trim_start().strip_prefix("hint: ") {
            Some(hint) => format!(
                "{}hint     {hint}",
                &line[..line.len() - "hint: ".len() - hint.len()]
            ),
            None => line.to_owned(),
        });
    without_controls(&lines.collect::<Vec<_>>().join("\n")).into_owned()
}

/// A line on standard error that goes away when the work is done; only a terminal that can redraw it gets
/// it.
pub struct Status {
    screen: Screen,
}

impl Status {
    /// Shows what is going on.
    pub fn show(text: &str) -> Self {
        let status = Self {
            screen: Screen::stderr(),
        };
        status.update(text);
        status
    }

    /// Shows something else.
    pub fn update(&self, text: &str) {
        if self.screen.redraws {
            let mut stderr = io::stderr();
            let _ = write!(stderr, "{CLEAR_LINE}{text}");
            let _ = stderr.flush();
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.update("");
    }
}

/// A whole number with its digits in groups of three: `208 550`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes as disks and downloads count them: `554.3 GB`.
pub fn bytes(count: u64) -> String {
    scaled(count, &[" bytes", " kB", " MB", " GB", " TB"])
}

/// A number of parameters as people say it: `4.4 M`.
pub fn count(count: u64) -> String {
    scaled(count, &["", " k", " M", " B"])
}

/// A number in the largest unit that leaves at least one; one digit behind the point.
fn scaled(count: u64, units: &[&str]) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    // From here on the rounded text would begin with 1000.
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let tenths = (value * 10.0).round() as u64;
    let whole = grouped(tenths / 10);
    if unit == 0 {
        format!("{whole}{}", units[0])
    } else {
        format!("{whole}.{}{}", tenths % 10, units[unit])
    }
}

/// Writes JSON for people and programs: indented, with a line break at the end.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let text = serde_json::to_string_pretty(value)?;
    writeln!(stdout, "{text}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1 000"),
            (208_550, "208 550"),
            (1_234_567, "1 234 567"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(bytes(999_949), "999.9 kB");
        assert_eq!(bytes(999_950), "1.0 MB");
        assert_eq!(bytes(1_026_400_000_000_000), "1 026.4 TB");
        assert_eq!(bytes(554_300_000_000), "554.3 GB");
        assert_eq!(bytes(12), "12 bytes");
        assert_eq!(count(4_404_096), "4.4 M");
    }

    #[test]
    fn hints_have_one_form() {
        for message in [
            "broken; hint: mend it",
            "broken\n  hint: mend it",
            "broken\n  hint     mend it",
        ] {
            assert_eq!(error_text(message), "broken\n  hint     mend it");
        }
        assert_eq!(error_text("a\n  b\n    hint: c"), "a\n  b\n    hint     c");
    }

    #[test]
    fn strangers_do_not_steer_the_terminal() {
        assert_eq!(without_controls("a\x1b[2Jb\tc\n"), "a\u{fffd}[2Jb\tc\n");
        let terminal = Screen {
            is_terminal: true,
            has_style: false,
            redraws: true,
        };
        assert_eq!(terminal.foreign("\x07"), "\u{fffd}");
        let pipe = Screen {
            is_terminal: false,
            has_style: false,
            redraws: false,
        };
        assert_eq!(
            pipe.foreign("\x07"),
            "\x07",
            "a pipe gets the text as it is"
        );
    }
}
