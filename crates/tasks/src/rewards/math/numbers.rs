//! The last number of a text that marks no answer.

use std::borrow::Cow;

use super::extract::{Found, bare};
use super::prose;
use crate::number::{self, Found as Number};

/// Bytes at the end of a long text that are looked at first.
const END: usize = 2000;

/// The last number of the text, whatever stands around it.
pub(super) fn any(text: &str) -> Option<Cow<'_, str>> {
    with_last(text, |_, _| true)
}

/// The last number, where it stands by itself in words: not in a formula, which may mean anything. A line without
/// words is taken whole.
pub(super) fn last(text: &str) -> Option<Found<'_>> {
    let line = text.lines().rfind(|line| line.contains(|c: char| c.is_numeric()))?;
    if !prose::has_words(line) {
        return Some(Found { text: bare(line).into(), marked: true });
    }
    with_last(text, stands_alone).map(|text| Found { text, marked: false })
}

fn with_last(text: &str, fits: impl Fn(&str, &Number) -> bool) -> Option<Cow<'_, str>> {
    // Long texts: the last number stands near the end, if anywhere.
    let mut start = text.len().saturating_sub(END);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let found = |text: &str| {
        let plain = number::plain(text);
        let last = number::numbers(&plain).pop()?;
        Some(fits(&plain, &last).then(|| plain[last.start..last.end].to_owned()))
    };
    match found(&text[start..]) {
        None if start > 0 => found(text)?,
        found => found?,
    }
    .map(Cow::Owned)
}

/// Whether a number is an amount of its own and no part of a formula.
fn stands_alone(text: &str, found: &Number) -> bool {
    let (before, behind) = (&text[..found.start], &text[found.end..]);
    // A sentence with a command in it holds a formula without dollar signs around it.
    let from = before.rfind(['\n']).map_or(0, |at| at + 1);
    let from = before[from..].rfind(". ").map_or(from, |at| from + at + 2);
    let to = behind.find('\n').unwrap_or(behind.len());
    let command = |text: &str| text.as_bytes().windows(2).any(|pair| pair[0] == b'\\' && pair[1].is_ascii_alphabetic());
    if command(&before[from..]) || command(&behind[..to]) {
        return false;
    }
    let left = before.chars().next_back().unwrap_or(' ');
    let around = |c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '(' | '[' | '{' | '*' | '"' | '\'' | '`' | '$' | ':' | '=' | '~' | '#' | '>' | ',' | ';' | '_' | '-'
            )
            || !c.is_ascii() && c.is_alphanumeric()
            || matches!(c, '“' | '‘' | '：' | '，' | '。' | '（' | '「' | '—' | '≈' | '€' | '£' | '¥' | '₹' | '\u{a0}')
    };
    if !around(left) || operand(before) {
        return false;
    }
    let mut next = behind.chars();
    let (first, second) = (next.next().unwrap_or(' '), next.next().unwrap_or(' '));
    match first {
        // `0.(3)`, `0.333...`
        '.' => {
            let goes_on = behind.starts_with("..") && text[found.start..found.end].contains('.');
            !goes_on && !matches!(second, '(' | '\\')
        }
        '…' => !text[found.start..found.end].contains('.'),
        // A unit, and no variable.
        c if c.is_ascii_alphabetic() => second.is_ascii_alphabetic() || "mghslLkKMCF".contains(c),
        '^' | '/' | '_' | '(' | '+' | '\u{338}' | '√' | '\\' => false,
        _ => !followed(behind),
    }
}

/// Whether what stands before the number may change it: an operator, a sign that is not known, an open bracket of
/// a function or an index.
fn operand(before: &str) -> bool {
    let trimmed = before.trim_end();
    let Some(sign) = trimmed.chars().next_back() else { return false };
    let left = trimmed[..trimmed.len() - sign.len_utf8()].trim_end();
    match sign {
        '(' | '[' | '{' => {
            left.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '^' | '_'))
                && !before.ends_with(' ')
                && !trimmed[..trimmed.len() - 1].ends_with(' ')
        }
        '*' => left.ends_with(|c: char| c.is_ascii_digit() || c == ')') && !trimmed.ends_with("**"),
        '>' => left.ends_with(|c: char| c.is_alphanumeric()),
        '-' => left.ends_with(|c: char| c.is_ascii_digit() || c == ')'),
        '_' => left.ends_with(|c: char| c.is_alphanumeric()),
        ',' | ';' | ':' | '.' | ')' | ']' | '"' | '\'' | '`' | '=' | '#' | '$' | '?' | '!' | '~' | '}' => false,
        '“' | '‘' | '：' | '，' | '。' | '（' | '「' | '—' | '≈' | '€' | '£' | '¥' | '₹' | '✅' | '•' | '→' => {
            false
        }
        c if c.is_alphanumeric() => {
            let word = trimmed.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            ["mod", "choose", "over", "plus", "times", "xor"].contains(&word)
        }
        _ => true,
    }
}

/// Whether an operator stands behind the number.
fn followed(behind: &str) -> bool {
    let trimmed = behind.trim_start();
    let Some(sign) = trimmed.chars().next() else { return false };
    let right = trimmed[sign.len_utf8()..].trim_start();
    match sign {
        '+' | '/' | '^' | '×' | '·' | '÷' | '<' | '≤' | '≥' | '≠' | '=' => true,
        // `8 - x`, but not `8 - the rest`.
        '-' => {
            let word = right.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            word.len() == 1 || word.starts_with(|c: char| c.is_ascii_digit()) || right.starts_with(['(', '\\'])
        }
        '*' => right.starts_with(|c: char| c.is_ascii_digit()) && !trimmed.starts_with("**"),
        _ => false,
    }
}
