//! Products with weights in panels, tile by tile.
//!
//! Every output is one chain of multiply-adds along `k` for each piece of it, and pieces are added in order; where they
//! end depends on `k` and the CPU alone. So a row comes to the same bits whatever rows are beside it.

use super::super::lanes::{self, Lanes};
use super::super::{Level, Near, level, prefetch_line};
use super::Store;
use super::panels::{WIDTH, Weights, Word};

/// Vectors of weights times words along `k` that are summed at once: they stay in a first-level cache of 32 KB beside
/// rows of `x`.
const VECTOR_STEPS: usize = 384;

/// Rows of `x` in the tallest tile.
const TALL: usize = 6;

/// Vectors of columns in a tile, where a vector has 512 bits: with 24 sums and four of weights, 28 of 32 registers.
const WIDE_512: usize = 4;

/// The same for 256 bits: twelve sums, two vectors of weights and a number of `x` are fifteen of sixteen registers.
const WIDE_256: usize = 2;

/// Columns whose sums are held while pieces pass by.
pub(super) const HELD: usize = 4 * WIDTH;

/// Bytes of rows of `x` that stay near while weights pass by: a second-level cache of 512 KB holds them.
const NEAR_BYTES: usize = 384 << 10;

/// Rows of `x` at least and at most, of that size or not.
const NEAR_ROWS: (usize, usize) = (48, 192);

/// From so many tiles on the next weights are sent for by hand; before, the CPU sees for itself what comes next.
const TILES_TO_SEND: usize = 4;

/// Words along `k` in a piece, for tiles of `wide` vectors of weights.
fn piece(words: usize, wide: usize) -> usize {
    words.div_ceil(words.div_ceil(VECTOR_STEPS / wide)).next_multiple_of(8)
}

/// Hands the sums of weight rows `from..to`, of which the first begins a panel, to `store`; `x` is rows of words.
pub(super) fn part<S: Weights>(x: &[f32], weights: S, from: usize, to: usize, store: Store<'_>) {
    assert!(from.is_multiple_of(WIDTH), "whole panels");
    #[cfg(target_arch = "x86_64")]
    {
        match (weights.word(), level()) {
            (Word::Pair, _) => {
                assert!(crate::has_bf16_products(), "a CPU that multiplies pairs");
                if super::super::amx::available() {
                    // SAFETY: tiles are available, and rows of pairs are whole blocks.
                    return unsafe { super::amx::columns(x, weights, from, to, store) };
                }
                // SAFETY: the features were seen.
                return unsafe { x86::pairs512(x, weights, from, to, store) };
            }
            // SAFETY: `level` has seen these features.
            (Word::Single, Level::Avx512) => return unsafe { x86::avx512(x, weights, from, to, store) },
            // SAFETY: `level` has seen these features.
            (Word::Single, Level::Avx2) => return unsafe { x86::avx2(x, weights, from, to, store) },
            (Word::Single, Level::Baseline) => {}
        }
    }
    assert_eq!(weights.word(), Word::Single, "a CPU that multiplies pairs");
    plain(x, weights, from, to, store);
}

fn plain<S: Weights>(x: &[f32], weights: S, from: usize, to: usize, store: Store<'_>) {
    // SAFETY: the plain unit needs no features.
    unsafe { columns::<lanes::Plain, S, WIDE_256, WIDE_256>(x, weights, from, to, store) }
}

/// The same, compiled for CPUs that have more.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
    pub(super) fn pairs512<S: Weights>(x: &[f32], weights: S, from: usize, to: usize, store: Store<'_>) {
        // SAFETY: this function's features are the unit's.
        unsafe { columns::<lanes::Pairs512, S, WIDE_512, 1>(x, weights, from, to, store) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
    pub(super) fn avx512<S: Weights>(x: &[f32], weights: S, from: usize, to: usize, store: Store<'_>) {
        // SAFETY: this function's features are the unit's.
        unsafe { columns::<lanes::Lanes512, S, WIDE_512, 1>(x, weights, from, to, store) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn avx2<S: Weights>(x: &[f32], weights: S, from: usize, to: usize, store: Store<'_>) {
        // SAFETY: this function's features are the unit's.
        unsafe { columns::<lanes::Lanes256, S, WIDE_256, WIDE_256>(x, weights, from, to, store) }
    }
}

/// What [`part`] does, in tiles of `V` vectors of columns and, where there are no `V` left, of `ONE` panel.
///
/// # Safety
/// The CPU has the unit's features.
#[inline(always)]
unsafe fn columns<L: Lanes, S: Weights, const V: usize, const ONE: usize>(
    x: &[f32],
    weights: S,
    from: usize,
    to: usize,
    store: Store<'_>,
) {
    const { assert!(ONE * L::WIDTH == WIDTH && HELD.is_multiple_of(V * L::WIDTH)) };
    let words = weights.words();
    let n = x.len() / words;
    let near = (NEAR_BYTES / (words * size_of::<f32>())).clamp(NEAR_ROWS.0, NEAR_ROWS.1) / TALL * TALL;
    let piece = piece(words, V);
    let mut turned = [0.0; (VECTOR_STEPS + 8 * HELD / WIDTH) * WIDTH];
    let mut held = vec![0.0_f32; near.min(n) * HELD];
    for first_row in (0..n).step_by(near) {
        let rows = near.min(n - first_row);
        let x = &x[first_row * words..][..rows * words];
        for first_column in (from..to).step_by(HELD) {
            let end_column = (first_column + HELD).min(to);
            let mut column = first_column;
            while column < end_column {
                let held = &mut held[column - first_column..];
                if column + V * L::WIDTH <= end_column.next_multiple_of(WIDTH) {
                    // SAFETY: the caller's.
                    unsafe { strip::<L, S, V>(x, weights, column, piece, &mut turned, held) };
                    column += V * L::WIDTH;
                } else {
                    // SAFETY: the caller's.
                    unsafe { strip::<L, S, ONE>(x, weights, column, piece, &mut turned, held) };
                    column += WIDTH;
                }
            }
            for row in 0..rows {
                store(first_row + row, first_column, &held[row * HELD..][..end_column - first_column]);
            }
        }
    }
}

/// The sums of all rows of `x` with `V` vectors of columns from `column` on, put into rows of `held`.
///
/// # Safety
/// The CPU has the unit's features.
#[inline(always)]
unsafe fn strip<L: Lanes, S: Weights, const V: usize>(
    x: &[f32],
    weights: S,
    column: usize,
    piece: usize,
    turned: &mut [f32],
    held: &mut [f32],
) {
    let words = weights.words();
    let rows = x.len() / words;
    // Tiles as even as can be: the first `taller` have a row more.
    let tiles = rows.div_ceil(TALL);
    let (low, taller) = (rows / tiles, rows % tiles);
    let lines = if S::IN_ORDER && tiles >= TILES_TO_SEND { piece.div_ceil(tiles) } else { 0 };
    for begin in (0..words).step_by(piece) {
        let steps = piece.min(words - begin);
        let mut panels = [std::ptr::null(); V];
        for (index, turned) in (0..V * L::WIDTH / WIDTH).zip(turned.chunks_exact_mut(piece * WIDTH)) {
            let panel = weights.panel(column + index * WIDTH, begin, steps, turned);
            for part in 0..WIDTH / L::WIDTH {
                panels[index * WIDTH / L::WIDTH + part] = panel[part * L::WIDTH..].as_ptr();
            }
        }
        // Behind a panel's last piece comes the next panel's first; of a strip of some, the next strip's.
        let last = begin + steps == words;
        let skipped = if last { (V * L::WIDTH / WIDTH - 1) * words * WIDTH } else { 0 };
        let mut row = 0;
        for tile_index in 0..tiles {
            let many = low + usize::from(tile_index < taller);
            let x = &x[row * words + begin..][..(many - 1) * words + steps];
            let to = &mut held[row * HELD..][..(many - 1) * HELD + V * L::WIDTH];
            for line in 0..lines {
                for index in 0..V * L::WIDTH / WIDTH {
                    let next = (steps + tile_index * lines + line) * WIDTH + skipped;
                    prefetch_line(panels[index * WIDTH / L::WIDTH].wrapping_add(next), Near::First);
                }
            }
            macro_rules! run { ($($r:literal)*) => { match many { $(
                // SAFETY: the caller's word for the CPU; the slices were just cut to what is read and written.
                $r => unsafe { tile::<L, $r, V>(x.as_ptr(), words, panels, steps, to.as_mut_ptr(), begin > 0) },
            )* _ => unreachable!("a tile has one to six rows") } } }
            run!(1 2 3 4 5 6);
            row += many;
        }
    }
}

/// The sums of `V` vectors of columns with `R` rows of `x`, `stride` words apart, over `steps` words, put into (or, with
/// `more`, added to) rows of `to`, [`HELD`] apart.
///
/// # Safety
/// The CPU has the unit's features; `x` has `R` rows of `steps` words, each of `panels` `steps` vectors, [`WIDTH`] apart,
/// and `to` `R` rows of `V` vectors.
#[inline(always)]
unsafe fn tile<L: Lanes, const R: usize, const V: usize>(
    x: *const f32,
    stride: usize,
    panels: [*const f32; V],
    steps: usize,
    to: *mut f32,
    more: bool,
) {
    // SAFETY: the caller's word.
    unsafe {
        let mut sums = [[L::zero(); V]; R];
        for p in 0..steps {
            let mut weights = [L::zero(); V];
            for v in 0..V {
                weights[v] = L::load(panels[v].add(p * WIDTH));
            }
            for i in 0..R {
                let number = L::splat(x.add(i * stride + p));
                for v in 0..V {
                    sums[i][v] = L::multiply_add(sums[i][v], number, weights[v]);
                }
            }
        }
        for i in 0..R {
            for v in 0..V {
                let to = to.add(i * HELD + v * L::WIDTH);
                L::store(if more { L::add(L::load(to), sums[i][v]) } else { sums[i][v] }, to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::super::super::parallel::Shared;
    use super::super::panels::{Panels, Rows, in_words, multiply, pack, size};
    use super::super::{Factor, finish, numbers};
    use super::*;

    /// What the kernels compute, one number at a time: `fused` as the CPU's instructions are.
    fn one_by_one<W: Factor>(x: &[f32], weight: &[W], (k, wide, fused): (usize, usize, bool)) -> Vec<f32> {
        let mut y = Vec::new();
        for x in x.chunks_exact(k) {
            for weight in weight.chunks_exact(k) {
                let mut total = 0.0_f32;
                for (begin, (x, weight)) in x.chunks(piece(k, wide)).zip(weight.chunks(piece(k, wide))).enumerate() {
                    let sum = x
                        .iter()
                        .zip(weight)
                        .fold(0.0_f32, |sum, (x, w)| if fused { x.mul_add(w.load(), sum) } else { sum + x * w.load() });
                    total = if begin > 0 { total + sum } else { sum };
                }
                y.push(total);
            }
        }
        y
    }

    /// Name, kernel, vectors in a tile, and whether multiply-adds are fused.
    type Unit<'a, W> = (&'static str, unsafe fn(&[f32], Rows<'a, W>, usize, usize, Store<'_>), usize, bool);

    /// What this CPU has.
    fn units<'a, W: Factor>() -> Vec<Unit<'a, W>> {
        let mut units: Vec<Unit<'a, W>> = vec![("plain", plain, WIDE_256, false)];
        #[cfg(target_arch = "x86_64")]
        {
            if level() == Level::Baseline {
                relign_core::skipped!(hardware: "products in vectors of 256 bits; this CPU has no AVX2");
            } else {
                units.push(("avx2", x86::avx2, WIDE_256, true));
            }
            if level() == Level::Avx512 {
                units.push(("avx512", x86::avx512, WIDE_512, true));
            } else {
                relign_core::skipped!(hardware: "products in vectors of 512 bits; this CPU has no AVX-512");
            }
        }
        units
    }

    /// Each unit comes to the bits of numbers multiplied one by one.
    #[test]
    fn units_come_to_the_bits_of_their_scalar_twins() {
        fn check<W: Factor>() {
            for (n, m, k) in [(1, 1, 1), (2, 9, 33), (7, 131, 100), (13, 70, 576), (70, 33, 1536), (200, 5, 1000)] {
                let (x, weight) = (numbers::<f32>(1, n * k), numbers::<W>(2, m * k));
                for (name, unit, wide, fused) in units() {
                    let mut y = vec![f32::NAN; n * m];
                    {
                        let y = Shared::new(&mut y);
                        let rows = Rows { weight: &weight[..], k, word: Word::Single };
                        // SAFETY: the unit's features were seen.
                        unsafe { unit(&x, rows, 0, m, &finish::<f32, f32>(m, None, &y)) };
                    }
                    assert_eq!(y, one_by_one(&x, &weight, (k, wide, fused)), "{name} {n} x {m} x {k}");
                }
            }
        }
        check::<f32>();
        check::<bf16>();
    }

    /// Packed once or turned while multiplied: the same bits.
    #[test]
    fn panels_come_to_the_same_bits_however_they_are_read() {
        fn check<T: Factor>(word: Word) {
            for (n, m, k) in [(1, 1, 1), (2, 9, 33), (7, 131, 100), (13, 70, 576), (70, 100, 1536), (200, 5, 1001)] {
                let (x, weight, bias) = (numbers::<T>(1, n * k), numbers::<T>(2, m * k), numbers::<T>(3, m));
                let mut data = vec![f32::NAN; size(m, k, word)];
                pack(&weight, k, word, &mut data);
                let mut packed = vec![f32::NAN; n * m];
                multiply(&x, Panels { data: &data, m, k, word }, Some(&bias), &mut packed);
                let mut turned = vec![f32::NAN; n * m];
                {
                    let y = Shared::new(&mut turned);
                    let rows = Rows { weight: &weight, k, word };
                    part(&in_words(&x, k, word), rows, 0, m, &finish(m, Some(&bias[..]), &y));
                }
                assert_eq!(packed, turned, "{word:?} {n} x {m} x {k}");
            }
        }
        check::<f32>(Word::Single);
        if crate::has_bf16_products() {
            check::<bf16>(Word::Pair);
        } else {
            relign_core::skipped!(hardware: "products of pairs; this CPU has none");
        }
    }
}
