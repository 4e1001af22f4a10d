//! Arithmetic without end, from sums of two numbers to word problems.

use num_traits::{Signed, ToPrimitive};
use relign_core::{
    ConfigError, Entry, Environment, Message, Reward, Score, Seed, Split, Task, Transcript, parse, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::draws::{Drawn, Draws};
use crate::expression::{Expression, Operator};
use crate::rewards::FinalNumber;

/// Procedural arithmetic with levels.
///
/// | level | problems |
/// |---|---|
/// | 1 | a + b, a - b, up to 40 |
/// | 2 | a + b, a - b, two digits |
/// | 3 | three terms of two digits, + and - |
/// | 4 | a * b, up to two digits each |
/// | 5 | three terms, + - *, up to 20 |
/// | 6 | four terms, + - *, parentheses, up to 50 |
/// | 7 | word problems of two or three steps, up to 20 |
/// | 8 | word problems, up to 99 |
///
/// Every setting from `terms` to `parentheses` overrides its part of the level. A hash of the problem,
/// the order of terms and factors aside, decides whether it is for training or held out, so that the
/// two never meet, whatever the settings; held-out problems are distinct. Answers are whole numbers
/// and never one of the numbers in the problem, so that repeating the question earns nothing. Scored by
/// the `final_number` reward with its defaults.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Arithmetic {
    /// 1 to 8.
    pub level: usize,
    /// Numbers in a problem, 2 to 12.
    pub terms: Option<usize>,
    /// The operators drawn from, of `+-*/`; a division in a problem leaves no remainder in the end.
    pub operators: Option<String>,
    /// The smallest number in a problem.
    pub min: Option<u64>,
    /// The largest, at most a million.
    pub max: Option<u64>,
    /// Whether problems are grouped by parentheses.
    pub parentheses: Option<bool>,
    /// Whether answers below zero are allowed.
    pub negative: bool,
    /// What follows the question.
    pub instruction: String,
    /// Which of the endless problems are drawn.
    pub seed: Seed,
    #[serde(skip)]
    #[schemars(skip)]
    draws: Draws<Problem>,
}

impl Default for Arithmetic {
    fn default() -> Self {
        Self {
            level: 1,
            terms: None,
            operators: None,
            min: None,
            max: None,
            parentheses: None,
            negative: false,
            instruction: "Reply with just the number.".to_owned(),
            seed: Seed(1),
            draws: Draws::default(),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> = Entry {
    name: "arithmetic",
    schema: schema_of::<Arithmetic>,
    build: |settings| {
        let arithmetic: Arithmetic = parse(settings)?;
        arithmetic.check()?;
        Ok(Box::new(arithmetic))
    },
};

/// What a level draws from.
struct Level {
    terms: usize,
    operators: &'static str,
    range: (u64, u64),
    parentheses: bool,
    stories: bool,
}

const fn level(terms: usize, operators: &'static str, range: (u64, u64), parentheses: bool, stories: bool) -> Level {
    Level { terms, operators, range, parentheses, stories }
}

const LEVELS: [Level; 8] = [
    level(2, "+-", (1, 40), false, false),
    level(2, "+-", (10, 99), false, false),
    level(3, "+-", (10, 99), false, false),
    level(2, "*", (2, 99), false, false),
    level(3, "+-*", (2, 20), false, false),
    level(4, "+-*", (2, 50), true, false),
    level(0, "", (2, 20), false, true),
    level(0, "", (2, 99), false, true),
];

/// A story and what it asks for, with gaps for numbers.
const STORIES: [(&str, &str); 8] = [
    ("NAME has {a} THINGS, buys {b} more and gives {c} away. How many THINGS does NAME have now?", "{a} + {b} - {c}"),
    ("NAME has {b} boxes with {a} THINGS each, and {c} more THINGS. How many THINGS is that?", "{b} * {a} + {c}"),
    ("NAME buys {a} THINGS at {b} dollars each and pays with {c} dollars. How many come back?", "{c} - {a} * {b}"),
    ("Of {a} rows of {b} THINGS, {c} THINGS are lost and {d} are added. How many are there?", "{a} * {b} - {c} + {d}"),
    ("NAME shares {a} THINGS and {b} THINGS equally among {c} friends. How many does each get?", "({a} + {b}) / {c}"),
    ("NAME finds {a} THINGS a day for {b} days and loses {c} of them. How many are left?", "{a} * {b} - {c}"),
    (
        "On Monday {a} THINGS are sold, on Tuesday {b}, on Friday {c} fewer than both. How many on Friday?",
        "{a} + {b} - {c}",
    ),
    ("NAME earns {a} dollars an hour and works {b} hours, then {c}. How many dollars is that?", "{a} * ({b} + {c})"),
];
const GAPS: [&str; 4] = ["{a}", "{b}", "{c}", "{d}"];
const NAMES: [&str; 8] = ["Ada", "Ben", "Chloe", "Dan", "Emma", "Femi", "Goran", "Hana"];
const THINGS: [&str; 8] = ["apples", "books", "coins", "stamps", "pens", "shells", "marbles", "cards"];

#[derive(Clone, Debug)]
struct Problem {
    question: String,
    expression: Expression,
    answer: i128,
}

impl Arithmetic {
    fn drawn_from(&self) -> Level {
        let Level { terms, operators, range, parentheses, stories } = LEVELS[self.level - 1];
        Level {
            terms: self.terms.unwrap_or(terms),
            operators,
            range: (self.min.unwrap_or(range.0), self.max.unwrap_or(range.1)),
            parentheses: self.parentheses.unwrap_or(parentheses),
            stories,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        if !(1..=LEVELS.len()).contains(&self.level) {
            return Err(ConfigError::at("level", format!("expected 1 to {}, got {}", LEVELS.len(), self.level)));
        }
        let level = self.drawn_from();
        if level.stories {
            let set = [
                ("terms", self.terms.is_some()),
                ("operators", self.operators.is_some()),
                ("parentheses", self.parentheses.is_some()),
            ];
            if let Some((key, _)) = set.into_iter().find(|&(_, set)| set) {
                return Err(ConfigError::at(key, format!("level {} tells stories, which have their own", self.level)));
            }
        } else if !(2..=12).contains(&level.terms) {
            return Err(ConfigError::at("terms", format!("expected 2 to 12, got {}", level.terms)));
        }
        if let Some(operators) = &self.operators
            && (operators.is_empty() || operators.chars().any(|c| Operator::from_symbol(c).is_none()))
        {
            return Err(ConfigError::at("operators", format!("expected some of `+-*/`, got `{operators}`")));
        }
        let (min, max) = level.range;
        if min > max || max > 1_000_000 {
            return Err(ConfigError::at("max", format!("expected {min} (the smallest) to 1000000, got {max}")));
        }
        Ok(())
    }

    /// One draw; none if its answer will not do.
    fn draw(&self, level: &Level, seed: Seed) -> Option<Drawn<Problem>> {
        let (min, max) = level.range;
        let number = |counter| min + seed.child("number").below(counter, max - min + 1);
        let (question, expression) = if level.stories {
            let (story, formula) = STORIES[seed.child("story").below(0, STORIES.len() as u64) as usize];
            let pick = |label, from: &[&'static str]| from[seed.child(label).below(0, from.len() as u64) as usize];
            let fill = |text: &str| fill(text, number);
            let question = fill(story).replace("NAME", pick("name", &NAMES)).replace("THINGS", pick("thing", &THINGS));
            (question, Expression::parse(&fill(formula)).ok()?)
        } else {
            let symbols: Vec<char> = self.operators.as_deref().unwrap_or(level.operators).chars().collect();
            let operator = |counter| {
                let symbol = symbols[seed.child("operator").below(counter, symbols.len() as u64) as usize];
                Operator::from_symbol(symbol).expect("checked when built")
            };
            let expression = if level.parentheses {
                grouped(seed.child("group"), 0..level.terms as u64, &number, &operator)
            } else {
                let mut text = number(0).to_string();
                for i in 1..level.terms as u64 {
                    text.push_str(&format!(" {} {}", operator(i).symbol(), number(i)));
                }
                Expression::parse(&text).expect("written by the rules it is read by")
            };
            (format!("What is {expression}?"), expression)
        };
        let value = expression.value()?;
        if !value.is_integer() || (value.is_negative() && !self.negative) {
            return None;
        }
        let answer = value.to_integer().to_i128()?;
        if expression.numbers().iter().any(|&n| i128::from(n) == answer.abs()) {
            return None;
        }
        Some(Drawn { canonical: expression.canonical(), problem: Problem { question, expression, answer } })
    }
}

/// Puts numbers into the gaps `{a}` to `{d}`.
fn fill(text: &str, number: impl Fn(u64) -> u64) -> String {
    GAPS.iter().zip(0..).fold(text.to_owned(), |text, (gap, place)| text.replace(gap, &number(place).to_string()))
}

/// A random grouping of the numbers in `range`, each operator standing before its number.
fn grouped(
    seed: Seed,
    range: std::ops::Range<u64>,
    number: &impl Fn(u64) -> u64,
    operator: &impl Fn(u64) -> Operator,
) -> Expression {
    let size = range.end - range.start;
    if size == 1 {
        return Expression::Number(number(range.start));
    }
    let cut = range.start + 1 + seed.below(0, size - 1);
    Expression::binary(
        grouped(seed.child("left"), range.start..cut, number, operator),
        operator(cut),
        grouped(seed.child("right"), cut..range.end, number, operator),
    )
}

impl Environment for Arithmetic {
    fn len(&self, _split: Split) -> Option<u64> {
        None
    }

    fn task(&self, split: Split, index: u64) -> Result<Task, String> {
        let level = self.drawn_from();
        let id = format!("arithmetic/{}/{index}", split.name());
        let Problem { question, expression, answer } = self
            .draws
            .get(self.seed.child("arithmetic"), split, index, |seed| self.draw(&level, seed))
            .map_err(|what| format!("{id}, level {}: {what}", self.level))?;
        Ok(Task {
            id,
            messages: vec![Message::user(format!("{question} {}", self.instruction).trim_end())],
            answer: answer.to_string(),
            facts: [("expression".to_owned(), expression.to_string())].into(),
            ..Task::default()
        })
    }

    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        FinalNumber::default().score(task, transcript)
    }

    fn oracle(&self, task: &Task) -> Transcript {
        let expression = task.facts.get("expression").map_or("", String::as_str);
        Transcript::of(format!("{expression} = {}", task.answer), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_story_tells_the_numbers_it_asks_about() {
        for (story, formula) in STORIES {
            for gap in GAPS {
                assert_eq!(story.contains(gap), formula.contains(gap), "{gap} in `{story}`");
            }
            assert!(Expression::parse(&fill(formula, |place| place + 11)).is_ok(), "{formula}");
        }
    }
}
