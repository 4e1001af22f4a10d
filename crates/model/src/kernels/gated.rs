//! Gated activations (Shazeer, 2002.05202): `act(gate) * up` over rows that hold gate and up side by side.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::dispatch;
use super::element::Element;
use super::math::sigmoid;
use super::parallel::{Shared, ranges};

/// The activation of a gate. Both are `g * sigmoid(z(g))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// SiLU: `z = g`.
    Silu,
    /// GELU in its approximation by tanh (Hendrycks and Gimpel, 1606.08415):
    /// `z = 2 sqrt(2 / pi) (g + 0.044715 g^3)`.
    GeluTanh,
}

const CUBIC: f32 = 0.044_715;
/// `2 sqrt(2 / pi)`.
const STRETCH: f32 = 2.0 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

/// `z` and its derivative at `g`.
#[inline(always)]
fn inner<const GELU: bool>(g: f32) -> (f32, f32) {
    if GELU {
        let square = g * g;
        (STRETCH * g * (1.0 + CUBIC * square), STRETCH * (1.0 + 3.0 * CUBIC * square))
    } else {
        (g, 1.0)
    }
}

/// `x` is `[rows, 2 * width]`, `y` `[rows, width]`.
pub(crate) fn forward<T: Element>(x: &[T], width: usize, activation: Activation, y: &mut [T]) {
    let out = Shared::new(y);
    ranges(x.len() / (2 * width), 8, &|range| {
        // SAFETY: each thread has its own rows.
        let y = unsafe { out.slice(range.start * width..range.end * width) };
        forward_rows(&x[range.start * 2 * width..range.end * 2 * width], width, activation, y);
    });
}

dispatch! { fn forward_rows<T: Element>(x: &[T], width: usize, activation: Activation, y: &mut [T]) = forward_body }

#[inline(always)]
fn forward_body<T: Element, const FMA: bool>(x: &[T], width: usize, activation: Activation, y: &mut [T]) {
    match activation {
        Activation::Silu => forward_of::<T, FMA, false>(x, width, y),
        Activation::GeluTanh => forward_of::<T, FMA, true>(x, width, y),
    }
}

#[inline(always)]
fn forward_of<T: Element, const FMA: bool, const GELU: bool>(x: &[T], width: usize, y: &mut [T]) {
    for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width)) {
        let (gate, up) = x.split_at(width);
        for i in 0..width {
            let g = gate[i].load();
            y[i] = T::store(T::store(g * sigmoid::<FMA>(inner::<GELU>(g).0)).load() * up[i].load());
        }
    }
}

/// The gradient of `x` for the gradient `dy` of `y`.
pub(crate) fn backward<T: Element>(x: &[T], width: usize, activation: Activation, dy: &[T], dx: &mut [T]) {
    let out = Shared::new(dx);
    ranges(x.len() / (2 * width), 8, &|range| {
        let rows = range.start * 2 * width..range.end * 2 * width;
        // SAFETY: each thread has its own rows.
        let dx = unsafe { out.slice(rows.clone()) };
        backward_rows(&x[rows], width, activation, &dy[range.start * width..range.end * width], dx);
    });
}

dispatch! { fn backward_rows<T: Element>(x: &[T], width: usize, activation: Activation, dy: &[T], dx: &mut [T]) = backward_body }

#[inline(always)]
fn backward_body<T: Element, const FMA: bool>(x: &[T], width: usize, activation: Activation, dy: &[T], dx: &mut [T]) {
    match activation {
        Activation::Silu => backward_of::<T, FMA, false>(x, width, dy, dx),
        Activation::GeluTanh => backward_of::<T, FMA, true>(x, width, dy, dx),
    }
}

#[inline(always)]
fn backward_of<T: Element, const FMA: bool, const GELU: bool>(x: &[T], width: usize, dy: &[T], dx: &mut [T]) {
    let rows = x.chunks_exact(2 * width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(2 * width));
    for ((x, dy), dx) in rows {
        let (gate, up) = x.split_at(width);
        let (dgate, dup) = dx.split_at_mut(width);
        for i in 0..width {
            let (g, u, d) = (gate[i].load(), up[i].load(), dy[i].load());
            let (z, slope) = inner::<GELU>(g);
            let s = sigmoid::<FMA>(z);
            dup[i] = T::store(d * g * s);
            dgate[i] = T::store(d * u * s * (1.0 + slope * g * (1.0 - s)));
        }
    }
}
