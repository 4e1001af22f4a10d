//! Multiple choice.

use std::collections::BTreeMap;

use relign_core::{Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::clauses::{clauses, denies, last_choice};
use super::said;

/// Pays 1 if the answer chooses the task's option.
///
/// The options are the task's fact `options` (a JSON object of letters and texts, or a list), or else the
/// lines `(A) text`, `A. text` or `A) text` of the question. The task's answer is a letter, also in
/// parentheses, or an option's text. Read is what the answer says it comes to: within
/// `<answer>...</answer>`, in `\boxed{}`, behind `####`, behind "answer is", the last of them; else a first line that is a
/// choice and nothing else; else the last line. There a choice is a letter, alone or in a sentence (`B`, `(B)`, `B. Ten`,
/// `option B`, `B is right`), or the text of one option. What explains ("because A ...") or denies ("not A", "A is wrong")
/// chooses nothing, and whoever names several options has chosen none. An answer of the task that is neither letter nor text is
/// an index from 0.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Choice {
    /// Only answers that the model ended by itself count.
    pub finished: bool,
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> =
    Entry { name: "choice", schema: schema_of::<Choice>, build: |settings| Ok(Box::new(parse::<Choice>(settings)?)) };

impl Reward for Choice {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let options = match Options::of(task) {
            Ok(options) => options,
            Err(why) => return Score::failed(format!("task {}: {why}", task.id)),
        };
        let Some(expected) = options.gold(&task.answer) else {
            return Score::failed(format!(
                "task {}: expected a letter or an option's text as its answer, got `{}`",
                task.id, task.answer
            ));
        };
        if self.finished && !transcript.finished {
            return Score::unparsed("cut off before its end");
        }
        let text = said(task, transcript);
        match options.answer(&text, transcript.finished) {
            Err(why) => Score::unparsed(why),
            Ok(letter) if letter == expected => Score::correct(format!("chose {letter}")).answering(letter),
            Ok(letter) => Score::wrong(format!("chose {letter}, expected {expected}")).answering(letter),
        }
    }
}

/// The options by their letters.
pub(super) struct Options(BTreeMap<char, String>);

impl Options {
    /// The options of a task.
    pub(super) fn of(task: &Task) -> Result<Self, String> {
        let found = match task.facts.get("options") {
            Some(options) => given(options)?,
            None => task.messages.last().map(|question| listed(&question.content)).unwrap_or_default(),
        };
        if found.len() < 2 {
            return Err("expected at least two options in the fact `options` or as lines of the question".to_owned());
        }
        Ok(Self(found.into_iter().map(|(letter, text)| (letter, bare(&text))).collect()))
    }

    /// The letter that the task's answer means.
    pub(super) fn gold(&self, answer: &str) -> Option<char> {
        let letter = answer.trim().trim_matches(['(', ')', '.']);
        let mut characters = letter.chars();
        if let (Some(letter), None) = (characters.next(), characters.next()) {
            return Some(letter.to_ascii_uppercase()).filter(|letter| self.0.contains_key(letter));
        }
        let text = bare(answer);
        let mut same = self.0.iter().filter(|(_, option)| **option == text);
        match same.next() {
            Some((letter, _)) => Some(*letter).filter(|_| same.next().is_none()),
            // MMLU counts its options from 0.
            None => answer.trim().parse().ok().and_then(|index: usize| self.0.keys().nth(index)).copied(),
        }
    }

    /// The letter that an answer chooses: by the last statement of the strongest kind that chooses any, else by its first line if
    /// that is a choice and nothing else, else by its last line.
    fn answer(&self, text: &str, finished: bool) -> Result<char, String> {
        let ends = |statement: &str| statement.ends_with(['.', ')']);
        if let Some(choice) = last_choice(text, finished, ends, |statement| self.chosen(statement)) {
            return choice;
        }
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let alone: Vec<char> = lines.iter().filter_map(|line| self.alone(line)).collect();
        // Whoever writes letters below one another has chosen none.
        if let Some(other) = alone.iter().find(|letter| **letter != alone[0]) {
            return Err(format!("chooses {} and {other}", alone[0]));
        }
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            return Err("nothing was said".to_owned());
        };
        if !finished && !last.trim_end().ends_with(['.', ')']) {
            return Err("cut off where its answer may go on".to_owned());
        }
        if let Some(letter) = self.alone(first) {
            return Ok(letter);
        }
        let chosen = self.chosen(last).unwrap_or_else(|| Err(format!("no option in `{}`", short(last))))?;
        match alone.first() {
            Some(other) if *other != chosen => Err(format!("chooses {chosen} and {other}")),
            _ => Ok(chosen),
        }
    }

    /// The letter of a line that is a choice and nothing else.
    fn alone(&self, line: &str) -> Option<char> {
        let line = line.trim().trim_matches(['*', '_']);
        let letter = line.trim_matches(['(', ')', '.', '*', ' ']);
        let mut characters = letter.chars();
        match (characters.next(), characters.next()) {
            (Some(letter), None) => Some(letter.to_ascii_uppercase()).filter(|letter| self.0.contains_key(letter)),
            _ => {
                let text = bare(line);
                let mut same = self.0.iter().filter(|(_, option)| **option == text);
                same.next().map(|(letter, _)| *letter).filter(|_| same.next().is_none())
            }
        }
    }

    /// What a statement chooses, none where it is about no option: the option of its first clause that affirms any.
    fn chosen(&self, statement: &str) -> Option<Result<char, String>> {
        let statement = statement.lines().next().unwrap_or_default();
        // A formula is about no option.
        let words = ["\\text", "\\math", "\\left", "\\right", "\\quad", "\\ ", "\\,", "\\;", "\\(", "\\)"];
        if statement.match_indices('\\').any(|(at, _)| !words.iter().any(|word| statement[at..].starts_with(word))) {
            return None;
        }
        match self.clause(statement, true) {
            Ok(letter) => return Some(Ok(letter)),
            Err(None) => return None,
            Err(Some(_)) => {}
        }
        let clauses = clauses(statement);
        let mut affirmed = clauses.iter().filter(|clause| !denies(clause)).map(|clause| self.clause(clause, false));
        affirmed.find_map(|choice| match choice {
            Ok(letter) => Some(Ok(letter)),
            Err(why) => why.map(Err),
        })
    }

    /// The letter that a clause chooses; nothing, or why none, where it does not. Of a `whole` statement that has
    /// clauses which deny or explain, none is the letter.
    fn clause(&self, statement: &str, whole: bool) -> Result<char, Option<String>> {
        if whole && bare(statement).split_whitespace().count() > 1 && clauses(statement).len() > 1 {
            let text = bare(statement);
            let mut same = self.0.iter().filter(|(_, option)| **option == text);
            return match (same.next(), same.next()) {
                (Some((letter, _)), None) => Ok(*letter),
                _ => Err(Some(String::new())),
            };
        }
        if whole && denies(statement) {
            return Err(None);
        }
        self.single(statement)
    }

    /// The letter that a statement of one clause chooses.
    fn single(&self, statement: &str) -> Result<char, Option<String>> {
        let whole = bare(statement);
        // The text of an option, and nothing else.
        let same: Vec<char> = self.0.iter().filter(|(_, text)| **text == whole).map(|(letter, _)| *letter).collect();
        if let [letter] = same[..] {
            return Ok(letter);
        }
        let mut letters = self.letters(statement);
        letters.sort_unstable();
        letters.dedup();
        match letters[..] {
            [letter] => return Ok(letter),
            [] => {}
            _ => return Err(Some(format!("names several options: `{}`", short(statement)))),
        }
        // An option's text in a sentence, unless it is part of another's that is there.
        let mut there: Vec<(&str, char)> =
            self.0.iter().filter(|(_, text)| holds(&whole, text)).map(|(l, text)| (text.as_str(), *l)).collect();
        let all = there.clone();
        there.retain(|(text, _)| !all.iter().any(|(other, _)| other.len() > text.len() && holds(other, text)));
        match there[..] {
            [(_, letter)] => Ok(letter),
            [] => Err(None),
            _ => Err(Some(format!("names several options: `{}`", short(statement)))),
        }
    }

    /// The letters of options that stand in a statement by themselves.
    fn letters(&self, statement: &str) -> Vec<char> {
        let text = statement.replace("\\text{", " ").replace("\\textbf{", " ").replace("\\mathrm{", " ");
        let characters: Vec<char> = text.chars().collect();
        let mut found = Vec::new();
        for (at, &c) in characters.iter().enumerate() {
            let letter = c.to_ascii_uppercase();
            let near = |step: isize| at.checked_add_signed(step).and_then(|at| characters.get(at)).copied();
            let inner = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '\'' | '’' | '-'));
            if !self.0.contains_key(&letter) || inner(near(-1)) || inner(near(1)) {
                continue;
            }
            let before: String = characters[..at].iter().collect();
            let before = before.trim_end_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            let alone = |part: &[char]| part.iter().all(|c| !c.is_alphanumeric());
            let all_alone = alone(&characters[..at]) && alone(&characters[at + 1..]);
            let bracketed =
                matches!(near(-1), Some('(' | '[' | '*' | '{')) && matches!(near(1), Some(')' | ']' | '*' | '}'));
            let after: String = characters[at + 1..].iter().collect();
            // Letters in a row are a list of letters.
            let lone = |word: Option<&str>| {
                word.is_some_and(|word| word.len() == 1 && word.to_uppercase() != word.to_lowercase())
            };
            let listed = lone(after.split_whitespace().next().filter(|_| after.starts_with(' ')))
                || lone(before.split_whitespace().next_back());
            let joined = listed
                || [" or ", " and ", ",", "/"].iter().any(|word| after.starts_with(word))
                || [" or", " and"].iter().any(|word| before.ends_with(word));
            let introduced = ["option", "choice", "letter", "answer"].iter().any(|word| before.ends_with(word));
            let heading = alone(&characters[..at]) && matches!(near(1), Some('.' | ')' | ':'));
            // Small letters and the words "a" and "I" are letters only where nothing else is meant: "A is right", "I pick A".
            let next = after.trim_start().split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            let subject =
                matches!(next, "is" | "was" | "seems" | "looks" | "because" | "since" | "would" | "must" | "should");
            let ends = !after.trim_start().starts_with(|c: char| c.is_alphanumeric());
            let word = c.is_lowercase() || (matches!(c, 'A' | 'I') && !subject && !ends);
            if all_alone || bracketed || introduced || joined || heading || !word {
                found.push(letter);
            }
            if heading {
                // `B. Ten or A` has chosen B: what follows is the option's text.
                let rest: String = characters[at + 1..].iter().collect();
                if self.0.get(&letter).is_some_and(|text| *text == bare(&rest)) {
                    return vec![letter];
                }
            }
        }
        found
    }
}

/// The beginning of a text, for messages.
fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A text in small letters without punctuation at its ends, all spaces one.
fn bare(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    text.trim_matches(|c: char| c.is_whitespace() || ".,;:!*_\"'`()$".contains(c)).to_owned()
}

/// Whether `text` holds `part` as whole words.
fn holds(text: &str, part: &str) -> bool {
    let edge = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    !part.is_empty()
        && text
            .match_indices(part)
            .any(|(at, _)| edge(text[..at].chars().next_back()) && edge(text[at + part.len()..].chars().next()))
}

/// The options in a fact.
fn given(fact: &str) -> Result<Vec<(char, String)>, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let letter = |name: &str| {
        let mut characters = name.chars();
        let first = characters.next().filter(char::is_ascii_alphanumeric)?.to_ascii_uppercase();
        characters.next().is_none().then_some(first)
    };
    let wrong = || format!("expected options as a JSON object of letters and texts or as a list, got `{fact}`");
    match serde_json::from_str(fact).map_err(|_| wrong())? {
        Value::Array(texts) if texts.len() <= 26 => Ok(('A'..='Z').zip(texts.iter().map(text)).collect()),
        Value::Object(texts) => texts
            .iter()
            .map(|(name, value)| Some((letter(name)?, text(value))))
            .collect::<Option<_>>()
            .ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// The options among a question's lines.
fn listed(question: &str) -> Vec<(char, String)> {
    let mut found: Vec<(char, String)> = Vec::new();
    for line in question.lines() {
        let line = line.trim();
        let inner = line.strip_prefix('(').unwrap_or(line);
        let mut characters = inner.chars();
        let Some(letter) = characters.next().filter(char::is_ascii_uppercase) else { continue };
        let rest = characters.as_str();
        let Some(text) = rest.strip_prefix(')').or_else(|| rest.strip_prefix('.').filter(|_| inner == line)) else {
            continue;
        };
        // Options follow one another from A on; a sentence that begins with an initial does not.
        if letter as usize == 'A' as usize + found.len() {
            found.push((letter, text.trim().to_owned()));
        } else if letter == 'A' {
            found = vec![(letter, text.trim().to_owned())];
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::{Message, Verdict};

    fn judge(answer: &str) -> Score {
        let options = r#"{"A": "Ten", "B": "Tell the attending", "C": "Tell", "D": "Refuse to dictate a report"}"#;
        let task = Task {
            answer: "B".to_owned(),
            messages: vec![Message::user("What next?")],
            facts: [("options".to_owned(), options.to_owned())].into(),
            ..Task::default()
        };
        Choice::default().score(&task, &Transcript::of(answer, true))
    }

    #[test]
    fn choices() {
        for right in [
            "B",
            "(B)",
            "b",
            "B.",
            "**B**",
            "The answer is B.",
            "The answer is (B) Tell the attending.",
            "The answer is B. Tell the attending",
            "A would harm, so\n#### B",
            "\\boxed{\\text{B}}",
            "<answer>option b</answer>",
            "I think that B is right.",
            "The best choice is B",
            "He must tell the attending.",
            "The answer is: tell the attending",
            "The answer is B. I repeat: the answer is B.",
            "\\boxed{A}. No, he must tell: \\boxed{B}",
            "Answer: A is wrong.\n\nAnswer: B",
            "B\n\nBecause A harms and C is vague.",
            "B, not A",
            "Answer: it is not A, the answer is B",
        ] {
            assert_eq!(judge(right).verdict, Verdict::Correct, "{right}: {}", judge(right).reason);
        }
        for wrong in ["A", "The answer is C", "#### (D)", "Ten", "It is a refusal: option A", "Tell"] {
            assert_eq!(judge(wrong).verdict, Verdict::Wrong, "{wrong}: {}", judge(wrong).reason);
        }
        for neither in [
            "",
            "A B C D",
            "A, B, C or D",
            "A B",
            "A\nB",
            "#### A\n#### B",
            "\\boxed{A}\n\\boxed{B}",
            "C\nso\nB",
            "The answer is A or B",
            "Ten, tell the attending",
            "A patient came in.",
            "Nobody knows.",
            "E",
            "The answer is B or C",
            "The answer is C or A",
        ] {
            assert_eq!(judge(neither).verdict, Verdict::Unparsed, "{neither}: {}", judge(neither).reason);
        }
    }

    #[test]
    fn options_in_the_question() {
        let score = |gold: &str, answer: &str| {
            let question = "Pick one.\nOptions:\n(A) red\n(B) dark red\n(C) blue";
            let task = Task { answer: gold.to_owned(), messages: vec![Message::user(question)], ..Task::default() };
            Choice::default().score(&task, &Transcript::of(answer, true)).verdict
        };
        assert_eq!(score("(B)", "The answer is (B)."), Verdict::Correct);
        assert_eq!(score("(B)", "It is dark red"), Verdict::Correct);
        assert_eq!(score("blue", "C"), Verdict::Correct);
        assert_eq!(score("green", "C"), Verdict::Failed);
        assert_eq!(Options::of(&Task::default()).err().map(|e| e.contains("at least two")), Some(true));
    }
}
