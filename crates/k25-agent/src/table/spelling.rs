//! What a line says of a value that an agent has written a little differently.

/// How a line spells a text that has other joints or other case: `tokio-macros` for `tokio_macros`. `None` where it does
/// not say it, or as a part of a longer word.
pub(super) fn as_spelled<'a>(text: &str, line: &'a str) -> Option<&'a str> {
    let (plain_text, plain_line) = (plain(text), plain(line));
    let is_part = |c: char| c.is_alphanumeric() || "-_".contains(c);
    let mut places = plain_line.match_indices(&plain_text);
    let (at, _) = places.find(|(at, found)| {
        let before = line[..*at].chars().next_back();
        let behind = line[at + found.len()..].chars().next();
        !plain_text.is_empty() && !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    })?;
    Some(&line[at..at + text.len()])
}

/// The same text, byte by byte, with one kind of joint and without ASCII capitals.
fn plain(text: &str) -> String {
    let one = |c: char| match c {
        '_' | ' ' => '-',
        c => c.to_ascii_lowercase(),
    };
    text.chars().map(one).collect()
}

/// The whole of an address of which a line states more than the text has; `None` where the text is no address, or whole.
pub(super) fn whole_address<'a>(text: &str, line: &'a str) -> Option<&'a str> {
    let rest = &line[line.find(text).filter(|_| is_address(text))?..];
    let ends = |c: char| c.is_whitespace() || "\"'`<>()[]{}|\\,;".contains(c);
    let whole = &rest[..rest.find(ends).unwrap_or(rest.len())];
    let whole = whole.trim_end_matches(['.', ':', '!', '?', '*']);
    (whole.len() > text.len()).then_some(whole)
}

/// An address without the slash at its end, where a line ends it so: `https://a.org/b` for `https://a.org/b/`.
pub(super) fn without_slash<'a>(text: &'a str, line: &str) -> Option<&'a str> {
    let shorter = text.strip_suffix('/').filter(|text| is_address(text))?;
    let is_there = line.contains(shorter) && whole_address(shorter, line).is_none();
    is_there.then_some(shorter)
}

fn is_address(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// The words of a text in small letters.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Whether a line's key is the column's name, as in `rust-version = "1.61"`.
pub(super) fn is_key(column: &str, line: &str) -> bool {
    let key = line.split_once([':', '=']).map(|(key, _)| words(key));
    key.is_some_and(|key| key == words(column))
}

/// Whether a line states a text as all that a column is, as in `version = "1.2"`.
pub(super) fn is_entry(column: &str, text: &str, line: &str) -> bool {
    let around = |c: char| c.is_whitespace() || "\"',;".contains(c);
    let value = line.split_once([':', '=']).map(|(_, value)| value);
    is_key(column, line) && value.is_some_and(|value| value.trim_matches(around) == text)
}

/// How closely a line names a column: the number of words of its name if all of them stand there, else 0.
pub(super) fn naming(column: &str, line: &str) -> usize {
    let (name, line) = (words(column), words(line));
    match name.iter().all(|word| line.contains(word)) {
        true => name.len(),
        false => 0,
    }
}

/// The whole of a name of which the text is a part: `libxcb-render0` for `libxcb-render`. `None` where the line has the text
/// as a name of its own, or not at all.
pub(super) fn whole_name<'a>(text: &str, line: &'a str) -> Option<&'a str> {
    let is_part = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
    let around = |at: usize| {
        let before = line[..at].trim_end_matches(is_part).len();
        let rest = &line[at + text.len()..];
        let behind = line.len() - rest.trim_start_matches(is_part).len();
        line[before..behind].trim_end_matches(['.', '-', '+'])
    };
    let mut wholes = line.match_indices(text).map(|(at, _)| around(at));
    let first = wholes.next()?;
    let is_own = first == text || wholes.any(|whole| whole == text);
    (!is_own && first.len() > text.len() && !text.is_empty()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_joints_and_case_are_the_lines() {
        let line = "name = \"tokio-macros\"";
        assert_eq!(as_spelled("tokio_macros", line), Some("tokio-macros"));
        assert_eq!(as_spelled("Tokio Macros", line), Some("tokio-macros"));
        assert_eq!(as_spelled("São_Paulo", "in São Paulo."), Some("São Paulo"));
        for (text, line) in [
            ("tokio_macro", line),
            ("tokiomacros", line),
            ("tokio_macros", "tokio-macros-2"),
            ("", line),
            ("2021", "20-21"),
        ] {
            assert_eq!(as_spelled(text, line), None, "{text} in {line}");
        }
    }

    #[test]
    fn an_address_is_taken_as_far_as_it_stands_there() {
        let line = "repository = \"https://a.org/b/tree/c\"";
        assert_eq!(
            whole_address("https://a.org/b/", line),
            Some("https://a.org/b/tree/c")
        );
        assert_eq!(whole_address("https://a.org/b/tree/c", line), None);
        assert_eq!(whole_address("a.org", line), None);
        let sentence = "See (https://a.org/b/c).";
        assert_eq!(
            whole_address("https://a.org", sentence),
            Some("https://a.org/b/c")
        );
        assert_eq!(whole_address("https://a.org", "at https://a.org."), None);
        assert_eq!(whole_address("https://a.org/", "b,https://a.org/,7"), None);
    }

    #[test]
    fn an_address_loses_a_slash_that_its_line_has_not() {
        let line = "repository = \"https://a.org/b\"";
        let without = |text| without_slash(text, line);
        assert_eq!(without("https://a.org/b/"), Some("https://a.org/b"));
        for text in ["https://a.org/", "https://a.org/b", "a.org/b/", "/"] {
            assert_eq!(without(text), None, "{text}");
        }
    }

    #[test]
    fn an_entry_states_one_value_and_no_more() {
        for line in ["version = \"1.2\"", "Version: 1.2", "\"version\": \"1.2\","] {
            assert!(is_entry("version", "1.2", line), "{line}");
            assert!(!is_entry("rust-version", "1.2", line), "{line}");
        }
        assert!(!is_entry("city", "France", "city: Paris, France"));
    }

    #[test]
    fn a_name_is_taken_whole() {
        let line = "Package: libxcb-render0";
        assert_eq!(whole_name("libxcb-render", line), Some("libxcb-render0"));
        assert_eq!(whole_name("xcb", line), Some("libxcb-render0"));
        assert_eq!(whole_name("a.b", "it is a.b.c."), Some("a.b.c"));
        for (text, line) in [
            ("libxcb-render0", line),
            ("serde", "serde-rs/serde"),
            ("Halden", "# Halden Bridge"),
            ("serde", "by serde."),
            ("other", line),
            ("", line),
        ] {
            assert_eq!(whole_name(text, line), None, "{text} in {line}");
        }
    }

    #[test]
    fn a_line_names_a_column_with_all_its_words() {
        let line = "rust-version = \"1.70\"";
        assert_eq!(naming("rust-version", line), 2);
        assert_eq!(naming("Version", line), 1);
        assert_eq!(naming("rust_version", "version = \"1\""), 0);
    }
}
