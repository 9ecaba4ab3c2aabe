//! Keeps the beginning and the end of a stream of any length in bounded memory.

use std::collections::VecDeque;

use crate::output::Captured;

/// A stream being read.
#[derive(Debug)]
pub(super) struct Capture {
    most: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

impl Capture {
    /// Keeps at most so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Capture {
            most,
            head: Vec::new(),
            tail: VecDeque::new(),
            total: 0,
        }
    }

    /// How much came.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Takes what came.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (head, tail) = (self.most / 2, self.most - self.most / 2);
        let (first, rest) = bytes.split_at(bytes.len().min(head - self.head.len()));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(tail)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(tail);
        self.tail.drain(..over);
        self.tail.extend(rest);
    }

    /// What was kept.
    pub(super) fn finish(mut self) -> Captured {
        let kept = (self.head.len() + self.tail.len()) as u64;
        let missing_bytes = self.total - kept;
        let mut tail: Vec<u8> = self.tail.into();
        if missing_bytes == 0 {
            self.head.append(&mut tail);
        }
        Captured {
            head: self.head,
            tail,
            missing_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept_however_the_stream_is_cut() {
        let all: Vec<u8> = (0..=255).collect();
        for most in [0, 1, 2, 9, 10, 255, 256, 300] {
            for step in [1, 3, 100, 256] {
                let mut capture = Capture::new(most);
                all.chunks(step).for_each(|chunk| capture.add(chunk));
                assert_eq!(capture.total(), 256);
                let kept = capture.finish();
                if most >= 256 {
                    assert_eq!((kept.head, kept.missing_bytes), (all.clone(), 0));
                    continue;
                }
                assert_eq!(kept.head, all[..most / 2]);
                assert_eq!(kept.tail, all[256 - (most - most / 2)..]);
                assert_eq!(kept.missing_bytes, 256 - most as u64);
            }
        }
    }
}
