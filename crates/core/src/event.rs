//! What a run reports while it works.

use serde::{Deserialize, Serialize};

use crate::Tree;

/// Something worth telling. Terminal, JSON Lines, TensorBoard and plots are all [`Sink`]s of it.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A run begins, or goes on after `step`.
    Started {
        /// Steps done already.
        step: u64,
        /// Steps in all.
        steps: u64,
    },
    /// Something moves within a step: rollouts finished, batches trained.
    Progress {
        /// What is being done, for example `rollouts`.
        what: &'static str,
        /// How much of it is done.
        done: usize,
        /// How much there is.
        total: usize,
    },
    /// A step ended.
    Step {
        /// What it brought; free of clocks, so that equal runs report equal bytes.
        metrics: &'a StepMetrics,
        /// How long it took.
        timings: &'a StepTimings,
    },
    /// A tree is complete and scored.
    Tree(&'a Tree),
    /// Held-out accuracy was measured.
    Evaluated {
        /// Steps done when it was measured; 0 is the base model.
        step: u64,
        /// The figure.
        accuracy: &'a Estimate,
    },
    /// A checkpoint is safely on disk.
    Saved {
        /// Steps it holds.
        step: u64,
        /// Where.
        path: &'a std::path::Path,
    },
    /// Something the user should know that does not stop the run.
    Warning(&'a str),
}

/// Hears events. A sink that cannot write says so through the error; the run then stops cleanly.
pub trait Sink {
    /// Takes one event.
    ///
    /// # Errors
    /// If it cannot be recorded.
    fn event(&mut self, event: &Event<'_>) -> std::io::Result<()>;
}

/// A share with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The share, 0 to 1.
    pub accuracy: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// Items measured.
    pub n: u64,
}

/// What a training step brought. One line of `metrics.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, counted from 1.
    pub step: u64,
    /// What was sampled.
    pub rollouts: RolloutMetrics,
    /// What was learned.
    pub update: UpdateMetrics,
    /// Generated tokens since the run began.
    pub tokens: u64,
}

/// What a step sampled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutMetrics {
    /// Mean score of the samples that could be judged.
    pub reward: f64,
    /// Its standard deviation over samples.
    pub reward_std: f64,
    /// Share of samples judged correct.
    pub accuracy: f64,
    /// Samples in all.
    pub samples: u64,
    /// Samples whose reward failed; they are masked.
    pub failed: u64,
    /// Share of samples in which no answer was found.
    pub unparsed: f64,
    /// Share of samples cut off by the token limit.
    pub truncated: f64,
    /// Mean generated tokens per sample.
    pub length: f64,
    /// Mean tokens per sample that are thought.
    #[serde(default)]
    pub thought_length: f64,
    /// Mean tokens per sample that are answer: all but thoughts.
    #[serde(default)]
    pub answer_length: f64,
    /// Share of groups whose samples all scored the same and so teach nothing.
    pub flat_groups: f64,
    /// Tokens generated.
    pub tokens: u64,
}

/// What a step learned: means over trained tokens unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpdateMetrics {
    /// The loss.
    pub loss: f64,
    /// Entropy of the distributions that tokens were sampled from (nats).
    pub entropy: f64,
    /// Divergence from the reference (k3, nats); 0 where the recipe has no reference.
    pub kl: f64,
    /// Divergence of the sampled tokens' probabilities from the policy before this step (k3, nats).
    pub kl_old: f64,
    /// Mean importance ratio over all passes.
    pub ratio: f64,
    /// The first minibatch's largest distance of the ratio from 1; exactly 0 on-policy.
    pub first_ratio_gap: f64,
    /// Share of tokens whose ratio was clipped.
    pub clipped: f64,
    /// Mean absolute gap between the engine's and the trainer's log-probabilities (nats).
    pub engine_gap: f64,
    /// Its maximum.
    pub engine_gap_max: f64,
    /// Gradient norm before clipping, the mean over optimizer steps.
    pub grad_norm: f64,
    /// Learning rate of the last optimizer step.
    pub lr: f64,
    /// Optimizer steps taken.
    pub optimizer_steps: u64,
    /// Tokens the loss was taken over.
    pub trained_tokens: u64,
    /// Tokens forwarded, prompts once per group.
    pub forwarded_tokens: u64,
}

/// How long a step took. One line of `timings.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepTimings {
    /// The step.
    pub step: u64,
    /// Seconds for the whole step.
    pub seconds: f64,
    /// Seconds making and judging samples.
    pub rollout_seconds: f64,
    /// Seconds of forward, backward and update.
    pub train_seconds: f64,
    /// Generated tokens per second while sampling.
    pub rollout_tokens_per_second: f64,
    /// Forwarded tokens per second while training.
    pub train_tokens_per_second: f64,
    /// Peak resident memory so far, in bytes.
    pub peak_rss: u64,
}
