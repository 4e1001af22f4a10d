//! AdamW's state, the learning rate's course and the gradients' sums.

use relign_core::{OptimizerSection, Schedule};
use relign_model::ops::add_weight_gradient;
use relign_model::{AdamWStep, Kind, Policy, Tensor, take_grad};

/// AdamW with f32 states for every weight of a policy.
#[derive(Debug)]
pub struct Optimizer {
    section: OptimizerSection,
    total: u64,
    taken: u64,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    grads: Vec<Option<Tensor>>,
}

impl Optimizer {
    /// States of zero; the schedule ends after `total` steps.
    #[must_use]
    pub fn new(section: &OptimizerSection, policy: &Policy, total: u64) -> Self {
        let zeros = || policy.parameters().iter().map(|p| p.master.zeros_like()).collect();
        let grads = policy.parameters().iter().map(|_| None).collect();
        Self { section: section.clone(), total, taken: 0, first: zeros(), second: zeros(), grads }
    }

    /// The learning rate of the next step.
    #[must_use]
    pub fn lr(&self) -> f64 {
        let (step, warmup) = (self.taken + 1, self.section.warmup);
        if step <= warmup {
            return self.section.lr * step as f64 / warmup as f64;
        }
        let rest = self.total.saturating_sub(warmup).max(1) as f64;
        let done = ((step - 1 - warmup) as f64 / rest).min(1.0);
        self.section.lr
            * match self.section.schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear => 1.0 - done,
                Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            }
    }

    /// Optimizer steps taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Adds the gradients that the last backward pass left on the computed weights to the f32 sums.
    pub fn collect(&mut self, policy: &Policy) {
        for (parameter, sum) in policy.parameters().iter().zip(&mut self.grads) {
            if let Some(grad) = take_grad(&parameter.compute) {
                add(sum, grad);
            }
        }
    }

    /// Adds a gradient made by hand to the sum of parameter `index`.
    pub fn add(&mut self, index: usize, grad: Tensor) {
        add(&mut self.grads[index], grad);
    }

    /// Adds the gradient `dy^T x` of parameter `index`, a product's weight, for `dy` `[n, out]` and `x` `[n, in]`.
    pub fn add_product(&mut self, index: usize, dy: &Tensor, x: &Tensor) {
        let zeros = || Tensor::zeros([dy.size()[1], x.size()[1]], (Kind::Float, dy.device()));
        add_weight_gradient(self.grads[index].get_or_insert_with(zeros), dy, x);
    }

    /// The sum of parameter `index`, if anything was collected since the last step.
    #[must_use]
    pub fn grad(&self, index: usize) -> Option<&Tensor> {
        self.grads[index].as_ref()
    }

    /// The global norm of the sums.
    #[must_use]
    pub fn norm(&self) -> f64 {
        let squares: f64 =
            self.grads.iter().flatten().map(|g| g.norm().to_kind(Kind::Double).double_value(&[]).powi(2)).sum();
        squares.sqrt()
    }

    /// Clips, takes a step on the masters, publishes them and forgets the gradients.
    pub fn step(&mut self, policy: &mut Policy, norm: f64) {
        let clip = self.section.clip_norm;
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        let lr = self.lr();
        self.taken += 1;
        for index in 0..self.grads.len() {
            let Some(grad) = self.grads[index].take() else { continue };
            let matrix = policy.parameters()[index].master.dim() > 1;
            let step = AdamWStep {
                lr: lr as f32,
                beta1: self.section.betas.0 as f32,
                beta2: self.section.betas.1 as f32,
                eps: self.section.eps as f32,
                weight_decay: if matrix { self.section.weight_decay as f32 } else { 0.0 },
                step: self.taken,
                grad_scale: scale as f32,
            };
            policy.update(index, &grad, &self.first[index], &self.second[index], step);
        }
        policy.publish();
    }

    /// Forgets collected gradients.
    pub fn discard(&mut self) {
        self.grads.iter_mut().for_each(|g| *g = None);
    }

    /// The state by name, sharing memory.
    #[must_use]
    pub fn state(&self, policy: &Policy) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        for (i, parameter) in policy.parameters().iter().enumerate() {
            state.push((format!("first/{}", parameter.name), self.first[i].shallow_clone()));
            state.push((format!("second/{}", parameter.name), self.second[i].shallow_clone()));
        }
        state
    }

    /// Overwrites the number of steps taken, when a run is resumed; the states are written in place.
    pub fn set_taken(&mut self, taken: u64) {
        self.taken = taken;
    }
}

fn add(sum: &mut Option<Tensor>, grad: Tensor) {
    match sum {
        Some(sum) => {
            let _ = sum.g_add_(&grad);
        }
        None => *sum = Some(if grad.kind() == Kind::Float { grad } else { grad.to_kind(Kind::Float) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, warmup: u64) -> Vec<f64> {
        let section = OptimizerSection { lr: 1.0, warmup, schedule, ..OptimizerSection::default() };
        let mut optimizer = Optimizer { section, total: 10, taken: 0, first: vec![], second: vec![], grads: vec![] };
        (0..10)
            .map(|taken| {
                optimizer.taken = taken;
                optimizer.lr()
            })
            .collect()
    }

    #[test]
    fn the_rate_rises_then_falls() {
        assert_eq!(rates(Schedule::Constant, 0), [1.0; 10]);
        assert_eq!(rates(Schedule::Constant, 4)[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        let linear = rates(Schedule::Linear, 2);
        assert_eq!(linear[..3], [0.5, 1.0, 1.0]);
        assert!((linear[9] - 0.125).abs() < 1e-12);
        let cosine = rates(Schedule::Cosine, 0);
        assert!(cosine.windows(2).all(|w| w[1] < w[0]) && cosine[9] > 0.0);
    }
}
