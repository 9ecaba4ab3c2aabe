//! What pictures show: a shape of one colour on grey, and questions about it. Enough for a small vision tower to learn to see at
//! all, and to tell whether it does: which shapes have which colours differs between what is trained and what is held out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::random::Random;
use crate::world::Split;

/// Colours in words and in levels.
const COLOURS: [(&str, [u8; 3]); 8] = [
    ("red", [215, 35, 35]),
    ("green", [40, 165, 60]),
    ("blue", [40, 70, 210]),
    ("yellow", [235, 220, 50]),
    ("orange", [240, 140, 30]),
    ("purple", [130, 50, 170]),
    ("white", [245, 245, 245]),
    ("black", [15, 15, 15]),
];

/// Which points are within a shape; it reaches from −1 to 1 both ways, downwards.
type Inside = fn(f32, f32) -> bool;

/// Shapes in words and as points.
const SHAPES: [(&str, Inside); 5] = [
    ("square", |x, y| x.abs().max(y.abs()) < 0.9),
    ("circle", |x, y| x * x + y * y < 1.0),
    ("triangle", |x, y| y < 0.9 && 2.0 * x.abs() < y + 1.0),
    ("cross", |x, y| {
        x.abs().min(y.abs()) < 0.33 && x.abs().max(y.abs()) < 1.0
    }),
    ("ring", |x, y| (0.35..1.0).contains(&(x * x + y * y))),
];

/// Combinations of a shape and a colour of which one is held out.
const HELD_OUT: usize = 5;

/// Sides of pictures in pixels: 4 to 16 rows of a tower that joins four patches of 14.
const SIDES: [usize; 4] = [56, 70, 84, 112];

/// What of a picture is asked.
#[derive(Clone, Copy)]
enum Asked {
    Colour,
    Shape,
    Both,
}

const QUESTIONS: [(&str, Asked); 6] = [
    ("Which colour is it?", Asked::Colour),
    ("What colour does the picture show?", Asked::Colour),
    ("Which shape is it?", Asked::Shape),
    ("What shape do you see?", Asked::Shape),
    ("What does the picture show?", Asked::Both),
    ("What is this?", Asked::Both),
];

/// A picture and two questions about it, as a line for `k25 train sft`; the picture is within the line.
pub fn sight(seed: u64, split: Split, index: u64) -> Json {
    let mut random = split.random(seed, index);
    let (shape, colour) = combination(&mut random, split);
    let ((shape, inside), (colour, levels)) = (SHAPES[shape], COLOURS[colour]);
    let side = *random.pick(&SIDES);
    let picture = png(side, &draw(&mut random, side, inside, levels));
    let url = format!("data:image/png;base64,{}", STANDARD.encode(picture));
    let mut questions = QUESTIONS;
    random.shuffle(&mut questions);
    let [first, second, ..] = questions;
    let answer = |asked| match asked {
        Asked::Colour => colour.to_owned(),
        Asked::Shape => shape.to_owned(),
        Asked::Both => format!("a {colour} {shape}"),
    };
    json!({ "messages": [
        { "role": "user", "content": [
            { "type": "image_url", "image_url": { "url": url } },
            { "type": "text", "text": first.0 },
        ] },
        { "role": "assistant", "content": answer(first.1) },
        { "role": "user", "content": second.0 },
        { "role": "assistant", "content": answer(second.1) },
    ] })
}

/// A shape and a colour of the split.
fn combination(random: &mut Random, split: Split) -> (usize, usize) {
    loop {
        let (shape, colour) = (random.below(SHAPES.len()), random.below(COLOURS.len()));
        // Diagonals of the table of all combinations: every shape and every colour is trained.
        let is_held_out = (shape + 2 * colour).is_multiple_of(HELD_OUT);
        if is_held_out == (split == Split::HeldOut) {
            return (shape, colour);
        }
    }
}

/// Pixels, row by row, three levels each: a shape somewhere on grey, with noise over both.
fn draw(random: &mut Random, side: usize, inside: Inside, levels: [u8; 3]) -> Vec<u8> {
    let grey = random.between(100, 160);
    let shade = random.between(-20, 20);
    let radius = side as f32 * (0.25 + 0.2 * random.unit() as f32);
    let mut middle = || radius + (side as f32 - 2.0 * radius) * random.unit() as f32;
    let (left, top) = (middle(), middle());
    let mut pixels = Vec::with_capacity(side * side * 3);
    for y in 0..side {
        for x in 0..side {
            let [across, down] =
                [(x, left), (y, top)].map(|(at, middle)| (at as f32 + 0.5 - middle) / radius);
            let noise = random.between(-8, 8);
            for level in levels {
                let level = match inside(across, down) {
                    true => i64::from(level) + shade,
                    false => grey,
                };
                pixels.push((level + noise).clamp(0, 255) as u8);
            }
        }
    }
    pixels
}

/// A square picture of these pixels as a file.
fn png(side: usize, pixels: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side as u32, side as u32);
    encoder.set_color(png::ColorType::Rgb);
    let written = encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(pixels));
    written.expect("a vector takes every byte, and the pixels fill the picture");
    file
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The last answers of lessons, each a colour, a shape, or both.
    fn answers(split: Split) -> BTreeSet<String> {
        let lessons = (0..600).map(|index| sight(1, split, index));
        lessons
            .map(|lesson| {
                lesson["messages"][3]["content"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn held_out_combinations_are_not_trained_and_their_parts_are() {
        let [trained, held_out] = [Split::Train, Split::HeldOut].map(answers);
        for name in SHAPES
            .map(|(shape, _)| shape)
            .iter()
            .chain(&COLOURS.map(|(colour, _)| colour))
        {
            assert!(
                trained.contains(*name) && held_out.contains(*name),
                "{name}"
            );
        }
        let both = |answers: &BTreeSet<String>| -> BTreeSet<String> {
            answers
                .iter()
                .filter(|answer| answer.starts_with("a "))
                .cloned()
                .collect()
        };
        let (trained, held_out) = (both(&trained), both(&held_out));
        assert_eq!((trained.len(), held_out.len()), (32, 8));
        assert!(trained.is_disjoint(&held_out));
    }

    #[test]
    fn a_shape_has_its_colour_and_lies_within_the_picture() {
        let grey_and_shape = |inside| {
            let pixels = draw(&mut Random::new(3, 0), 56, inside, [215, 35, 35]);
            let is_red = |pixel: &[u8]| pixel[0] > 170 && pixel[1] < 90;
            let points: Vec<bool> = pixels.chunks(3).map(is_red).collect();
            let edge = (0..56).any(|at| {
                points[at] || points[55 * 56 + at] || points[at * 56] || points[at * 56 + 55]
            });
            (points.iter().filter(|red| **red).count(), edge)
        };
        for (shape, inside) in SHAPES {
            let (red, edge) = grey_and_shape(inside);
            assert!((200..2500).contains(&red) && !edge, "{shape}: {red} points");
        }
    }

    #[test]
    fn a_lesson_is_a_conversation_with_a_picture() {
        let lesson = sight(1, Split::Train, 7);
        assert_eq!(lesson, sight(1, Split::Train, 7));
        let parsed = k25_chat::Conversation::parse(&lesson.to_string(), k25_chat::Reading::Service);
        let conversation = parsed.expect("a conversation");
        let shown: Vec<_> = conversation.media().collect();
        assert_eq!((conversation.messages.len(), shown.len()), (4, 1));
        let loader = k25_local::MediaLoader {
            config: k25_config::MediaConfig::for_vision(
                &k25_config::ModelConfig::kimi_k25().vision.expect("a tower"),
            ),
            image_limits: k25_model::media::ImageLimits::default(),
            video_limits: k25_model::media::VideoLimits::default(),
            files: k25_local::FileAccess::Refused,
        };
        assert!(loader.load(0, shown[0]).is_ok());
    }
}
