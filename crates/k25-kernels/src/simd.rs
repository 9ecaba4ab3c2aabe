//! The machine that every vector kernel is written for: sixteen lanes of 32 bits.
//!
//! AVX-512 has such a register; AVX2 uses a pair. A kernel written once over [`Simd`] therefore performs the same
//! operations in the same order at every level, and its scalar reference can repeat them bit for bit.

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// Values per quantisation group: weights (INT4) and activations (int8) alike.
pub const GROUP: usize = 32;

/// Bytes ahead of its use that weights are asked for.
pub(crate) const PREFETCH: usize = 256;

/// Sixteen lanes and what can be done with them.
///
/// # Safety
/// All methods may be called only where the level's instructions are available, which [`crate::dispatch::dispatch`]
/// guarantees; those that take a pointer need it valid for the number of values that they name (no alignment).
pub(crate) trait Simd: Copy {
    /// Sixteen `f32`.
    type F: Copy;
    /// Sixteen 32-bit words.
    type I: Copy;
    /// One register of floats; [`Simd::PARTS`] of them are an `F`. A kernel that works on one part at a time has registers for more rows.
    type Part: Copy;
    /// Registers of an `F`.
    const PARTS: usize;
    /// Sixteen running sums of products of 4-bit weights (one group of 32 at most).
    type Acc4: Copy;
    /// Sixteen running sums of products of 8-bit weights (one group of 32 at most).
    type Acc8: Copy;
    /// Whether there are 32 registers for sixteen lanes each, not 8: kernels hold more rows at once.
    const WIDE: bool;

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn store(p: *mut f32, x: Self::F);
    /// Sixteen little-endian bf16 values.
    unsafe fn load_bf16(p: *const u8) -> Self::F;
    /// Sixteen `i8`, converted.
    unsafe fn load_i8(p: *const i8) -> Self::F;
    /// `a·b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn load_part(p: *const f32) -> Self::Part;
    unsafe fn store_part(p: *mut f32, x: Self::Part);
    unsafe fn fma_part(a: Self::Part, b: Self::Part, c: Self::Part) -> Self::Part;
    /// The larger; the second where they do not compare.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; the second where they do not compare.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// The sum of the lanes as the tree of [`crate::scalar::reduce_add`].
    unsafe fn reduce_add(x: Self::F) -> f32;
    unsafe fn reduce_max(x: Self::F) -> f32;
    /// Nearest integer, ties to even.
    unsafe fn to_i32(x: Self::F) -> Self::I;
    unsafe fn from_i32(x: Self::I) -> Self::F;
    /// `2^n` for `n` in −126..=127.
    unsafe fn exp2_i32(n: Self::I) -> Self::F;

    unsafe fn splat_i32(x: i32) -> Self::I;
    unsafe fn load_i32(p: *const u8) -> Self::I;
    unsafe fn store_i32(p: *mut u8, x: Self::I);
    unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn sub_i32(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I;
    /// Logical shift right of each word by `N` bits.
    unsafe fn shr<const N: i32>(x: Self::I) -> Self::I;
    /// The bits of the floats.
    unsafe fn bits(x: Self::F) -> Self::I;
    /// Maximum over the lanes, as unsigned words.
    unsafe fn reduce_max_u32(x: Self::I) -> u32;
    /// The low byte of each word, to sixteen bytes.
    unsafe fn store_low_bytes(p: *mut i8, x: Self::I);
    /// The low half of each word as a bf16.
    unsafe fn bf16_low(x: Self::I) -> Self::F;
    /// The high half of each word as a bf16.
    unsafe fn bf16_high(x: Self::I) -> Self::F;
    /// Reads 16 bytes at `base + r·stride` for r in 0..16 and returns word c of every row in vector c.
    unsafe fn transpose_words(base: *const u8, stride: usize) -> [Self::I; 4];
    /// Transposes sixteen vectors in place: lane j of vector i becomes lane i of vector j.
    unsafe fn transpose(x: &mut [Self::F; LANES]);

    /// For sixteen rows of packed nibbles, the 32 bytes (two groups) at `base + r·stride`, and `M` rows of 64 activations in the order of
    /// [`crate::QuantRows`]: the sums of products of each group, nibbles taken as 0..=15.
    /// `AHEAD` asks for the weights [`PREFETCH`] bytes behind them too.
    unsafe fn nibble_sums<const M: usize, const AHEAD: bool>(
        base: *const u8,
        stride: usize,
        x: &[*const i8; M],
    ) -> [[Self::I; 2]; M];
    /// The total of a correction word of [`crate::QuantRows`]: the sum of its two `i16` halves, in every lane.
    unsafe fn correction(word: i32) -> Self::I;

    /// Starts sums of 4-bit products at the total of a correction word.
    unsafe fn acc4(correction: i32) -> Self::Acc4;
    /// Adds, per lane, the four products of unsigned bytes (0..=15) in `w` and signed bytes in `a`.
    unsafe fn dot4(acc: Self::Acc4, w: Self::I, a: Self::I) -> Self::Acc4;
    /// The finished sums.
    unsafe fn acc4_sum(acc: Self::Acc4) -> Self::F;
    /// Starts sums of 8-bit products at sixteen times the correction.
    unsafe fn acc8(correction: i32) -> Self::Acc8;
    /// Adds, per lane, the four products of unsigned bytes (0..=255) in `w` and signed bytes in `a`.
    unsafe fn dot8(acc: Self::Acc8, w: Self::I, a: Self::I) -> Self::Acc8;
    /// The finished sums.
    unsafe fn acc8_sum(acc: Self::Acc8) -> Self::F;

    /// The level's own dot product of unsigned and signed bytes into 32-bit sums; for measuring its peak.
    unsafe fn dot_bytes(acc: Self::I, w: Self::I, a: Self::I) -> Self::I;

    unsafe fn prefetch(p: *const u8);
}
