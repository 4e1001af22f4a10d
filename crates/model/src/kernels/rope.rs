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

/// Rotates `heads` heads of `2 * half` numbers in each row from `x` into `y`; `sign` -1 rotates back,
/// which is the transpose and so the gradient. `cos` and `sin` are `[rows, half]`.
#[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
pub(crate) fn rotate<T: Element>(
    x: &[T],
    from: Place,
    y: &mut [T],
    to: Place,
    heads: usize,
    cos: &[f32],
    sin: &[f32],
    half: usize,
    sign: f32,
) {
    let rows = cos.len() / half;
    let len = y.len();
    let out = Shared::new(y);
    ranges(rows, 16, &|range| {
        // SAFETY: each thread has its own rows.
        let y = unsafe { out.slice(range.start * to.stride..(range.end * to.stride).min(len)) };
        let rows = range.start * half..range.end * half;
        rotate_rows(&x[range.start * from.stride..], from, y, to, heads, &cos[rows.clone()], &sin[rows], half, sign);
    });
}

dispatch! { fn rotate_rows<T: Element>(x: &[T], from: Place, y: &mut [T], to: Place, heads: usize, cos: &[f32], sin: &[f32], half: usize, sign: f32) = rotate_body }

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
fn rotate_body<T: Element, const FMA: bool>(
    x: &[T],
    from: Place,
    y: &mut [T],
    to: Place,
    heads: usize,
    cos: &[f32],
    sin: &[f32],
    half: usize,
    sign: f32,
) {
    for (row, (cos, sin)) in cos.chunks_exact(half).zip(sin.chunks_exact(half)).enumerate() {
        for head in 0..heads {
            let x = &x[row * from.stride + from.offset + head * 2 * half..][..2 * half];
            let y = &mut y[row * to.stride + to.offset + head * 2 * half..][..2 * half];
            let (x1, x2) = x.split_at(half);
            let (y1, y2) = y.split_at_mut(half);
            for i in 0..half {
                let (a, b, c, s) = (x1[i].load(), x2[i].load(), cos[i], sin[i] * sign);
                y1[i] = T::store(a * c - b * s);
                y2[i] = T::store(b * c + a * s);
            }
        }
    }
}
