//! The number an answer ends in.

use num_rational::BigRational;
use relign_core::{Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::math::{head, instead, leading_number};
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
    /// Behind the last "answer is" or "answer:": the number after the line's last `=`, or else the first.
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
        let text = without_run_on(&text);
        match self.find(text, transcript.finished) {
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
                Place::Last | Place::Auto => numbers(text).pop().map(|found| (multiplied(text, found), 0)),
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

/// What stands before a question that the model asks itself after its answer.
fn without_run_on(text: &str) -> &str {
    let lower = text.to_ascii_lowercase();
    let stated_at = ["####", "\\boxed{", "answer is", "answer:"].iter().filter_map(|mark| lower.find(mark)).min();
    let Some(from) = stated_at else { return text };
    let asks = ["\nquestion:", "\nq:", "\nproblem:", "\nhuman:", "\nuser:"];
    let end = asks.iter().filter_map(|mark| lower[from..].find(mark)).min().map(|at| &text[..from + at]);
    end.filter(|before| marked(before).or_else(|| boxed(before)).or_else(|| stated(before)).is_some()).unwrap_or(text)
}

/// The number behind the last `####`, and where the text it was found in begins.
fn marked(text: &str) -> Option<(Found, usize)> {
    let offset = text.rfind("####")? + "####".len();
    let line = text[offset..].lines().next().unwrap_or_default();
    // `72 clips, i.e. 48 + 24`
    let line = head(line).unwrap_or(line);
    if let Some(found) = spaced_thousands(line) {
        return Some((found, offset));
    }
    let mut found = numbers(line);
    let first = found.pop().filter(|_| found.is_empty())?;
    // A heading (`#### Step 1`) is no answer; `#### **$5**` is, and so are `#### Answer: 5` and `#### x = 5`.
    let lead = line[..first.start].trim_end_matches(|c: char| !c.is_alphanumeric() && !matches!(c, ':' | '='));
    let named = lead.ends_with([':', '=']) && !lead.contains(|c: char| c.is_ascii_digit());
    (named || lead.is_empty()).then(|| (multiplied(line, first), offset))
}

/// A line that is one number with spaces between its thousands: `70 000`.
fn spaced_thousands(line: &str) -> Option<Found> {
    let bare = line.trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '$' | '.'));
    let mut parts = bare.trim_start_matches('-').split(' ');
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let first = parts.next().filter(|part| (1..=3).contains(&part.len()) && digits(part))?;
    let rest: Vec<&str> = parts.collect();
    if rest.is_empty() || first.starts_with('0') || !rest.iter().all(|part| part.len() == 3 && digits(part)) {
        return None;
    }
    let value = crate::number::parse(&bare.replace(' ', ""))?;
    let start = line.find(bare)?;
    Some(Found { value, start, end: start + bare.len() })
}

/// The number times what stands behind it in words: `2 million`.
fn multiplied(text: &str, found: Found) -> Found {
    let behind = text[found.end..].trim_start();
    let long = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
    let times: i64 = match &*behind[..long].to_ascii_lowercase() {
        "thousand" => 1_000,
        "million" => 1_000_000,
        "billion" => 1_000_000_000,
        "trillion" => 1_000_000_000_000,
        _ => return found,
    };
    Found { value: found.value * num_bigint::BigInt::from(times), ..found }
}

fn boxed(text: &str) -> Option<(Found, usize)> {
    let inner = super::stated::boxed(text).pop()?;
    let mut found = numbers(&text[inner.clone()]);
    let first = found.pop().filter(|_| found.is_empty())?;
    Some((first, inner.start))
}

fn stated(text: &str) -> Option<(Found, usize)> {
    // Lower case letter by letter, so that places in the text stay where they are.
    let lower = text.to_ascii_lowercase();
    let marks = ["answer is", "answer:", "answer**:"];
    let mut offset = marks.iter().filter_map(|mark| lower.rfind(mark).map(|at| at + mark.len())).max()?;
    // The line may end there, and the answer stand on the next one.
    offset += text[offset..].len() - text[offset..].trim_start_matches([' ', ':', '*', '\n']).len();
    let mut line = text[offset..].lines().next().unwrap_or_default();
    if let Some(rest) = instead(line) {
        offset += line.len() - rest.len();
        line = rest;
    }
    if let Some(number) = leading_number(line) {
        let value = BigRational::from(num_bigint::BigInt::from(number));
        return Some((Found { value, start: 0, end: 0 }, offset));
    }
    let from = line.rfind('=').map_or(0, |at| at + 1);
    let behind = numbers(&line[from..]).into_iter().next();
    match behind {
        Some(found) => Some((multiplied(&line[from..], found), offset + from)),
        None => numbers(line).into_iter().next().map(|found| (multiplied(line, found), offset)),
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
            "#### 1234 1/2 clips, i.e. 1200 + 34 + 1/2",
            "#### Answer: 1234.5",
            "#### x = 1234.5",
            "the answer is\n1234.5",
            "**Answer: 1234.5 dollars per day for 7 days**",
            "The answer is not 10 but 1234.5.",
            "#### 1234.5\n\nQuestion: Ann has 4 hats. How many?\n#### 4",
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
    fn whole_numbers_in_words_and_with_spaces() {
        for (gold, text) in [
            ("5", "The answer is five."),
            ("25", "The answer is twenty-five apples."),
            ("70000", "#### 70 000"),
            ("70000", "#### 70k"),
            ("2000000", "#### 2 million"),
            ("-3", "#### minus 3"),
        ] {
            let task = Task { answer: gold.to_owned(), ..Task::default() };
            let score = FinalNumber::default().score(&task, &Transcript::of(text, true));
            assert_eq!(score.verdict, Verdict::Correct, "{text}: {}", score.reason);
        }
    }

    #[test]
    fn a_task_without_a_number_is_the_judges_failure() {
        let score = FinalNumber::default().score(&Task::default(), &Transcript::of("7", true));
        assert_eq!(score.verdict, Verdict::Failed);
    }
}
