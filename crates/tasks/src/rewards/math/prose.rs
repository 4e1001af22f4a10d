//! Answers with words around them: what is left when the words that change nothing are taken away.

use super::words::{self, Meaning};
use std::borrow::Cow;

use super::lexer::closing_brace;
use super::{token, units};

/// Words before an answer that change nothing about it.
const FILLERS: &[&str] = &[
    "approximately",
    "approx.",
    "approx",
    "about",
    "around",
    "roughly",
    "exactly",
    "simply",
    "just",
    "only",
    "precisely",
    "equal to",
    "equals",
    "given by",
    "therefore",
    "thus",
    "hence",
    "so",
    "then",
    "clearly",
    "indeed",
    "now",
    "a total of",
    "the number",
    "the value",
    "found to be",
    "obviously",
    "nearly",
    "option",
    "choice",
    "answer",
    "final answer",
];

/// Words behind a value, without a comma, from which on the text explains it.
const EXPLAINS: &[&str] = &[
    "because",
    "since",
    "as",
    "which",
    "where",
    "so",
    "per",
    "for",
    "in",
    "by",
    "each",
    "every",
    "total",
    "altogether",
    "rather",
    "instead",
    "not",
    "from",
    "after",
    "on",
];

/// Words that go on with what was said before them.
const GOES_ON: &[&str] =
    &["and", "or", "but", "if", "unless", "when", "except", "plus", "minus", "times", "mod", "over", "to", "otherwise"];

/// Longest sentence around an answer, in bytes.
const LONGEST_SENTENCE: usize = 600;

/// `text` without marks and words before its answer that change nothing.
pub(super) fn without_lead(text: &str) -> &str {
    let mut rest = text.trim();
    loop {
        let before = rest;
        rest = rest.trim_start_matches(['#', ':', '~', '≈', '=', ' ']);
        for (open, close) in [("__", "__"), ("_", "_"), ("*", "*"), ("\"", "\"")] {
            if let Some(inner) = rest.strip_prefix(open).and_then(|inner| inner.strip_suffix(close))
                && !inner.contains(open)
            {
                rest = inner.trim();
            }
        }
        for filler in FILLERS {
            if let Some(head) = rest.get(..filler.len())
                && head.eq_ignore_ascii_case(filler)
                && rest[filler.len()..].starts_with([' ', ':', '$', '\\'])
            {
                rest = rest[filler.len()..].trim_start();
            }
        }
        if rest == before {
            return rest;
        }
    }
}

/// `text` with the words of `\text{}` in their place.
pub(super) fn without_text_commands(text: &str) -> Cow<'_, str> {
    if !text.contains("\\text{") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\text{") {
        out.push_str(&rest[..at]);
        let open = at + "\\text".len();
        let Some(end) = closing_brace(rest.as_bytes(), open) else { break };
        out.push_str(&rest[open + 1..end]);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What a sentence of words comes to with "is", "are" or a colon: `The solutions are 1 and -2`.
pub(super) fn behind_verb(text: &str) -> Option<&str> {
    let mut best = None;
    for verb in [" is ", " are ", ": ", " equals ", " be "] {
        if let Some(at) = text.find(verb) {
            best = match best {
                Some((other, _)) if other <= at => best,
                _ => Some((at, verb.len())),
            };
        }
    }
    let (at, long) = best?;
    let lead = &text[..at];
    let plain = lead.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '\'' | ',' | '-' | '*'));
    let denies = lead.split(' ').any(|word| matches!(word.to_ascii_lowercase().as_str(), "not" | "no" | "never"));
    (plain && !denies && lead.contains(|c: char| c.is_alphabetic())).then(|| text[at + long..].trim())
}

/// The second of `not 12 but 15`.
pub(in crate::rewards) fn instead(text: &str) -> Option<&str> {
    let rest = text.trim().strip_prefix("not ")?;
    let (_, rest) = rest.split_once(" but ")?;
    Some(rest.trim().trim_start_matches("rather ").trim())
}

/// What stands before the words that explain an answer: `72, in total, ...`, `18 per day (for 7 days)`.
pub(in crate::rewards) fn head(text: &str) -> Option<&str> {
    if text.len() > LONGEST_SENTENCE {
        return None;
    }
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().filter(|(at, _)| text.is_char_boundary(*at)) {
        let behind = &text[at..];
        let cuts = depth == 0
            && at > 0
            && match byte {
                b',' | b';' => behind[1..].starts_with(' ') && explains(behind[1..].trim_start(), true),
                b' ' if behind.starts_with(" (") => explains(&behind[2..], true),
                b' ' => explains(&behind[1..], false),
                _ => false,
            };
        if cuts {
            return Some(text[..at].trim_end()).filter(|head| !head.is_empty());
        }
        match byte {
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Whether the text begins with words that explain what stands before them; behind a mark any words do that
/// do not go on with it.
fn explains(text: &str, marked: bool) -> bool {
    if ["i.e.", "e.g.", "ie ", "viz."].iter().any(|mark| text.starts_with(mark)) {
        return true;
    }
    let word = text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    let lower = word.to_ascii_lowercase();
    let behind = &text[word.len()..];
    if word.chars().count() < 2 || behind.starts_with(['_', '^', '(', '{', '\\', '=']) {
        return false;
    }
    // Cases are several answers.
    let cases = ["even", "odd", "otherwise", "else", "respectively"];
    if text.split(|c: char| !c.is_alphabetic()).any(|word| cases.contains(&word.to_ascii_lowercase().as_str())) {
        return false;
    }
    let told = matches!(words::meaning(&lower), Meaning::Number(_) | Meaning::Multiple(_) | Meaning::Separator);
    if GOES_ON.contains(&lower.as_str()) || told || token::plain(word).is_some() {
        return false;
    }
    marked || EXPLAINS.contains(&lower.as_str())
}

/// Both sides of a text's last sign of equality, where the left only names the right: it lists nothing and
/// compares nothing.
pub(super) fn sides(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut last = None;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            b'<' | b'>' if depth == 0 => return None,
            b'=' if depth == 0 && !(at > 0 && matches!(bytes[at - 1], b'!' | b'<' | b'>')) => last = Some(at),
            _ => {}
        }
    }
    let at = last.filter(|_| head(text).is_none())?;
    let (left, right) = (text[..at].trim_end_matches(':').trim(), text[at + 1..].trim());
    let compares = [
        "\\le",
        "\\ge",
        "\\in ",
        "\\equiv",
        "\\ne",
        "\\forall",
        "\\exists",
        "\\neg",
        "\\lnot",
        "\\not",
        "\\text{ and",
        "\\text{ or",
        " and ",
        " or ",
        "≤",
        "≥",
    ];
    // `\left(` is no sign of comparison, nor is what stands in brackets.
    let plain = outside(&left.replace("\\left", "").replace("\\right", ""));
    let names = left.contains(|c: char| c.is_alphabetic()) && top_level_comma(left).is_none();
    (!right.is_empty() && names && !compares.iter().any(|mark| plain.contains(mark))).then_some((left, right))
}

/// What stands outside all brackets.
fn outside(text: &str) -> String {
    let mut depth = 0_usize;
    let outer = |c: &char| {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    };
    text.chars().filter(outer).collect()
}

/// Where a comma or semicolon stands outside all brackets.
fn top_level_comma(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut escaped = false;
    text.bytes().position(|byte| {
        if std::mem::replace(&mut escaped, byte == b'\\') {
            return false;
        }
        match byte {
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(byte, b',' | b';')
    })
}

/// Whether there are words in a text, and not just names of variables, functions and units.
pub(super) fn has_words(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_alphabetic()) {
        let command = rest[..at].ends_with('\\');
        let word = &rest[at..];
        let long = word.find(|c: char| !c.is_alphabetic()).unwrap_or(word.len());
        let (word, behind) = word.split_at(long);
        rest = behind;
        if !command && (!word.is_ascii() || word.len() > 1) && token::plain(word).is_none() && !units::is_unit(word) {
            return true;
        }
    }
    false
}
