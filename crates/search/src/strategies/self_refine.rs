//! Feedback from the model to itself.

use relign_core::{ConfigError, Entry, NodeId, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{StrategyFactory, at_least_one};
use crate::Start;
use crate::growth::{Aggregate, Event, Fate, Growth, Plan, Search, Steps};
use crate::scorers::Verifier;

/// Self-refine (2303.17651): the model answers, criticises its answer in a further turn, and answers again with that
/// before its eyes, `rounds` times or until it is satisfied. Chosen is the last answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelfRefine {
    /// Times that an answer is criticised; at least 1.
    pub rounds: usize,
    /// What the model is asked to criticise its answer.
    pub feedback: String,
    /// The word in the criticism that ends it all.
    pub satisfied: String,
    /// What the model is asked to answer again.
    pub refine: String,
}

impl Default for SelfRefine {
    fn default() -> Self {
        Self {
            rounds: 2,
            feedback: "Check your answer step by step and list its mistakes. If there are none, write only: CORRECT"
                .to_owned(),
            satisfied: "CORRECT".to_owned(),
            refine: "Use these remarks and give the full answer again.".to_owned(),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "self_refine",
    schema: schema_of::<SelfRefine>,
    build: |settings| {
        let own: SelfRefine = parse(settings)?;
        at_least_one("rounds", own.rounds)?;
        for (name, text) in [("feedback", &own.feedback), ("satisfied", &own.satisfied), ("refine", &own.refine)] {
            if text.trim().is_empty() {
                return Err(ConfigError::at(name, "expected some text, got nothing"));
            }
        }
        Ok(Box::new(own))
    },
};

impl StrategyFactory for SelfRefine {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let plan = Refining { settings: self.clone(), done: 0, answer: None };
        Search::boxed(start, Box::new(Verifier {}), Aggregate::Last, Steps::default(), plan)
    }

    fn samples(&self) -> usize {
        1 + 2 * self.rounds
    }

    fn linear(&self) -> bool {
        true
    }
}

const ANSWER: u64 = 0;
const FEEDBACK: u64 = 1;

struct Refining {
    settings: SelfRefine,
    /// Rounds begun.
    done: usize,
    /// The last answer.
    answer: Option<NodeId>,
}

impl Refining {
    /// Adds a turn and has it answered; without one it is over.
    fn turn(growth: &mut Growth<'_>, after: NodeId, said: &str, tag: u64) {
        if let Ok(turn) = growth.say(after, said, false) {
            growth.whole(turn, tag);
        }
    }
}

impl Plan for Refining {
    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String> {
        growth.try_turn(&self.settings.feedback)?;
        growth.whole(0, ANSWER);
        Ok(())
    }

    fn hear(&mut self, growth: &mut Growth<'_>, event: Event) {
        let Event::Grown { tag, node: Some(node) } = event else { return };
        if growth.fate(node) == Fate::Failed {
            return;
        }
        if tag == ANSWER {
            self.answer = Some(node);
            growth.judge(node);
            if self.done < self.settings.rounds {
                self.done += 1;
                Self::turn(growth, node, &self.settings.feedback, FEEDBACK);
            }
        } else if growth.tree.nodes[node].text.contains(&self.settings.satisfied) {
            self.done = self.settings.rounds;
        } else {
            Self::turn(growth, node, &self.settings.refine, ANSWER);
        }
    }

    fn choose(&mut self, growth: &mut Growth<'_>) -> Option<NodeId> {
        // What follows the last answer is talk about it.
        let answer = self.answer?;
        for id in answer + 1..growth.tree.nodes.len() {
            growth.tree.nodes[id].aside = true;
        }
        Some(answer)
    }
}
