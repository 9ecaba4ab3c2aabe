//! Values as the contract wants them, and whether a quote states a value.

use serde_json::Value;
use thiserror::Error;

use super::{Column, ColumnType};

/// Longest text of a cell, in bytes.
const MAX_VALUE_BYTES: usize = 4_000;

/// Why a value cannot stand in a column. Short, since a model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValueProblem {
    /// Not of the column's type.
    #[error("{found} is no {expected}")]
    Type {
        /// What came.
        found: String,
        /// What the column holds.
        expected: &'static str,
    },
    /// Not one of the allowed values.
    #[error("{found} is none of: {allowed}")]
    NotAllowed {
        /// What came.
        found: String,
        /// The allowed values.
        allowed: String,
    },
    /// A unit that cannot be converted.
    #[error("unit {found} cannot become {expected}")]
    Unit {
        /// What came.
        found: String,
        /// The column's unit.
        expected: String,
    },
    /// More text than a cell holds.
    #[error("the value is longer than {MAX_VALUE_BYTES} bytes")]
    TooLong,
}

/// The value as the column wants it: numbers without separators and in the column's unit, dates as
/// `2026-01-31`, allowed values in their own spelling, text without surrounding blanks. `null` and
/// words for nothing stay or become `null`.
///
/// # Errors
/// See [`ValueProblem`]; nothing is guessed.
pub fn normalise(column: &Column, value: &Value) -> Result<Value, ValueProblem> {
    let text = match value {
        Value::Null => return Ok(Value::Null),
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(_) | Value::Object(_) => return Err(wrong_type(column, value)),
    };
    if text.len() > MAX_VALUE_BYTES {
        return Err(ValueProblem::TooLong);
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let normal = match column.kind {
        ColumnType::Text | ColumnType::Note | ColumnType::Url => Value::String(text.clone()),
        ColumnType::Date => date(&text)
            .map(Value::String)
            .ok_or_else(|| wrong_type(column, value))?,
        ColumnType::Boolean => match text.to_lowercase().as_str() {
            "true" | "yes" => Value::Bool(true),
            "false" | "no" => Value::Bool(false),
            _ => return Err(wrong_type(column, value)),
        },
        ColumnType::Number | ColumnType::Integer => number(column, &text, value)?,
    };
    allowed_spelling(column, normal)
}

fn wrong_type(column: &Column, value: &Value) -> ValueProblem {
    let mut found = value.to_string();
    if let Some((cut, _)) = found.char_indices().nth(60) {
        found.truncate(cut);
        found.push('…');
    }
    ValueProblem::Type {
        found,
        expected: column.kind.as_str(),
    }
}

fn allowed_spelling(column: &Column, value: Value) -> Result<Value, ValueProblem> {
    let Value::String(text) = &value else {
        return Ok(value);
    };
    if column.allowed.is_empty() {
        return Ok(value);
    }
    let same = |allowed: &&String| allowed.to_lowercase() == text.to_lowercase();
    match column.allowed.iter().find(same) {
        Some(spelling) => Ok(Value::String(spelling.clone())),
        None => Err(ValueProblem::NotAllowed {
            found: text.clone(),
            allowed: column.allowed.join(", "),
        }),
    }
}

fn number(column: &Column, text: &str, value: &Value) -> Result<Value, ValueProblem> {
    let (amount, unit) = split_unit(text).ok_or_else(|| wrong_type(column, value))?;
    let amount = in_unit(amount, unit, column.unit.as_deref())?;
    if column.kind == ColumnType::Integer {
        if amount.fract() != 0.0 || amount.abs() > 9e15 {
            return Err(wrong_type(column, value));
        }
        return Ok(Value::from(amount as i64));
    }
    if amount.fract() == 0.0 && amount.abs() < 9e15 {
        return Ok(Value::from(amount as i64));
    }
    Ok(Value::from(amount))
}

/// `1,234.5 MB` as 1234.5 and `MB`; a currency sign before the number is the unit.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let (text, sign) = match text.chars().next() {
        Some(sign @ ('$' | '€' | '£' | '¥')) => (
            text[sign.len_utf8()..].trim(),
            Some(&text[..sign.len_utf8()]),
        ),
        _ => (text, None),
    };
    let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '+' | '_');
    let mut end = text.find(|c| !is_of_number(c)).unwrap_or(text.len());
    // An exponent belongs to the number where digits follow it.
    let rest = &text[end..];
    if end > 0 && rest.starts_with(['e', 'E']) {
        let digits = rest[1..].trim_start_matches(['-', '+']);
        let count = digits.len()
            - digits
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        if count > 0 {
            end += rest.len() - digits.len() + count;
        }
    }
    let digits = plain_digits(&text[..end])?;
    let amount: f64 = digits
        .parse()
        .ok()
        .filter(|amount: &f64| amount.is_finite())?;
    Some((amount, sign.unwrap_or(text[end..].trim())))
}

/// Without separators of thousands. A comma is one only before groups of three digits.
fn plain_digits(text: &str) -> Option<String> {
    let text = text.trim_end_matches(['.', ',']).replace('_', "");
    let Some((first, rest)) = text.split_once(',') else {
        return Some(text);
    };
    let (groups, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let is_group = |group: &str| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit());
    if !groups.split(',').all(is_group) {
        return None;
    }
    let whole = format!("{first}{}", groups.replace(',', ""));
    Some(if fraction.is_empty() {
        whole
    } else {
        format!("{whole}.{fraction}")
    })
}

/// Units of one kind, each with its size.
const UNITS: [&[(&str, f64)]; 6] = [
    &[
        ("b", 1.0),
        ("byte", 1.0),
        ("bytes", 1.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("tb", 1e12),
        ("kib", 1024.0),
        ("mib", 1_048_576.0),
        ("gib", 1_073_741_824.0),
        ("tib", 1_099_511_627_776.0),
    ],
    &[
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("sec", 1.0),
        ("second", 1.0),
        ("seconds", 1.0),
        ("min", 60.0),
        ("minute", 60.0),
        ("minutes", 60.0),
        ("h", 3600.0),
        ("hour", 3600.0),
        ("hours", 3600.0),
        ("d", 86_400.0),
        ("day", 86_400.0),
        ("days", 86_400.0),
    ],
    &[
        ("mm", 1e-3),
        ("cm", 1e-2),
        ("m", 1.0),
        ("metre", 1.0),
        ("metres", 1.0),
        ("km", 1e3),
        ("in", 0.0254),
        ("ft", 0.3048),
        ("mi", 1609.344),
    ],
    &[
        ("mg", 1e-6),
        ("g", 1e-3),
        ("kg", 1.0),
        ("t", 1e3),
        ("lb", 0.453_592_37),
        ("oz", 0.028_349_523_125),
    ],
    &[("%", 0.01), ("percent", 0.01)],
    &[
        ("", 1.0),
        ("thousand", 1e3),
        ("k", 1e3),
        ("million", 1e6),
        ("billion", 1e9),
    ],
];

/// `amount` of the unit `from` in the unit `to`. Without a unit it counts as being in `to`.
fn in_unit(amount: f64, from: &str, to: Option<&str>) -> Result<f64, ValueProblem> {
    let target = to.unwrap_or("");
    let (from_low, to_low) = (from.to_lowercase(), target.to_lowercase());
    if from_low.is_empty() || from_low == to_low {
        return Ok(amount);
    }
    let size = |kind: &&[(&str, f64)], unit: &str| {
        kind.iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, size)| *size)
    };
    for kind in &UNITS {
        if let (Some(from), Some(to)) = (size(kind, &from_low), size(kind, &to_low)) {
            // Twelve digits are beyond what any source states, and hide the noise of the division.
            let converted = amount * from / to;
            return Ok(format!("{converted:.12e}").parse().unwrap_or(converted));
        }
    }
    Err(ValueProblem::Unit {
        found: from.to_owned(),
        expected: to.unwrap_or("no unit").to_owned(),
    })
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A day in one of the unambiguous forms, as `2026-01-31`.
fn date(text: &str) -> Option<String> {
    let text = text.trim();
    let day_part = text.split(['T', ' ']).next().unwrap_or(text);
    let parts: Vec<&str> = day_part.split(['-', '/', '.']).collect();
    if let [year, month, day] = parts[..]
        && year.len() == 4
    {
        return iso(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    }
    // "31 January 2026", "January 31, 2026"
    let words: Vec<String> = text.split([' ', ',']).map(str::to_lowercase).collect();
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|w| !w.is_empty())
        .collect();
    let [a, b, year] = words[..] else {
        return None;
    };
    let month_of = |word: &str| {
        let word = word.trim_end_matches('.');
        let is_it = |month: &&str| *month == word || (word.len() >= 3 && month.starts_with(word));
        MONTHS.iter().position(is_it).map(|index| index as u32 + 1)
    };
    let day_of = |word: &str| {
        word.trim_end_matches(['s', 't', 'h', 'n', 'd', 'r', '.'])
            .parse()
            .ok()
    };
    let (month, day) = match (month_of(a), month_of(b)) {
        (Some(month), _) => (month, day_of(b)?),
        (None, Some(month)) => (month, day_of(a)?),
        (None, None) => return None,
    };
    iso(year.parse().ok()?, month, day)
}

fn iso(year: u32, month: u32, day: u32) -> Option<String> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    ((1..=9999).contains(&year) && (1..=days).contains(&day))
        .then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// Whether `quote` states `value` (as [`normalise`] gave it). Text must stand in it, whatever its
/// case and blanks; one of its numbers or dates must be the value; allowed values, flags and notes
/// may be said in other words.
pub fn is_stated_in(column: &Column, value: &Value, quote: &str) -> bool {
    match (column.kind, value) {
        (_, Value::Null) | (ColumnType::Note | ColumnType::Boolean, _) => true,
        (ColumnType::Number | ColumnType::Integer, _) => states_number(column, value, quote),
        (ColumnType::Date, Value::String(day)) => states_date(day, quote),
        (_, Value::String(_)) if !column.allowed.is_empty() => true,
        (_, Value::String(text)) => {
            let quote = folded(quote);
            // A source may write quotes and backslashes escaped.
            let text = folded(text);
            quote.contains(&text) || folded(&quote.replace('\\', "")).contains(&text)
        }
        _ => false,
    }
}

fn folded(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

fn states_number(column: &Column, value: &Value, quote: &str) -> bool {
    let Some(wanted) = value.as_f64() else {
        return false;
    };
    let is_start = |at: usize| {
        let before = quote[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_digit() || c == '.')
    };
    let starts = quote
        .match_indices(|c: char| c.is_ascii_digit())
        .filter(|(at, _)| is_start(*at));
    starts.take(1_000).any(|(at, _)| {
        let sign = usize::from(quote[..at].ends_with(['-', '$']));
        let amount = amount_at(&quote[at - sign..], column.unit.as_deref());
        amount.is_some_and(|amount| (amount - wanted).abs() <= 1e-9 * wanted.abs().max(1e-300))
    })
}

/// The number that `text` begins with, in `unit`. Where a unit stands behind it, that one counts: "2
/// MB" is no 2 of kilobytes.
fn amount_at(text: &str, unit: Option<&str>) -> Option<f64> {
    let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '_' | '$');
    let end = text.find(|c| !is_of_number(c)).unwrap_or(text.len());
    // The whole of it first, which may have an exponent.
    let word_end = text.find(|c: char| c.is_whitespace() || "\"');]|}".contains(c));
    let whole = &text[..word_end.unwrap_or(text.len())];
    let next = text[end..].trim_start();
    let word_end = next
        .find(|c: char| !c.is_alphabetic() && c != '%')
        .unwrap_or(next.len());
    let (bare, word) = (&text[..end], &next[..word_end]);
    let with_word = format!("{bare} {word}");
    for candidate in [whole, with_word.as_str()] {
        let converted = split_unit(candidate)
            .filter(|(_, found)| !found.is_empty())
            .and_then(|(amount, found)| in_unit(amount, found, unit).ok());
        if converted.is_some() {
            return converted;
        }
    }
    if unit.is_some() && is_unit(word) {
        return None;
    }
    let plain = [whole, bare].into_iter().find_map(split_unit);
    plain.map(|(amount, _)| amount)
}

fn is_unit(word: &str) -> bool {
    let word = word.to_lowercase();
    let mut names = UNITS.iter().flat_map(|kind| kind.iter());
    !word.is_empty() && names.any(|(name, _)| *name == word)
}

fn states_date(day: &str, quote: &str) -> bool {
    if quote.contains(day) {
        return true;
    }
    let words: Vec<&str> = quote.split_whitespace().collect();
    let is_it = |text: &str| {
        let text = text.trim_matches(|c: char| !c.is_alphanumeric());
        date(text).as_deref() == Some(day)
    };
    (0..words.len().min(1_000)).any(|at| {
        is_it(words[at]) || (at + 3 <= words.len() && is_it(&words[at..at + 3].join(" ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::parse_columns;
    use serde_json::json;

    fn column(text: &str) -> Column {
        parse_columns(text).unwrap().remove(0)
    }

    #[test]
    fn values_take_the_contract_s_form() {
        let cases = [
            (
                "a",
                json!("  MIT   OR Apache-2.0 "),
                json!("MIT OR Apache-2.0"),
            ),
            ("a", json!(2021), json!("2021")),
            ("a", json!(""), Value::Null),
            ("a:number", json!("1,234.5"), json!(1234.5)),
            ("a:number[MB]", json!("512 kB"), json!(0.512)),
            ("a:number[MB]", json!(3.0), json!(3)),
            ("a:number[s]", json!("2 min"), json!(120)),
            ("a:number", json!("1.5e3"), json!(1500)),
            ("a:number[$]", json!("$12"), json!(12)),
            ("a:integer", json!("1_000"), json!(1000)),
            ("a:date", json!("3 March 2024"), json!("2024-03-03")),
            ("a:date", json!("Mar 3, 2024"), json!("2024-03-03")),
            ("a:date", json!("2024-03-03T10:00:00Z"), json!("2024-03-03")),
            ("a:boolean", json!("Yes"), json!(true)),
            ("a:enum(Open|Closed)", json!("open"), json!("Open")),
        ];
        for (spec, value, expected) in cases {
            assert_eq!(
                normalise(&column(spec), &value),
                Ok(expected),
                "{spec} {value}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_not_guessed() {
        let cases = [
            ("a:number", json!("about ten")),
            ("a:number[MB]", json!("3 km")),
            ("a:number", json!("1,5")),
            ("a:integer", json!(1.5)),
            ("a:date", json!("03/04/2024")),
            ("a:date", json!("2024-02-30")),
            ("a:boolean", json!("maybe")),
            ("a:enum(x|y)", json!("z")),
            ("a", json!(["list"])),
        ];
        for (spec, value) in cases {
            assert!(normalise(&column(spec), &value).is_err(), "{spec} {value}");
        }
    }

    #[test]
    fn a_quote_states_a_value_or_does_not() {
        let cases = [
            ("a", json!("MIT"), "license = \"MIT\"", true),
            ("a", json!("mit or  apache"), "MIT OR   Apache", true),
            ("a", json!("GPL"), "license = \"MIT\"", false),
            ("a", json!("say \"hi\""), "text: \"say \\\"hi\\\"\"", true),
            (
                "a:number[MB]",
                json!(0.512),
                "it needs 512 kB of disk",
                true,
            ),
            ("a:number[MB]", json!(0.5), "it needs 512 kB of disk", false),
            ("a:number[kB]", json!(2), "size: 2 MB on disk", false),
            ("a:number[kB]", json!(2), "size: 2 hours", false),
            ("a:number", json!(5), "5 million", false),
            ("a:number", json!(1500), "1.5e3;", true),
            ("a:number", json!(1234), "about 1,234 people", true),
            ("a:number", json!(34), "about 1,234 people", false),
            ("a:integer", json!(8), "| 8 |", true),
            ("a:integer", json!(8), "x=18;", false),
            ("a:number", json!(8), "8: eight,", true),
            ("a:date", json!("2024-03-03"), "on 3 March 2024, they", true),
            (
                "a:date",
                json!("2024-03-03"),
                "on 4 March 2024, they",
                false,
            ),
        ];
        for (spec, value, quote, expected) in cases {
            assert_eq!(
                is_stated_in(&column(spec), &value, quote),
                expected,
                "{value} {quote}"
            );
        }
    }
}
