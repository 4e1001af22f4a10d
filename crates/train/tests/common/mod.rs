//! What the trainer's tests share: tiny policies, trees and where weights are read.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use relign_core::{Author, Finish, Node, OptimizerSection, Score, Seed, Task, Tree, UpdateMetrics};
use relign_model::{Checkpoint, Kind, Policy, Tensor, Tokenizer};
use relign_train::{Algorithm, TrainError, Trainer, TrainerOptions};

pub const FAMILIES: [&str; 2] = ["llama", "qwen2"];

fn folder(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures").join(format!("tiny-{family}"))
}

pub fn checkpoint(family: &str) -> Checkpoint {
    Checkpoint::open(folder(family)).expect("the tiny checkpoint")
}

pub fn tokenizer() -> Tokenizer {
    checkpoint("llama").tokenizer().expect("the tiny tokenizer")
}

pub fn policy(family: &str, kind: Kind) -> Policy {
    let checkpoint = checkpoint(family);
    Policy::load(checkpoint.config(), &checkpoint, kind).expect("the tiny weights")
}

pub fn options() -> TrainerOptions {
    TrainerOptions {
        temperature: 1.0,
        batch_tokens: 4096,
        minibatches: 1,
        epochs: 1,
        recompute: false,
        optimizer: OptimizerSection { lr: 1e-3, ..OptimizerSection::default() },
        steps: 10,
    }
}

/// Options under which the first moment after one step is the gradient.
pub fn gradient_options() -> TrainerOptions {
    let optimizer = OptimizerSection { betas: (0.0, 0.9), clip_norm: 0.0, ..OptimizerSection::default() };
    TrainerOptions { optimizer, ..options() }
}

pub fn numbers(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_kind(Kind::Float).contiguous().view([-1])).expect("f32")
}

/// The weights by checkpoint name.
pub fn weights(trainer: &Trainer) -> BTreeMap<String, Vec<f32>> {
    trainer.policy().named().iter().map(|(name, tensor)| (name.clone(), numbers(tensor))).collect()
}

/// The first moments by checkpoint name.
pub fn first_moments(trainer: &Trainer) -> BTreeMap<String, Vec<f32>> {
    let state: BTreeMap<String, Tensor> = trainer.optimizer().state(trainer.policy()).into_iter().collect();
    let mut moments = BTreeMap::new();
    for parameter in trainer.policy().parameters() {
        let first = &state[&format!("first/{}", parameter.name)];
        for (name, row, rows) in &parameter.parts {
            moments.insert(name.clone(), numbers(&first.narrow(0, *row as i64, *rows as i64)));
        }
    }
    moments
}

/// The gradient of one update's loss, by checkpoint name.
pub fn gradient(trainer: &mut Trainer, trees: &[Tree], algorithm: &dyn Algorithm) -> BTreeMap<String, Vec<f32>> {
    update(trainer, trees, algorithm).expect("a finite update");
    first_moments(trainer)
}

pub fn update(trainer: &mut Trainer, trees: &[Tree], algorithm: &dyn Algorithm) -> Result<UpdateMetrics, TrainError> {
    let step = trainer.policy().version() + 1;
    trainer.update(step, trees, algorithm, Seed(3).index(step), &mut |_, _| {})
}

pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// The distance of `a` from `b` relative to the norm of `b`, the largest over parameters.
pub fn distance(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>) -> f64 {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let gap = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        norm(&difference) / norm(b).max(1e-12)
    };
    a.values().zip(b.values()).map(gap).fold(0.0, f64::max)
}

/// A tree of depth one; log-probabilities of the sampler are made up.
pub fn group(prompt: &[u32], completions: &[(&[u32], f64)]) -> Tree {
    let mut tree = Tree::new(Task::default(), prompt.to_vec());
    for (tokens, value) in completions {
        let score = if *value > 0.5 { Score::correct("") } else { Score::wrong("") };
        tree.push(Node { score: Some(Score { value: *value, ..score }), ..node(0, tokens) });
    }
    tree
}

pub fn node(parent: usize, tokens: &[u32]) -> Node {
    let logprobs = vec![-2.0; tokens.len()];
    Node { tokens: tokens.to_vec(), logprobs, finish: Some(Finish::Stop), ..Node::after(parent, Author::Policy) }
}

/// `n` tokens below 128.
pub fn tokens(seed: u64, n: usize) -> Vec<u32> {
    (0..n).map(|i| Seed(seed).child("tokens").below(i as u64, 128) as u32).collect()
}

/// Groups with prompts and completions of many lengths and rewards that differ within each.
pub fn groups(seed: u64, groups: usize, samples: usize) -> Vec<Tree> {
    let seed = Seed(seed);
    (0..groups)
        .map(|g| {
            let own = seed.index(g as u64);
            let completions: Vec<(Vec<u32>, f64)> = (0..samples)
                .map(|i| {
                    let length = 1 + own.child("length").below(i as u64, 14) as usize;
                    (tokens(own.child("sample").index(i as u64).0, length), f64::from(u8::from(i % 3 == 0)))
                })
                .collect();
            let prompt = tokens(own.child("prompt").0, 2 + own.below(0, 20) as usize);
            group(&prompt, &completions.iter().map(|(t, r)| (t.as_slice(), *r)).collect::<Vec<_>>())
        })
        .collect()
}
