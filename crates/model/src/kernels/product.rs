//! Matrix products `y = x W^T` in which every output is one sum in one fixed order.
//!
//! Tiles of outputs share what is loaded, but no sum depends on the tile it falls into: a row comes to the same bits
//! whatever rows are beside it. A library that splits `k`, or chooses its kernel by the number of rows, does not
//! promise that.

#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod outer;
pub(crate) mod panels;
mod tiles;

use half::bf16;

use super::cached::Cached;
use super::element::Element;
use super::parallel::{Shared, ranges};
use super::{Level, dispatch, level};
use panels::{Rows, Word, in_words};

/// The operands of `y = x W^T + b`: `x` `[n, k]`, `W` `[m, k]`, `b` `[m]`.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a, X, W> {
    pub(crate) x: &'a [X],
    pub(crate) weight: &'a [W],
    pub(crate) bias: Option<&'a [X]>,
    pub(crate) k: usize,
}

/// A storage type there are products for.
pub(crate) trait Factor: Element + Cached {
    /// Whether two numbers of this type make a [word](Word).
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
    let word = Word::of::<X, W>();
    let x = in_words(x, k, word);
    let rows = Rows { weight, k, word };
    ranges(m, grain(), &|range| tiles::part(&x, rows, range.start, range.end, &store));
}

/// Weight rows that are worth another thread: of them a tile's columns are always whole, but at the end.
fn grain() -> usize {
    if level() == Level::Avx512 { 64 } else { 32 }
}

/// Takes sums: their row, the first one's column, and the sums from there on.
type Store<'a> = &'a dyn Fn(usize, usize, &[f32]);

/// Puts sums into `y` `[n, m]`, the bias added.
fn finish<'a, X: Element, Y: Element>(
    m: usize,
    bias: Option<&[X]>,
    y: &'a Shared<Y>,
) -> impl Fn(usize, usize, &[f32]) + Sync + 'a {
    let bias: Option<Vec<f32>> = bias.map(|bias| bias.iter().map(|number| number.load()).collect());
    move |row, column, sums| {
        // SAFETY: each thread has its own weight rows, so its own columns.
        let out = unsafe { y.slice(row * m + column..row * m + column + sums.len()) };
        put(sums, bias.as_ref().map(|bias| &bias[column..][..sums.len()]), out);
    }
}

dispatch! {
    /// Stores sums, the bias added.
    fn put<Y: Element>(sums: &[f32], bias: Option<&[f32]>, out: &mut [Y]) = put_body
}

#[inline(always)]
fn put_body<Y: Element, const FMA: bool>(sums: &[f32], bias: Option<&[f32]>, out: &mut [Y]) {
    match bias {
        Some(bias) => {
            for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
                *out = Y::store(sum + bias);
            }
        }
        None => {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = Y::store(*sum);
            }
        }
    }
}

/// Numbers between -1 and 1, for tests.
#[cfg(test)]
fn numbers<T: Element>(seed: u64, n: usize) -> Vec<T> {
    (0..n as u64).map(|i| T::store((relign_core::Seed(seed).uniform(i) * 2.0 - 1.0) as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// The products of this CPU against sums in f64.
    #[test]
    fn products_are_right_and_rows_independent() {
        check::<f32, f32>("f32", &|o, y| multiply(o, y));
        check::<bf16, bf16>("bf16", &|o, y| multiply(o, y));
        check::<f32, bf16>("bf16 weights", &|o, y| multiply(o, y));
    }
}
