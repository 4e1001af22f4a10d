//! The search itself.

use std::collections::{BTreeMap, BTreeSet};

use relign_core::NodeId;

use super::{Arm, Backup, FinalChoice, Prior, Rule};
use crate::growth::{Event, Fate, Growth, Plan, best, elected};

/// Simulations in a row that cost nothing, after which a search that has tokens left turns away from the answer that
/// they found again and again.
const IDLE: u32 = 16;

/// How a search is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Simulations in all; `None` until the budget is spent.
    pub(crate) simulations: Option<usize>,
    /// Simulations under way at once.
    pub(crate) at_once: usize,
    /// Candidate steps when a node is expanded.
    pub(crate) expand: usize,
    /// A node with `n` visits may have `expand * n^widen` candidates.
    pub(crate) widen: f64,
    pub(crate) rule: Rule,
    pub(crate) prior: Prior,
    /// Continuations to the end whose mean value stands for a beginning's; 0 values the beginning itself.
    pub(crate) rollouts: usize,
    pub(crate) choice: FinalChoice,
    /// Whether only answers are valued: every simulation goes on to one, step by step.
    pub(crate) to_the_end: bool,
    /// Whether every candidate must work.
    pub(crate) checked: bool,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nobody looked at it.
    #[default]
    Fresh,
    /// Its value is on its way.
    Evaluating,
    /// Its value is known.
    Valued,
    /// Nothing can come of it any more.
    Closed,
}

#[derive(Debug, Default)]
struct Place {
    arm: Arm,
    stage: Stage,
    /// Candidates asked for in all, and those on their way.
    tried: usize,
    expanding: usize,
    /// Simulations that wait for candidates.
    parked: Vec<Vec<NodeId>>,
}

/// A simulation whose value is on its way.
#[derive(Debug)]
struct Simulation {
    path: Vec<NodeId>,
    missing: usize,
    values: Vec<f64>,
}

/// A search at work.
pub(crate) struct Mcts {
    settings: Settings,
    places: BTreeMap<NodeId, Place>,
    /// Nodes that say what an earlier sibling says.
    twins: Vec<(NodeId, NodeId)>,
    simulations: BTreeMap<u64, Simulation>,
    /// The simulation of each node being valued.
    valuing: BTreeMap<NodeId, u64>,
    next: u64,
    /// Simulations under way, begun and given back unfinished.
    running: usize,
    started: usize,
    idle: u32,
    over: bool,
}

/// What an event's tag says: candidates of a node, or rollouts of a simulation.
const fn candidate_of(node: NodeId) -> u64 {
    (node as u64) << 1
}

const fn rollout_of(simulation: u64) -> u64 {
    (simulation << 1) | 1
}

impl Mcts {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut places = BTreeMap::new();
        places.insert(0, Place { stage: Stage::Valued, ..Place::default() });
        Self {
            settings,
            places,
            twins: Vec::new(),
            simulations: BTreeMap::new(),
            valuing: BTreeMap::new(),
            next: 0,
            running: 0,
            started: 0,
            idle: 0,
            over: false,
        }
    }

    fn place(&mut self, node: NodeId) -> &mut Place {
        self.places.entry(node).or_default()
    }

    /// Starts as many simulations as may be under way.
    fn launch(&mut self, growth: &mut Growth<'_>) {
        let mut blocked = BTreeSet::new();
        while !self.over
            && self.running < self.settings.at_once
            && self.settings.simulations.is_none_or(|most| self.started < most)
        {
            match self.walk(growth, &blocked) {
                Ok(path) => {
                    self.started += 1;
                    self.running += 1;
                    for &id in &path {
                        self.place(id).arm.flying += 1;
                    }
                    self.widen(growth, &path);
                    self.arrive(growth, path);
                }
                // The root itself leads nowhere: now, or for good.
                Err(0) => break,
                Err(node) => {
                    blocked.insert(node);
                }
            }
        }
    }

    /// The path from the root to where there is something to do; else the node that leads nowhere now.
    fn walk(&mut self, growth: &Growth<'_>, blocked: &BTreeSet<NodeId>) -> Result<Vec<NodeId>, NodeId> {
        let mut path = vec![0];
        loop {
            let node = path[path.len() - 1];
            let place = &self.places[&node];
            match place.stage {
                Stage::Fresh => return Ok(path),
                Stage::Evaluating | Stage::Closed => return Err(node),
                Stage::Valued if growth.fate(node) != Fate::Open => return Ok(path),
                Stage::Valued => {}
            }
            if place.arm.children.is_empty() {
                return if place.expanding > 0 { Err(node) } else { Ok(path) };
            }
            let open = |id: &&NodeId| !blocked.contains(*id) && self.places[*id].stage != Stage::Closed;
            match self.favourite(node, place.arm.children.iter().filter(open).copied()) {
                Some(child) => path.push(child),
                None => {
                    if place.expanding == 0
                        && place.arm.children.iter().all(|id| self.places[id].stage == Stage::Closed)
                    {
                        self.place(node).stage = Stage::Closed;
                    }
                    return Err(node);
                }
            }
        }
    }

    /// The child of `node` that a simulation wants to go to most; of equals the first.
    fn favourite(&self, node: NodeId, children: impl Iterator<Item = NodeId>) -> Option<NodeId> {
        let parent = &self.places[&node].arm;
        let scored = children.map(|id| (self.settings.rule.score(parent, &self.places[&id].arm), id));
        scored.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, id)| id)
    }

    /// Asks for more candidates where visits allow them.
    fn widen(&mut self, growth: &mut Growth<'_>, path: &[NodeId]) {
        let Settings { expand, widen, .. } = self.settings;
        if widen <= 0.0 {
            return;
        }
        for &node in path {
            let place = self.place(node);
            if place.arm.children.is_empty() {
                continue;
            }
            let allowed = (expand as f64 * f64::from(place.arm.visits.max(1)).powf(widen)).ceil() as usize;
            let more = allowed.saturating_sub(place.tried);
            self.expand(growth, node, more);
        }
    }

    fn expand(&mut self, growth: &mut Growth<'_>, node: NodeId, candidates: usize) {
        let place = self.place(node);
        place.tried += candidates;
        place.expanding += candidates;
        for _ in 0..candidates {
            growth.step(node, candidate_of(node));
        }
        if candidates > 0 {
            self.idle = 0;
        }
    }

    /// Does what there is to do at the end of a path.
    fn arrive(&mut self, growth: &mut Growth<'_>, path: Vec<NodeId>) {
        let node = path[path.len() - 1];
        if self.places[&node].stage == Stage::Fresh {
            if !self.settings.to_the_end || growth.fate(node) != Fate::Open {
                return self.evaluate(growth, path);
            }
            self.place(node).stage = Stage::Valued;
        }
        if growth.fate(node) == Fate::Ended {
            // An answer whose value is known: it is found again, which costs nothing.
            self.idle += 1;
            if self.settings.simulations.is_none() && self.idle >= IDLE {
                self.place(node).stage = Stage::Closed;
            }
            let arm = &self.places[&node].arm;
            let value = arm.sum / f64::from(arm.visits.max(1));
            return self.back_up(&path, Some(value));
        }
        self.place(node).parked.push(path);
        self.expand(growth, node, self.settings.expand);
    }

    fn evaluate(&mut self, growth: &mut Growth<'_>, path: Vec<NodeId>) {
        let node = path[path.len() - 1];
        self.place(node).stage = Stage::Evaluating;
        self.idle = 0;
        let id = self.next;
        self.next += 1;
        let rollouts = if growth.fate(node) == Fate::Open { self.settings.rollouts } else { 0 };
        self.simulations.insert(id, Simulation { path, missing: rollouts.max(1), values: Vec::new() });
        if rollouts == 0 {
            self.valuing.insert(node, id);
            return growth.value(node);
        }
        for _ in 0..rollouts {
            growth.whole(node, rollout_of(id));
        }
    }

    /// One value of a simulation, or none where it could not be had.
    fn found(&mut self, id: u64, value: Option<f64>) {
        let Some(simulation) = self.simulations.get_mut(&id) else { return };
        simulation.values.extend(value);
        simulation.missing -= 1;
        if simulation.missing > 0 {
            return;
        }
        let Some(Simulation { path, values, .. }) = self.simulations.remove(&id) else { return };
        let value = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        // What cannot be valued is closed: it is neither bad nor to be tried without end.
        let stage = if value.is_some() { Stage::Valued } else { Stage::Closed };
        self.place(path[path.len() - 1]).stage = stage;
        self.back_up(&path, value);
    }

    /// Ends a simulation: its value counts for the whole path; without one it never was.
    fn back_up(&mut self, path: &[NodeId], value: Option<f64>) {
        self.running -= 1;
        if value.is_none() {
            self.started -= 1;
        }
        for &id in path {
            let arm = &mut self.place(id).arm;
            arm.flying -= 1;
            if let Some(value) = value {
                arm.visit(value);
            }
        }
    }

    /// A candidate for `parent` came, or cannot come.
    fn candidate(&mut self, growth: &mut Growth<'_>, parent: NodeId, node: Option<NodeId>) {
        self.place(parent).expanding -= 1;
        match node {
            None => self.over = true,
            Some(node) if growth.fate(node) == Fate::Failed => {}
            Some(node) => {
                let said = |id: NodeId| (&growth.tree.nodes[id].tokens, growth.fate(id));
                let known = self.places[&parent].arm.children.iter().copied().find(|&id| said(id) == said(node));
                match known {
                    Some(twin) => {
                        self.twins.push((node, twin));
                        self.place(twin).arm.times += 1;
                    }
                    None => {
                        self.place(node).arm.times = 1;
                        self.place(parent).arm.children.push(node);
                    }
                }
            }
        }
        if self.places[&parent].expanding > 0 {
            return;
        }
        self.weigh(growth, parent);
        let parked = std::mem::take(&mut self.place(parent).parked);
        for mut path in parked {
            let children = self.places[&parent].arm.children.clone();
            let fresh = children.into_iter().filter(|id| self.places[id].stage == Stage::Fresh);
            match self.favourite(parent, fresh) {
                Some(child) => {
                    self.place(child).arm.flying += 1;
                    path.push(child);
                    self.arrive(growth, path);
                }
                None => {
                    if self.places[&parent].arm.children.is_empty() {
                        self.place(parent).stage = Stage::Closed;
                    }
                    self.back_up(&path, None);
                }
            }
        }
    }

    /// Gives the children of `parent` their priors.
    fn weigh(&mut self, growth: &Growth<'_>, parent: NodeId) {
        let children = self.places[&parent].arm.children.clone();
        let weight = |id: NodeId| match self.settings.prior {
            Prior::Uniform => 1.0,
            Prior::Frequency => f64::from(self.places[&id].arm.times),
            Prior::Likelihood => {
                let logprobs = &growth.tree.nodes[id].logprobs;
                let sum: f64 = logprobs.iter().map(|&logprob| f64::from(logprob)).sum();
                (sum / logprobs.len().max(1) as f64).exp()
            }
        };
        let weights: Vec<f64> = children.iter().map(|&id| weight(id)).collect();
        let total: f64 = weights.iter().sum();
        for (id, weight) in children.into_iter().zip(weights) {
            self.place(id).arm.prior = if total > 0.0 { weight / total } else { 0.0 };
        }
    }

    /// The end of the path of most visits.
    fn most_visited(&self) -> NodeId {
        let mut node = 0;
        loop {
            let children = self.places[&node].arm.children.iter().copied();
            let seen = children.filter(|id| self.places[id].arm.visits > 0);
            let rank = |id: NodeId| (self.places[&id].arm.visits, self.settings.rule.value(&self.places[&id].arm));
            match seen.reduce(|best, next| if rank(next) > rank(best) { next } else { best }) {
                Some(child) => node = child,
                None => return node,
            }
        }
    }
}

impl Plan for Mcts {
    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String> {
        if self.settings.simulations.is_none() && !growth.bounded() {
            return Err("fill: expected a budget to go up to, got none".to_owned());
        }
        self.launch(growth);
        Ok(())
    }

    fn hear(&mut self, growth: &mut Growth<'_>, event: Event) {
        match event {
            Event::Grown { tag, node: Some(node) }
                if tag & 1 == 0 && self.settings.checked && growth.fate(node) != Fate::Failed =>
            {
                growth.check(node);
            }
            Event::Grown { tag, node } if tag & 1 == 0 => self.candidate(growth, (tag >> 1) as NodeId, node),
            Event::Checked { node, .. } => {
                let parent = growth.tree.nodes[node].parent.unwrap_or(0);
                self.candidate(growth, parent, Some(node));
            }
            Event::Grown { tag, node: Some(node) } => {
                self.valuing.insert(node, tag >> 1);
                growth.value(node);
            }
            Event::Grown { tag, node: None } => {
                self.over = true;
                self.found(tag >> 1, None);
            }
            Event::Valued { node, value } => {
                if let Some(id) = self.valuing.remove(&node) {
                    self.found(id, value);
                }
            }
        }
        self.launch(growth);
    }

    fn choose(&mut self, growth: &mut Growth<'_>) -> Option<NodeId> {
        for &(node, twin) in &self.twins {
            growth.tree.nodes[node].value = growth.tree.nodes[twin].value;
        }
        let answers = growth.answers();
        let chosen = match self.settings.choice {
            FinalChoice::Value => best(growth, answers),
            FinalChoice::Vote => elected(growth, &answers).or_else(|| best(growth, answers)),
            FinalChoice::Visits => {
                let path = growth.tree.path(self.most_visited());
                let below = |above: NodeId| {
                    best(growth, answers.iter().copied().filter(|&id| growth.tree.path(id).contains(&above)))
                };
                path.into_iter().rev().find_map(below)
            }
        };
        for (&id, place) in &self.places {
            let (arm, node) = (&place.arm, &mut growth.tree.nodes[id]);
            node.visits = arm.visits;
            if arm.visits > 0 {
                let mean = arm.sum / f64::from(arm.visits);
                node.value = Some(if self.settings.rule.backup == Backup::Max { arm.best } else { mean });
            }
        }
        chosen.or_else(|| Some(self.most_visited()).filter(|&node| node != 0))
    }
}
