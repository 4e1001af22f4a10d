//! Answers of several forms.

use relign_core::{Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::choice::{Choice, Options};
use super::exact_match::ExactMatch;
use super::final_number::FinalNumber;
use super::label::Label;

/// Judges by the form of the task's answer, for rows of several kinds.
///
/// | the task's answer | judged by |
/// |---|---|
/// | a letter in parentheses, or a letter where the question has options | `choice` |
/// | yes or no; true or false; valid or invalid | `label`, with both words |
/// | a number | `final_number` |
/// | brackets | `exact_match`, spaces aside |
/// | anything else | `exact_match`, commas aside where the answer has none |
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ByForm {
    /// Only answers that the model ended by itself count.
    pub finished: bool,
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> =
    Entry { name: "by_form", schema: schema_of::<ByForm>, build: |settings| Ok(Box::new(parse::<ByForm>(settings)?)) };

const PAIRS: [[&str; 2]; 3] = [["yes", "no"], ["true", "false"], ["valid", "invalid"]];

impl Reward for ByForm {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let finished = self.finished;
        let answer = task.answer.trim();
        let lower = answer.to_lowercase();
        if Options::of(task).is_ok_and(|options| options.gold(answer).is_some()) {
            return Choice { finished }.score(task, transcript);
        }
        if let Some(pair) = PAIRS.iter().find(|pair| pair.contains(&lower.as_str())) {
            return Label { labels: pair.map(str::to_owned).into(), finished }.score(task, transcript);
        }
        if crate::number::parse(answer).is_some() {
            return FinalNumber { finished, ..FinalNumber::default() }.score(task, transcript);
        }
        let brackets = answer.chars().all(|c| c.is_whitespace() || "()[]{}<>".contains(c));
        let ignore = match answer {
            _ if brackets => " ",
            _ if !answer.contains(',') => ",",
            _ => "",
        };
        ExactMatch { ignore: ignore.to_owned(), finished, case: false }.score(task, transcript)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::{Message, Verdict};

    #[test]
    fn every_form() {
        for (question, gold, right, wrong) in [
            ("Which?\n(A) red\n(B) blue", "(B)", "The answer is (B).", "The answer is (A)."),
            ("Does she?\nOptions:\n- Yes\n- No", "Yes", "The answer is yes.", "The answer is no."),
            ("not True is", "False", "False", "True"),
            ("Is it?", "invalid", "The answer is invalid", "The answer is valid"),
            ("1 + 1 =", "2", "The answer is 2.", "3"),
            ("Close: [ <", "> ]", "The answer is >]", "The answer is ]>"),
            ("Sort: b a", "a b", "The answer is: a, b", "b a"),
        ] {
            let messages = vec![Message::user(question)];
            let task = Task { answer: gold.to_owned(), messages, ..Task::default() };
            let judge = |text: &str| ByForm::default().score(&task, &Transcript::of(text, true)).verdict;
            assert_eq!((judge(right), judge(wrong)), (Verdict::Correct, Verdict::Wrong), "{question}");
            assert_eq!(judge(""), Verdict::Unparsed, "{question}");
        }
    }
}
