//! Fused operations on tensors, differentiable where gradients are tracked.

use tch::{Kind, Tensor};

use crate::autograd::{Differentiable, apply, grad_enabled};
use crate::device::{has_kernels, is_written_out};
use crate::kernels::element::{view, view_mut, with_element};
use crate::kernels::product::outer::{Into, Outer, outer};
use crate::kernels::product::{self, Operands};
use crate::kernels::{gated as gate, norm};
use crate::plain;

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

/// The rows of `x` `[n, ..]` with these numbers.
pub fn select(x: &Tensor, rows: &[i64]) -> Tensor {
    x.index_select(0, &index(x, rows))
}

/// Numbers of rows, where `x` lies.
pub fn index(x: &Tensor, rows: &[i64]) -> Tensor {
    Tensor::from_slice(rows).to_device(x.device())
}

pub(crate) fn only(mut tensors: Vec<Tensor>) -> Tensor {
    tensors.pop().expect("the operation has one output")
}

/// Whether a product is one of the kernels here, whose results do not depend on the number of rows.
fn is_own(x: &Tensor, weight: &Tensor) -> bool {
    x.dim() == 2 && x.kind() == weight.kind() && has_kernels(x.device())
}

/// `x W^T + b`: `x` `[n, in]`, `weight` `[out, in]`, `bias` `[out]`.
///
/// Sampling and training go through the same kernel, in which a row's result does not depend on the other rows: what
/// the engine sampled from is what the trainer sees, bit for bit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    if !is_own(x, weight) {
        return x.linear(weight, bias);
    }
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    only(run(Product, &inputs))
}

/// Logits `[n, vocab]` in f32 of hidden states `[n, hidden]`; no gradient flows back.
pub fn logits(hidden: &Tensor, head: &Tensor) -> Tensor {
    let (hidden, head) = (hidden.detach(), head.detach());
    if is_own(&hidden, &head) {
        multiply(&hidden, &head, None, Kind::Float)
    } else {
        hidden.matmul(&head.tr()).to_kind(Kind::Float)
    }
}

struct Product;

impl Differentiable for Product {
    fn forward(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        vec![multiply(&inputs[0], &inputs[1], inputs.get(2), inputs[0].kind())]
    }

    fn backward(&self, saved: &[Tensor], grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        let Some(dy) = &grads[0] else { return saved.iter().map(|_| None).collect() };
        let mut flow = vec![Some(input_gradient(dy, &saved[1])), Some(weight_gradient(dy, &saved[0]))];
        if saved.len() > 2 {
            flow.push(Some(dy.sum_dim_intlist([0].as_slice(), false, dy.kind())));
        }
        flow
    }
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

/// Whether a gradient is made by the kernels here: they are faster than libtorch's in f32, and for bf16 on CPUs with tiles or
/// without products of it, but not on CPUs that multiply pairs in vectors.
fn is_own_gradient(dy: &Tensor, other: &Tensor) -> bool {
    is_own(dy, other) && (dy.kind() == Kind::Float || has_tiles() || !crate::has_bf16_products())
}

fn has_tiles() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        crate::kernels::amx::available()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// The gradient `dy W` `[n, in]` of a product's input, for `dy` `[n, out]` and `weight` `[out, in]`.
pub fn input_gradient(dy: &Tensor, weight: &Tensor) -> Tensor {
    if !is_own_gradient(dy, weight) {
        return dy.matmul(weight);
    }
    let dy = contiguous(dy);
    let dx = Tensor::empty([dy.size()[0], weight.size()[1]], (dy.kind(), dy.device()));
    let k = dy.size()[1] as usize;
    with_element!(dy.kind(), T => {
        outer::<T, T>(Outer { a: view(&dy), transposed: true, b: view(weight), k }, Into::Set, view_mut(&dx));
    });
    dx
}

/// The gradient `dy^T x` `[out, in]` of a product's weight, for `dy` `[n, out]` and `x` `[n, in]`.
pub fn weight_gradient(dy: &Tensor, x: &Tensor) -> Tensor {
    if !is_own_gradient(dy, x) {
        return dy.tr().matmul(x);
    }
    let dw = Tensor::empty([dy.size()[1], x.size()[1]], (dy.kind(), dy.device()));
    weight_products(dy, x, Into::Set, &dw);
    dw
}

/// Adds the gradient `dy^T x` of a product's weight to `sum` `[out, in]` in f32.
pub fn add_weight_gradient(sum: &Tensor, dy: &Tensor, x: &Tensor) {
    if is_own_gradient(dy, x) {
        weight_products(dy, x, Into::Add, sum);
    } else if dy.kind() == Kind::Float {
        let _ = sum.shallow_clone().addmm_(&dy.tr(), x);
    } else {
        let _ = sum.shallow_clone().g_add_(&dy.tr().matmul(x));
    }
}

fn weight_products(dy: &Tensor, x: &Tensor, into: Into, dw: &Tensor) {
    let (dy, x) = (contiguous(dy), contiguous(x));
    let k = dy.size()[0] as usize;
    if k == 0 {
        if into == Into::Set {
            let _ = dw.shallow_clone().zero_();
        }
        return;
    }
    with_element!(dy.kind(), T => {
        let o = Outer { a: view::<T>(&dy), transposed: false, b: view(&x), k };
        with_element!(dw.kind(), Y => outer::<T, Y>(o, into, view_mut(dw)));
    });
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
    if is_written_out(x) {
        return plain::rms_norm(x, weight, norm);
    }
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
    if is_written_out(gate_up) {
        return plain::gated(gate_up, activation);
    }
    only(run(Gated { activation }, &[gate_up]))
}
