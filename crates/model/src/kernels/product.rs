//! Matrix products `y = x W^T` in which every output is one sum in one fixed order.
//!
//! Both operands lie row after row, so an output is a dot product along `k`: vector lanes take every so-manieth
//! pair, and a fixed tree adds the lanes at the end. Tiles of outputs share what is loaded, but no sum depends on
//! the tile it falls into: a row comes to the same bits whatever rows are beside it. A library that splits `k`, or
//! chooses its kernel by the number of rows, does not promise that.

pub(crate) mod outer;
pub(crate) mod panels;
mod units;

use half::bf16;

use super::element::Element;
use super::parallel::{Shared, ranges};
use super::{Level, level};
use units::{PairedBf16, Plain, Wide512};

/// Fewer weight rows than this are not worth another thread.
const GRAIN: usize = 32;

/// Bytes of a row that are summed at once: with them, a tile of six rows and four weight rows fits 32 KB.
const PIECE_BYTES: usize = 3072;

/// Bytes of sums that are held while rows are summed piece by piece.
const HELD_BYTES: usize = 96 << 10;

/// Bytes of weights that stay near while rows pass by.
const COLUMN_BYTES: usize = 96 << 10;

/// The operands of `y = x W^T + b`: `x` `[n, k]`, `W` `[m, k]`, `b` `[m]`.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a, X, W> {
    pub(crate) x: &'a [X],
    pub(crate) weight: &'a [W],
    pub(crate) bias: Option<&'a [X]>,
    pub(crate) k: usize,
}

/// A storage type there are products for.
pub(crate) trait Factor: Element + units::Wide {
    /// Whether this type's own products are to be used with `W`; see [`PairedBf16`].
    const PAIRED: bool;
}
impl Factor for f32 {
    const PAIRED: bool = false;
}
impl Factor for bf16 {
    const PAIRED: bool = true;
}

/// Fills `y` `[n, m]`.
pub(crate) fn multiply<X: Factor, W: Factor, Y: Element>(operands: Operands<'_, X, W>, y: &mut [Y]) {
    let Operands { x, weight, bias, k } = operands;
    assert!(k > 0 && x.len().is_multiple_of(k) && weight.len().is_multiple_of(k), "rows of {k} numbers");
    let (n, m) = (x.len() / k, weight.len() / k);
    assert!(y.len() == n * m && bias.is_none_or(|b| b.len() == m), "an output per row and weight row");
    let y = Shared::new(y);
    let store = finish(m, bias, &y);
    if panels::are_wanted() {
        let x = as_f32(x);
        return ranges(m, GRAIN, &|range| panels::part(&x, panels::Rows { weight, k }, range.start, range.end, &store));
    }
    ranges(m, GRAIN, &|range| part(operands, range.start, range.end, &store));
}

/// Takes sums: their row, the first one's column, and the sums from there on.
type Store<'a> = &'a dyn Fn(usize, usize, &[f32]);

/// Puts sums into `y` `[n, m]`, the bias added.
fn finish<'a, X: Element, Y: Element>(
    m: usize,
    bias: Option<&'a [X]>,
    y: &'a Shared<Y>,
) -> impl Fn(usize, usize, &[f32]) + Sync + 'a {
    move |row, column, sums| {
        // SAFETY: each thread has its own weight rows, so its own columns.
        let out = unsafe { y.slice(row * m + column..row * m + column + sums.len()) };
        match bias {
            Some(bias) => {
                for ((out, sum), bias) in out.iter_mut().zip(sums).zip(&bias[column..]) {
                    *out = Y::store(sum + bias.load());
                }
            }
            None => {
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = Y::store(*sum);
                }
            }
        }
    }
}

/// Numbers as f32: themselves, or a wider copy.
fn as_f32<X: Factor>(numbers: &[X]) -> std::borrow::Cow<'_, [f32]> {
    if !X::PAIRED {
        assert!(size_of::<X>() == size_of::<f32>());
        // SAFETY: a factor that is not bf16 is f32.
        return unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast::<f32>(), numbers.len()) }.into();
    }
    let mut wide = vec![0.0; numbers.len()];
    {
        let wide = Shared::new(&mut wide);
        ranges(numbers.len(), 1 << 14, &|range| {
            // SAFETY: each thread has its own range.
            let wide = unsafe { wide.slice(range.clone()) };
            wide.iter_mut().zip(&numbers[range]).for_each(|(wide, number)| *wide = number.load());
        });
    }
    wide.into()
}

/// Sums of weight rows `from..to`, with the best unit of this CPU.
fn part<X: Factor, W: Factor>(o: Operands<'_, X, W>, from: usize, to: usize, store: Store<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
        fn paired(o: Operands<'_, bf16, bf16>, from: usize, to: usize, store: Store<'_>) {
            // SAFETY: this function's features are the unit's.
            unsafe { columns::<PairedBf16>(o, from, to, store) }
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
        fn avx512<X: Factor, W: Factor>(o: Operands<'_, X, W>, from: usize, to: usize, store: Store<'_>) {
            // SAFETY: this function's features are the unit's.
            unsafe { columns::<Wide512<X, W>>(o, from, to, store) }
        }
        if X::PAIRED && W::PAIRED && crate::has_bf16_products() {
            let (x, weight) = (as_bf16(o.x), as_bf16(o.weight));
            // SAFETY: the features were seen.
            return unsafe { paired(Operands { x, weight, bias: None, k: o.k }, from, to, store) };
        }
        if level() == Level::Avx512 {
            // SAFETY: `level` has seen these features.
            return unsafe { avx512(o, from, to, store) };
        }
    }
    // SAFETY: the plain unit needs no features.
    unsafe { columns::<Plain<X, W>>(o, from, to, store) }
}

/// Numbers that are known to be bf16, seen as such.
fn as_bf16<T: Factor>(numbers: &[T]) -> &[bf16] {
    assert!(T::PAIRED && size_of::<T>() == size_of::<bf16>());
    // SAFETY: `PAIRED` is true of bf16 alone.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), numbers.len()) }
}

/// A vector unit's way to sum products of `X` and `W`.
pub(crate) trait Unit {
    type X: Element;
    type W: Element;
    /// Numbers along `k` in one step.
    const STEP: usize;
    /// Rows of `x` in the tallest tile.
    const ROWS: usize;
    type Xs: Copy;
    type Ws: Copy;
    type Sum: Copy;

    /// # Safety
    /// The CPU has the unit's features; this holds for all methods.
    unsafe fn zero() -> Self::Sum;
    /// # Safety
    /// There are [`STEP`](Self::STEP) numbers.
    unsafe fn load_x(from: *const Self::X) -> Self::Xs;
    /// # Safety
    /// There are [`STEP`](Self::STEP) numbers.
    unsafe fn load_w(from: *const Self::W) -> Self::Ws;
    /// `n` numbers with zeros after them.
    ///
    /// # Safety
    /// There are `n` numbers, fewer than [`STEP`](Self::STEP).
    unsafe fn part_x(from: *const Self::X, n: usize) -> Self::Xs;
    /// `n` numbers with zeros after them.
    ///
    /// # Safety
    /// There are `n` numbers, fewer than [`STEP`](Self::STEP).
    unsafe fn part_w(from: *const Self::W, n: usize) -> Self::Ws;
    /// # Safety
    /// See [`zero`](Self::zero).
    unsafe fn add(sum: Self::Sum, x: Self::Xs, w: Self::Ws) -> Self::Sum;
    /// Tells the cache that these numbers come next; any address will do.
    ///
    /// # Safety
    /// See [`zero`](Self::zero).
    #[inline(always)]
    unsafe fn send_for(from: *const Self::W) {
        // SAFETY: a hint never faults.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(from.cast());
        }
        let _ = from;
    }
    /// Each sum's lanes, added in one order.
    ///
    /// # Safety
    /// See [`zero`](Self::zero).
    unsafe fn totals(sums: [Self::Sum; 4]) -> [f32; 4];
}

/// The sums of four weight rows with `R` rows of `x`, rows `stride` numbers apart, over `k` numbers. With `ahead`,
/// the four weight rows after these are sent for meanwhile.
///
/// # Safety
/// The CPU has the unit's features; `x` has `R` rows of `k` numbers and each weight row has `k`.
#[inline(always)]
unsafe fn tile<U: Unit, const R: usize>(
    x: *const U::X,
    weights: [*const U::W; 4],
    stride: usize,
    k: usize,
    ahead: bool,
) -> [[f32; 4]; R] {
    // SAFETY: nothing past a row's `k` numbers is read; the rest is the caller's word.
    unsafe {
        let mut sums = [[U::zero(); 4]; R];
        let mut p = 0;
        while p + U::STEP <= k {
            let mut xs = [U::load_x(x.add(p)); R];
            for i in 1..R {
                xs[i] = U::load_x(x.add(i * stride + p));
            }
            for j in 0..4 {
                let ws = U::load_w(weights[j].add(p));
                if ahead {
                    U::send_for(weights[j].wrapping_add(4 * stride + p));
                }
                for i in 0..R {
                    sums[i][j] = U::add(sums[i][j], xs[i], ws);
                }
            }
            p += U::STEP;
        }
        if p < k {
            for j in 0..4 {
                let ws = U::part_w(weights[j].add(p), k - p);
                for i in 0..R {
                    sums[i][j] = U::add(sums[i][j], U::part_x(x.add(i * stride + p), k - p), ws);
                }
            }
        }
        let mut totals = [[0.0; 4]; R];
        for i in 0..R {
            totals[i] = U::totals(sums[i]);
        }
        totals
    }
}

/// Hands sums of weight rows `from..to` to `store`: a row, the first column, and the sums from there on.
///
/// Long rows are summed piece by piece, so that a tile's rows stay in the first-level cache; the pieces depend on
/// `k` alone.
///
/// # Safety
/// The CPU has the unit's features, and the operands' lengths fit one another.
#[inline(always)]
unsafe fn columns<U: Unit>(o: Operands<'_, U::X, U::W>, from: usize, to: usize, store: Store<'_>) {
    let k = o.k;
    let n = o.x.len() / k;
    let pieces = (k * size_of::<U::X>()).div_ceil(PIECE_BYTES);
    let piece = k.div_ceil(pieces).next_multiple_of(32);
    let columns_near = (COLUMN_BYTES / (piece * size_of::<U::W>())).max(1).next_multiple_of(4);
    let rows_near = (HELD_BYTES / (columns_near * size_of::<f32>())).max(1).next_multiple_of(U::ROWS);
    let mut held = vec![0.0_f32; rows_near.min(n) * columns_near];
    for first_column in (from..to).step_by(columns_near) {
        let end_column = (first_column + columns_near).min(to);
        for first_row in (0..n).step_by(rows_near) {
            let end_row = (first_row + rows_near).min(n);
            for begin in (0..k).step_by(piece) {
                let len = piece.min(k - begin);
                for row in (first_row..end_row).step_by(U::ROWS) {
                    let rows = (end_row - row).min(U::ROWS);
                    let x = o.x[row * k + begin..(row + rows - 1) * k + begin + len].as_ptr();
                    for column in (first_column..end_column).step_by(4) {
                        // Past the end the last weight row is taken again, and its sums are dropped.
                        let mut weights = [o.weight.as_ptr(); 4];
                        for (j, weights) in weights.iter_mut().enumerate() {
                            *weights = o.weight[(column + j).min(end_column - 1) * k + begin..][..len].as_ptr();
                        }
                        let mut sums = [[0.0; 4]; 6];
                        macro_rules! run {
                            ($($r:literal)*) => {
                                match rows {
                                    $(
                                        // SAFETY: rows and weights were cut to `len` numbers; the caller's word for the rest.
                                        $r => sums[..$r].copy_from_slice(&unsafe {
                                            tile::<U, $r>(x, weights, k, len, row == 0)
                                        }),
                                    )*
                                    _ => unreachable!("a tile has one to six rows"),
                                }
                            };
                        }
                        run!(1 2 3 4 5 6);
                        for (i, sums) in sums[..rows].iter().enumerate() {
                            let at = (row - first_row + i) * columns_near + column - first_column;
                            for (held, sum) in held[at..at + 4].iter_mut().zip(sums) {
                                *held = if begin > 0 { *held + sum } else { *sum };
                            }
                        }
                    }
                }
            }
            for row in first_row..end_row {
                let sums = &held[(row - first_row) * columns_near..][..end_column - first_column];
                store(row, first_column, sums);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use relign_core::Seed;

    use super::*;

    fn numbers<T: Element>(seed: u64, n: usize) -> Vec<T> {
        (0..n as u64).map(|i| T::store((Seed(seed).uniform(i) * 2.0 - 1.0) as f32)).collect()
    }

    /// Products by `run` are right, and a row alone comes to the same bits.
    fn check<X: Factor, W: Factor>(name: &str, run: &dyn Fn(Operands<'_, X, W>, &mut [f32])) {
        for (n, m, k) in
            [(1, 1, 1), (1, 70, 48), (2, 9, 33), (3, 16, 64), (4, 8, 32), (7, 131, 100), (9, 67, 576), (200, 5, 576)]
        {
            let (x, weight, bias) = (numbers::<X>(1, n * k), numbers::<W>(2, m * k), numbers::<X>(3, m));
            for bias in [None, Some(&bias[..])] {
                let operands = Operands { x: &x, weight: &weight, bias, k };
                let mut y = vec![0.0; n * m];
                run(operands, &mut y);
                for row in 0..n {
                    let mut alone = vec![0.0; m];
                    run(Operands { x: &x[row * k..(row + 1) * k], ..operands }, &mut alone);
                    for column in 0..m {
                        let pair =
                            |p: usize| f64::from(x[row * k + p].load()) * f64::from(weight[column * k + p].load());
                        let exact = (0..k).map(pair).sum::<f64>() + bias.map_or(0.0, |b| f64::from(b[column].load()));
                        let got = y[row * m + column];
                        let near = 2e-6 * (k as f64).sqrt();
                        assert!(
                            (f64::from(got) - exact).abs() <= near,
                            "{name} {n} x {m} x {k}: {got}, expected {exact}"
                        );
                        assert_eq!(alone[column].to_bits(), got.to_bits(), "{name} {n} x {m} x {k}: row {row} alone");
                    }
                }
            }
        }
    }

    /// What a unit's sums come to, bias added.
    fn with<X: Factor, W: Factor>(
        columns: unsafe fn(Operands<'_, X, W>, usize, usize, Store<'_>),
        o: Operands<'_, X, W>,
        y: &mut [f32],
    ) {
        let m = o.weight.len() / o.k;
        let y = Shared::new(y);
        // SAFETY: the caller has looked for the unit's features.
        unsafe {
            columns(o, 0, m, &|row, column, sums| {
                for (i, sum) in sums.iter().enumerate() {
                    let at = row * m + column + i;
                    y.slice(at..at + 1)[0] = sum + o.bias.map_or(0.0, |b| b[column + i].load());
                }
            });
        }
    }

    /// Every unit against sums in f64; those that this CPU lacks are skipped aloud.
    #[test]
    fn products_are_right_and_rows_independent() {
        fn units<X: Factor, W: Factor>(name: &str) {
            check::<X, W>(name, &|o, y| multiply(o, y));
            check::<X, W>(name, &|o, y| with(columns::<Plain<X, W>>, o, y));
            check::<X, W>(name, &|o, y| {
                let m = o.weight.len() / o.k;
                let y = Shared::new(y);
                panels::part(&as_f32(o.x), panels::Rows { weight: o.weight, k: o.k }, 0, m, &finish(m, o.bias, &y));
            });
            #[cfg(target_arch = "x86_64")]
            if level() == Level::Avx512 {
                check::<X, W>(name, &|o, y| with(columns::<Wide512<X, W>>, o, y));
            } else {
                eprintln!("SKIPPED: products in vectors of 512 bits; this CPU has no AVX-512");
            }
        }
        units::<f32, f32>("f32");
        units::<bf16, bf16>("bf16");
        units::<f32, bf16>("bf16 weights");
    }
}
