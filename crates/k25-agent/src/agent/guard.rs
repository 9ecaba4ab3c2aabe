//! The loop guard: what repeats itself is answered from memory, then told, then stopped.
//!
//! It looks at the whole task and is never reset by a word from the runtime. The steps (3, 5, 8, 12
//! identical calls) are those of kimi-code.

use std::collections::HashMap;

use serde_json::Value;

use crate::event::Call;
use crate::run::Turn;

/// Identical calls after which the result comes from memory.
const FROM_MEMORY: usize = 3;
/// … the agent is told to do something else.
const TOLD: usize = 5;
/// … the tool is taken away.
const REMOVED: usize = 8;
/// … the task ends.
const HOPELESS: usize = 12;
/// Turns in a row with the same failure after which the agent is told, and the task ends.
const FAILURES_TOLD: usize = 3;
const FAILURES_HOPELESS: usize = 8;
const SAME_AGAIN: &str = "\nnote: the same call again gives the same result";
/// A text repeats itself if this many bytes at its end have a short period …
pub(super) const STUTTER_BYTES: usize = 480;
/// The same for arguments of calls, where data may be monotonous …
pub(super) const STUTTER_ARGUMENT_BYTES: usize = 4 * STUTTER_BYTES;
/// … of at most this many bytes.
const STUTTER_PERIOD: usize = 60;

/// What makes calls identical: name and arguments, however the arguments are written.
fn key(call: &Call) -> String {
    let value: Option<Value> = serde_json::from_str(&call.arguments).ok();
    let arguments = value.map_or_else(|| call.arguments.clone(), |value| value.to_string());
    format!("{} {arguments}", call.name)
}

/// The calls of a task, counted.
pub(super) struct Repeats {
    counts: HashMap<String, usize>,
    removed: Vec<String>,
}

impl Repeats {
    pub(super) fn of(turns: &[Turn]) -> Self {
        let mut repeats = Repeats {
            counts: HashMap::new(),
            removed: Vec::new(),
        };
        for call in turns.iter().flat_map(|turn| &turn.reply.calls) {
            let count = repeats.counts.entry(key(call)).or_default();
            *count += 1;
            if *count >= REMOVED && !repeats.removed.contains(&call.name) {
                repeats.removed.push(call.name.clone());
            }
        }
        repeats
    }

    /// Tools that the task may no longer use.
    pub(super) fn removed_tools(&self) -> &[String] {
        &self.removed
    }

    fn count(&self, call: &Call) -> usize {
        self.counts.get(&key(call)).copied().unwrap_or(0)
    }

    /// How often the call of the last turn was made that was made most often.
    fn most_of_last(&self, turns: &[Turn]) -> usize {
        let last = turns.last().into_iter().flat_map(|turn| &turn.reply.calls);
        last.map(|call| self.count(call)).max().unwrap_or(0)
    }

    /// The result of an identical call, where this one is the third or a later one.
    pub(super) fn known_result(&self, turns: &[Turn], call: &Call) -> Option<String> {
        if self.count(call) < FROM_MEMORY {
            return None;
        }
        let wanted = key(call);
        let earlier = turns.iter().rev().flat_map(|turn| {
            let same = turn.reply.calls.iter().filter(|other| key(other) == wanted);
            // What failed may go well now.
            let well = same.filter(|other| !turn.failed.contains(&other.id));
            well.filter_map(|other| turn.result(&other.id))
        });
        let text = earlier.into_iter().next()?;
        let text = text.split(SAME_AGAIN).next().unwrap_or(text);
        Some(format!("{text}{SAME_AGAIN}"))
    }
}

/// What the agent is told after this turn.
pub(super) fn nudges(turns: &[Turn]) -> Vec<String> {
    let mut nudges = Vec::new();
    if Repeats::of(turns).most_of_last(turns) == TOLD {
        nudges
            .push("You repeat a call. Say what is still missing and do something else.".to_owned());
    }
    if failures_in_a_row(turns) == FAILURES_TOLD {
        nudges
            .push("The same error three times. Change the arguments or go on without.".to_owned());
    }
    nudges
}

/// Whether to end the task.
pub(super) fn is_hopeless(turns: &[Turn]) -> bool {
    Repeats::of(turns).most_of_last(turns) >= HOPELESS
        || failures_in_a_row(turns) >= FAILURES_HOPELESS
}

/// How many of the last turns failed with the first error of the last one.
fn failures_in_a_row(turns: &[Turn]) -> usize {
    let first_failure = |turn: &Turn| {
        let id = turn.failed.first()?;
        turn.result(id).map(normalised)
    };
    let Some(last) = turns.last().and_then(first_failure) else {
        return 0;
    };
    let same = |turn: &&Turn| first_failure(turn).as_deref() == Some(last.as_str());
    turns.iter().rev().take_while(same).count()
}

/// Whether the last two turns had failed calls: the agent had better think.
pub(super) fn is_struggling(turns: &[Turn]) -> bool {
    let [.., before, last] = turns else {
        return false;
    };
    !before.failed.is_empty() && !last.failed.is_empty()
}

/// Whether the last two turns failed with the same error: the agent would well do the same again.
pub(super) fn is_stuck(turns: &[Turn]) -> bool {
    failures_in_a_row(turns) >= 2
}

/// An error without its numbers, which change from call to call.
fn normalised(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_ascii_digit())
        .take(200)
        .collect()
}

/// Whether a text says the same again and again for the last `least` bytes.
pub(super) fn stutters(text: &str, least: usize) -> bool {
    let bytes = text.as_bytes();
    let Some(start) = bytes.len().checked_sub(least) else {
        return false;
    };
    let end = &bytes[start..];
    // A rule of a table is one character; it may be long.
    (1..=STUTTER_PERIOD).any(|period| {
        let is_periodic = end.iter().zip(&end[period..]).all(|(a, b)| a == b);
        is_periodic && end[..period].iter().any(u8::is_ascii_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reply;

    fn turn(arguments: &str, result: &str, failed: bool) -> Turn {
        let call = Call {
            id: "c".to_owned(),
            name: "open".to_owned(),
            arguments: arguments.to_owned(),
        };
        Turn {
            reply: Reply {
                calls: vec![call],
                ..Reply::default()
            },
            returns: vec![("c".to_owned(), result.to_owned())],
            failed: if failed {
                vec!["c".to_owned()]
            } else {
                Vec::new()
            },
            ..Turn::default()
        }
    }

    #[test]
    fn identical_calls_meet_four_steps() {
        let mut turns = Vec::new();
        let mut said = Vec::new();
        for made in 1..=12 {
            // The same arguments, written in two ways.
            let arguments = if made % 2 == 0 {
                "{\"path\":\"a\"}"
            } else {
                "{ \"path\": \"a\" }"
            };
            turns.push(turn(arguments, "text", false));
            let repeats = Repeats::of(&turns);
            let known = repeats
                .known_result(&turns, &turns[0].reply.calls[0])
                .is_some();
            let told = !nudges(&turns).is_empty();
            let is_removed = !repeats.removed_tools().is_empty();
            said.push((known, told, is_removed, is_hopeless(&turns)));
        }
        let first = |which: fn(&(bool, bool, bool, bool)) -> bool| {
            said.iter().position(which).map(|index| index + 1)
        };
        assert_eq!(first(|s| s.0), Some(FROM_MEMORY));
        assert_eq!(first(|s| s.1), Some(TOLD));
        assert_eq!(first(|s| s.2), Some(REMOVED));
        assert_eq!(first(|s| s.3), Some(HOPELESS));
    }

    #[test]
    fn the_same_error_is_told_and_then_ends_the_task() {
        let turns: Vec<Turn> = (0..8)
            .map(|n| {
                turn(
                    &format!("{{\"line\":{n}}}"),
                    &format!("error: line {n}"),
                    true,
                )
            })
            .collect();
        assert!(nudges(&turns[..3])[0].contains("same error"));
        assert!(!is_hopeless(&turns[..7]) && is_hopeless(&turns));
        assert!(is_struggling(&turns[..2]) && !is_struggling(&turns[..1]));
        assert!(is_stuck(&turns[..2]) && !is_stuck(&turns[..1]));
        let other = [turns[0].clone(), turn("{}", "error: no such path", true)];
        assert!(is_struggling(&other) && !is_stuck(&other));
    }

    #[test]
    fn stutter_is_told_from_tables() {
        assert!(stutters(&"and so on ".repeat(60), STUTTER_BYTES));
        assert!(stutters(&"a".repeat(600), STUTTER_BYTES));
        assert!(!stutters(&"-".repeat(600), STUTTER_BYTES));
        assert!(!stutters("short short short", STUTTER_BYTES));
        let table: String = (0..60)
            .map(|n| format!("| row {n} | value {} |\n", n * 7))
            .collect();
        assert!(!stutters(&table, STUTTER_BYTES));
    }
}
