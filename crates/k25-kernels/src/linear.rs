//! Matrix products y = x · Wᵀ, for one row of activations or thousands.
//!
//! A row's result does not depend on the other rows, on how many there are, on the number of threads, or on the level of
//! [`Isa`]: each output value is computed by the same operations in the same order, which the scalar references spell out.

pub(crate) mod dense;
pub(crate) mod int4;
pub(crate) mod int8;
pub(crate) mod tile;

use crate::activations::QuantRows;
use crate::dispatch::dispatch;
use crate::isa::Isa;
use crate::pool::Pool;
use crate::shared::Columns;
use crate::simd::LANES;
use crate::weights::{Dense, Int4, Int8Matrix};
use std::ops::Range;

/// A weight matrix `[out, in]` of any kind.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// Packed INT4 as in the checkpoint.
    Int4(Int4<'a>),
    /// Bf16 or f32.
    Dense(Dense<'a>),
    /// Quantised by us.
    Int8(&'a Int8Matrix),
}

impl Weights<'_> {
    /// Rows (`out`) and columns (`in`).
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Weights::Int4(w) => w.shape(),
            Weights::Dense(w) => w.shape(),
            Weights::Int8(w) => w.shape(),
        }
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        match self {
            Weights::Int4(w) => w.bytes(),
            Weights::Dense(w) => w.bytes(),
            Weights::Int8(w) => w.bytes(),
        }
    }
}

/// Rows of activations.
#[derive(Clone, Copy, Debug)]
pub enum Activations<'a> {
    /// Row-major f32, `cols` values per row: the exact path of INT4, and the only one of dense weights.
    F32 {
        /// The values.
        values: &'a [f32],
        /// Values per row.
        cols: usize,
    },
    /// Quantised: the fast path of INT4, and the only one of int8 weights.
    Quant(&'a QuantRows),
}

impl Activations<'_> {
    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Activations::F32 { values, cols } => {
                (values.len().checked_div(*cols).unwrap_or(0), *cols)
            }
            Activations::Quant(x) => x.shape(),
        }
    }
}

/// Which rows of the activations a product uses, in which order: output row i comes from row `get(i)`.
#[derive(Clone, Debug)]
pub enum Rows<'a> {
    /// Consecutive rows.
    Range(Range<usize>),
    /// Any rows, such as the tokens of one expert.
    Index(&'a [u32]),
}

impl Rows<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Rows::Range(range) => range.len(),
            Rows::Index(index) => index.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline(always)]
    pub(crate) fn get(&self, i: usize) -> usize {
        match self {
            Rows::Range(range) => range.start + i,
            Rows::Index(index) => index[i] as usize,
        }
    }

    fn end(&self) -> usize {
        match self {
            Rows::Range(range) => range.end,
            Rows::Index(index) => index.iter().max().map_or(0, |&row| row as usize + 1),
        }
    }
}

/// One product: `y[i] = W · x[rows.get(i)]`.
#[derive(Debug)]
pub struct Product<'a> {
    /// The weights, `[out, in]`.
    pub weights: Weights<'a>,
    /// The activations, `[any, in]`.
    pub x: Activations<'a>,
    /// The rows of `x` to use.
    pub rows: Rows<'a>,
    /// The result, `[rows.len(), out]`, row-major.
    pub y: &'a mut [f32],
}

/// Weight bytes of a task at most: a few hundred rows, so that sixteen streams of rows are long ones.
const TASK_BYTES: usize = 900 << 10;

/// Weight bytes that a task should have at least, so that sharing out costs little.
const SMALL_TASK_BYTES: usize = 32 << 10;

/// Tasks per thread, where there is enough to do: more even out the ends, and other programs' demands.
const TASKS_PER_THREAD: usize = 6;

/// Multiply-adds of a task at most: some milliseconds.
const TASK_PRODUCTS: usize = 64 << 20;

/// Multiply-adds that a task should have at least.
const SMALL_TASK_PRODUCTS: usize = 4 << 20;

/// What a task should read and compute at most.
struct TaskSize {
    bytes: usize,
    products: usize,
}

impl TaskSize {
    fn new(products: &[Product<'_>], threads: usize) -> TaskSize {
        let (mut bytes, mut multiply_adds) = (0_usize, 0_usize);
        for product in products.iter().filter(|product| !product.rows.is_empty()) {
            let (out, cols) = product.weights.shape();
            bytes = bytes.saturating_add(product.weights.bytes());
            multiply_adds = multiply_adds
                .saturating_add(product.rows.len().saturating_mul(out).saturating_mul(cols));
        }
        let tasks = TASKS_PER_THREAD * threads;
        TaskSize {
            bytes: (bytes / tasks).clamp(SMALL_TASK_BYTES, TASK_BYTES),
            products: (multiply_adds / tasks).clamp(SMALL_TASK_PRODUCTS, TASK_PRODUCTS),
        }
    }
}

/// Output columns of a product that one task computes.
fn columns_per_task(weights: &Weights<'_>, rows: usize, size: &TaskSize) -> usize {
    let (out, cols) = weights.shape();
    let row_bytes = (weights.bytes() / out.max(1)).max(1);
    let by_bytes = size.bytes.div_ceil(row_bytes);
    let by_products = size.products / (rows * cols).max(1);
    let blocks = by_bytes.min(by_products).div_ceil(LANES).max(1);
    blocks * LANES
}

/// Computes all products in one parallel loop: the experts of a layer, or projections of the same input.
///
/// # Panics
/// When shapes do not fit, or the combination of weights and activations does not exist: INT4 takes both kinds, dense
/// weights take f32, int8 weights take quantised rows.
pub fn multiply(pool: &Pool, isa: Isa, products: &mut [Product<'_>]) {
    let mut first_tasks = Vec::with_capacity(products.len() + 1);
    let mut parts = Vec::with_capacity(products.len());
    let mut tasks = 0;
    let size = TaskSize::new(products, pool.threads());
    for product in products.iter_mut() {
        check(product);
        let rows = product.rows.len();
        let (out, _) = product.weights.shape();
        let columns = columns_per_task(&product.weights, rows, &size);
        first_tasks.push(tasks);
        if rows > 0 {
            tasks += out.div_ceil(columns);
        }
        let part = Part {
            weights: product.weights,
            x: product.x,
            rows: &product.rows,
            y: Columns::new(product.y, rows, out),
        };
        parts.push((part, columns));
    }
    pool.run(tasks, |task| {
        // Products without tasks share their first task with the next product: take the last.
        let index = first_tasks.partition_point(|&first| first <= task) - 1;
        let (part, columns) = &parts[index];
        let begin = (task - first_tasks[index]) * columns;
        let end = (begin + columns).min(part.weights.shape().0);
        part.compute(isa, begin..end);
    });
}

/// One product alone.
///
/// # Panics
/// As [`multiply`].
pub fn multiply_one(
    pool: &Pool,
    isa: Isa,
    weights: Weights<'_>,
    x: Activations<'_>,
    y: &mut [f32],
) {
    let rows = Rows::Range(0..x.shape().0);
    multiply(
        pool,
        isa,
        &mut [Product {
            weights,
            x,
            rows,
            y,
        }],
    );
}

fn check(product: &Product<'_>) {
    let (out, cols) = product.weights.shape();
    let (x_rows, x_cols) = product.x.shape();
    assert_eq!(
        x_cols, cols,
        "weights [{out}, {cols}] times activations of {x_cols} columns"
    );
    assert!(
        product.rows.end() <= x_rows,
        "a row beyond the {x_rows} rows of activations"
    );
    assert!(
        product.rows.len().checked_mul(out) == Some(product.y.len()),
        "the output is [{}, {out}]",
        product.rows.len()
    );
}

/// A product as the tasks see it.
struct Part<'a> {
    weights: Weights<'a>,
    x: Activations<'a>,
    rows: &'a Rows<'a>,
    y: Columns<'a>,
}

impl Part<'_> {
    /// Output columns `out`, which begin at a multiple of 16, for all rows.
    fn compute(&self, isa: Isa, out: Range<usize>) {
        let (rows, y) = (self.rows, self.y);
        match (self.weights, self.x) {
            (Weights::Int4(weights), Activations::Quant(x)) => {
                dispatch(
                    isa,
                    int4::QuantizedProduct {
                        weights,
                        x,
                        rows,
                        out,
                        y,
                    },
                );
            }
            (Weights::Int4(weights), Activations::F32 { values, cols: _ }) => {
                dispatch(
                    isa,
                    int4::ExactProduct {
                        weights,
                        x: values,
                        rows,
                        out,
                        y,
                    },
                );
            }
            (Weights::Dense(weights), Activations::F32 { values, cols: _ }) => {
                dispatch(
                    isa,
                    dense::DenseProduct {
                        weights,
                        x: values,
                        rows,
                        out,
                        y,
                    },
                );
            }
            (Weights::Int8(weights), Activations::Quant(x)) => {
                dispatch(
                    isa,
                    int8::Int8Product {
                        weights,
                        x,
                        rows,
                        out,
                        y,
                    },
                );
            }
            (Weights::Dense(_), Activations::Quant(_)) => {
                panic!("dense weights take f32 activations")
            }
            (Weights::Int8(_), Activations::F32 { .. }) => {
                panic!("int8 weights take quantised activations")
            }
        }
    }
}
