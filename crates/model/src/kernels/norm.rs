//! RMSNorm (Zhang and Sennrich, 1910.07467).

use super::dispatch;
use super::element::Element;
use super::math::{sum, sums};
use super::parallel::{Shared, ranges, threads};

/// What families do differently in their norms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Added to the mean square.
    pub eps: f32,
    /// Added to the weight: 1 where weights are stored as their distance from 1 (Gemma).
    pub offset: f32,
    /// Whether the normalised row is rounded to the storage type before it is scaled, as transformers
    /// does for Llama and Qwen and not for Gemma and OLMo.
    pub round: bool,
}

impl Norm {
    /// Llama's: `x / rms(x) * w`, rounded before it is scaled.
    #[must_use]
    pub const fn rounded(eps: f32) -> Self {
        Self { eps, offset: 0.0, round: true }
    }
}

/// `y[i] = x[i] / rms(x) * (offset + w[i])` for each row of as many numbers as there are weights.
pub(crate) fn forward<T: Element>(x: &[T], weight: &[T], norm: Norm, y: &mut [T]) {
    let width = weight.len();
    let rows = x.len() / width;
    let out = Shared::new(y);
    ranges(rows, 16, &|range| {
        // SAFETY: each thread has its own rows.
        let y = unsafe { out.slice(range.start * width..range.end * width) };
        forward_rows(&x[range.start * width..range.end * width], weight, norm, y);
    });
}

dispatch! { fn forward_rows<T: Element>(x: &[T], weight: &[T], norm: Norm, y: &mut [T]) = forward_body }

#[inline(always)]
fn forward_body<T: Element, const FMA: bool>(x: &[T], weight: &[T], norm: Norm, y: &mut [T]) {
    let width = weight.len();
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let scale = inverse_rms(x, norm.eps);
        if norm.round {
            for i in 0..width {
                y[i] = T::store(T::store(x[i].load() * scale).load() * (norm.offset + weight[i].load()));
            }
        } else {
            for i in 0..width {
                y[i] = T::store(x[i].load() * scale * (norm.offset + weight[i].load()));
            }
        }
    }
}

#[inline(always)]
fn inverse_rms<T: Element>(x: &[T], eps: f32) -> f32 {
    let square = sum(x, |x| x.load() * x.load());
    1.0 / (square / x.len() as f32 + eps).sqrt()
}

/// Gradients: `dx` per row; `dw` summed over rows.
///
/// With `n = x * s`, `s = 1 / rms`: `dn = dy * (offset + w)`, `dx = s * (dn - n * mean(dn * n))`, `dw = sum(dy * n)`.
pub(crate) fn backward<T: Element>(x: &[T], weight: &[T], norm: Norm, dy: &[T], dx: &mut [T], dw: &mut [f32]) {
    let width = weight.len();
    let rows = x.len() / width;
    let parts = threads().min(rows.div_ceil(16)).max(1);
    let size = rows.div_ceil(parts);
    let mut partial = vec![0.0_f32; parts * width];
    let dx = Shared::new(dx);
    {
        let partial = Shared::new(&mut partial);
        super::parallel::parallel(parts, &|part| {
            let range = (part * size).min(rows) * width..((part + 1) * size).min(rows) * width;
            // SAFETY: each thread has its own rows and its own partial sum.
            let (dx, dw) = unsafe { (dx.slice(range.clone()), partial.slice(part * width..(part + 1) * width)) };
            backward_rows(&x[range.clone()], weight, norm, &dy[range], dx, dw);
        });
    }
    for part in partial.chunks_exact(width) {
        for (total, value) in dw.iter_mut().zip(part) {
            *total += value;
        }
    }
}

dispatch! { fn backward_rows<T: Element>(x: &[T], weight: &[T], norm: Norm, dy: &[T], dx: &mut [T], dw: &mut [f32]) = backward_body }

#[inline(always)]
fn backward_body<T: Element, const FMA: bool>(
    x: &[T],
    weight: &[T],
    norm: Norm,
    dy: &[T],
    dx: &mut [T],
    dw: &mut [f32],
) {
    let width = weight.len();
    for ((x, dy), dx) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
        let scale = inverse_rms(x, norm.eps);
        let [dot] = sums([dy, weight, x], |[dy, w, x]| [dy.load() * (norm.offset + w.load()) * x.load()]);
        let mean = dot * scale / width as f32;
        for i in 0..width {
            let normal = x[i].load() * scale;
            let dn = dy[i].load() * (norm.offset + weight[i].load());
            dx[i] = T::store(scale * (dn - normal * mean));
            dw[i] += dy[i].load() * normal;
        }
    }
}
