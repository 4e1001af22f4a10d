//! Products of pairs by AMX tiles.
//!
//! [`BLOCK`] pairs of a panel are a tile of the second operand as they lie, 1 KB in one piece, and 16 rows of `x` are a tile
//! of the first. For each block there are two chains of 16 multiply-adds that start from zero, one over the numbers at even
//! places and one over those at odd places; their sum is added to the total. Roundings are to nearest, ties to even, and
//! subnormal numbers are zeros, whatever MXCSR says (Intel, "Intel 64 and IA-32 Architectures Software Developer's Manual",
//! TDPBF16PS). So every output is one sum in one order, another than that of [`Pairs512`](super::super::lanes::Pairs512).

use std::arch::asm;

use super::super::{Near, amx, prefetch_line};
use super::Store;
use super::panels::{BLOCK, WIDTH, Weights};
use super::tiles::HELD;
use amx::{load, multiply, store, zero};

/// Bytes of rows of `x` that stay near while weights pass by: a second-level cache of 2 MB holds them.
const NEAR_BYTES: usize = 768 << 10;

/// Words of a tile of weights.
const TILE: usize = BLOCK * WIDTH;

/// Cache lines of a tile.
const LINES: usize = TILE * size_of::<f32>() / 64;

/// Bytes between the rows of a tile of weights.
const DENSE: usize = WIDTH * size_of::<f32>();

/// Lines of the next panels that each block asks for where rows of `x` pass more than once: a core waits for no more than
/// 16 lines that were asked for by hand.
const LINES_AHEAD: usize = 4;

/// How rows of `x` are cut into tiles: of one height, and the last may overlap its neighbour, whose rows come to the same bits
/// twice. So one configuration does for a product, and 17 rows cost two tiles of nine.
#[derive(Clone, Copy)]
struct Cut {
    rows: usize,
    count: usize,
    height: usize,
}

impl Cut {
    fn new(rows: usize) -> Self {
        let count = rows.div_ceil(amx::ROWS);
        Self { rows, count, height: rows.div_ceil(count) }
    }

    /// The first row of a tile.
    fn start(self, tile: usize) -> usize {
        (tile * self.height).min(self.rows - self.height)
    }
}

/// What [`part`](super::tiles::part) does, by tiles: hands the sums of weight rows `from..to` to `out`.
///
/// # Safety
/// Tiles are [available](amx::available), and words of rows are whole blocks.
pub(super) unsafe fn columns<S: Weights>(x: &[f32], weights: S, from: usize, to: usize, out: Store<'_>) {
    let words = weights.words();
    debug_assert!(words.is_multiple_of(BLOCK), "whole blocks");
    let n = x.len() / words;
    let near = if n <= 2 * amx::ROWS { n } else { (NEAR_BYTES / (words * size_of::<f32>()) / 32 * 32).max(32) };
    let panel = words * WIDTH;
    let mut turned = vec![0.0; if S::IN_ORDER { 0 } else { HELD / WIDTH * panel }];
    for first_row in (0..n).step_by(near) {
        let rows = near.min(n - first_row);
        let cut = Cut::new(rows);
        let x = &x[first_row * words..][..rows * words];
        // SAFETY: tiles are available, and released below; nothing between uses them but the strips here.
        unsafe { amx::configure([cut.height, cut.height, cut.height, cut.height, cut.height, cut.height, 16, 16]) };
        for first_column in (from..to).step_by(HELD) {
            let width = HELD.min(to - first_column);
            let many = width.div_ceil(WIDTH);
            let mut panels = [std::ptr::null(); HELD / WIDTH];
            if S::IN_ORDER {
                for (at, pointer) in panels.iter_mut().enumerate().take(many) {
                    *pointer = weights.panel(first_column + at * WIDTH, 0, words, &mut []).as_ptr();
                }
            } else {
                for ((at, pointer), turned) in
                    panels.iter_mut().enumerate().zip(turned.chunks_exact_mut(panel)).take(many)
                {
                    *pointer = weights.panel(first_column + at * WIDTH, 0, words, turned).as_ptr();
                }
            }
            let strip = Strip { x: x.as_ptr(), words, cut, panels: &panels[..many], in_order: S::IN_ORDER };
            // SAFETY: the panels and `x` are as long as what is read; the configuration is that of the cut.
            unsafe { strip.run(&mut |row, sums| out(first_row + row, first_column, &sums[..width])) };
        }
        // SAFETY: no sum is in a tile.
        unsafe { amx::release() };
    }
}

/// Up to four panels against all rows of `x` that are near.
struct Strip<'a> {
    x: *const f32,
    words: usize,
    cut: Cut,
    panels: &'a [*const f32],
    /// Whether the next strip's panels lie behind these.
    in_order: bool,
}

impl Strip<'_> {
    /// # Safety
    /// Tiles are configured for the cut; `x` has its rows, and each panel all words.
    unsafe fn run(&self, out: &mut dyn FnMut(usize, &[f32])) {
        let cut = self.cut;
        let mut held = [0.0_f32; 2 * amx::ROWS * HELD];
        let sums = held.as_mut_ptr();
        // SAFETY: the caller's; `held` has room for two tiles of rows.
        unsafe {
            if let (1, &[a, b, c, d]) = (cut.count, self.panels) {
                self.four([a, b, c, d], sums);
                (0..cut.rows).for_each(|row| out(row, &held[row * HELD..][..HELD]));
                return;
            }
            for first in (0..cut.count).step_by(2) {
                let second = first + 1;
                let x = |tile: usize| self.x.add(cut.start(tile) * self.words);
                for (pair, panels) in self.panels.chunks(2).enumerate() {
                    let to = sums.add(2 * pair * WIDTH);
                    match (second < cut.count, panels) {
                        (true, &[a, b]) => self.sums([x(first), x(second)], [a, b], first / 2, to),
                        (true, &[a]) => self.sums([x(first), x(second)], [a], first / 2, to),
                        (false, &[a, b]) => self.sums([x(first)], [a, b], first / 2, to),
                        (false, &[a]) => self.sums([x(first)], [a], first / 2, to),
                        _ => unreachable!("chunks of one or two"),
                    }
                }
                for (tile, rows) in (first..cut.count.min(first + 2)).zip(held.chunks(amx::ROWS * HELD)) {
                    (0..cut.height).for_each(|row| out(cut.start(tile) + row, &rows[row * HELD..][..HELD]));
                }
            }
        }
    }

    /// One tile of rows with four panels: four streams keep memory busy.
    ///
    /// # Safety
    /// That of [`run`](Self::run); `to` has room for a tile of rows.
    #[inline(always)]
    unsafe fn four(&self, panels: [*const f32; 4], to: *mut f32) {
        let stride = self.words * size_of::<f32>();
        // SAFETY: the caller's; an address that is sent for may be any.
        unsafe {
            zero!(0 1 2 3);
            for block in 0..self.words / BLOCK {
                let at = block * TILE;
                if self.in_order {
                    for line in 0..LINES {
                        for panel in panels {
                            prefetch_line(panel.wrapping_add(at + 2 * TILE + line * WIDTH), Near::Second);
                        }
                    }
                }
                load!(4, self.x.add(block * BLOCK), stride);
                load!(6, panels[0].add(at), DENSE);
                multiply!(0, 4, 6);
                load!(7, panels[1].add(at), DENSE);
                multiply!(1, 4, 7);
                load!(6, panels[2].add(at), DENSE);
                multiply!(2, 4, 6);
                load!(7, panels[3].add(at), DENSE);
                multiply!(3, 4, 7);
            }
            store!(0, to, HELD * 4);
            store!(1, to.add(WIDTH), HELD * 4);
            store!(2, to.add(2 * WIDTH), HELD * 4);
            store!(3, to.add(3 * WIDTH), HELD * 4);
        }
    }

    /// `R` tiles of rows with `P` panels, one or two of each, in their `pass` over these panels.
    ///
    /// # Safety
    /// That of [`run`](Self::run); `to` has room for `R` tiles of rows.
    #[inline(always)]
    unsafe fn sums<const R: usize, const P: usize>(
        &self,
        x: [*const f32; R],
        panels: [*const f32; P],
        pass: usize,
        to: *mut f32,
    ) {
        let stride = self.words * size_of::<f32>();
        let blocks = self.words / BLOCK;
        let passes = self.cut.count.div_ceil(2);
        // What is multiplied next for the first time: where there are several passes, some of it in each.
        let (lines, skip) = match (self.in_order && P == 2, passes) {
            (false, _) => (0, 0),
            (true, 1) => (LINES, P),
            (true, _) => (LINES_AHEAD, HELD / WIDTH),
        };
        let mut next = panels[0].wrapping_add(skip * self.words * WIDTH + pass * lines * blocks * WIDTH);
        // SAFETY: the caller's; an address that is sent for may be any.
        unsafe {
            zero!(0 1 2 3);
            for block in 0..blocks {
                for line in 0..lines {
                    prefetch_line(next.wrapping_add(line * WIDTH), Near::Second);
                }
                next = next.wrapping_add(lines * WIDTH);
                let (at, of_x) = (block * TILE, block * BLOCK);
                load!(6, panels[0].add(at), DENSE);
                load!(4, x[0].add(of_x), stride);
                multiply!(0, 4, 6);
                if P == 2 {
                    load!(7, panels[P - 1].add(at), DENSE);
                    multiply!(1, 4, 7);
                }
                if R == 2 {
                    load!(5, x[R - 1].add(of_x), stride);
                    multiply!(2, 5, 6);
                    if P == 2 {
                        multiply!(3, 5, 7);
                    }
                }
            }
            store!(0, to, HELD * 4);
            if P == 2 {
                store!(1, to.add(WIDTH), HELD * 4);
            }
            if R == 2 {
                let to = to.add(amx::ROWS * HELD);
                store!(2, to, HELD * 4);
                if P == 2 {
                    store!(3, to.add(WIDTH), HELD * 4);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
