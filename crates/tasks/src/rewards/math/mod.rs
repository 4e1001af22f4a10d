//! The mathematics an answer ends in, compared exactly.

mod ball;
mod brackets;
mod canon;
mod compare;
mod complex;
mod effort;
mod evaluate;
mod exact;
mod extract;
mod form;
mod function;
mod layout;
mod lexer;
mod matrix;
mod measure;
mod named;
mod node;
mod numbers;
mod numeral;
mod parser;
mod policy;
mod poly;
mod prose;
mod region;
mod relation;
mod same;
mod term;
mod token;
mod units;
mod verify;
mod words;

use relign_core::{ConfigError, Entry, Reward, Score, Task, Transcript, Verdict, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

pub use policy::{Extract, Percent, Policy, Units};
pub use verify::{Finding, Gold, GoldError, Judgement, equivalent, verify};

pub(super) use prose::{head, instead};
pub(super) use words::leading_number;

use super::said;

/// Pays 1 if the answer's mathematics equals the task's answer, exactly.
///
/// LaTeX or plain text: numbers, fractions, roots, functions, formulas, intervals, sets, tuples, matrices,
/// equations, inequalities, words and letters. What is compared, where the answer is looked for and where
/// gold and answer are not interchangeable stands in `docs/verifier.md`. Verbatim repetitions of the
/// question are not read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Math {
    /// A named policy: where the answer stands and what its spelling means (`relign verify --help` lists
    /// them).
    pub policy: String,
    /// Only answers that the model ended by itself count.
    pub finished: bool,
    /// Overrides the policy's place of the answer.
    pub extract: Option<Extract>,
    /// Overrides whether the policy reads decimal commas.
    pub decimal_comma: Option<bool>,
    /// Overrides what the policy makes of percent signs.
    pub percent: Option<Percent>,
    /// Overrides what the policy makes of units.
    pub units: Option<Units>,
    /// Overrides from how many significant digits on the policy takes rounded decimals; 0: never.
    pub digits: Option<u32>,
}

impl Default for Math {
    fn default() -> Self {
        Self {
            policy: "latex".to_owned(),
            finished: false,
            extract: None,
            decimal_comma: None,
            percent: None,
            units: None,
            digits: None,
        }
    }
}

impl Math {
    /// The policy with what overrides it.
    ///
    /// # Errors
    /// If there is no policy of that name.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        let named = Policy::named(&self.policy)?;
        Ok(Policy {
            extract: self.extract.unwrap_or(named.extract),
            decimal_comma: self.decimal_comma.unwrap_or(named.decimal_comma),
            percent: self.percent.unwrap_or(named.percent),
            units: self.units.unwrap_or(named.units),
            digits: self.digits.unwrap_or(named.digits),
        })
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "math",
    schema: schema_of::<Math>,
    build: |settings| {
        let math = parse::<Math>(settings)?;
        Ok(Box::new(Judge { policy: math.policy()?, finished: math.finished }))
    },
};

/// [`Math`] with its policy looked up.
struct Judge {
    policy: Policy,
    finished: bool,
}

impl Reward for Judge {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let gold = match Gold::parse(&task.answer, &self.policy) {
            Ok(gold) => gold,
            Err(error) => return Score::failed(format!("task {}: {error}", task.id)),
        };
        if self.finished && !transcript.finished {
            return Score::unparsed("cut off before its end");
        }
        verify(&gold, &said(task, transcript)).score()
    }

    fn same(&self, _: &Task, a: &str, b: &str) -> bool {
        a == b || equivalent(a, b, &self.policy)
    }
}

impl Judgement {
    /// The judgement as a reward's score.
    #[must_use]
    pub fn score(self) -> Score {
        let reason = match &self.extracted {
            Some(extracted) => format!("`{extracted}`: {}", self.reason),
            None => self.reason,
        };
        let score = match self.finding {
            Finding::Correct => Score::correct(reason),
            Finding::Wrong => Score::wrong(reason),
            Finding::Unparsed => return Score::unparsed(reason),
        };
        Score { answer: self.extracted, ..score }
    }

    /// The verdict in the words of all rewards.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self.finding {
            Finding::Correct => Verdict::Correct,
            Finding::Wrong => Verdict::Wrong,
            Finding::Unparsed => Verdict::Unparsed,
        }
    }
}
