//! Several rewards in one.

use std::collections::BTreeMap;

use relign_core::{ConfigError, Reward, RewardNeeds, Score, Spent, Task, Transcript, Verdict};

/// The weighted sum of named rewards.
///
/// The verdict is the first part's, so the reward that decides what is correct stands first. A part
/// that fails, or a sum that is not finite, fails the whole.
#[derive(Default)]
pub struct Weighted {
    parts: Vec<(String, f64, Box<dyn Reward>)>,
}

impl Weighted {
    /// Adds a part. A name that is taken gets a number: `format`, `format#2`.
    ///
    /// # Errors
    /// If the weight is not finite.
    pub fn add(&mut self, name: &str, weight: f64, reward: Box<dyn Reward>) -> Result<(), ConfigError> {
        if !weight.is_finite() {
            return Err(ConfigError::at("weight", format!("expected a finite number, got {weight}")));
        }
        let taken = |name: &str| self.parts.iter().any(|(other, ..)| other == name);
        let mut unique = name.to_owned();
        let mut number = 1;
        while taken(&unique) {
            number += 1;
            unique = format!("{name}#{number}");
        }
        self.parts.push((unique, weight, reward));
        Ok(())
    }
}

impl Reward for Weighted {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let mut scores = self.score_group(task, std::slice::from_ref(transcript));
        scores.pop().unwrap_or_else(|| Score::failed("expected a score, got none"))
    }

    fn score_group(&self, task: &Task, group: &[Transcript]) -> Vec<Score> {
        let mut sums: Vec<Sum> = group.iter().map(|_| Sum::default()).collect();
        for (name, weight, reward) in &self.parts {
            // Nobody is asked about what failed already.
            let open: Vec<usize> = (0..group.len()).filter(|&place| sums[place].failed.is_none()).collect();
            let scores = match &open[..] {
                [] => continue,
                [one] => vec![reward.score(task, &group[*one])],
                all if all.len() == group.len() => reward.score_group(task, group),
                some => {
                    let some: Vec<Transcript> = some.iter().map(|&place| group[place].clone()).collect();
                    reward.score_group(task, &some)
                }
            };
            let (expected, got) = (open.len(), scores.len());
            let mut scores = scores.into_iter();
            for place in open {
                let score = scores.next().filter(|_| expected == got).unwrap_or_else(|| {
                    Score::failed(format!("expected {expected} scores, one for each answer, got {got}"))
                });
                sums[place].add(name, *weight, score);
            }
        }
        sums.into_iter().map(Sum::score).collect()
    }

    fn needs(&self) -> RewardNeeds {
        self.parts.iter().fold(RewardNeeds::default(), |needs, (.., reward)| needs.and(reward.needs()))
    }

    fn prepare(&self) -> Result<(), String> {
        self.parts
            .iter()
            .try_for_each(|(name, _, reward)| reward.prepare().map_err(|why| format!("reward `{name}`: {why}")))
    }

    fn spent(&self) -> Option<Spent> {
        self.parts.iter().filter_map(|(.., reward)| reward.spent()).reduce(Spent::and)
    }
}

/// The sum of one answer on its way.
#[derive(Default)]
struct Sum {
    verdict: Option<Verdict>,
    value: f64,
    parts: BTreeMap<String, f64>,
    reasons: Vec<String>,
    failed: Option<String>,
}

impl Sum {
    fn add(&mut self, name: &str, weight: f64, score: Score) {
        if score.verdict == Verdict::Failed || !score.value.is_finite() {
            let why = if score.value.is_finite() { score.reason } else { format!("its value is {}", score.value) };
            self.failed = Some(format!("reward `{name}`: {why}"));
            return;
        }
        self.value += weight * score.value;
        self.parts.insert(name.to_owned(), weight * score.value);
        if !score.reason.is_empty() {
            self.reasons.push(format!("{name}: {}", score.reason));
        }
        self.verdict.get_or_insert(score.verdict);
    }

    fn score(self) -> Score {
        let Self { verdict, value, parts, reasons, failed } = self;
        match (failed, verdict) {
            (Some(why), _) => Score::failed(why),
            (None, None) => Score::failed("expected at least one reward, got none"),
            (None, Some(_)) if !value.is_finite() => {
                Score::failed(format!("expected a finite sum of rewards, got {value}"))
            }
            (None, Some(verdict)) => Score { verdict, value, parts, reason: reasons.join("; ") },
        }
    }
}
