//! [`outer`](super::outer) of bf16 by AMX tiles.
//!
//! A piece of both operands along `k` is packed into tiles once, by all threads; then pairs of tiles of rows meet pairs of
//! tiles of columns. Each output is one sum along `k`, block by block, as [products](super::super::amx) are.

use std::mem::MaybeUninit;

use half::bf16;

use super::super::super::amx::{self, BLOCK, Operand, ROWS, SIDE, TILE};
use super::super::super::element::Element;
use super::super::super::parallel::{Shared, ranges};
use super::{Into, Outer};

/// Blocks that are packed at once.
const PIECE: usize = 32;

/// Tiles of columns that all rows meet before the next columns' turn: of a piece they are 1 MB, which a second-level cache
/// of 2 MB holds.
const NEAR: usize = 32;

/// What [`outer`](super::outer) does.
///
/// # Safety
/// Tiles are [available](amx::available).
pub(super) unsafe fn outer<Y: Element>(o: Outer<'_, bf16>, into: Into, y: &mut [Y]) {
    let (m, n) = o.size();
    let a = Operand { data: o.a, turned: o.transposed, width: m, k: o.k };
    let b = Operand { data: o.b, turned: false, width: n, k: o.k };
    let (down, across) = (m.div_ceil(ROWS), n.div_ceil(ROWS));
    let (row_pairs, column_pairs) = (down.div_ceil(2), across.div_ceil(2));
    let blocks = o.k.div_ceil(BLOCK);
    let words = |tiles: usize| -> Box<[MaybeUninit<f32>]> { Box::new_uninit_slice(tiles * TILE) };
    let mut rows = words(2 * row_pairs * PIECE.min(blocks));
    let mut columns = words(2 * column_pairs * PIECE.min(blocks));
    let mut sums = words(if blocks > PIECE { row_pairs * column_pairs * SIDE * SIDE / TILE } else { 0 });
    let (rows, columns, sums) = (Shared::new(&mut rows), Shared::new(&mut columns), Shared::new(&mut sums));
    let y = Shared::new(y);
    for first in (0..blocks).step_by(PIECE) {
        let piece = first..(first + PIECE).min(blocks);
        let size = piece.len() * TILE;
        ranges(2 * (row_pairs + column_pairs), 4, &|range| {
            for tile in range {
                // SAFETY: AMX comes with these features; a tile's words are one thread's.
                unsafe {
                    match tile.checked_sub(2 * row_pairs) {
                        None => a.pack_rows(tile, piece.clone(), rows.at(tile * size)),
                        Some(tile) => b.pack_columns(tile, piece.clone(), columns.at(tile * size)),
                    }
                }
            }
        });
        ranges(across.div_ceil(NEAR) * row_pairs, 1, &|range| {
            let mut held = [0.0_f32; SIDE * SIDE];
            // SAFETY: tiles are available, and given back below.
            unsafe { amx::configure([ROWS; 8]) };
            for unit in range {
                let (near, row) = (unit / row_pairs * NEAR / 2, unit % row_pairs);
                for column in near..(near + NEAR / 2).min(column_pairs) {
                    // SAFETY: what was packed is only read now; these outputs are this unit's alone, and the sums of earlier
                    // pieces, too.
                    unsafe {
                        let kept = || sums.at((row * column_pairs + column) * SIDE * SIDE).cast::<f32>();
                        let from = if first > 0 { kept() } else { std::ptr::null() };
                        let last = piece.end == blocks;
                        let to = if last { held.as_mut_ptr() } else { kept() };
                        let (a, b) = (rows.at(2 * row * size), columns.at(2 * column * size));
                        amx::square(a.cast(), b.cast(), piece.len(), from, to, SIDE);
                        if last {
                            put(&held, (row * SIDE, m), (column * SIDE, n), into, &y);
                        }
                    }
                }
            }
            // SAFETY: no sum is in a tile.
            unsafe { amx::release() };
        });
    }
}

/// Puts sums into `y` `[m, n]`, as far as there are rows and columns.
///
/// # Safety
/// No other thread has these outputs.
unsafe fn put<Y: Element>(
    sums: &[f32; SIDE * SIDE],
    (row, m): (usize, usize),
    (column, n): (usize, usize),
    into: Into,
    y: &Shared<Y>,
) {
    let wide = SIDE.min(n - column);
    for (row, sums) in (row..m).zip(sums.as_chunks::<SIDE>().0) {
        // SAFETY: the caller's.
        let out = unsafe { y.slice(row * n + column..row * n + column + wide) };
        match (into, out.as_chunks_mut::<SIDE>().0) {
            (Into::Set, [out]) => *out = sums.map(Y::store),
            (Into::Add, [out]) => *out = std::array::from_fn(|i| Y::store(out[i].load() + sums[i])),
            (Into::Set, _) => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = Y::store(*sum)),
            (Into::Add, _) => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = Y::store(out.load() + sum)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::numbers;
    use super::*;

    /// Whole tiles and not, one piece and several, both orders of the first operand, set and added.
    #[test]
    fn tiles_come_to_the_bits_of_their_scalar_twin() {
        if !amx::available() {
            relign_core::skipped!(hardware: "gradients by tiles; this CPU has no AMX");
            return;
        }
        for (m, n, k) in
            [(1, 1, 1), (16, 16, 32), (5, 70, 3), (33, 9, 257), (200, 600, 64), (48, 17, 2100), (7, 40, 9000)]
        {
            let (a, b) = (numbers::<bf16>(1, m * k), numbers::<bf16>(2, n * k));
            for transposed in [false, true] {
                for into in [Into::Set, Into::Add] {
                    let mut y = vec![0.5_f32; m * n];
                    super::super::outer(Outer { a: &a, transposed, b: &b, k }, into, &mut y);
                    for (at, got) in y.iter().enumerate() {
                        let (i, j) = (at / n, at % n);
                        let row: Vec<bf16> =
                            (0..k).map(|p| a[if transposed { i * k + p } else { p * m + i }]).collect();
                        let column: Vec<bf16> = (0..k).map(|p| b[p * n + j]).collect();
                        let sum = amx::twin::add_dot(0.0, &row, &column);
                        let expected = if into == Into::Add { 0.5 + sum } else { sum };
                        assert_eq!(*got, expected, "{m} x {n} x {k}, transposed: {transposed}, {into:?}, at {i}, {j}");
                    }
                }
            }
        }
    }
}
