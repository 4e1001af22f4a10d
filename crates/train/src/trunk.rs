//! Forward and backward through a model's trunk, with or without keeping what lies between.

use relign_model::attention::TreeAttention;
use relign_model::{Family, Tensor, backward, no_grad_guard};

use crate::{Packed, TrainError};

/// Hidden states `[n, hidden]` for packed trees, without gradients.
pub(crate) fn forward(family: &dyn Family, packed: &Packed) -> Tensor {
    let _no_grad = no_grad_guard();
    let mut attention = TreeAttention::new(packed.segments.clone());
    let positions = attention.positions();
    family.forward(&Tensor::from_slice(&packed.tokens), &positions, &mut attention)
}

/// Forwards packed trees, hands the hidden states `[n, hidden]` to `head`, which returns the loss's
/// gradient with respect to them, and backpropagates it into the weights.
///
/// With `recompute`, only the input of each layer is kept, and each layer runs again before its
/// backward pass: memory for one layer instead of all, for a third more work (Chen et al., 1604.06174).
pub(crate) fn forward_backward(
    family: &dyn Family,
    packed: &Packed,
    recompute: bool,
    head: &mut dyn FnMut(&Tensor) -> Result<Tensor, TrainError>,
) -> Result<(), TrainError> {
    let mut attention = TreeAttention::new(packed.segments.clone());
    let positions = attention.positions();
    let tokens = Tensor::from_slice(&packed.tokens);
    let failed = TrainError::Backend;
    if !recompute {
        let hidden = family.forward(&tokens, &positions, &mut attention);
        let grad = head(&hidden.detach())?;
        return backward(&hidden, &grad).map_err(failed);
    }
    let rotary = family.rotary(&positions);
    let embedded = family.embed(&tokens);
    let mut inputs = vec![embedded.detach()];
    {
        let _no_grad = no_grad_guard();
        for index in 0..family.layers() {
            let next = family.layer(index, &inputs[index], &rotary, &mut attention);
            inputs.push(next);
        }
    }
    let leaf = |x: Tensor| x.set_requires_grad(true);
    let last = leaf(inputs.pop().expect("at least the embedding"));
    let hidden = family.finish(&last);
    let grad = head(&hidden.detach())?;
    backward(&hidden, &grad).map_err(failed)?;
    let mut grad = last.grad();
    for index in (0..family.layers()).rev() {
        let input = leaf(inputs.pop().expect("one input per layer"));
        let output = family.layer(index, &input, &rotary, &mut attention);
        backward(&output, &grad).map_err(failed)?;
        grad = input.grad();
    }
    backward(&embedded, &grad).map_err(failed)
}
