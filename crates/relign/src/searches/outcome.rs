//! What finished searches amount to.

use relign_core::{Estimate, Tree, Verdict};

use super::Spent;

/// What a finished search amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Whether its answer is right: 1 or 0, or the share of right ones where none is chosen. `None` where all that could
    /// be judged failed to be.
    pub(crate) right: Option<f64>,
    /// Whether any answer in the tree is right; `None` likewise.
    pub(crate) any: Option<bool>,
    /// Tokens generated.
    pub(crate) tokens: u64,
    /// Tokens of all requests' prompts.
    pub(crate) prompts: u64,
    /// Requests.
    pub(crate) requests: u64,
}

impl Outcome {
    /// Looks at a tree; `independent` says that its strategy chooses none of its answers.
    pub(crate) fn of(tree: &Tree, independent: bool) -> Self {
        let verdict = |node: usize| tree.nodes[node].score.as_ref().map(|score| score.verdict);
        let judged: Vec<Verdict> = tree.leaves().filter(|&leaf| leaf > 0).filter_map(verdict).collect();
        let told: Vec<bool> =
            judged.iter().filter(|v| **v != Verdict::Failed).map(|v| *v == Verdict::Correct).collect();
        let any = (!told.is_empty() || judged.is_empty()).then(|| told.contains(&true));
        let right = match tree.chosen.map(verdict) {
            Some(None | Some(Verdict::Failed)) => None,
            Some(Some(verdict)) => Some(f64::from(u8::from(verdict == Verdict::Correct))),
            None if independent && !told.is_empty() => {
                Some(told.iter().filter(|&&right| right).count() as f64 / told.len() as f64)
            }
            // It came to no answer.
            None => any.map(|_| 0.0),
        };
        let cost = tree.cost.unwrap_or_default();
        Self { right, any, tokens: cost.generated, prompts: cost.prompts, requests: cost.requests }
    }
}

/// The sum over searches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Total {
    /// Each search's outcome, in the order of tasks.
    pub(crate) outcomes: Vec<Outcome>,
    /// Seconds on the clock.
    pub(crate) clock: f64,
    /// Seconds of the engine that went into its completions, whoever had them generated.
    pub(crate) seconds: f64,
    /// Tokens in its completions, and those of them that another search had generated.
    pub(crate) tokens: u64,
    pub(crate) reused: u64,
    /// Tokens of prompts that entered the engine, and those of them that were there already.
    pub(crate) prompts: u64,
    pub(crate) cached: u64,
    /// Searches of which a request failed, and why the first did.
    pub(crate) lost: usize,
    pub(crate) why: String,
}

impl Total {
    /// Counts a search of which a request failed, for the reason `why`: what it cost is told, and nothing about answers.
    pub(super) fn lose(&mut self, why: &str, outcome: Outcome, spent: &Spent) {
        if self.lost == 0 {
            why.clone_into(&mut self.why);
        }
        self.lost += 1;
        self.add(Outcome { right: None, any: None, ..outcome }, spent);
    }

    /// Counts a search.
    pub(super) fn add(&mut self, outcome: Outcome, spent: &Spent) {
        self.outcomes.push(outcome);
        self.clock += spent.clock;
        self.seconds += spent.seconds;
        self.tokens += spent.tokens;
        self.reused += spent.reused;
        self.prompts += spent.prompts;
        self.cached += spent.cached;
    }

    /// The share of right answers: Wilson's interval where each task has one answer, clustered by task else.
    pub(crate) fn accuracy(&self) -> Estimate {
        let rights: Vec<f64> = self.outcomes.iter().filter_map(|outcome| outcome.right).collect();
        if rights.iter().all(|&right| right == 0.0 || right == 1.0) {
            let hits = rights.iter().filter(|&&right| right == 1.0).count() as u64;
            return relign_bench::wilson(hits, rights.len() as u64);
        }
        relign_bench::clustered(&rights)
    }

    /// The share of tasks of which any answer in the tree is right.
    pub(crate) fn ceiling(&self) -> Estimate {
        let any: Vec<bool> = self.outcomes.iter().filter_map(|outcome| outcome.any).collect();
        relign_bench::wilson(any.iter().filter(|&&any| any).count() as u64, any.len() as u64)
    }

    /// Searches of which nothing could be judged.
    pub(crate) fn failed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.right.is_none()).count()
    }

    /// The mean over searches.
    pub(crate) fn mean(&self, of: impl Fn(&Outcome) -> u64) -> f64 {
        self.outcomes.iter().map(|outcome| of(outcome) as f64).sum::<f64>() / self.outcomes.len().max(1) as f64
    }

    /// The share of the prompts' tokens that came from the tree, where it is known.
    pub(crate) fn served(&self) -> Option<f64> {
        (self.prompts > 0).then(|| self.cached as f64 / self.prompts as f64)
    }

    /// The share of its tokens that another search had generated.
    pub(crate) fn reused_share(&self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.reused as f64 / self.tokens as f64 }
    }
}

#[cfg(test)]
mod tests {
    use relign_core::{Author, Node, Score, Task};

    use super::*;

    fn tree(scores: &[Option<Score>], chosen: Option<usize>) -> Tree {
        let mut tree = Tree::new(Task::default(), vec![1]);
        for score in scores {
            tree.push(Node { score: score.clone(), ..Node::after(0, Author::Policy) });
        }
        tree.chosen = chosen;
        tree
    }

    #[test]
    fn right_wrong_and_not_judged() {
        let (right, wrong, failed) = (Some(Score::correct("")), Some(Score::wrong("")), Some(Score::failed("broken")));
        let all = [right.clone(), wrong.clone(), failed.clone(), None];
        for (tree, independent, expected) in [
            (tree(&all, Some(1)), false, (Some(1.0), Some(true))),
            (tree(&all, Some(2)), false, (Some(0.0), Some(true))),
            (tree(&all, Some(3)), false, (None, Some(true))),
            (tree(&all, None), true, (Some(0.5), Some(true))),
            (tree(&all, None), false, (Some(0.0), Some(true))),
            (tree(&[wrong, failed.clone()], None), true, (Some(0.0), Some(false))),
            (tree(&[failed.clone(), failed], None), true, (None, None)),
            (tree(&[], None), false, (Some(0.0), Some(false))),
        ] {
            let outcome = Outcome::of(&tree, independent);
            assert_eq!((outcome.right, outcome.any), expected, "{:?}", tree.chosen);
        }
    }
}
