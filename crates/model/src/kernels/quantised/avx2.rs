//! AVX2.

use std::arch::x86_64::*;

use super::super::{Near, prefetch};
use super::*;

/// Rows of `x` in the tallest tile.
const TALL: usize = 4;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn panels<Y: Element>(
    rows: &Rows,
    w: Weights<'_>,
    bias: Option<&[f32]>,
    range: std::ops::Range<usize>,
    y: &Shared<Y>,
) {
    let mut first = 0;
    // A number that the compiler does not know: it would write all steps of a group out, and run out of registers.
    let steps = std::hint::black_box(w.bits.group_bytes() / 64);
    while first < rows.n {
        let end = (first + ROWS_NEAR).min(rows.n);
        let tiles = (end - first).div_ceil(TALL);
        for panel in range.clone() {
            let mut row = first;
            while row < end {
                let many = (end - row).min(TALL);
                send_for_next(w, panel, (row - first) / TALL, tiles);
                macro_rules! run { ($($r:literal)*) => { match (many, w.bits) { $(
                    ($r, Bits::Eight) => tile::<Y, $r, false>(rows, w, bias, (row, panel, steps), y),
                    ($r, Bits::Four) => tile::<Y, $r, true>(rows, w, bias, (row, panel, steps), y),
                )* _ => unreachable!("a tile has one to four rows") } } }
                run!(1 2 3 4);
                row += many;
            }
        }
        first = end;
    }
}

/// Sends for a tile's share of the next panel, so that it is near when this one is done with.
fn send_for_next(w: Weights<'_>, panel: usize, tile: usize, tiles: usize) {
    let bytes = groups(w.k) * w.bits.group_bytes();
    let share = bytes.div_ceil(tiles).next_multiple_of(64);
    let from = (panel + 1) * bytes + (tile * share).min(bytes);
    let end = (from + share).min((panel + 2) * bytes).min(w.data.len());
    prefetch(w.data.get(from..end).unwrap_or_default(), Near::First);
}

/// `R` rows with a panel, of which each half passes by itself: so all sums stay in registers.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn tile<Y: Element, const R: usize, const FOUR: bool>(
    rows: &Rows,
    w: Weights<'_>,
    bias: Option<&[f32]>,
    (row, panel, steps): (usize, usize, usize),
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
    let data = &w.data[panel * groups * group_bytes..][..groups * group_bytes];
    let scales = &w.scales[panel * groups * PANEL..][..groups * PANEL];
    let mut out = [[0.0; PANEL]; R];
    for half in 0..2 {
        let mut sums = [_mm256_setzero_ps(); R];
        for group in 0..groups {
            // SAFETY: `group < groups`, and all slices were cut to `groups` groups above; every load stays within its
            // group.
            unsafe {
                let (mut numbers, mut own) = ([std::ptr::null(); R], [0; R]);
                for r in 0..R {
                    numbers[r] = x[r].as_ptr().add(group * GROUP);
                    own[r] = *offsets[r].get_unchecked(group);
                }
                let data = data.as_ptr().add(group * group_bytes + half * 32);
                let whole = if FOUR { four_bits(numbers, data, steps, own) } else { eight_bits(numbers, data, steps) };
                let scale = _mm256_cvtph_ps(_mm_loadu_si128(scales.as_ptr().add(group * PANEL + half * 8).cast()));
                for r in 0..R {
                    let scale = _mm256_mul_ps(scale, _mm256_set1_ps(*x_scales[r].get_unchecked(group)));
                    sums[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole[r]), scale, sums[r]);
                }
            }
        }
        for r in 0..R {
            // SAFETY: eight numbers into half of the room for sixteen.
            unsafe { _mm256_storeu_ps(out[r].as_mut_ptr().add(half * 8), sums[r]) };
        }
    }
    for (r, out) in out.iter().enumerate() {
        store(w.m, bias, row + r, panel, out, y);
    }
}

/// Four numbers of a row, eight times.
///
/// # Safety
/// There are four.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn spread(from: *const i8) -> __m256i {
    // SAFETY: the caller's.
    _mm256_set1_epi32(unsafe { from.cast::<i32>().read_unaligned() })
}

/// Sums of a group with half a panel. A weight's magnitude is multiplied by a number with the weight's sign: two such
/// products are at most 2 x 127 x 127, less than 2^15, where products of offset weights would overflow 16 bits.
///
/// # Safety
/// Each `x` has a group, and `data` half a panel's, of `steps` steps.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn eight_bits<const R: usize>(x: [*const i8; R], data: *const u8, steps: usize) -> [__m256i; R] {
    let (ones, offset) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
    let mut whole = [_mm256_setzero_si256(); R];
    for q in 0..steps {
        // SAFETY: within the group.
        unsafe {
            let weights = _mm256_xor_si256(_mm256_loadu_si256(data.add(q * 64).cast()), offset);
            let sizes = _mm256_abs_epi8(weights);
            for r in 0..R {
                let signed = _mm256_sign_epi8(spread(x[r].add(q * 4)), weights);
                let pairs = _mm256_maddubs_epi16(sizes, signed);
                whole[r] = _mm256_add_epi32(whole[r], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    whole
}

/// Sums of a group with half a panel. Eight products of 4 bits (at most 15) and 8 bits (at most 127) sum to less than
/// 2^15, so that the 16-bit sums of a group never overflow.
///
/// # Safety
/// Each `x` has a group, and `data` half a panel's, of `steps` steps.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn four_bits<const R: usize>(
    x: [*const i8; R],
    data: *const u8,
    steps: usize,
    offsets: [i32; R],
) -> [__m256i; R] {
    let (low, ones) = (_mm256_set1_epi8(0x0f), _mm256_set1_epi16(1));
    let mut pairs = [_mm256_setzero_si256(); R];
    for q in 0..steps {
        // SAFETY: within the group.
        unsafe {
            let both = _mm256_loadu_si256(data.add(q * 64).cast());
            let first = _mm256_and_si256(both, low);
            let second = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
            for r in 0..R {
                let at = x[r].add(q * 8);
                pairs[r] = _mm256_add_epi16(pairs[r], _mm256_maddubs_epi16(first, spread(at)));
                pairs[r] = _mm256_add_epi16(pairs[r], _mm256_maddubs_epi16(second, spread(at.add(4))));
            }
        }
    }
    let mut whole = pairs;
    for r in 0..R {
        whole[r] = _mm256_add_epi32(_mm256_madd_epi16(pairs[r], ones), _mm256_set1_epi32(offsets[r]));
    }
    whole
}

/// [`round_row`](super::round_row), eight numbers at a time.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn round_row<T: Element>(x: &[T], offset: i32, q: &mut [i8], scales: &mut [f32], offsets: &mut [i32]) {
    let positive = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
    // What two rounds of packing within halves leave in disorder.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (group, q) in q.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        let numbers = group_of(&x[group * GROUP..]);
        // SAFETY: four times eight numbers are a group.
        let parts: [__m256; 4] = std::array::from_fn(|part| unsafe { _mm256_loadu_ps(numbers.as_ptr().add(part * 8)) });
        // A number that is none is never the larger one: `max` gives its second operand then.
        let mut largest = _mm256_setzero_ps();
        for part in parts {
            largest = _mm256_max_ps(_mm256_and_ps(part, positive), largest);
        }
        let mut lanes = [0.0_f32; 8];
        // SAFETY: eight numbers into room for eight.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), largest) };
        let largest = lanes.iter().fold(0.0_f32, |a, &b| if b > a { b } else { a });
        let inverse = _mm256_set1_ps(if largest > 0.0 { 127.0 / largest } else { 0.0 });
        let [a, b, c, d] = parts.map(|part| _mm256_cvtps_epi32(_mm256_mul_ps(part, inverse)));
        let whole = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        let whole = _mm256_permutevar8x32_epi32(whole, order);
        // SAFETY: a group's 32 places.
        unsafe { _mm256_storeu_si256(q.as_mut_ptr().cast(), whole) };
        let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), whole);
        let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
        let mut sums = [0_i32; 8];
        // SAFETY: eight numbers into room for eight.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), fours) };
        scales[group] = largest / 127.0;
        offsets[group] = -offset * sums.iter().sum::<i32>();
    }
}
