//! Where the answer stands in a text.

use std::borrow::Cow;

use super::lexer::closing_brace;
use super::policy::Extract;
use super::{numbers, prose, words};

/// Longest answer that is read, in bytes.
pub(super) const LONGEST: usize = 10_000;

/// What stands where an answer should, and how sure that place is.
pub(super) struct Found<'t> {
    pub(super) text: Cow<'t, str>,
    /// It was marked as the answer: what cannot be read there is no answer.
    pub(super) marked: bool,
}

/// The places to look at in turn; the first whose text can be read counts.
pub(super) fn candidates<'t>(text: &'t str, extract: Extract) -> Vec<Found<'t>> {
    let marked = |text: Cow<'t, str>| vec![Found { text, marked: true }];
    let one = |found: Option<Cow<'t, str>>| found.map_or_else(Vec::new, marked);
    match extract {
        Extract::Whole => marked(bare(text).into()),
        Extract::Boxed => one(boxed(text)),
        Extract::Marker => one(behind_marker(text).map(Cow::Borrowed)),
        Extract::LastNumber => one(numbers::any(text)),
        Extract::Choice => one(choice(text)),
        Extract::Auto => {
            let place = boxed(text)
                .or_else(|| behind_marker(text).map(Cow::Borrowed))
                .or_else(|| behind_words(text))
                .filter(|found| !found.trim().is_empty());
            if let Some(place) = place {
                return marked(place);
            }
            let mut all = Vec::new();
            // No number is picked out of a formula, readable or not, and words around it are not read with it.
            let formula = last_formulas(text);
            let whole = text.len() <= LONGEST && !text.trim().contains('\n');
            let worded = || prose::has_words(text) && words::all_reals_but(bare(text)).is_none();
            if whole && (formula.is_none() || !worded()) {
                all.push(Found { text: bare(text).into(), marked: false });
            }
            match formula {
                Some(formula) => all.push(Found { text: formula, marked: true }),
                None => all.extend(numbers::last(text)),
            }
            all
        }
    }
}

/// The text without what surrounds an answer.
pub(super) fn bare(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let before = text;
        text = text.trim_start_matches('*').trim();
        if !text.trim_end_matches('*').ends_with(['^', '_']) {
            text = text.trim_end_matches('*').trim_end();
        }
        if !text.ends_with("..") {
            text = text.strip_suffix('.').unwrap_or(text).trim_end();
        }
        for (open, close) in [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("`", "`")] {
            if let Some(inner) = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close))
                && !inner.contains('$')
                && !inner.contains(close)
            {
                text = inner.trim();
            }
        }
        if text == before {
            return text;
        }
    }
}

/// What stands in the last `\boxed{}`; in the last few, where only "and" or a comma stands between them.
fn boxed(text: &str) -> Option<Cow<'_, str>> {
    let mut all: Vec<(usize, usize, &str)> = Vec::new();
    for at in text.match_indices("box").flat_map(|(at, _)| box_name(text, at)) {
        let (start, from) = at;
        let rest = text[from..].trim_start();
        let open = text.len() - rest.len();
        if rest.starts_with('{') {
            if all.last().is_some_and(|(_, end, _)| *end > open) {
                // A box in a box: the outer one counts, its content is read as it is.
                continue;
            }
            if let Some(end) = closing_brace(&text.as_bytes()[..text.len().min(open + LONGEST)], open) {
                all.push((start, end + 1, &text[open + 1..end]));
            }
        } else if let Some(word) = rest.split(|c: char| c.is_whitespace() || c == '$').next().filter(|w| !w.is_empty())
        {
            all.push((start, open + word.len(), word));
        }
    }
    all.sort_unstable_by_key(|(start, ..)| *start);
    let (mut first, _, inner) = *all.last()?;
    let mut together = vec![inner];
    for (start, end, inner) in all[..all.len() - 1].iter().rev() {
        let between = text.get(*end..first)?;
        if between.len() > 24 || !joins(between) {
            break;
        }
        together.push(inner);
        first = *start;
    }
    together.reverse();
    Some(if together.len() == 1 { Cow::Borrowed(together[0]) } else { Cow::Owned(together.join(" , ")) })
}

/// Where the command begins and ends whose name holds the "box" at `at`: `\boxed`, `\fbox`, `\framebox`.
fn box_name(text: &str, at: usize) -> Option<(usize, usize)> {
    for (before, name) in [("\\", "boxed"), ("\\f", "box"), ("\\frame", "box")] {
        if text[..at].ends_with(before) && text[at..].starts_with(name) {
            return Some((at - before.len(), at + name.len()));
        }
    }
    None
}

/// Whether nothing but "and", "or" and commas stands there, and not nothing.
fn joins(between: &str) -> bool {
    let mut words = between.to_ascii_lowercase();
    for noise in ["$", "\\text{", "\\(", "\\)", "}", "\\", ",", ";"] {
        words = words.replace(noise, " ");
    }
    let joined = between.contains([',', ';']);
    let mut any = false;
    words.split_whitespace().all(|word| {
        any |= matches!(word, "and" | "or");
        matches!(word, "and" | "or")
    }) && (any || joined)
}

/// The rest of the line behind the last `####`.
fn behind_marker(text: &str) -> Option<&str> {
    let line = text.rsplit_once("####")?.1.lines().next()?;
    Some(bare(line))
}

/// What follows the last "answer is" or "answer:".
fn behind_words(text: &str) -> Option<Cow<'_, str>> {
    // The end of a long text holds it; ASCII case does not change lengths.
    let lower = text.to_ascii_lowercase();
    let mut best = None;
    for phrase in [
        "answer is",
        "answer:",
        "answer =",
        "answer**:",
        "answer __:",
        "answers are",
        "answer would be",
        "solution is",
        "solutions are",
        "answer\u{ff1a}",
        "answer equals",
        "answer comes to",
        "answer was",
    ] {
        if let Some(at) = lower.rfind(phrase) {
            let end = at + phrase.len();
            // Not in a text command of a formula.
            if !text[end..].trim_start().starts_with('}') {
                best = best.max(Some(end));
            }
        }
    }
    let rest = text[best?..].trim_start_matches([':', ' ', '*', '\n', '=', '\u{ff1a}']);
    let line = rest.lines().next().unwrap_or_default();
    let in_line = formulas_of_start(line);
    if let Some(formula) = in_line {
        return Some(formula);
    }
    // A display on the next lines.
    if line.trim().is_empty() || line.trim() == "$$" || line.trim() == "\\[" {
        return formulas(rest).into_iter().next().map(Cow::Borrowed);
    }
    Some(Cow::Borrowed(bare(sentence(line))))
}

/// The formulas that a line begins with, joined, where it begins with one.
fn formulas_of_start(line: &str) -> Option<Cow<'_, str>> {
    let spans = spans(line);
    let (start, mut end, first) = *spans.first()?;
    // `x = $5$` or `about $5$`: a few words before the formula do not matter.
    if line[..start].trim().len() > 40 || line[..start].contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut together = vec![first];
    for (next, after, inner) in &spans[1..] {
        if !joins(&line[end..*next]) {
            break;
        }
        together.push(inner);
        end = *after;
    }
    // `$5$ percent`, `$\frac{1}{2}$%`
    let tail = line[end..].trim_start();
    let percent = tail.starts_with('%') || tail.starts_with("\\%") || tail.starts_with("percent");
    Some(match (together.len(), percent) {
        (1, false) => Cow::Borrowed(first),
        (1, true) => Cow::Owned(format!("{first}\\%")),
        _ => Cow::Owned(together.join(" , ")),
    })
}

/// The text's last formula, and those before it that only "and", "or" or a comma parts from it.
fn last_formulas(text: &str) -> Option<Cow<'_, str>> {
    let spans = spans(text);
    let (mut first, _, inner) = *spans.last()?;
    let mut together = vec![inner];
    for (start, end, inner) in spans[..spans.len() - 1].iter().rev() {
        if !joins(&text[*end..first]) {
            break;
        }
        together.push(inner);
        first = *start;
    }
    together.reverse();
    Some(if together.len() == 1 { Cow::Borrowed(together[0]) } else { Cow::Owned(together.join(" , ")) })
}

/// The line up to the end of its sentence.
fn sentence(line: &str) -> &str {
    let bytes = line.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let next = bytes.get(at + 1);
        if *byte == b'.' && next.is_none_or(u8::is_ascii_whitespace) && at > 0 && !abbreviates(&line[..at]) {
            return &line[..at];
        }
    }
    line
}

/// Whether a full stop behind the text ends a word and no sentence.
fn abbreviates(text: &str) -> bool {
    let word = text.rsplit(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    matches!(word, "Rs" | "Rp" | "Tk" | "Fr" | "No" | "approx" | "sq" | "cu" | "ca" | "i.e" | "e.g" | "e" | "g" | "St")
        && text.len() - word.len() < 80
}

/// Whether what stands between two dollar signs is text between amounts of money: `$5 each, so 2 cost $10`.
fn is_money(inner: &str, behind: Option<&u8>) -> bool {
    if !inner.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    if behind.is_some_and(u8::is_ascii_digit) || (inner.ends_with(' ') && !inner.contains('\\')) {
        return true;
    }
    let word = |word: &str| {
        word.len() > 1 && word.bytes().all(|b| b.is_ascii_alphabetic()) && super::token::plain(word).is_none()
    };
    let unit = |word: &str| super::units::is_unit(word);
    let words = inner.split(|c: char| c.is_whitespace() || c == ',').filter(|part| word(part) && !unit(part)).count();
    words > 1 && !inner.contains('\\')
}

/// What stands between dollars, in `\(...\)` and in `\[...\]`, in order.
fn formulas(text: &str) -> Vec<&str> {
    spans(text).into_iter().map(|(_, _, inner)| inner).collect()
}

/// The places of formulas: where each begins and ends, and what is in it.
fn spans(text: &str) -> Vec<(usize, usize, &str)> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (open, close) = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'(')) => (2, "\\)"),
            (b'\\', Some(b'[')) => (2, "\\]"),
            (b'\\', Some(_)) => {
                at += 2;
                continue;
            }
            (b'$', Some(b'$')) => (2, "$$"),
            (b'$', Some(_)) => (1, "$"),
            _ => {
                at += 1;
                continue;
            }
        };
        let from = at + open;
        let Some(end) = closing(bytes, from, close.as_bytes()) else {
            at = from;
            // None further on either, but another kind may be closed.
            if close.len() == 1 || out.len() > 1000 {
                break;
            }
            continue;
        };
        let inner = text.get(from..end).unwrap_or_default();
        if close == "$" && is_money(inner, bytes.get(end + 1)) {
            at = from;
            continue;
        }
        let inner = inner.trim();
        if !inner.is_empty() && inner.len() <= LONGEST {
            out.push((at, end + close.len(), inner));
        }
        at = end + close.len();
    }
    out
}

/// Where `close` stands, not escaped, from `from` on and not too far.
fn closing(bytes: &[u8], from: usize, close: &[u8]) -> Option<usize> {
    let mut at = from;
    let most = bytes.len().min(from + LONGEST);
    while at < most {
        if bytes[at..].starts_with(close) {
            return Some(at);
        }
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    None
}

/// A letter of a multiple-choice answer.
fn choice(text: &str) -> Option<Cow<'_, str>> {
    let alone = |text: &str| {
        let mut text = bare(text);
        for wrapper in ["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{"] {
            text =
                text.strip_prefix(wrapper).map_or(text, |rest| rest.split_once('}').map_or(rest, |(inner, _)| inner));
        }
        let text = text.trim().trim_start_matches('(');
        let mut chars = text.chars();
        let letter = chars.next().filter(char::is_ascii_alphabetic)?;
        chars.next().is_none_or(|c| !c.is_alphanumeric() && c != '\'').then(|| letter.to_ascii_uppercase().to_string())
    };
    let found = boxed(text)
        .and_then(|inner| alone(&inner))
        .or_else(|| behind_marker(text).and_then(alone))
        .or_else(|| {
            behind_words(text).and_then(|rest| alone(rest.trim_start_matches("option ").trim_start_matches("choice ")))
        })
        .or_else(|| {
            let line = bare(text.lines().rfind(|line| !line.trim().is_empty())?);
            // A line of its own, or one that begins with the letter in the way of options.
            let short = line.trim_matches(['(', ')', '.', ' ', ':']).len() == 1;
            let listed = line.get(1..).is_some_and(|rest| rest.starts_with([')', '.', ':'])) || line.starts_with('(');
            if short || listed { alone(line) } else { None }
        })?;
    Some(found.into())
}
