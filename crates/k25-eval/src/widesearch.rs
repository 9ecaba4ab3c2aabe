//! WideSearch: how well a table fits the true one, by row and by item.
//!
//! Follows the published metric (ByteDance-Seed/WideSearch, `src/evaluation`), its odd sides included:
//! an empty answer is "in" any text, two texts without an address have the same addresses, two texts
//! that are no dates are the same date, and a column with two metrics counts twice as an item. Where
//! the original asks a judge (columns or keys of other names, `llm_judge`), a [`Judge`] is asked.
//!
//! Differences: dates are read in the forms of [`date_of`] and not in all that `dateparser` knows; in
//! particular a bare year is no date, which the original completes with today's month. Values are
//! compared as the texts they are; the original lets pandas read whole columns as numbers first.

mod metric;
mod table;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use thiserror::Error;

pub use metric::{Metric, Preprocess, date_of};
pub use table::{Table, TableError};

/// How a query is to be scored, as in the data set's `evaluation`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Evaluation {
    /// The columns that an answer must have.
    pub required: Vec<String>,
    /// The columns that tell rows apart.
    pub unique_columns: Vec<String>,
    /// How each column is compared.
    pub eval_pipeline: BTreeMap<String, ColumnRule>,
}

/// How a column is compared.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ColumnRule {
    /// Done to both values first.
    #[serde(default)]
    pub preprocess: Vec<Preprocess>,
    /// The comparisons; each is an item of its own.
    #[serde(default)]
    pub metric: Vec<Metric>,
    /// The tolerance of `number_near`, or what a judge is told.
    #[serde(default)]
    pub criterion: Option<Criterion>,
}

/// A column's criterion.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Criterion {
    /// Part of the true value that a number may differ by.
    Tolerance(f64),
    /// Words for a judge.
    Words(String),
}

/// Decides what no rule can.
pub trait Judge {
    /// Which of `wanted` each of `found` means; those that mean none are left out.
    fn align(&self, found: &[String], wanted: &[String]) -> HashMap<String, String>;

    /// Whether an answer is right, from 0 to 1.
    fn score(&self, answer: &str, truth: &str, criterion: &str) -> f64;
}

/// A judge for texts that need none: names must be equal, and so must values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal;

impl Judge for Literal {
    fn align(&self, _: &[String], _: &[String]) -> HashMap<String, String> {
        HashMap::new()
    }

    fn score(&self, answer: &str, truth: &str, _: &str) -> f64 {
        f64::from(answer.trim().eq_ignore_ascii_case(truth.trim()))
    }
}

/// The score of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// The tables are equal.
    pub success: bool,
    /// Rows, each as good as its worst cell.
    pub row: Figures,
    /// Cells.
    pub item: Figures,
}

/// Precision, recall and their harmonic mean.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// Part of the answer that is right.
    pub precision: f64,
    /// Part of the truth that is answered.
    pub recall: f64,
    /// `2PR / (P + R)`.
    pub f1: f64,
}

/// A query that cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScoreError {
    /// The truth lacks a column that its own evaluation asks for.
    #[error("the true table has no column {0:?}; hint: compare its header with `required`")]
    TruthLacks(String),
    /// A column without a rule.
    #[error("no rule for column {0:?}; hint: `eval_pipeline` needs every column but the keys")]
    NoRule(String),
    /// `number_near` without its tolerance.
    #[error(
        "column {0:?} has number_near without a number as criterion; hint: 0.05 is the usual one"
    )]
    NoTolerance(String),
}

impl Figures {
    fn of(right: f64, answered: usize, wanted: usize) -> Self {
        let part = |whole: usize| {
            if whole == 0 {
                0.0
            } else {
                right / whole as f64
            }
        };
        let (precision, recall) = (part(answered), part(wanted));
        let sum = precision + recall;
        let f1 = if sum > 1e-9 {
            2.0 * precision * recall / sum
        } else {
            0.0
        };
        Figures {
            precision,
            recall,
            f1,
        }
    }

    fn is_perfect(self) -> bool {
        self.precision == 1.0 && self.recall == 1.0 && self.f1 == 1.0
    }
}

/// Scores an answer. `None` stands for one without a table; so does one whose columns are others.
///
/// # Errors
/// [`ScoreError`], for a query that is at odds with itself.
pub fn score(
    evaluation: &Evaluation,
    truth: &Table,
    answer: Option<&Table>,
    judge: &dyn Judge,
) -> Result<Score, ScoreError> {
    let mut truth = truth.with_plain_names();
    if let Some(column) = evaluation
        .required
        .iter()
        .find(|name| truth.index(name).is_none())
    {
        return Err(ScoreError::TruthLacks(column.clone()));
    }
    let Some(mut answer) = answer.map(Table::with_plain_names) else {
        return Ok(Score::default());
    };
    if !same_names(&answer.columns, &evaluation.required) {
        let map = judge.align(&answer.columns, &evaluation.required);
        answer.rename(&map);
    }
    if !same_names(&answer.columns, &evaluation.required) {
        return Ok(Score::default());
    }
    answer.drop_duplicates(&evaluation.unique_columns);
    truth.drop_duplicates(&evaluation.unique_columns);
    align_keys(evaluation, &truth, &mut answer, judge);
    for (column, rule) in &evaluation.eval_pipeline {
        for step in &rule.preprocess {
            answer.change(column, |value| step.apply(value));
            truth.change(column, |value| step.apply(value));
        }
    }
    score_prepared(evaluation, &truth, &answer, judge)
}

fn same_names(found: &[String], wanted: &[String]) -> bool {
    let set = |names: &[String]| names.iter().cloned().collect::<HashSet<_>>();
    set(found) == set(wanted)
}

/// Keys that are compared by meaning take the spelling of the truth.
fn align_keys(evaluation: &Evaluation, truth: &Table, answer: &mut Table, judge: &dyn Judge) {
    for column in &evaluation.unique_columns {
        let rule = evaluation.eval_pipeline.get(column);
        let by_meaning = rule.is_some_and(|rule| {
            rule.metric
                .iter()
                .any(|metric| matches!(metric, Metric::LlmJudge | Metric::ExactMatch))
        });
        if by_meaning {
            let map = judge.align(&answer.values(column), &truth.values(column));
            answer.change(column, |value| {
                map.get(value).cloned().unwrap_or_else(|| value.to_owned())
            });
        }
    }
}

fn score_prepared(
    evaluation: &Evaluation,
    truth: &Table,
    answer: &Table,
    judge: &dyn Judge,
) -> Result<Score, ScoreError> {
    let keys = &evaluation.unique_columns;
    let (mut right_rows, mut right_items) = (0.0, 0.0);
    for true_row in 0..truth.rows.len() {
        let key = truth.key(true_row, keys);
        // Normalised keys may be equal where the originals were not: each pair counts, as in a join.
        let pairs = (0..answer.rows.len()).filter(|&row| answer.key(row, keys) == key);
        for row in pairs {
            let mut scores = Vec::new();
            for column in &evaluation.required {
                if keys.contains(column) {
                    scores.push(1.0);
                    continue;
                }
                let rule = evaluation.eval_pipeline.get(column);
                let rule = rule.ok_or_else(|| ScoreError::NoRule(column.clone()))?;
                let (said, meant) = (answer.get(row, column), truth.get(true_row, column));
                for metric in &rule.metric {
                    scores.push(compare(*metric, column, rule, (said, meant), judge)?);
                }
            }
            right_items += scores.iter().sum::<f64>();
            right_rows += scores.iter().copied().fold(1.0, f64::min);
        }
    }
    let width = evaluation.required.len();
    let (answered, wanted) = (answer.rows.len(), truth.rows.len());
    let row = Figures::of(right_rows, answered, wanted);
    let item = Figures::of(right_items, answered * width, wanted * width);
    let is_equal = answer.sorted(&evaluation.required) == truth.sorted(&evaluation.required);
    let success = is_equal || (row.is_perfect() && item.is_perfect());
    Ok(Score { success, row, item })
}

fn compare(
    metric: Metric,
    column: &str,
    rule: &ColumnRule,
    (said, meant): (&str, &str),
    judge: &dyn Judge,
) -> Result<f64, ScoreError> {
    match (metric, &rule.criterion) {
        (Metric::NumberNear, Some(Criterion::Tolerance(tolerance))) => {
            Ok(metric::number_near(said, meant, *tolerance))
        }
        (Metric::NumberNear, other) => match other {
            Some(Criterion::Words(words)) if words.trim().parse::<f64>().is_ok() => Ok(
                metric::number_near(said, meant, words.trim().parse().unwrap_or(0.05)),
            ),
            _ => Err(ScoreError::NoTolerance(column.to_owned())),
        },
        (Metric::LlmJudge, criterion) => {
            let words = match criterion {
                Some(Criterion::Words(words)) => words.as_str(),
                _ => "",
            };
            Ok(judge.score(said, meant, words))
        }
        (plain, _) => Ok(plain.score(said, meant)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation() -> Evaluation {
        serde_json::from_str(
            r#"{
            "required": ["name", "price", "site"],
            "unique_columns": ["name"],
            "eval_pipeline": {
                "name": {"preprocess": ["norm_str"], "metric": ["exact_match"]},
                "price": {"preprocess": ["extract_number"], "metric": ["number_near"], "criterion": 0.05},
                "site": {"preprocess": ["norm_str"], "metric": ["url_match"]}
            }}"#,
        )
        .unwrap()
    }

    fn table(rows: &[[&str; 3]]) -> Table {
        let names = ["Name", "PRICE", "Site "].map(str::to_owned).to_vec();
        let rows = rows
            .iter()
            .map(|row| row.map(str::to_owned).to_vec())
            .collect();
        Table {
            columns: names,
            rows,
        }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn equal_tables_succeed_in_any_order() {
        let truth = table(&[
            ["A b", "10", "https://x.org/1"],
            ["C", "20", "https://y.org"],
        ]);
        let answer = table(&[
            ["c", "20.0 EUR", "http://y.org/other"],
            ["AB", "10", "https://x.org"],
        ]);
        let score = score(&evaluation(), &truth, Some(&answer), &Literal).unwrap();
        assert!(score.success);
        close(score.item.f1, 1.0);
    }

    #[test]
    fn figures_by_row_and_item_are_those_of_the_hand_made_case() {
        // Truth: 4 rows × 3 columns. Answer: A all right, B with one wrong cell, an invented row.
        let truth = table(&[
            ["A", "100", "https://a.org"],
            ["B", "200", "https://b.org"],
            ["C", "300", "https://c.org"],
            ["D", "400", "https://d.org"],
        ]);
        let answer = table(&[
            ["A", "104", "https://a.org"],
            ["B", "260", "https://b.org"],
            ["X", "1", "https://x.org"],
        ]);
        let score = score(&evaluation(), &truth, Some(&answer), &Literal).unwrap();
        assert!(!score.success);
        // Rows: 1 right of 3 answered, of 4 wanted.
        close(score.row.precision, 1.0 / 3.0);
        close(score.row.recall, 1.0 / 4.0);
        close(score.row.f1, 2.0 / 7.0);
        // Items: 3 + 2 right of 9 answered, of 12 wanted.
        close(score.item.precision, 5.0 / 9.0);
        close(score.item.recall, 5.0 / 12.0);
        close(score.item.f1, 10.0 / 21.0);
    }

    #[test]
    fn rows_that_come_twice_count_once() {
        let truth = table(&[["A", "1", "https://a.org"]]);
        let row = ["A", "1", "https://a.org"];
        let score = score(&evaluation(), &truth, Some(&table(&[row, row])), &Literal).unwrap();
        assert!(score.success);
    }

    #[test]
    fn keys_that_normalise_to_one_are_joined_each_with_each() {
        // "A b" and "Ab" are two rows until their keys are normalised.
        let truth = table(&[["Ab", "1", "https://a.org"]]);
        let answer = table(&[["A b", "1", "https://a.org"], ["Ab", "1", "https://a.org"]]);
        let score = score(&evaluation(), &truth, Some(&answer), &Literal).unwrap();
        close(score.row.recall, 2.0);
        close(score.row.precision, 1.0);
        assert!(!score.success, "recall is not 1");
    }

    #[test]
    fn a_column_of_two_metrics_counts_twice() {
        let mut evaluation = evaluation();
        let site = evaluation.eval_pipeline.get_mut("site").unwrap();
        site.metric = vec![Metric::UrlMatch, Metric::InMatch];
        let truth = table(&[["A", "1", "https://a.org"]]);
        let score = score(&evaluation, &truth, Some(&truth), &Literal).unwrap();
        close(score.item.precision, 4.0 / 3.0);
        assert!(score.success, "the tables are equal");
    }

    #[test]
    fn no_table_and_other_columns_score_nothing() {
        let truth = table(&[["A", "1", "https://a.org"]]);
        let none = score(&evaluation(), &truth, None, &Literal).unwrap();
        assert_eq!(none, Score::default());
        let mut other = truth.clone();
        other.columns[1] = "cost".to_owned();
        let missing = score(&evaluation(), &truth, Some(&other), &Literal).unwrap();
        assert_eq!(missing, Score::default());
        let empty = score(&evaluation(), &truth, Some(&table(&[])), &Literal).unwrap();
        assert_eq!(empty, Score::default());
    }

    #[test]
    fn a_judge_may_align_columns_and_keys() {
        struct Wise;
        impl Judge for Wise {
            fn align(&self, found: &[String], _: &[String]) -> HashMap<String, String> {
                let pairs = [("cost", "price"), ("Bombay", "Mumbai")];
                let known = pairs
                    .iter()
                    .filter(|(from, _)| found.iter().any(|name| name == from));
                known
                    .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
                    .collect()
            }
            fn score(&self, _: &str, _: &str, _: &str) -> f64 {
                1.0
            }
        }
        let truth = table(&[["Mumbai", "1", "https://a.org"]]);
        let mut answer = table(&[["Bombay", "1", "https://a.org"]]);
        answer.columns[1] = "cost".to_owned();
        assert!(
            score(&evaluation(), &truth, Some(&answer), &Wise)
                .unwrap()
                .success
        );
        let literal = score(&evaluation(), &truth, Some(&answer), &Literal).unwrap();
        assert_eq!(literal, Score::default());
    }
}
