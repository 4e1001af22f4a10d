//! AdamW (Loshchilov and Hutter, 1711.05101) in one pass over memory.

use super::dispatch;
use super::math::fma;
use super::parallel::{Shared, ranges};

/// The numbers of one update.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the corrected second moment.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// The update's number, from 1.
    pub step: u64,
    /// The gradient is multiplied by this first (clipping).
    pub grad_scale: f32,
}

/// Updates weights `p` and moments `m`, `v` for the gradient `g`; all have one length.
pub(crate) fn update(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: AdamWStep) {
    let n = p.len();
    assert!(g.len() == n && m.len() == n && v.len() == n, "adamw: lengths differ");
    let (p, m, v) = (Shared::new(p), Shared::new(m), Shared::new(v));
    ranges(n, 1 << 14, &|range| {
        // SAFETY: each thread has its own range.
        let (p, m, v) = unsafe { (p.slice(range.clone()), m.slice(range.clone()), v.slice(range.clone())) };
        update_range(p, &g[range], m, v, step);
    });
}

dispatch! { fn update_range(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: AdamWStep) = update_body }

#[inline(always)]
fn update_body<const FMA: bool>(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], s: AdamWStep) {
    let power = i32::try_from(s.step).unwrap_or(i32::MAX);
    let correction1 = 1.0 - f64::from(s.beta1).powi(power);
    let correction2 = 1.0 - f64::from(s.beta2).powi(power);
    let size = (f64::from(s.lr) / correction1) as f32;
    let root = (1.0 / correction2.sqrt()) as f32;
    let keep = 1.0 - s.lr * s.weight_decay;
    for i in 0..p.len() {
        let grad = g[i] * s.grad_scale;
        m[i] = fma::<FMA>(s.beta1, m[i], (1.0 - s.beta1) * grad);
        v[i] = fma::<FMA>(s.beta2, v[i], (1.0 - s.beta2) * grad * grad);
        p[i] = fma::<FMA>(-size, m[i] / (v[i].sqrt() * root + s.eps), p[i] * keep);
    }
}
