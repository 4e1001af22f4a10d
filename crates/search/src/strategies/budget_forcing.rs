//! Thinking that is made longer, or cut short.

use relign_core::{ConfigError, Entry, Finish, NodeId, Sampling, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{StrategyFactory, at_least_one};
use crate::Start;
use crate::growth::steps::{THINK, end_of, single};
use crate::growth::{Aggregate, Event, Fate, Growth, Plan, Search, Steps};
use crate::scorers::Verifier;

/// Budget forcing (s1, 2501.19393): where the model would end its thinking, the end is taken back and `word` put in its
/// place, `waits` times; where it thinks for too long, its thinking is ended for it.
///
/// The end of the thinking is `end`, or the model's own end for one that does not think apart (`end = ""`). A chain that
/// reaches `thinking` tokens is continued by `end` and `answer` and may say `answer_tokens` more. What is put into the
/// model's mouth is a node of its own, which no training takes for the model's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetForcing {
    /// Times that the end is taken back.
    pub waits: usize,
    /// What stands in its place.
    pub word: String,
    /// What ends the thinking; empty for the model's own end.
    pub end: String,
    /// The longest the thinking may be, in tokens; 0 for the longest that an answer may be.
    pub thinking: usize,
    /// What begins the answer of one that was cut short.
    pub answer: String,
    /// The longest that such an answer may be, in tokens; at least 1.
    pub answer_tokens: usize,
}

impl Default for BudgetForcing {
    fn default() -> Self {
        Self {
            waits: 2,
            word: "\nWait".to_owned(),
            end: THINK.to_owned(),
            thinking: 0,
            answer: "\n\nFinal answer:".to_owned(),
            answer_tokens: 64,
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "budget_forcing",
    schema: schema_of::<BudgetForcing>,
    build: |settings| {
        let own: BudgetForcing = parse(settings)?;
        at_least_one("answer_tokens", own.answer_tokens)?;
        if own.word.is_empty() && own.waits > 0 {
            return Err(ConfigError::at("word", "expected what stands in place of the end, got nothing"));
        }
        Ok(Box::new(own))
    },
};

impl StrategyFactory for BudgetForcing {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let plan = Forcing { settings: self.clone(), waited: 0, last: None };
        Search::boxed(start, Box::new(Verifier {}), Aggregate::Last, Steps::default(), plan)
    }

    fn samples(&self) -> usize {
        self.waits + 2
    }

    fn linear(&self) -> bool {
        true
    }
}

const THINKING: u64 = 0;
const ANSWER: u64 = 1;

struct Forcing {
    settings: BudgetForcing,
    waited: usize,
    last: Option<NodeId>,
}

impl Forcing {
    /// Tokens that the thinking may still have after `node`.
    fn room(&self, growth: &Growth<'_>, node: NodeId) -> usize {
        let most = growth.start.sampling.max_tokens;
        let thinking = if self.settings.thinking == 0 { most } else { self.settings.thinking };
        (thinking + growth.left(node)).saturating_sub(most)
    }

    /// Goes on thinking after `node`.
    fn think(&self, growth: &mut Growth<'_>, node: NodeId) {
        let mut sampling = Sampling { max_tokens: self.room(growth, node), ..growth.start.sampling.clone() };
        if !self.settings.end.is_empty() {
            end_of(&self.settings.end, growth.start.tokenizer, &mut sampling);
        }
        growth.draft(node, THINKING, sampling, false);
    }

    /// Whether the thinking at `node` ended with the marker, and how many tokens the end is.
    fn end(&self, growth: &Growth<'_>, node: NodeId) -> (bool, usize) {
        let own = &growth.tree.nodes[node];
        let tokenizer = growth.start.tokenizer;
        let marker = single(&self.settings.end, tokenizer);
        if own.finish == Some(Finish::Stop) {
            return (marker.is_some() && own.tokens.last().copied() == marker, 1);
        }
        // The text is cut before the marker; what the tokens say beyond it is the marker's.
        // Some decoders leave out a space at the very beginning.
        let said = own.text.trim_start().len();
        let keeps = |n: &usize| tokenizer.decode(&own.tokens[..own.tokens.len() - n]).trim_start().len() <= said;
        let tokens = (0..=own.tokens.len()).find(keeps).unwrap_or(0);
        (marker.is_none() && !self.settings.end.is_empty(), tokens)
    }
}

impl Plan for Forcing {
    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String> {
        growth.start.tokenizer.encode(&self.settings.word)?;
        self.think(growth, 0);
        Ok(())
    }

    fn hear(&mut self, growth: &mut Growth<'_>, event: Event) {
        let Event::Grown { tag, node: Some(node) } = event else { return };
        if growth.fate(node) == Fate::Failed {
            return;
        }
        self.last = Some(node);
        if tag == ANSWER {
            return;
        }
        let finish = growth.tree.nodes[node].finish;
        if finish == Some(Finish::Length) {
            let words = format!("{}{}", self.settings.end, self.settings.answer);
            if let Ok(forced) = growth.put(node, &words) {
                let sampling = Sampling { max_tokens: self.settings.answer_tokens, ..growth.start.sampling.clone() };
                growth.draft(forced, ANSWER, sampling, false);
            }
            return;
        }
        let (marked, tokens) = self.end(growth, node);
        let text = growth.tree.nodes[node].text.clone();
        if self.waited < self.settings.waits && self.room(growth, node) > 0 {
            self.waited += 1;
            let thought = text.strip_suffix(self.settings.end.as_str()).unwrap_or(&text).to_owned();
            growth.reopen(node, tokens, thought);
            if let Ok(word) = growth.put(node, &self.settings.word) {
                self.think(growth, word);
            }
        } else if marked {
            let border = if finish == Some(Finish::StopString) { self.settings.end.as_str() } else { "" };
            growth.reopen(node, 0, text + border);
            growth.whole(node, ANSWER);
        }
    }

    fn choose(&mut self, _: &mut Growth<'_>) -> Option<NodeId> {
        self.last
    }
}
