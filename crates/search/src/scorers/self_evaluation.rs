//! The model's own judgement.

use relign_core::{ConfigError, Entry, NodeId, Question, Scorer, Tree, Valuation, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

/// The model's own judgement of what it said so far: it is asked, in a turn of its own that the answer does not go on
/// from, and what it says becomes a number from 0 to 1.
///
/// The value prompt of tree of thoughts (2305.10601). The last number in an answer is divided by `best`; without one,
/// the words `sure`, `likely` and `impossible` (and `yes` and `no`) stand for 1, 1/2 and 0. Several answers are
/// averaged; those that say neither are left out. Questions and answers count in the budget.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelfEvaluation {
    /// What the model is asked.
    pub question: String,
    /// The number that stands for certainty.
    pub best: f64,
    /// How many times it is asked; more than once needs a temperature above 0.
    pub times: usize,
    /// The longest an answer may be, in tokens.
    pub max_tokens: usize,
    /// The temperature of the answers.
    pub temperature: f32,
}

impl Default for SelfEvaluation {
    fn default() -> Self {
        Self {
            question: "Look at your reasoning so far. How likely is it to be correct and to lead to the right answer? \
                       Reply with a single number from 0 to 100."
                .to_owned(),
            best: 100.0,
            times: 1,
            max_tokens: 16,
            temperature: 0.0,
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Scorer> = Entry {
    name: "self_evaluation",
    schema: schema_of::<SelfEvaluation>,
    build: |settings| {
        let own: SelfEvaluation = parse(settings)?;
        if own.times == 0 || own.max_tokens == 0 {
            let name = if own.times == 0 { "times" } else { "max_tokens" };
            return Err(ConfigError::at(name, "expected at least 1, got 0"));
        }
        if !(own.best > 0.0 && own.best.is_finite()) {
            return Err(ConfigError::at("best", format!("expected a number above 0, got {}", own.best)));
        }
        if !(own.temperature >= 0.0 && own.temperature.is_finite()) || (own.times > 1 && own.temperature == 0.0) {
            let expected = if own.times > 1 { "above 0 to ask more than once" } else { "0 or more" };
            return Err(ConfigError::at("temperature", format!("expected {expected}, got {}", own.temperature)));
        }
        Ok(Box::new(own))
    },
};

impl Scorer for SelfEvaluation {
    fn value(&self, _: &Tree, _: NodeId) -> Valuation {
        Valuation::Ask(Question {
            text: self.question.clone(),
            times: self.times,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
        })
    }

    fn read(&self, answers: &[&str]) -> Result<f64, String> {
        let values: Vec<f64> = answers.iter().filter_map(|answer| read(answer, self.best)).collect();
        if values.is_empty() {
            return Err(format!("expected a number up to {} or a word such as `likely`, got {answers:?}", self.best));
        }
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    }
}

fn read(answer: &str, best: f64) -> Option<f64> {
    let number = |word: &str| word.trim_matches('.').parse::<f64>().ok().filter(|number| (0.0..=best).contains(number));
    let mut numbers = answer.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(number);
    if let Some(last) = numbers.next_back() {
        return Some(last / best);
    }
    let words = answer.split(|c: char| !c.is_alphabetic()).map(str::to_lowercase);
    let worth = |word: String| match word.as_str() {
        "sure" | "certain" | "yes" => Some(1.0),
        "likely" | "maybe" => Some(0.5),
        "impossible" | "unlikely" | "no" => Some(0.0),
        _ => None,
    };
    words.filter_map(worth).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_says_becomes_a_number() {
        let own = SelfEvaluation::default();
        for (answers, value) in [
            (&["85"][..], 0.85),
            (&["I would say 90 out of 100."], 1.0),
            (&["Probability: 70%."], 0.7),
            (&["It is likely."], 0.5),
            (&["Impossible"], 0.0),
            (&["sure", "likely", "what?"], 0.75),
            (&["300, no: 20"], 0.2),
        ] {
            assert_eq!(own.read(answers), Ok(value), "{answers:?}");
        }
        assert!(own.read(&["dunno", "900"]).unwrap_err().contains("expected a number up to 100"));
    }
}
