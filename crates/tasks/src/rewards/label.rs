//! One of a few words: yes, no or maybe.

use relign_core::{ConfigError, Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::clauses::{clauses, denies, last_choice};
use super::said;
use super::stated::Stated;

/// Pays 1 if the answer gives the task's label: yes, no or maybe, or the words that you list.
///
/// Read is what the answer says it comes to: within `<answer>...</answer>`, in `\boxed{}`, behind `####`,
/// behind "answer is", the last of them; else a first line that is a label and nothing else; else the last line, if it begins
/// with a label. Case means nothing. What explains ("because no ...") or denies ("not yes", "yes is wrong") gives no label,
/// and whoever names several labels in one clause has given none.
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
        match given(&labels, &text, transcript.finished) {
            Err(why) => Score::unparsed(why),
            Ok(label) if *label == expected => Score::correct(label).answering(label),
            Ok(label) => Score::wrong(format!("got {label}, expected {expected}")).answering(label),
        }
    }
}

/// The label that a text gives.
fn given<'l>(labels: &'l [String], text: &str, finished: bool) -> Result<&'l str, String> {
    let longer = |last: &str| {
        let last = alone(last);
        !labels.iter().any(|label| label.len() > last.len() && label.starts_with(&last))
    };
    if let Some(label) = last_choice(text, finished, longer, |statement| stated(labels, statement)) {
        return label;
    }
    if Stated::marked_kinds(text, finished).next().is_some() {
        return Err("no label where the answer should be".to_owned());
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Err("nothing was said".to_owned()) };
    let named = |line: &str| labels.iter().find(|label| **label == alone(line)).map(String::as_str);
    // Whoever writes labels below one another has chosen none.
    let mut listed = lines.iter().filter_map(|line| named(line));
    let listed_first = listed.next();
    if let Some((one, other)) = listed_first.and_then(|one| Some((one, listed.find(|other| *other != one)?))) {
        return Err(format!("names both `{one}` and `{other}`"));
    }
    if !finished && !longer(last) {
        return Err("cut off where its answer may go on".to_owned());
    }
    if let Some(label) = named(first) {
        return Ok(label);
    }
    let words = words_of(last);
    if !labels.iter().any(|label| places(&words, label).contains(&0)) {
        return Err("its last line begins with no label".to_owned());
    }
    let label = stated(labels, last).unwrap_or_else(|| Err("what it says is not a label".to_owned()))?;
    match listed_first {
        Some(other) if other != label => Err(format!("names both `{other}` and `{label}`")),
        _ => Ok(label),
    }
}

/// The label that a statement gives: that of its first clause which affirms one. Nothing where none does.
fn stated<'l>(labels: &'l [String], statement: &str) -> Option<Result<&'l str, String>> {
    if let Some(label) = labels.iter().find(|label| **label == alone(statement)) {
        return Some(Ok(label));
    }
    clauses(statement).into_iter().find_map(|clause| affirmed(labels, clause))
}

/// The label that a clause affirms.
fn affirmed<'l>(labels: &'l [String], clause: &str) -> Option<Result<&'l str, String>> {
    let words = words_of(clause);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.first().is_some_and(|first| matches!(*first, "because" | "since" | "while" | "whereas" | "unlike")) {
        return None;
    }
    let mut found: Vec<(usize, usize, &str)> = Vec::new();
    for label in labels {
        let length = label.split_whitespace().count();
        found.extend(places(&words, label).into_iter().map(|at| (at, at + length, label.as_str())));
    }
    // A label within a longer one that is there is part of it.
    let all = found.clone();
    found.retain(|(start, end, _)| {
        !all.iter().any(|(from, to, _)| from <= start && end <= to && to - from > end - start)
    });
    // "that no evidence was found" says nothing.
    if let [(start, end, "no")] = found[..]
        && start > 0
        && end < words.len()
    {
        return None;
    }
    let denied = |(start, end, _): &(usize, usize, &str)| {
        words[..*start].iter().any(|word| denies(word))
            || words.get(*end).is_some_and(|word| matches!(*word, "is" | "was" | "would" | "cannot" | "isn't"))
                && words[*end..].iter().any(|word| denies(word))
    };
    if found.iter().any(denied) {
        return None;
    }
    found.sort_unstable();
    let (_, _, first) = found.first()?;
    match found.iter().find(|(_, _, label)| label != first) {
        Some((_, _, other)) => Some(Err(format!("names both `{first}` and `{other}`"))),
        None => Some(Ok(first)),
    }
}

/// A text in small letters without what is no letter at its ends.
fn alone(text: &str) -> String {
    let text = text.replace("\\text{", "").replace("\\textbf{", "");
    bare(text.trim_matches(|c: char| !c.is_alphanumeric()))
}

/// The words of a text in small letters.
fn words_of(text: &str) -> Vec<String> {
    let text = bare(text);
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// Where the words of a label stand.
fn places(words: &[impl AsRef<str>], label: &str) -> Vec<usize> {
    let wanted: Vec<&str> = label.split_whitespace().collect();
    let same = |window: &[_]| window.iter().map(AsRef::as_ref).eq(wanted.iter().copied());
    words.windows(wanted.len()).enumerate().filter(|(_, window)| same(window)).map(|(at, _)| at).collect()
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
        for right in [
            "Yes",
            "yes.",
            "Yes, it does.",
            "The answer is **yes**.",
            "no doubt:\n#### yes",
            "\\boxed{\\text{Yes}}",
            "Yes\n\nThe trial shows no harm.",
            "Answer: no.\n\nWait, two of them do. Answer: yes",
            "\\boxed{no}, or so it seems. In fact \\boxed{yes}",
            "The answer is yes, not no.",
            "The answer is yes because no harm was seen",
            "Answer: it is not no, the answer is yes",
            "#### Yes, it does not matter",
        ] {
            assert_eq!(judge(&three, "yes", right), Verdict::Correct, "{right}");
        }
        for wrong in [
            "No",
            "The answer is maybe",
            "yes?\n#### no",
            "No, it does not.",
            "The answer is no; yes is wrong",
            "No\n\nIt would be yes if it worked.",
        ] {
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
            "The answer is not yes",
            "Answer: yes is wrong",
            "Answer: yes\nAnswer: no",
            "no\nIn short:\nyes",
            "The answer is that no evidence was found",
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
