//! Functions of each value alone, or of two values at the same place. All work in place.

use crate::dispatch::{Kernel, dispatch};
use crate::isa::Isa;
use crate::math;
use crate::pool::Pool;
use crate::scalar;
use crate::shared::Chunks;
use crate::simd::{LANES, Simd};

/// Values of one parallel task.
const TASK_VALUES: usize = 16 << 10;

/// x ← silu(x) · y, where silu(x) = x / (1 + e^−x); relative error below 5e-7.
///
/// # Panics
/// When the lengths differ.
pub fn silu_mul(pool: &Pool, isa: Isa, x: &mut [f32], y: &[f32]) {
    apply(pool, isa, x, Some(y), SiluMul);
}

/// x ← gelu(x) in its tanh form (the vision tower's); absolute error below 1e-6·max(1, |x|).
pub fn gelu_tanh(pool: &Pool, isa: Isa, x: &mut [f32]) {
    apply(pool, isa, x, None, GeluTanh);
}

/// x ← gelu(x) in its exact, erf form (the projector's); absolute error below 1e-6·max(1, |x|).
pub fn gelu(pool: &Pool, isa: Isa, x: &mut [f32]) {
    apply(pool, isa, x, None, Gelu);
}

/// x ← x + y.
///
/// # Panics
/// When the lengths differ.
pub fn add(pool: &Pool, isa: Isa, x: &mut [f32], y: &[f32]) {
    apply(pool, isa, x, Some(y), Add);
}

/// x ← x + factor · y, rounded once.
///
/// # Panics
/// When the lengths differ.
pub fn add_scaled(pool: &Pool, isa: Isa, x: &mut [f32], y: &[f32], factor: f32) {
    apply(pool, isa, x, Some(y), AddScaled(factor));
}

/// A function of two values; those of one value ignore the second.
trait Function: Copy + Sync {
    fn scalar(self, x: f32, y: f32) -> f32;
    unsafe fn vector<S: Simd>(self, x: S::F, y: S::F) -> S::F;
}

fn apply<O: Function>(pool: &Pool, isa: Isa, x: &mut [f32], y: Option<&[f32]>, function: O) {
    let len = x.len();
    if let Some(y) = y {
        assert_eq!(len, y.len(), "two operands of one length");
    }
    let chunks = Chunks::new(x, TASK_VALUES);
    pool.run(len.div_ceil(TASK_VALUES), |task| {
        // SAFETY: each task takes its own chunk, once.
        let x = unsafe { chunks.take(task) };
        let y = y.map(|y| &y[task * TASK_VALUES..][..x.len()]);
        dispatch(isa, InPlace { x, y, function });
    });
}

struct InPlace<'a, O> {
    x: &'a mut [f32],
    /// As long as `x`.
    y: Option<&'a [f32]>,
    function: O,
}

impl<O: Function> Kernel for InPlace<'_, O> {
    type Output = ();

    fn scalar(self) {
        for (i, x) in self.x.iter_mut().enumerate() {
            *x = self.function.scalar(*x, self.y.map_or(0.0, |y| y[i]));
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(self) {
        let whole = self.x.len() / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            let at = self.x.as_mut_ptr().add(i);
            let y = match self.y {
                Some(y) => S::load(y.as_ptr().add(i)),
                None => S::splat(0.0),
            };
            S::store(at, self.function.vector::<S>(S::load(at), y));
        }
        let rest = self.x.len() - whole;
        if rest > 0 {
            let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
            x[..rest].copy_from_slice(&self.x[whole..]);
            if let Some(values) = self.y {
                y[..rest].copy_from_slice(&values[whole..]);
            }
            let result = self
                .function
                .vector::<S>(S::load(x.as_ptr()), S::load(y.as_ptr()));
            S::store(x.as_mut_ptr(), result);
            self.x[whole..].copy_from_slice(&x[..rest]);
        }
    }
}

#[derive(Clone, Copy)]
struct SiluMul;
impl Function for SiluMul {
    fn scalar(self, x: f32, y: f32) -> f32 {
        scalar::math::times_sigmoid(x, x) * y
    }
    #[inline(always)]
    unsafe fn vector<S: Simd>(self, x: S::F, y: S::F) -> S::F {
        S::mul(math::times_sigmoid::<S>(x, x), y)
    }
}

#[derive(Clone, Copy)]
struct GeluTanh;
impl Function for GeluTanh {
    fn scalar(self, x: f32, _: f32) -> f32 {
        scalar::math::gelu_tanh(x)
    }
    #[inline(always)]
    unsafe fn vector<S: Simd>(self, x: S::F, _: S::F) -> S::F {
        math::gelu_tanh::<S>(x)
    }
}

#[derive(Clone, Copy)]
struct Gelu;
impl Function for Gelu {
    fn scalar(self, x: f32, _: f32) -> f32 {
        scalar::math::gelu(x)
    }
    #[inline(always)]
    unsafe fn vector<S: Simd>(self, x: S::F, _: S::F) -> S::F {
        math::gelu::<S>(x)
    }
}

#[derive(Clone, Copy)]
struct Add;
impl Function for Add {
    fn scalar(self, x: f32, y: f32) -> f32 {
        x + y
    }
    #[inline(always)]
    unsafe fn vector<S: Simd>(self, x: S::F, y: S::F) -> S::F {
        S::add(x, y)
    }
}

#[derive(Clone, Copy)]
struct AddScaled(f32);
impl Function for AddScaled {
    fn scalar(self, x: f32, y: f32) -> f32 {
        y.mul_add(self.0, x)
    }
    #[inline(always)]
    unsafe fn vector<S: Simd>(self, x: S::F, y: S::F) -> S::F {
        S::fma(y, S::splat(self.0), x)
    }
}
