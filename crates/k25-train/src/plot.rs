//! The curves of a run as one SVG picture: loss with its evaluations, and the balance of the routers.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const MARGIN: f64 = 48.0;

/// Colours of curves, told apart by people who do not see red from green.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// Points of a curve: step and value.
type Curve = Vec<(f64, f64)>;

/// Draws the metrics of a run (lines of `metrics.jsonl`); lines that are no metrics are left out.
pub fn svg(metrics: &str) -> String {
    let (mut loss, mut balance) = (
        BTreeMap::<String, Curve>::new(),
        BTreeMap::<String, Curve>::new(),
    );
    for line in metrics.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let number = |key: &str| value.get(key).and_then(Value::as_f64);
        let (Some(step), Some(y)) = (number("step"), number("loss")) else {
            continue;
        };
        match value.get("evaluation").and_then(Value::as_str) {
            Some(name) => loss.entry(name.to_owned()).or_default().push((step, y)),
            None => {
                loss.entry(" training".to_owned())
                    .or_default()
                    .push((step, y));
                if let Some(violation) = number("max_violation") {
                    balance
                        .entry(" busiest expert over the mean, minus 1".to_owned())
                        .or_default()
                        .push((step, violation));
                }
            }
        }
    }
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" font-family=\"sans-serif\" font-size=\"11\">\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
        2.0 * HEIGHT
    );
    panel(&mut picture, 0.0, "loss (nats)", &loss);
    panel(&mut picture, HEIGHT, "router balance", &balance);
    picture.push_str("</svg>\n");
    picture
}

fn panel(picture: &mut String, top: f64, title: &str, curves: &BTreeMap<String, Curve>) {
    let points = || curves.values().flatten();
    let last = points().map(|point| point.0).fold(1.0, f64::max);
    let high = points().map(|point| point.1).fold(1e-9, f64::max);
    let (width, height) = (WIDTH - 2.0 * MARGIN, HEIGHT - 2.0 * MARGIN);
    let x = |step: f64| MARGIN + step / last * width;
    let y = |value: f64| top + HEIGHT - MARGIN - value / high * height;
    let _ = write!(
        picture,
        "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"13\">{title}</text>",
        top + MARGIN - 26.0
    );
    for part in 0..=4 {
        let value = high * f64::from(part) / 4.0;
        let _ = write!(
            picture,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{1}\" y2=\"{1}\" stroke=\"#ddd\"/><text x=\"{2}\" y=\"{3}\" text-anchor=\"end\">{value:.2}</text>",
            WIDTH - MARGIN,
            y(value),
            MARGIN - 6.0,
            y(value) + 4.0,
        );
    }
    let _ = write!(
        picture,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">step {last:.0}</text>",
        WIDTH - MARGIN,
        top + HEIGHT - MARGIN + 16.0
    );
    for (index, (name, curve)) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let line: Vec<String> = thinned(curve)
            .map(|(step, value)| format!("{:.1},{:.1}", x(step), y(value)))
            .collect();
        let _ = write!(
            picture,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\" points=\"{}\"/>",
            line.join(" ")
        );
        let at = MARGIN + 150.0 * index as f64;
        let _ = write!(
            picture,
            "<text x=\"{at:.0}\" y=\"{:.0}\" fill=\"{colour}\">{}</text>",
            top + MARGIN - 8.0,
            escaped(name.trim())
        );
    }
}

/// At most some thousand points of a curve, each the mean of its neighbours.
fn thinned(curve: &Curve) -> impl Iterator<Item = (f64, f64)> + '_ {
    let mut points = curve.clone();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let each = curve.len().div_ceil(1000).max(1);
    let means: Vec<_> = points
        .chunks(each)
        .map(|chunk| {
            let mean = |value: fn(&(f64, f64)) -> f64| {
                chunk.iter().map(value).sum::<f64>() / chunk.len() as f64
            };
            (mean(|point| point.0), mean(|point| point.1))
        })
        .collect();
    means.into_iter()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_drawn_and_names_escaped() {
        let metrics = "{\"step\":1,\"loss\":4.0,\"max_violation\":0.5}\n{\"step\":2,\"loss\":2.0,\"max_violation\":0.25}\n\
                       {\"step\":2,\"evaluation\":\"a<b\",\"loss\":3.0}\nnot json\n";
        let picture = svg(metrics);
        assert_eq!(picture.matches("<polyline").count(), 3);
        assert!(picture.contains("a&lt;b") && picture.ends_with("</svg>\n"));
        assert!(svg("").contains("</svg>"));
    }
}
