//! How two values are made alike and compared.

use std::collections::BTreeSet;

use serde::Deserialize;

/// Days that two dates may be apart.
const NEAR_DAYS: i64 = 31;

/// A step before the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preprocess {
    /// Small letters, no blanks, no `*`.
    NormStr,
    /// The first number, without commas; `NULL` if there is none.
    ExtractNumber,
    /// A date as `2026-01-31`; what is none stays.
    NormDate,
}

impl Preprocess {
    /// The value after this step.
    pub fn apply(self, value: &str) -> String {
        match self {
            Preprocess::NormStr => value.to_lowercase().trim().replace([' ', '*'], ""),
            Preprocess::ExtractNumber => first_number(&value.replace(',', "")),
            Preprocess::NormDate => match date_of(value) {
                Some((year, month, day)) => format!("{year:04}-{month:02}-{day:02}"),
                None => value.to_owned(),
            },
        }
    }
}

/// A comparison of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Equal but for case.
    ExactMatch,
    /// The answer stands in the truth.
    InMatch,
    /// The same hosts.
    UrlMatch,
    /// Within a part of the true number.
    NumberNear,
    /// Within 31 days.
    DateNear,
    /// A judge says.
    LlmJudge,
}

impl Metric {
    /// The score of those that need no criterion; the others have 0.
    pub(super) fn score(self, said: &str, meant: &str) -> f64 {
        let is_right = match self {
            Metric::ExactMatch => said.to_lowercase() == meant.to_lowercase(),
            Metric::InMatch => meant.contains(said),
            Metric::UrlMatch => hosts(said) == hosts(meant),
            Metric::DateNear => match (date_of(said), date_of(meant)) {
                (Some(said), Some(meant)) => {
                    (day_number(said) - day_number(meant)).abs() <= NEAR_DAYS
                }
                (None, None) => true,
                _ => false,
            },
            Metric::NumberNear | Metric::LlmJudge => false,
        };
        f64::from(is_right)
    }
}

/// Whether the answer's number is within `tolerance` × the true one of it.
pub(super) fn number_near(said: &str, meant: &str, tolerance: f64) -> f64 {
    f64::from(match (number(said), number(meant)) {
        (Some(said), Some(meant)) => (said - meant).abs() <= meant.abs() * tolerance,
        (None, None) => said == meant,
        _ => false,
    })
}

fn number(text: &str) -> Option<f64> {
    if text.contains('%') {
        return text
            .replace('%', "")
            .trim()
            .parse()
            .ok()
            .map(|n: f64| n / 100.0);
    }
    text.trim().parse().ok()
}

/// The first of: digits with a point, or digits; with a sign before and a `%` behind.
fn first_number(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    for start in 0..bytes.len() {
        let signed = usize::from(matches!(bytes[start], b'-' | b'+'));
        let mut end = start + signed;
        while is_digit(end) {
            end += 1;
        }
        let has_whole = end > start + signed;
        if bytes.get(end) == Some(&b'.') && (is_digit(end + 1) || has_whole) {
            end += 1;
            while is_digit(end) {
                end += 1;
            }
        } else if !has_whole {
            continue;
        }
        end += usize::from(bytes.get(end) == Some(&b'%'));
        return text[start..end].to_owned();
    }
    "NULL".to_owned()
}

fn hosts(text: &str) -> BTreeSet<&str> {
    let starts = text.match_indices("http").filter_map(|(at, _)| {
        let rest = &text[at + 4..];
        rest.strip_prefix("s://")
            .or_else(|| rest.strip_prefix("://"))
    });
    let host = |rest: &'_ str| {
        rest.find(|c: char| matches!(c, '/' | '?' | '#') || c.is_whitespace() || c == '"')
            .unwrap_or(rest.len())
    };
    starts
        .map(|rest| &rest[..host(rest)])
        .filter(|host| !host.is_empty())
        .collect()
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

/// Year, month and day of `2026-01-31`, `2026/1/31`, `31 January 2026`, `Jan 31, 2026`; without a day
/// (`2026-01`, `January 2026`) the first of the month.
pub fn date_of(text: &str) -> Option<(i64, u32, u32)> {
    let text = text.trim().to_lowercase();
    let words: Vec<&str> = text
        .split([' ', ',', '-', '/', '.'])
        .filter(|w| !w.is_empty())
        .collect();
    let month_of = |word: &str| {
        let is_it = |month: &&str| word.len() >= 3 && month.starts_with(word);
        MONTHS.iter().position(is_it).map(|index| index as u32 + 1)
    };
    let number = |word: &str| {
        word.trim_end_matches(|c: char| c.is_alphabetic())
            .parse::<u32>()
            .ok()
    };
    let is_year = |word: &&str| word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit());
    let (year, month, day) = match words[..] {
        [year, month, day] if is_year(&year) => (
            year,
            month_of(month).or_else(|| number(month))?,
            number(day)?,
        ),
        [year, month] if is_year(&year) => (year, month_of(month).or_else(|| number(month))?, 1),
        [month, year] if is_year(&year) => (year, month_of(month)?, 1),
        [a, b, year] if is_year(&year) => match (month_of(a), month_of(b)) {
            (Some(month), _) => (year, month, number(b)?),
            (None, Some(month)) => (year, month, number(a)?),
            (None, None) => return None,
        },
        _ => return None,
    };
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    is_date.then_some((year.parse().ok()?, month, day))
}

/// Days since a fixed day, in the Gregorian calendar.
fn day_number((year, month, day): (i64, u32, u32)) -> i64 {
    let (month, day) = (i64::from(month), i64::from(day));
    let year = if month <= 2 { year - 1 } else { year };
    let shifted = (month + 9) % 12;
    365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * shifted + 2) / 5
        + day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_made_alike() {
        let numbers = [
            ("about 1,234.5 EUR", "1234.5"),
            ("-3%", "-3%"),
            ("none", "NULL"),
            (".5", ".5"),
            ("v2.", "2."),
        ];
        for (text, expected) in numbers {
            assert_eq!(Preprocess::ExtractNumber.apply(text), expected, "{text}");
        }
        assert_eq!(Preprocess::NormStr.apply(" A *b* C "), "abc");
        assert_eq!(Preprocess::NormDate.apply("3rd March 2024"), "2024-03-03");
        assert_eq!(Preprocess::NormDate.apply("unknown"), "unknown");
    }

    #[test]
    fn the_odd_sides_are_kept() {
        let score = |metric: Metric, said: &str, meant: &str| metric.score(said, meant) == 1.0;
        assert!(
            score(Metric::InMatch, "", "anything"),
            "an empty answer is in any text"
        );
        assert!(score(Metric::InMatch, "a", "abc") && !score(Metric::InMatch, "abc", "a"));
        assert!(
            score(Metric::UrlMatch, "none", "none either"),
            "no address equals no address"
        );
        assert!(score(Metric::UrlMatch, "http://a.org/x", "https://a.org/y"));
        assert!(!score(Metric::UrlMatch, "http://a.org", "http://b.org"));
        assert!(
            score(Metric::DateNear, "soon", "later"),
            "no date equals no date"
        );
        assert!(score(Metric::DateNear, "2024-03-01", "1 April 2024"));
        assert!(!score(Metric::DateNear, "2024-03-01", "2 April 2024"));
        assert!(!score(Metric::DateNear, "2024-03-01", "soon"));
        assert!(score(Metric::DateNear, "March 2024", "2024-03-01"));
        assert_eq!(
            number_near("5%", "0.05", 0.0),
            1.0,
            "percent are hundredths"
        );
        assert_eq!(number_near("n/a", "n/a", 0.05), 1.0);
        assert_eq!(number_near("n/a", "1", 0.05), 0.0);
        assert_eq!(number_near("105", "100", 0.05), 1.0);
        assert_eq!(number_near("106", "100", 0.05), 0.0);
    }
}
