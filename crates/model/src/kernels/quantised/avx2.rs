//! AVX2.

use std::arch::x86_64::*;

use super::*;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn panels<Y: Element>(
    rows: &Rows,
    w: Weights<'_>,
    bias: Option<&[f32]>,
    range: std::ops::Range<usize>,
    y: &Shared<Y>,
) {
    let mut first = 0;
    while first < rows.n {
        let end = (first + ROWS_NEAR).min(rows.n);
        for panel in range.clone() {
            let mut row = first;
            while row < end {
                let many = (end - row).min(2);
                match (many, w.bits) {
                    (1, Bits::Eight) => tile::<Y, 1, false>(rows, w, bias, row, panel, y),
                    (1, Bits::Four) => tile::<Y, 1, true>(rows, w, bias, row, panel, y),
                    (_, Bits::Eight) => tile::<Y, 2, false>(rows, w, bias, row, panel, y),
                    (_, Bits::Four) => tile::<Y, 2, true>(rows, w, bias, row, panel, y),
                }
                row += many;
            }
        }
        first = end;
    }
}

/// `R` rows with a panel. Bytes are multiplied in halves of 4 bits: eight products of a half (at most 15) and a byte
/// (at most 127) sum to less than 2^15, so that the 16-bit sums of a group never overflow.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn tile<Y: Element, const R: usize, const FOUR: bool>(
    rows: &Rows,
    w: Weights<'_>,
    bias: Option<&[f32]>,
    row: usize,
    panel: usize,
    y: &Shared<Y>,
) {
    let groups = groups(w.k);
    let group_bytes = if FOUR { 256 } else { 512 };
    let x: [&[i8]; R] = std::array::from_fn(|r| &rows.q[(row + r) * groups * GROUP..][..groups * GROUP]);
    let data = &w.data[panel * groups * group_bytes..][..groups * group_bytes];
    let scales = &w.scales[panel * groups * PANEL..][..groups * PANEL];
    let (low, ones) = (_mm256_set1_epi8(0x0f), _mm256_set1_epi16(1));
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    for group in 0..groups {
        let zero = [[_mm256_setzero_si256(); 2]; R];
        let (mut lows, mut highs) = (zero, zero);
        for q in 0..group_bytes / 64 {
            for half in 0..2 {
                // SAFETY: within the group, which the slices above hold.
                unsafe {
                    let both = _mm256_loadu_si256(data.as_ptr().add(group * group_bytes + q * 64 + half * 32).cast());
                    let (lo, hi) = (_mm256_and_si256(both, low), _mm256_and_si256(_mm256_srli_epi16::<4>(both), low));
                    for r in 0..R {
                        let at = x[r].as_ptr().add(group * GROUP + if FOUR { q * 8 } else { q * 4 });
                        let first = _mm256_set1_epi32(at.cast::<i32>().read_unaligned());
                        lows[r][half] = _mm256_add_epi16(lows[r][half], _mm256_maddubs_epi16(lo, first));
                        if FOUR {
                            let second = _mm256_set1_epi32(at.add(4).cast::<i32>().read_unaligned());
                            lows[r][half] = _mm256_add_epi16(lows[r][half], _mm256_maddubs_epi16(hi, second));
                        } else {
                            highs[r][half] = _mm256_add_epi16(highs[r][half], _mm256_maddubs_epi16(hi, first));
                        }
                    }
                }
            }
        }
        for half in 0..2 {
            // SAFETY: eight scales of the group's sixteen.
            let scale =
                unsafe { _mm256_cvtph_ps(_mm_loadu_si128(scales.as_ptr().add(group * PANEL + half * 8).cast())) };
            for r in 0..R {
                let place = (row + r) * groups + group;
                let mut whole = _mm256_madd_epi16(lows[r][half], ones);
                if !FOUR {
                    whole = _mm256_add_epi32(whole, _mm256_slli_epi32::<4>(_mm256_madd_epi16(highs[r][half], ones)));
                }
                whole = _mm256_add_epi32(whole, _mm256_set1_epi32(rows.offsets[place]));
                let scale = _mm256_mul_ps(scale, _mm256_set1_ps(rows.scales[place]));
                sums[r][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), scale, sums[r][half]);
            }
        }
    }
    for r in 0..R {
        let mut out = [0.0; PANEL];
        // SAFETY: twice eight numbers into room for sixteen.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), sums[r][0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), sums[r][1]);
        }
        store(w.m, bias, row + r, panel, &out, y);
    }
}
