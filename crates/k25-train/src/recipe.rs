//! How a model is made from nothing: lessons, a vocabulary, phases of training, one after the other.

use std::path::PathBuf;

use serde::Deserialize;

/// A recipe: files that are laid out in a folder, and steps that work there.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// What it makes.
    pub name: &'static str,
    /// The shape and the runs' configurations: names with texts.
    pub files: &'static [(&'static str, &'static str)],
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
            files: NANO,
            steps: steps.step,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use std::path::Path;

    /// Every step finds what it needs: a file of the recipe, or what an earlier step made.
    #[test]
    fn nothing_is_missing_in_the_recipe() {
        let recipe = Recipe::nano();
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in recipe.files {
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
