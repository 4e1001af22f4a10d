//! AdamW (Loshchilov and Hutter, 1711.05101), as [`crate::kernels::adamw`] does it.

use tch::Tensor;

use crate::AdamWStep;

/// Updates weights `p` and moments `m`, `v` for the gradient `g`; all are f32 of one shape.
pub(crate) fn update(p: &Tensor, g: &Tensor, m: &Tensor, v: &Tensor, s: AdamWStep) {
    let _no_grad = tch::no_grad_guard();
    let power = i32::try_from(s.step).unwrap_or(i32::MAX);
    let correction1 = 1.0 - f64::from(s.beta1).powi(power);
    let correction2 = 1.0 - f64::from(s.beta2).powi(power);
    let (lr, beta1, beta2) = (f64::from(s.lr), f64::from(s.beta1), f64::from(s.beta2));
    let grad = g * f64::from(s.grad_scale);
    m.shallow_clone().copy_(&(m * beta1 + &grad * (1.0 - beta1)));
    v.shallow_clone().copy_(&(v * beta2 + grad.square() * (1.0 - beta2)));
    let change = m / (v.sqrt() / correction2.sqrt() + f64::from(s.eps)) * (lr / correction1);
    p.shallow_clone().copy_(&(p * (1.0 - lr * f64::from(s.weight_decay)) - change));
}
