//! RMSNorm (Zhang and Sennrich, 1910.07467).

use super::dispatch;
use super::element::Element;
use super::math::sum;
use super::parallel::{Shared, ranges, threads};

/// `y[i] = x[i] / rms(x) * w` for each row of `width` numbers. With `round`, the normalised row is
/// rounded to the storage type before it is scaled, as transformers does for Llama and Qwen.
pub(crate) fn forward<T: Element>(x: &[T], weight: &[T], eps: f32, y: &mut [T]) {
    let width = weight.len();
    let rows = x.len() / width;
    let out = Shared::new(y);
    ranges(rows, 16, &|range| {
        // SAFETY: each thread has its own rows.
        let y = unsafe { out.slice(range.start * width..range.end * width) };
        forward_rows(&x[range.start * width..range.end * width], weight, eps, y);
    });
}

dispatch! { fn forward_rows<T: Element>(x: &[T], weight: &[T], eps: f32, y: &mut [T]) = forward_body }

#[inline(always)]
fn forward_body<T: Element, const FMA: bool>(x: &[T], weight: &[T], eps: f32, y: &mut [T]) {
    let width = weight.len();
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let scale = inverse_rms(x, eps);
        for i in 0..width {
            y[i] = T::store(T::store(x[i].load() * scale).load() * weight[i].load());
        }
    }
}

#[inline(always)]
fn inverse_rms<T: Element>(x: &[T], eps: f32) -> f32 {
    let square = sum(x.len(), |i| x[i].load() * x[i].load());
    1.0 / (square / x.len() as f32 + eps).sqrt()
}

/// Gradients: `dx` per row; `dw` summed over rows.
///
/// With `n = x * s`, `s = 1 / rms`: `dn = dy * w`, `dx = s * (dn - n * mean(dn * n))`, `dw = sum(dy * n)`.
pub(crate) fn backward<T: Element>(x: &[T], weight: &[T], eps: f32, dy: &[T], dx: &mut [T], dw: &mut [f32]) {
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
            backward_rows(&x[range.clone()], weight, eps, &dy[range], dx, dw);
        });
    }
    for part in partial.chunks_exact(width) {
        for (total, value) in dw.iter_mut().zip(part) {
            *total += value;
        }
    }
}

dispatch! { fn backward_rows<T: Element>(x: &[T], weight: &[T], eps: f32, dy: &[T], dx: &mut [T], dw: &mut [f32]) = backward_body }

#[inline(always)]
fn backward_body<T: Element, const FMA: bool>(x: &[T], weight: &[T], eps: f32, dy: &[T], dx: &mut [T], dw: &mut [f32]) {
    let width = weight.len();
    for ((x, dy), dx) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
        let scale = inverse_rms(x, eps);
        let mean = sum(width, |i| dy[i].load() * weight[i].load() * x[i].load()) * scale / width as f32;
        for i in 0..width {
            let normal = x[i].load() * scale;
            let dn = dy[i].load() * weight[i].load();
            dx[i] = T::store(scale * (dn - normal * mean));
            dw[i] += dy[i].load() * normal;
        }
    }
}
