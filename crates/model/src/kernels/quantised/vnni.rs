//! AVX-512 with VNNI: sums of four byte products.

use std::arch::x86_64::*;

use super::super::lanes::Lanes512;
use super::*;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
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
        let mut panel = range.start;
        while panel < range.end {
            let wide = range.end - panel >= 2;
            let mut row = first;
            while row < end {
                let many = (end - row).min(6);
                macro_rules! run { ($($r:literal)*) => { match (many, wide, w.bits) { $(
                    ($r, true, Bits::Eight) => tile::<Y, $r, 2, false>(rows, w, bias, row, panel, y),
                    ($r, true, Bits::Four) => tile::<Y, $r, 2, true>(rows, w, bias, row, panel, y),
                    ($r, false, Bits::Eight) => tile::<Y, $r, 1, false>(rows, w, bias, row, panel, y),
                    ($r, false, Bits::Four) => tile::<Y, $r, 1, true>(rows, w, bias, row, panel, y),
                )* _ => unreachable!("a tile has one to six rows") } } }
                run!(1 2 3 4 5 6);
                row += many;
            }
            panel += if wide { 2 } else { 1 };
        }
        first = end;
    }
}

/// `R` rows with `P` panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
#[inline]
fn tile<Y: Element, const R: usize, const P: usize, const FOUR: bool>(
    rows: &Rows,
    w: Weights<'_>,
    bias: Option<&[f32]>,
    row: usize,
    panel: usize,
    y: &Shared<Y>,
) {
    let groups = groups(w.k);
    let group_bytes = w.bits.group_bytes();
    // Loops, for closures with this function's features would not be inlined into `map` and `from_fn`.
    let (mut x, mut offsets, mut x_scales) = ([&[][..]; R], [&[][..]; R], [&[][..]; R]);
    for r in 0..R {
        x[r] = &rows.q[(row + r) * groups * GROUP..][..groups * GROUP];
        offsets[r] = &rows.offsets[(row + r) * groups..][..groups];
        x_scales[r] = &rows.scales[(row + r) * groups..][..groups];
    }
    let (mut data, mut scales) = ([&[][..]; P], [&[][..]; P]);
    for p in 0..P {
        data[p] = &w.data[(panel + p) * groups * group_bytes..][..groups * group_bytes];
        scales[p] = &w.scales[(panel + p) * groups * PANEL..][..groups * PANEL];
    }
    let low = _mm512_set1_epi8(0x0f);
    let mut sums = [[_mm512_setzero_ps(); P]; R];
    for group in 0..groups {
        // SAFETY: `group < groups`, and all slices were cut to `groups` groups above; every load below stays
        // within its group.
        unsafe {
            let mut whole = [[_mm512_setzero_si512(); P]; R];
            let mut numbers = [std::ptr::null(); R];
            for r in 0..R {
                whole[r] = [_mm512_set1_epi32(*offsets[r].get_unchecked(group)); P];
                numbers[r] = x[r].as_ptr().add(group * GROUP);
            }
            let mut stored = [std::ptr::null(); P];
            for p in 0..P {
                stored[p] = data[p].as_ptr().add(group * group_bytes);
            }
            for q in 0..group_bytes / 64 {
                let mut weights = [_mm512_setzero_si512(); P];
                for p in 0..P {
                    weights[p] = _mm512_loadu_si512(stored[p].add(q * 64).cast());
                }
                if FOUR {
                    let mut halves = [weights; 2];
                    for p in 0..P {
                        halves[0][p] = _mm512_and_si512(weights[p], low);
                        halves[1][p] = _mm512_and_si512(_mm512_srli_epi16::<4>(weights[p]), low);
                    }
                    step(&mut whole, numbers, halves[0], q * 8);
                    step(&mut whole, numbers, halves[1], q * 8 + 4);
                } else {
                    step(&mut whole, numbers, weights, q * 4);
                }
            }
            for p in 0..P {
                let scale = _mm512_cvtph_ps(_mm256_loadu_si256(scales[p].as_ptr().add(group * PANEL).cast()));
                for r in 0..R {
                    let scale = _mm512_mul_ps(scale, _mm512_set1_ps(*x_scales[r].get_unchecked(group)));
                    sums[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[r][p]), scale, sums[r][p]);
                }
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            let mut out = [0.0; PANEL];
            // SAFETY: sixteen numbers into room for sixteen.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums[r][p]) };
            store(w.m, bias, row + r, panel + p, &out, y);
        }
    }
}

/// Adds the products of four numbers of each row, from `at` on, with four weights of each lane.
///
/// # Safety
/// The rows have these numbers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
#[inline]
unsafe fn step<const R: usize, const P: usize>(
    whole: &mut [[__m512i; P]; R],
    numbers: [*const i8; R],
    weights: [__m512i; P],
    at: usize,
) {
    for r in 0..R {
        // SAFETY: the caller's.
        let four = _mm512_set1_epi32(unsafe { numbers[r].add(at).cast::<i32>().read_unaligned() });
        for p in 0..P {
            whole[r][p] = _mm512_dpbusd_epi32(whole[r][p], weights[p], four);
        }
    }
}

/// [`round_row`](super::round_row), sixteen numbers at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
pub(super) fn round_row<T: Factor>(x: &[T], offset: i32, q: &mut [i8], scales: &mut [f32], offsets: &mut [i32]) {
    let (whole, rest) = x.as_chunks::<GROUP>();
    for (group, numbers) in whole.iter().enumerate() {
        let q = q[group * GROUP..].first_chunk_mut().expect("room for every group");
        (scales[group], offsets[group]) = round_group(numbers, offset, q);
    }
    if !rest.is_empty() {
        let group = whole.len();
        let mut numbers = [T::default(); GROUP];
        numbers[..rest.len()].copy_from_slice(rest);
        let q = q[group * GROUP..].first_chunk_mut().expect("room for every group");
        (scales[group], offsets[group]) = round_group(&numbers, offset, q);
    }
}

/// A group's scale and offset.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
#[inline]
fn round_group<T: Factor>(numbers: &[T; GROUP], offset: i32, q: &mut [i8; GROUP]) -> (f32, i32) {
    // SAFETY: a group is two vectors.
    let halves = unsafe {
        [T::load_lanes::<Lanes512>(numbers.as_ptr()), T::load_lanes::<Lanes512>(numbers.as_ptr().add(GROUP / 2))]
    };
    // The maximum takes its second operand where the first is no number, as the scalar comparison does.
    let zero = _mm512_setzero_ps();
    let a = _mm512_max_ps(_mm512_abs_ps(halves[0]), zero);
    let b = _mm512_max_ps(_mm512_abs_ps(halves[1]), zero);
    let largest = _mm512_reduce_max_ps(_mm512_max_ps(a, b));
    let inverse = _mm512_set1_ps(if largest > 0.0 { 127.0 / largest } else { 0.0 });
    let low = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(halves[0], inverse)));
    let high = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(halves[1], inverse)));
    let whole = _mm256_set_m128i(high, low);
    // SAFETY: a group's 32 bytes.
    unsafe { _mm256_storeu_si256(q.as_mut_ptr().cast(), whole) };
    let twos = _mm256_maddubs_epi16(_mm256_set1_epi8(1), whole);
    let fours = _mm256_madd_epi16(_mm256_set1_epi16(1), twos);
    let pair = _mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256::<1>(fours));
    let pair = _mm_add_epi32(pair, _mm_shuffle_epi32::<0b_00_00_11_10>(pair));
    let sum = _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32::<0b_00_00_00_01>(pair)));
    (largest / 127.0, -offset * sum)
}
