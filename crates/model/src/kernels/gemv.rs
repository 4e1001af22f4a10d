//! Products of a few rows with a weight matrix, for generation.
//!
//! Each weight is read once, whatever the number of rows: with few of them the memory's speed is the
//! limit, and a library that first packs the matrix, or reads it again for each row, stays below it.
//! Every output is one sum in one fixed order, so a row's result does not depend on its neighbours.

use half::bf16;

use super::dispatch;
use super::element::Element;
use super::math::fma;
use super::parallel::{Shared, ranges};

const LANES: usize = 16;

/// Fewer weight rows than this are not worth another thread.
const GRAIN: usize = 32;

/// The operands of `y = x W^T + b`: `x` `[n, k]`, `W` `[m, k]`, `b` `[m]`.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) weight: &'a [T],
    pub(crate) bias: Option<&'a [T]>,
    pub(crate) k: usize,
}

/// Fills `y` `[n, m]`.
pub(crate) fn multiply<T: Element>(operands: Operands<'_, T>, y: &mut [T]) {
    let Operands { x, weight, bias, k } = operands;
    assert!(k > 0 && x.len().is_multiple_of(k) && weight.len().is_multiple_of(k), "rows of {k} numbers");
    let (n, m) = (x.len() / k, weight.len() / k);
    assert!(y.len() == n * m && bias.is_none_or(|b| b.len() == m), "an output per row and weight row");
    let y = Shared::new(y);
    ranges(m, GRAIN, &|range| columns::<T>(operands, range.start, range.end, &y));
}

dispatch! { fn columns<T: Element>(operands: Operands<'_, T>, from: usize, to: usize, y: &Shared<T>) = columns_body }

/// Covers the outputs of weight rows `from..to` with tiles: 4 by 4, 8 by 1 at the rows' end, and single
/// ones at the weights' end. A macro, for a function's closures are not sure to be compiled with the
/// features of its caller.
macro_rules! walk {
    ($operands:ident, $from:ident, $to:ident, $y:ident, $T:ty, $tall:expr, $square:expr, $single:expr) => {{
        let Operands { x, weight, bias, k } = $operands;
        let (n, m) = (x.len() / k, weight.len() / k);
        let store = |row: usize, column: usize, value: f32| {
            let value = value + bias.map_or(0.0, |b| b[column].load());
            // SAFETY: each thread has its own columns.
            unsafe { $y.slice(row * m + column..row * m + column + 1)[0] = <$T as Element>::store(value) };
        };
        let mut column = $from;
        while column < $to {
            let many = if $to - column >= 8 { 8 } else { 1 };
            let weights = &weight[column * k..(column + many) * k];
            let mut row = 0;
            while row < n {
                if many == 8 && n - row >= 4 {
                    for half in [0, 4] {
                        let sums = $square(&x[row * k..(row + 4) * k], &weights[half * k..(half + 4) * k], k);
                        for (j, sums) in sums.iter().enumerate() {
                            for (i, &sum) in sums.iter().enumerate() {
                                store(row + i, column + half + j, sum);
                            }
                        }
                    }
                    row += 4;
                } else if many == 8 {
                    for (j, [sum]) in $tall(&x[row * k..(row + 1) * k], weights, k).into_iter().enumerate() {
                        store(row, column + j, sum);
                    }
                    row += 1;
                } else {
                    let [[sum]] = $single(&x[row * k..(row + 1) * k], weights, k);
                    store(row, column, sum);
                    row += 1;
                }
            }
            column += many;
        }
    }};
}

#[inline(always)]
fn columns_body<T: Element, const FMA: bool>(operands: Operands<'_, T>, from: usize, to: usize, y: &Shared<T>) {
    walk!(operands, from, to, y, T, tile::<T, 8, 1, FMA>, tile::<T, 4, 4, FMA>, tile::<T, 1, 1, FMA>);
}

/// The sums of `W` weight rows with `X` rows.
#[inline(always)]
fn tile<T: Element, const W: usize, const X: usize, const FMA: bool>(x: &[T], weight: &[T], k: usize) -> [[f32; X]; W] {
    assert!(x.len() == X * k && weight.len() == W * k);
    let mut acc = [[[0.0_f32; LANES]; X]; W];
    let whole = k / LANES * LANES;
    let mut p = 0;
    while p < whole {
        let mut rows = [[0.0_f32; LANES]; X];
        for (i, row) in rows.iter_mut().enumerate() {
            // SAFETY: `p + LANES <= k` and the rows' lengths were checked; without bounds checks here
            // the loop stays in registers.
            let from: &[T; LANES] = unsafe { &*x.as_ptr().add(i * k + p).cast() };
            for lane in 0..LANES {
                row[lane] = from[lane].load();
            }
        }
        for (j, acc) in acc.iter_mut().enumerate() {
            // SAFETY: as above.
            let from: &[T; LANES] = unsafe { &*weight.as_ptr().add(j * k + p).cast() };
            for (acc, row) in acc.iter_mut().zip(&rows) {
                for lane in 0..LANES {
                    acc[lane] = fma::<FMA>(from[lane].load(), row[lane], acc[lane]);
                }
            }
        }
        p += LANES;
    }
    let mut sums = [[0.0; X]; W];
    for j in 0..W {
        for i in 0..X {
            let mut lanes = acc[j][i];
            for width in [8, 4, 2, 1] {
                for lane in 0..width {
                    lanes[lane] += lanes[lane + width];
                }
            }
            let mut sum = lanes[0];
            for p in whole..k {
                sum = fma::<FMA>(weight[j * k + p].load(), x[i * k + p].load(), sum);
            }
            sums[j][i] = sum;
        }
    }
    sums
}

/// [`multiply`] with the CPU's own products of bf16 pairs, summed in f32.
#[cfg(target_arch = "x86_64")]
pub(crate) fn multiply_bf16(operands: Operands<'_, bf16>, y: &mut [bf16]) {
    if super::level() != super::Level::Avx512 || !crate::has_bf16_products() {
        return multiply(operands, y);
    }
    let Operands { x, weight, bias, k } = operands;
    assert!(k > 0 && x.len().is_multiple_of(k) && weight.len().is_multiple_of(k), "rows of {k} numbers");
    let (n, m) = (x.len() / k, weight.len() / k);
    assert!(y.len() == n * m && bias.is_none_or(|b| b.len() == m), "an output per row and weight row");
    let y = Shared::new(y);
    // SAFETY: the features were seen above.
    ranges(m, GRAIN, &|range| unsafe { pairs::columns(operands, range.start, range.end, &y) });
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn multiply_bf16(operands: Operands<'_, bf16>, y: &mut [bf16]) {
    multiply(operands, y);
}

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_maskz_loadu_epi16, _mm512_reduce_add_ps,
        _mm512_setzero_ps,
    };

    use half::bf16;

    use super::{Element, Operands, Shared};

    const PAIRS: usize = 32;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) fn columns(operands: Operands<'_, bf16>, from: usize, to: usize, y: &Shared<bf16>) {
        walk!(operands, from, to, y, bf16, tile::<8, 1>, tile::<4, 4>, tile::<1, 1>);
    }

    /// The sums of `W` weight rows with `X` rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    fn tile<const W: usize, const X: usize>(x: &[bf16], weight: &[bf16], k: usize) -> [[f32; X]; W] {
        assert!(x.len() == X * k && weight.len() == W * k);
        // SAFETY: the callers below stay within `k` numbers of a row; the types have one size.
        let whole =
            |from: *const bf16| unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(from.cast())) };
        let rest = k % PAIRS;
        let mask = (1_u32 << rest) - 1;
        // SAFETY: masked lanes are not read; the types have one size.
        let part = |from: *const bf16| unsafe {
            std::mem::transmute::<__m512i, __m512bh>(_mm512_maskz_loadu_epi16(mask, from.cast()))
        };
        let mut acc = [[_mm512_setzero_ps(); X]; W];
        let mut p = 0;
        while p + PAIRS <= k {
            // SAFETY: `p + PAIRS <= k`, and the lengths were checked.
            let rows: [__m512bh; X] = std::array::from_fn(|i| whole(unsafe { x.as_ptr().add(i * k + p) }));
            for (j, acc) in acc.iter_mut().enumerate() {
                // SAFETY: as above.
                let weights = whole(unsafe { weight.as_ptr().add(j * k + p) });
                for (acc, row) in acc.iter_mut().zip(rows) {
                    *acc = _mm512_dpbf16_ps(*acc, weights, row);
                }
            }
            p += PAIRS;
        }
        if rest > 0 {
            for (j, acc) in acc.iter_mut().enumerate() {
                // SAFETY: `p < k`, the mask ends the row, and the lengths were checked.
                let weights = part(unsafe { weight.as_ptr().add(j * k + p) });
                for (i, acc) in acc.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let row = part(unsafe { x.as_ptr().add(i * k + p) });
                    *acc = _mm512_dpbf16_ps(*acc, weights, row);
                }
            }
        }
        acc.map(|acc| acc.map(|acc| _mm512_reduce_add_ps(acc)))
    }
}

#[cfg(test)]
mod tests {
    use relign_core::Seed;

    use super::*;

    fn numbers<T: Element>(seed: u64, n: usize) -> Vec<T> {
        (0..n as u64).map(|i| T::store((Seed(seed).uniform(i) * 2.0 - 1.0) as f32)).collect()
    }

    /// One output at a time, in f64.
    fn exact<T: Element>(o: Operands<'_, T>, row: usize, column: usize) -> f64 {
        let pair = |p: usize| f64::from(o.x[row * o.k + p].load()) * f64::from(o.weight[column * o.k + p].load());
        (0..o.k).map(pair).sum::<f64>() + o.bias.map_or(0.0, |b| f64::from(b[column].load()))
    }

    fn check<T: Element>(multiply: fn(Operands<'_, T>, &mut [T]), relative: f64) {
        for (n, m, k) in [(1, 1, 1), (1, 70, 48), (2, 9, 33), (3, 16, 64), (4, 8, 32), (5, 131, 100), (9, 67, 576)] {
            let (x, weight, bias) = (numbers::<T>(1, n * k), numbers::<T>(2, m * k), numbers::<T>(3, m));
            for bias in [None, Some(&bias[..])] {
                let operands = Operands { x: &x, weight: &weight, bias, k };
                let mut y = vec![T::default(); n * m];
                multiply(operands, &mut y);
                for row in 0..n {
                    // A row alone comes to the same bits.
                    let mut alone = vec![T::default(); m];
                    multiply(Operands { x: &x[row * k..(row + 1) * k], ..operands }, &mut alone);
                    for column in 0..m {
                        let (got, wanted) = (f64::from(y[row * m + column].load()), exact(operands, row, column));
                        let near = relative * wanted.abs() + 1e-6 * (k as f64).sqrt();
                        assert!((got - wanted).abs() <= near, "{n} x {m} x {k}: {got}, expected {wanted}");
                        assert_eq!(alone[column].load().to_bits(), y[row * m + column].load().to_bits());
                    }
                }
            }
        }
    }

    #[test]
    fn products_are_right_and_rows_independent() {
        check::<f32>(multiply, 1e-6);
        check::<bf16>(multiply, 0.004);
        check::<bf16>(multiply_bf16, 0.004);
        check::<f32>(
            |o, y| {
                let m = o.weight.len() / o.k;
                columns_body::<f32, false>(o, 0, m, &Shared::new(y));
            },
            1e-6,
        );
    }
}
