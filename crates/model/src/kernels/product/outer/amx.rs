//! [`outer`](super::outer) of bf16 by AMX tiles.
//!
//! A piece of both operands along `k` is packed into tiles once, by all threads; then pairs of tiles of rows meet pairs of
//! tiles of columns. Each output is one sum along `k`, block by block, as [products](super::super::amx) are.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use half::bf16;

use super::super::super::amx::{self, load, multiply, store, zero};
use super::super::super::element::Element;
use super::super::super::lanes::transpose;
use super::super::super::parallel::{Shared, ranges};
use super::{Into, Outer};

/// Rows, or columns, of a tile.
const ROWS: usize = amx::ROWS;

/// Numbers along `k` in a tile, which one instruction multiplies.
const BLOCK: usize = 32;

/// Words of a tile; a word is a pair of numbers, or a sum.
const TILE: usize = ROWS * ROWS;

/// Bytes between a packed tile's rows.
const DENSE: usize = ROWS * size_of::<f32>();

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
    let a = Source { data: o.a, turned: o.transposed, width: m, k: o.k };
    let b = Source { data: o.b, turned: false, width: n, k: o.k };
    let (down, across) = (m.div_ceil(ROWS), n.div_ceil(ROWS));
    let (row_pairs, column_pairs) = (down.div_ceil(2), across.div_ceil(2));
    let blocks = o.k.div_ceil(BLOCK);
    let words = |tiles: usize| Box::<[f32]>::new_uninit_slice(tiles * TILE);
    let mut rows = words(2 * row_pairs * PIECE.min(blocks));
    let mut columns = words(2 * column_pairs * PIECE.min(blocks));
    let mut sums = words(if blocks > PIECE { 4 * row_pairs * column_pairs } else { 0 });
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
            let mut held = [MaybeUninit::<f32>::uninit(); 4 * TILE];
            for unit in range {
                let (near, row) = (unit / row_pairs * NEAR / 2, unit % row_pairs);
                for column in near..(near + NEAR / 2).min(column_pairs) {
                    // SAFETY: tiles are available; what was packed is only read now; these outputs are this unit's alone, and
                    // the sums of earlier pieces, too.
                    unsafe {
                        let kept = || sums.at((row * column_pairs + column) * 4 * TILE);
                        let last = piece.end == blocks;
                        let meeting = Meeting {
                            rows: rows.at(2 * row * size),
                            columns: columns.at(2 * column * size),
                            blocks: piece.len(),
                            from: if first > 0 { kept() } else { std::ptr::null() },
                            to: if last { held.as_mut_ptr() } else { kept() }.cast(),
                        };
                        meeting.run();
                        if last {
                            let held = &*(&raw const held).cast::<[f32; 4 * TILE]>();
                            put(held, (2 * row * ROWS, m), (2 * column * ROWS, n), into, &y);
                        }
                    }
                }
            }
        });
    }
}

/// Two tiles of rows and two of columns, and where their sums begin and go.
struct Meeting {
    rows: *const MaybeUninit<f32>,
    columns: *const MaybeUninit<f32>,
    blocks: usize,
    /// Null for zeros.
    from: *const MaybeUninit<f32>,
    to: *mut f32,
}

impl Meeting {
    /// # Safety
    /// Tiles are available; operands hold two times `blocks` tiles, sums four.
    unsafe fn run(&self) {
        let second = self.blocks * TILE;
        let (a, b) = (self.rows, self.columns);
        // SAFETY: the caller's.
        unsafe {
            amx::configure([ROWS; 8]);
            if self.from.is_null() {
                zero!(0 1 2 3);
            } else {
                load!(0, self.from, DENSE);
                load!(1, self.from.add(TILE), DENSE);
                load!(2, self.from.add(2 * TILE), DENSE);
                load!(3, self.from.add(3 * TILE), DENSE);
            }
            for block in 0..self.blocks {
                let at = block * TILE;
                load!(6, b.add(at), DENSE);
                load!(4, a.add(at), DENSE);
                multiply!(0, 4, 6);
                load!(7, b.add(second + at), DENSE);
                multiply!(1, 4, 7);
                load!(5, a.add(second + at), DENSE);
                multiply!(2, 5, 6);
                multiply!(3, 5, 7);
            }
            store!(0, self.to, DENSE);
            store!(1, self.to.add(TILE), DENSE);
            store!(2, self.to.add(2 * TILE), DENSE);
            store!(3, self.to.add(3 * TILE), DENSE);
            amx::release();
        }
    }
}

/// Puts the sums of two by two tiles into `y` `[m, n]`, as far as there are rows and columns.
///
/// # Safety
/// No other thread has these outputs.
unsafe fn put<Y: Element>(
    sums: &[f32; 4 * TILE],
    (row, m): (usize, usize),
    (column, n): (usize, usize),
    into: Into,
    y: &Shared<Y>,
) {
    for (tile, sums) in sums.chunks_exact(TILE).enumerate() {
        let (row, column) = (row + tile / 2 * ROWS, column + tile % 2 * ROWS);
        if column >= n {
            continue;
        }
        let wide = ROWS.min(n - column);
        for (row, sums) in (row..m).zip(sums.as_chunks::<ROWS>().0) {
            // SAFETY: the caller's.
            let out = unsafe { y.slice(row * n + column..row * n + column + wide) };
            match (into, out.as_chunks_mut::<ROWS>().0) {
                (Into::Set, [out]) => *out = sums.map(Y::store),
                (Into::Add, [out]) => *out = std::array::from_fn(|i| Y::store(out[i].load() + sums[i])),
                (Into::Set, _) => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = Y::store(*sum)),
                (Into::Add, _) => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = Y::store(out.load() + sum)),
            }
        }
    }
}

/// An operand as it lies in memory.
#[derive(Clone, Copy)]
struct Source<'a> {
    data: &'a [bf16],
    /// `[width, k]`, not `[k, width]`.
    turned: bool,
    width: usize,
    k: usize,
}

impl Source<'_> {
    /// Rows `16 tile..` as tiles of the first operand: rows of pairs along `k`.
    ///
    /// # Safety
    /// The CPU has AVX-512 with BW and VL; `to` has room for as many tiles as `blocks` has.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn pack_rows(self, tile: usize, blocks: Range<usize>, to: *mut MaybeUninit<f32>) {
        for (block, to) in blocks.zip((0..).map(|at| to.wrapping_add(at * TILE))) {
            // SAFETY: the caller's.
            unsafe {
                let rows = if self.turned { self.rows(tile, block) } else { transpose(self.pairs(tile, block)) };
                (0..ROWS).for_each(|row| _mm512_storeu_si512(to.add(row * ROWS).cast(), rows[row]));
            }
        }
    }

    /// Columns `16 tile..` as tiles of the second operand: pairs along `k` of each column.
    ///
    /// # Safety
    /// As [`pack_rows`](Self::pack_rows).
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn pack_columns(self, tile: usize, blocks: Range<usize>, to: *mut MaybeUninit<f32>) {
        for (block, to) in blocks.zip((0..).map(|at| to.wrapping_add(at * TILE))) {
            // SAFETY: the caller's.
            unsafe {
                let pairs = self.pairs(tile, block);
                (0..ROWS).for_each(|pair| _mm512_storeu_si512(to.add(pair * ROWS).cast(), pairs[pair]));
            }
        }
    }

    /// 16 rows of a block of `[width, k]`; zeros stand for what is not there.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn rows(self, tile: usize, block: usize) -> [__m512i; ROWS] {
        let mut rows = [_mm512_setzero_si512(); ROWS];
        let (first, begin) = (tile * ROWS, block * BLOCK);
        let mask = u32::MAX >> BLOCK.saturating_sub(self.k - begin);
        for (row, vector) in (first..self.width).zip(&mut rows) {
            // SAFETY: the row is there, and of it what the mask tells.
            *vector = unsafe { _mm512_maskz_loadu_epi16(mask, self.data.as_ptr().add(row * self.k + begin).cast()) };
        }
        rows
    }

    /// 16 pairs of rows of a block of `[k, width]`, the numbers of each column side by side; zeros stand for what is not
    /// there.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn pairs(self, tile: usize, block: usize) -> [__m512i; ROWS] {
        let mut pairs = [_mm512_setzero_si512(); ROWS];
        let (first, begin) = (tile * ROWS, block * BLOCK);
        if first >= self.width {
            return pairs;
        }
        let mask = u16::MAX >> ROWS.saturating_sub(self.width - first);
        let row = |row: usize| {
            if row < self.k {
                // SAFETY: the row is there, and of it what the mask tells.
                let row =
                    unsafe { _mm256_maskz_loadu_epi16(mask, self.data.as_ptr().add(row * self.width + first).cast()) };
                _mm512_cvtepu16_epi32(row)
            } else {
                _mm512_setzero_si512()
            }
        };
        for (pair, vector) in pairs.iter_mut().enumerate() {
            let (low, high) = (row(begin + 2 * pair), row(begin + 2 * pair + 1));
            *vector = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
        }
        pairs
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
            relign_core::skipped!("gradients by tiles; this CPU has no AMX");
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
