//! Values of nodes, from wherever they come.

use std::collections::BTreeMap;

use relign_core::{By, NodeId, Sampling, Score, Valuation, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Draft, Event, Fate, Growth};

/// What the values of a path's steps amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The last step's.
    #[default]
    Last,
    /// The smallest: a chain is as good as its worst step.
    Min,
    /// Their product: the chance that all are right, if each is independent of the others.
    Product,
    /// Their mean.
    Mean,
}

impl Aggregate {
    /// The aggregate of a path's values, first to last; `None` of none.
    #[must_use]
    pub fn of(self, values: &[f64]) -> Option<f64> {
        let last = *values.last()?;
        Some(match self {
            Self::Last => last,
            Self::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Product => values.iter().product(),
            Self::Mean => values.iter().sum::<f64>() / values.len() as f64,
        })
    }
}

/// Values that are known or on their way.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Each node's own, before aggregation.
    own: BTreeMap<NodeId, f64>,
    /// Nodes that wait for their verdict.
    verdicts: Vec<NodeId>,
    /// Nodes that are to be valued outside, and those that were handed out.
    unvalued: Vec<(NodeId, By)>,
    outside: Vec<(NodeId, By)>,
    /// Questions that are being answered, by the node that they are about.
    questions: BTreeMap<u64, Asked>,
}

#[derive(Debug)]
struct Asked {
    missing: usize,
    answers: Vec<NodeId>,
}

impl Values {
    pub(super) fn is_empty(&self) -> bool {
        self.verdicts.is_empty() && self.unvalued.is_empty() && self.outside.is_empty() && self.questions.is_empty()
    }
}

impl Growth<'_> {
    /// Wants the value of `node`, which comes as an event.
    pub(crate) fn value(&mut self, node: NodeId) {
        if self.fate(node) == Fate::Failed {
            return self.valued_as(node, None);
        }
        match self.scorer.value(&self.tree, node) {
            Valuation::Known(value) => self.valued_as(node, Some(value)),
            Valuation::Unknown(why) => {
                self.fault = Some(format!("scorer: {why}"));
                self.valued_as(node, None);
            }
            Valuation::Verdict => match self.tree.nodes[node].score.clone() {
                Some(score) => self.valued_as(node, worth(&score)),
                None => {
                    self.values.verdicts.push(node);
                    self.want_verdict(node);
                }
            },
            Valuation::Outside => self.values.unvalued.push((node, By::Scorer)),
            Valuation::Ask(question) => {
                let turn = match self.say(node, &question.text, true) {
                    Ok(turn) => turn,
                    Err(why) => {
                        self.fault = Some(format!("scorer: {why}"));
                        return self.valued_as(node, None);
                    }
                };
                let asked = Asked { missing: question.times, answers: Vec::new() };
                self.values.questions.insert(node as u64, asked);
                let sampling = Sampling {
                    max_tokens: question.max_tokens,
                    temperature: question.temperature,
                    ..self.start.sampling.clone()
                };
                for _ in 0..question.times {
                    let sampling = sampling.clone();
                    let draft = Draft { tag: node as u64, parent: turn, sampling, step: false, aside: true };
                    // Ahead of growth: what waits for a value has been paid for.
                    self.wanted.push_front(draft);
                }
            }
        }
    }

    /// An answer to the question about node `about`; `None` where the budget did not allow it.
    pub(super) fn answered(&mut self, about: u64, answer: Option<NodeId>) {
        let Some(asked) = self.values.questions.get_mut(&about) else { return };
        asked.missing -= 1;
        asked.answers.extend(answer.filter(|&id| self.fates[id] != Fate::Failed));
        if asked.missing > 0 {
            return;
        }
        let Some(asked) = self.values.questions.remove(&about) else { return };
        let answers: Vec<&str> = asked.answers.iter().map(|&id| self.tree.nodes[id].text.as_str()).collect();
        let value = if answers.is_empty() { None } else { self.scorer.read(&answers).ok() };
        self.valued_as(about as NodeId, value);
    }

    /// The verifier's score of a node.
    pub(super) fn scored(&mut self, node: NodeId, score: Score) {
        let value = worth(&score);
        if self.tree.nodes[node].score.replace(score).is_none() {
            self.scoring -= 1;
        }
        if let Some(at) = self.values.verdicts.iter().position(|&waiting| waiting == node) {
            self.values.verdicts.remove(at);
            self.valued_as(node, value);
        }
    }

    /// Wants `node` tried out, which comes as an event.
    pub(crate) fn check(&mut self, node: NodeId) {
        self.values.unvalued.push((node, By::Checker));
    }

    /// Nodes to be valued outside.
    pub(super) fn take_unvalued(&mut self) -> Vec<(NodeId, By)> {
        let nodes = std::mem::take(&mut self.values.unvalued);
        self.values.outside.extend(&nodes);
        nodes
    }

    /// The value of a node from outside.
    pub(super) fn valued_outside(&mut self, node: NodeId, by: By, value: Option<f64>) {
        let Some(at) = self.values.outside.iter().position(|&waiting| waiting == (node, by)) else { return };
        self.values.outside.remove(at);
        match by {
            By::Scorer => self.valued_as(node, value),
            By::Checker => {
                let works = value.is_some_and(|value| value > 0.0);
                if !works {
                    // No answer, and nothing goes on from it.
                    self.fates[node] = Fate::Failed;
                    self.asked[node] = true;
                }
                self.events.push_back(Event::Checked { node, works });
            }
        }
    }

    fn valued_as(&mut self, node: NodeId, value: Option<f64>) {
        // A number that is not one would decide every comparison in silence.
        let own = value.filter(|value| value.is_finite());
        let value = own.and_then(|own| {
            self.values.own.insert(node, own);
            let mut path: Vec<f64> = self.turn(node).filter_map(|id| self.values.own.get(&id).copied()).collect();
            path.reverse();
            self.aggregate.of(&path)
        });
        self.tree.nodes[node].value = value;
        self.events.push_back(Event::Valued { node, value });
    }
}

/// What a score is worth, if it could be given.
fn worth(score: &Score) -> Option<f64> {
    (score.verdict != Verdict::Failed).then_some(score.value)
}
