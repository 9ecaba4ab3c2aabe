//! A table as a person reads it: columns that fit the terminal, and one line on the whole.

use k25_agent::run::RunState;
use k25_agent::swarm::Report;
use k25_agent::table::{CellStatus, display};

use crate::output::Screen;

/// Widest column where nothing says how wide the reader's screen is.
const MAX_WIDTH: usize = 48;
/// No column gets narrower than this.
const MIN_WIDTH: usize = 6;
const GAP: usize = 2;

/// The table in columns.
pub fn table_text(state: &RunState, screen: Screen) -> String {
    let Some(contract) = &state.contract else {
        return "no table yet\n".to_owned();
    };
    let mut lines: Vec<Vec<String>> = vec![contract.names().map(str::to_owned).collect()];
    for row in state.table.rows() {
        let cells = contract.names();
        lines.push(cells.map(|column| shown(state, row, column)).collect());
    }
    let widest = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths = (0..contract.columns.len()).map(widest).collect();
    let widths = fitted(widths, screen.width());
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths);
        let cells = cells.map(|(cell, &width)| format!("{:<width$}", cut(cell, width)));
        let cells = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        let cells = screen.foreign(cells.trim_end()).into_owned();
        match number {
            0 => text.push_str(&format!("{}{cells}{}\n", screen.bold(), screen.plain())),
            _ => text.push_str(&format!("{cells}\n")),
        }
    }
    text
}

/// One cell: its value, and a mark where that is not all there is to say.
fn shown(state: &RunState, row: &str, column: &str) -> String {
    let place = state.table.get(row, column);
    let value = place.cell.map(|cell| display(&cell.value));
    let value = value.unwrap_or_default().replace(['\n', '\t'], " ");
    match place.status {
        CellStatus::NotStated => "–".to_owned(),
        CellStatus::Missing => "?".to_owned(),
        CellStatus::Conflict => format!("{value} ≠"),
        CellStatus::Stale => format!("{value} …"),
        CellStatus::Ok | CellStatus::Edited => value,
    }
}

/// Column widths that fit together into `room`; the widest give way first.
fn fitted(mut widths: Vec<usize>, room: Option<usize>) -> Vec<usize> {
    let Some(room) = room else {
        return widths.iter().map(|width| (*width).min(MAX_WIDTH)).collect();
    };
    let room = room.saturating_sub(GAP * widths.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > MIN_WIDTH => *widest -= 1,
            _ => break,
        }
    }
    widths
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// One line on the whole table.
pub fn summary(state: &RunState) -> String {
    let report = Report::of(state);
    let count = |status: &str| report.cells.get(status).copied().unwrap_or(0);
    let (read, by_hand) = (count("ok"), count("edited"));
    let mut text = format!(
        "{} rows, {} values, {} not stated in the source, {} conflicts",
        report.rows,
        read + by_hand,
        count("not_stated"),
        count("conflict")
    );
    let open = count("missing") + count("stale");
    if open > 0 {
        text.push_str(&format!(", {open} still open"));
    }
    match (read, by_hand) {
        (0, 0) => text.push('.'),
        (_, 0) => text.push_str(". Every value has its quote."),
        (_, hand) => text.push_str(&format!(
            ". Every value has its quote but the {hand} set by hand."
        )),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_the_screen_and_the_widest_give_way() {
        assert_eq!(fitted(vec![4, 60, 30], None), [4, 48, 30]);
        assert_eq!(fitted(vec![4, 60, 30], Some(98)), [4, 60, 30]);
        assert_eq!(fitted(vec![4, 60, 30], Some(80)), [4, 42, 30]);
        assert_eq!(fitted(vec![4, 60, 30], Some(60)), [4, 26, 26]);
        assert_eq!(
            fitted(vec![9, 9, 9], Some(3)),
            [6, 6, 6],
            "never to nothing"
        );
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
    }
}
