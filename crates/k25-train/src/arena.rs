//! Buffers that are used again from step to step, so that training asks the system for memory once.

use std::collections::BTreeMap;

/// Buffers of f32 that nobody uses at the moment, by capacity.
#[derive(Debug, Default)]
pub struct Arena {
    free: BTreeMap<usize, Vec<Vec<f32>>>,
    peak_bytes: usize,
}

impl Arena {
    /// An arena that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer of `len` values, whatever they are.
    pub fn take(&mut self, len: usize) -> Vec<f32> {
        // A much larger buffer would be missed where it is needed.
        let fitting = self.free.range_mut(len..=len.saturating_mul(2)).next();
        let Some((&capacity, buffers)) = fitting else {
            self.peak_bytes += len * size_of::<f32>();
            return vec![0.0; len];
        };
        let mut buffer = buffers.pop().expect("a size without buffers is removed");
        if buffers.is_empty() {
            self.free.remove(&capacity);
        }
        buffer.resize(len, 0.0);
        buffer
    }

    /// A buffer of `len` zeros.
    pub fn zeros(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Vec<f32>) {
        if buffer.capacity() > 0 {
            self.free.entry(buffer.capacity()).or_default().push(buffer);
        }
    }

    /// Bytes of all buffers that were ever made here, used or free.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_where_it_fits() {
        let mut arena = Arena::new();
        let first = arena.take(100);
        let place = first.as_ptr();
        arena.give(first);
        let small = arena.take(20);
        assert_ne!(small.as_ptr(), place, "too large");
        let again = arena.zeros(90);
        assert_eq!((again.as_ptr(), again.len()), (place, 90));
        assert_eq!(arena.peak_bytes(), 480);
    }
}
