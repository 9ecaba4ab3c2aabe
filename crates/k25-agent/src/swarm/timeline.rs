//! A picture of a run: who worked when, and the longest branch of each stage.

use std::fmt::Write;

use crate::event::MAIN;
use crate::run::RunState;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 180.0;
const ROW: f64 = 14.0;
/// Rows that are drawn; more would be no picture.
const MAX_ROWS: usize = 150;

/// An SVG with a bar per task over time; the bars on the critical path are darker.
pub fn timeline_svg(state: &RunState) -> String {
    let main = state.tasks.contains_key(MAIN).then_some(MAIN);
    let mut ids: Vec<&str> = main
        .into_iter()
        .chain(state.order.iter().map(String::as_str))
        .collect();
    ids.truncate(MAX_ROWS);
    let began = ids
        .iter()
        .map(|id| state.tasks[*id].began_ms)
        .min()
        .unwrap_or(0);
    let ended = ids
        .iter()
        .map(|id| state.tasks[*id].last_ms)
        .max()
        .unwrap_or(began);
    let span = (ended - began).max(1) as f64;
    let x = |ms: u64| LEFT + (ms - began) as f64 / span * (WIDTH - LEFT - 10.0);
    let longest = ids
        .iter()
        .skip(1)
        .map(|id| state.tasks[*id].steps())
        .max()
        .unwrap_or(0);
    let height = ROW * (ids.len() as f64 + 2.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"10\">\n<title>{}</title>\n",
        escaped(&state.question)
    );
    for (index, id) in ids.iter().enumerate() {
        let task = &state.tasks[*id];
        let y = ROW * (index as f64 + 1.0);
        let is_critical = *id == MAIN || (longest > 0 && task.steps() == longest);
        let colour = if is_critical { "#1f4e8c" } else { "#9ec1e8" };
        let name = if *id == MAIN {
            MAIN.to_owned()
        } else {
            format!("{} {id}", task.agent)
        };
        let (from, to) = (x(task.began_ms), x(task.last_ms));
        let _ = writeln!(
            svg,
            "<text x=\"4\" y=\"{:.1}\">{}</text><rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
             height=\"{:.1}\" fill=\"{colour}\"><title>{} steps, {} tokens</title></rect>",
            y + ROW * 0.7,
            escaped(&crate::table::shortened(&name, 28)),
            y + 1.0,
            (to - from).max(1.0),
            ROW - 3.0,
            task.steps(),
            task.tokens,
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.1}\">{:.1} s · critical steps {} of {}</text>\n</svg>",
        height - 3.0,
        span / 1000.0,
        state.critical.total(),
        state.critical.all_steps(),
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
