//! The kernels' work written out in libtorch's operations, for devices that have no kernels.
//!
//! Arithmetic is f32 whatever the storage, rounded where the kernels round. Gradients are libtorch's own. A row may
//! come to other bits in other company, for libtorch chooses its products by shape.

pub(crate) mod adamw;
pub(crate) mod paged;
pub(crate) mod softmax;
pub(crate) mod tree;

use tch::{Kind, Tensor};

use crate::kernels::gated::Activation;
use crate::kernels::norm::Norm;

/// See [`crate::ops::rms_norm`].
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, norm: Norm) -> Tensor {
    let wide = x.to_kind(Kind::Float);
    let scale = (wide.square().mean_dim([-1].as_slice(), true, Kind::Float) + f64::from(norm.eps)).rsqrt();
    let normal = wide * scale;
    let normal = if norm.round { normal.to_kind(x.kind()).to_kind(Kind::Float) } else { normal };
    (normal * (weight.to_kind(Kind::Float) + f64::from(norm.offset))).to_kind(x.kind())
}

/// See [`crate::ops::gated`].
pub(crate) fn gated(gate_up: &Tensor, activation: Activation) -> Tensor {
    let half = gate_up.size()[1] / 2;
    let wide = gate_up.to_kind(Kind::Float);
    let gate = wide.narrow(1, 0, half);
    let gate = match activation {
        Activation::Silu => gate.silu(),
        Activation::GeluTanh => gate.gelu("tanh"),
    };
    (gate * wide.narrow(1, half, half)).to_kind(gate_up.kind())
}

/// Heads `[n, heads, d]` turned by angles `[n, pairs]`.
pub(crate) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let (half, dim) = (cos.size()[1], x.size()[2]);
    let (cos, sin) = (cos.unsqueeze(1), sin.unsqueeze(1));
    let part = |first: i64| x.narrow(2, first, half).to_kind(Kind::Float);
    let (a, b) = (part(0), part(half));
    let turned = Tensor::cat(&[&a * &cos - &b * &sin, b * cos + a * sin], 2).to_kind(x.kind());
    if 2 * half == dim {
        return turned;
    }
    Tensor::cat(&[turned, x.narrow(2, 2 * half, dim - 2 * half)], 2)
}

/// Attention of queries `[m, kv_heads, group * r, d]` to keys and values `[m, kv_heads, l, d]`, those of each group of
/// `r` seeing what `visible` `[m, r, l]` says. Queries that share a head of keys lie side by side, so that keys need no
/// copies.
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, visible: &Tensor, scale: f64) -> Tensor {
    let (m, r, l) = visible.size3().expect("what is visible [m, r, l]");
    let group = q.size()[2] / r;
    let visible = visible.view([m, 1, 1, r, l]).expand([m, 1, group, r, l], false).reshape([m, 1, group * r, l]);
    Tensor::scaled_dot_product_attention(q, k, v, Some(visible), 0.0, false, scale, false)
}

/// Queries `[m * r, heads, d]` as `[m, kv_heads, group * r, d]`.
pub(crate) fn grouped(q: &Tensor, m: i64, kv_heads: i64) -> Tensor {
    let (n, heads, dim) = q.size3().expect("queries [n, heads, d]");
    let (r, group) = (n / m, heads / kv_heads);
    q.view([m, r, kv_heads, group, dim]).permute([0, 2, 3, 1, 4]).reshape([m, kv_heads, group * r, dim])
}

/// The other way: `[m, kv_heads, group * r, d]` as `[m * r, heads, d]`.
pub(crate) fn ungrouped(x: &Tensor, r: i64) -> Tensor {
    let (m, kv_heads, rows, dim) = x.size4().expect("outputs [m, kv_heads, group * r, d]");
    let group = rows / r;
    x.view([m, kv_heads, group, r, dim]).permute([0, 3, 1, 2, 4]).reshape([m * r, kv_heads * group, dim])
}
