//! The vector units that products are made with.

use std::marker::PhantomData;

use super::super::element::Element;
use super::Unit;

/// Lanes of the unit for any CPU.
const LANES: usize = 8;

/// Any CPU: lanes are an array.
pub(crate) struct Plain<X, W>(PhantomData<(X, W)>);

impl<X: Element, W: Element> Unit for Plain<X, W> {
    type X = X;
    type W = W;
    const STEP: usize = LANES;
    const ROWS: usize = 2;
    type Xs = [f32; LANES];
    type Ws = [f32; LANES];
    type Sum = [f32; LANES];

    unsafe fn zero() -> Self::Sum {
        [0.0; LANES]
    }
    unsafe fn load_x(from: *const X) -> Self::Xs {
        // SAFETY: the caller vouches for the numbers.
        std::array::from_fn(|i| unsafe { (*from.add(i)).load() })
    }
    unsafe fn load_w(from: *const W) -> Self::Ws {
        // SAFETY: the caller vouches for the numbers.
        std::array::from_fn(|i| unsafe { (*from.add(i)).load() })
    }
    unsafe fn part_x(from: *const X, n: usize) -> Self::Xs {
        // SAFETY: the caller vouches for `n` numbers.
        std::array::from_fn(|i| if i < n { unsafe { (*from.add(i)).load() } } else { 0.0 })
    }
    unsafe fn part_w(from: *const W, n: usize) -> Self::Ws {
        // SAFETY: the caller vouches for `n` numbers.
        std::array::from_fn(|i| if i < n { unsafe { (*from.add(i)).load() } } else { 0.0 })
    }
    unsafe fn add(sum: Self::Sum, x: Self::Xs, w: Self::Ws) -> Self::Sum {
        std::array::from_fn(|i| sum[i] + x[i] * w[i])
    }
    unsafe fn totals(sums: [Self::Sum; 4]) -> [f32; 4] {
        sums.map(|s| ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{PairedBf16, Wide, Wide512};

#[cfg(not(target_arch = "x86_64"))]
pub(crate) trait Wide {}
#[cfg(not(target_arch = "x86_64"))]
impl<T: Element> Wide for T {}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::marker::PhantomData;

    use half::bf16;

    use super::super::super::element::Element;
    use super::Unit;

    /// Numbers that are widened to f32 as they are loaded.
    #[allow(clippy::missing_safety_doc, reason = "as Unit's methods of these names")]
    pub(crate) trait Wide {
        unsafe fn load_256(from: *const Self) -> __m256;
        unsafe fn load_512(from: *const Self) -> __m512;
        unsafe fn part_512(from: *const Self, n: usize) -> __m512;
    }

    impl Wide for f32 {
        #[inline(always)]
        unsafe fn load_256(from: *const Self) -> __m256 {
            // SAFETY: the caller vouches for CPU and numbers.
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_512(from: *const Self) -> __m512 {
            // SAFETY: the caller vouches for CPU and numbers.
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn part_512(from: *const Self, n: usize) -> __m512 {
            // SAFETY: the caller vouches for the CPU and `n` numbers; masked lanes are not read.
            unsafe { _mm512_maskz_loadu_ps((1_u16 << n) - 1, from) }
        }
    }

    impl Wide for bf16 {
        #[inline(always)]
        unsafe fn load_256(from: *const Self) -> __m256 {
            // SAFETY: the caller vouches for CPU and numbers.
            unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())))) }
        }
        #[inline(always)]
        unsafe fn load_512(from: *const Self) -> __m512 {
            // SAFETY: the caller vouches for CPU and numbers.
            unsafe {
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()))))
            }
        }
        #[inline(always)]
        unsafe fn part_512(from: *const Self, n: usize) -> __m512 {
            // SAFETY: the caller vouches for the CPU and `n` numbers; masked lanes are not read.
            unsafe {
                let part = _mm256_maskz_loadu_epi16((1_u16 << n) - 1, from.cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(part)))
            }
        }
    }

    /// The two halves' sum.
    #[inline(always)]
    unsafe fn halves(sums: __m256) -> [f32; 4] {
        let mut out = [0.0; 4];
        // SAFETY: the caller vouches for the CPU; four numbers into room for four.
        unsafe {
            let sums = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
            _mm_storeu_ps(out.as_mut_ptr(), sums);
        }
        out
    }

    /// Four sums of sixteen lanes each.
    #[inline(always)]
    unsafe fn totals_512([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
            let low = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
            let high = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
            let sums = _mm512_add_ps(low, high);
            halves(_mm256_add_ps(_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps::<1>(sums)))
        }
    }

    /// AVX-512: products in f32.
    pub(crate) struct Wide512<X, W>(PhantomData<(X, W)>);

    impl<X: Element + Wide, W: Element + Wide> Unit for Wide512<X, W> {
        type X = X;
        type W = W;
        const STEP: usize = 16;
        const ROWS: usize = 6;
        type Xs = __m512;
        type Ws = __m512;
        type Sum = __m512;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load_x(from: *const X) -> __m512 {
            // SAFETY: passed on.
            unsafe { X::load_512(from) }
        }
        #[inline(always)]
        unsafe fn load_w(from: *const W) -> __m512 {
            // SAFETY: passed on.
            unsafe { W::load_512(from) }
        }
        #[inline(always)]
        unsafe fn part_x(from: *const X, n: usize) -> __m512 {
            // SAFETY: passed on.
            unsafe { X::part_512(from, n) }
        }
        #[inline(always)]
        unsafe fn part_w(from: *const W, n: usize) -> __m512 {
            // SAFETY: passed on.
            unsafe { W::part_512(from, n) }
        }
        #[inline(always)]
        unsafe fn add(sum: __m512, x: __m512, w: __m512) -> __m512 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm512_fmadd_ps(x, w, sum) }
        }
        #[inline(always)]
        unsafe fn totals(sums: [__m512; 4]) -> [f32; 4] {
            // SAFETY: passed on.
            unsafe { totals_512(sums) }
        }
    }

    /// AVX512-BF16: products of bf16 pairs, summed in f32.
    pub(crate) struct PairedBf16;

    impl PairedBf16 {
        #[inline(always)]
        unsafe fn pairs(bits: __m512i) -> __m512bh {
            // SAFETY: two names for 512 bits.
            unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
        }
        #[inline(always)]
        unsafe fn whole(from: *const bf16) -> __m512bh {
            // SAFETY: the caller vouches for CPU and numbers.
            unsafe { Self::pairs(_mm512_loadu_si512(from.cast())) }
        }
        #[inline(always)]
        unsafe fn part(from: *const bf16, n: usize) -> __m512bh {
            // SAFETY: the caller vouches for the CPU and `n` numbers; masked lanes are not read.
            unsafe { Self::pairs(_mm512_maskz_loadu_epi16((1_u32 << n) - 1, from.cast())) }
        }
    }

    impl Unit for PairedBf16 {
        type X = bf16;
        type W = bf16;
        const STEP: usize = 32;
        const ROWS: usize = 6;
        type Xs = __m512bh;
        type Ws = __m512bh;
        type Sum = __m512;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load_x(from: *const bf16) -> __m512bh {
            // SAFETY: passed on.
            unsafe { Self::whole(from) }
        }
        #[inline(always)]
        unsafe fn load_w(from: *const bf16) -> __m512bh {
            // SAFETY: passed on.
            unsafe { Self::whole(from) }
        }
        #[inline(always)]
        unsafe fn part_x(from: *const bf16, n: usize) -> __m512bh {
            // SAFETY: passed on.
            unsafe { Self::part(from, n) }
        }
        #[inline(always)]
        unsafe fn part_w(from: *const bf16, n: usize) -> __m512bh {
            // SAFETY: passed on.
            unsafe { Self::part(from, n) }
        }
        #[inline(always)]
        unsafe fn add(sum: __m512, x: __m512bh, w: __m512bh) -> __m512 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm512_dpbf16_ps(sum, x, w) }
        }
        #[inline(always)]
        unsafe fn totals(sums: [__m512; 4]) -> [f32; 4] {
            // SAFETY: passed on.
            unsafe { totals_512(sums) }
        }
    }
}
