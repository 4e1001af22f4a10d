//! The best partial answers, step by step.

use std::collections::BTreeMap;

use relign_core::{ConfigError, Entry, NodeId, Section, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StrategyFactory, at_least_one, check_scorer, together};
use crate::Start;
use crate::growth::{Aggregate, Event, Fate, Growth, Plan, Search, Steps, best, elected};
use crate::scorers::{named, scorer};

/// Beam search over steps (2408.03314): of `n` beginnings the best `n / width` go on, each in `width` ways.
///
/// Round 0 samples `n` first steps. Every round keeps the `n / width` candidates with the highest value and continues
/// each of them that has not ended by `width` steps; those that have ended stay in the running. It is over when all that
/// are kept have ended. Chosen among all answers is the most valued, or the winner of a vote.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Beam {
    /// Candidates in each round; a multiple of `width`.
    pub n: usize,
    /// Continuations of each that is kept; at least 1.
    pub width: usize,
    /// What values a beginning; `relign explain scorer:NAME`.
    pub scorer: Section,
    /// What the values of an answer's steps amount to.
    pub aggregate: Aggregate,
    /// How the answer is chosen.
    pub choice: Choice,
    /// Where steps end.
    pub steps: Steps,
}

/// How one answer is chosen of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The one with the highest value.
    #[default]
    Value,
    /// The best of those that win a vote in which each weighs its value.
    Vote,
}

impl Choice {
    /// The answer; where nothing ended, the best beginning.
    pub(super) fn of(self, growth: &Growth<'_>) -> Option<NodeId> {
        let answers = growth.answers();
        let voted = match self {
            Self::Value => None,
            Self::Vote => elected(growth, &answers),
        };
        let beginnings = || growth.tree.leaves().filter(|&id| id != 0 && growth.fate(id) == Fate::Open);
        voted.or_else(|| best(growth, answers)).or_else(|| best(growth, beginnings()))
    }
}

impl Default for Beam {
    fn default() -> Self {
        Self {
            n: 16,
            width: 4,
            scorer: named("logprob"),
            aggregate: Aggregate::Last,
            choice: Choice::Value,
            steps: Steps::default(),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "beam",
    schema: schema_of::<Beam>,
    build: |settings| {
        let own: Beam = parse(settings)?;
        own.check()?;
        Ok(Box::new(own))
    },
};

impl Beam {
    /// Whether the settings make sense, and `n` candidates whole groups of `width`.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        at_least_one("n", self.n)?;
        at_least_one("width", self.width)?;
        together(&[("n", self.n), ("steps.most", self.steps.most)])?;
        if !self.n.is_multiple_of(self.width) {
            let what = format!("expected a multiple of width ({}), got {}", self.width, self.n);
            return Err(ConfigError::at("n", what));
        }
        check_scorer(&self.scorer)?;
        self.steps.check()
    }

    /// Starts on a task in `rounds`.
    pub(super) fn grow<'a>(&self, start: Start<'a>, rounds: Rounds) -> Result<Box<dyn Strategy + 'a>, String> {
        let scorer = scorer(&self.scorer).map_err(|e| e.to_string())?;
        Search::boxed(start, scorer, self.aggregate, self.steps.clone(), rounds)
    }
}

impl StrategyFactory for Beam {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        self.grow(start, Rounds::new(1, self.n, self.n / self.width, self.width, self.choice))
    }

    fn samples(&self) -> usize {
        self.n
    }
}

/// Rounds of candidates, of which the best go on; in groups that know nothing of one another.
pub(super) struct Rounds {
    groups: Vec<Group>,
    /// First steps of each group.
    first: usize,
    /// Kept of each group.
    keep: usize,
    /// Continuations of each that is kept.
    width: usize,
    choice: Choice,
    /// The group of each node being valued.
    group_of: BTreeMap<NodeId, usize>,
}

#[derive(Clone, Default)]
struct Group {
    /// What this round chooses from.
    candidates: Vec<NodeId>,
    /// Drafts and values still to come in this round.
    missing: usize,
}

impl Rounds {
    pub(super) fn new(groups: usize, first: usize, keep: usize, width: usize, choice: Choice) -> Self {
        Self { groups: vec![Group::default(); groups], first, keep, width, choice, group_of: BTreeMap::new() }
    }

    /// Chooses what goes on, once a group's round is complete.
    fn select(&mut self, growth: &mut Growth<'_>, at: usize) {
        let group = &mut self.groups[at];
        let mut kept = std::mem::take(&mut group.candidates);
        let worth = |id: NodeId| growth.tree.nodes[id].value.unwrap_or(f64::NEG_INFINITY);
        // Stable: of equals those found first stay.
        kept.sort_by(|&a, &b| worth(b).total_cmp(&worth(a)));
        kept.truncate(self.keep);
        for id in kept {
            if growth.fate(id) == Fate::Ended {
                group.candidates.push(id);
                continue;
            }
            for _ in 0..self.width {
                growth.step(id, at as u64);
            }
            group.missing += self.width;
        }
    }
}

impl Plan for Rounds {
    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String> {
        for (at, group) in self.groups.iter_mut().enumerate() {
            group.missing = self.first;
            for _ in 0..self.first {
                growth.step(0, at as u64);
            }
        }
        Ok(())
    }

    fn hear(&mut self, growth: &mut Growth<'_>, event: Event) {
        let at = match event {
            Event::Grown { tag, node: Some(node) } => {
                self.group_of.insert(node, tag as usize);
                return growth.value(node);
            }
            Event::Grown { tag, node: None } => tag as usize,
            Event::Checked { .. } => return,
            Event::Valued { node, .. } => {
                let Some(at) = self.group_of.remove(&node) else { return };
                if growth.fate(node) != Fate::Failed {
                    self.groups[at].candidates.push(node);
                }
                at
            }
        };
        self.groups[at].missing -= 1;
        if self.groups[at].missing == 0 {
            self.select(growth, at);
        }
    }

    fn choose(&mut self, growth: &mut Growth<'_>) -> Option<NodeId> {
        self.choice.of(growth)
    }
}
