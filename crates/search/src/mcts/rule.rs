//! Which child a simulation goes to.

use relign_core::NodeId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How children are weighed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// `Q + c sqrt(ln N / n)`; a child without visits first.
    #[default]
    Uct,
    /// `Q + c P sqrt(N) / (1 + n)`; a child without visits has its parent's `Q`.
    Puct,
}

/// How probable a child is before it is looked at, for [`Policy::Puct`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prior {
    /// All alike.
    #[default]
    Uniform,
    /// By how often it was sampled: equal steps are one child.
    Frequency,
    /// By the softmax of the children's mean log-probability a token.
    Likelihood,
}

/// What the values found below a node make of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backup {
    /// Their mean.
    #[default]
    Mean,
    /// The best of them.
    Max,
}

/// How the answer is chosen in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinalChoice {
    /// The path of most visits; where it stops, the most valued answer below.
    Visits,
    /// The answer with the highest value.
    #[default]
    Value,
    /// The best of those that win a vote in which each answer weighs its value.
    Vote,
}

/// What is known of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arm {
    pub(crate) visits: u32,
    /// The sum of the values found at and below it.
    pub(crate) sum: f64,
    /// The best of them; meaningless without visits.
    pub(crate) best: f64,
    /// Simulations on their way through it.
    pub(crate) flying: u32,
    /// Its probability before it was looked at.
    pub(crate) prior: f64,
    /// How often it was sampled.
    pub(crate) times: u32,
    /// Steps that continue it, each different.
    pub(crate) children: Vec<NodeId>,
}

impl Arm {
    pub(crate) fn visit(&mut self, value: f64) {
        self.best = if self.visits == 0 { value } else { self.best.max(value) };
        self.sum += value;
        self.visits += 1;
    }
}

/// A policy with its constants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) policy: Policy,
    pub(crate) c: f64,
    pub(crate) backup: Backup,
    /// Visits without value that each simulation under way counts for.
    pub(crate) virtual_loss: f64,
}

impl Rule {
    /// What a node is worth, simulations under way counted; `None` before anything is known.
    pub(crate) fn value(&self, arm: &Arm) -> Option<f64> {
        let visits = f64::from(arm.visits);
        let all = self.visits(arm);
        (all > 0.0).then(|| match self.backup {
            Backup::Mean => arm.sum / all,
            Backup::Max => arm.best * visits / all,
        })
    }

    fn visits(&self, arm: &Arm) -> f64 {
        f64::from(arm.visits) + self.virtual_loss * f64::from(arm.flying)
    }

    /// How much a simulation at `parent` wants to go to `child`.
    pub(crate) fn score(&self, parent: &Arm, child: &Arm) -> f64 {
        let (above, here) = (self.visits(parent), self.visits(child));
        match self.policy {
            Policy::Uct => match self.value(child) {
                None => f64::INFINITY,
                Some(value) => value + self.c * (above.max(1.0).ln() / here).sqrt(),
            },
            Policy::Puct => {
                let value = self.value(child).or_else(|| self.value(parent)).unwrap_or(0.0);
                value + self.c * child.prior * above.sqrt() / (1.0 + here)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn fixture() -> Value {
        serde_json::from_str(include_str!("../../tests/fixtures/decisions.json")).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(-1.0)).collect()
    }

    fn rule(policy: Policy, c: f64) -> Rule {
        Rule { policy, c, backup: Backup::Mean, virtual_loss: 1.0 }
    }

    fn arms(case: &Value) -> Vec<Arm> {
        let known = numbers(&case["visits"]).into_iter().zip(numbers(&case["sums"]));
        known.map(|(visits, sum)| Arm { visits: visits as u32, sum, ..Arm::default() }).collect()
    }

    fn favourite(rule: &Rule, parent: &Arm, arms: &[Arm], children: &[usize]) -> usize {
        let score = |at: usize| rule.score(parent, &arms[at]);
        children.iter().copied().reduce(|best, next| if score(next) > score(best) { next } else { best }).unwrap()
    }

    #[test]
    fn uct_takes_treequests_path() {
        for case in fixture()["uct"].as_array().unwrap() {
            let (rule, arms) = (rule(Policy::Uct, case["c"].as_f64().unwrap()), arms(case));
            let parents = numbers(&case["parents"]);
            let mut node = 0;
            loop {
                let children: Vec<usize> = (0..arms.len()).filter(|&at| parents[at] == node as f64).collect();
                if children.is_empty() {
                    break;
                }
                node = favourite(&rule, &arms[node], &arms, &children);
            }
            assert_eq!(node as u64, case["leaf"].as_u64().unwrap(), "{case}");
        }
    }

    #[test]
    fn puct_takes_the_child_that_the_formula_takes() {
        for case in fixture()["puct"].as_array().unwrap() {
            let mut arms = arms(case);
            for (arm, prior) in arms.iter_mut().zip(numbers(&case["priors"])) {
                arm.prior = prior;
            }
            let parent = Arm { visits: arms.iter().map(|arm| arm.visits).sum(), ..Arm::default() };
            let all: Vec<usize> = (0..arms.len()).collect();
            let best = favourite(&rule(Policy::Puct, case["c"].as_f64().unwrap()), &parent, &arms, &all);
            assert_eq!(best as u64, case["best"].as_u64().unwrap(), "{case}");
        }
    }

    #[test]
    fn what_is_under_way_makes_a_child_less_wanted() {
        for policy in [Policy::Uct, Policy::Puct] {
            let rule = rule(policy, 1.0);
            let parent = Arm { visits: 8, ..Arm::default() };
            let mut arm = Arm { visits: 2, sum: 1.0, best: 0.6, prior: 0.5, ..Arm::default() };
            let mut last = rule.score(&parent, &arm);
            for flying in 1..4 {
                arm.flying = flying;
                let now = rule.score(&parent, &arm);
                assert!(now < last);
                last = now;
            }
        }
    }
}
