//! What attends to what: the seam between a family's layers and whoever keeps keys and values.

use std::sync::{Arc, Mutex};

use tch::{Kind, Tensor};

use crate::autograd::Differentiable;
use crate::device::is_written_out;
use crate::kernels::element::{view, view_mut, with_element};
use crate::kernels::layout::Layout;
use crate::kernels::paged::{self, BLOCK, Cache, Numbers, NumbersMut, PagedShape, Pass};
use crate::kernels::tree::{self, Segment, Shape};
use crate::ops::{contiguous, only, run};
use crate::plain;

/// Attention for the tokens of one forward pass. A family's layers hold no cache: the engine
/// implements this over paged blocks, the trainer over packed trees.
pub trait Attention {
    /// Queries `[n, heads, d]`, keys and values `[n, kv_heads, d]` of layer `layer`, rotated already;
    /// scores are multiplied by `scale`. With a `window` a query sees only that many positions, at least
    /// its own. Returns `[n, heads * d]`.
    fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, window: Option<usize>)
    -> Tensor;
}

/// Attention over packed reasoning trees: each segment sees its ancestors and, causally, itself.
/// A shared prompt is there once, and so is its gradient.
#[derive(Clone, Debug)]
pub struct TreeAttention {
    trees: Arc<Trees>,
}

/// Packed trees, and how their tokens lie in blocks.
#[derive(Debug)]
struct Trees {
    segments: Vec<Segment>,
    layout: Layout,
}

impl TreeAttention {
    /// Attention for tokens packed as `segments`.
    ///
    /// # Panics
    /// If a segment's parent does not precede it, or segments do not lie end to end.
    #[must_use]
    pub fn new(segments: Vec<Segment>) -> Self {
        let mut end = 0;
        for (i, segment) in segments.iter().enumerate() {
            assert_eq!(segment.start, end, "segments lie end to end");
            assert!(segment.parent.is_none_or(|p| p < i), "parents come first");
            end += segment.len;
        }
        let layout = Layout::new(&segments);
        Self { trees: Arc::new(Trees { segments, layout }) }
    }

    /// One causal sequence of `len` tokens.
    #[must_use]
    pub fn causal(len: usize) -> Self {
        Self::new(vec![Segment { start: 0, len, parent: None }])
    }

    /// The position of each packed token within its own path, from 0.
    #[must_use]
    pub fn positions(&self) -> Vec<i64> {
        let mut ends: Vec<usize> = Vec::with_capacity(self.trees.segments.len());
        let mut positions = Vec::new();
        for segment in &self.trees.segments {
            let first = segment.parent.map_or(0, |p| ends[p]);
            positions.extend((first..first + segment.len).map(|p| p as i64));
            ends.push(first + segment.len);
        }
        positions
    }
}

impl Attention for TreeAttention {
    fn attend(
        &mut self,
        _layer: usize,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        scale: f64,
        window: Option<usize>,
    ) -> Tensor {
        if is_written_out(q) {
            let out = plain::tree::attention(&self.trees.segments, [q, k, v], scale, window);
            return out.view([q.size()[0], -1]);
        }
        let op = TreeOp { trees: Arc::clone(&self.trees), scale, window, lse: Mutex::new(Vec::new()) };
        let out = only(run(op, &[q, k, v]));
        let n = out.size()[0];
        out.view([n, -1])
    }
}

struct TreeOp {
    trees: Arc<Trees>,
    scale: f64,
    window: Option<usize>,
    lse: Mutex<Vec<f32>>,
}

impl TreeOp {
    fn shape(&self, q: &Tensor, k: &Tensor) -> Shape {
        let (_, heads, dim) = q.size3().expect("queries [n, heads, d]");
        let (_, kv_heads, _) = k.size3().expect("keys [n, kv_heads, d]");
        let (heads, kv_heads, dim) = (heads as usize, kv_heads as usize, dim as usize);
        Shape { heads, kv_heads, dim, scale: self.scale as f32, window: self.window }
    }
}

impl Differentiable for TreeOp {
    fn save_outputs(&self) -> bool {
        true
    }

    fn forward(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let [q, k, v] = [0, 1, 2].map(|i| contiguous(&inputs[i]));
        let Shape { heads, kv_heads, dim, scale, window } = self.shape(&q, &k);
        let shape = PagedShape { heads, kv_heads, dim, scale, window };
        let layout = &self.trees.layout;
        let out = q.empty_like();
        let mut lse = vec![0.0; q.size()[0] as usize * heads];
        with_element!(q.kind(), T => {
            let room = layout.blocks * kv_heads * BLOCK * dim;
            let (mut keys, mut values) = (vec![T::default(); room], vec![T::default(); room]);
            let cache = Cache {
                keys: NumbersMut { numbers: &mut keys[..], scales: &mut [] },
                values: NumbersMut { numbers: &mut values[..], scales: &mut [] },
            };
            paged::write::<(T, T)>(shape, &layout.slots, view(&k), view(&v), cache);
            let cache = Cache {
                keys: Numbers { numbers: &keys, scales: &[] },
                values: Numbers { numbers: &values, scales: &[] },
            };
            let rows = layout.rows();
            let pass = Pass::<(T, T)> { shape, rows: &rows, q: view(&q), cache };
            paged::attend(&pass, &layout.bundles, view_mut(&out), &mut lse);
        });
        *self.lse.lock().expect("used by one thread at a time") = lse;
        vec![out]
    }

    fn backward(&self, saved: &[Tensor], grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        let Some(grad) = &grads[0] else { return vec![None, None, None] };
        let [q, k, v, out] = [0, 1, 2, 3].map(|i| contiguous(&saved[i]));
        let grad = contiguous(&grad.to_kind(q.kind()));
        let (dq, dk, dv) = (q.empty_like(), k.empty_like(), v.empty_like());
        let lse = self.lse.lock().expect("used by one thread at a time");
        let shape = self.shape(&q, &k);
        with_element!(q.kind(), T => tree::backward::<T>(
            &self.trees.segments, shape, view(&q), view(&k), view(&v), view(&out), &lse, view(&grad),
            view_mut(&dq), view_mut(&dk), view_mut(&dv)
        ));
        vec![Some(dq), Some(dk), Some(dv)]
    }
}

/// The same attention written out with dense products and a mask: slow, and the reference that
/// [`TreeAttention`] is tested against.
pub fn reference(
    segments: &[Segment],
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f64,
    window: Option<usize>,
) -> Tensor {
    let n = q.size()[0] as usize;
    let mut visible = vec![false; n * n];
    for segment in segments {
        for i in segment.start..segment.start + segment.len {
            // The tokens that the row sees, nearest first.
            let mut tokens: Vec<usize> = (segment.start..=i).rev().collect();
            let mut parent = segment.parent;
            while let Some(p) = parent {
                tokens.extend((segments[p].start..segments[p].start + segments[p].len).rev());
                parent = segments[p].parent;
            }
            for token in tokens.into_iter().take(window.unwrap_or(n)) {
                visible[i * n + token] = true;
            }
        }
    }
    let n = n as i64;
    let visible = Tensor::from_slice(&visible).view([n, n]);
    let group = q.size()[1] / k.size()[1];
    let (q, k, v) = (
        q.transpose(0, 1),
        k.repeat_interleave_self_int(group, 1, None).transpose(0, 1),
        v.repeat_interleave_self_int(group, 1, None).transpose(0, 1),
    );
    let scores = (q.matmul(&k.transpose(1, 2)) * scale).masked_fill(&visible.logical_not(), f64::NEG_INFINITY);
    scores.softmax(-1, Kind::Float).to_kind(v.kind()).matmul(&v).transpose(0, 1).reshape([n, -1])
}
