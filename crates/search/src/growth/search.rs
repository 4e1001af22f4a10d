//! A plan and its tree, as a strategy.

use relign_core::{By, Completion, NodeId, Request, Score, Scorer, Strategy, Tree};

use super::{Aggregate, Event, Growth, Plan, Steps};
use crate::Start;

/// A plan at work.
pub(crate) struct Search<'a, P> {
    growth: Growth<'a>,
    plan: P,
    ended: bool,
}

impl<'a, P: Plan + 'a> Search<'a, P> {
    /// Starts `plan`.
    ///
    /// # Errors
    /// If the plan can never work, the budget allows nothing, or the scorer needs what is not there.
    pub(crate) fn boxed(
        start: Start<'a>,
        scorer: Box<dyn Scorer>,
        aggregate: Aggregate,
        steps: Steps,
        plan: P,
    ) -> Result<Box<dyn Strategy + 'a>, String> {
        start.budget.check()?;
        if scorer.outside() && start.scorer.is_none() {
            return Err("scorer: expected a reward model, got none".to_owned());
        }
        let mut search = Self { growth: Growth::new(start, scorer, aggregate, steps), plan, ended: false };
        let root = &search.growth;
        if let relign_core::Valuation::Ask(question) = root.scorer.value(&root.tree, 0) {
            root.try_turn(&question.text)?;
        }
        search.plan.begin(&mut search.growth)?;
        Ok(Box::new(search))
    }

    /// Lets the plan hear all that happened; ends it once nothing more can.
    fn settle(&mut self) {
        while let Some(event) = self.growth.events.pop_front() {
            self.plan.hear(&mut self.growth, event);
        }
        if !self.ended && self.growth.is_idle() {
            self.ended = true;
            self.growth.tree.chosen = self.plan.choose(&mut self.growth);
            self.growth.tree.cost = Some(self.growth.ledger.cost());
            // Judged at the end, so that no verdict holds up a search that does not look at it.
            let answers = self.growth.answers();
            for node in answers.into_iter().chain(self.growth.tree.chosen) {
                self.growth.want_verdict(node);
            }
        }
    }
}

impl<'a, P: Plan + 'a> Strategy for Search<'a, P> {
    fn ask(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        self.settle();
        loop {
            requests.extend(self.growth.ask());
            if self.growth.events.is_empty() && (self.ended || !self.growth.is_idle()) {
                return requests;
            }
            self.settle();
        }
    }

    fn tell(&mut self, completion: Completion) {
        self.growth.tell(completion);
        self.settle();
    }

    fn unscored(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.growth.unscored)
    }

    fn scored(&mut self, node: NodeId, score: Score) {
        self.growth.scored(node, score);
        self.settle();
    }

    fn unvalued(&mut self) -> Vec<(NodeId, By)> {
        self.growth.take_unvalued()
    }

    fn valued(&mut self, node: NodeId, by: By, value: Result<f64, String>) {
        self.growth.valued_outside(node, by, value.ok());
        self.settle();
    }

    fn stop(&mut self) {
        self.growth.stopped = true;
    }

    fn fault(&self) -> Option<String> {
        self.growth.fault.clone()
    }

    fn chosen(&self) -> Option<NodeId> {
        self.growth.tree.chosen
    }

    fn finished(&self) -> bool {
        self.ended && self.growth.scoring == 0
    }

    fn tree(&self) -> &Tree {
        &self.growth.tree
    }

    fn into_tree(self: Box<Self>) -> Tree {
        self.growth.tree
    }
}

/// The best of `nodes` by value; of equals the first, and those without a value last.
pub(crate) fn best(growth: &Growth<'_>, nodes: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
    let worth = |id: NodeId| growth.tree.nodes[id].value.unwrap_or(f64::NEG_INFINITY);
    nodes.into_iter().reduce(|best, next| if worth(next) > worth(best) { next } else { best })
}

/// The most valued of the answers that win the vote among `nodes`, each weighing its value.
pub(crate) fn elected(growth: &Growth<'_>, nodes: &[NodeId]) -> Option<NodeId> {
    let weight = |id: NodeId| growth.tree.nodes[id].value.filter(|&value| value > 0.0).map(|value| (id, value));
    let vote = growth.vote(nodes.iter().filter_map(|&id| weight(id)));
    vote.winner().and_then(|cluster| best(growth, cluster.nodes.iter().copied()))
}

impl Event {
    /// The node that was grown.
    pub(crate) const fn grown(&self) -> Option<NodeId> {
        match self {
            Self::Grown { node, .. } => *node,
            Self::Valued { .. } | Self::Checked { .. } => None,
        }
    }
}
