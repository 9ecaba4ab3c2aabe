//! The one place where a level of [`Isa`] becomes instructions.

use crate::isa::Isa;
use crate::simd::Simd;

/// An operation with its arguments: a readable reference, and one algorithm over [`Simd`] for all vector levels.
pub(crate) trait Kernel: Sized {
    /// What the operation returns.
    type Output;
    /// The reference.
    fn scalar(self) -> Self::Output;
    /// The vector algorithm; implementations are `#[inline(always)]` so that it is compiled for the caller's level.
    ///
    /// # Safety
    /// The level's instructions must be available.
    unsafe fn vector<S: Simd>(self) -> Self::Output;
}

/// Runs `kernel` at level `isa`.
///
/// # Panics
/// When the processor lacks the level.
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        Isa::Scalar => kernel.scalar(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            assert!(isa.is_supported(), "AVX2 and FMA are missing");
            // SAFETY: the features are present.
            unsafe { avx2(kernel) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            assert!(isa.is_supported(), "AVX-512 VNNI is missing");
            // SAFETY: the features are present.
            unsafe { avx512(kernel) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        _ => panic!("this processor has no vector level"),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.vector::<crate::avx2::Avx2>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.vector::<crate::avx512::Avx512>()
}
