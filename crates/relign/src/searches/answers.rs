//! Final answers and which of them are the same, as the verifier sees it.

use std::sync::Arc;

use relign_core::{Answers, Environment, Task, Transcript, Verdict};
use relign_tasks::rewards::math::{Gold, Policy, equivalent, verify};

/// Finds answers where the task's verifier finds one, and compares them as the math verifier does: exactly.
pub(crate) struct ByVerifier {
    environment: Arc<dyn Environment>,
    policy: Policy,
}

impl ByVerifier {
    pub(crate) fn new(environment: Arc<dyn Environment>) -> Self {
        Self { environment, policy: Policy::GSM8K }
    }
}

impl Answers for ByVerifier {
    fn extract(&self, task: &Task, text: &str) -> Option<String> {
        let score = self.environment.score(task, &Transcript::of(text, true));
        if matches!(score.verdict, Verdict::Unparsed | Verdict::Failed) {
            return None;
        }
        // Any number will do: what is asked is what would be compared with it.
        let gold = Gold::parse("0", &self.policy).ok()?;
        verify(&gold, text).extracted
    }

    fn same(&self, _: &Task, a: &str, b: &str) -> bool {
        a == b || equivalent(a, b, &self.policy)
    }
}

#[cfg(test)]
mod tests {
    use relign_core::{Section, Split};

    use super::*;

    #[test]
    fn answers_are_found_and_compared_as_the_verifier_does() {
        let section = Section { name: "arithmetic".to_owned(), settings: serde_json::Map::new() };
        let environment: Arc<dyn Environment> = Arc::from(relign_tasks::environment(&section).unwrap());
        let task = environment.task(Split::Eval, 0).unwrap();
        let answers = ByVerifier::new(environment);
        let found = |text: &str| answers.extract(&task, text);
        assert_eq!(found("I do not know."), None);
        for (a, b, same) in [
            ("So the answer is 1,000.", "3 * 4 = 12, no.\n#### 1000", true),
            ("\\boxed{7}", "It is 7", true),
            ("#### 18", "The answer is 81.", false),
            ("The answer is $12.50", "12.5", true),
        ] {
            let (a, b) = (found(a).unwrap(), found(b).unwrap());
            assert_eq!(answers.same(&task, &a, &b), same, "{a} {b}");
        }
    }
}
