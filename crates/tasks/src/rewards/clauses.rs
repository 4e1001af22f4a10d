//! What statements about an answer choose: clause by clause, the last statement first.

use std::fmt::Display;

use super::stated::Stated;

/// What a text chooses by the last of its marked statements that chooses anything, of the strongest kind that has one; `chosen`
/// tells what a statement chooses, if it is about the question at all. Nothing where no marked statement chooses. A statement
/// that the token limit cut counts only if it `ends`.
///
/// # Errors
/// Why nothing is chosen, though something is stated.
pub(super) fn last_choice<T: PartialEq + Display>(
    text: &str,
    finished: bool,
    ends: impl Fn(&str) -> bool,
    chosen: impl Fn(&str) -> Option<Result<T, String>>,
) -> Option<Result<T, String>> {
    for stated in Stated::marked_kinds(text, finished) {
        if stated.open && !stated.parts.last().is_some_and(|last| ends(last)) {
            return Some(Err("cut off where its answer may go on".to_owned()));
        }
        let choices = stated.parts.iter().enumerate();
        let mut choices = choices.filter_map(|(at, part)| Some((at, chosen(part)?))).rev();
        let Some((last, choice)) = choices.next() else { continue };
        let choice = match choice {
            Ok(choice) => choice,
            Err(why) => return Some(Err(why)),
        };
        // Who changes an answer says something in between; who lists answers has chosen none.
        if let Some((first, Ok(other))) = choices.find(|(_, other)| other.as_ref().ok() != Some(&choice)) {
            let start = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
            let mut gaps = stated.parts[first..=last].windows(2);
            if gaps.all(|pair| only_marks(&text[start(pair[0]) + pair[0].len()..start(pair[1])])) {
                return Some(Err(format!("chooses {other} and {choice}")));
            }
        }
        return Some(Ok(choice));
    }
    None
}

/// Whether a text between two statements holds nothing but what marks statements.
fn only_marks(between: &str) -> bool {
    let lower = between.to_ascii_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.all(|word| matches!(word, "boxed" | "answer" | "the" | "final" | "is" | "correct" | "or" | "and" | "text"))
}

/// Words behind which an explanation begins, or another option that is none.
const BREAKS: [&str; 14] = [
    " because ",
    " since ",
    " as ",
    " but ",
    " while ",
    " whereas ",
    " rather than ",
    " instead of ",
    " not ",
    " so ",
    " the answer",
    " which ",
    " it is ",
    " unlike ",
];

/// The clauses of a statement. A comma ends one only where a word follows that begins another, for it also lists options.
pub(super) fn clauses(statement: &str) -> Vec<&str> {
    // Only ASCII changes, so places in the text stay where they are.
    let lower = statement.to_ascii_lowercase();
    let mut ends: Vec<usize> = Vec::new();
    for mark in [". ", "; ", "! ", "? ", " - ", " (", "\u{2014}"] {
        ends.extend(lower.match_indices(mark).map(|(at, _)| at + mark.len() - mark.trim_start().len().min(1)));
    }
    for word in BREAKS {
        // With or without a comma before it.
        ends.extend(lower.match_indices(word).map(|(at, _)| at).filter(|at| {
            let comma = lower[..*at].trim_end().ends_with([',', ':']);
            comma || matches!(word, " because " | " since " | " rather than " | " instead of " | " unlike " | " but ")
        }));
    }
    ends.retain(|end| statement.is_char_boundary(*end) && *end > 0);
    ends.sort_unstable();
    ends.dedup();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let clauses = starts.zip(ends.iter().copied().chain([statement.len()])).map(|(start, end)| &statement[start..end]);
    clauses.filter(|clause| clause.chars().any(char::is_alphanumeric)).collect()
}

/// Whether a clause says what is not the answer.
pub(super) fn denies(clause: &str) -> bool {
    let lower = clause.to_ascii_lowercase().replace('\u{2019}', "'");
    let begins = ["because", "since", "as", "rather than", "instead of", "while", "whereas", "unlike"];
    let mut words = lower.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    begins.iter().any(|word| lower.trim_start_matches([',', ' ']).starts_with(word))
        || words.any(|word| {
            matches!(word, "not" | "never" | "wrong" | "incorrect" | "false" | "neither" | "cannot")
                || word.ends_with("n't")
        })
}
