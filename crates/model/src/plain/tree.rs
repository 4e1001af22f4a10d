//! Attention over packed reasoning trees, segment by segment: each one's queries see its ancestors' keys and,
//! causally, its own.

use tch::{Device, Kind, Tensor};

use super::{attend, grouped, ungrouped};
use crate::kernels::tree::Segment;

/// The outputs `[n, heads, d]` of queries of that shape; see [`crate::attention::Attention::attend`].
pub(crate) fn attention(segments: &[Segment], [q, k, v]: [&Tensor; 3], scale: f64, window: Option<usize>) -> Tensor {
    let kv_heads = k.size()[1];
    let mut paths: Vec<Vec<(i64, i64)>> = Vec::with_capacity(segments.len());
    let mut out = Vec::with_capacity(segments.len());
    for segment in segments {
        let mut path = segment.parent.map_or_else(Vec::new, |parent| paths[parent].clone());
        let first = path.iter().map(|(_, len)| len).sum::<i64>();
        let (start, len) = (segment.start as i64, segment.len as i64);
        path.push((start, len));
        if len > 0 {
            let seen = |x: &Tensor| {
                let parts: Vec<Tensor> = path.iter().map(|&(start, len)| x.narrow(0, start, len)).collect();
                Tensor::cat(&parts, 0).transpose(0, 1).unsqueeze(0)
            };
            let queries = grouped(&q.narrow(0, start, len).contiguous(), 1, kv_heads);
            let visible = visible(first, len, window, q.device());
            out.push(ungrouped(&attend(&queries, &seen(k), &seen(v), &visible, scale).contiguous(), len));
        }
        paths.push(path);
    }
    Tensor::cat(&out, 0)
}

/// Which of `first + len` positions the last `len` of them see: `[1, len, first + len]`.
fn visible(first: i64, len: i64, window: Option<usize>, device: Device) -> Tensor {
    let own = Tensor::arange_start(first, first + len, (Kind::Int64, device)).unsqueeze(1);
    let position = Tensor::arange(first + len, (Kind::Int64, device)).unsqueeze(0);
    let mut visible = position.le_tensor(&own);
    if let Some(window) = window {
        visible = visible.logical_and(&position.gt_tensor(&(own - window as i64)));
    }
    visible.unsqueeze(0)
}
