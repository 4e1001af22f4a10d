//! What every strategy needs to grow a tree: requests within a budget, steps, values and verdicts.
//!
//! A strategy is a [`Plan`] that hears of what it asked for and asks for more; a [`Growth`] does the rest, and the two
//! together ([`Search`]) are a [`Strategy`](relign_core::Strategy).

mod ledger;
mod search;
pub(crate) mod steps;
pub(crate) mod turns;
mod values;
pub(crate) mod vote;

use std::collections::{BTreeMap, VecDeque};

use relign_core::{Author, Completion, Finish, Node, NodeId, Request, Sampling, Scorer, Tree};

pub(crate) use ledger::{Grant, Ledger};
pub(crate) use search::{Search, best, elected};
pub use steps::{Border, Steps};
pub use values::Aggregate;
use vote::Vote;

use crate::Start;

/// Decides what to grow: one strategy's own part.
pub(crate) trait Plan: Send {
    /// Asks for the first things.
    ///
    /// # Errors
    /// If it can never work, for example without a chat template.
    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String>;

    /// Hears of something asked for. Whoever asks for nothing more while nothing is under way is done.
    fn hear(&mut self, growth: &mut Growth<'_>, event: Event);

    /// The node whose path is the answer, once all is done. May write visits and values on the tree.
    fn choose(&mut self, growth: &mut Growth<'_>) -> Option<NodeId>;
}

/// Something that a plan asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A draft became `node`; `None` if the budget, the length of an answer or an interrupt did not allow it.
    Grown { tag: u64, node: Option<NodeId> },
    /// A node has its value, or there is none.
    Valued { node: NodeId, value: Option<f64> },
    /// A node was tried out.
    Checked { node: NodeId, works: bool },
}

/// What can be grown from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It can go on.
    Open,
    /// The model ended here, or there is no room for more: an answer.
    Ended,
    /// The request failed or was cancelled.
    Failed,
}

/// A request that a plan wants.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Comes back with its event.
    pub(crate) tag: u64,
    /// What it continues.
    pub(crate) parent: NodeId,
    pub(crate) sampling: Sampling,
    /// Whether a border ends it, after which it can go on.
    pub(crate) step: bool,
    /// Whether it answers a question about a path.
    aside: bool,
}

/// One tree as it grows.
pub(crate) struct Growth<'a> {
    pub(crate) tree: Tree,
    pub(crate) start: Start<'a>,
    pub(crate) steps: Steps,
    scorer: Box<dyn Scorer>,
    aggregate: Aggregate,
    fates: Vec<Fate>,
    ledger: Ledger,
    stopped: bool,
    /// Why no value can be had at all, if so.
    fault: Option<String>,
    next: u64,
    wanted: VecDeque<Draft>,
    flying: BTreeMap<u64, (Draft, usize)>,
    events: VecDeque<Event>,
    values: values::Values,
    /// Nodes whose verdict is to be asked for.
    unscored: Vec<NodeId>,
    /// Whether a node's verdict was asked for, and how many are still to come.
    asked: Vec<bool>,
    scoring: usize,
}

impl<'a> Growth<'a> {
    pub(crate) fn new(mut start: Start<'a>, scorer: Box<dyn Scorer>, aggregate: Aggregate, steps: Steps) -> Self {
        start.sampling.certainty |= scorer.needs_certainty();
        let tree = std::mem::replace(&mut start.tree, Tree::new(relign_core::Task::default(), Vec::new()));
        Self {
            tree,
            steps,
            scorer,
            aggregate,
            fates: vec![Fate::Open],
            ledger: Ledger::new(start.budget),
            start,
            stopped: false,
            fault: None,
            next: 0,
            wanted: VecDeque::new(),
            flying: BTreeMap::new(),
            events: VecDeque::new(),
            values: values::Values::default(),
            unscored: Vec::new(),
            asked: vec![false],
            scoring: 0,
        }
    }

    /// Wants `parent` continued to the end of the answer.
    pub(crate) fn whole(&mut self, parent: NodeId, tag: u64) {
        let sampling = Sampling { max_tokens: self.left(parent), ..self.start.sampling.clone() };
        self.draft(parent, tag, sampling, false);
    }

    /// Wants `parent` continued by one step; the last one allowed goes on to the end.
    pub(crate) fn step(&mut self, parent: NodeId, tag: u64) {
        if self.depth(parent) + 1 >= self.steps.most {
            return self.whole(parent, tag);
        }
        let left = self.left(parent);
        let sampling = self.steps.sampling(&self.start.sampling, self.start.tokenizer, left);
        self.draft(parent, tag, sampling, true);
    }

    /// Wants `parent` continued in a way of the plan's own.
    pub(crate) fn draft(&mut self, parent: NodeId, tag: u64, sampling: Sampling, step: bool) {
        self.wanted.push_back(Draft { tag, parent, sampling, step, aside: false });
    }

    /// Adds a user's turn after `parent`'s path; the model's next turn begins at the node.
    pub(crate) fn say(&mut self, parent: NodeId, said: &str, aside: bool) -> Result<NodeId, String> {
        let last = self.tree.nodes[parent].tokens.last().copied().filter(|_| self.tree.nodes[parent].parent.is_some());
        let tokens = turns::turn(self.start.tokenizer, &self.tree.task, said, last)?;
        let node = Node { tokens, text: said.to_owned(), aside, ..Node::after(parent, Author::Environment) };
        Ok(self.push(node, Fate::Open))
    }

    /// Whether [`say`](Self::say) can work with this tokenizer and template.
    pub(crate) fn try_turn(&self, said: &str) -> Result<(), String> {
        turns::turn(self.start.tokenizer, &self.tree.task, said, None).map(drop)
    }

    /// Puts words into the model's mouth after `parent`.
    pub(crate) fn put(&mut self, parent: NodeId, words: &str) -> Result<NodeId, String> {
        let tokens = self.start.tokenizer.encode(words)?;
        let node = Node { tokens, text: words.to_owned(), ..Node::after(parent, Author::Search) };
        Ok(self.push(node, Fate::Open))
    }

    /// Tokens that the model's turn at `node` may still have.
    pub(crate) fn left(&self, node: NodeId) -> usize {
        let said: usize = self.turn(node).map(|id| self.tree.nodes[id].tokens.len()).sum();
        self.start.sampling.max_tokens.saturating_sub(said)
    }

    /// Steps of the model's turn up to `node`.
    pub(crate) fn depth(&self, node: NodeId) -> usize {
        self.turn(node).filter(|&id| self.tree.nodes[id].author == Author::Policy).count()
    }

    /// The nodes of the turn that `node` belongs to, from the last.
    fn turn(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let up = std::iter::successors(Some(node), |&id| self.tree.nodes[id].parent);
        up.take_while(|&id| matches!(self.tree.nodes[id].author, Author::Policy | Author::Search))
    }

    pub(crate) fn fate(&self, node: NodeId) -> Fate {
        self.fates[node]
    }

    /// Makes an ended node one that goes on, without the last `tokens` of what it said and with `text` for the rest.
    pub(crate) fn reopen(&mut self, node: NodeId, tokens: usize, text: String) {
        let own = &mut self.tree.nodes[node];
        let keep = own.tokens.len() - tokens;
        own.tokens.truncate(keep);
        own.logprobs.truncate(keep);
        own.certainty.truncate(keep);
        own.text = text;
        self.fates[node] = Fate::Open;
    }

    /// Whether there is a budget to go up to.
    pub(crate) fn bounded(&self) -> bool {
        self.ledger.bounded()
    }

    /// All answers: nodes where the model ended a turn and nothing follows, in order.
    pub(crate) fn answers(&self) -> Vec<NodeId> {
        self.tree.leaves().filter(|&id| self.fates[id] == Fate::Ended).collect()
    }

    /// What was said to the end of `node`, in its last turn.
    pub(crate) fn said(&self, node: NodeId) -> String {
        let mut turn: Vec<NodeId> = self.turn(node).collect();
        turn.reverse();
        turn.into_iter().map(|id| self.tree.nodes[id].text.as_str()).collect()
    }

    /// The vote of `nodes` over their answers, each with its weight.
    pub(crate) fn vote(&self, nodes: impl IntoIterator<Item = (NodeId, f64)>) -> Vote {
        let mut vote = Vote::default();
        for (node, weight) in nodes {
            vote.count(self.start.answers, &self.tree.task, node, &self.said(node), weight);
        }
        vote
    }

    fn push(&mut self, node: Node, fate: Fate) -> NodeId {
        self.fates.push(fate);
        self.asked.push(false);
        self.tree.push(node)
    }

    /// Requests that the budget allows now.
    fn ask(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        while let Some(draft) = self.wanted.front() {
            let prompt = self.tree.tokens(draft.parent);
            let grant = match self.stopped {
                true => Grant::Nothing,
                false => self.ledger.grant(draft.sampling.max_tokens, prompt.len()),
            };
            if grant == Grant::Wait {
                break;
            }
            let Some(draft) = self.wanted.pop_front() else { break };
            let Grant::Tokens(max_tokens) = grant else {
                self.refuse(&draft);
                continue;
            };
            let sampling = Sampling { max_tokens, ..draft.sampling.clone() };
            let seed = self.start.seed.index(self.next);
            requests.push(Request { id: self.next, prompt, sampling, seed });
            self.flying.insert(self.next, (draft, max_tokens));
            self.next += 1;
        }
        requests
    }

    fn refuse(&mut self, draft: &Draft) {
        if draft.aside {
            return self.answered(draft.tag, None);
        }
        self.events.push_back(Event::Grown { tag: draft.tag, node: None });
    }

    fn tell(&mut self, completion: Completion) {
        let Some((draft, granted)) = self.flying.remove(&completion.id) else { return };
        let failed = matches!(completion.finish, Finish::Failed | Finish::Cancelled);
        let used = match completion.tokens.len() {
            // A server that does not tell may have used all of it.
            0 if !failed => granted,
            used => used,
        };
        self.ledger.settle(granted, used);
        let fate = match completion.finish {
            Finish::Failed | Finish::Cancelled => Fate::Failed,
            _ if !draft.step => Fate::Ended,
            Finish::Stop => {
                let end = self.steps.end_token(self.start.tokenizer);
                if end.is_some() && completion.tokens.last().copied() == end { Fate::Open } else { Fate::Ended }
            }
            Finish::StopString if self.start.sampling.stop.iter().any(|stop| completion.text.contains(stop)) => {
                Fate::Ended
            }
            Finish::StopString => Fate::Open,
            // Less than was allowed: the context has no room left.
            Finish::Length if used < granted => Fate::Ended,
            Finish::Length => Fate::Open,
        };
        let border = draft.step && completion.finish == Finish::StopString && fate == Fate::Open;
        let mut node = Node::completion(draft.parent, completion);
        node.aside = draft.aside;
        if border {
            node.text = with_border(node.text, &self.start.tokenizer.decode(&node.tokens));
        }
        let id = self.push(node, fate);
        if fate == Fate::Open && self.left(id) == 0 {
            self.fates[id] = Fate::Ended;
        }
        if fate == Fate::Failed {
            // The driver says why.
            self.want_verdict(id);
        }
        if draft.aside {
            return self.answered(draft.tag, Some(id));
        }
        self.events.push_back(Event::Grown { tag: draft.tag, node: Some(id) });
    }

    /// Wants the verifier's score of `node`, once.
    fn want_verdict(&mut self, node: NodeId) {
        if !std::mem::replace(&mut self.asked[node], true) {
            self.unscored.push(node);
            self.scoring += 1;
        }
    }

    /// Has `node` judged now instead of at the end.
    pub(crate) fn judge(&mut self, node: NodeId) {
        self.want_verdict(node);
    }

    /// Whether nothing is under way that an event could come of.
    fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.flying.is_empty() && self.events.is_empty() && self.values.is_empty()
    }
}

/// `cut`, the text before a border, with what the tokens say beyond it.
fn with_border(cut: String, whole: &str) -> String {
    // Decoders of some vocabularies leave out a space at the very beginning.
    let rest = whole.strip_prefix(&cut).or_else(|| whole.strip_prefix(cut.trim_start()));
    match rest {
        Some(rest) => cut + rest,
        None => cut,
    }
}
