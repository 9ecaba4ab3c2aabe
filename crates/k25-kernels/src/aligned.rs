//! Memory that begins at a cache line.

use std::ops::{Deref, DerefMut};

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Types for which all bit patterns, zero above all, are values.
pub trait Plain: Copy + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for f32 {}
}

impl Plain for u8 {}
impl Plain for f32 {}

/// A buffer of fixed length that begins at a cache line. Every kernel takes any slice, but loads that straddle lines cost
/// twice, and the allocator places large vectors so that half of them do: activations of matrix products belong here.
#[derive(Clone)]
pub struct Aligned<T: Plain> {
    lines: Vec<Line>,
    len: usize,
    values: std::marker::PhantomData<T>,
}

impl<T: Plain> Aligned<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Aligned<T> {
        let lines = vec![Line([0; 64]); (len * size_of::<T>()).div_ceil(64)];
        Aligned {
            lines,
            len,
            values: std::marker::PhantomData,
        }
    }

    /// No values, and no memory.
    pub const fn empty() -> Aligned<T> {
        Aligned {
            lines: Vec::new(),
            len: 0,
            values: std::marker::PhantomData,
        }
    }

    /// A copy of `values`.
    pub fn copy_of(values: &[T]) -> Aligned<T> {
        let mut copy = Aligned::zeros(values.len());
        copy.copy_from_slice(values);
        copy
    }
}

impl<T: Plain> Deref for Aligned<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold at least `len` initialised values of a type that any bits are values of.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<T: Plain> std::fmt::Debug for Aligned<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aligned")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// A value that begins at a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct AtLine<T>(pub(crate) T);
