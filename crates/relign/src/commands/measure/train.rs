//! Forward and backward.

use std::time::Instant;

use relign_core::Seed;
use relign_model::attention::TreeAttention;
use relign_model::logits::TokenStats;
use relign_model::ops::{add_weight_gradient, input_gradient, logits};
use relign_model::{Kind, Segment, Tensor, backward, take_grad};

use super::{dtype_of, figure};
use crate::loaded::Loaded;

/// Next-token cross-entropy over separate sequences: no shared prefix, every token's loss taken.
pub(super) fn run(model: &str, dtype: &str, sequences: usize, length: usize) -> anyhow::Result<()> {
    let mut loaded = Loaded::open(model, dtype_of(dtype)?, 0)?;
    loaded.policy.track_gradients(true);
    let family = loaded.policy.family();
    let n = sequences * length;
    let seed = Seed(1);
    let tokens: Vec<i64> = (0..n as u64).map(|i| 10 + seed.below(i, 39_990) as i64).collect();
    let segments = (0..sequences).map(|i| Segment { start: i * length, len: length, parent: None }).collect();
    let mut attention = TreeAttention::new(segments);
    let positions = attention.positions();
    let input = Tensor::from_slice(&tokens);
    let mut seconds = Vec::new();
    for step in 0..4 {
        let started = Instant::now();
        let hidden = family.forward(&input, &positions, &mut attention);
        let flowing = hidden.detach();
        let grad = hidden.zeros_like();
        let head = family.head().weight().detach();
        let head_grad = Tensor::zeros(head.size(), (Kind::Float, head.device()));
        for first in (0..n).step_by(512) {
            let len = 512.min(n - first);
            let rows = flowing.narrow(0, first as i64, len as i64);
            let targets: Vec<u32> = (first..first + len).map(|i| tokens[(i + 1) % n] as u32).collect();
            let logits = logits(&rows, &head);
            let stats = TokenStats::of(&logits, &targets, 1.0);
            let share = vec![-1.0 / n as f32; len];
            stats.backward(&logits, &targets, 1.0, &share, &vec![0.0; len]);
            let logits = logits.to_kind(head.kind());
            grad.narrow(0, first as i64, len as i64).copy_(&input_gradient(&logits, &head));
            add_weight_gradient(&head_grad, &logits, &rows);
        }
        backward(&hidden, &grad).map_err(anyhow::Error::msg)?;
        for parameter in loaded.policy.parameters() {
            drop(take_grad(&parameter.compute));
        }
        drop(head_grad);
        if step > 0 {
            seconds.push(started.elapsed().as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    figure(n as f64 / seconds[seconds.len() / 2])
}
