//! Products whose operands lie row after row along the summed dimension, as gradients need them:
//! `dx = dy W` and `dW = dy^T x`.
//!
//! Blocks of both operands are packed into the order in which a tile of sums reads them (Goto and van de Geijn,
//! "Anatomy of High-Performance Matrix Multiplication", 2008). Each output is summed along `k` in one order, piece by
//! piece; the pieces depend on `k` alone, so neither threads nor blocks change a bit.

#[cfg(target_arch = "x86_64")]
mod amx;

use super::super::element::Element;
use super::super::lanes::{self, Lanes, Plain};
use super::super::parallel::{Shared, ranges, threads};
use super::super::{Level, level};

/// Steps along `k` that are packed at once: a tile's panels fit a first-level cache of 32 KB.
const STEPS: usize = 256;

/// Rows of a block at most.
const ROWS: usize = 192;

/// Columns of a block at most; its rows are packed once for all of them.
const COLUMNS: usize = 1536;

/// Columns that are packed at once: with a block's rows they fit a second-level cache of 1 MB.
const PACKED: usize = 384;

/// The columns of a tile are two vectors.
const VECTORS: usize = 2;

/// `sum over p of a[p, i] b[p, j]`: `i` below `m`, `j` below `n`, `p` below `k`.
#[derive(Clone, Copy)]
pub(crate) struct Outer<'a, T> {
    /// `[k, m]`, or `[m, k]` where [`transposed`](Self::transposed) says so.
    pub(crate) a: &'a [T],
    pub(crate) transposed: bool,
    /// `[k, n]`.
    pub(crate) b: &'a [T],
    pub(crate) k: usize,
}

impl<T> Outer<'_, T> {
    fn size(&self) -> (usize, usize) {
        (self.a.len() / self.k, self.b.len() / self.k)
    }
}

/// What becomes of the numbers that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Into {
    /// They are overwritten.
    Set,
    /// The products are added.
    Add,
}

/// Puts the products into `y` `[m, n]`.
pub(crate) fn outer<T: Element, Y: Element>(o: Outer<'_, T>, into: Into, y: &mut [Y]) {
    let k = o.k;
    assert!(k > 0 && o.a.len().is_multiple_of(k) && o.b.len().is_multiple_of(k), "{k} rows in both operands");
    let (m, n) = o.size();
    assert!(y.len() == m * n, "{m} x {n} outputs, got {}", y.len());
    if y.is_empty() {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let (Some(a), Some(b), true) = (T::as_bf16(o.a), T::as_bf16(o.b), super::super::amx::available()) {
        // SAFETY: tiles are available.
        return unsafe { amx::outer(Outer { a, b, transposed: o.transposed, k }, into, y) };
    }
    let across = n.div_ceil(COLUMNS);
    let columns = n.div_ceil(across);
    // As many blocks for each thread, where there are few.
    let share = (2 * threads()).div_ceil(across);
    let down = m.div_ceil(ROWS);
    let down = if down < 4 * share { down.next_multiple_of(share) } else { down };
    let rows = m.div_ceil(down).next_multiple_of(12);
    let y = Shared::new(y);
    ranges(m.div_ceil(rows) * across, 1, &|range| {
        let areas = range.map(|block| {
            let (row, column) = (block / across * rows, block % across * columns);
            Area { row, rows: rows.min(m - row), column, columns: columns.min(n - column) }
        });
        part(o, &mut areas.into_iter(), &|row, column, sums| {
            // SAFETY: blocks do not overlap, and each is one thread's.
            let out = unsafe { y.slice(row * n + column..row * n + column + sums.len()) };
            match into {
                Into::Set => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = Y::store(*sum)),
                Into::Add => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = Y::store(out.load() + sum)),
            }
        });
    });
}

/// A block of outputs.
#[derive(Clone, Copy)]
struct Area {
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

type Store<'a> = &'a dyn Fn(usize, usize, &[f32]);
type Areas<'a> = &'a mut dyn Iterator<Item = Area>;

/// The blocks' sums, with the best unit of this CPU.
fn part<T: Element>(o: Outer<'_, T>, areas: Areas<'_>, store: Store<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
        fn avx512<T: Element>(o: Outer<'_, T>, areas: Areas<'_>, store: Store<'_>) {
            // SAFETY: this function's features are the unit's.
            unsafe { blocks::<lanes::Lanes512, T, 12, 32>(o, areas, store) }
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2<T: Element>(o: Outer<'_, T>, areas: Areas<'_>, store: Store<'_>) {
            // SAFETY: this function's features are the unit's.
            unsafe { blocks::<lanes::Lanes256, T, 6, 16>(o, areas, store) }
        }
        match level() {
            // SAFETY: `level` has seen these features.
            Level::Avx512 => return unsafe { avx512(o, areas, store) },
            // SAFETY: `level` has seen these features.
            Level::Avx2 => return unsafe { avx2(o, areas, store) },
            Level::Baseline => {}
        }
    }
    // SAFETY: the plain unit needs no features.
    unsafe { blocks::<Plain, T, 4, 16>(o, areas, store) }
}

/// The sums of `R` rows with two vectors of columns over `steps` steps along `k`; with `more` they are added to what is
/// there.
///
/// # Safety
/// The CPU has the unit's features; `a` holds `steps * R` numbers, `b` `steps * 2 * WIDTH`, and `to` `R` rows of two
/// vectors, `stride` apart.
#[inline(always)]
unsafe fn tile<L: Lanes, const R: usize>(
    steps: usize,
    mut a: *const f32,
    mut b: *const f32,
    to: *mut f32,
    stride: usize,
    more: bool,
) {
    // SAFETY: the caller's word.
    unsafe {
        let mut sums = [[L::zero(); VECTORS]; R];
        for _ in 0..steps {
            let columns = [L::load(b), L::load(b.add(L::WIDTH))];
            for i in 0..R {
                let row = L::splat(a.add(i));
                for j in 0..VECTORS {
                    sums[i][j] = L::multiply_add(sums[i][j], row, columns[j]);
                }
            }
            a = a.add(R);
            b = b.add(VECTORS * L::WIDTH);
        }
        for i in 0..R {
            for j in 0..VECTORS {
                let to = to.add(i * stride + j * L::WIDTH);
                L::store(if more { L::add(L::load(to), sums[i][j]) } else { sums[i][j] }, to);
            }
        }
    }
}

/// Part of an operand: where it begins along a dimension, and how much of it there is.
type Span = (usize, usize);

/// Packs rows `along` and columns `across` of `source` `[k, width]` into panels of `P` columns, row after row; zeros
/// stand for what is past the last column.
#[inline(always)]
fn pack_rows<T: Element, const P: usize>(source: &[T], width: usize, along: Span, across: Span, out: &mut [f32]) {
    for (first, panel) in (0..across.1).step_by(P).zip(out.chunks_exact_mut(along.1 * P)) {
        let from = &source[along.0 * width + across.0 + first..];
        let wide = P.min(across.1 - first);
        for (row, out) in panel.as_chunks_mut::<P>().0.iter_mut().enumerate() {
            if wide == P {
                let from: &[T; P] = from[row * width..].first_chunk().expect("a whole panel's columns");
                *out = from.map(T::load);
            } else {
                out.fill(0.0);
                out.iter_mut().zip(&from[row * width..][..wide]).for_each(|(out, number)| *out = number.load());
            }
        }
    }
}

/// Numbers of a row that are turned at once.
const TURNED: usize = 16;

/// As [`pack_rows`], of a `source` `[width, k]`.
#[inline(always)]
fn pack_columns<T: Element, const P: usize>(source: &[T], k: usize, along: Span, across: Span, out: &mut [f32]) {
    for (first, panel) in (0..across.1).step_by(P).zip(out.chunks_exact_mut(along.1 * P)) {
        let rows: [&[T]; P] = std::array::from_fn(|i| {
            if first + i < across.1 { &source[(across.0 + first + i) * k + along.0..][..along.1] } else { &[] }
        });
        for (at, out) in panel.as_chunks_mut::<P>().0.chunks_mut(TURNED).enumerate() {
            let block: [[f32; TURNED]; P] = std::array::from_fn(|i| {
                let mut numbers = [0.0; TURNED];
                let row = rows[i].get(at * TURNED..).unwrap_or_default();
                match row.first_chunk::<TURNED>() {
                    Some(whole) => numbers = whole.map(T::load),
                    None => numbers.iter_mut().zip(row).for_each(|(to, number)| *to = number.load()),
                }
                numbers
            });
            for (p, out) in out.iter_mut().enumerate() {
                *out = std::array::from_fn(|i| block[i][p]);
            }
        }
    }
}

/// Hands the blocks' sums to `store`: a row, the first column, and the sums from there on. Tiles have `R` rows and `C`
/// columns, two vectors.
///
/// # Safety
/// The CPU has the unit's features.
#[inline(always)]
unsafe fn blocks<L: Lanes, T: Element, const R: usize, const C: usize>(
    o: Outer<'_, T>,
    areas: Areas<'_>,
    store: Store<'_>,
) {
    const { assert!(C == VECTORS * L::WIDTH && PACKED.is_multiple_of(C) && ROWS.is_multiple_of(R)) };
    let (m, n) = o.size();
    let (mut a, mut b) = (vec![0.0_f32; ROWS * STEPS], vec![0.0_f32; PACKED * STEPS]);
    let mut sums = Vec::new();
    for area in areas {
        let stride = area.columns.next_multiple_of(C);
        sums.resize(area.rows.next_multiple_of(R) * stride, 0.0);
        for begin in (0..o.k).step_by(STEPS) {
            let along = (begin, STEPS.min(o.k - begin));
            if o.transposed {
                pack_columns::<T, R>(o.a, o.k, along, (area.row, area.rows), &mut a);
            } else {
                pack_rows::<T, R>(o.a, m, along, (area.row, area.rows), &mut a);
            }
            for first in (0..area.columns).step_by(PACKED) {
                let columns = PACKED.min(area.columns - first);
                pack_rows::<T, C>(o.b, n, along, (area.column + first, columns), &mut b);
                for column in (0..columns).step_by(C) {
                    let b = b[column * along.1..][..C * along.1].as_ptr();
                    for row in (0..area.rows).step_by(R) {
                        let a = a[row * along.1..][..R * along.1].as_ptr();
                        let at = row * stride + first + column;
                        let to = sums[at..at + (R - 1) * stride + C].as_mut_ptr();
                        // SAFETY: the slices were just cut to what the tile reads and writes.
                        unsafe { tile::<L, R>(along.1, a, b, to, stride, begin > 0) };
                    }
                }
            }
        }
        for row in 0..area.rows {
            store(area.row + row, area.column, &sums[row * stride..][..area.columns]);
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::super::numbers;
    use super::*;

    fn check<T: Element>(name: &str, run: &dyn Fn(Outer<'_, T>, &mut [f32])) {
        for (m, n, k) in
            [(1, 1, 1), (5, 70, 3), (33, 9, 257), (200, 48, 64), (13, 400, 600), (192, 1537, 16), (7, 40, 9000)]
        {
            let (a, b) = (numbers::<T>(1, m * k), numbers::<T>(2, n * k));
            for transposed in [false, true] {
                let mut y = vec![f32::NAN; m * n];
                run(Outer { a: &a, transposed, b: &b, k }, &mut y);
                for (at, got) in y.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let a = |p: usize| f64::from(a[if transposed { i * k + p } else { p * m + i }].load());
                    let exact: f64 = (0..k).map(|p| a(p) * f64::from(b[p * n + j].load())).sum();
                    let near = 2e-6 * (k as f64).sqrt();
                    assert!(
                        (f64::from(*got) - exact).abs() <= near,
                        "{name} {m} x {n} x {k}, transposed: {transposed}: {got} at {i}, {j}, expected {exact}"
                    );
                }
            }
        }
    }

    /// Sums by the plain unit, and by the best of this CPU, against sums in f64.
    #[test]
    fn outer_products_are_right() {
        fn plain<T: Element>(o: Outer<'_, T>, y: &mut [f32]) {
            let (m, n) = o.size();
            let y = Shared::new(y);
            let mut areas = (0..m).step_by(100).map(|row| Area { row, rows: 100.min(m - row), column: 0, columns: n });
            // SAFETY: the plain unit needs no features; blocks do not overlap.
            unsafe {
                blocks::<Plain, T, 4, 16>(o, &mut areas, &|row, column, sums| {
                    y.slice(row * n + column..row * n + column + sums.len()).copy_from_slice(sums);
                });
            }
        }
        check::<f32>("plain f32", &plain);
        check::<bf16>("plain bf16", &plain);
        check::<f32>("f32", &|o, y| outer(o, Into::Set, y));
        check::<bf16>("bf16", &|o, y| outer(o, Into::Set, y));
    }

    #[test]
    fn products_are_added_where_asked() {
        let (a, b) = ([1.0_f32, 2.0], [3.0_f32, 4.0]);
        let mut y = [10.0_f32, 20.0, 30.0, 40.0];
        outer(Outer { a: &a, transposed: false, b: &b, k: 1 }, Into::Add, &mut y);
        assert_eq!(y, [13.0, 24.0, 36.0, 48.0]);
    }
}
