//! Activations as plain rows of f32.

/// A matrix `[len, width]` of f32, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    values: Vec<f32>,
    len: usize,
    width: usize,
}

impl Rows {
    /// A matrix of zeros.
    pub fn zeros(len: usize, width: usize) -> Self {
        Self {
            values: vec![0.0; len * width],
            len,
            width,
        }
    }

    /// A matrix over row-major values; their number must be a multiple of `width`.
    pub fn from_values(values: Vec<f32>, width: usize) -> Self {
        assert!(
            width > 0 && values.len().is_multiple_of(width),
            "values fill whole rows"
        );
        Self {
            len: values.len() / width,
            values,
            width,
        }
    }

    /// The transpose of column-major values: `columns` holds `width` columns of `len` values.
    pub(crate) fn from_columns(len: usize, width: usize, columns: &[f32]) -> Self {
        let mut rows = Self::zeros(len, width);
        for (column, values) in columns.chunks_exact(len.max(1)).enumerate() {
            for (row, value) in values.iter().enumerate() {
                rows.values[row * width + column] = *value;
            }
        }
        rows
    }

    /// The matrix with rows and columns exchanged.
    pub fn transposed(&self) -> Self {
        Self::from_columns(self.width, self.len, &self.values)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, row-major.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Row `index`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    /// Row `index`.
    pub fn row_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.values[index * self.width..(index + 1) * self.width]
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    /// The rows in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.values.chunks_exact_mut(self.width)
    }

    /// The rows that `indices` name, in that order.
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut selected = Self::zeros(indices.len(), self.width);
        for (into, &index) in selected.iter_mut().zip(indices) {
            into.copy_from_slice(self.row(index));
        }
        selected
    }
}
