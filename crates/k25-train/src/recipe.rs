//! How a model is made from nothing: lessons, a vocabulary, phases of training, one after the other.

use std::path::PathBuf;

use serde::Deserialize;

/// A recipe: files that are laid out in a folder, and steps that work there.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// What it makes.
    pub name: &'static str,
    /// The shape and the runs' configurations: names with texts.
    pub files: Vec<(&'static str, String)>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// One step; paths are relative to the folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Lessons are made up.
    Lessons {
        /// Where they are written.
        file: PathBuf,
        /// What they are about.
        kind: LessonSet,
        /// How many.
        count: u64,
        /// Decides all of them.
        seed: u64,
        /// Whether they are for measuring.
        #[serde(default)]
        held_out: bool,
        /// A vocabulary whose pieces words are made of, for [`LessonSet::Copies`].
        #[serde(default)]
        pieces: Option<PathBuf>,
    },
    /// A vocabulary is made from lessons.
    Vocabulary {
        /// Folder to write.
        dir: PathBuf,
        /// Ids in all.
        size: u32,
        /// Lessons to count.
        files: Vec<PathBuf>,
    },
    /// Training on text.
    Pretrain {
        /// Configuration of the run.
        config: PathBuf,
        /// Folder of the run.
        run: PathBuf,
    },
    /// Training on conversations.
    Sft {
        /// Configuration of the run.
        config: PathBuf,
        /// Folder of the run.
        run: PathBuf,
    },
    /// A run's model becomes a checkpoint.
    Export {
        /// Folder of the run.
        run: PathBuf,
        /// Folder to write.
        dir: PathBuf,
    },
}

/// Sets of lessons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LessonSet {
    /// Questions about documents, rewriting, arithmetic.
    Answers,
    /// Arithmetic and comparisons, which reasoning makes easier.
    Thinking,
    /// Agents and swarms at work.
    Runs,
    /// The same with longer documents.
    LongRuns,
    /// Words said three times.
    Echo,
    /// Values to be found by their keys.
    Recall,
    /// Values to be found by their subjects and their keys.
    Several,
    /// Paths, columns and values that are copied word by word.
    Copies,
    /// Shapes and colours in pictures.
    Sight,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    step: Vec<Step>,
}

/// Fewest lessons of a set in a shortened recipe: a vocabulary is made from them.
const FEWEST_LESSONS: u64 = 100;
/// Numbers in a run's configuration that are shortened with it.
const SHORTENED: [&str; 4] = ["steps", "warmup_steps", "decay_steps", "tokens"];

/// The files of nano's recipe, which belong to the program.
const NANO: &[(&str, &str)] = &[
    ("config.json", include_str!("../recipes/nano/config.json")),
    ("echo.toml", include_str!("../recipes/nano/echo.toml")),
    ("recall.toml", include_str!("../recipes/nano/recall.toml")),
    ("several.toml", include_str!("../recipes/nano/several.toml")),
    ("answers.toml", include_str!("../recipes/nano/answers.toml")),
    ("runs.toml", include_str!("../recipes/nano/runs.toml")),
    ("copies.toml", include_str!("../recipes/nano/copies.toml")),
    (
        "config-long.json",
        include_str!("../recipes/nano/config-long.json"),
    ),
    ("long.toml", include_str!("../recipes/nano/long.toml")),
    ("sight.toml", include_str!("../recipes/nano/sight.toml")),
];

impl Recipe {
    /// The recipe of nano, the small model that k25 carries.
    pub fn nano() -> Self {
        let steps: Steps = toml::from_str(include_str!("../recipes/nano/recipe.toml"))
            .expect("the recipe belongs to the program, and a test reads it");
        Self {
            name: "nano",
            files: NANO
                .iter()
                .map(|(n, text)| (*n, (*text).to_owned()))
                .collect(),
            steps: steps.step,
        }
    }

    /// The same with so much of every set of lessons and of every phase, between 0 and 1, but a step of each: whether all of it
    /// works is seen in minutes. What it makes can nothing.
    #[must_use]
    pub fn shortened(mut self, share: f64) -> Self {
        for step in &mut self.steps {
            if let Step::Lessons { count, .. } = step {
                *count = (*count).min(part_of(*count, share).max(FEWEST_LESSONS));
            }
        }
        for (_, text) in &mut self.files {
            let lines = text.lines().map(|line| shortened_line(line, share) + "\n");
            *text = lines.collect();
        }
        self
    }
}

fn part_of(count: u64, share: f64) -> u64 {
    ((count as f64 * share).ceil() as u64).max(1)
}

/// A line of a run's configuration, shortened where it says how long something is.
fn shortened_line(line: &str, share: f64) -> String {
    let shortened = || {
        let (key, number) = line.split_once(" = ")?;
        let number: u64 = number.replace('_', "").parse().ok()?;
        let key = SHORTENED.iter().find(|of| **of == key)?;
        Some(format!("{key} = {}", part_of(number, share)))
    };
    shortened().unwrap_or_else(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use std::path::Path;

    /// Every step finds what it needs: a file of the recipe, or what an earlier step made.
    #[test]
    fn nothing_is_missing_in_the_recipe() {
        for share in [1.0, 0.01] {
            is_complete(Recipe::nano().shortened(share));
        }
    }

    #[test]
    fn a_shortened_recipe_is_short() {
        let recipe = Recipe::nano().shortened(0.01);
        let (_, long) = recipe
            .files
            .iter()
            .find(|(name, _)| *name == "long.toml")
            .expect("a phase");
        let config: toml::Table = long.parse().expect("a configuration");
        let of = |section: &str, key| config[section].get(key).and_then(toml::Value::as_integer);
        assert_eq!(of("run", "steps"), Some(18));
        assert_eq!(of("run", "context"), Some(4096));
        assert_eq!(of("schedule", "warmup_steps"), Some(1));
        assert_eq!(config["evaluation"][0]["tokens"].as_integer(), Some(200));
    }

    fn is_complete(recipe: Recipe) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in &recipe.files {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        let mut there: Vec<PathBuf> = recipe.files.iter().map(|(name, _)| name.into()).collect();
        let made = |there: &[PathBuf], path: &Path| there.iter().any(|other| other == path);
        for step in recipe.steps {
            match step {
                Step::Lessons { file, pieces, .. } => {
                    assert!(pieces.iter().all(|dir| made(&there, dir)), "{file:?}");
                    there.push(file);
                }
                Step::Vocabulary { dir, files, .. } => {
                    assert!(files.iter().all(|file| made(&there, file)), "{dir:?}");
                    there.push(dir);
                }
                Step::Pretrain { config, run } | Step::Sft { config, run } => {
                    let read =
                        RunConfig::read(&folder.path().join(&config)).expect("a configuration");
                    let model = &read.model;
                    let paths = [&model.config, &model.tokenizer].into_iter();
                    let paths = paths.chain(&model.continue_run);
                    let paths = paths.chain(read.data.iter().map(|data| &data.path));
                    let paths = paths.chain(read.evaluation.iter().map(|data| &data.path));
                    for path in paths {
                        let path = path.strip_prefix(folder.path()).expect("a path below");
                        assert!(made(&there, path), "{config:?}: {path:?}");
                    }
                    there.push(run);
                }
                Step::Export { run, .. } => assert!(made(&there, &run), "{run:?}"),
            }
        }
    }
}
