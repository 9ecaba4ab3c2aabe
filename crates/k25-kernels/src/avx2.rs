//! Sixteen lanes as two 256-bit registers.

use crate::simd::{LANES, PREFETCH, Simd};
use std::arch::x86_64::*;

/// AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

type F = [__m256; 2];
type I = [__m256i; 2];

/// Per lane two `i16` sums: 16 products of at most 15·127 each, and a correction of the other sign, fit.
#[derive(Clone, Copy)]
pub(crate) struct Sums4(I);

/// Per lane one `i32` sum.
#[derive(Clone, Copy)]
pub(crate) struct Sums8(I);

/// Reads 16 bytes of rows r and r + 4 into the halves of one register.
#[inline(always)]
unsafe fn two_rows(low: *const u8, high: *const u8) -> __m256i {
    let low = _mm_loadu_si128(low.cast());
    let high = _mm_loadu_si128(high.cast());
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
}

/// Transposes 4 × 4 words within each 128-bit half.
#[inline(always)]
unsafe fn transpose_halves(r: [__m256i; 4]) -> [__m256i; 4] {
    let a = _mm256_unpacklo_epi32(r[0], r[1]);
    let b = _mm256_unpackhi_epi32(r[0], r[1]);
    let c = _mm256_unpacklo_epi32(r[2], r[3]);
    let d = _mm256_unpackhi_epi32(r[2], r[3]);
    [
        _mm256_unpacklo_epi64(a, c),
        _mm256_unpackhi_epi64(a, c),
        _mm256_unpacklo_epi64(b, d),
        _mm256_unpackhi_epi64(b, d),
    ]
}

/// Word c of eight rows of 16 bytes in register c.
#[inline(always)]
unsafe fn eight_rows(rows: [*const u8; 8]) -> [__m256i; 4] {
    transpose_halves([
        two_rows(rows[0], rows[4]),
        two_rows(rows[1], rows[5]),
        two_rows(rows[2], rows[6]),
        two_rows(rows[3], rows[7]),
    ])
}

/// Transposes 8 × 8 floats.
#[inline(always)]
unsafe fn transpose8(r: [__m256; 8]) -> [__m256; 8] {
    let lower = transpose_halves([
        _mm256_castps_si256(_mm256_permute2f128_ps::<0x20>(r[0], r[4])),
        _mm256_castps_si256(_mm256_permute2f128_ps::<0x20>(r[1], r[5])),
        _mm256_castps_si256(_mm256_permute2f128_ps::<0x20>(r[2], r[6])),
        _mm256_castps_si256(_mm256_permute2f128_ps::<0x20>(r[3], r[7])),
    ]);
    let upper = transpose_halves([
        _mm256_castps_si256(_mm256_permute2f128_ps::<0x31>(r[0], r[4])),
        _mm256_castps_si256(_mm256_permute2f128_ps::<0x31>(r[1], r[5])),
        _mm256_castps_si256(_mm256_permute2f128_ps::<0x31>(r[2], r[6])),
        _mm256_castps_si256(_mm256_permute2f128_ps::<0x31>(r[3], r[7])),
    ]);
    [
        _mm256_castsi256_ps(lower[0]),
        _mm256_castsi256_ps(lower[1]),
        _mm256_castsi256_ps(lower[2]),
        _mm256_castsi256_ps(lower[3]),
        _mm256_castsi256_ps(upper[0]),
        _mm256_castsi256_ps(upper[1]),
        _mm256_castsi256_ps(upper[2]),
        _mm256_castsi256_ps(upper[3]),
    ]
}

#[inline(always)]
unsafe fn pair_sums(x: I) -> I {
    let ones = _mm256_set1_epi16(1);
    [_mm256_madd_epi16(x[0], ones), _mm256_madd_epi16(x[1], ones)]
}

/// Low and high nibbles of four rows of 32 bytes.
#[inline(always)]
unsafe fn four_rows_of_nibbles<const AHEAD: bool>(
    base: *const u8,
    stride: usize,
) -> ([__m256i; 4], [__m256i; 4]) {
    let nibble = _mm256_set1_epi8(15);
    let mut low = [_mm256_setzero_si256(); 4];
    let mut high = low;
    for r in 0..4 {
        let at = base.add(r * stride);
        if AHEAD {
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(PREFETCH).cast());
        }
        let bytes = _mm256_loadu_si256(at.cast());
        low[r] = _mm256_and_si256(bytes, nibble);
        high[r] = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
    }
    (low, high)
}

/// Sums of products of four rows, each half of a register a group: word r of a half is row r's sum. In 16 bits, the sums of
/// eight products of at most 15·127 each fit.
#[inline(always)]
unsafe fn four_row_sums(
    low: [__m256i; 4],
    high: [__m256i; 4],
    even: __m256i,
    odd: __m256i,
) -> __m256i {
    let mut products = [_mm256_setzero_si256(); 4];
    for r in 0..4 {
        products[r] = _mm256_add_epi16(
            _mm256_maddubs_epi16(low[r], even),
            _mm256_maddubs_epi16(high[r], odd),
        );
    }
    let [p0, p1, p2, p3] = products;
    let a = _mm256_add_epi16(_mm256_unpacklo_epi32(p0, p1), _mm256_unpackhi_epi32(p0, p1));
    let b = _mm256_add_epi16(_mm256_unpacklo_epi32(p2, p3), _mm256_unpackhi_epi32(p2, p3));
    let sums = _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    _mm256_madd_epi16(sums, _mm256_set1_epi16(1))
}

impl Simd for Avx2 {
    type F = F;
    type I = I;
    type Part = __m256;
    const PARTS: usize = 2;
    type Acc4 = Sums4;
    type Acc8 = Sums8;
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        [_mm256_set1_ps(x); 2]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))]
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: F) {
        _mm256_storeu_ps(p, x[0]);
        _mm256_storeu_ps(p.add(8), x[1]);
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> F {
        let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
        let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(16).cast()));
        Self::bf16_low([low, high])
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> F {
        let low = _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()));
        let high = _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.add(8).cast()));
        Self::from_i32([low, high])
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        [
            _mm256_fmadd_ps(a[0], b[0], c[0]),
            _mm256_fmadd_ps(a[1], b[1], c[1]),
        ]
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32) -> __m256 {
        _mm256_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, x: __m256) {
        _mm256_storeu_ps(p, x);
    }
    #[inline(always)]
    unsafe fn fma_part(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn reduce_add(x: F) -> f32 {
        let eight = _mm256_add_ps(x[0], x[1]);
        let four = _mm_add_ps(
            _mm256_castps256_ps128(eight),
            _mm256_extractf128_ps::<1>(eight),
        );
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
    #[inline(always)]
    unsafe fn reduce_max(x: F) -> f32 {
        let eight = _mm256_max_ps(x[0], x[1]);
        let four = _mm_max_ps(
            _mm256_castps256_ps128(eight),
            _mm256_extractf128_ps::<1>(eight),
        );
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
    #[inline(always)]
    unsafe fn to_i32(x: F) -> I {
        [_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1])]
    }
    #[inline(always)]
    unsafe fn from_i32(x: I) -> F {
        [_mm256_cvtepi32_ps(x[0]), _mm256_cvtepi32_ps(x[1])]
    }
    #[inline(always)]
    unsafe fn exp2_i32(n: I) -> F {
        let bias = _mm256_set1_epi32(127);
        [
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n[0], bias))),
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n[1], bias))),
        ]
    }
    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> I {
        [_mm256_set1_epi32(x); 2]
    }
    #[inline(always)]
    unsafe fn load_i32(p: *const u8) -> I {
        [
            _mm256_loadu_si256(p.cast()),
            _mm256_loadu_si256(p.add(32).cast()),
        ]
    }
    #[inline(always)]
    unsafe fn store_i32(p: *mut u8, x: I) {
        _mm256_storeu_si256(p.cast(), x[0]);
        _mm256_storeu_si256(p.add(32).cast(), x[1]);
    }
    #[inline(always)]
    unsafe fn add_i32(a: I, b: I) -> I {
        [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn sub_i32(a: I, b: I) -> I {
        [_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn and(a: I, b: I) -> I {
        [_mm256_and_si256(a[0], b[0]), _mm256_and_si256(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn shr<const N: i32>(x: I) -> I {
        [_mm256_srli_epi32::<N>(x[0]), _mm256_srli_epi32::<N>(x[1])]
    }
    #[inline(always)]
    unsafe fn bits(x: F) -> I {
        [_mm256_castps_si256(x[0]), _mm256_castps_si256(x[1])]
    }
    #[inline(always)]
    unsafe fn reduce_max_u32(x: I) -> u32 {
        let eight = _mm256_max_epu32(x[0], x[1]);
        let four = _mm_max_epu32(
            _mm256_castsi256_si128(eight),
            _mm256_extracti128_si256::<1>(eight),
        );
        let two = _mm_max_epu32(four, _mm_shuffle_epi32::<0b00_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_max_epu32(two, _mm_shuffle_epi32::<1>(two))).cast_unsigned()
    }
    #[inline(always)]
    unsafe fn store_low_bytes(p: *mut i8, x: I) {
        let low_bytes = _mm256_setr_epi8(
            0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1,
            -1, -1, -1, -1, -1, -1, -1, -1, -1,
        );
        for (half, x) in x.into_iter().enumerate() {
            let bytes = _mm256_shuffle_epi8(x, low_bytes);
            let bytes = _mm_unpacklo_epi32(
                _mm256_castsi256_si128(bytes),
                _mm256_extracti128_si256::<1>(bytes),
            );
            _mm_storel_epi64(p.add(8 * half).cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn bf16_low(x: I) -> F {
        [
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x[0])),
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x[1])),
        ]
    }
    #[inline(always)]
    unsafe fn bf16_high(x: I) -> F {
        let mask = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
        [
            _mm256_castsi256_ps(_mm256_and_si256(x[0], mask)),
            _mm256_castsi256_ps(_mm256_and_si256(x[1], mask)),
        ]
    }
    #[inline(always)]
    unsafe fn transpose_words(base: *const u8, stride: usize) -> [I; 4] {
        let low = eight_rows(std::array::from_fn(|r| base.wrapping_add(r * stride)));
        let high = eight_rows(std::array::from_fn(|r| base.wrapping_add((r + 8) * stride)));
        [
            [low[0], high[0]],
            [low[1], high[1]],
            [low[2], high[2]],
            [low[3], high[3]],
        ]
    }
    #[inline(always)]
    unsafe fn transpose(x: &mut [F; LANES]) {
        let mut quarters = [[[_mm256_setzero_ps(); 8]; 2]; 2];
        for (row_half, rows) in quarters.iter_mut().enumerate() {
            for (column_half, quarter) in rows.iter_mut().enumerate() {
                let mut block = [_mm256_setzero_ps(); 8];
                for (r, slot) in block.iter_mut().enumerate() {
                    *slot = x[8 * row_half + r][column_half];
                }
                *quarter = transpose8(block);
            }
        }
        for (column, out) in x.iter_mut().enumerate() {
            let (column_half, c) = (column / 8, column % 8);
            *out = [quarters[0][column_half][c], quarters[1][column_half][c]];
        }
    }
    #[inline(always)]
    unsafe fn nibble_sums<const M: usize, const AHEAD: bool>(
        base: *const u8,
        stride: usize,
        x: &[*const i8; M],
    ) -> [[I; 2]; M] {
        let mut even = [_mm256_setzero_si256(); M];
        let mut odd = even;
        for m in 0..M {
            let first = _mm256_loadu_si256(x[m].cast());
            let second = _mm256_loadu_si256(x[m].add(32).cast());
            even[m] = _mm256_permute2x128_si256::<0x20>(first, second);
            odd[m] = _mm256_permute2x128_si256::<0x31>(first, second);
        }
        let mut fours = [[_mm256_setzero_si256(); 4]; M];
        for four in 0..4 {
            let rows = base.add(4 * four * stride);
            let (low, high) = four_rows_of_nibbles::<AHEAD>(rows, stride);
            for m in 0..M {
                fours[m][four] = four_row_sums(low, high, even[m], odd[m]);
            }
        }
        let mut sums = [[[_mm256_setzero_si256(); 2]; 2]; M];
        for m in 0..M {
            let f = fours[m];
            sums[m][0][0] = _mm256_permute2x128_si256::<0x20>(f[0], f[1]);
            sums[m][0][1] = _mm256_permute2x128_si256::<0x20>(f[2], f[3]);
            sums[m][1][0] = _mm256_permute2x128_si256::<0x31>(f[0], f[1]);
            sums[m][1][1] = _mm256_permute2x128_si256::<0x31>(f[2], f[3]);
        }
        sums
    }
    #[inline(always)]
    unsafe fn correction(word: i32) -> I {
        pair_sums([_mm256_set1_epi32(word); 2])
    }
    #[inline(always)]
    unsafe fn acc4(correction: i32) -> Sums4 {
        Sums4([_mm256_set1_epi32(correction); 2])
    }
    #[inline(always)]
    unsafe fn dot4(acc: Sums4, w: I, a: I) -> Sums4 {
        Sums4([
            _mm256_add_epi16(acc.0[0], _mm256_maddubs_epi16(w[0], a[0])),
            _mm256_add_epi16(acc.0[1], _mm256_maddubs_epi16(w[1], a[1])),
        ])
    }
    #[inline(always)]
    unsafe fn acc4_sum(acc: Sums4) -> F {
        Self::from_i32(pair_sums(acc.0))
    }
    #[inline(always)]
    unsafe fn acc8(_correction: i32) -> Sums8 {
        // The products below are with q itself: nothing to correct.
        Sums8([_mm256_setzero_si256(); 2])
    }
    #[inline(always)]
    unsafe fn dot8(acc: Sums8, w: I, a: I) -> Sums8 {
        let mut sums = acc.0;
        for (half, sum) in sums.iter_mut().enumerate() {
            // One factor must be unsigned: |q|, its sign moved to the activation. Two products of 127·127 fit an i16.
            let q = _mm256_xor_si256(w[half], _mm256_set1_epi8(-128));
            let signed = _mm256_sign_epi8(a[half], q);
            let products = _mm256_maddubs_epi16(_mm256_abs_epi8(q), signed);
            let fours = _mm256_madd_epi16(products, _mm256_set1_epi16(1));
            *sum = _mm256_add_epi32(*sum, fours);
        }
        Sums8(sums)
    }
    #[inline(always)]
    unsafe fn acc8_sum(acc: Sums8) -> F {
        Self::from_i32(acc.0)
    }
    #[inline(always)]
    unsafe fn dot_bytes(acc: I, w: I, a: I) -> I {
        let products = pair_sums([
            _mm256_maddubs_epi16(w[0], a[0]),
            _mm256_maddubs_epi16(w[1], a[1]),
        ]);
        [
            _mm256_add_epi32(acc[0], products[0]),
            _mm256_add_epi32(acc[1], products[1]),
        ]
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
}
