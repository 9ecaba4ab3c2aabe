//! Curves over a doubling width, as one SVG picture.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 56.0;
/// Room for the curves' names.
const RIGHT: f64 = 250.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 36.0;

/// Colours of curves, told apart by people who do not see red from green.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#cc79a7", "#009e73"];

/// One curve.
pub struct Curve {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Curves with one scale.
pub struct Panel {
    pub title: &'static str,
    pub curves: Vec<Curve>,
}

/// Panels below each other; both axes double from mark to mark.
pub fn svg(x_title: &str, panels: &[Panel]) -> String {
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        HEIGHT * panels.len() as f64
    );
    for (index, panel) in panels.iter().enumerate() {
        draw(&mut picture, HEIGHT * index as f64, x_title, panel);
    }
    picture.push_str("</svg>\n");
    picture
}

/// A range between powers of two.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::MAX, f64::min).log2().floor();
        let high = values.fold(f64::MIN, f64::max).log2().ceil();
        Scale {
            low,
            high: high.max(low + 1.0),
        }
    }

    /// The place of a value, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        (value.log2() - self.low) / (self.high - self.low)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 2_f64.powi(power))
    }
}

fn draw(picture: &mut String, top: f64, x_title: &str, panel: &Panel) {
    let points = || panel.curves.iter().flat_map(|curve| &curve.points);
    let (across, up) = (
        Scale::of(points().map(|p| p.0)),
        Scale::of(points().map(|p| p.1)),
    );
    let x = |value: f64| LEFT + across.place(value) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| top + HEIGHT - BOTTOM - up.place(value) * (HEIGHT - TOP - BOTTOM);
    let _ = writeln!(
        picture,
        "<text x=\"{LEFT}\" y=\"{:.0}\" font-size=\"13\">{}</text>",
        top + 20.0,
        panel.title
    );
    for mark in up.marks() {
        let _ = writeln!(
            picture,
            "<path d=\"M{LEFT} {0:.1}H{1:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{2:.1}\" y=\"{3:.1}\" text-anchor=\"end\">{mark}</text>",
            y(mark),
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(mark) + 4.0
        );
    }
    for mark in across.marks() {
        let _ = writeln!(
            picture,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{mark}</text>",
            x(mark),
            top + HEIGHT - BOTTOM + 14.0
        );
    }
    let _ = writeln!(
        picture,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_title}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        top + HEIGHT - 6.0
    );
    for ((curve, colour), row) in panel.curves.iter().zip(COLOURS).zip(0_u8..) {
        let path: Vec<String> = curve
            .points
            .iter()
            .map(|(across, up)| format!("{:.1} {:.1}", x(*across), y(*up)))
            .collect();
        let at = top + TOP + 18.0 * f64::from(row) + 10.0;
        let _ = writeln!(
            picture,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <rect x=\"{:.1}\" y=\"{:.1}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            path.join("L"),
            WIDTH - RIGHT + 12.0,
            at - 6.0,
            WIDTH - RIGHT + 30.0,
            at,
            curve.name
        );
    }
}
