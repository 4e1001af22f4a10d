//! Tree search guided by a process reward.

use std::collections::BTreeMap;

use relign_core::{ConfigError, Entry, NodeId, Section, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{StrategyFactory, at_least_one, check_scorer, together};
use crate::Start;
use crate::growth::{Aggregate, Event, Fate, Growth, Plan, Search, Steps, best};
use crate::scorers::{named, scorer};

/// MCTS* of ReST-MCTS* (2406.03816): a process reward says what every step is worth, and a short greedy look ahead
/// corrects it.
///
/// From the root on, the child with the highest `v + c sqrt(ln N / n)` is gone on to; one without visits first. A leaf is
/// expanded into `expand` steps, each valued by the scorer. From the best of them a rollout of up to `look_ahead` steps
/// follows the best of `width` candidates each time; with `v_max` the best value on it, the child's value becomes
/// `alpha v + (1 - alpha) v_max`. Upwards, `v = sum_i n_i v_i / sum_i n_i` over the children. Iterations follow one
/// another; candidates are sampled together. The most valued answer is chosen, those of rollouts included; one worth
/// `enough` ends the search. Left out is the paper's self-critic: the model ends its answers itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestMcts {
    /// Iterations; at least 1.
    pub iterations: usize,
    /// Go on until the budget is spent instead of up to `iterations`.
    pub fill: bool,
    /// Candidate steps of a node that is expanded; at least 1.
    pub expand: usize,
    /// The longest rollout, in steps; 0 for none.
    pub look_ahead: usize,
    /// Candidates of each step of a rollout; at least 1.
    pub width: usize,
    /// The weight of a step's own value against the best found ahead of it, 0 to 1.
    pub alpha: f64,
    /// The weight of exploring.
    pub c: f64,
    /// The value of an answer that ends the search; left out, none does.
    pub enough: Option<f64>,
    /// What values a beginning; `relign explain scorer:NAME`.
    pub scorer: Section,
    /// What the values of an answer's steps amount to.
    pub aggregate: Aggregate,
    /// Where steps end.
    pub steps: Steps,
}

impl Default for RestMcts {
    fn default() -> Self {
        Self {
            iterations: 24,
            fill: false,
            expand: 3,
            look_ahead: 2,
            width: 3,
            alpha: 0.5,
            c: 0.7,
            enough: None,
            scorer: named("logprob"),
            aggregate: Aggregate::Last,
            steps: Steps::default(),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "rest_mcts",
    schema: schema_of::<RestMcts>,
    build: |settings| {
        let own: RestMcts = parse(settings)?;
        at_least_one("iterations", own.iterations)?;
        at_least_one("expand", own.expand)?;
        at_least_one("width", own.width)?;
        together(&[("iterations", own.iterations), ("expand", own.expand)])?;
        together(&[("iterations", own.iterations), ("look_ahead", own.look_ahead), ("width", own.width)])?;
        super::mcts::from_zero("c", own.c)?;
        if !(0.0..=1.0).contains(&own.alpha) {
            return Err(ConfigError::at("alpha", format!("expected a share from 0 to 1, got {}", own.alpha)));
        }
        check_scorer(&own.scorer)?;
        own.steps.check()?;
        Ok(Box::new(own))
    },
};

impl StrategyFactory for RestMcts {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let scorer = scorer(&self.scorer).map_err(|e| e.to_string())?;
        let plan = Star {
            settings: self.clone(),
            spots: BTreeMap::from([(0, Spot::default())]),
            phase: Phase::Expand(0),
            missing: 0,
            found: Vec::new(),
            done: 0,
            idle: 0,
            over: false,
        };
        Search::boxed(start, scorer, self.aggregate, self.steps.clone(), plan)
    }

    fn samples(&self) -> usize {
        self.iterations * (self.expand + self.look_ahead * self.width)
    }
}

/// Iterations in a row that cost nothing, after which a search that has tokens left turns away from the answer that
/// they found again and again.
const IDLE: usize = 16;

/// What is known of a node.
#[derive(Clone, Debug, Default)]
struct Spot {
    visits: u32,
    value: f64,
    children: Vec<NodeId>,
    /// Whether nothing new can come of it.
    closed: bool,
}

/// What the candidates on their way are for.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// They continue this node.
    Expand(NodeId),
    /// They look ahead of `child`, for so many more steps; the best value so far.
    Ahead { child: NodeId, left: usize, best: f64 },
}

struct Star {
    settings: RestMcts,
    spots: BTreeMap<NodeId, Spot>,
    phase: Phase,
    /// Candidates on their way, and those that have their value.
    missing: usize,
    found: Vec<(NodeId, f64)>,
    done: usize,
    idle: usize,
    over: bool,
}

impl Star {
    /// Begins iterations until one has to wait.
    fn iterate(&mut self, growth: &mut Growth<'_>) {
        while !self.over && self.missing == 0 && (self.settings.fill || self.done < self.settings.iterations) {
            let Some(node) = self.leaf() else { break };
            self.done += 1;
            if growth.fate(node) == Fate::Ended {
                self.idle += 1;
                if self.settings.fill && self.idle >= IDLE {
                    self.spots.entry(node).or_default().closed = true;
                }
                self.back_up(growth, node);
                continue;
            }
            self.idle = 0;
            self.phase = Phase::Expand(node);
            self.candidates(growth, node, self.settings.expand);
        }
    }

    /// Where there is something to do; `None` where there is nothing any more.
    fn leaf(&mut self) -> Option<NodeId> {
        let mut node = 0;
        loop {
            let spot = &self.spots[&node];
            let score = |id: NodeId| {
                let child = &self.spots[&id];
                let explore = (f64::from(spot.visits.max(1)).ln() / f64::from(child.visits)).sqrt();
                if child.visits == 0 { f64::INFINITY } else { child.value + self.settings.c * explore }
            };
            let open = spot.children.iter().copied().filter(|id| !self.spots[id].closed);
            match open.reduce(|best, next| if score(next) > score(best) { next } else { best }) {
                Some(child) => node = child,
                None if spot.closed => return None,
                None if spot.children.is_empty() => return Some(node),
                None => {
                    self.spots.entry(node).or_default().closed = true;
                    node = 0;
                }
            }
        }
    }

    fn candidates(&mut self, growth: &mut Growth<'_>, node: NodeId, count: usize) {
        self.missing = count;
        for _ in 0..count {
            growth.step(node, 0);
        }
    }

    /// All candidates are there.
    fn complete(&mut self, growth: &mut Growth<'_>) {
        let found = std::mem::take(&mut self.found);
        let top = found.iter().copied().reduce(|best, next| if next.1 > best.1 { next } else { best });
        let enough = |&(id, value): &(NodeId, f64)| {
            growth.fate(id) == Fate::Ended && self.settings.enough.is_some_and(|enough| value >= enough)
        };
        self.over |= found.iter().any(enough);
        match (self.phase, top) {
            // What nothing follows is left behind; nothing at all follows the prompt.
            (Phase::Expand(0), None) => self.over = true,
            (Phase::Expand(node), None) => {
                let parent = growth.tree.nodes[node].parent.unwrap_or(0);
                if let Some(spot) = self.spots.get_mut(&parent) {
                    spot.children.retain(|&child| child != node);
                    // Its last child: the parent is a leaf again, which another try may expand.
                }
            }
            (Phase::Expand(node), Some((child, value))) => {
                for &(id, value) in &found {
                    self.spots.insert(id, Spot { value, ..Spot::default() });
                }
                self.spots.entry(node).or_default().children = found.iter().map(|&(id, _)| id).collect();
                self.ahead(growth, child, child, value, self.settings.look_ahead);
            }
            (Phase::Ahead { child, left, best }, top) => match top {
                Some((id, value)) => self.ahead(growth, child, id, best.max(value), left - 1),
                None => self.ahead(growth, child, child, best, 0),
            },
        }
        self.iterate(growth);
    }

    /// Looks `left` more steps ahead from `at`, or settles what `child` is worth.
    fn ahead(&mut self, growth: &mut Growth<'_>, child: NodeId, at: NodeId, best: f64, left: usize) {
        if left > 0 && !self.over && growth.fate(at) == Fate::Open {
            self.phase = Phase::Ahead { child, left, best };
            return self.candidates(growth, at, self.settings.width);
        }
        let alpha = self.settings.alpha;
        if let Some(spot) = self.spots.get_mut(&child) {
            spot.value = alpha * spot.value + (1.0 - alpha) * best;
        }
        self.back_up(growth, child);
    }

    fn back_up(&mut self, growth: &Growth<'_>, node: NodeId) {
        self.spots.entry(node).or_default().visits += 1;
        let mut at = node;
        while let Some(parent) = growth.tree.nodes[at].parent {
            let children = self.spots[&parent].children.clone();
            let visits = |id: &NodeId| f64::from(self.spots[id].visits);
            let total: f64 = children.iter().map(visits).sum();
            let value: f64 = children.iter().map(|id| visits(id) * self.spots[id].value).sum();
            let spot = self.spots.entry(parent).or_default();
            spot.visits += 1;
            spot.value = if total > 0.0 { value / total } else { spot.value };
            at = parent;
        }
    }
}

impl Plan for Star {
    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String> {
        if self.settings.fill && !growth.bounded() {
            return Err("fill: expected a budget to go up to, got none".to_owned());
        }
        self.iterate(growth);
        Ok(())
    }

    fn hear(&mut self, growth: &mut Growth<'_>, event: Event) {
        match event {
            Event::Grown { node: Some(node), .. } => return growth.value(node),
            Event::Grown { node: None, .. } => self.over = true,
            Event::Checked { .. } => return,
            Event::Valued { node, value } => self.found.extend(value.map(|value| (node, value))),
        }
        self.missing -= 1;
        if self.missing == 0 {
            self.complete(growth);
        }
    }

    fn choose(&mut self, growth: &mut Growth<'_>) -> Option<NodeId> {
        let open = || growth.tree.leaves().filter(|&id| id > 0 && growth.fate(id) == Fate::Open);
        let chosen = best(growth, growth.answers()).or_else(|| best(growth, open()));
        for (&id, spot) in self.spots.iter().filter(|(_, spot)| spot.visits > 0) {
            growth.tree.nodes[id].visits = spot.visits;
            growth.tree.nodes[id].value = Some(spot.value);
        }
        chosen
    }
}
