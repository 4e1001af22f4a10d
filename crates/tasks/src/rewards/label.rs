//! One of a few words: yes, no or maybe.

use relign_core::{ConfigError, Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::said;
use super::stated::Stated;

/// Pays 1 if the answer gives the task's label: yes, no or maybe, or the words that you list.
///
/// Read is what the answer says it comes to: within `<answer>...</answer>`, in `\boxed{}`, behind `####`,
/// behind "answer is"; else the last line, if it begins with a label. Case means nothing. Whoever names
/// several labels has given none, and "not valid" is no label.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Label {
    /// The labels, at least two.
    pub labels: Vec<String>,
    /// Only answers that the model ended by itself count.
    pub finished: bool,
}

impl Default for Label {
    fn default() -> Self {
        Self { labels: ["yes", "no", "maybe"].map(str::to_owned).into(), finished: false }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "label",
    schema: schema_of::<Label>,
    build: |settings| {
        let label: Label = parse(settings)?;
        let bare: Vec<String> = label.labels.iter().map(|label| bare(label)).collect();
        let sound = bare.iter().enumerate().all(|(at, label)| !label.is_empty() && !bare[..at].contains(label));
        if bare.len() < 2 || !sound {
            let message = format!("expected at least two labels that differ, got {:?}", label.labels);
            return Err(ConfigError::at("labels", message));
        }
        Ok(Box::new(label))
    },
};

impl Reward for Label {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let expected = bare(&task.answer);
        let labels: Vec<String> = self.labels.iter().map(|label| bare(label)).collect();
        if !labels.contains(&expected) {
            let known = self.labels.join(", ");
            return Score::failed(format!("task {}: expected one of {known}, got `{}`", task.id, task.answer));
        }
        if self.finished && !transcript.finished {
            return Score::unparsed("cut off before its end");
        }
        let text = said(task, transcript);
        let stated = Stated::of(&text, transcript.finished);
        let mut given = Vec::new();
        for part in &stated.parts {
            let part = bare(part);
            let words: Vec<&str> =
                part.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|w| !w.is_empty()).collect();
            let mut found =
                labels.iter().flat_map(|label| places(&words, label).into_iter().map(move |at| (at, label)));
            if !stated.marked && !found.clone().any(|(at, _)| at == 0) {
                return Score::unparsed("its last line begins with no label");
            }
            if found.clone().any(|(at, _)| at > 0 && matches!(words[at - 1], "not" | "isn't" | "never")) {
                return Score::unparsed("what it says is not a label");
            }
            let Some((_, first)) = found.next() else { return Score::unparsed("no label where the answer should be") };
            if let Some((_, other)) = found.find(|(_, label)| *label != first) {
                return Score::unparsed(format!("names both `{first}` and `{other}`"));
            }
            given.push(first.clone());
        }
        given.dedup();
        if !stated.marked {
            // Whoever writes labels below one another has not chosen the last.
            let alone = |line: &str| bare(line.trim_matches(|c: char| !c.is_alphanumeric()));
            let others = text.lines().map(alone).filter(|line| labels.contains(line) && given.first() != Some(line));
            let others: Vec<String> = others.collect();
            given.extend(others);
        }
        match &given[..] {
            [] => Score::unparsed("nothing was said"),
            [label] if stated.open && labels.iter().any(|other| other != label && other.starts_with(label)) => {
                Score::unparsed("cut off where its answer may go on")
            }
            [label] if *label == expected => Score::correct(label.as_str()).answering(label),
            [label] => Score::wrong(format!("got {label}, expected {expected}")).answering(label),
            [first, second, ..] => Score::unparsed(format!("names both `{first}` and `{second}`")),
        }
    }
}

/// Where the words of a label stand.
fn places(words: &[&str], label: &str) -> Vec<usize> {
    let wanted: Vec<&str> = label.split_whitespace().collect();
    words.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted).map(|(at, _)| at).collect()
}

fn bare(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::Verdict;

    fn judge(labels: &[&str], gold: &str, answer: &str) -> Verdict {
        let label = (ENTRY.build)(serde_json::json!({"labels": labels})).unwrap();
        let task = Task { answer: gold.to_owned(), ..Task::default() };
        label.score(&task, &Transcript::of(answer, true)).verdict
    }

    #[test]
    fn labels() {
        let three = ["yes", "no", "maybe"];
        for right in
            ["Yes", "yes.", "Yes, it does.", "The answer is **yes**.", "no doubt:\n#### yes", "\\boxed{\\text{Yes}}"]
        {
            assert_eq!(judge(&three, "yes", right), Verdict::Correct, "{right}");
        }
        for wrong in ["No", "The answer is maybe", "yes?\n#### no"] {
            assert_eq!(judge(&three, "yes", wrong), Verdict::Wrong, "{wrong}");
        }
        for neither in [
            "",
            "yes no maybe",
            "The answer is yes or no",
            "#### yes\n#### no",
            "I say yes",
            "yes\nno",
            "yesterday",
            "#### 5",
        ] {
            assert_eq!(judge(&three, "yes", neither), Verdict::Unparsed, "{neither}");
        }
        assert_eq!(judge(&["valid", "invalid"], "valid", "The answer is invalid"), Verdict::Wrong);
        assert_eq!(judge(&["valid", "invalid"], "valid", "The answer is not valid"), Verdict::Unparsed);
        assert_eq!(judge(&["no change", "a change"], "no change", "The answer is: no change."), Verdict::Correct);
        assert_eq!(judge(&three, "perhaps", "yes"), Verdict::Failed);
        assert!((ENTRY.build)(serde_json::json!({"labels": ["Yes", "yes "]})).is_err());
    }
}
