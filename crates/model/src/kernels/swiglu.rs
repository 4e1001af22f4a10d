//! SwiGLU (Shazeer, 2002.05202): `silu(gate) * up` over rows that hold gate and up side by side.

use super::dispatch;
use super::element::Element;
use super::math::sigmoid;
use super::parallel::{Shared, ranges};

/// `x` is `[rows, 2 * width]`, `y` `[rows, width]`.
pub(crate) fn forward<T: Element>(x: &[T], width: usize, y: &mut [T]) {
    let out = Shared::new(y);
    ranges(x.len() / (2 * width), 8, &|range| {
        // SAFETY: each thread has its own rows.
        let y = unsafe { out.slice(range.start * width..range.end * width) };
        forward_rows(&x[range.start * 2 * width..range.end * 2 * width], width, y);
    });
}

dispatch! { fn forward_rows<T: Element>(x: &[T], width: usize, y: &mut [T]) = forward_body }

#[inline(always)]
fn forward_body<T: Element, const FMA: bool>(x: &[T], width: usize, y: &mut [T]) {
    for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width)) {
        let (gate, up) = x.split_at(width);
        for i in 0..width {
            let g = gate[i].load();
            y[i] = T::store(T::store(g * sigmoid::<FMA>(g)).load() * up[i].load());
        }
    }
}

/// The gradient of `x` for the gradient `dy` of `y`.
pub(crate) fn backward<T: Element>(x: &[T], width: usize, dy: &[T], dx: &mut [T]) {
    let out = Shared::new(dx);
    ranges(x.len() / (2 * width), 8, &|range| {
        let rows = range.start * 2 * width..range.end * 2 * width;
        // SAFETY: each thread has its own rows.
        let dx = unsafe { out.slice(rows.clone()) };
        backward_rows(&x[rows], width, &dy[range.start * width..range.end * width], dx);
    });
}

dispatch! { fn backward_rows<T: Element>(x: &[T], width: usize, dy: &[T], dx: &mut [T]) = backward_body }

#[inline(always)]
fn backward_body<T: Element, const FMA: bool>(x: &[T], width: usize, dy: &[T], dx: &mut [T]) {
    let rows = x.chunks_exact(2 * width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(2 * width));
    for ((x, dy), dx) in rows {
        let (gate, up) = x.split_at(width);
        let (dgate, dup) = dx.split_at_mut(width);
        for i in 0..width {
            let (g, u, d) = (gate[i].load(), up[i].load(), dy[i].load());
            let s = sigmoid::<FMA>(g);
            dup[i] = T::store(d * g * s);
            dgate[i] = T::store(d * u * s * (1.0 + g * (1.0 - s)));
        }
    }
}
