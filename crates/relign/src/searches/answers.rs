//! Final answers and which of them are the same, as the verifier sees it.

use std::sync::Arc;

use relign_core::{Answers, Reward, Task, Transcript, Verdict};
use relign_tasks::rewards::math::{Gold, Policy, verify};

/// Finds answers as the reward that judges them does and has it say which are the same. Where it does not tell what it
/// found, a sentence that states an answer is looked for.
#[derive(Clone)]
pub(crate) struct ByVerifier {
    reward: Arc<dyn Reward>,
}

impl ByVerifier {
    pub(crate) fn new(reward: Arc<dyn Reward>) -> Self {
        Self { reward }
    }
}

impl Answers for ByVerifier {
    fn extract(&self, task: &Task, text: &str) -> Option<String> {
        let score = self.reward.score(task, &Transcript::of(text, true));
        if matches!(score.verdict, Verdict::Unparsed | Verdict::Failed) {
            return None;
        }
        score.answer.or_else(|| {
            // Any number will do: what is asked is what would be compared with it.
            let gold = Gold::parse("0", &Policy::GSM8K).ok()?;
            verify(&gold, text).extracted
        })
    }

    fn same(&self, task: &Task, a: &str, b: &str) -> bool {
        self.reward.same(task, a, b)
    }
}

/// Every answer's class, told by the first answer in it: equal where the answers are the same.
pub(crate) fn classes(answers: &dyn Answers, task: &Task, all: &[Option<String>]) -> Vec<Option<String>> {
    let mut firsts: Vec<&str> = Vec::new();
    let mut classes = Vec::with_capacity(all.len());
    for answer in all {
        let first = answer.as_deref().map(|answer| {
            // The first that fits: equivalence need not be transitive to give one outcome.
            let found = firsts.iter().copied().find(|first| answers.same(task, first, answer));
            found.unwrap_or_else(|| {
                firsts.push(answer);
                answer
            })
        });
        classes.push(first.map(str::to_owned));
    }
    classes
}

#[cfg(test)]
mod tests {
    use relign_core::{Message, Section};
    use serde_json::{Map, json};

    use super::*;

    fn by(reward: &str, settings: serde_json::Value) -> ByVerifier {
        let arithmetic = Section { name: "arithmetic".to_owned(), settings: Map::new() };
        let environment = Arc::from(relign_tasks::environment(&arithmetic).unwrap());
        let section = serde_json::from_value(json!({"name": reward})).unwrap();
        let section = relign_core::RewardSection { settings: settings.as_object().unwrap().clone(), ..section };
        ByVerifier::new(relign_tasks::rewards(&[section], environment).unwrap())
    }

    #[test]
    fn votes_are_counted_by_what_the_verifier_holds_for_the_same() {
        let question = vec![Message::user("Which?\n(A) red\n(B) blue")];
        let task = |answer: &str| Task { answer: answer.to_owned(), messages: question.clone(), ..Task::default() };
        for (reward, settings, gold, texts, expected) in [
            ("final_number", json!({}), "7", ["So 1,000.", "#### 1000.00", "2000/2", "1001", "none"], [0, 0, 0, 3, 9]),
            (
                "math",
                json!({}),
                "x",
                ["\\boxed{\\frac{1}{2}}", "\\boxed{0.5}", "\\boxed{2x+2}", "\\boxed{2(x+1)}", ""],
                [0, 0, 2, 2, 9],
            ),
            (
                "choice",
                json!({}),
                "A",
                ["The answer is (B).", "B", "The answer is blue.", "A", "neither"],
                [0, 0, 0, 3, 9],
            ),
            ("label", json!({}), "yes", ["No.", "no", "Yes", "maybe", "perhaps so"], [0, 0, 2, 3, 9]),
            ("exact_match", json!({}), "a", ["B c", "b  C.", "a", "\"b c\"", ""], [0, 0, 2, 0, 9]),
        ] {
            let (by, task) = (by(reward, settings), task(gold));
            let found: Vec<Option<String>> = texts.iter().map(|text| by.extract(&task, text)).collect();
            let classes = classes(&by, &task, &found);
            let expected = expected.map(|place| found.get(place).cloned().flatten());
            assert_eq!(classes, expected, "{reward}");
            let (none, some): (Vec<_>, Vec<_>) = classes.into_iter().partition(Option::is_none);
            assert_eq!((none.len(), some.len()), (1, 4), "{reward}");
        }
    }
}
