//! GRPO against TRL's loss and against plain PyTorch: log-probabilities, gradients, updated weights.
//! The numbers are in fixtures/grpo.json, made by fixtures/make_grpo.py.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod common;

use std::collections::BTreeMap;

use common::{first_moments, group, norm, options, policy, weights};
use relign_core::{OptimizerSection, Tree, find};
use relign_model::device::WithoutKernels;
use relign_model::{Kind, LoadError, Tensor};
use relign_train::{ALGORITHMS, Algorithm, Batch, PolicyOutput, Trainer, TrainerOptions};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Fixture {
    losses: Losses,
    updates: Vec<Update>,
}

#[derive(Deserialize)]
struct Losses {
    lengths: Vec<usize>,
    logp: Vec<f32>,
    old: Vec<f32>,
    reference: Vec<f32>,
    advantage: Vec<f32>,
    cases: Vec<LossCase>,
}

#[derive(Deserialize)]
struct LossCase {
    settings: Value,
    loss: f64,
    grad: Vec<f32>,
    clipped: f64,
    kl: f64,
}

#[derive(Deserialize)]
struct Update {
    family: String,
    temperature: f32,
    settings: Value,
    groups: Vec<Group>,
    optimizer: OptimizerSection,
    advantage: Vec<f32>,
    logp: Vec<f32>,
    reference: Vec<f32>,
    entropy: f64,
    gradient: BTreeMap<String, Watched>,
    loss: Vec<f64>,
    norm: Vec<f64>,
    ratio: f64,
    weights: BTreeMap<String, Watched>,
}

#[derive(Deserialize)]
struct Group {
    prompt: Vec<u32>,
    completions: Vec<Vec<u32>>,
    rewards: Vec<f64>,
}

/// A tensor's norm and four of its elements, evenly spaced from the first to the last.
#[derive(Deserialize)]
struct Watched {
    norm: f64,
    at: Vec<f64>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/grpo.json")).expect("the fixture")
}

fn algorithm(settings: &Value) -> Box<dyn Algorithm> {
    (find("algorithm", ALGORITHMS, "grpo").unwrap().build)(settings.clone()).expect("valid settings")
}

#[track_caller]
fn close(what: &str, got: f64, expected: f64, relative: f64, absolute: f64) {
    let margin = relative * expected.abs() + absolute;
    assert!((got - expected).abs() <= margin, "{what}: expected {expected} within {margin:.1e}, got {got}");
}

#[test]
fn the_loss_is_trls() {
    let Losses { lengths, logp, old, reference, advantage, cases } = fixture().losses;
    let spread = |values: &[f32]| -> Vec<f32> {
        lengths.iter().zip(values).flat_map(|(&n, &v)| std::iter::repeat_n(v, n)).collect()
    };
    let own_lengths: Vec<f32> = lengths.iter().map(|&n| n as f32).collect();
    let tokens = logp.len();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let algorithm = algorithm(&case.settings);
        // In one piece, and in two pieces of whole samples whose shares must add up.
        for cuts in [vec![0, tokens], vec![0, lengths[0] + lengths[1], tokens]] {
            let (mut loss, mut grad, mut clipped, mut kl) = (0.0, Vec::new(), 0.0, 0.0);
            for cut in cuts.windows(2) {
                let part = |values: &[f32]| Tensor::from_slice(&values[cut[0]..cut[1]]);
                let out = PolicyOutput {
                    logp: part(&logp).set_requires_grad(true),
                    entropy: part(&logp).zeros_like().set_requires_grad(true),
                };
                let batch = Batch {
                    old_logp: part(&old),
                    reference_logp: algorithm.needs().reference.then(|| part(&reference)),
                    sampler_logp: part(&old),
                    advantage: part(&spread(&advantage)),
                    length: part(&spread(&own_lengths)),
                    total_tokens: tokens,
                    total_samples: lengths.len(),
                };
                let share = algorithm.loss(&out, &batch).expect("a loss");
                share.value.backward();
                loss += share.value.double_value(&[]);
                clipped += share.clipped;
                kl += share.kl;
                grad.extend(common::numbers(&out.logp.grad()));
            }
            let what = case.settings.to_string();
            close(&what, loss, case.loss, 1e-5, 1e-6);
            close(&what, clipped / tokens as f64, case.clipped, 1e-6, 0.0);
            close(&what, kl / tokens as f64, case.kl, 1e-5, 0.0);
            assert_eq!(grad.len(), case.grad.len());
            for (got, expected) in grad.iter().zip(&case.grad) {
                close(&what, f64::from(*got), f64::from(*expected), 1e-5, 1e-7);
            }
        }
    }
}

fn trees(update: &Update) -> Vec<Tree> {
    let mut sampler = update.logp.iter().copied();
    let tree = |g: &Group| {
        let samples: Vec<_> = g.completions.iter().map(Vec::as_slice).zip(g.rewards.iter().copied()).collect();
        let mut tree = group(&g.prompt, &samples);
        for node in &mut tree.nodes[1..] {
            node.logprobs = sampler.by_ref().take(node.tokens.len()).collect();
        }
        tree
    };
    update.groups.iter().map(tree).collect()
}

/// A trainer whose reference is the checkpoint and whose policy is a little away from it.
fn trainer(update: &Update, algorithm: &dyn Algorithm, options: TrainerOptions) -> Trainer {
    let mut trainer = Trainer::new(policy(&update.family, Kind::Float), algorithm.needs().reference, options);
    let source = common::checkpoint(&update.family);
    let perturbed = |name: &str| -> Result<Tensor, LoadError> {
        let tensor = source.tensor(name)?;
        let away: Vec<f32> = (0..tensor.numel()).map(|n| (0.03 * (0.7 * n as f64).sin()) as f32).collect();
        Ok(&tensor + Tensor::from_slice(&away).view_as(&tensor))
    };
    trainer.parts_mut().0.restore(&perturbed).expect("the same shapes");
    trainer
}

fn compare(what: &str, got: &BTreeMap<String, Vec<f32>>, expected: &BTreeMap<String, Watched>, tolerance: f64) {
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for (name, expected) in expected {
        let got = &got[name];
        close(&format!("{what}: norm of {name}"), norm(got), expected.norm, tolerance, 1e-8);
        // Elements are held to the tensor's usual size: small ones are differences of large ones.
        let usual = expected.norm / (got.len() as f64).sqrt();
        for (i, &at) in expected.at.iter().enumerate() {
            let place = (got.len() - 1) * i / 3;
            close(&format!("{what}: {name}[{place}]"), f64::from(got[place]), at, tolerance, tolerance * usual);
        }
    }
}

#[test]
fn gradients_are_pytorchs() {
    gradients();
}

/// What runs on a GPU, on the CPU.
#[test]
fn gradients_without_kernels_are_pytorchs() {
    let _without = WithoutKernels::new();
    gradients();
}

fn gradients() {
    for update in fixture().updates {
        let algorithm = algorithm(&update.settings);
        for (recompute, batch_tokens) in [(false, 4096), (true, 4096), (true, 20)] {
            let options = TrainerOptions {
                temperature: update.temperature,
                batch_tokens,
                recompute,
                ..common::gradient_options()
            };
            let mut trainer = trainer(&update, algorithm.as_ref(), options);
            let metrics = common::update(&mut trainer, &trees(&update), algorithm.as_ref()).expect("finite");
            let what = format!("{} {} budget {batch_tokens}", update.family, update.settings);
            compare(&what, &first_moments(&trainer), &update.gradient, 2e-5);
            close(&what, metrics.loss, update.loss[0], 1e-5, 1e-6);
            close(&what, metrics.grad_norm, update.norm[0], 1e-5, 0.0);
            close(&what, metrics.entropy, update.entropy, 1e-5, 0.0);
            // The trees carry PyTorch's log-probabilities as the sampler's.
            assert!(metrics.engine_gap_max < 2e-5, "{what}: log-probabilities differ by {}", metrics.engine_gap_max);
            if algorithm.needs().reference {
                let k3 = |(l, r): (&f32, &f32)| f64::from(r - l).exp() - f64::from(r - l) - 1.0;
                let sum: f64 = update.logp.iter().zip(&update.reference).map(k3).sum();
                close(&what, metrics.kl, sum / update.logp.len() as f64, 1e-4, 0.0);
            }
        }
    }
}

#[test]
fn advantages_are_pytorchs() {
    for update in fixture().updates {
        let samples = algorithm(&update.settings).credit(&trees(&update));
        assert_eq!(samples.len(), update.advantage.len());
        for (sample, &expected) in samples.iter().zip(&update.advantage) {
            close("an advantage", f64::from(sample.advantage), f64::from(expected), 1e-6, 1e-7);
        }
    }
}

#[test]
fn weights_after_three_clipped_updates_are_pytorchs() {
    three_clipped_updates();
}

#[test]
fn weights_without_kernels_are_pytorchs() {
    let _without = WithoutKernels::new();
    three_clipped_updates();
}

fn three_clipped_updates() {
    for update in fixture().updates {
        let algorithm = algorithm(&update.settings);
        let options = TrainerOptions {
            temperature: update.temperature,
            epochs: 3,
            optimizer: update.optimizer.clone(),
            ..options()
        };
        let mut trainer = trainer(&update, algorithm.as_ref(), options);
        let before = weights(&trainer);
        let metrics = common::update(&mut trainer, &trees(&update), algorithm.as_ref()).expect("finite");
        let what = format!("{} {}", update.family, update.settings);
        let after = weights(&trainer);
        assert!(common::distance(&after, &before) > 1e-3, "{what}: the weights moved");
        compare(&what, &after, &update.weights, 1e-5);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / 3.0;
        close(&what, metrics.loss, mean(&update.loss), 1e-4, 1e-6);
        close(&what, metrics.grad_norm, mean(&update.norm), 1e-4, 0.0);
        close(&what, metrics.ratio, update.ratio, 1e-4, 0.0);
        assert_eq!(metrics.first_ratio_gap, 0.0, "{what}");
        assert_eq!(metrics.optimizer_steps, 3, "{what}");
        assert!(metrics.clipped > 0.0, "{what}: no ratio was clipped, so clipping was not tested");
    }
}
