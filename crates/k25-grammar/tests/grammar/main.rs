//! Answers drawn at random from what a grammar allows: the strictest test of a grammar, since no
//! model helps it. What comes out is read as any answer is and checked by another library.

mod calls;
mod forms;
mod hostile;
mod walk;
