//! Several beams of one, apart from one another.

use relign_core::{Entry, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::StrategyFactory;
use super::beam::{Beam, Rounds};
use crate::Start;

/// Diverse verifier tree search: `n / width` subtrees, in each of which the best of `width` steps goes on.
///
/// A beam search's best candidates soon share their beginning; here each subtree keeps its own, which pays at large
/// budgets (Beeching, Tunstall and Rush 2024, after 2408.03314). Chosen is among all subtrees' answers.
///
/// `n` counts the candidates of all subtrees, `width` those of each; the settings are those of `beam`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Dvts(pub Beam);

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "dvts",
    schema: schema_of::<Dvts>,
    build: |settings| {
        let own: Dvts = parse(settings)?;
        own.0.check()?;
        Ok(Box::new(own))
    },
};

impl StrategyFactory for Dvts {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let Beam { n, width, choice, .. } = self.0;
        self.0.grow(start, Rounds::new(n / width, width, 1, width, choice))
    }

    fn samples(&self) -> usize {
        self.0.n
    }
}
