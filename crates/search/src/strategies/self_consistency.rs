//! The answer that most chains of thought come to.

use relign_core::{ConfigError, Entry, NodeId, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;
use statrs::function::beta::beta_reg;

use super::{Many, StrategyFactory, at_least_one};
use crate::Start;
use crate::growth::{Aggregate, Event, Growth, Plan, Search, Steps};
use crate::scorers::Verifier;

/// Self-consistency (2203.11171): the answer that most of `n` independent chains of thought come to.
///
/// `answer = argmax_a sum_i [y_i gives a]`. Answers are equal where the task's verifier holds them for equal, not where
/// their words are; of clusters as large the one found first wins, and its first answer is chosen. Answers without a
/// final answer in them have no vote.
///
/// Asking ends as soon as the lead is decided: when those still to come could not turn it, or, with a `confidence`
/// below 1, by the Beta criterion of adaptive consistency (2305.11860): with `v1` votes for the leader and `v2` for the
/// next, `P(p1 > p2) = 1 - I_{1/2}(v1 + 1, v2 + 1) >= confidence`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelfConsistency {
    /// The most answers to each task; at least 1.
    pub n: usize,
    /// How many are asked for at once; fewer spend less where the lead is decided early. 0 for all.
    pub at_once: usize,
    /// How sure the lead must be for asking to end, above 1/2 up to 1; 1 where no vote could turn it any more.
    pub confidence: f64,
    /// Go on until the budget is spent instead of up to `n`.
    pub fill: bool,
}

impl Default for SelfConsistency {
    fn default() -> Self {
        Self { n: 16, at_once: 0, confidence: 1.0, fill: false }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "self_consistency",
    schema: schema_of::<SelfConsistency>,
    build: |settings| {
        let own: SelfConsistency = parse(settings)?;
        at_least_one("n", own.n)?;
        if !(own.confidence > 0.5 && own.confidence <= 1.0) {
            let got = own.confidence;
            return Err(ConfigError::at("confidence", format!("expected more than 0.5, at most 1, got {got}")));
        }
        Ok(Box::new(own))
    },
};

impl StrategyFactory for SelfConsistency {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let at_once = if self.at_once == 0 { self.n } else { self.at_once };
        let plan = Majority { many: Many::new(self.n, at_once, self.fill), confidence: self.confidence, heard: 0 };
        Search::boxed(start, Box::new(Verifier {}), Aggregate::Last, Steps::default(), plan)
    }

    fn samples(&self) -> usize {
        self.n
    }
}

struct Majority {
    many: Many,
    confidence: f64,
    heard: usize,
}

impl Plan for Majority {
    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String> {
        self.many.begin(growth)
    }

    fn hear(&mut self, growth: &mut Growth<'_>, event: Event) {
        self.heard += 1;
        if self.many.most.is_some_and(|most| self.many.asked >= most) {
            return;
        }
        let (first, second) = ballot(growth).lead();
        let to_come = self.many.most.map(|most| (most - self.heard) as f64);
        if !decided(first, second, to_come, self.confidence) {
            self.many.again(growth, &event);
        }
    }

    fn choose(&mut self, growth: &mut Growth<'_>) -> Option<NodeId> {
        ballot(growth).winner().and_then(|cluster| cluster.nodes.first().copied())
    }
}

fn ballot(growth: &Growth<'_>) -> crate::growth::vote::Vote {
    growth.vote(growth.answers().into_iter().map(|node| (node, 1.0)))
}

/// Whether `first` votes against `second` with `to_come` at most still to come settle the matter.
fn decided(first: f64, second: f64, to_come: Option<f64>, confidence: f64) -> bool {
    // A tie would be the leader's only if it was found first, which those to come do not change; strictly more is safe.
    if to_come.is_some_and(|votes| first > second + votes) {
        return true;
    }
    confidence < 1.0 && first > second && 1.0 - beta_reg(first + 1.0, second + 1.0, 0.5) >= confidence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_is_decided_when_those_to_come_cannot_turn_it_or_the_odds_are_clear() {
        assert!(decided(9.0, 2.0, Some(5.0), 1.0));
        assert!(!decided(9.0, 4.0, Some(5.0), 1.0));
        assert!(!decided(1e9, 0.0, None, 1.0));
        // SciPy: 1 - betainc(v1 + 1, v2 + 1, 0.5).
        for (first, second, probability) in [(4.0, 0.0, 0.96875), (3.0, 0.0, 0.9375), (5.0, 1.0, 0.9375)] {
            assert!(decided(first, second, None, probability - 1e-9), "{first} {second}");
            assert!(!decided(first, second, None, probability + 1e-9), "{first} {second}");
        }
    }
}
