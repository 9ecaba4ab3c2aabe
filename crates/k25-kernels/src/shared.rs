//! Outputs that the tasks of one loop write side by side.

use std::marker::PhantomData;

/// A slice cut into chunks that different threads may take.
pub(crate) struct Chunks<'a, T> {
    base: *mut T,
    len: usize,
    chunk: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: `take`'s contract gives each chunk to one thread only.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    /// Cuts `slice` into chunks of `chunk` values; the last may be shorter.
    pub(crate) fn new(slice: &'a mut [T], chunk: usize) -> Self {
        Chunks {
            base: slice.as_mut_ptr(),
            len: slice.len(),
            chunk,
            slice: PhantomData,
        }
    }

    /// Chunk number `index`.
    ///
    /// # Safety
    /// No chunk is taken twice.
    pub(crate) unsafe fn take(&self, index: usize) -> &'a mut [T] {
        let begin = (index * self.chunk).min(self.len);
        let end = (begin + self.chunk).min(self.len);
        std::slice::from_raw_parts_mut(self.base.add(begin), end - begin)
    }
}

/// A row-major matrix whose columns different threads write.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    base: *mut f32,
    rows: usize,
    cols: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: `store`'s contract gives each element to one thread only.
unsafe impl Send for Columns<'_> {}
// SAFETY: as above.
unsafe impl Sync for Columns<'_> {}

impl<'a> Columns<'a> {
    /// # Panics
    /// When `matrix` is not `rows · cols` long.
    pub(crate) fn new(matrix: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(matrix.len(), rows * cols, "the output is [{rows}, {cols}]");
        Columns {
            base: matrix.as_mut_ptr(),
            rows,
            cols,
            matrix: PhantomData,
        }
    }

    /// Writes `values` to row `row` from column `col` on.
    ///
    /// # Safety
    /// No other thread touches these elements during the loop.
    #[inline(always)]
    pub(crate) unsafe fn store(&self, row: usize, col: usize, values: &[f32]) {
        debug_assert!(row < self.rows && col + values.len() <= self.cols);
        self.base
            .add(row * self.cols + col)
            .copy_from_nonoverlapping(values.as_ptr(), values.len());
    }
}
