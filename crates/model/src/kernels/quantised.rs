//! Products with weights of 8 or 4 bits.
//!
//! Along `k`, every [`GROUP`] weights of a row share a scale (the scheme of GGUF's Q8_0 and Q4_0); rows of `x` are
//! rounded to 8 bits with a scale for each group on the way in. Sums within a group are exact whole numbers, and groups
//! are added in order, so every kernel here comes to the same bits on every CPU, whatever rows are beside a row.
//!
//! Sixteen weight rows form a panel that is read from end to end. For 8 bits a step of 64 bytes holds four weights of
//! each of the 16 rows; for 4 bits eight, the first four in the low halves. Weights are stored with [`Bits::offset`]
//! added, for the CPU multiplies unsigned by signed bytes; the sums of `x` take it away again.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::cell::Cell;

use half::f16;

use super::element::Element;
use super::parallel::{Shared, ranges};
use super::product::Factor;

/// Numbers that share a scale.
pub(crate) const GROUP: usize = 32;

/// Weight rows in a panel.
pub(crate) const PANEL: usize = 16;

/// Fewer panels than this are not worth another thread.
const GRAIN: usize = 2;

/// How many bits a weight has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bits {
    /// -127 to 127.
    Eight,
    /// -8 to 7.
    Four,
}

impl Bits {
    /// What is added to a weight where it is stored.
    const fn offset(self) -> i32 {
        match self {
            Self::Eight => 128,
            Self::Four => 8,
        }
    }

    /// Bytes of a group of a panel.
    const fn group_bytes(self) -> usize {
        match self {
            Self::Eight => GROUP * PANEL,
            Self::Four => GROUP * PANEL / 2,
        }
    }
}

/// Packed weights `[m, k]`.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) bits: Bits,
    pub(crate) m: usize,
    pub(crate) k: usize,
    /// `[panels, groups, Bits::group_bytes]`.
    pub(crate) data: &'a [u8],
    /// `[panels, groups, PANEL]`.
    pub(crate) scales: &'a [f16],
}

/// Groups of a row of `k` numbers; the last may be padded with zeros.
pub(crate) const fn groups(k: usize) -> usize {
    k.div_ceil(GROUP)
}

/// Bytes and scales that `[m, k]` takes.
pub(crate) const fn sizes(bits: Bits, m: usize, k: usize) -> (usize, usize) {
    let units = m.div_ceil(PANEL) * groups(k);
    (units * bits.group_bytes(), units * PANEL)
}

/// Room for packed weights `[m, k]`, which threads fill row by row.
pub(crate) struct Room {
    bits: Bits,
    m: usize,
    k: usize,
    data: Shared<u8>,
    scales: Shared<f16>,
}

impl Room {
    /// Room in memory of the size that [`sizes`] tells; what lies beyond the last row is filled.
    pub(crate) fn new(bits: Bits, m: usize, k: usize, data: &mut [u8], scales: &mut [f16]) -> Self {
        assert!((data.len(), scales.len()) == sizes(bits, m, k), "room for the packed weights");
        let room = Self { bits, m, k, data: Shared::new(data), scales: Shared::new(scales) };
        for row in m..m.next_multiple_of(PANEL) {
            // SAFETY: nobody else has the room yet.
            unsafe { room.put::<f32>(row, &[]) };
        }
        room
    }

    /// Rounds and packs rows from `first` on. 8 bits as Q8_0: the largest magnitude of a group becomes 127. 4 bits as
    /// Q4_0: the number of largest magnitude becomes -8.
    ///
    /// # Safety
    /// No two threads may put the same row at once, and the memory must be alive.
    pub(crate) unsafe fn rows<T: Element>(&self, first: usize, rows: &[T]) {
        assert!(rows.len().is_multiple_of(self.k) && first + rows.len() / self.k <= self.m, "rows of the weights");
        for (row, numbers) in (first..).zip(rows.chunks_exact(self.k)) {
            // SAFETY: the caller's.
            unsafe { self.put(row, numbers) };
        }
    }

    /// # Safety
    /// As of [`rows`](Self::rows).
    unsafe fn put<T: Element>(&self, row: usize, numbers: &[T]) {
        let (panel, lane) = (row / PANEL, row % PANEL);
        for group in 0..groups(self.k) {
            let from = (group * GROUP).min(numbers.len());
            let mut padded = [0.0; GROUP];
            for (number, value) in padded.iter_mut().zip(&numbers[from..]) {
                *number = value.load();
            }
            let (scale, rounded) = round_group(self.bits, &padded);
            let unit = panel * groups(self.k) + group;
            let place = unit * PANEL + lane;
            // SAFETY: a row has a lane of its own in its panel, which only its thread writes.
            unsafe { self.scales.slice(place..place + 1)[0] = scale };
            let step = match self.bits {
                Bits::Eight => 4,
                Bits::Four => 8,
            };
            for (index, numbers) in rounded.chunks_exact(step).enumerate() {
                let place = unit * self.bits.group_bytes() + index * 64 + lane * 4;
                // SAFETY: as above.
                let bytes = unsafe { self.data.slice(place..place + 4) };
                for (p, byte) in bytes.iter_mut().enumerate() {
                    *byte = numbers[p] | numbers.get(p + 4).map_or(0, |high| high << 4);
                }
            }
        }
    }
}

/// Packs a whole `weight` `[m, k]`, see [`Room::rows`].
pub(crate) fn pack<T: Element>(bits: Bits, weight: &[T], k: usize, data: &mut [u8], scales: &mut [f16]) {
    let m = weight.len() / k;
    assert!(weight.len() == m * k, "whole rows");
    let room = Room::new(bits, m, k, data, scales);
    ranges(m, GRAIN * PANEL, &|range| {
        // SAFETY: each thread has its own rows.
        unsafe { room.rows(range.start, &weight[range.start * k..range.end * k]) };
    });
}

/// A group's scale and its whole numbers, the offset added.
fn round_group(bits: Bits, numbers: &[f32; GROUP]) -> (f16, [u8; GROUP]) {
    let largest = numbers.iter().fold(0.0_f32, |a, &b| if b.abs() > a.abs() { b } else { a });
    let exact = match bits {
        Bits::Eight => largest.abs() / 127.0,
        Bits::Four => largest / -8.0,
    };
    let inverse = if exact == 0.0 { 0.0 } else { 1.0 / exact };
    let rounded = numbers.map(|x| match bits {
        Bits::Eight => ((x * inverse).round() as i32 + 128) as u8,
        Bits::Four => ((x * inverse + 8.5) as i32).clamp(0, 15) as u8,
    });
    (f16::from_f32(exact), rounded)
}

/// The weight `p` of a group of the row `lane`, without the offset.
fn get(bits: Bits, group: &[u8], lane: usize, p: usize) -> i32 {
    let stored = match bits {
        Bits::Eight => group[p / 4 * 64 + lane * 4 + p % 4],
        Bits::Four => {
            let byte = group[p / 8 * 64 + lane * 4 + p % 4];
            if p % 8 < 4 { byte & 0x0f } else { byte >> 4 }
        }
    };
    i32::from(stored) - bits.offset()
}

/// The weight row `row` as numbers, for tests, `out` `[k]`.
#[cfg(test)]
fn unpack_row(w: Weights<'_>, row: usize, out: &mut [f32]) {
    let (panel, lane) = (row / PANEL, row % PANEL);
    for (group, out) in out.chunks_mut(GROUP).enumerate() {
        let unit = panel * groups(w.k) + group;
        let data = &w.data[unit * w.bits.group_bytes()..][..w.bits.group_bytes()];
        let scale = w.scales[unit * PANEL + lane].to_f32();
        for (p, out) in out.iter_mut().enumerate() {
            *out = get(w.bits, data, lane, p) as f32 * scale;
        }
    }
}

/// Rows of `x` rounded to 8 bits, group by group. Its memory goes to the thread's next ones: new memory would have to be
/// filled with zeros first, by one thread while the others wait.
#[derive(Default)]
pub(crate) struct Rows {
    n: usize,
    /// Groups of a row.
    groups: usize,
    /// `[n, groups * GROUP]`, and what earlier ones left behind that.
    q: Vec<i8>,
    /// `[n, groups]`: what a whole number stands for.
    scales: Vec<f32>,
    /// `[n, groups]`: the sums of the whole numbers times minus the weights' offset.
    offsets: Vec<i32>,
}

thread_local! {
    static SPARE: Cell<Rows> = Cell::default();
}

impl Rows {
    /// Rounds `x` `[n, k]`.
    pub(crate) fn round<T: Factor>(x: &[T], k: usize, bits: Bits) -> Self {
        let (n, groups) = (x.len() / k, groups(k));
        let mut rows = Self { n, groups, ..SPARE.take() };
        rows.make_room(n * groups);
        {
            let (q, scales, offsets) =
                (Shared::new(&mut rows.q), Shared::new(&mut rows.scales), Shared::new(&mut rows.offsets));
            ranges(n, (1 << 14) / k + 1, &|range| {
                for row in range {
                    // SAFETY: each thread has its own rows.
                    let (q, scales, offsets) = unsafe {
                        (
                            q.slice(row * groups * GROUP..(row + 1) * groups * GROUP),
                            scales.slice(row * groups..(row + 1) * groups),
                            offsets.slice(row * groups..(row + 1) * groups),
                        )
                    };
                    let x = &x[row * k..(row + 1) * k];
                    round_row(x, bits.offset(), q, scales, offsets);
                }
            });
        }
        rows
    }

    fn make_room(&mut self, groups: usize) {
        if self.scales.len() < groups {
            self.q.resize(groups * GROUP, 0);
            self.scales.resize(groups, 0.0);
            self.offsets.resize(groups, 0);
        }
    }

    /// Leaves the memory to the thread's next rows.
    pub(crate) fn give_back(self) {
        SPARE.set(self);
    }
}

/// The next numbers, zeros after the last.
#[inline(always)]
fn group_of<T: Element>(from: &[T]) -> [f32; GROUP] {
    let mut numbers = [0.0_f32; GROUP];
    if let Some(from) = from.first_chunk::<GROUP>() {
        for p in 0..GROUP {
            numbers[p] = from[p].load();
        }
    } else {
        for (number, value) in numbers.iter_mut().zip(from) {
            *number = value.load();
        }
    }
    numbers
}

/// 1.5 * 2^23: the sum with a small number ends in the whole number nearest to that.
const NEAREST: f32 = 12_582_912.0;

/// Rounds a row, group by group: `q` `[groups, GROUP]`, `scales` and `offsets` `[groups]`.
fn round_row<T: Factor>(x: &[T], offset: i32, q: &mut [i8], scales: &mut [f32], offsets: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    match super::level() {
        // SAFETY: `level` has seen the features.
        super::Level::Avx512 => return unsafe { vnni::round_row(x, offset, q, scales, offsets) },
        // SAFETY: `level` has seen the features.
        super::Level::Avx2 => return unsafe { avx2::round_row(x, offset, q, scales, offsets) },
        super::Level::Baseline => {}
    }
    round_row_plain(x, offset, q, scales, offsets);
}

/// What the kernels compute.
fn round_row_plain<T: Element>(x: &[T], offset: i32, q: &mut [i8], scales: &mut [f32], offsets: &mut [i32]) {
    for (group, q) in q.chunks_exact_mut(GROUP).enumerate() {
        let numbers = group_of(&x[group * GROUP..]);
        let mut largest = [0.0_f32; 8];
        for part in numbers.as_chunks::<8>().0 {
            for lane in 0..8 {
                let a = part[lane].abs();
                largest[lane] = if a > largest[lane] { a } else { largest[lane] };
            }
        }
        let largest = largest.iter().fold(0.0_f32, |a, &b| if b > a { b } else { a });
        let scale = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        for p in 0..GROUP {
            q[p] = ((numbers[p] * inverse + NEAREST).to_bits() as i32 - NEAREST.to_bits() as i32) as i8;
        }
        let sum: i32 = q.iter().map(|&whole| i32::from(whole)).sum();
        scales[group] = scale;
        offsets[group] = -offset * sum;
    }
}

/// `y` `[n, m]` `= x W^T + b`.
pub(crate) fn multiply<Y: Element>(rows: &Rows, w: Weights<'_>, bias: Option<&[f32]>, y: &mut [Y]) {
    assert!(
        y.len() == rows.n * w.m && rows.groups == groups(w.k) && rows.scales.len() >= rows.n * rows.groups,
        "an output per row and weight row"
    );
    assert!((w.data.len(), w.scales.len()) == sizes(w.bits, w.m, w.k), "packed weights of their size");
    let y = Shared::new(y);
    ranges(w.m.div_ceil(PANEL), GRAIN, &|range| panels(rows, w, bias, range, &y));
}

fn panels<Y: Element>(rows: &Rows, w: Weights<'_>, bias: Option<&[f32]>, range: std::ops::Range<usize>, y: &Shared<Y>) {
    #[cfg(target_arch = "x86_64")]
    {
        if super::level() == super::Level::Avx512 && is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the features were seen.
            return unsafe { vnni::panels(rows, w, bias, range, y) };
        }
        if super::level() != super::Level::Baseline {
            // SAFETY: `level` has seen the features.
            return unsafe { avx2::panels(rows, w, bias, range, y) };
        }
    }
    plain(rows, w, bias, range, y);
}

/// What the kernels compute, one number at a time.
fn plain<Y: Element>(rows: &Rows, w: Weights<'_>, bias: Option<&[f32]>, range: std::ops::Range<usize>, y: &Shared<Y>) {
    let groups = groups(w.k);
    for row in 0..rows.n {
        for panel in range.clone() {
            let mut sums = [0.0_f32; PANEL];
            for group in 0..groups {
                let unit = panel * groups + group;
                let data = &w.data[unit * w.bits.group_bytes()..][..w.bits.group_bytes()];
                let x = &rows.q[(row * groups + group) * GROUP..][..GROUP];
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let whole: i32 =
                        x.iter().enumerate().map(|(p, &x)| i32::from(x) * get(w.bits, data, lane, p)).sum();
                    let scale = w.scales[unit * PANEL + lane].to_f32() * rows.scales[row * groups + group];
                    *sum = (whole as f32).mul_add(scale, *sum);
                }
            }
            store(w.m, bias, row, panel, &sums, y);
        }
    }
}

#[inline(always)]
fn store<Y: Element>(m: usize, bias: Option<&[f32]>, row: usize, panel: usize, sums: &[f32; PANEL], y: &Shared<Y>) {
    let first = panel * PANEL;
    let width = PANEL.min(m - first);
    // SAFETY: each thread has its own panels.
    let out = unsafe { y.slice(row * m + first..row * m + first + width) };
    let mut sums = *sums;
    if let Some(bias) = bias {
        sums.iter_mut().zip(&bias[first..][..width]).for_each(|(sum, bias)| *sum += bias);
    }
    // Whole panels apart: of a known number of outputs the compiler makes vectors.
    if let Some(out) = out.first_chunk_mut::<PANEL>() {
        for lane in 0..PANEL {
            out[lane] = Y::store(sums[lane]);
        }
    } else {
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = Y::store(sum));
    }
}

/// Rows of `x` that pass a pair of panels before the next: as many as stay near.
const ROWS_NEAR: usize = 192;

#[cfg(test)]
mod tests {
    use relign_core::Seed;

    use super::*;

    type Kernel = fn(&Rows, Weights<'_>, Option<&[f32]>, std::ops::Range<usize>, &Shared<f32>);

    /// The kernels that this CPU can run; others are skipped aloud.
    fn kernels() -> Vec<(&'static str, Kernel)> {
        let mut kernels: Vec<(&'static str, Kernel)> = vec![("plain", plain), ("best", panels)];
        #[cfg(target_arch = "x86_64")]
        {
            if super::super::level() == super::super::Level::Baseline {
                relign_core::skipped!(hardware: "quantised products with AVX2; this CPU has none");
            } else {
                // SAFETY: `level` has seen AVX2.
                kernels.push(("avx2", |rows, w, bias, range, y| unsafe { avx2::panels(rows, w, bias, range, y) }));
            }
            if super::super::level() == super::super::Level::Avx512 && is_x86_feature_detected!("avx512vnni") {
                // SAFETY: the features were seen.
                kernels.push(("vnni", |rows, w, bias, range, y| unsafe { vnni::panels(rows, w, bias, range, y) }));
            } else {
                relign_core::skipped!(hardware: "quantised products with VNNI; this CPU has none");
            }
        }
        kernels
    }

    fn numbers(seed: u64, n: usize) -> Vec<f32> {
        (0..n as u64).map(|i| (Seed(seed).uniform(i) * 2.0 - 1.0) as f32).collect()
    }

    #[test]
    fn all_kernels_come_to_the_same_bits_and_rows_are_independent() {
        for (n, m, k) in [(1, 16, 32), (1, 5, 7), (3, 40, 100), (13, 70, 576), (200, 17, 64)] {
            for bits in [Bits::Eight, Bits::Four] {
                let (x, weight, bias) = (numbers(1, n * k), numbers(2, m * k), numbers(3, m));
                let (bytes, count) = sizes(bits, m, k);
                let (mut data, mut scales) = (vec![0; bytes], vec![f16::ZERO; count]);
                pack(bits, &weight, k, &mut data, &mut scales);
                let w = Weights { bits, m, k, data: &data, scales: &scales };
                let rows = Rows::round(&x, k, bits);
                let mut expected = vec![0.0_f32; n * m];
                plain(&rows, w, Some(&bias), 0..m.div_ceil(PANEL), &Shared::new(&mut expected));
                for (name, kernel) in kernels() {
                    let mut got = vec![0.0_f32; n * m];
                    kernel(&rows, w, Some(&bias), 0..m.div_ceil(PANEL), &Shared::new(&mut got));
                    assert_eq!(got, expected, "{name} {bits:?} {n} x {m} x {k}");
                    let row = n - 1;
                    let mut alone = vec![0.0_f32; m];
                    let rows = Rows::round(&x[row * k..], k, bits);
                    kernel(&rows, w, Some(&bias), 0..m.div_ceil(PANEL), &Shared::new(&mut alone));
                    assert_eq!(alone, expected[row * m..], "{name} {bits:?} {n} x {m} x {k}: a row alone");
                }
                // What the whole numbers stand for: each factor is off by at most half a step.
                let step = match bits {
                    Bits::Eight => 1.0 / 127.0,
                    Bits::Four => 1.0 / 8.0,
                };
                for row in 0..n {
                    for column in 0..m {
                        let exact: f32 =
                            (0..k).map(|p| x[row * k + p] * weight[column * k + p]).sum::<f32>() + bias[column];
                        let near = (k as f32).sqrt() * (step + 1.0 / 127.0);
                        assert!((expected[row * m + column] - exact).abs() < near, "{bits:?} {n} x {m} x {k}");
                    }
                }
                let mut unpacked = vec![0.0; k];
                unpack_row(w, m - 1, &mut unpacked);
                for (got, exact) in unpacked.iter().zip(&weight[(m - 1) * k..]) {
                    // Four bits reach one step less far up than down.
                    assert!(
                        (got - exact).abs() <= step * if bits == Bits::Four { 1.01 } else { 0.6 },
                        "{bits:?}: {got}, expected {exact}"
                    );
                }
            }
        }
    }

    type Rounding<T> = fn(&[T], i32, &mut [i8], &mut [f32], &mut [i32]);

    fn check_rounding<T: Factor>(ways: &[(&str, Rounding<T>)]) {
        for k in [1, 31, 32, 33, 100, 576] {
            let mut x: Vec<T> = numbers(7, k).into_iter().map(T::store).collect();
            x[k / 2] = T::store(-3.0);
            let groups = groups(k);
            let room = || (vec![0; groups * GROUP], vec![0.0; groups], vec![0; groups]);
            let mut expected = room();
            round_row_plain(&x, 8, &mut expected.0, &mut expected.1, &mut expected.2);
            for (name, way) in ways {
                let mut got = room();
                way(&x, 8, &mut got.0, &mut got.1, &mut got.2);
                assert_eq!(got, expected, "{name} {k}");
            }
        }
    }

    #[test]
    fn rows_are_rounded_to_the_same_bits_everywhere() {
        fn ways<T: Factor>() -> Vec<(&'static str, Rounding<T>)> {
            let mut ways: Vec<(&str, Rounding<T>)> = vec![("best", round_row::<T>)];
            #[cfg(target_arch = "x86_64")]
            if super::super::level() != super::super::Level::Baseline {
                // SAFETY: `level` has seen AVX2.
                ways.push(("avx2", |x, o, q, s, os| unsafe { avx2::round_row::<T>(x, o, q, s, os) }));
            }
            ways
        }
        check_rounding(&ways::<f32>());
        check_rounding(&ways::<half::bf16>());
    }

    #[test]
    fn zeros_stay_zeros() {
        let rows = Rows::round(&[0.0_f32; 64], 64, Bits::Eight);
        let (bytes, count) = sizes(Bits::Four, 16, 64);
        let (mut data, mut scales) = (vec![0; bytes], vec![f16::ZERO; count]);
        pack(Bits::Four, &[0.0_f32; 16 * 64], 64, &mut data, &mut scales);
        let mut y = [1.0_f32; 16];
        multiply(&rows, Weights { bits: Bits::Four, m: 16, k: 64, data: &data, scales: &scales }, None, &mut y);
        assert_eq!(y, [0.0; 16]);
    }
}
