//! Damages of `tiktoken.model` and `tokenizer_config.json`.

use std::fs;
use std::io;
use std::path::Path;

use super::Damage;

const RANKS: &str = "tiktoken.model";
const CONFIG: &str = "tokenizer_config.json";

pub(super) fn damages() -> Vec<Damage> {
    let lines = |what, change: fn(&mut Vec<String>)| {
        Damage::new(what, &[RANKS], move |dir| edit_lines(dir, change))
    };
    let line = |what, number: usize, text: &'static str| {
        Damage::new(what, &[RANKS], move |dir| {
            edit_lines(dir, |lines| text.clone_into(&mut lines[number]))
        })
    };
    vec![
        Damage::new("ranks removed", &[RANKS], |dir| {
            fs::remove_file(dir.join(RANKS))
        }),
        lines("ranks empty", Vec::clear),
        line("a rank twice", 300, "cXF4eno= 301"),
        lines("a rank missing", |lines| drop(lines.remove(300))),
        line("a rank that is no number", 300, "YWJj three"),
        line(
            "a rank beyond all numbers",
            300,
            "YWJj 99999999999999999999",
        ),
        line("a token that is no base64", 300, "*** 300"),
        lines("a token twice", |lines| {
            let (token, _) = lines[301].split_once(' ').unwrap_or_default();
            lines[300] = format!("{token} 300");
        }),
        line("a byte without token", 0, "YWJjZGVmZ2hp 0"),
        Damage::new("ranks are no text", &[RANKS], |dir| {
            fs::write(dir.join(RANKS), [0xFF; 4096])
        }),
        Damage::new("names removed", &[CONFIG], |dir| {
            fs::remove_file(dir.join(CONFIG))
        }),
        Damage::new("names are no JSON", &[CONFIG], |dir| {
            fs::write(dir.join(CONFIG), "{")
        }),
        Damage::new("a marker at another slot", &[CONFIG, "<|im_end|>"], |dir| {
            let text = fs::read_to_string(dir.join(CONFIG))?;
            fs::write(dir.join(CONFIG), text.replace("<|im_user|>", "<|im_end|>"))
        }),
    ]
}

fn edit_lines(dir: &Path, change: impl FnOnce(&mut Vec<String>)) -> io::Result<()> {
    let text = fs::read_to_string(dir.join(RANKS))?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(dir.join(RANKS), lines.join("\n"))
}
