//! Words in answers: units, numbers, separators and what stands for the empty set.

use super::units;

/// What a word or a few mean behind or between values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Parts items.
    Separator,
    /// A unit.
    Unit,
    /// `square`, before a unit that comes on its own.
    Power(i8),
    /// A number in words.
    Number(i64),
    /// What multiplies the number before it.
    Multiple(i64),
    /// Anything else.
    Other,
}

const NUMBERS: &[(&str, i64)] = &[
    ("zero", 0),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
];

const MULTIPLES: &[(&str, i64)] = &[
    ("dozen", 12),
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
];

fn looked_up(table: &[(&str, i64)], word: &str) -> Option<i64> {
    table.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

/// Spaces and case evened out, without full stops and parentheses around.
pub(super) fn even(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c == '~') {
        if word.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().flat_map(char::to_lowercase));
    }
    let trimmed = out.trim_matches([' ', '.', ',', ';', ':', '*', '"', '\'']);
    let inner = trimmed.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    match inner {
        Some(inner) if !inner.contains(['(', ')']) => inner.trim().to_owned(),
        _ => trimmed.to_owned(),
    }
}

/// Whether the words part items of a list.
pub(super) fn separates(text: &str) -> bool {
    let text = text.trim_matches([' ', ',', '~']);
    matches!(text, "and" | "or" | "" | "and/or" | "&" | "\\&") && text.len() < 16
}

/// Whether the words are one "or" or hold no other.
pub(super) fn is_or(text: &str) -> bool {
    matches!(text.trim_matches([' ', ',', '~']), "or" | "and/or")
}

/// Whether the words lead up to an answer: `The solutions are`, `Answer:`.
pub(super) fn introduces(text: &str) -> bool {
    let text = text.trim();
    let words = text.split_whitespace().count();
    (1..=8).contains(&words)
        && !text.to_ascii_lowercase().contains("not")
        && (text.ends_with([':', '=']) || [" is", " are", " equals", " be"].iter().any(|verb| text.ends_with(verb)))
}

/// What words mean.
pub(super) fn meaning(text: &str) -> Meaning {
    if text.len() > 64 {
        return Meaning::Other;
    }
    if separates(text) {
        return Meaning::Separator;
    }
    let mut lower = text.trim().to_ascii_lowercase();
    lower.retain(|c| c != '.' && c != ',');
    let words: Vec<&str> = lower.split_whitespace().collect();
    let (power, rest) = match words.first() {
        Some(&("square" | "sq")) => (2, &words[1..]),
        Some(&("cubic" | "cu")) => (3, &words[1..]),
        _ => (1, &words[..]),
    };
    if rest.is_empty() {
        return if power == 1 { Meaning::Other } else { Meaning::Power(power) };
    }
    if power == 1 {
        if let Some(value) = looked_up(MULTIPLES, rest[0]) {
            return Meaning::Multiple(value);
        }
        if let [word] = rest
            && let Some(value) = looked_up(NUMBERS, word)
        {
            return Meaning::Number(value);
        }
        if let [word] = rest
            && let Some((tens, ones)) = word.split_once('-')
            && let (Some(tens @ 20..), Some(ones @ 1..=9)) = (looked_up(NUMBERS, tens), looked_up(NUMBERS, ones))
        {
            return Meaning::Number(tens + ones);
        }
    }
    if units::is_unit(text) { Meaning::Unit } else { Meaning::Other }
}

/// Whether words may name what a value counts.
pub(super) fn may_name(text: &str) -> bool {
    let lower = text.trim().to_ascii_lowercase();
    let first = lower.split_whitespace().next().unwrap_or_default();
    // Words that change what was said before them.
    let changes = ["if", "for", "where", "when", "not", "minus", "plus", "times", "over", "to", "than", "at", "with"];
    !changes.contains(&first)
        && lower.chars().any(char::is_alphabetic)
        && lower.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '.' | '-' | '/' | '\'' | ','))
}

pub(super) fn is_ordinal(text: &str) -> bool {
    matches!(text.trim(), "st" | "nd" | "rd" | "th")
}

pub(super) fn is_percent(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "percent" | "per cent" | "pct" | "percentage points")
}

/// Whether the words, evened out, say that there is nothing.
pub(super) fn is_empty_set(text: &str) -> bool {
    matches!(
        even(text).as_str(),
        "no solution"
            | "no solutions"
            | "no real solution"
            | "no real solutions"
            | "none"
            | "empty set"
            | "the empty set"
            | "no such number exists"
            | "there is no solution"
            | "there are no solutions"
            | "does not exist"
            | "no roots"
            | "no real roots"
    )
}

/// Whether the words, evened out, mean all real numbers.
pub(super) fn is_reals(text: &str) -> bool {
    matches!(
        even(text).as_str(),
        "all real numbers" | "all reals" | "the real numbers" | "real numbers" | "all real values"
    )
}

/// What stands behind "all real numbers except".
pub(super) fn all_reals_but(text: &str) -> Option<&str> {
    let plain = text.trim().trim_start_matches("\\text{").trim_start();
    let begins = |word: &str| plain.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    if !["all", "any", "real", "\\mathbb"].iter().any(|word| begins(word)) {
        return None;
    }
    let lower = plain.to_ascii_lowercase();
    for all in ["all real numbers", "all reals", "any real number", "all real values", "real numbers", "\\mathbb{r}"] {
        for but in [" except for ", " except ", " but ", " excluding ", " other than "] {
            let Some(rest) = lower.strip_prefix(all).and_then(|rest| rest.strip_prefix(but.trim_end())) else {
                continue;
            };
            let rest = &plain[plain.len() - rest.len()..];
            let open = text.trim_start().starts_with("\\text{");
            let rest = rest.trim_start();
            return Some(if open { rest.strip_prefix('}').unwrap_or(rest) } else { rest });
        }
    }
    None
}

/// A whole number in several words: `one hundred twenty-three`.
pub(super) fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.len() > 100
        || !text.starts_with(|c: char| c.is_ascii_alphabetic())
        || !text.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b' ' | b'-'))
    {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let (mut total, mut part, mut any) = (0_i64, 0_i64, false);
    for word in lower.split([' ', '-']).filter(|word| !matches!(*word, "" | "and" | "a")) {
        if let Some(value) = looked_up(NUMBERS, word) {
            // Tens and ones, each once: `five five` is no number.
            let fits = if value < 10 { part % 10 == 0 && part % 100 != 10 } else { part % 100 == 0 };
            if !fits || (value == 0 && any) {
                return None;
            }
            part += value;
        } else {
            match looked_up(MULTIPLES, word)? {
                12 => return None,
                100 if (1..10).contains(&part) => part *= 100,
                100 => return None,
                times => {
                    if part == 0 || (total != 0 && total % (times * 1000) != 0) {
                        return None;
                    }
                    total += part * times;
                    part = 0;
                }
            }
        }
        any = true;
    }
    any.then_some(total + part)
}

/// The whole number in words that a text begins with.
pub(in crate::rewards) fn leading_number(text: &str) -> Option<i64> {
    let text = text.trim_start_matches([' ', '*', ':', '$']);
    let end = text.find(|c: char| !c.is_ascii_alphabetic() && !matches!(c, ' ' | '-')).unwrap_or(text.len());
    let words: Vec<&str> = text[..end.min(100)].split_inclusive([' ', '-']).collect();
    (1..=words.len()).rev().find_map(|count| number(&words[..count].concat()))
}
