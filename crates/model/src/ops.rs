//! Fused operations on tensors, differentiable where gradients are tracked.

use tch::{Kind, Tensor};

use crate::autograd::{Differentiable, apply, grad_enabled};
use crate::kernels::element::{view, view_mut, with_element};
use crate::kernels::product::{self, Operands};
use crate::kernels::{gated as gate, norm};

pub use crate::kernels::gated::Activation;
pub use crate::kernels::norm::Norm;
pub use crate::rotary::{Rotary, Rotation, rotate, split_rotate};

pub(crate) fn contiguous(tensor: &Tensor) -> Tensor {
    if tensor.is_contiguous() { tensor.shallow_clone() } else { tensor.contiguous() }
}

pub(crate) fn run(op: impl Differentiable + 'static, inputs: &[&Tensor]) -> Vec<Tensor> {
    if grad_enabled() && inputs.iter().any(|t| t.requires_grad()) {
        apply(Box::new(op), inputs)
    } else {
        let inputs: Vec<Tensor> = inputs.iter().map(|t| t.shallow_clone()).collect();
        op.forward(&inputs)
    }
}

pub(crate) fn only(mut tensors: Vec<Tensor>) -> Tensor {
    tensors.pop().expect("the operation has one output")
}

thread_local! {
    static SAMPLING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// While it lives, this thread tracks no gradients, and [`linear`] may choose its kernel by the number
/// of rows. Training never does: there a product must round alike with and without gradients.
pub struct SamplingGuard {
    before: bool,
    _no_grad: tch::NoGradGuard,
}

/// Begins sampling; see [`SamplingGuard`].
#[must_use]
pub fn sampling_guard() -> SamplingGuard {
    SamplingGuard { before: SAMPLING.replace(true), _no_grad: tch::no_grad_guard() }
}

impl Drop for SamplingGuard {
    fn drop(&mut self) {
        SAMPLING.set(self.before);
    }
}

/// `x W^T + b`: `x` `[n, in]`, `weight` `[out, in]`, `bias` `[out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    if !SAMPLING.get() || x.dim() != 2 || x.kind() != weight.kind() {
        return x.linear(weight, bias);
    }
    multiply(x, weight, bias, x.kind())
}

/// Logits `[n, vocab]` in f32 of hidden states `[n, hidden]`; no gradient flows back.
pub fn logits(hidden: &Tensor, head: &Tensor) -> Tensor {
    multiply(&hidden.detach(), &head.detach(), None, Kind::Float)
}

fn multiply(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, kind: Kind) -> Tensor {
    let x = contiguous(x);
    let (n, k) = x.size2().expect("a matrix");
    let y = Tensor::empty([n, weight.size()[0]], (kind, x.device()));
    let k = k as usize;
    with_element!(x.kind(), T => {
        let operands = Operands { x: view::<T>(&x), weight: view::<T>(weight), bias: bias.map(view), k };
        with_element!(kind, Y => product::multiply::<T, T, Y>(operands, view_mut(&y)));
    });
    y
}

struct RmsNorm {
    norm: Norm,
}

impl Differentiable for RmsNorm {
    fn forward(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, w) = (contiguous(&inputs[0]), &inputs[1]);
        let y = x.empty_like();
        with_element!(x.kind(), T => norm::forward::<T>(view(&x), view(w), self.norm, view_mut(&y)));
        vec![y]
    }

    fn backward(&self, saved: &[Tensor], grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        let Some(dy) = &grads[0] else { return vec![None, None] };
        let (x, w, dy) = (contiguous(&saved[0]), &saved[1], contiguous(dy));
        let dx = x.empty_like();
        let dw = w.zeros_like().to_kind(Kind::Float);
        with_element!(x.kind(), T => norm::backward::<T>(view(&x), view(w), self.norm, view(&dy), view_mut(&dx), view_mut(&dw)));
        vec![Some(dx), Some(dw.to_kind(w.kind()))]
    }
}

/// RMSNorm (Zhang and Sennrich, 1910.07467) of the last dimension: `x` `[.., h]`, `weight` `[h]`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, norm: Norm) -> Tensor {
    only(run(RmsNorm { norm }, &[x, weight]))
}

struct Gated {
    activation: Activation,
}

impl Differentiable for Gated {
    fn forward(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let x = contiguous(&inputs[0]);
        let (rows, width) = x.size2().expect("gate and up: a matrix");
        let y = Tensor::empty([rows, width / 2], (x.kind(), x.device()));
        with_element!(x.kind(), T => gate::forward::<T>(view(&x), (width / 2) as usize, self.activation, view_mut(&y)));
        vec![y]
    }

    fn backward(&self, saved: &[Tensor], grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        let Some(dy) = &grads[0] else { return vec![None] };
        let (x, dy) = (contiguous(&saved[0]), contiguous(dy));
        let (_, width) = x.size2().expect("gate and up: a matrix");
        let dx = x.empty_like();
        with_element!(x.kind(), T => gate::backward::<T>(view(&x), (width / 2) as usize, self.activation, view(&dy), view_mut(&dx)));
        vec![Some(dx)]
    }
}

/// `activation(gate) * up` for rows `[n, 2 i]` that hold gate and up side by side: `[n, i]`.
pub fn gated(gate_up: &Tensor, activation: Activation) -> Tensor {
    only(run(Gated { activation }, &[gate_up]))
}
