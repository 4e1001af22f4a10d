//! The number an answer ends in.

use num_rational::BigRational;
use relign_core::{Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::said;
use crate::number::{Found, numbers, plain};

/// Pays 1 if the answer's final number equals the task's, exactly.
///
/// Numbers are compared as fractions: `1,000`, `$1000.00` and `2000/2` are equal, `0.33` and `1/3` are
/// not. Whatever the text holds, one number of it counts, so naming many is no use. Verbatim
/// repetitions of the question are not read, nor is a number that the token limit may have cut.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FinalNumber {
    /// Where the number stands.
    pub from: Place,
    /// Only answers that the model ended by itself count.
    pub finished: bool,
}

/// Where in an answer its number stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The first of the following that the answer has.
    #[default]
    Auto,
    /// Behind the last `####`, alone on its line but for a unit.
    Marker,
    /// Alone in the last `\boxed{}`.
    Boxed,
    /// Behind the last "answer is": the number after the line's last `=`, or else the first.
    AnswerIs,
    /// The last number of all.
    Last,
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "final_number",
    schema: schema_of::<FinalNumber>,
    build: |settings| Ok(Box::new(parse::<FinalNumber>(settings)?)),
};

impl Reward for FinalNumber {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let Some(expected) = crate::number::parse(&plain(&task.answer)) else {
            return Score::failed(format!("task {}: expected a number as its answer, got `{}`", task.id, task.answer));
        };
        if self.finished && !transcript.finished {
            return Score::unparsed("cut off before its end");
        }
        let text = plain(&said(task, transcript));
        match self.find(&text, transcript.finished) {
            Err(why) => Score::unparsed(why),
            Ok(got) if got == expected => Score::correct(format!("got {got}")).answering(got.to_string()),
            Ok(got) => Score::wrong(format!("got {got}, expected {expected}")).answering(got.to_string()),
        }
    }
}

impl FinalNumber {
    fn find(&self, text: &str, finished: bool) -> Result<BigRational, String> {
        let whole = |found: Found, offset: usize| {
            if !finished && offset + found.end == text.len() {
                Err("cut off where its number may go on".to_owned())
            } else {
                Ok(found.value)
            }
        };
        let places = match self.from {
            Place::Auto => &[Place::Marker, Place::Boxed, Place::AnswerIs, Place::Last][..],
            ref one => std::slice::from_ref(one),
        };
        for place in places {
            let found = match place {
                Place::Marker => marked(text),
                Place::Boxed => boxed(text),
                Place::AnswerIs => stated(text),
                Place::Last | Place::Auto => numbers(text).pop().map(|found| (found, 0)),
            };
            if let Some((found, offset)) = found {
                return whole(found, offset);
            }
        }
        Err(match self.from {
            Place::Marker => "no number alone behind ####",
            Place::Boxed => "no number alone in \\boxed{}",
            Place::AnswerIs => "no number behind `answer is`",
            Place::Auto | Place::Last => "no number",
        }
        .to_owned())
    }
}

/// The number behind the last `####`, and where the text it was found in begins.
fn marked(text: &str) -> Option<(Found, usize)> {
    let offset = text.rfind("####")? + "####".len();
    let line = text[offset..].lines().next().unwrap_or_default();
    let mut found = numbers(line);
    let first = found.pop().filter(|_| found.is_empty())?;
    // A heading (`#### Step 1`) is no answer; `#### **$5**` is.
    let bare = line[..first.start].chars().all(|c| !c.is_alphanumeric());
    bare.then_some((first, offset))
}

fn boxed(text: &str) -> Option<(Found, usize)> {
    let inner = super::stated::boxed(text).pop()?;
    let mut found = numbers(&text[inner.clone()]);
    let first = found.pop().filter(|_| found.is_empty())?;
    Some((first, inner.start))
}

fn stated(text: &str) -> Option<(Found, usize)> {
    const STATED: &str = "answer is";
    // Lower case letter by letter, so that places in the text stay where they are.
    let offset = text.to_ascii_lowercase().rfind(STATED)? + STATED.len();
    let line = text[offset..].lines().next().unwrap_or_default();
    let from = line.rfind('=').map_or(0, |at| at + 1);
    let behind = numbers(&line[from..]).into_iter().next();
    match behind {
        Some(found) => Some((found, offset + from)),
        None => numbers(line).into_iter().next().map(|found| (found, offset)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::{Message, Verdict};

    fn judge(from: Place, answer: &str, finished: bool) -> Score {
        let task = Task {
            answer: "1,234.50".to_owned(),
            messages: vec![Message::user("Half of 2469?\n1234.5")],
            ..Task::default()
        };
        FinalNumber { from, finished: false }.score(&task, &Transcript::of(answer, finished))
    }

    #[test]
    fn right_answers() {
        for text in [
            "It is 1234.5",
            "1,234.50 dollars.",
            "5 + 3 ... #### $1,234.50",
            "#### 1\nno:\n#### **2469/2**\nAs 3 shows.",
            "so \\boxed{\\frac{2469}{2}} by 7",
            "The answer is 1234.5, not 99.",
            "The answer is: 2469 / 2 = 1234.5. I checked 4 times.",
            "#### Step 2\nhalves: 1234.5",
        ] {
            let score = judge(Place::Auto, text, true);
            assert_eq!(score.verdict, Verdict::Correct, "{text}: {}", score.reason);
        }
    }

    #[test]
    fn wrong_answers_and_none() {
        for (text, verdict) in [
            ("", Verdict::Unparsed),
            ("many", Verdict::Unparsed),
            ("-1234.5", Verdict::Wrong),
            ("1234.51", Verdict::Wrong),
            ("1234.5 or 7", Verdict::Wrong),
            ("Half of 2469?\n1234.5", Verdict::Unparsed),
            ("#### 1234.5\n#### 5", Verdict::Wrong),
            ("#### 1234.5 1 2 3", Verdict::Wrong),
            ("\\boxed{5} 1234.5", Verdict::Wrong),
        ] {
            let score = judge(Place::Auto, text, true);
            assert_eq!((score.verdict, score.value), (verdict, 0.0), "{text}: {}", score.reason);
        }
        assert_eq!(judge(Place::Marker, "1234.5", true).verdict, Verdict::Unparsed);
        assert_eq!(judge(Place::Boxed, "#### 1234.5", true).verdict, Verdict::Unparsed);
        assert_eq!(judge(Place::AnswerIs, "1234.5", true).verdict, Verdict::Unparsed);
        assert_eq!(judge(Place::Last, "#### 1\n1234.5", true).verdict, Verdict::Correct);
    }

    #[test]
    fn what_the_limit_cut_is_not_read_as_whole() {
        assert_eq!(judge(Place::Auto, "It is 1234.5", false).verdict, Verdict::Unparsed);
        assert_eq!(judge(Place::Auto, "It is 1234.5 and", false).verdict, Verdict::Correct);
        let strict = FinalNumber { from: Place::Auto, finished: true };
        let task = Task { answer: "7".to_owned(), ..Task::default() };
        assert_eq!(strict.score(&task, &Transcript::of("7 is it, said", false)).verdict, Verdict::Unparsed);
        assert_eq!(strict.score(&task, &Transcript::of("7", true)).verdict, Verdict::Correct);
    }

    #[test]
    fn a_task_without_a_number_is_the_judges_failure() {
        let score = FinalNumber::default().score(&Task::default(), &Transcript::of("7", true));
        assert_eq!(score.verdict, Verdict::Failed);
    }
}
