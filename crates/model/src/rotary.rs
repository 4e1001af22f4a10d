//! Rotary position embedding (Su et al., 2104.09864), differentiable where gradients are tracked.

use tch::{Device, Tensor};

use crate::Rope;
use crate::autograd::Differentiable;
use crate::device::is_written_out;
use crate::kernels::element::{view, view_mut, with_element};
use crate::kernels::rope::{self, Place, Turn};
use crate::ops::{contiguous, only, run};
use crate::plain;

/// The rotations of some positions, one table for each of a model's sets of frequencies. A layer takes
/// the table that is its own; most models have one.
#[derive(Debug)]
pub struct Rotary {
    tables: Vec<Rotation>,
}

/// Cosines and sines of the angles of some positions, `[n, pairs]` each, f32.
#[derive(Debug)]
pub struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    /// The tables of `positions`, in the order of `ropes`.
    #[must_use]
    pub fn new(positions: &[i64], ropes: &[&Rope]) -> Self {
        Self { tables: ropes.iter().map(|rope| Rotation::new(positions, rope)).collect() }
    }

    /// The same tables on `device`.
    #[must_use]
    pub fn to_device(&self, device: Device) -> Self {
        let moved = |table: &Rotation| Rotation { cos: table.cos.to_device(device), sin: table.sin.to_device(device) };
        Self { tables: self.tables.iter().map(moved).collect() }
    }

    /// The table of set `index`.
    ///
    /// # Panics
    /// If there are not that many.
    #[must_use]
    pub fn table(&self, index: usize) -> &Rotation {
        &self.tables[index]
    }
}

impl Rotation {
    fn new(positions: &[i64], rope: &Rope) -> Self {
        let frequencies = &rope.frequencies;
        let angles: Vec<f32> = positions.iter().flat_map(|&p| frequencies.iter().map(move |f| p as f32 * f)).collect();
        let angles = Tensor::from_slice(&angles).view([positions.len() as i64, frequencies.len() as i64]);
        let (cos, sin) = (angles.cos(), angles.sin());
        if rope.magnitude == 1.0 {
            return Self { cos, sin };
        }
        let magnitude = f64::from(rope.magnitude);
        Self { cos: cos * magnitude, sin: sin * magnitude }
    }

    fn shallow_clone(&self) -> Self {
        Self { cos: self.cos.shallow_clone(), sin: self.sin.shallow_clone() }
    }

    /// Turns the heads (how many, and their width) of rows that lie in a tensor as its place says, and
    /// puts them into another; `sign` -1 turns back.
    fn apply(&self, (heads, dim): (usize, usize), (x, from): (&Tensor, Place), (y, to): (&Tensor, Place), sign: f32) {
        let half = self.cos.size()[1] as usize;
        let (cos, sin) = (view::<f32>(&self.cos), view::<f32>(&self.sin));
        let turn = Turn { heads, dim, half };
        with_element!(x.kind(), T => rope::rotate::<T>(view(x), from, view_mut(y), to, turn, cos, sin, sign));
    }
}

struct Rotate {
    rotation: Rotation,
}

impl Rotate {
    fn turned(&self, x: &Tensor, sign: f32) -> Tensor {
        let x = contiguous(x);
        let (_, heads, dim) = x.size3().expect("heads [n, heads, d]");
        let y = x.empty_like();
        let place = Place { stride: (heads * dim) as usize, offset: 0 };
        self.rotation.apply((heads as usize, dim as usize), (&x, place), (&y, place), sign);
        y
    }
}

impl Differentiable for Rotate {
    fn forward(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        vec![self.turned(&inputs[0], 1.0)]
    }

    fn backward(&self, _saved: &[Tensor], grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        vec![grads[0].as_ref().map(|grad| self.turned(grad, -1.0))]
    }
}

/// Rotates heads `[n, heads, head_dim]` to their positions.
pub fn rotate(x: &Tensor, rotation: &Rotation) -> Tensor {
    if is_written_out(x) {
        return plain::rotate(x, &rotation.cos, &rotation.sin);
    }
    only(run(Rotate { rotation: rotation.shallow_clone() }, &[x]))
}

struct SplitRotate {
    rotation: Rotation,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl SplitRotate {
    /// Queries and keys: their heads and their offset in a row.
    fn turning(&self) -> [(usize, usize); 2] {
        [(self.heads, 0), (self.kv_heads, self.heads * self.head_dim)]
    }

    fn stride(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Where the values begin in a row, and their width.
    fn values(&self) -> (i64, i64) {
        (((self.heads + self.kv_heads) * self.head_dim) as i64, (self.kv_heads * self.head_dim) as i64)
    }
}

impl Differentiable for SplitRotate {
    fn outputs(&self) -> usize {
        3
    }

    fn forward(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let qkv = contiguous(&inputs[0]);
        let (rows, d) = (qkv.size()[0], self.head_dim);
        let mut out = Vec::with_capacity(3);
        for (heads, offset) in self.turning() {
            let target = Tensor::empty([rows, heads as i64, d as i64], (qkv.kind(), qkv.device()));
            let from = Place { stride: self.stride(), offset };
            let to = Place { stride: heads * d, offset: 0 };
            self.rotation.apply((heads, d), (&qkv, from), (&target, to), 1.0);
            out.push(target);
        }
        let (first, width) = self.values();
        out.push(qkv.narrow(1, first, width).contiguous().view([rows, self.kv_heads as i64, d as i64]));
        out
    }

    fn backward(&self, saved: &[Tensor], grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        let (qkv, d) = (&saved[0], self.head_dim);
        let dx = if grads.iter().all(Option::is_some) { qkv.empty_like() } else { qkv.zeros_like() };
        for (grad, (heads, offset)) in grads.iter().zip(self.turning()) {
            if let Some(grad) = grad {
                let to = Place { stride: self.stride(), offset };
                let from = Place { stride: heads * d, offset: 0 };
                self.rotation.apply((heads, d), (&contiguous(grad), from), (&dx, to), -1.0);
            }
        }
        if let Some(grad) = &grads[2] {
            let (first, width) = self.values();
            dx.narrow(1, first, width).copy_(&grad.reshape([-1, width]));
        }
        vec![Some(dx)]
    }
}

/// Splits rows of `[n, (heads + 2 kv_heads) * head_dim]` into queries `[n, heads, head_dim]`, keys and
/// values `[n, kv_heads, head_dim]`, and rotates queries and keys to their positions.
pub fn split_rotate(
    qkv: &Tensor,
    rotation: &Rotation,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) -> (Tensor, Tensor, Tensor) {
    if is_written_out(qkv) {
        let [q, kv, dim] = [heads, kv_heads, head_dim].map(|n| n as i64);
        let parts = qkv.split_with_sizes([q * dim, kv * dim, kv * dim], 1);
        let part = |i: usize, heads: i64| parts[i].reshape([-1, heads, dim]);
        return (rotate(&part(0, q), rotation), rotate(&part(1, kv), rotation), part(2, kv));
    }
    let op = SplitRotate { rotation: rotation.shallow_clone(), heads, kv_heads, head_dim };
    let mut parts = run(op, &[qkv]).into_iter();
    let mut next = || parts.next().expect("three outputs");
    (next(), next(), next())
}
