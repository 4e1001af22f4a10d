//! Log-probabilities, entropies and gradients over rows of logits, as [`crate::kernels::softmax`] has them.

use tch::{Kind, Tensor};

/// Log-probability of each target, entropy and `ln sum exp` of each row of `logits * scale`.
pub(crate) fn stats(logits: &Tensor, targets: &[u32], scale: f32) -> [Vec<f32>; 3] {
    let _no_grad = tch::no_grad_guard();
    let z = logits.to_kind(Kind::Float) * f64::from(scale);
    let lse = z.logsumexp([-1].as_slice(), true);
    let logp = z - &lse;
    let entropy = -(logp.exp() * &logp).sum_dim_intlist([-1].as_slice(), false, Kind::Float);
    let logp = logp.gather(1, &column(targets, logits), false);
    [logp, entropy, lse].map(|t| Vec::try_from(t.view([-1])).expect("numbers"))
}

/// What flows back into rows of logits.
pub(crate) struct Flow<'a> {
    pub(crate) lse: &'a [f32],
    pub(crate) entropy: &'a [f32],
    pub(crate) targets: &'a [u32],
    pub(crate) d_logp: &'a [f32],
    pub(crate) d_entropy: &'a [f32],
}

/// Replaces `logits` by `scale * (d_logp * (onehot - p) - d_entropy * p * (ln p + entropy))`.
pub(crate) fn gradient(logits: &Tensor, scale: f32, flow: &Flow<'_>) {
    let _no_grad = tch::no_grad_guard();
    let numbers = |x: &[f32]| Tensor::from_slice(x).to_device(logits.device()).unsqueeze(1);
    let [lse, entropy, d_logp, d_entropy] = [flow.lse, flow.entropy, flow.d_logp, flow.d_entropy].map(numbers);
    let z = logits.to_kind(Kind::Float) * f64::from(scale) - lse;
    let slope = -(&d_logp + d_entropy * (&z + entropy)) * z.exp();
    let slope = slope.scatter_add(1, &column(flow.targets, logits), &d_logp);
    logits.shallow_clone().copy_(&(slope * f64::from(scale)));
}

fn column(targets: &[u32], beside: &Tensor) -> Tensor {
    let targets: Vec<i64> = targets.iter().map(|&t| i64::from(t)).collect();
    Tensor::from_slice(&targets).to_device(beside.device()).unsqueeze(1)
}
