//! What training promises, on tiny random policies of every family.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod common;

use std::collections::BTreeMap;

use common::{FAMILIES, distance, gradient, gradient_options, group, groups, options, policy, tokens, update, weights};
use relign_core::{Finish, Node, OptimizerSection, Score, Tree};
use relign_model::attention::TreeAttention;
use relign_model::{Config, Kind, LoadError, Policy, Tensor};
use relign_train::algorithms::{Aggregate, Grpo, Standardise};
use relign_train::{Algorithm, Batch, Loss, Needs, PolicyOutput, Sample, TrainError, Trainer, TrainerOptions};

fn trainer(family: &str, options: TrainerOptions) -> Trainer {
    Trainer::new(policy(family, Kind::Float), false, options)
}

fn sequence_level() -> Grpo {
    Grpo { aggregate: Aggregate::Sequence, ..Grpo::default() }
}

#[test]
fn every_parameter_gets_a_gradient() {
    for family in FAMILIES {
        for recompute in [false, true] {
            let mut trainer = trainer(family, TrainerOptions { recompute, ..gradient_options() });
            let gradient = gradient(&mut trainer, &groups(1, 3, 4), &Grpo::default());
            assert_eq!(gradient.len(), trainer.policy().named().len());
            for (name, values) in gradient {
                assert!(values.iter().any(|&x| x != 0.0), "{family}: the gradient of {name} is 0");
                assert!(values.iter().all(|x| x.is_finite()), "{family}: the gradient of {name} is not finite");
            }
        }
    }
}

#[test]
fn the_budget_of_a_part_changes_nothing() {
    let trees = groups(2, 4, 5);
    for family in FAMILIES {
        for algorithm in [Grpo::default(), sequence_level()] {
            let with = |batch_tokens: usize| {
                let mut trainer = trainer(family, TrainerOptions { batch_tokens, ..gradient_options() });
                let metrics = update(&mut trainer, &trees, &algorithm).unwrap();
                (common::first_moments(&trainer), metrics)
            };
            let (whole, one) = with(100_000);
            for budget in [1, 25, 60] {
                let (parts, many) = with(budget);
                let gap = distance(&parts, &whole);
                assert!(gap < 1e-5, "{family}, budget {budget}: gradients differ by {gap}");
                assert!((one.loss - many.loss).abs() < 1e-6 && (one.entropy - many.entropy).abs() < 1e-5);
                assert_eq!(one.trained_tokens, many.trained_tokens);
                assert_eq!(many.forwarded_tokens > one.forwarded_tokens, budget < 60, "{family}: groups are split");
            }
        }
    }
}

/// Like GRPO, with advantages written down: credit does not depend on which tree a sample is in.
struct Given(Vec<Vec<f32>>);

impl Algorithm for Given {
    fn needs(&self) -> Needs {
        Needs { reference: false, group: 1, flat_samples: false }
    }

    fn credit(&self, trees: &[Tree]) -> Vec<Sample> {
        let of = |tree: usize| {
            let nodes = (1..trees[tree].nodes.len()).zip(&self.0[tree]);
            nodes.map(move |(node, &advantage)| Sample { tree, node, advantage })
        };
        (0..trees.len()).flat_map(of).collect()
    }

    fn loss(&self, out: &PolicyOutput, batch: &Batch) -> Result<Loss, TrainError> {
        Grpo::default().loss(out, batch)
    }
}

#[test]
fn a_shared_prefix_equals_separate_sequences() {
    let (prompt, first, a, b) = (tokens(1, 9), tokens(2, 6), tokens(3, 7), tokens(4, 3));
    // A thought that two endings continue, and a sample of its own.
    let mut tree = group(&prompt, &[(&first, 0.0), (&b, 0.0)]);
    tree.push(common::node(1, &a));
    tree.push(common::node(1, &b));
    let shared = Given(vec![vec![0.5, -0.8, 1.0, -1.5]]);
    let with = |prefix: &[u32], own: &[u32]| group(prefix, &[(own, 0.0)]);
    let longer = [prompt.clone(), first.clone()].concat();
    let separate = [with(&prompt, &first), with(&prompt, &b), with(&longer, &a), with(&longer, &b)];
    let apart = Given(shared.0[0].iter().map(|&advantage| vec![advantage]).collect());
    for family in FAMILIES {
        let mut one = trainer(family, gradient_options());
        let metrics = update(&mut one, &[tree.clone()], &shared).unwrap();
        assert_eq!(metrics.forwarded_tokens, 9 + 6 + 2 + 6 + 2, "each node once, last tokens of leaves never");
        let together = common::first_moments(&one);
        let gap = distance(&together, &gradient(&mut trainer(family, gradient_options()), &separate, &apart));
        assert!(gap < 1e-5, "{family}: gradients differ by {gap}");
    }
}

#[test]
fn recomputing_changes_nothing() {
    let trees = groups(5, 3, 4);
    for family in FAMILIES {
        let with = |recompute: bool| {
            let mut trainer = trainer(family, TrainerOptions { recompute, ..gradient_options() });
            let loss = update(&mut trainer, &trees, &sequence_level()).unwrap().loss;
            (loss, common::first_moments(&trainer))
        };
        let ((kept_loss, kept), (again_loss, again)) = (with(false), with(true));
        assert_eq!(kept_loss, again_loss, "{family}");
        let gap = distance(&again, &kept);
        assert!(gap < 1e-6, "{family}: gradients differ by {gap}");
    }
}

#[test]
fn the_first_ratio_is_one_to_the_last_bit() {
    for family in FAMILIES {
        for kind in [Kind::Float, Kind::BFloat16] {
            for recompute in [false, true] {
                for batch_tokens in [40, 4096] {
                    let options = TrainerOptions {
                        minibatches: 2,
                        epochs: 2,
                        recompute,
                        batch_tokens,
                        temperature: 0.7,
                        ..options()
                    };
                    let mut trainer = Trainer::new(policy(family, kind), false, options);
                    for round in 0..3 {
                        let metrics = update(&mut trainer, &groups(20 + round, 4, 4), &Grpo::default()).unwrap();
                        assert_eq!(metrics.first_ratio_gap, 0.0, "{family} {kind:?} {recompute} {batch_tokens}");
                        assert!(metrics.kl_old > 0.0, "later minibatches are off-policy");
                        assert_eq!(metrics.optimizer_steps, 4);
                    }
                }
            }
        }
    }
}

#[test]
fn minibatches_are_as_many_as_asked_for() {
    let options = TrainerOptions { minibatches: 4, ..options() };
    let mut trainer = trainer("llama", options);
    let metrics = update(&mut trainer, &groups(6, 5, 4), &Grpo::default()).unwrap();
    assert_eq!(metrics.optimizer_steps, 4, "five groups in four minibatches");
    assert_eq!(trainer.optimizer().taken(), 4);
}

#[test]
fn equal_seeds_give_equal_weights() {
    for family in FAMILIES {
        for kind in [Kind::Float, Kind::BFloat16] {
            let run = || {
                let options = TrainerOptions { minibatches: 2, epochs: 2, recompute: true, ..options() };
                let mut trainer = Trainer::new(policy(family, kind), true, options);
                let algorithm = Grpo { kl: 0.1, ..Grpo::default() };
                let metrics: Vec<_> =
                    (0..3).map(|i| update(&mut trainer, &groups(30 + i, 4, 4), &algorithm).unwrap()).collect();
                (metrics, weights(&trainer))
            };
            let (one, two) = (run(), run());
            assert!(one == two, "{family} {kind:?}: equal seeds, different runs");
            assert_ne!(one.1, weights(&Trainer::new(policy(family, kind), false, options())), "{family}: it learned");
        }
    }
}

/// Log-probabilities of a path's last node by a forward pass over one plain sequence.
fn full_forward(policy: &mut Policy, tree: &Tree, node: usize, temperature: f64) -> Vec<f32> {
    let family = policy.family();
    let _no_grad = relign_model::no_grad_guard();
    let all: Vec<i64> = tree.tokens(node).into_iter().map(i64::from).collect();
    let positions: Vec<i64> = (0..all.len() as i64).collect();
    let hidden = family.forward(&Tensor::from_slice(&all), &positions, &mut TreeAttention::causal(all.len()));
    let logits = hidden.matmul(&family.head().weight().tr()).to_kind(Kind::Float) / temperature;
    let logp = logits.log_softmax(-1, Kind::Float);
    let own = tree.nodes[node].tokens.len();
    (all.len() - own..all.len()).map(|i| logp.double_value(&[i as i64 - 1, all[i]]) as f32).collect()
}

#[test]
fn the_gap_to_a_faithful_sampler_is_small_and_to_another_is_seen() {
    for (kind, most) in [(Kind::Float, 2e-5), (Kind::BFloat16, 0.1)] {
        for family in FAMILIES {
            let mut sampler = policy(family, kind);
            let mut trees = groups(7, 3, 4);
            for tree in &mut trees {
                for node in 1..tree.nodes.len() {
                    tree.nodes[node].logprobs = full_forward(&mut sampler, tree, node, 0.8);
                }
            }
            let options = TrainerOptions { temperature: 0.8, ..options() };
            let metrics =
                update(&mut Trainer::new(policy(family, kind), false, options), &trees, &Grpo::default()).unwrap();
            let (mean, largest) = (metrics.engine_gap, metrics.engine_gap_max);
            assert!(mean <= largest && largest < most, "{family} {kind:?}: {mean} {largest}");
            let warmer = TrainerOptions { temperature: 1.0, ..common::options() };
            let metrics =
                update(&mut Trainer::new(policy(family, kind), false, warmer), &trees, &Grpo::default()).unwrap();
            assert!(metrics.engine_gap > 0.1, "{family}: another temperature is another distribution");
        }
    }
}

#[test]
fn what_is_not_finite_stops_before_the_weights() {
    let trees = groups(8, 2, 3);
    let broken = [
        ("advantage", Given(vec![vec![1.0, f32::NAN, -1.0], vec![1.0, 0.5, -1.0]]), false),
        ("logit", Given(vec![vec![1.0, 0.5, -1.0]; 2]), true),
    ];
    for (what, algorithm, spoil) in broken {
        let mut trainer = trainer("llama", options());
        if spoil {
            let mut norm = trainer.policy().named().pop().unwrap().1;
            let _no_grad = relign_model::no_grad_guard();
            let _ = norm.fill_(f64::NAN);
        }
        let before = weights(&trainer);
        let error = update(&mut trainer, &trees, &algorithm).expect_err(what);
        assert!(matches!(error, TrainError::NotFinite { step: 1, .. }), "{what}: {error}");
        assert!(error.to_string().contains("NaN"), "{error}");
        let bits = |w: &BTreeMap<String, Vec<f32>>| -> Vec<u32> { w.values().flatten().map(|x| x.to_bits()).collect() };
        assert!(bits(&weights(&trainer)) == bits(&before), "{what}: the weights changed");
        assert_eq!((trainer.policy().version(), trainer.optimizer().taken()), (0, 0));
        if !spoil {
            // Nothing of the broken update is left: the next equals one by a fresh trainer.
            let good = Given(vec![vec![1.0, 0.5, -1.0]; 2]);
            let mut fresh = self::trainer("llama", options());
            assert_eq!(update(&mut trainer, &trees, &good).unwrap(), update(&mut fresh, &trees, &good).unwrap());
            assert!(weights(&trainer) == weights(&fresh));
        }
    }
}

#[test]
fn a_sample_that_cannot_be_read_is_named() {
    let mut short = groups(9, 2, 3);
    short[1].task.id = "sums/17".to_owned();
    short[1].nodes[2].logprobs.push(-1.0);
    let error = update(&mut trainer("llama", options()), &short, &Grpo::default()).expect_err("one too many");
    assert!(error.to_string().contains("task sums/17, node 2"), "{error}");

    let mut silent = groups(9, 2, 3);
    silent[0].nodes[2].logprobs.clear();
    let error = update(&mut trainer("llama", options()), &silent, &Grpo::default()).expect_err("none at all");
    assert!(error.to_string().contains("node 2: expected the sampler's log-probabilities"), "{error}");
    silent[0].nodes[2].tokens.clear();
    silent[0].nodes[2].text = "four".to_owned();
    let error = update(&mut trainer("llama", options()), &silent, &Grpo::default()).expect_err("text alone");
    assert!(error.to_string().contains("node 2: expected the sampled tokens, got text alone"), "{error}");

    let mut foreign = groups(9, 2, 3);
    foreign[0].nodes[0].tokens[0] = 128;
    let error = update(&mut trainer("llama", options()), &foreign, &Grpo::default()).expect_err("no such token");
    assert!(error.to_string().contains("expected tokens below the vocabulary's 128, got 128"), "{error}");
}

#[test]
fn a_sample_without_tokens_teaches_nothing() {
    let trees = groups(10, 2, 4);
    let mut with_empty = trees.clone();
    with_empty[0].push(Node { score: Some(Score::failed("cancelled")), ..common::node(0, &[]) });
    let mut scored = trees.clone();
    scored[0].nodes[2].tokens.clear();
    scored[0].nodes[2].logprobs.clear();
    let mut one = trainer("llama", gradient_options());
    let mut two = trainer("llama", gradient_options());
    assert!(gradient(&mut one, &trees, &Grpo::default()) == gradient(&mut two, &with_empty, &Grpo::default()));
    let metrics = update(&mut trainer("llama", options()), &scored, &sequence_level()).unwrap();
    assert!(metrics.loss.is_finite() && metrics.grad_norm.is_finite());
}

#[test]
fn flat_groups_change_nothing() {
    // A tenth thrice does not sum to three tenths: rounding must not become an advantage.
    for value in [0.0, 1.0, 0.1] {
        let mut trees = groups(11, 3, 3);
        for node in trees.iter_mut().flat_map(|t| &mut t.nodes[1..]) {
            node.score.as_mut().unwrap().value = value;
        }
        for standardise in [Standardise::Group, Standardise::Batch, Standardise::None] {
            let options = TrainerOptions { minibatches: 2, epochs: 2, ..options() };
            let mut trainer = trainer("qwen2", options);
            let before = weights(&trainer);
            let algorithm = Grpo { standardise, ..Grpo::default() };
            let metrics = update(&mut trainer, &trees, &algorithm).unwrap();
            assert!(weights(&trainer) == before, "{value} {standardise:?}");
            assert_eq!((metrics.optimizer_steps, metrics.trained_tokens, metrics.loss), (0, 0, 0.0));
            assert_eq!(trainer.policy().version(), 0);
        }
        // With a reference to stay near, they do count.
        let mut trainer = Trainer::new(policy("qwen2", Kind::Float), true, TrainerOptions { epochs: 2, ..options() });
        let metrics = update(&mut trainer, &trees, &Grpo { kl: 0.1, ..Grpo::default() }).unwrap();
        assert_eq!(metrics.optimizer_steps, 2);
    }
    assert_eq!(update(&mut trainer("llama", options()), &[], &Grpo::default()).unwrap().optimizer_steps, 0);
}

fn advantages(tree: &Tree, algorithm: &Grpo) -> Vec<(usize, f32)> {
    algorithm.credit(std::slice::from_ref(tree)).iter().map(|s| (s.node, s.advantage)).collect()
}

#[test]
fn failed_scores_are_no_part_of_the_group() {
    let one: &[u32] = &[5];
    let plain = group(&[1, 2], &[(one, 1.0), (one, 0.0), (one, 0.0)]);
    let mut failed = group(&[1, 2], &[(one, 1.0), (one, 0.0), (one, 0.0), (one, 0.0), (one, 0.0)]);
    failed.nodes[4].score = Some(Score { value: 1000.0, ..Score::failed("the judge ran out of time") });
    failed.nodes[5].score = None;
    for standardise in [Standardise::Group, Standardise::Batch, Standardise::None] {
        let algorithm = Grpo { standardise, ..Grpo::default() };
        assert_eq!(advantages(&failed, &algorithm), advantages(&plain, &algorithm));
    }
    for node in &mut failed.nodes[1..] {
        node.score = Some(Score::failed("all of them"));
    }
    assert!(advantages(&failed, &Grpo::default()).is_empty());
}

#[test]
fn truncated_samples_can_be_left_out_of_the_loss() {
    let one: &[u32] = &[5];
    let mut tree = group(&[1, 2], &[(one, 1.0), (one, 0.0), (one, 0.0)]);
    tree.nodes[2].finish = Some(Finish::Length);
    let all = advantages(&tree, &Grpo::default());
    let masked = advantages(&tree, &Grpo { mask_truncated: true, ..Grpo::default() });
    assert_eq!(all.iter().map(|a| a.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(masked, [all[0], all[2]], "its reward still counts for the group's mean");
}

/// A policy whose logits fill the trainer's room for them within a few hundred tokens.
fn wide() -> Policy {
    let raw = serde_json::json!({
        "model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 1, "head_dim": 8, "vocab_size": 1 << 17, "max_position_embeddings": 2048,
    });
    let config = Config::from_hf(&raw).unwrap();
    let source = |name: &str| -> Result<Tensor, LoadError> {
        let shape: &[i64] = match name {
            "model.embed_tokens.weight" | "lm_head.weight" => &[1 << 17, 8],
            name if name.contains("norm") => &[8],
            _ => &[8, 8],
        };
        let n = shape.iter().product::<i64>();
        let salt = name.len() as f64;
        let values: Vec<f32> = (0..n).map(|i| ((i as f64 * (1.7 + salt / 100.0) + salt).sin()) as f32).collect();
        Ok(Tensor::from_slice(&values).view(shape))
    };
    Policy::load(&config, &source, Kind::Float).unwrap()
}

/// A loss that weighs each token's log-probability and entropy differently.
struct Uneven;

impl Algorithm for Uneven {
    fn needs(&self) -> Needs {
        Needs { reference: false, group: 1, flat_samples: true }
    }

    fn credit(&self, trees: &[Tree]) -> Vec<Sample> {
        Given(vec![vec![1.0; trees[0].nodes.len() - 1]]).credit(trees)
    }

    fn loss(&self, out: &PolicyOutput, batch: &Batch) -> Result<Loss, TrainError> {
        let value = uneven(&out.logp, &out.entropy, &batch.sampler_logp) / batch.total_tokens as f64;
        Ok(Loss { value, clipped: 0.0, kl: 0.0 })
    }
}

fn uneven(logp: &Tensor, entropy: &Tensor, weight: &Tensor) -> Tensor {
    (weight * logp + weight.square() * entropy).sum(Kind::Float)
}

#[test]
fn logits_in_pieces_equal_logits_at_once() {
    // 256 rows of logits fit at once: a sample of three pieces, two samples in one block, one alone.
    let lengths = [600, 100, 120, 200];
    let samples: Vec<Vec<u32>> = lengths
        .iter()
        .enumerate()
        .map(|(i, &n)| (0..n).map(|t| relign_core::Seed(i as u64).below(t, 1 << 17) as u32).collect())
        .collect();
    let mut tree = group(&[3, 1 << 16, 7], &samples.iter().map(|s| (s.as_slice(), 0.0)).collect::<Vec<_>>());
    let mut trainer = Trainer::new(wide(), false, TrainerOptions { temperature: 0.9, ..gradient_options() });
    for (i, logp) in tree.nodes.iter_mut().flat_map(|n| &mut n.logprobs).enumerate() {
        *logp = -1.0 - (i as f32 * 0.37).sin();
    }
    let metrics = update(&mut trainer, std::slice::from_ref(&tree), &Uneven).unwrap();
    let got = common::first_moments(&trainer);

    // The same loss by libtorch's own softmax, all logits of a sample at once.
    let mut policy = wide();
    policy.track_gradients(true);
    let family = policy.family();
    let total: u64 = lengths.iter().sum();
    let (mut entropy, mut loss) = (0.0, 0.0);
    for node in 1..tree.nodes.len() {
        let all: Vec<i64> = tree.tokens(node).into_iter().map(i64::from).collect();
        let n = all.len();
        let positions: Vec<i64> = (0..n as i64).collect();
        let hidden = family.forward(&Tensor::from_slice(&all), &positions, &mut TreeAttention::causal(n));
        let own = tree.nodes[node].tokens.len() as i64;
        // In f64: over so wide a vocabulary libtorch's f32 product loses a digit on the way back.
        let [hidden, head] = [&hidden, family.head().weight()].map(|t| t.to_kind(Kind::Double));
        let logits = (hidden.narrow(0, n as i64 - 1 - own, own).matmul(&head.tr()) / 0.9).to_kind(Kind::Float);
        let logp = logits.log_softmax(-1, Kind::Float);
        let entropies = -(logp.exp() * &logp).sum_dim_intlist(-1, false, Kind::Float);
        entropy += entropies.sum(Kind::Double).double_value(&[]);
        let targets = Tensor::from_slice(&all).narrow(0, n as i64 - own, own).unsqueeze(1);
        let chosen = logp.gather(1, &targets, false).squeeze();
        let share = uneven(&chosen, &entropies, &Tensor::from_slice(&tree.nodes[node].logprobs)) / total as f64;
        loss += share.double_value(&[]);
        share.backward();
    }
    assert!((metrics.loss - loss).abs() < 1e-5 * loss.abs(), "{} {loss}", metrics.loss);
    let entropy = entropy / total as f64;
    assert!((metrics.entropy - entropy).abs() < 1e-4 * entropy, "{} {entropy}", metrics.entropy);
    let mut expected = BTreeMap::new();
    for parameter in policy.parameters() {
        let grad = parameter.compute.grad();
        for (name, row, rows) in &parameter.parts {
            expected.insert(name.clone(), common::numbers(&grad.narrow(0, *row as i64, *rows as i64)));
        }
    }
    // Entropies over so wide a vocabulary are sums of very many small terms.
    let gap = distance(&got, &expected);
    assert!(gap < 1e-4, "gradients differ by {gap}");
}

#[test]
fn a_clipped_step_is_no_longer_than_the_clip() {
    let clip_norm = 1e-3;
    let optimizer = OptimizerSection { betas: (0.0, 0.9), clip_norm, ..OptimizerSection::default() };
    let mut trainer = trainer("llama", TrainerOptions { optimizer, ..options() });
    let metrics = update(&mut trainer, &groups(12, 3, 4), &Grpo::default()).unwrap();
    let all: Vec<f32> = common::first_moments(&trainer).into_values().flatten().collect();
    assert!(metrics.grad_norm > 0.1, "the norm that is told is the one before clipping");
    assert!((common::norm(&all) - clip_norm).abs() < 1e-5 * clip_norm);
}
