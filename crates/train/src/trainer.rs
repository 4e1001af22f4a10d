//! From scored trees to updated weights.

use relign_core::{OptimizerSection, Seed, Tree, UpdateMetrics};
use relign_model::logits::TokenStats;
use relign_model::ops::{index, input_gradient, logits, select};
use relign_model::{Family, Policy, Tensor, no_grad_guard};

use crate::{Algorithm, Batch, Optimizer, Packed, PolicyOutput, Sample, TrainError, pack, trunk};

/// How a trainer works.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerOptions {
    /// The temperature that was sampled with: the loss is taken over the same distribution.
    pub temperature: f32,
    /// Input tokens forwarded at once.
    pub batch_tokens: usize,
    /// Optimizer steps per pass.
    pub minibatches: usize,
    /// Passes over a step's samples.
    pub epochs: usize,
    /// Keep only each layer's input.
    pub recompute: bool,
    /// AdamW's settings.
    pub optimizer: OptimizerSection,
    /// Training steps of the whole run, for the schedule.
    pub steps: u64,
}

/// A policy under training.
pub struct Trainer {
    policy: Policy,
    family: Box<dyn Family>,
    reference: Option<Box<dyn Family>>,
    optimizer: Optimizer,
    options: TrainerOptions,
    head: usize,
}

/// Logits held at once, in bytes.
const LOGITS_BYTES: usize = 128 << 20;

/// What one pass over a minibatch adds up.
#[derive(Default)]
struct Sums {
    loss: f64,
    entropy: f64,
    kl: f64,
    kl_old: f64,
    ratio: f64,
    ratio_gap: f64,
    clipped: f64,
    engine_gap: f64,
    engine_gap_max: f64,
    tokens: usize,
    forwarded: usize,
}

impl Trainer {
    /// A trainer of `policy`; with `reference`, a copy of it stays behind to measure divergence from.
    #[must_use]
    pub fn new(mut policy: Policy, reference: bool, options: TrainerOptions) -> Self {
        policy.track_gradients(true);
        let family = policy.family();
        let reference = reference.then(|| policy.frozen_copy().family());
        let per_step = (options.minibatches * options.epochs) as u64;
        let optimizer = Optimizer::new(&options.optimizer, &policy, options.steps * per_step);
        let memory = family.head().weight().data_ptr();
        let head = policy.parameters().iter().position(|p| p.compute.data_ptr() == memory);
        let head = head.expect("the output matrix is a parameter");
        Self { policy, family, reference, optimizer, options, head }
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The policy, to make families for engines from.
    pub fn policy_mut(&mut self) -> &mut Policy {
        &mut self.policy
    }

    /// The optimizer.
    #[must_use]
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Policy and optimizer, for restoring a checkpoint.
    pub fn parts_mut(&mut self) -> (&mut Policy, &mut Optimizer) {
        (&mut self.policy, &mut self.optimizer)
    }

    /// Learns from one step's trees.
    ///
    /// # Errors
    /// If a loss or gradient is not finite (no weight was changed by that minibatch), or the backend fails.
    pub fn update(
        &mut self,
        step: u64,
        trees: &[Tree],
        algorithm: &dyn Algorithm,
        seed: Seed,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<UpdateMetrics, TrainError> {
        let mut samples = algorithm.credit(trees);
        samples.iter().try_for_each(|sample| check_known(trees, sample))?;
        // Where no token was sampled, no action was taken that could be learned from.
        samples.retain(|sample| tokens_of(trees, sample) > 0);
        for sample in &samples {
            check(trees, sample, self.policy.config().vocab)?;
        }
        let flat = algorithm.needs().flat_samples;
        let passes = self.options.epochs * self.options.minibatches;
        let mut metrics = UpdateMetrics { lr: self.optimizer.lr(), ..UpdateMetrics::default() };
        let mut sums = Sums::default();
        let mut old: Vec<Vec<f32>> = vec![Vec::new(); samples.len()];
        let mut done = 0;
        let mut norms = Vec::new();
        for epoch in 0..self.options.epochs {
            let minibatches = split(trees.len(), &samples, self.options.minibatches, seed.index(epoch as u64));
            if epoch == 0 && passes > 1 {
                // Before the first update, in the very parts that the first pass is made of, so that
                // the first minibatch's ratios are 1 to the last bit.
                for ids in &minibatches {
                    let (ids, parts) = self.packed(trees, &samples, ids, flat);
                    let mut ids = ids.into_iter();
                    for part in &parts {
                        let logp = self.logp(self.family.as_ref(), part);
                        sums.forwarded += part.tokens.len();
                        for ((range, _), id) in part.samples.iter().zip(&mut ids) {
                            old[id] = logp[range.clone()].to_vec();
                        }
                    }
                }
            }
            for (index, ids) in minibatches.iter().enumerate() {
                let total_samples = ids.len();
                let total_tokens = ids.iter().map(|&i| tokens_of(trees, &samples[i])).sum();
                let (ids, parts) = self.packed(trees, &samples, ids, flat);
                let mut ids = ids.into_iter();
                let mut ratio_gap = 0.0_f64;
                for (n, part) in parts.iter().enumerate() {
                    let mine: Vec<usize> = ids.by_ref().take(part.samples.len()).collect();
                    let before: Option<Vec<f32>> =
                        (passes > 1).then(|| mine.iter().flat_map(|&i| old[i].iter().copied()).collect());
                    let totals = (total_tokens, total_samples);
                    let mut now = match self.learn(part, before.as_deref(), totals, algorithm) {
                        Ok(now) => now,
                        Err(error) => {
                            self.optimizer.discard();
                            return Err(error);
                        }
                    };
                    if !now.loss.is_finite() {
                        self.optimizer.discard();
                        return Err(TrainError::NotFinite { step, what: "the loss", value: now.loss });
                    }
                    ratio_gap = ratio_gap.max(now.ratio_gap);
                    now.forwarded += part.tokens.len();
                    sums.add(&now);
                    progress(done * 1000 + (n + 1) * 1000 / parts.len(), passes * 1000);
                }
                if epoch == 0 && index == 0 {
                    metrics.first_ratio_gap = ratio_gap;
                }
                done += 1;
                if parts.is_empty() {
                    continue;
                }
                let norm = self.optimizer.norm();
                if !norm.is_finite() {
                    self.optimizer.discard();
                    return Err(TrainError::NotFinite { step, what: "the gradient's norm", value: norm });
                }
                metrics.lr = self.optimizer.lr();
                self.optimizer.step(&mut self.policy, norm);
                norms.push(norm);
            }
        }
        let n = sums.tokens.max(1) as f64;
        metrics.loss = sums.loss / done.max(1) as f64;
        metrics.entropy = sums.entropy / n;
        metrics.kl = sums.kl / n;
        metrics.kl_old = sums.kl_old / n;
        metrics.ratio = sums.ratio / n;
        metrics.clipped = sums.clipped / n;
        metrics.engine_gap = sums.engine_gap / n;
        metrics.engine_gap_max = sums.engine_gap_max;
        metrics.grad_norm = norms.iter().sum::<f64>() / norms.len().max(1) as f64;
        metrics.optimizer_steps = norms.len() as u64;
        metrics.trained_tokens = sums.tokens as u64;
        metrics.forwarded_tokens = sums.forwarded as u64;
        Ok(metrics)
    }

    /// The parts of a minibatch and the ids of the samples in them, in order. Samples without
    /// advantage are left out where they would not move the weights.
    fn packed(&self, trees: &[Tree], samples: &[Sample], ids: &[usize], flat: bool) -> (Vec<usize>, Vec<Packed>) {
        let ids: Vec<usize> = ids.iter().copied().filter(|&i| flat || samples[i].advantage != 0.0).collect();
        let chosen: Vec<Sample> = ids.iter().map(|&i| samples[i]).collect();
        (ids, pack(trees, &chosen, self.options.batch_tokens))
    }

    fn rows_at_once(&self) -> usize {
        let row = self.policy.config().vocab * size_of::<f32>();
        (LOGITS_BYTES / row).max(64)
    }

    /// Log-probabilities of a part's trained tokens under `family`, without gradients.
    fn logp(&self, family: &dyn Family, part: &Packed) -> Vec<f32> {
        let hidden = trunk::forward(family, part);
        let _no_grad = no_grad_guard();
        let mut logp = Vec::with_capacity(part.targets.len());
        for block in blocks(part, self.rows_at_once()) {
            for chunk in chunks(block.0, self.rows_at_once()) {
                let picked = select(&hidden, &part.rows[chunk.clone()]);
                let logits = logits(&picked, family.head().weight());
                logp.extend(TokenStats::of(&logits, &part.targets[chunk], self.options.temperature).logp);
            }
        }
        logp
    }

    /// Forward, loss and backward for one part; gradients are collected.
    fn learn(
        &mut self,
        part: &Packed,
        old: Option<&[f32]>,
        totals: (usize, usize),
        algorithm: &dyn Algorithm,
    ) -> Result<Sums, TrainError> {
        let reference = self.reference.as_deref().map(|family| self.logp(family, part));
        let rows_at_once = self.rows_at_once();
        let Self { family, optimizer, options, head, .. } = self;
        let mut sums = Sums::default();
        trunk::forward_backward(family.as_ref(), part, options.recompute, &mut |hidden| {
            let grad = hidden.zeros_like();
            for (range, samples) in blocks(part, rows_at_once) {
                let block = Block { part, range, samples, totals };
                let mut pass = HeadPass {
                    weight: family.head().weight(),
                    temperature: options.temperature,
                    rows_at_once,
                    optimizer,
                    head: *head,
                };
                pass.run(&block, hidden, &grad, old, reference.as_deref(), algorithm, &mut sums)?;
            }
            Ok(grad)
        })?;
        self.optimizer.collect(&self.policy);
        Ok(sums)
    }
}

/// Whole samples whose loss is taken at once.
struct Block<'a> {
    part: &'a Packed,
    range: std::ops::Range<usize>,
    samples: std::ops::Range<usize>,
    totals: (usize, usize),
}

/// The output matrix, the loss and back.
struct HeadPass<'a> {
    weight: &'a Tensor,
    temperature: f32,
    rows_at_once: usize,
    optimizer: &'a mut Optimizer,
    head: usize,
}

impl HeadPass<'_> {
    #[allow(clippy::too_many_arguments, reason = "what a loss is made of")]
    fn run(
        &mut self,
        block: &Block<'_>,
        hidden: &Tensor,
        grad: &Tensor,
        old: Option<&[f32]>,
        reference: Option<&[f32]>,
        algorithm: &dyn Algorithm,
        sums: &mut Sums,
    ) -> Result<(), TrainError> {
        let (part, range) = (block.part, block.range.clone());
        let pieces = chunks(range.clone(), self.rows_at_once);
        let mut held = None;
        let mut stats = Vec::new();
        for piece in &pieces {
            let (picked, logits) = self.logits(part, piece, hidden);
            stats.push(TokenStats::of(&logits, &part.targets[piece.clone()], self.temperature));
            // A block of one piece needs its logits once more in a moment; more would be too many to hold.
            held = Some((picked, logits));
        }
        let gather = |f: fn(&TokenStats) -> &Vec<f32>| -> Vec<f32> { stats.iter().flat_map(f).copied().collect() };
        let logp = gather(|s| &s.logp);
        let entropy = gather(|s| &s.entropy);
        let old = old.map_or(logp.as_slice(), |old| &old[range.clone()]);
        let sampler = &part.sampler_logp[range.clone()];
        sums.observe(&logp, &entropy, old, sampler);

        let leaf = |x: &[f32]| Tensor::from_slice(x).set_requires_grad(true);
        let out = PolicyOutput { logp: leaf(&logp), entropy: leaf(&entropy) };
        let (mut advantage, mut length) = (Vec::new(), Vec::new());
        for (tokens, value) in &part.samples[block.samples.clone()] {
            advantage.extend(std::iter::repeat_n(*value, tokens.len()));
            length.extend(std::iter::repeat_n(tokens.len() as f32, tokens.len()));
        }
        let batch = Batch {
            old_logp: Tensor::from_slice(old),
            reference_logp: reference.map(|r| Tensor::from_slice(&r[range.clone()])),
            sampler_logp: Tensor::from_slice(sampler),
            advantage: Tensor::from_slice(&advantage),
            length: Tensor::from_slice(&length),
            total_tokens: block.totals.0,
            total_samples: block.totals.1,
        };
        let loss = algorithm.loss(&out, &batch)?;
        sums.loss += loss.value.double_value(&[]);
        sums.clipped += loss.clipped;
        sums.kl += loss.kl;
        relign_model::backward(&loss.value, &loss.value.ones_like()).map_err(TrainError::Backend)?;
        let numbers = |leaf: &Tensor| -> Vec<f32> {
            relign_model::take_grad(leaf)
                .map_or_else(|| vec![0.0; logp.len()], |g| Vec::<f32>::try_from(g.contiguous()).expect("an f32 vector"))
        };
        let (d_logp, d_entropy) = (numbers(&out.logp), numbers(&out.entropy));

        let _no_grad = no_grad_guard();
        for (piece, stats) in pieces.iter().zip(&stats) {
            let (picked, logits) = match held.take() {
                Some(held) if pieces.len() == 1 => held,
                _ => self.logits(part, piece, hidden),
            };
            let local = piece.start - range.start..piece.end - range.start;
            let targets = &part.targets[piece.clone()];
            stats.backward(&logits, targets, self.temperature, &d_logp[local.clone()], &d_entropy[local]);
            let rows = index(grad, &part.rows[piece.clone()]);
            let logits = logits.to_kind(self.weight.kind());
            let _ = grad.shallow_clone().index_add_(0, &rows, &input_gradient(&logits, self.weight));
            self.optimizer.add_product(self.head, &logits, &picked);
        }
        Ok(())
    }

    fn logits(&self, part: &Packed, piece: &std::ops::Range<usize>, hidden: &Tensor) -> (Tensor, Tensor) {
        let _no_grad = no_grad_guard();
        let picked = select(hidden, &part.rows[piece.clone()]);
        let logits = logits(&picked, self.weight);
        (picked, logits)
    }
}

impl Sums {
    fn observe(&mut self, logp: &[f32], entropy: &[f32], old: &[f32], sampler: &[f32]) {
        for (((&logp, &entropy), &old), &sampler) in logp.iter().zip(entropy).zip(old).zip(sampler) {
            let d = f64::from(old) - f64::from(logp);
            let ratio = f64::from((logp - old).exp());
            self.entropy += f64::from(entropy);
            self.kl_old += d.exp() - d - 1.0;
            self.ratio += ratio;
            self.ratio_gap = self.ratio_gap.max((ratio - 1.0).abs());
            let gap = f64::from((old - sampler).abs());
            self.engine_gap += gap;
            self.engine_gap_max = self.engine_gap_max.max(gap);
        }
        self.tokens += logp.len();
    }

    fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        self.entropy += other.entropy;
        self.kl += other.kl;
        self.kl_old += other.kl_old;
        self.ratio += other.ratio;
        self.clipped += other.clipped;
        self.engine_gap += other.engine_gap;
        self.engine_gap_max = self.engine_gap_max.max(other.engine_gap_max);
        self.tokens += other.tokens;
        self.forwarded += other.forwarded;
    }
}

/// A server may tell an answer's text and keep its tokens to itself; that must not pass for an answer
/// without tokens.
fn check_known(trees: &[Tree], sample: &Sample) -> Result<(), TrainError> {
    let node = &trees[sample.tree].nodes[sample.node];
    if node.tokens.is_empty() && !node.text.is_empty() {
        let task = trees[sample.tree].task.id.clone();
        let what = "expected the sampled tokens, got text alone, as from a server that does not tell them".to_owned();
        return Err(TrainError::Sample { task, node: sample.node, what });
    }
    Ok(())
}

/// A sample that would be misread is refused.
fn check(trees: &[Tree], sample: &Sample, vocab: usize) -> Result<(), TrainError> {
    let node = &trees[sample.tree].nodes[sample.node];
    let (tokens, logprobs) = (node.tokens.len(), node.logprobs.len());
    let wrong = |what: String| {
        let task = trees[sample.tree].task.id.clone();
        Err(TrainError::Sample { task, node: sample.node, what })
    };
    if logprobs != tokens {
        return wrong(format!("expected the sampler's log-probabilities of {tokens} tokens, got {logprobs}"));
    }
    if let Some(logp) = node.logprobs.iter().find(|l| !l.is_finite()) {
        return wrong(format!("expected finite log-probabilities of the sampler, got {logp}"));
    }
    let outside = |t: &&u32| **t as usize >= vocab;
    if let Some(token) = trees[sample.tree].tokens(sample.node).iter().find(outside) {
        return wrong(format!("expected tokens below the vocabulary's {vocab}, got {token}"));
    }
    Ok(())
}

fn tokens_of(trees: &[Tree], sample: &Sample) -> usize {
    trees[sample.tree].nodes[sample.node].tokens.len()
}

/// Sample ids by minibatch: groups stay whole, in an order drawn from `seed` where there are several.
fn split(groups: usize, samples: &[Sample], minibatches: usize, seed: Seed) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..groups).collect();
    if minibatches > 1 {
        for i in (1..groups).rev() {
            order.swap(i, seed.below(i as u64, i as u64 + 1) as usize);
        }
    }
    let of = |group: usize| samples.iter().enumerate().filter(move |(_, s)| s.tree == group).map(|(i, _)| i);
    let mut batches: Vec<Vec<usize>> = (0..minibatches)
        .map(|i| order[i * groups / minibatches..(i + 1) * groups / minibatches].iter().flat_map(|&g| of(g)).collect())
        .collect();
    batches.retain(|batch: &Vec<usize>| !batch.is_empty());
    batches
}

/// Consecutive whole samples of at most `rows` tokens together, or one that is longer: their trained
/// tokens and which samples they are.
fn blocks(part: &Packed, rows: usize) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut blocks: Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> = Vec::new();
    for (index, (tokens, _)) in part.samples.iter().enumerate() {
        match blocks.last_mut() {
            Some((range, samples)) if tokens.end - range.start <= rows => {
                range.end = tokens.end;
                samples.end = index + 1;
            }
            _ => blocks.push((tokens.clone(), index..index + 1)),
        }
    }
    blocks
}

fn chunks(range: std::ops::Range<usize>, size: usize) -> Vec<std::ops::Range<usize>> {
    range.clone().step_by(size).map(|start| start..(start + size).min(range.end)).collect()
}
