//! Conflicts before a judge: a model that sees each value with its quote, and says which one stands.

use std::sync::Arc;

use k25_chat::Message;

use super::{Swarm, prompts};
use crate::contract::Column;
use crate::event::{EventKind, MAIN};
use crate::run::RunError;
use crate::table::{Cell, CellStatus, ConflictRule, Settlement, display, shortened};

/// The judge's last words that are kept, in bytes.
const MAX_WHY: usize = 300;

/// A conflict to be judged.
struct Case {
    row: String,
    column: Column,
    rivals: Vec<Cell>,
}

impl Swarm {
    /// Puts every conflict before the judge, where the run wants that. What it cannot tell stays.
    pub(super) async fn judge_conflicts(self: &Arc<Self>) -> Result<(), RunError> {
        if self.settings.conflicts != ConflictRule::Judge {
            return Ok(());
        }
        for case in self.cases() {
            if self.run.exhausted().is_some() {
                return Ok(());
            }
            self.judge(&case).await?;
        }
        Ok(())
    }

    fn cases(&self) -> Vec<Case> {
        self.run.with_state(|state| {
            let columns = state.contract.iter().flat_map(|contract| &contract.columns);
            let columns: Vec<&Column> = columns.collect();
            let places = state
                .table
                .rows()
                .flat_map(|row| columns.iter().map(move |column| (row, *column)));
            let in_conflict = |(row, column): &(&str, &Column)| {
                state.table.get(row, &column.name).status == CellStatus::Conflict
            };
            let case = |(row, column): (&str, &Column)| Case {
                row: row.to_owned(),
                column: column.clone(),
                rivals: state
                    .table
                    .rivals(row, &column.name)
                    .into_iter()
                    .cloned()
                    .collect(),
            };
            places.filter(in_conflict).map(case).collect()
        })
    }

    async fn judge(self: &Arc<Self>, case: &Case) -> Result<(), RunError> {
        let agent = self.agent(&self.main, String::new(), String::new());
        let messages = vec![Message::system(prompts::JUDGE), Message::user(brief(case))];
        let said = agent.ask_aside(&self.run, MAIN, "judge", messages).await?;
        let Some((cell, why)) = said.as_deref().and_then(|said| verdict(said, &case.rivals)) else {
            return Ok(());
        };
        let settlement = Settlement {
            value: cell.value.clone(),
            among: case
                .rivals
                .iter()
                .map(|cell| display(&cell.value))
                .collect(),
            why,
        };
        let settled = EventKind::ConflictSettled {
            row: case.row.clone(),
            column: case.column.name.clone(),
            settlement,
        };
        self.run.record(MAIN, vec![settled]).await
    }
}

/// What the judge reads.
fn brief(case: &Case) -> String {
    let Case {
        row,
        column,
        rivals,
    } = case;
    let mut text = format!("Row: {row}\nColumn: {}", column.name);
    if let Some(unit) = &column.unit {
        text.push_str(&format!(" in {unit}"));
    }
    if !column.meaning.is_empty() {
        text.push_str(&format!(" ({})", column.meaning));
    }
    for (number, cell) in (1..).zip(rivals) {
        text.push_str(&format!("\n{number}. {}", display(&cell.value)));
        if let Some(evidence) = &cell.evidence {
            text.push_str(&format!(
                "\n   {}:{}: {}",
                evidence.source, evidence.line, evidence.quote
            ));
        }
    }
    text
}

/// The value that the judge names by its number, and why.
fn verdict<'a>(said: &str, rivals: &'a [Cell]) -> Option<(&'a Cell, String)> {
    let said = said.trim();
    let digits: String = said.chars().take_while(char::is_ascii_digit).collect();
    let number: usize = digits.parse().ok()?;
    let cell = rivals.get(number.checked_sub(1)?)?;
    let why = said[digits.len()..].trim_start_matches(['.', ':', ',', ' ', '\n', '-']);
    Some((cell, shortened(why.trim(), MAX_WHY)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Author;

    #[test]
    fn a_verdict_is_a_number_and_a_reason() {
        let cell = |value: &str| Cell {
            row: "r".to_owned(),
            column: "c".to_owned(),
            value: value.into(),
            evidence: None,
            author: Author::User,
            contract: 1,
        };
        let rivals = [cell("x"), cell("y")];
        let said =
            |text: &str| verdict(text, &rivals).map(|(cell, why)| (display(&cell.value), why));
        assert_eq!(
            said("2. The newer page."),
            Some(("y".to_owned(), "The newer page.".to_owned()))
        );
        assert_eq!(
            said(" 1\nIt is official."),
            Some(("x".to_owned(), "It is official.".to_owned()))
        );
        for text in [
            "0. Neither.",
            "3",
            "The second one",
            "",
            "99999999999999999999999",
        ] {
            assert_eq!(said(text), None, "{text}");
        }
    }
}
