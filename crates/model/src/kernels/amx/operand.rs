//! Operands of products by tiles: packed from where they lie.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use half::bf16;

use super::super::lanes::transpose;
use super::{BLOCK, ROWS, TILE};

/// An operand as it lies in memory.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) data: &'a [bf16],
    /// `[width, k]`, not `[k, width]`.
    pub(crate) turned: bool,
    /// Rows of the first operand, columns of the second.
    pub(crate) width: usize,
    /// Numbers along the summed dimension.
    pub(crate) k: usize,
}

impl Operand<'_> {
    /// Rows `16 tile..` as tiles of the first operand: rows of pairs along `k`.
    ///
    /// # Safety
    /// The CPU has AVX-512 with BW and VL; `to` has room for as many tiles as `blocks` has.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(crate) unsafe fn pack_rows(self, tile: usize, blocks: Range<usize>, to: *mut MaybeUninit<f32>) {
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
    pub(crate) unsafe fn pack_columns(self, tile: usize, blocks: Range<usize>, to: *mut MaybeUninit<f32>) {
        for (block, to) in blocks.zip((0..).map(|at| to.wrapping_add(at * TILE))) {
            // SAFETY: the caller's.
            unsafe {
                let pairs = if self.turned { transpose(self.rows(tile, block)) } else { self.pairs(tile, block) };
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
