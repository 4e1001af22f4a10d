//! Rotary position embedding (Su et al., 2104.09864), halves layout as in Hugging Face checkpoints.

use super::dispatch;
use super::element::Element;
use super::parallel::{Shared, ranges};

/// Where a row's heads lie: `stride` numbers from row to row, the first head at `offset`.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) stride: usize,
    pub(crate) offset: usize,
}

/// Heads, their width and how many pairs of each turn: number `i` with number `half + i`. The numbers
/// from `2 * half` on stay as they are.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) heads: usize,
    pub(crate) dim: usize,
    pub(crate) half: usize,
}

/// Rotates the heads in each row from `x` into `y`; `sign` -1 rotates back, which is the transpose and
/// so the gradient. `cos` and `sin` are `[rows, half]`.
#[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
pub(crate) fn rotate<T: Element>(
    x: &[T],
    from: Place,
    y: &mut [T],
    to: Place,
    turn: Turn,
    cos: &[f32],
    sin: &[f32],
    sign: f32,
) {
    let half = turn.half;
    let rows = cos.len() / half;
    let len = y.len();
    let out = Shared::new(y);
    ranges(rows, 16, &|range| {
        // SAFETY: each thread has its own rows.
        let y = unsafe { out.slice(range.start * to.stride..(range.end * to.stride).min(len)) };
        let rows = range.start * half..range.end * half;
        rotate_rows(&x[range.start * from.stride..], from, y, to, turn, &cos[rows.clone()], &sin[rows], sign);
    });
}

dispatch! { fn rotate_rows<T: Element>(x: &[T], from: Place, y: &mut [T], to: Place, turn: Turn, cos: &[f32], sin: &[f32], sign: f32) = rotate_body }

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
fn rotate_body<T: Element, const FMA: bool>(
    x: &[T],
    from: Place,
    y: &mut [T],
    to: Place,
    turn: Turn,
    cos: &[f32],
    sin: &[f32],
    sign: f32,
) {
    let Turn { heads, dim, half } = turn;
    for (row, (cos, sin)) in cos.chunks_exact(half).zip(sin.chunks_exact(half)).enumerate() {
        for head in 0..heads {
            let x = &x[row * from.stride + from.offset + head * dim..][..dim];
            let y = &mut y[row * to.stride + to.offset + head * dim..][..dim];
            y[2 * half..].copy_from_slice(&x[2 * half..]);
            let (x1, x2) = x[..2 * half].split_at(half);
            let (y1, y2) = y[..2 * half].split_at_mut(half);
            for i in 0..half {
                let (a, b, c, s) = (x1[i].load(), x2[i].load(), cos[i], sin[i] * sign);
                y1[i] = T::store(a * c - b * s);
                y2[i] = T::store(b * c + a * s);
            }
        }
    }
}
