//! Products in f32 for CPUs with AVX2: weights lie in panels of [`WIDTH`] rows, number by number along `k`.
//!
//! Every output is one chain of multiply-adds along `k` for each piece of it, and pieces are added in order; where they
//! end depends on `k` alone. So a row comes to the same bits whatever rows are beside it, and whether the weights were
//! [turned](turn) once for all or are turned while they are multiplied.

use super::super::element::Element;
use super::super::parallel::{Shared, ranges};
use super::super::{Level, level};
use super::{Factor, GRAIN, Store, finish};

/// Weight rows in a panel: two vectors.
pub(crate) const WIDTH: usize = 16;

/// Numbers along `k` that are summed at once: a panel's stay in a first-level cache of 32 KB beside rows of `x`.
const STEPS: usize = 192;

/// Rows of `x` in the tallest tile: twelve sums, two vectors of weights and a number of `x` are AVX2's registers.
const TALL: usize = 6;

/// Columns whose sums are held while pieces pass by.
const HELD: usize = 4 * WIDTH;

/// Bytes of rows of `x` that stay near while weights pass by: a second-level cache of 512 KB holds them.
const NEAR_BYTES: usize = 384 << 10;

/// Rows of `x` at least and at most, of that size or not.
const NEAR_ROWS: (usize, usize) = (48, 192);

/// From so many tiles on the next weights are sent for by hand; before, the CPU sees for itself what comes next.
const TILES_TO_SEND: usize = 4;

/// Numbers along `k` in a piece.
fn piece(k: usize) -> usize {
    k.div_ceil(k.div_ceil(STEPS)).next_multiple_of(8)
}

/// A matrix `[m, k]` in panels: `[panels, k, WIDTH]`, zeros in the place of rows past the last.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) m: usize,
    pub(crate) k: usize,
}

/// Numbers that `[m, k]` takes in panels.
pub(crate) const fn size(m: usize, k: usize) -> usize {
    m.next_multiple_of(WIDTH) * k
}

/// Whether this CPU multiplies panels faster than rows.
pub(crate) fn are_wanted() -> bool {
    level() == Level::Avx2
}

/// Room for a matrix in panels, which threads fill row by row.
pub(crate) struct Room {
    k: usize,
    m: usize,
    data: Shared<f32>,
}

impl Room {
    /// Room of the size that [`size`] tells; what lies beyond the last row is filled.
    pub(crate) fn new(m: usize, k: usize, data: &mut [f32]) -> Self {
        assert_eq!(data.len(), size(m, k), "room for the panels");
        for lane in m..m.next_multiple_of(WIDTH) {
            data[lane / WIDTH * WIDTH * k..].iter_mut().skip(lane % WIDTH).step_by(WIDTH).for_each(|pad| *pad = 0.0);
        }
        Self { k, m, data: Shared::new(data) }
    }

    /// Turns whole `rows` from `first` on.
    ///
    /// # Safety
    /// No two threads may put the same row at once, and the memory must be alive.
    pub(crate) unsafe fn rows(&self, first: usize, rows: &[f32]) {
        let (k, count) = (self.k, rows.len() / self.k);
        assert!(rows.len() == count * k && first + count <= self.m, "rows of the weights");
        let mut row = first;
        while row < first + count {
            let (panel, lane) = (row / WIDTH, row % WIDTH);
            let many = (WIDTH - lane).min(first + count - row);
            let from = &rows[(row - first) * k..][..many * k];
            let place = panel * WIDTH * k;
            if many == WIDTH {
                // SAFETY: a whole panel, whose rows are this thread's.
                turn(from, k, (0, k), unsafe { self.data.slice(place..place + WIDTH * k) });
            } else {
                for (lane, from) in (lane..).zip(from.chunks_exact(k)) {
                    for (p, number) in from.iter().enumerate() {
                        let at = place + p * WIDTH + lane;
                        // SAFETY: a row has a lane of its own in its panel.
                        unsafe { self.data.slice(at..at + 1)[0] = *number };
                    }
                }
            }
            row += many;
        }
    }
}

/// Turns a whole `weight` `[m, k]` into panels.
pub(crate) fn pack(weight: &[f32], k: usize, data: &mut [f32]) {
    let m = weight.len() / k;
    let room = Room::new(m, k, data);
    ranges(m, GRAIN, &|range| {
        // SAFETY: each thread has its own rows.
        unsafe { room.rows(range.start, &weight[range.start * k..range.end * k]) };
    });
}

/// Turns numbers `along` (first and how many) of up to [`WIDTH`] `rows` of `k` numbers into part of a panel; zeros stand
/// in lanes without a row.
fn turn<W: Factor>(rows: &[W], k: usize, along: (usize, usize), out: &mut [f32]) {
    assert!(out.len() >= along.1 * WIDTH && rows.len() <= WIDTH * k && along.0 + along.1 <= k);
    #[cfg(target_arch = "x86_64")]
    if level() != Level::Baseline {
        // SAFETY: `level` has seen the features.
        return unsafe { x86::turn(rows, k, along, out) };
    }
    turn_plain(rows, k, along, out);
}

fn turn_plain<W: Factor>(rows: &[W], k: usize, (begin, steps): (usize, usize), out: &mut [f32]) {
    for (p, out) in out.as_chunks_mut::<WIDTH>().0.iter_mut().take(steps).enumerate() {
        for (lane, out) in out.iter_mut().enumerate() {
            *out = rows.get(lane * k + begin + p).map_or(0.0, |number| number.load());
        }
    }
}

/// `y` `[n, m]` `= x W^T + b` for `x` `[n, k]`.
pub(crate) fn multiply<Y: Element>(x: &[f32], w: Panels<'_>, bias: Option<&[f32]>, y: &mut [Y]) {
    let Panels { data, m, k } = w;
    assert!(k > 0 && x.len().is_multiple_of(k) && data.len() == size(m, k), "panels of rows of {k} numbers");
    assert!(y.len() == x.len() / k * m && bias.is_none_or(|b| b.len() == m), "an output per row and weight row");
    let y = Shared::new(y);
    ranges(m, GRAIN, &|range| part(x, w, range.start, range.end, &finish(m, bias, &y)));
}

/// Weights in one of the orders that there are.
pub(super) trait Weights: Copy {
    fn k(self) -> usize;

    /// The numbers `begin..begin + steps` of the panel that begins with row `first`; `turned` is room for them.
    ///
    /// # Safety
    /// The CPU has AVX2, FMA and F16C.
    unsafe fn panel<'a>(&'a self, first: usize, begin: usize, steps: usize, turned: &'a mut [f32]) -> &'a [f32];

    /// Whether what comes next lies right behind a panel.
    const IN_ORDER: bool;
}

impl Weights for Panels<'_> {
    fn k(self) -> usize {
        self.k
    }

    #[inline(always)]
    unsafe fn panel<'a>(&'a self, first: usize, begin: usize, steps: usize, _: &'a mut [f32]) -> &'a [f32] {
        &self.data[first * self.k + begin * WIDTH..][..steps * WIDTH]
    }

    const IN_ORDER: bool = true;
}

/// Rows as they were stored, turned panel by panel.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, W> {
    pub(super) weight: &'a [W],
    pub(super) k: usize,
}

impl<W: Factor> Weights for Rows<'_, W> {
    fn k(self) -> usize {
        self.k
    }

    #[inline(always)]
    unsafe fn panel<'a>(&'a self, first: usize, begin: usize, steps: usize, turned: &'a mut [f32]) -> &'a [f32] {
        let end = (first + WIDTH).min(self.weight.len() / self.k);
        turn(&self.weight[first * self.k..end * self.k], self.k, (begin, steps), turned);
        &turned[..steps * WIDTH]
    }

    const IN_ORDER: bool = false;
}

/// Hands the sums of weight rows `from..to`, of which the first begins a panel, to `store`.
pub(super) fn part<S: Weights>(x: &[f32], weights: S, from: usize, to: usize, store: Store<'_>) {
    assert!(from.is_multiple_of(WIDTH), "whole panels");
    #[cfg(target_arch = "x86_64")]
    if level() != Level::Baseline {
        // SAFETY: `level` has seen the features.
        return unsafe { x86::part(x, weights, from, to, store) };
    }
    plain(x, weights, from, to, store);
}

/// What the kernel computes, one number at a time.
fn plain<S: Weights>(x: &[f32], weights: S, from: usize, to: usize, store: Store<'_>) {
    let k = weights.k();
    let mut turned = vec![0.0; piece(k) * WIDTH];
    for column in (from..to).step_by(WIDTH) {
        let width = WIDTH.min(to - column);
        let mut held = vec![[0.0_f32; WIDTH]; x.len() / k];
        for begin in (0..k).step_by(piece(k)) {
            let steps = piece(k).min(k - begin);
            // SAFETY: `turn` looks for itself what the CPU has.
            let panel = unsafe { weights.panel(column, begin, steps, &mut turned) };
            for (x, held) in x.chunks_exact(k).zip(&mut held) {
                for (lane, held) in held.iter_mut().enumerate() {
                    let pairs = x[begin..].iter().zip(panel.iter().skip(lane).step_by(WIDTH));
                    let sum = pairs.fold(0.0_f32, |sum, (x, w)| x.mul_add(*w, sum));
                    *held = if begin > 0 { *held + sum } else { sum };
                }
            }
        }
        for (row, held) in held.iter().enumerate() {
            store(row, column, &held[..width]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    /// See [`turn`](super::turn).
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn turn<W: Factor>(rows: &[W], k: usize, (begin, steps): (usize, usize), out: &mut [f32]) {
        let count = rows.len() / k;
        let whole = steps / 8 * 8;
        for half in 0..2 {
            let lane = half * 8;
            if lane + 8 > count {
                continue;
            }
            for p in (0..whole).step_by(8) {
                // SAFETY: eight rows from `lane` on, of which `begin + steps` numbers are there, and eight steps of
                // `out`; an address that is sent for may be any.
                unsafe {
                    let from = rows.as_ptr().add(lane * k + begin + p);
                    let mut block = [_mm256_setzero_ps(); 8];
                    for i in 0..8 {
                        if p.is_multiple_of(16) {
                            _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(i * k + steps).cast());
                        }
                        block[i] = W::load_256(from.add(i * k));
                    }
                    let block = turn_block(block);
                    for i in 0..8 {
                        _mm256_storeu_ps(out.as_mut_ptr().add((p + i) * WIDTH + lane), block[i]);
                    }
                }
            }
        }
        // What is no block of eight by eight, number by number.
        for lane in 0..WIDTH {
            let done = if lane / 8 * 8 + 8 <= count { whole } else { 0 };
            for p in done..steps {
                out[p * WIDTH + lane] = if lane < count { rows[lane * k + begin + p].load() } else { 0.0 };
            }
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn turn_block([a, b, c, d, e, f, g, h]: [__m256; 8]) -> [__m256; 8] {
        let pairs = |a, b| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let ((ab, ab2), (cd, cd2), (ef, ef2), (gh, gh2)) = (pairs(a, b), pairs(c, d), pairs(e, f), pairs(g, h));
        let fours = |a, b| (_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b));
        let ((t0, t1), (t2, t3)) = (fours(ab, cd), fours(ab2, cd2));
        let ((s0, s1), (s2, s3)) = (fours(ef, gh), fours(ef2, gh2));
        let low = |t, s| _mm256_permute2f128_ps::<0x20>(t, s);
        let high = |t, s| _mm256_permute2f128_ps::<0x31>(t, s);
        [low(t0, s0), low(t1, s1), low(t2, s2), low(t3, s3), high(t0, s0), high(t1, s1), high(t2, s2), high(t3, s3)]
    }

    /// The sums of a panel with `R` rows of `x`, `k` numbers apart, over `steps` numbers, put into (or, with `more`,
    /// added to) rows of `to`, [`HELD`] apart. `lines` cache lines from `next` on are sent for.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA; `x` has `R` rows of `steps` numbers, `panel` `steps` times [`WIDTH`] and `to` `R` rows
    /// of [`WIDTH`].
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
    unsafe fn tile<const R: usize>(
        x: *const f32,
        k: usize,
        panel: *const f32,
        steps: usize,
        to: *mut f32,
        more: bool,
        next: *const f32,
        lines: usize,
    ) {
        // SAFETY: the caller's word; hints never fault.
        unsafe {
            for line in 0..lines {
                _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line * 16).cast());
            }
            let mut sums = [[_mm256_setzero_ps(); 2]; R];
            for p in 0..steps {
                let low = _mm256_loadu_ps(panel.add(p * WIDTH));
                let high = _mm256_loadu_ps(panel.add(p * WIDTH + 8));
                for i in 0..R {
                    let number = _mm256_broadcast_ss(&*x.add(i * k + p));
                    sums[i][0] = _mm256_fmadd_ps(number, low, sums[i][0]);
                    sums[i][1] = _mm256_fmadd_ps(number, high, sums[i][1]);
                }
            }
            for i in 0..R {
                for half in 0..2 {
                    let to = to.add(i * HELD + half * 8);
                    let sum = sums[i][half];
                    _mm256_storeu_ps(to, if more { _mm256_add_ps(_mm256_loadu_ps(to), sum) } else { sum });
                }
            }
        }
    }

    /// See [`part`](super::part).
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn part<S: Weights>(x: &[f32], weights: S, from: usize, to: usize, store: Store<'_>) {
        let k = weights.k();
        let (n, piece) = (x.len() / k, piece(k));
        let near = (NEAR_BYTES / (k * size_of::<f32>())).clamp(NEAR_ROWS.0, NEAR_ROWS.1) / TALL * TALL;
        let mut turned = [0.0; (STEPS + 8) * WIDTH];
        let mut held = vec![0.0_f32; near.min(n) * HELD];
        for first_row in (0..n).step_by(near) {
            let rows = near.min(n - first_row);
            let tiles = rows.div_ceil(TALL);
            let lines = if S::IN_ORDER && tiles >= TILES_TO_SEND { piece.div_ceil(tiles) } else { 0 };
            for first_column in (from..to).step_by(HELD) {
                let end_column = (first_column + HELD).min(to);
                for column in (first_column..end_column).step_by(WIDTH) {
                    for begin in (0..k).step_by(piece) {
                        let steps = piece.min(k - begin);
                        // SAFETY: this function's features.
                        let panel = unsafe { weights.panel(column, begin, steps, &mut turned) };
                        for (at, row) in (0..rows).step_by(TALL).enumerate() {
                            let many = TALL.min(rows - row);
                            let x = &x[(first_row + row) * k + begin..][..(many - 1) * k + steps];
                            let to = &mut held[row * HELD + column - first_column..][..(many - 1) * HELD + WIDTH];
                            let next = panel.as_ptr().wrapping_add(steps * WIDTH + at * lines * 16);
                            macro_rules! run { ($($r:literal)*) => { match many {
                                $(
                                    // SAFETY: this function's features; the slices were just cut to what is read and
                                    // written.
                                    $r => unsafe {
                                        tile::<$r>(x.as_ptr(), k, panel.as_ptr(), steps, to.as_mut_ptr(), begin > 0, next, lines);
                                    },
                                )*
                                _ => unreachable!("a tile has one to six rows"),
                            } } }
                            run!(1 2 3 4 5 6);
                        }
                    }
                }
                for row in 0..rows {
                    store(first_row + row, first_column, &held[row * HELD..][..end_column - first_column]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use relign_core::Seed;

    use super::super::{Operands, multiply as multiply_rows};
    use super::*;

    fn numbers(seed: u64, n: usize) -> Vec<f32> {
        (0..n as u64).map(|i| (Seed(seed).uniform(i) * 2.0 - 1.0) as f32).collect()
    }

    /// Packed once, turned while multiplied, one number at a time: the same bits, near the sums in f64.
    #[test]
    fn panels_come_to_the_same_bits_however_they_are_read() {
        for (n, m, k) in [(1, 1, 1), (2, 9, 33), (7, 131, 100), (13, 70, 576), (70, 33, 1536), (200, 5, 1000)] {
            let (x, weight, bias) = (numbers(1, n * k), numbers(2, m * k), numbers(3, m));
            let mut data = vec![f32::NAN; size(m, k)];
            pack(&weight, k, &mut data);
            let panels = Panels { data: &data, m, k };
            let mut packed = vec![f32::NAN; n * m];
            multiply(&x, panels, Some(&bias), &mut packed);
            let mut expected = vec![f32::NAN; n * m];
            {
                let y = Shared::new(&mut expected);
                plain(&x, Rows { weight: &weight, k }, 0, m, &finish(m, Some(&bias), &y));
            }
            assert_eq!(packed, expected, "{n} x {m} x {k}");
            let mut turned = vec![f32::NAN; n * m];
            {
                let y = Shared::new(&mut turned);
                part(&x, Rows { weight: &weight, k }, 0, m, &finish(m, Some(&bias), &y));
            }
            assert_eq!(turned, expected, "{n} x {m} x {k}");
            if are_wanted() {
                let mut rows = vec![f32::NAN; n * m];
                multiply_rows(Operands { x: &x, weight: &weight, bias: Some(&bias[..]), k }, &mut rows);
                assert_eq!(rows, expected, "{n} x {m} x {k}");
            }
            for (at, got) in expected.iter().enumerate() {
                let (row, column) = (at / m, at % m);
                let exact: f64 = (0..k).map(|p| f64::from(x[row * k + p]) * f64::from(weight[column * k + p])).sum();
                let near = 2e-6 * (k as f64).sqrt();
                assert!((f64::from(*got) - exact - f64::from(bias[column])).abs() <= near, "{n} x {m} x {k}: {got}");
            }
        }
    }

    #[test]
    fn panels_may_be_filled_by_any_rows() {
        let (m, k) = (37, 20);
        let weight = numbers(4, m * k);
        let mut whole = vec![f32::NAN; size(m, k)];
        pack(&weight, k, &mut whole);
        let mut pieces = vec![f32::NAN; size(m, k)];
        {
            let room = Room::new(m, k, &mut pieces);
            for (first, end) in [(0, 3), (3, 20), (20, 37)] {
                // SAFETY: one thread, and the memory lives.
                unsafe { room.rows(first, &weight[first * k..end * k]) };
            }
        }
        assert_eq!(pieces, whole);
    }
}
