//! Fused operations on tensors, differentiable where gradients are tracked.

use tch::{Kind, Tensor};

use crate::autograd::{Differentiable, apply, grad_enabled};
use crate::kernels::element::{view, view_mut, with_element};
use crate::kernels::gemv::Operands;
use crate::kernels::rope::Place;
use crate::kernels::{gemv, norm, rope, swiglu};

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

/// Up to this many rows the kernel for few rows is no slower than libtorch's product (measured on Zen 4;
/// at one row it takes a half to a third of the time).
const fn few_rows(kind: Kind) -> i64 {
    if matches!(kind, Kind::BFloat16) { 16 } else { 4 }
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
    let few = SAMPLING.get() && x.dim() == 2 && x.size()[0] <= few_rows(x.kind()) && x.kind() == weight.kind();
    if !few {
        return x.linear(weight, bias);
    }
    let (n, k) = x.size2().expect("a matrix");
    let x = contiguous(x);
    let y = Tensor::empty([n, weight.size()[0]], (x.kind(), x.device()));
    let k = k as usize;
    if x.kind() == Kind::BFloat16 {
        gemv::multiply_bf16(Operands { x: view(&x), weight: view(weight), bias: bias.map(view), k }, view_mut(&y));
    } else {
        gemv::multiply::<f32>(Operands { x: view(&x), weight: view(weight), bias: bias.map(view), k }, view_mut(&y));
    }
    y
}

struct RmsNorm {
    eps: f32,
}

impl Differentiable for RmsNorm {
    fn forward(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, w) = (contiguous(&inputs[0]), &inputs[1]);
        let y = x.empty_like();
        with_element!(x.kind(), T => norm::forward::<T>(view(&x), view(w), self.eps, view_mut(&y)));
        vec![y]
    }

    fn backward(&self, saved: &[Tensor], grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        let Some(dy) = &grads[0] else { return vec![None, None] };
        let (x, w, dy) = (contiguous(&saved[0]), &saved[1], contiguous(dy));
        let dx = x.empty_like();
        let dw = w.zeros_like().to_kind(Kind::Float);
        with_element!(x.kind(), T => norm::backward::<T>(view(&x), view(w), self.eps, view(&dy), view_mut(&dx), view_mut(&dw)));
        vec![Some(dx), Some(dw.to_kind(w.kind()))]
    }
}

/// RMSNorm of the last dimension: `x` `[.., h]`, `weight` `[h]`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Tensor {
    only(run(RmsNorm { eps }, &[x, weight]))
}

struct SwiGlu;

impl Differentiable for SwiGlu {
    fn forward(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let x = contiguous(&inputs[0]);
        let (rows, width) = x.size2().expect("swiglu: a matrix");
        let y = Tensor::empty([rows, width / 2], (x.kind(), x.device()));
        with_element!(x.kind(), T => swiglu::forward::<T>(view(&x), (width / 2) as usize, view_mut(&y)));
        vec![y]
    }

    fn backward(&self, saved: &[Tensor], grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        let Some(dy) = &grads[0] else { return vec![None] };
        let (x, dy) = (contiguous(&saved[0]), contiguous(dy));
        let (_, width) = x.size2().expect("swiglu: a matrix");
        let dx = x.empty_like();
        with_element!(x.kind(), T => swiglu::backward::<T>(view(&x), (width / 2) as usize, view(&dy), view_mut(&dx)));
        vec![Some(dx)]
    }
}

/// `silu(gate) * up` for rows `[n, 2 i]` that hold gate and up side by side: `[n, i]`.
pub fn swiglu(gate_up: &Tensor) -> Tensor {
    only(run(SwiGlu, &[gate_up]))
}

/// Cosines and sines of the rotary angles of some positions, `[n, head_dim / 2]` each, f32.
#[derive(Debug)]
pub struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    /// The angles `position * theta^(-2 i / head_dim)`.
    #[must_use]
    pub fn new(positions: &[i64], head_dim: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let frequencies: Vec<f32> =
            (0..half).map(|i| (1.0 / theta.powf((2 * i) as f64 / head_dim as f64)) as f32).collect();
        let angles: Vec<f32> = positions.iter().flat_map(|&p| frequencies.iter().map(move |f| p as f32 * f)).collect();
        let angles = Tensor::from_slice(&angles).view([positions.len() as i64, half as i64]);
        Self { cos: angles.cos(), sin: angles.sin() }
    }

    fn shallow_clone(&self) -> Self {
        Self { cos: self.cos.shallow_clone(), sin: self.sin.shallow_clone() }
    }
}

struct SplitRotate {
    rotary: Rotary,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Differentiable for SplitRotate {
    fn outputs(&self) -> usize {
        3
    }

    fn forward(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let qkv = contiguous(&inputs[0]);
        let rows = qkv.size()[0];
        let (h, kv, d) = (self.heads, self.kv_heads, self.head_dim);
        let make = |heads: usize| Tensor::empty([rows, heads as i64, d as i64], (qkv.kind(), qkv.device()));
        let (q, k) = (make(h), make(kv));
        let stride = (h + 2 * kv) * d;
        let (cos, sin) = (view::<f32>(&self.rotary.cos), view::<f32>(&self.rotary.sin));
        for (target, heads, offset) in [(&q, h, 0), (&k, kv, h * d)] {
            let (from, to) = (Place { stride, offset }, Place { stride: heads * d, offset: 0 });
            with_element!(qkv.kind(), T => rope::rotate::<T>(view(&qkv), from, view_mut(target), to, heads, cos, sin, d / 2, 1.0));
        }
        let v = qkv.narrow(1, ((h + kv) * d) as i64, (kv * d) as i64).contiguous().view([rows, kv as i64, d as i64]);
        vec![q, k, v]
    }

    fn backward(&self, saved: &[Tensor], grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        let qkv = &saved[0];
        let (h, kv, d) = (self.heads, self.kv_heads, self.head_dim);
        let stride = (h + 2 * kv) * d;
        let dx = if grads.iter().all(Option::is_some) { qkv.empty_like() } else { qkv.zeros_like() };
        let (cos, sin) = (view::<f32>(&self.rotary.cos), view::<f32>(&self.rotary.sin));
        for (grad, heads, offset) in [(&grads[0], h, 0), (&grads[1], kv, h * d)] {
            if let Some(grad) = grad {
                let grad = contiguous(grad);
                let (from, to) = (Place { stride: heads * d, offset: 0 }, Place { stride, offset });
                with_element!(qkv.kind(), T => rope::rotate::<T>(view(&grad), from, view_mut(&dx), to, heads, cos, sin, d / 2, -1.0));
            }
        }
        if let Some(grad) = &grads[2] {
            let mut target = dx.narrow(1, ((h + kv) * d) as i64, (kv * d) as i64);
            target.copy_(&grad.reshape([-1, (kv * d) as i64]));
        }
        vec![Some(dx)]
    }
}

/// Splits rows of `[n, (heads + 2 kv_heads) * head_dim]` into queries `[n, heads, head_dim]`, keys and
/// values `[n, kv_heads, head_dim]`, and rotates queries and keys to their positions.
pub fn split_rotate(
    qkv: &Tensor,
    rotary: &Rotary,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) -> (Tensor, Tensor, Tensor) {
    let op = SplitRotate { rotary: rotary.shallow_clone(), heads, kv_heads, head_dim };
    let mut parts = run(op, &[qkv]).into_iter();
    let mut next = || parts.next().expect("three outputs");
    (next(), next(), next())
}
