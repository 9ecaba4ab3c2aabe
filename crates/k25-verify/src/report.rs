//! What a verification found: one line per item, as plain data.

use serde::Serialize;

/// How an item came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "reason")]
pub enum Outcome {
    /// Every value within the tolerance.
    Ok,
    /// Some value is off, or the item could not be computed: why.
    Short(String),
    /// Shown, but not an expectation.
    Information,
    /// Found, but nothing here knows how to check it: why.
    NotChecked(String),
}

/// One compared item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The part of the fixture folder: a model folder's name, or `images`, `tokenizer`, ….
    pub part: String,
    /// What was compared.
    pub item: String,
    /// Number of values compared.
    pub compared: usize,
    /// Largest absolute difference; `None` where nothing was compared.
    pub max_abs_error: Option<f64>,
    /// Largest difference that is allowed; 0 means exact.
    pub tolerance: f64,
    /// How it came out.
    pub outcome: Outcome,
}

/// All checks of one folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// In the order of checking.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether something was checked and nothing falls short.
    pub fn passed(&self) -> bool {
        self.count(|outcome| *outcome == Outcome::Ok) > 0
            && self.count(|outcome| matches!(outcome, Outcome::Short(_))) == 0
    }

    /// Number of checks with an outcome that `wanted` accepts.
    pub fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.checks
            .iter()
            .filter(|check| wanted(&check.outcome))
            .count()
    }
}

/// Where the checks of one part go.
pub struct Part<'a> {
    name: String,
    sink: &'a mut dyn FnMut(Check),
}

impl<'a> Part<'a> {
    /// The checks of part `name`, handed to `sink` one by one.
    pub fn new(name: impl Into<String>, sink: &'a mut dyn FnMut(Check)) -> Self {
        Self {
            name: name.into(),
            sink,
        }
    }

    /// Compares values; both sides must have the same length.
    pub fn values(&mut self, item: &str, actual: &[f32], expected: &[f32], tolerance: f64) {
        let check = compare_values(actual, expected, tolerance);
        self.push(item, expected.len(), check.0, tolerance, check.1);
    }

    /// Compares values and reports the difference without judging it.
    pub fn information(&mut self, item: &str, actual: &[f32], expected: &[f32]) {
        let (error, _) = compare_values(actual, expected, f64::INFINITY);
        self.push(
            item,
            expected.len(),
            error,
            f64::INFINITY,
            Outcome::Information,
        );
    }

    /// Compares two sequences for equality, and shows the first difference.
    pub fn equal<T: PartialEq + std::fmt::Debug>(
        &mut self,
        item: &str,
        actual: &[T],
        expected: &[T],
    ) {
        let outcome = match first_difference(actual, expected) {
            None => Outcome::Ok,
            Some(difference) => Outcome::Short(difference),
        };
        let error = (outcome == Outcome::Ok).then_some(0.0);
        self.push(item, expected.len(), error, 0.0, outcome);
    }

    /// Records how many of a number of cases hold, with the first that does not.
    pub fn cases(&mut self, item: &str, number: usize, first_failure: Option<String>) {
        let error = first_failure.is_none().then_some(0.0);
        self.push(
            item,
            number,
            error,
            0.0,
            first_failure.map_or(Outcome::Ok, Outcome::Short),
        );
    }

    /// Records that an item could not be computed.
    pub fn failed(&mut self, item: &str, reason: impl std::fmt::Display) {
        self.push(item, 0, None, 0.0, Outcome::Short(reason.to_string()));
    }

    /// Records an item that nothing here can check.
    pub fn not_checked(&mut self, item: &str, reason: impl std::fmt::Display) {
        self.push(item, 0, None, 0.0, Outcome::NotChecked(reason.to_string()));
    }

    fn push(
        &mut self,
        item: &str,
        compared: usize,
        error: Option<f64>,
        tolerance: f64,
        outcome: Outcome,
    ) {
        (self.sink)(Check {
            part: self.name.clone(),
            item: item.to_owned(),
            compared,
            max_abs_error: error,
            tolerance,
            outcome,
        });
    }
}

/// Largest absolute difference, and whether it is allowed. A value that is not a number is never.
fn compare_values(actual: &[f32], expected: &[f32], tolerance: f64) -> (Option<f64>, Outcome) {
    if actual.len() != expected.len() {
        let reason = format!(
            "{} values where {} are expected",
            actual.len(),
            expected.len()
        );
        return (None, Outcome::Short(reason));
    }
    let difference = |(actual, expected): (&f32, &f32)| {
        let difference = (f64::from(*actual) - f64::from(*expected)).abs();
        if difference.is_nan() {
            f64::INFINITY
        } else {
            difference
        }
    };
    let error = actual
        .iter()
        .zip(expected)
        .map(difference)
        .fold(0.0, f64::max);
    if error <= tolerance {
        return (Some(error), Outcome::Ok);
    }
    let worst = actual
        .iter()
        .zip(expected)
        .position(|pair| difference(pair) == error)
        .unwrap_or(0);
    let reason = format!(
        "value {worst} is {} and should be {}",
        actual[worst], expected[worst]
    );
    (Some(error), Outcome::Short(reason))
}

fn first_difference<T: PartialEq + std::fmt::Debug>(
    actual: &[T],
    expected: &[T],
) -> Option<String> {
    let differing = actual
        .iter()
        .zip(expected)
        .position(|(actual, expected)| actual != expected);
    match differing {
        Some(at) => Some(format!(
            "value {at} is {:?} and should be {:?}",
            actual[at], expected[at]
        )),
        None if actual.len() != expected.len() => Some(format!(
            "{} values where {} are expected",
            actual.len(),
            expected.len()
        )),
        None => None,
    }
}
