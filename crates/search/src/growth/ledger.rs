//! What was spent and what may be.

use relign_core::Cost;

use crate::Budget;

/// Keeps a budget: whatever is in flight counts as spent in full until it comes back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    budget: Budget,
    cost: Cost,
    /// Tokens that requests in flight may still generate.
    reserved: u64,
    flying: usize,
}

/// What a request may generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// So many tokens.
    Tokens(usize),
    /// Nothing before something in flight came back.
    Wait,
    /// Nothing any more.
    Nothing,
}

impl Ledger {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// Asks for `wanted` tokens after a prompt of `prompt`.
    ///
    /// A request gets all that it wants, or it waits for those in flight, which may leave more than they reserved.
    /// Only the last one gets less: what remains.
    pub(crate) fn grant(&mut self, wanted: usize, prompt: usize) -> Grant {
        let wanted = wanted as u64;
        let read = self.cost.prompts + prompt as u64;
        if wanted == 0 || self.budget.prompts.is_some_and(|most| read > most) {
            return Grant::Nothing;
        }
        let left = self.budget.tokens.map_or(u64::MAX, |most| most - self.cost.generated - self.reserved);
        let granted = if left >= wanted {
            wanted
        } else if self.flying > 0 {
            return Grant::Wait;
        } else if left > 0 {
            left
        } else {
            return Grant::Nothing;
        };
        self.reserved += granted;
        self.flying += 1;
        self.cost.requests += 1;
        self.cost.prompts = read;
        Grant::Tokens(usize::try_from(granted).unwrap_or(usize::MAX))
    }

    /// Takes back what was granted and counts what was used of it.
    pub(crate) fn settle(&mut self, granted: usize, used: usize) {
        self.reserved -= granted as u64;
        self.flying -= 1;
        // More than was asked for is the engine's fault; the bound holds all the same.
        self.cost.generated += used.min(granted) as u64;
    }

    pub(crate) const fn cost(&self) -> Cost {
        self.cost
    }

    /// Whether there is a bound to go up to.
    pub(crate) const fn bounded(&self) -> bool {
        self.budget.tokens.is_some() || self.budget.prompts.is_some()
    }
}
