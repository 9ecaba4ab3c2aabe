//! Where in a document a reader stands, for error messages: `messages[3].content[1].type`.

use std::fmt;

/// A place in a JSON document. A chain of borrowed steps, so that walking costs no allocation.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(super) const fn root(key: &'a str) -> Self {
        Path {
            parent: None,
            step: Step::Key(key),
        }
    }

    pub(super) const fn key(&'a self, key: &'a str) -> Self {
        Path {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    pub(super) const fn index(&'a self, index: usize) -> Self {
        Path {
            parent: Some(self),
            step: Step::Index(index),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Key(key) if self.parent.is_some() => write!(f, ".{key}"),
            Step::Key(key) => write!(f, "{key}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}
