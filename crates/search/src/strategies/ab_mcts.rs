//! Wider or deeper, by Thompson sampling.

use std::collections::BTreeMap;

use relign_core::{ConfigError, Entry, NodeId, Section, Seed, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF, StudentsT};

use super::{StrategyFactory, at_least_one, check_scorer};
use crate::Start;
use crate::growth::{Aggregate, Event, Fate, Growth, Plan, Search, Steps, best};
use crate::scorers::{named, scorer};

/// AB-MCTS-A (2503.04412): at every node Thompson sampling decides between a new answer and work on one that is there.
///
/// Nodes are whole answers. An answer below the root is new; one below an answer refines it in a further turn. A node
/// has two arms: GEN, whose observations are the values of its children, and CONT, whose observations are the values of
/// everything below them. Each child is an arm, too, with its own value and those below it. From the root on, one draw
/// from each arm's posterior decides: where GEN's is highest a child is made, else the child with the highest draw is
/// gone on to.
///
/// Posteriors: Normal-inverse-chi-squared, `mu ~ t_nu(m, tau2 / kappa)` after
/// `kappa' = kappa + n`, `nu' = nu + n`, `m' = (kappa m + n x) / kappa'`,
/// `nu' tau2' = nu tau2 + n var + n kappa (m - x)^2 / kappa'` from `m = 0, kappa = 1, nu = 1, tau2 = 0.1`; or Beta,
/// `a' = a + sum r, b' = b + sum (1 - r)` from Jeffreys' `a = b = 1/2`, for values from 0 to 1. Chosen is the most valued
/// answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AbMcts {
    /// Answers in all; at least 1.
    pub n: usize,
    /// Go on until the budget is spent instead of up to `n`.
    pub fill: bool,
    /// Answers under way at once; at least 1.
    pub at_once: usize,
    /// The posterior of an arm.
    pub posterior: Posterior,
    /// What the model is asked in order to refine an answer.
    pub refine: String,
    /// What values an answer; `relign explain scorer:NAME`.
    pub scorer: Section,
}

impl Default for AbMcts {
    fn default() -> Self {
        Self {
            n: 16,
            fill: false,
            at_once: 4,
            posterior: Posterior::Normal,
            refine:
                "Check your answer step by step. If you find a mistake, correct it. Then give the full answer again."
                    .to_owned(),
            scorer: named("logprob"),
        }
    }
}

/// What is believed of an arm's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Posterior {
    /// Normal with unknown mean and variance.
    #[default]
    Normal,
    /// Beta, for values from 0 to 1.
    Beta,
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "ab_mcts",
    schema: schema_of::<AbMcts>,
    build: |settings| {
        let own: AbMcts = parse(settings)?;
        at_least_one("n", own.n)?;
        at_least_one("at_once", own.at_once)?;
        check_scorer(&own.scorer)?;
        if own.refine.trim().is_empty() {
            return Err(ConfigError::at("refine", "expected what the model is asked, got nothing"));
        }
        Ok(Box::new(own))
    },
};

impl StrategyFactory for AbMcts {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let scorer = scorer(&self.scorer).map_err(|e| e.to_string())?;
        let plan = Adaptive {
            settings: self.clone(),
            seed: start.seed.child("thompson"),
            draws: 0,
            arms: BTreeMap::from([(0, Arms::default())]),
            started: 0,
            running: 0,
            over: false,
        };
        Search::boxed(start, scorer, Aggregate::Last, Steps::default(), plan)
    }

    fn samples(&self) -> usize {
        self.n
    }
}

/// What was observed at a node.
#[derive(Clone, Debug, Default)]
struct Arms {
    /// The answer that this one refines.
    parent: Option<NodeId>,
    /// Values of its children.
    generated: Vec<f64>,
    /// Values of all below them.
    continued: Vec<f64>,
    /// Its own value and all below it, as an arm of its parent.
    own: Vec<f64>,
    children: Vec<NodeId>,
    /// Where a refinement begins.
    turn: Option<NodeId>,
}

struct Adaptive {
    settings: AbMcts,
    seed: Seed,
    draws: u64,
    arms: BTreeMap<NodeId, Arms>,
    started: usize,
    running: usize,
    over: bool,
}

impl Adaptive {
    fn launch(&mut self, growth: &mut Growth<'_>) {
        while !self.over
            && self.running < self.settings.at_once
            && (self.settings.fill || self.started < self.settings.n)
        {
            let node = self.select();
            self.started += 1;
            self.running += 1;
            let from = self.turn(growth, node);
            growth.whole(from, node as u64);
        }
    }

    /// The node that gets a child.
    fn select(&mut self) -> NodeId {
        let mut node = 0;
        loop {
            let Arms { generated, continued, children, .. } = self.arms[&node].clone();
            if children.is_empty() {
                return node;
            }
            let (widen, deepen) = (self.draw(&generated), self.draw(&continued));
            if widen >= deepen {
                return node;
            }
            let mut favourite = (f64::NEG_INFINITY, children[0]);
            for child in children {
                let observed = self.arms[&child].own.clone();
                let draw = self.draw(&observed);
                if draw > favourite.0 {
                    favourite = (draw, child);
                }
            }
            node = favourite.1;
        }
    }

    fn draw(&mut self, observed: &[f64]) -> f64 {
        self.draws += 1;
        sample(self.settings.posterior, observed, self.seed.uniform(self.draws))
    }

    /// Where a child of `node` begins: the prompt, or a turn that asks for a refinement.
    fn turn(&mut self, growth: &mut Growth<'_>, node: NodeId) -> NodeId {
        if node == 0 {
            return 0;
        }
        let known = self.arms[&node].turn;
        // Tried out at the beginning; should it fail for this answer, another one is better than none.
        let turn = known.or_else(|| growth.say(node, &self.settings.refine, false).ok());
        self.arms.entry(node).or_default().turn = turn;
        turn.unwrap_or(0)
    }

    fn observe(&mut self, node: NodeId, parent: NodeId, value: f64) {
        self.arms.insert(node, Arms { parent: Some(parent), own: vec![value], ..Arms::default() });
        let above = self.arms.entry(parent).or_default();
        above.children.push(node);
        above.generated.push(value);
        let mut current = parent;
        while let Some(up) = self.arms[&current].parent {
            self.arms.entry(current).or_default().own.push(value);
            self.arms.entry(up).or_default().continued.push(value);
            current = up;
        }
    }
}

impl Plan for Adaptive {
    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String> {
        if self.settings.fill && !growth.bounded() {
            return Err("fill: expected a budget to go up to, got none".to_owned());
        }
        growth.try_turn(&self.settings.refine)?;
        self.launch(growth);
        Ok(())
    }

    fn hear(&mut self, growth: &mut Growth<'_>, event: Event) {
        match event {
            Event::Grown { node: Some(node), .. } => growth.value(node),
            Event::Grown { node: None, .. } => {
                self.running -= 1;
                self.over = true;
            }
            Event::Checked { .. } => {}
            Event::Valued { node, value } => {
                self.running -= 1;
                // The answer that it refines stands two nodes above, before the turn that asks.
                let turn = growth.tree.nodes[node].parent.unwrap_or(0);
                let parent = if turn == 0 { 0 } else { growth.tree.nodes[turn].parent.unwrap_or(0) };
                match value {
                    Some(value) => self.observe(node, parent, value),
                    // Whoever cannot be asked or valued at all is not asked for ever.
                    None if growth.fate(node) == Fate::Failed => self.over |= self.settings.fill,
                    None => {}
                }
            }
        }
        self.launch(growth);
    }

    fn choose(&mut self, growth: &mut Growth<'_>) -> Option<NodeId> {
        let answers: Vec<NodeId> = self.arms.keys().copied().filter(|&node| node > 0).collect();
        growth.tree.nodes[0].visits = answers.len() as u32;
        for &node in &answers {
            growth.tree.nodes[node].visits = self.arms[&node].own.len() as u32;
            growth.judge(node);
        }
        best(growth, answers).or_else(|| growth.answers().first().copied())
    }
}

/// A draw from what is believed of an arm's mean, by its distribution function's inverse at `uniform`.
fn sample(posterior: Posterior, observed: &[f64], uniform: f64) -> f64 {
    let uniform = uniform.clamp(1e-12, 1.0 - 1e-12);
    match posterior {
        Posterior::Normal => {
            let [m, kappa, nu, tau2] = normal(observed);
            StudentsT::new(m, (tau2 / kappa).sqrt(), nu).map_or(m, |t| t.inverse_cdf(uniform))
        }
        Posterior::Beta => {
            let [a, b] = beta(observed);
            Beta::new(a, b).map_or(a / (a + b), |beta| beta.inverse_cdf(uniform))
        }
    }
}

/// `m`, `kappa`, `nu` and `tau2` after what was observed.
fn normal(observed: &[f64]) -> [f64; 4] {
    let [m, kappa, nu, tau2] = [0.0, 1.0, 1.0, 0.1];
    if observed.is_empty() {
        return [m, kappa, nu, tau2];
    }
    let n = observed.len() as f64;
    let mean = observed.iter().sum::<f64>() / n;
    let squares: f64 = observed.iter().map(|x| (x - mean) * (x - mean)).sum();
    let (new_kappa, new_nu) = (kappa + n, nu + n);
    let spread = nu * tau2 + squares + n * kappa * (m - mean) * (m - mean) / new_kappa;
    [(kappa * m + n * mean) / new_kappa, new_kappa, new_nu, spread / new_nu]
}

/// `a` and `b` after what was observed; values beyond 0 and 1 count as these.
fn beta(observed: &[f64]) -> [f64; 2] {
    let clamped = || observed.iter().map(|value| value.clamp(0.0, 1.0));
    [0.5 + clamped().sum::<f64>(), 0.5 + clamped().map(|value| 1.0 - value).sum::<f64>()]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    fn fixture() -> Value {
        serde_json::from_str(include_str!("../../tests/fixtures/decisions.json")).unwrap()
    }

    #[test]
    fn posteriors_equal_treequests() {
        for case in fixture()["posteriors"].as_array().unwrap() {
            let observed = numbers(&case["observed"]);
            let near = |ours: &[f64], theirs: &[f64]| ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near(&normal(&observed), &numbers(&case["normal"])), "{case}");
            assert!(near(&beta(&observed), &numbers(&case["beta"])), "{case}");
        }
    }

    /// How often each choice is made, against as many draws of treequest's.
    #[test]
    fn decisions_have_treequests_frequencies() {
        for case in fixture()["decisions"].as_array().unwrap() {
            let posterior = if case["posterior"] == "beta" { Posterior::Beta } else { Posterior::Normal };
            let settings = AbMcts { posterior, ..AbMcts::default() };
            let mut plan = Adaptive {
                settings,
                seed: Seed(3),
                draws: 0,
                arms: BTreeMap::from([(0, Arms::default())]),
                started: 0,
                running: 0,
                over: false,
            };
            for told in case["told"].as_array().unwrap() {
                let [parent, value] = numbers(told)[..] else { panic!() };
                let node = plan.arms.len();
                plan.observe(node, parent as usize, value);
            }
            let theirs = numbers(&case["chosen"]);
            let draws: f64 = theirs.iter().sum();
            let mut ours = vec![0.0; theirs.len()];
            for _ in 0..draws as usize {
                ours[plan.select()] += 1.0;
            }
            for (node, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                // Five standard errors of a difference of two binomial shares.
                let (p, q) = (ours / draws, theirs / draws);
                let error = ((p * (1.0 - p) + q * (1.0 - q)) / draws).sqrt();
                assert!((p - q).abs() <= 5.0 * error + 1e-9, "{posterior:?}, node {node}: {p} against {q}");
            }
        }
    }
}
