//! What a strategy starts with.

use relign_core::{Answers, Sampling, Scorer, Seed, Task, Tokenize, Tree};

/// What a strategy is given to start on one task. All of it is pure: equal starts grow equal trees.
pub struct Start<'a> {
    /// Holds its prompt alone.
    pub tree: Tree,
    /// How tokens are sampled. Its `max_tokens` is the longest that one answer, one turn of the model, may be.
    pub sampling: Sampling,
    /// All randomness comes from here.
    pub seed: Seed,
    /// What may be spent.
    pub budget: Budget,
    /// Makes tokens of the words that strategies add.
    pub tokenizer: &'a dyn Tokenize,
    /// Final answers and which of them are the same.
    pub answers: &'a dyn Answers,
    /// What the scorers `outcome`, `process` and `reward_model` ask.
    pub scorer: Option<&'a dyn Scorer>,
    /// What tries out the steps of a strategy whose steps must work: their value is 1 where they do, else 0.
    pub checker: Option<&'a dyn Scorer>,
}

/// What may be spent on one task, the same unit for every strategy. `None` bounds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Tokens generated, those of refused steps, rollouts and questions included.
    pub tokens: Option<u64>,
    /// Tokens of all requests' prompts, as if no cache served any: what a search may make others read.
    pub prompts: Option<u64>,
}

impl Budget {
    /// A budget of generated tokens.
    #[must_use]
    pub const fn of(tokens: u64) -> Self {
        Self { tokens: Some(tokens), prompts: None }
    }

    /// Whether anything could be done with it.
    ///
    /// # Errors
    /// If a bound is 0.
    pub fn check(&self) -> Result<(), String> {
        for (name, bound) in [("tokens", self.tokens), ("prompt tokens", self.prompts)] {
            if bound == Some(0) {
                return Err(format!("budget: expected at least 1 of {name}, got 0"));
            }
        }
        Ok(())
    }
}

/// Takes the last line that says something for the answer, and equal words for equal answers: what is done where
/// nothing knows better. Commas within numbers and a full stop at the end do not count.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastLine;

impl Answers for LastLine {
    fn extract(&self, _: &Task, text: &str) -> Option<String> {
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
        Some(line.trim_end_matches('.').to_owned())
    }

    fn same(&self, _: &Task, a: &str, b: &str) -> bool {
        let plain = |s: &str| s.chars().filter(|c| *c != ',').flat_map(char::to_lowercase).collect::<String>();
        plain(a) == plain(b)
    }
}
