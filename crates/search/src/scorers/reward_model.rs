//! A reward model, or whatever else the command was given.

use std::sync::Arc;

use relign_core::{Entry, Place, Reward, Scorer, Verdict, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

/// The reward model that the command was given: outcome or process, or a judge.
///
/// All nodes that wait for a value, of all tasks at work, are given to it together.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewardModel {}

/// The line in the table.
pub const ENTRY: Entry<dyn Scorer> = Entry {
    name: "reward_model",
    schema: schema_of::<RewardModel>,
    build: |settings| Ok(Box::new(parse::<RewardModel>(settings)?)),
};

impl Scorer for RewardModel {
    fn outside(&self) -> bool {
        true
    }
}

/// Makes a scorer of a reward, such as a judge: a path is worth the value of its score.
pub struct ByReward(pub Arc<dyn Reward>);

impl Scorer for ByReward {
    fn values(&self, nodes: &[Place<'_>]) -> Vec<Result<f64, String>> {
        let value = |place: &Place<'_>| {
            let score = self.0.score(place.task, &place.tree.transcript(place.node));
            if score.verdict == Verdict::Failed { Err(score.reason) } else { Ok(score.value) }
        };
        nodes.iter().map(value).collect()
    }
}
