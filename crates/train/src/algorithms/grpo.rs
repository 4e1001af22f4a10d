//! Group Relative Policy Optimization.

use relign_core::{ConfigError, Entry, Tree, Verdict, parse, schema_of};
use relign_model::{Kind, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Algorithm, Batch, Loss, Needs, PolicyOutput, Sample};
use crate::TrainError;

pub(super) const ENTRY: Entry<dyn Algorithm> = Entry {
    name: "grpo",
    schema: schema_of::<Grpo>,
    build: |settings| {
        let grpo = parse::<Grpo>(settings)?;
        grpo.check()?;
        Ok(Box::new(grpo))
    },
};

/// GRPO: the advantage of a sample is its reward against its group's (Shao et al., 2402.03300).
///
/// With rewards `r_i` of a group, `A_i = (r_i - mean r) / (std r + 1e-4)`; the standard deviation
/// may be the batch's (Hu, 2501.03262), or left out (Dr. GRPO, Liu et al., 2503.20783).
/// Per token, with `rho = exp(logp - old_logp)`:
///
/// ```text
/// loss = -min(rho * A, clip(rho, 1 - clip_low, 1 + clip_high) * A) + kl * KL
/// ```
///
/// averaged over all tokens of the minibatch (`token`, DAPO, 2503.14476) or first within each
/// sample (`sequence`, the paper). The divergence from the policy that training started from is
/// estimated per token (Schulman, "Approximating KL Divergence"), with `d = reference - logp`:
/// k1 `-d`, k2 `d^2 / 2`, k3 `e^d - d - 1`.
///
/// Departures: samples whose reward failed are left out of their group's statistics; the standard
/// deviation is the sample's (n - 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grpo {
    /// What advantages are divided by.
    pub standardise: Standardise,
    /// The ratio is clipped below at 1 minus this.
    pub clip_low: f64,
    /// The ratio is clipped above at 1 plus this.
    pub clip_high: f64,
    /// Weight of the divergence from the reference; 0 needs no reference.
    pub kl: f64,
    /// How the divergence is estimated.
    pub kl_estimator: KlEstimator,
    /// How tokens are averaged.
    pub aggregate: Aggregate,
    /// Leave samples out that were cut off by the token limit (DAPO's overlong filtering).
    pub mask_truncated: bool,
}

/// What advantages are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standardise {
    /// The standard deviation of the group's rewards.
    Group,
    /// The standard deviation of the step's centred rewards.
    Batch,
    /// Nothing.
    None,
}

/// An estimator of the divergence from the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KlEstimator {
    /// `logp - reference`: unbiased, may be negative.
    K1,
    /// Half its square: biased, low variance.
    K2,
    /// `e^d - d - 1` with `d = reference - logp`: unbiased, never negative.
    K3,
}

/// How tokens are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// Every token of the minibatch weighs the same.
    Token,
    /// Every sample weighs the same.
    Sequence,
}

impl Default for Grpo {
    fn default() -> Self {
        Self {
            standardise: Standardise::Group,
            clip_low: 0.2,
            clip_high: 0.2,
            kl: 0.0,
            kl_estimator: KlEstimator::K3,
            aggregate: Aggregate::Token,
            mask_truncated: false,
        }
    }
}

/// The largest clip and weight of a divergence: what is multiplied by them stays finite in 32 bits.
const MOST: f64 = 1e6;

/// Keeps a group of nearly equal rewards from blowing up; TRL's constant.
const EPSILON: f64 = 1e-4;

impl Grpo {
    fn check(&self) -> Result<(), ConfigError> {
        for (name, value, most) in
            [("clip_low", self.clip_low, 1.0), ("clip_high", self.clip_high, MOST), ("kl", self.kl, MOST)]
        {
            if !(0.0..=most).contains(&value) {
                let most = if most == MOST { "1e6".to_owned() } else { most.to_string() };
                return Err(ConfigError::at(name, format!("expected a number from 0 to {most}, got {value}")));
            }
        }
        Ok(())
    }
}

impl Algorithm for Grpo {
    fn needs(&self) -> Needs {
        Needs { reference: self.kl > 0.0, group: 2, flat_samples: self.kl > 0.0 }
    }

    fn credit(&self, trees: &[Tree]) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (tree, group) in trees.iter().enumerate() {
            let scored: Vec<_> = group
                .leaves()
                .filter_map(|leaf| {
                    let score = group.nodes[leaf].score.as_ref()?;
                    (score.verdict != Verdict::Failed).then_some((leaf, score.value))
                })
                .collect();
            // Rounding would leave a group of equal rewards with advantages near, but not at, 0.
            let flat = scored.iter().all(|s| s.1 == scored[0].1);
            let mean = if flat { scored.first().map_or(0.0, |s| s.1) } else { mean(scored.iter().map(|s| s.1)) };
            let spread = match self.standardise {
                Standardise::Group => deviation(scored.iter().map(|s| s.1)) + EPSILON,
                Standardise::Batch | Standardise::None => 1.0,
            };
            for (leaf, value) in scored {
                let truncated = !group.nodes[leaf].finish.is_some_and(relign_core::Finish::is_natural);
                if !(self.mask_truncated && truncated) {
                    samples.push(Sample { tree, node: leaf, advantage: ((value - mean) / spread) as f32 });
                }
            }
        }
        if self.standardise == Standardise::Batch {
            let spread = deviation(samples.iter().map(|s| f64::from(s.advantage))) + EPSILON;
            for sample in &mut samples {
                sample.advantage = (f64::from(sample.advantage) / spread) as f32;
            }
        }
        samples
    }

    fn loss(&self, out: &PolicyOutput, batch: &Batch) -> Result<Loss, TrainError> {
        let ratio = (&out.logp - &batch.old_logp).exp();
        let clipped = ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high);
        let free = &ratio * &batch.advantage;
        let bound = &clipped * &batch.advantage;
        let mut per_token = -free.minimum(&bound);
        let hit = bound.lt_tensor(&free).sum(Kind::Double).double_value(&[]);
        let mut divergence = 0.0;
        if let Some(reference) = &batch.reference_logp {
            let d = reference - &out.logp;
            let k3 = d.exp() - &d - 1.0;
            divergence = k3.sum(Kind::Double).double_value(&[]);
            let estimate = match self.kl_estimator {
                KlEstimator::K1 => -d,
                KlEstimator::K2 => d.square() * 0.5,
                KlEstimator::K3 => k3,
            };
            per_token += estimate * self.kl;
        }
        let weighted: Tensor = match self.aggregate {
            Aggregate::Token => per_token / batch.total_tokens as f64,
            Aggregate::Sequence => per_token / (&batch.length * batch.total_samples as f64),
        };
        Ok(Loss { value: weighted.sum(Kind::Float), clipped: hit, kl: divergence })
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut n) = (0.0, 0.0);
    for value in values {
        total += value;
        n += 1.0;
    }
    if n > 0.0 { total / n } else { 0.0 }
}

fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let centre = mean(values.clone());
    let (mut total, mut n) = (0.0, 0.0_f64);
    for value in values {
        total += (value - centre).powi(2);
        n += 1.0;
    }
    if n > 1.0 { (total / (n - 1.0)).sqrt() } else { 0.0 }
}
