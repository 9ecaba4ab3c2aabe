//! Sixteen lanes as one 512-bit register.

use crate::simd::{LANES, PREFETCH, Simd};
use std::arch::x86_64::*;

/// AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// Reads 16 bytes of rows r, r + 4, r + 8 and r + 12 into the quarters of one register.
#[inline(always)]
unsafe fn four_rows(rows: [*const u8; 4]) -> __m512i {
    let x = _mm512_castsi128_si512(_mm_loadu_si128(rows[0].cast()));
    let x = _mm512_inserti32x4::<1>(x, _mm_loadu_si128(rows[1].cast()));
    let x = _mm512_inserti32x4::<2>(x, _mm_loadu_si128(rows[2].cast()));
    _mm512_inserti32x4::<3>(x, _mm_loadu_si128(rows[3].cast()))
}

/// Transposes 4 × 4 words within each 128-bit quarter.
#[inline(always)]
unsafe fn transpose_quarters(r: [__m512i; 4]) -> [__m512i; 4] {
    let a = _mm512_unpacklo_epi32(r[0], r[1]);
    let b = _mm512_unpackhi_epi32(r[0], r[1]);
    let c = _mm512_unpacklo_epi32(r[2], r[3]);
    let d = _mm512_unpackhi_epi32(r[2], r[3]);
    [
        _mm512_unpacklo_epi64(a, c),
        _mm512_unpackhi_epi64(a, c),
        _mm512_unpacklo_epi64(b, d),
        _mm512_unpackhi_epi64(b, d),
    ]
}

/// The total of the correction's two halves, in every lane.
#[inline(always)]
unsafe fn halves_sum(correction: i32) -> __m512i {
    _mm512_madd_epi16(_mm512_set1_epi32(correction), _mm512_set1_epi16(1))
}

/// Low and high nibbles of eight rows of 32 bytes: rows r and r + 4 in the halves of register r.
#[inline(always)]
unsafe fn eight_rows_of_nibbles<const AHEAD: bool>(
    base: *const u8,
    stride: usize,
) -> ([__m512i; 4], [__m512i; 4]) {
    let nibble = _mm512_set1_epi8(15);
    let mut low = [_mm512_setzero_si512(); 4];
    let mut high = low;
    for r in 0..4 {
        let (first, second) = (base.add(r * stride), base.add((r + 4) * stride));
        if AHEAD {
            _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(PREFETCH).cast());
            _mm_prefetch::<_MM_HINT_T0>(second.wrapping_add(PREFETCH).cast());
        }
        let first = _mm512_castsi256_si512(_mm256_loadu_si256(first.cast()));
        let second = _mm256_loadu_si256(second.cast());
        let bytes = _mm512_inserti64x4::<1>(first, second);
        low[r] = _mm512_and_si512(bytes, nibble);
        high[r] = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), nibble);
    }
    (low, high)
}

/// Sums of products of eight rows: quarters hold rows 0 to 3 of the first and of the second group, then rows 4 to 7.
#[inline(always)]
unsafe fn eight_row_sums(
    low: [__m512i; 4],
    high: [__m512i; 4],
    even: __m512i,
    odd: __m512i,
) -> __m512i {
    let mut products = [_mm512_setzero_si512(); 4];
    for r in 0..4 {
        products[r] =
            _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(products[r], low[r], even), high[r], odd);
    }
    let [p0, p1, p2, p3] = transpose_quarters(products);
    _mm512_add_epi32(_mm512_add_epi32(p0, p1), _mm512_add_epi32(p2, p3))
}

/// An operation on both halves of a register: for the three instructions that Miri does not know, so that it can interpret
/// everything else of this level.
#[cfg(miri)]
unsafe fn by_halves(
    a: __m512,
    b: __m512,
    operation: unsafe fn(__m256, __m256) -> __m256,
) -> __m512 {
    let low = operation(_mm512_castps512_ps256(a), _mm512_castps512_ps256(b));
    let high = operation(
        _mm512_extractf32x8_ps::<1>(a),
        _mm512_extractf32x8_ps::<1>(b),
    );
    _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type Part = __m512;
    const PARTS: usize = 1;
    type Acc4 = __m512i;
    type Acc8 = __m512i;
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        _mm512_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: __m512) {
        _mm512_storeu_ps(p, x);
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> __m512 {
        Self::bf16_low(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32) -> __m512 {
        _mm512_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, x: __m512) {
        _mm512_storeu_ps(p, x);
    }
    #[inline(always)]
    unsafe fn fma_part(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        #[cfg(miri)]
        return by_halves(a, b, |a, b| _mm256_max_ps(a, b));
        #[cfg(not(miri))]
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        #[cfg(miri)]
        return by_halves(a, b, |a, b| _mm256_min_ps(a, b));
        #[cfg(not(miri))]
        _mm512_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn reduce_add(x: __m512) -> f32 {
        let eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
        let four = _mm_add_ps(
            _mm256_castps256_ps128(eight),
            _mm256_extractf128_ps::<1>(eight),
        );
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
    #[inline(always)]
    unsafe fn reduce_max(x: __m512) -> f32 {
        let eight = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
        let four = _mm_max_ps(
            _mm256_castps256_ps128(eight),
            _mm256_extractf128_ps::<1>(eight),
        );
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
    #[inline(always)]
    unsafe fn to_i32(x: __m512) -> __m512i {
        #[cfg(miri)]
        return _mm512_castps_si512(by_halves(x, x, |x, _| {
            _mm256_castsi256_ps(_mm256_cvtps_epi32(x))
        }));
        #[cfg(not(miri))]
        _mm512_cvtps_epi32(x)
    }
    #[inline(always)]
    unsafe fn from_i32(x: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(x)
    }
    #[inline(always)]
    unsafe fn exp2_i32(n: __m512i) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
            n,
            _mm512_set1_epi32(127),
        )))
    }
    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> __m512i {
        _mm512_set1_epi32(x)
    }
    #[inline(always)]
    unsafe fn load_i32(p: *const u8) -> __m512i {
        _mm512_loadu_si512(p.cast())
    }
    #[inline(always)]
    unsafe fn store_i32(p: *mut u8, x: __m512i) {
        _mm512_storeu_si512(p.cast(), x);
    }
    #[inline(always)]
    unsafe fn add_i32(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn sub_i32(a: __m512i, b: __m512i) -> __m512i {
        _mm512_sub_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        _mm512_and_si512(a, b)
    }
    #[inline(always)]
    unsafe fn shr<const N: i32>(x: __m512i) -> __m512i {
        _mm512_srlv_epi32(x, _mm512_set1_epi32(N))
    }
    #[inline(always)]
    unsafe fn bits(x: __m512) -> __m512i {
        _mm512_castps_si512(x)
    }
    #[inline(always)]
    unsafe fn reduce_max_u32(x: __m512i) -> u32 {
        let eight = _mm256_max_epu32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
        let four = _mm_max_epu32(
            _mm256_castsi256_si128(eight),
            _mm256_extracti128_si256::<1>(eight),
        );
        let two = _mm_max_epu32(four, _mm_shuffle_epi32::<0b00_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_max_epu32(two, _mm_shuffle_epi32::<1>(two))).cast_unsigned()
    }
    #[inline(always)]
    unsafe fn store_low_bytes(p: *mut i8, x: __m512i) {
        _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(x));
    }
    #[inline(always)]
    unsafe fn bf16_low(x: __m512i) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x))
    }
    #[inline(always)]
    unsafe fn bf16_high(x: __m512i) -> __m512 {
        let mask = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
        _mm512_castsi512_ps(_mm512_and_si512(x, mask))
    }
    #[inline(always)]
    unsafe fn transpose_words(base: *const u8, stride: usize) -> [__m512i; 4] {
        let mut rows = [_mm512_setzero_si512(); 4];
        for (r, row) in rows.iter_mut().enumerate() {
            let at = base.add(r * stride);
            *row = four_rows([
                at,
                at.add(4 * stride),
                at.add(8 * stride),
                at.add(12 * stride),
            ]);
        }
        transpose_quarters(rows)
    }
    #[inline(always)]
    unsafe fn transpose(x: &mut [__m512; LANES]) {
        // After the first step, vector 4i + j holds column 4q + j of rows 4i..4i + 4 in its quarter q.
        let mut words = [_mm512_setzero_si512(); LANES];
        for i in 0..4 {
            let rows = transpose_quarters([
                _mm512_castps_si512(x[4 * i]),
                _mm512_castps_si512(x[4 * i + 1]),
                _mm512_castps_si512(x[4 * i + 2]),
                _mm512_castps_si512(x[4 * i + 3]),
            ]);
            words[4 * i..4 * i + 4].copy_from_slice(&rows);
        }
        // Transposing the 4 × 4 quarters for each j finishes it.
        for j in 0..4 {
            let low01 = _mm512_shuffle_i32x4::<0x44>(words[j], words[4 + j]);
            let high01 = _mm512_shuffle_i32x4::<0xee>(words[j], words[4 + j]);
            let low23 = _mm512_shuffle_i32x4::<0x44>(words[8 + j], words[12 + j]);
            let high23 = _mm512_shuffle_i32x4::<0xee>(words[8 + j], words[12 + j]);
            x[j] = _mm512_castsi512_ps(_mm512_shuffle_i32x4::<0x88>(low01, low23));
            x[4 + j] = _mm512_castsi512_ps(_mm512_shuffle_i32x4::<0xdd>(low01, low23));
            x[8 + j] = _mm512_castsi512_ps(_mm512_shuffle_i32x4::<0x88>(high01, high23));
            x[12 + j] = _mm512_castsi512_ps(_mm512_shuffle_i32x4::<0xdd>(high01, high23));
        }
    }
    #[inline(always)]
    unsafe fn nibble_sums<const M: usize, const AHEAD: bool>(
        base: *const u8,
        stride: usize,
        x: &[*const i8; M],
    ) -> [[__m512i; 2]; M] {
        let mut even = [_mm512_setzero_si512(); M];
        let mut odd = even;
        for m in 0..M {
            // Quarters: even and odd values of the first group, even and odd values of the second.
            let both = _mm512_loadu_si512(x[m].cast());
            even[m] = _mm512_shuffle_i32x4::<0b10_00_10_00>(both, both);
            odd[m] = _mm512_shuffle_i32x4::<0b11_01_11_01>(both, both);
        }
        let mut eights = [[_mm512_setzero_si512(); 2]; M];
        for eight in 0..2 {
            let rows = base.add(8 * eight * stride);
            let (low, high) = eight_rows_of_nibbles::<AHEAD>(rows, stride);
            for m in 0..M {
                eights[m][eight] = eight_row_sums(low, high, even[m], odd[m]);
            }
        }
        let mut sums = [[_mm512_setzero_si512(); 2]; M];
        for m in 0..M {
            sums[m][0] = _mm512_shuffle_i32x4::<0b10_00_10_00>(eights[m][0], eights[m][1]);
            sums[m][1] = _mm512_shuffle_i32x4::<0b11_01_11_01>(eights[m][0], eights[m][1]);
        }
        sums
    }
    #[inline(always)]
    unsafe fn correction(word: i32) -> __m512i {
        halves_sum(word)
    }
    #[inline(always)]
    unsafe fn acc4(correction: i32) -> __m512i {
        halves_sum(correction)
    }
    #[inline(always)]
    unsafe fn dot4(acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(acc, w, a)
    }
    #[inline(always)]
    unsafe fn acc4_sum(acc: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(acc)
    }
    #[inline(always)]
    unsafe fn acc8(correction: i32) -> __m512i {
        _mm512_slli_epi32::<4>(halves_sum(correction))
    }
    #[inline(always)]
    unsafe fn dot8(acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(acc, w, a)
    }
    #[inline(always)]
    unsafe fn acc8_sum(acc: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(acc)
    }
    #[inline(always)]
    unsafe fn dot_bytes(acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(acc, w, a)
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
}
