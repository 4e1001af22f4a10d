//! Several rewards in one.

use std::collections::BTreeMap;

use relign_core::{ConfigError, Reward, RewardNeeds, Score, Spent, Task, Transcript, Verdict, When};

/// The weighted sum of named rewards, some of them behind gates.
///
/// The verdict and the answer are the first part's, so the reward that decides what is correct stands first. A part
/// that fails, or a sum beyond [`Score::MOST`], fails the whole. A part behind a closed gate is not asked and
/// adds nothing.
#[derive(Default)]
pub struct Weighted {
    parts: Vec<Part>,
}

struct Part {
    name: String,
    weight: f64,
    /// The place of the part that must allow it, and the least that part must be worth; none: it must
    /// be right.
    gate: Option<(usize, Option<f64>)>,
    reward: Box<dyn Reward>,
}

impl Weighted {
    /// Adds a part. A name that is taken gets a number: `format`, `format#2`.
    ///
    /// # Errors
    /// If the weight is not finite or beyond [`Score::MOST`], or `when` names no part that was added before or expects a worth that
    /// is not finite.
    pub fn add(
        &mut self,
        name: &str,
        weight: f64,
        when: Option<&When>,
        reward: Box<dyn Reward>,
    ) -> Result<(), ConfigError> {
        if weight.is_nan() || weight.abs() > Score::MOST {
            return Err(ConfigError::at("weight", format!("expected a number from -1e9 to 1e9, got {weight}")));
        }
        let gate = when.map(|when| self.gate(when)).transpose()?;
        let taken = |name: &str| self.parts.iter().any(|other| other.name == name);
        let mut unique = name.to_owned();
        let mut number = 1;
        while taken(&unique) {
            number += 1;
            unique = format!("{name}#{number}");
        }
        self.parts.push(Part { name: unique, weight, gate, reward });
        Ok(())
    }

    fn gate(&self, When { reward, at_least }: &When) -> Result<(usize, Option<f64>), ConfigError> {
        if let Some(least) = at_least.filter(|least| !least.is_finite()) {
            return Err(ConfigError::at("when.at_least", format!("expected a finite number, got {least}")));
        }
        let place = self.parts.iter().position(|part| part.name == *reward).ok_or_else(|| {
            let before: Vec<&str> = self.parts.iter().map(|part| part.name.as_str()).collect();
            let before = if before.is_empty() { "there is none".to_owned() } else { before.join(", ") };
            ConfigError::at("when.reward", format!("expected an earlier part ({before}), got `{reward}`"))
        })?;
        Ok((place, *at_least))
    }
}

impl Reward for Weighted {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let mut scores = self.score_group(task, std::slice::from_ref(transcript));
        scores.pop().unwrap_or_else(|| Score::failed("expected a score, got none"))
    }

    fn score_group(&self, task: &Task, group: &[Transcript]) -> Vec<Score> {
        let mut sums: Vec<Sum> = group.iter().map(|_| Sum::default()).collect();
        for Part { name, weight, gate, reward } in &self.parts {
            // Nobody is asked about what failed already, nor behind a closed gate.
            let mut open = Vec::with_capacity(group.len());
            for (place, sum) in sums.iter_mut().enumerate().filter(|(_, sum)| sum.failed.is_none()) {
                if sum.allows(*gate) {
                    open.push(place);
                } else {
                    sum.shut(name);
                }
            }
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

    fn same(&self, task: &Task, a: &str, b: &str) -> bool {
        self.parts.first().map_or(a == b, |part| part.reward.same(task, a, b))
    }

    fn needs(&self) -> RewardNeeds {
        self.parts.iter().fold(RewardNeeds::default(), |needs, part| needs.and(part.reward.needs()))
    }

    fn prepare(&self) -> Result<(), String> {
        self.parts
            .iter()
            .try_for_each(|Part { name, reward, .. }| reward.prepare().map_err(|why| format!("reward `{name}`: {why}")))
    }

    fn spent(&self) -> Option<Spent> {
        self.parts.iter().filter_map(|part| part.reward.spent()).reduce(Spent::and)
    }
}

/// The sum of one answer on its way.
#[derive(Default)]
struct Sum {
    /// The first part's, with the answer that it found.
    verdict: Option<(Verdict, Option<String>)>,
    value: f64,
    parts: BTreeMap<String, f64>,
    reasons: Vec<String>,
    failed: Option<String>,
    /// What each part said; none behind a closed gate.
    said: Vec<Option<(Verdict, f64)>>,
}

impl Sum {
    /// Whether a gate is open.
    fn allows(&self, gate: Option<(usize, Option<f64>)>) -> bool {
        gate.is_none_or(|(place, least)| {
            self.said[place].is_some_and(|(verdict, worth)| match least {
                Some(least) => worth >= least,
                None => verdict == Verdict::Correct,
            })
        })
    }

    /// Notes a part behind a closed gate.
    fn shut(&mut self, name: &str) {
        self.said.push(None);
        self.parts.insert(name.to_owned(), 0.0);
    }

    fn add(&mut self, name: &str, weight: f64, score: Score) {
        let score = score.bounded();
        if score.verdict == Verdict::Failed {
            self.failed = Some(format!("reward `{name}`: {}", score.reason));
            return;
        }
        self.said.push(Some((score.verdict, score.value)));
        self.value += weight * score.value;
        self.parts.insert(name.to_owned(), weight * score.value);
        if !score.reason.is_empty() {
            self.reasons.push(format!("{name}: {}", score.reason));
        }
        self.verdict.get_or_insert((score.verdict, score.answer));
    }

    fn score(self) -> Score {
        let Self { verdict, value, parts, reasons, failed, .. } = self;
        match (failed, verdict) {
            (Some(why), _) => Score::failed(why),
            (None, None) => Score::failed("expected at least one reward, got none"),
            (None, Some((verdict, answer))) => {
                Score { verdict, value, parts, reason: reasons.join("; "), answer }.bounded()
            }
        }
    }
}
