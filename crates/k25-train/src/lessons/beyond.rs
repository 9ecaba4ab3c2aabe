//! What a small model is asked and cannot do, so that it learns to say so instead of inventing something.

use crate::random::Random;
use crate::world::{Split, Words};

/// What a model says that was made for one kind of work and is asked for another.
pub const BEYOND: &str = "I cannot answer that. I am a small model: I find values in documents and fill tables with them.";

/// Questions that no document of the made-up worlds answers; `{}` stands for a word that nobody knows.
const QUESTIONS: [&str; 64] = [
    "Hello!",
    "Hi, how are you?",
    "Who are you?",
    "What can you do?",
    "Thank you!",
    "Tell me a joke.",
    "Tell me a story about {}.",
    "Write a poem about {}.",
    "Write an essay on {} and {}.",
    "Write a function that sorts a list of {}.",
    "Write a letter to {}.",
    "Why is the sky blue?",
    "Why does {} matter?",
    "Why did {} leave {}?",
    "How do I cook {}?",
    "How do I install {}?",
    "How can I learn {}?",
    "How does {} work?",
    "How many people live in {}?",
    "How old is {}?",
    "How far is it from {} to {}?",
    "What is the meaning of life?",
    "What is love?",
    "What is {}?",
    "What are {} good for?",
    "What do you think about {}?",
    "What should I do today?",
    "What will the weather be tomorrow?",
    "What will {} cost next year?",
    "What happened in {}?",
    "What is the capital of {}?",
    "What is the best {}?",
    "What is the difference between {} and {}?",
    "Who is {}?",
    "Who wrote {}?",
    "Who invented the {}?",
    "Who will win?",
    "Where is {}?",
    "Where can I buy {}?",
    "When was {} born?",
    "When did {} end?",
    "Which is better, {} or {}?",
    "Which one should I use?",
    "Which of them is the most popular?",
    "Is {} better than {}?",
    "Is {} safe?",
    "Can you help me with {}?",
    "Can you draw a {}?",
    "Could you explain {}?",
    "Do you like {}?",
    "Are you alive?",
    "Should I trust {}?",
    "Explain {} to a child.",
    "Explain how {} and {} belong together.",
    "Translate {} into French.",
    "Translate this into German: the {} is open.",
    "Summarise the history of {}.",
    "Give me advice about {}.",
    "Give me ten ideas for a {}.",
    "Recommend a {}.",
    "Compare {} with {} and say which is nicer.",
    "Plan a journey to {}.",
    "Fix the bug in {}.",
    "Prove that {} is true.",
];

/// A question of the split: one in four of them is held out of training.
pub(super) fn question(random: &mut Random, split: Split) -> String {
    let is_owned = |index: usize| index.is_multiple_of(4) == (split == Split::HeldOut);
    let index = loop {
        let index = random.below(QUESTIONS.len());
        if is_owned(index) {
            break index;
        }
    };
    let mut parts = QUESTIONS[index].split("{}");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let word = match random.chance(0.5) {
            true => Words::word(random, split),
            false => Words::new(split).noun(random),
        };
        format!("{text}{word}{part}")
    })
}
