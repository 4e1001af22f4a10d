//! Countdown: reach a number from others.

use num_traits::{Signed, ToPrimitive};
use relign_core::{ConfigError, Entry, Environment, Message, Score, Seed, Split, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::draws::{Drawn, Draws};
use crate::expression::{Expression, Operator};
use crate::rewards::said;

/// Reach a target from given numbers, each used at most once, with `+ - * /`.
///
/// The task of the television game, popular for showing that verifiable rewards alone teach search. An
/// answer is an expression after the last `####`, within the last `<answer>...</answer>`, or else on the
/// last line; it is parsed and evaluated exactly, and a trailing `= target` is ignored. Every task
/// has a solution. Tasks of equal numbers and target count as one; a hash of them decides whether
/// they are for training or held out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Countdown {
    /// How many numbers are given, 2 to 8.
    pub numbers: usize,
    /// The largest of them, 2 to 1000.
    pub max: u64,
    /// The largest target.
    pub target: u64,
    /// Whether a solution must use every number.
    pub use_all: bool,
    /// What follows the question.
    pub instruction: String,
    /// Which of the endless tasks are drawn.
    pub seed: Seed,
    #[serde(skip)]
    #[schemars(skip)]
    draws: Draws<Problem>,
}

impl Default for Countdown {
    fn default() -> Self {
        Self {
            numbers: 3,
            max: 20,
            target: 100,
            use_all: false,
            instruction: "End with #### and the expression.".to_owned(),
            seed: Seed(1),
            draws: Draws::default(),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> = Entry {
    name: "countdown",
    schema: schema_of::<Countdown>,
    build: |settings| {
        let countdown: Countdown = parse(settings)?;
        countdown.check()?;
        Ok(Box::new(countdown))
    },
};

#[derive(Clone, Debug)]
struct Problem {
    numbers: Vec<u64>,
    target: u64,
    solution: Expression,
}

impl Countdown {
    fn check(&self) -> Result<(), ConfigError> {
        if !(2..=8).contains(&self.numbers) {
            return Err(ConfigError::at("numbers", format!("expected 2 to 8, got {}", self.numbers)));
        }
        if !(2..=1000).contains(&self.max) {
            return Err(ConfigError::at("max", format!("expected 2 to 1000, got {}", self.max)));
        }
        if self.target == 0 {
            return Err(ConfigError::at("target", "expected at least 1, got 0"));
        }
        Ok(())
    }

    /// One draw; none if its target will not do.
    fn draw(&self, seed: Seed) -> Option<Drawn<Problem>> {
        let numbers: Vec<u64> = (0..self.numbers as u64).map(|i| 1 + seed.below(i, self.max)).collect();
        // Joins two of what is left until one expression holds all numbers.
        let mut parts: Vec<Expression> = numbers.iter().map(|&n| Expression::Number(n)).collect();
        let joins = seed.child("join");
        let mut counter = 0;
        while parts.len() > 1 {
            let mut pick = |len: usize| {
                counter += 1;
                joins.below(counter, len as u64) as usize
            };
            let left = parts.swap_remove(pick(parts.len()));
            let right = parts.swap_remove(pick(parts.len()));
            let operator = [Operator::Add, Operator::Subtract, Operator::Multiply, Operator::Divide][pick(4)];
            parts.push(Expression::binary(left, operator, right));
        }
        let solution = parts.pop()?;
        let value = solution.value().filter(|v| v.is_integer() && v.is_positive())?;
        let target = value.to_integer().to_u64().filter(|t| *t <= self.target && !numbers.contains(t))?;
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        Some(Drawn { canonical: format!("{sorted:?} -> {target}"), problem: Problem { numbers, target, solution } })
    }
}

impl Environment for Countdown {
    fn len(&self, _split: Split) -> Option<u64> {
        None
    }

    fn task(&self, split: Split, index: u64) -> Result<Task, String> {
        let id = format!("countdown/{}/{index}", split.name());
        let Problem { numbers, target, solution } = self
            .draws
            .get(self.seed.child("countdown"), split, index, |seed| self.draw(seed))
            .map_err(|what| format!("{id}: {what}"))?;
        let numbers = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let how = if self.use_all { "each exactly once" } else { "each at most once" };
        let question = format!("Make {target} from the numbers {numbers}, {how}, with +, -, * and /.");
        Ok(Task {
            id,
            messages: vec![Message::user(format!("{question} {}", self.instruction).trim_end())],
            answer: solution.to_string(),
            facts: [("numbers".to_owned(), numbers), ("target".to_owned(), target.to_string())].into(),
            ..Task::default()
        })
    }

    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let fact = |name: &str| task.facts.get(name).map_or("", String::as_str);
        let Ok(target) = fact("target").parse::<u64>() else {
            return Score::failed(format!("task {}: expected a target, got `{}`", task.id, fact("target")));
        };
        let mut left: Vec<u64> = fact("numbers").split(", ").filter_map(|n| n.parse().ok()).collect();
        let text = said(task, transcript);
        let candidate = candidate(&text);
        let expression = match Expression::parse(candidate) {
            Ok(expression @ Expression::Binary(..)) => expression,
            Ok(Expression::Number(_)) => return Score::unparsed(format!("expected an expression, got `{candidate}`")),
            Err(why) => return Score::unparsed(format!("no expression in `{candidate}`: {why}")),
        };
        for number in expression.numbers() {
            let Some(place) = left.iter().position(|&n| n == number) else {
                return Score::wrong(format!("`{expression}` uses {number} more often than it is given"))
                    .answering(expression.to_string());
            };
            left.swap_remove(place);
        }
        if self.use_all && !left.is_empty() {
            return Score::wrong(format!("`{expression}` leaves {left:?} unused")).answering(expression.to_string());
        }
        let score = match expression.value() {
            Some(value) if value == num_bigint::BigInt::from(target).into() => Score::correct(expression.to_string()),
            Some(value) => Score::wrong(format!("`{expression}` gives {value}, expected {target}")),
            None => Score::wrong(format!("`{expression}` divides by zero")),
        };
        score.answering(expression.to_string())
    }

    fn oracle(&self, task: &Task) -> Transcript {
        Transcript::of(format!("#### {}", task.answer), true)
    }
}

/// The part of `text` that should be the expression.
fn candidate(text: &str) -> &str {
    let part = if let Some((_, after)) = text.rsplit_once("####") {
        after.trim_start().lines().next().unwrap_or_default()
    } else if let Some((_, after)) = text.rsplit_once("<answer>") {
        after.split("</answer>").next().unwrap_or_default()
    } else {
        text.trim_end().lines().next_back().unwrap_or_default()
    };
    let side = part.split('=').next().unwrap_or_default();
    side.trim_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '*' | '$' | '`'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(answer: &str) -> Score {
        let facts = [("numbers".to_owned(), "3, 5, 7, 3".to_owned()), ("target".to_owned(), "26".to_owned())].into();
        Countdown::default().score(&Task { facts, ..Task::default() }, &Transcript::of(answer, true))
    }

    #[test]
    fn what_solves_and_what_does_not() {
        for answer in ["#### 3 * 7 + 5", "So:\n(3*7)+5 = 26.", "<answer>5 + 7 × 3</answer>", "no #### 1\n#### 7*3+5"] {
            assert_eq!(verdict(answer).value, 1.0, "{answer}: {}", verdict(answer).reason);
        }
        for (answer, why) in [
            ("#### 26", "expected an expression"),
            ("#### 20 + 6", "uses 20"),
            ("#### 3 * 7 + 3 + 5 - 3", "uses 3 more often"),
            ("#### 3 * 7", "gives 21, expected 26"),
            ("#### 7 / (3 - 3)", "divides by zero"),
            ("#### 7 * 3 + 5 #### 1", "expected an expression"),
            ("3 5 7 26", "no expression"),
            ("", "no expression"),
        ] {
            let score = verdict(answer);
            assert_eq!(score.value, 0.0, "{answer}");
            assert!(score.reason.contains(why), "{answer}: {}", score.reason);
        }
    }
}
