//! Independent samples.

use relign_core::{Entry, NodeId, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{StrategyFactory, at_least_one};
use crate::Start;
use crate::growth::{Aggregate, Event, Growth, Plan, Search, Steps};
use crate::scorers::Verifier;

/// `n` independent samples of the prompt: a tree of depth one.
///
/// What group-relative algorithms (GRPO, 2402.03300) train on, and what pass@k and majority votes are
/// counted over. Sample `k` draws from the task's seed number `k`. None is chosen.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Samples of each task; at least 1.
    pub n: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Self { n: 8 }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "sample",
    schema: schema_of::<Sample>,
    build: |settings| {
        let sample: Sample = parse(settings)?;
        at_least_one("n", sample.n)?;
        Ok(Box::new(sample))
    },
};

impl StrategyFactory for Sample {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let plan = Sampling { n: self.n };
        Search::boxed(start, Box::new(Verifier {}), Aggregate::Last, Steps::default(), plan)
    }

    fn samples(&self) -> usize {
        self.n
    }

    fn independent(&self) -> bool {
        true
    }
}

struct Sampling {
    n: usize,
}

impl Plan for Sampling {
    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String> {
        for k in 0..self.n {
            growth.whole(0, k as u64);
        }
        Ok(())
    }

    fn hear(&mut self, growth: &mut Growth<'_>, event: Event) {
        // Judged as they come, so that rewards run beside the engine.
        if let Some(node) = event.grown() {
            growth.judge(node);
        }
    }

    fn choose(&mut self, _: &mut Growth<'_>) -> Option<NodeId> {
        None
    }
}
