//! Rewrites what minijinja cannot be set to do as jinja2 does: line ends, `{% generation %}`, `~`, `%` and `for`.

use std::ops::Range;

/// The filter that turns an operand of `~` into text.
pub(super) const TEXT: &str = "relign_text";
/// The filter that computes `%`.
pub(super) const PERCENT: &str = "relign_percent";
/// The filter that lets a loop walk only through what Python does.
pub(super) const WALK: &str = "relign_walk";

/// The template as minijinja has to see it; what it cannot make sense of is left as it is.
pub(super) fn rewritten(source: &str) -> String {
    // jinja2 makes every line end a `\n` before it looks at anything else.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = match from.as_bytes().get(1) {
            Some(b'#') => from.find("#}").map(|end| end + 2),
            Some(b'%') => tag(from, "%}"),
            Some(b'{') => tag(from, "}}"),
            _ => Some(1),
        };
        let Some(mut end) = end else {
            out.push_str(from);
            return out;
        };
        let inner = from.get(2..end.saturating_sub(2)).unwrap_or_default();
        match from.as_bytes().get(1) {
            Some(b'%') => {
                let word = inner.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
                if word == "raw" {
                    end = raw_end(from, end);
                    out.push_str(&from[..end]);
                } else if word == "generation" || word == "endgeneration" {
                    // Only training masks need the block; it is a scope of its own.
                    let with = if word == "generation" { "with" } else { "endwith" };
                    out.push_str(&format!("{{%{}%}}", inner.replacen(word, with, 1)));
                } else {
                    out.push_str(&format!("{{%{}%}}", expression(inner, true)));
                }
            }
            Some(b'{') => out.push_str(&format!("{{{{{}}}}}", expression(inner, false))),
            _ => out.push_str(&from[..end]),
        }
        rest = &from[end..];
    }
    out.push_str(rest);
    out
}

/// Where a raw block's end tag ends.
fn raw_end(from: &str, start: usize) -> usize {
    let mut at = start;
    while let Some(place) = from[at..].find("{%") {
        let Some(len) = from[at + place..].find("%}") else { return from.len() };
        let word = &from[at + place + 2..at + place + len];
        at += place + len + 2;
        if word.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+') == "endraw" {
            return at;
        }
    }
    from.len()
}

/// Where a tag ends: at its end mark outside strings and brackets.
fn tag(from: &str, close: &str) -> Option<usize> {
    let (mut at, mut depth) = (2, 0_usize);
    while at < from.len() {
        let rest = &from[at..];
        if depth == 0 && rest.starts_with(close) {
            return Some(at + 2);
        }
        let c = rest.chars().next()?;
        match c {
            '\'' | '"' => at += string(rest)?,
            _ => {
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                at += c.len_utf8();
            }
        }
    }
    None
}

/// The length of a string literal.
fn string(rest: &str) -> Option<usize> {
    let mark = rest.chars().next()?;
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The tokens of a tag, by their places.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let len = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '\'' | '"' => string(rest).unwrap_or(rest.len()),
            c if c.is_alphanumeric() || c == '_' => {
                let dots = c.is_ascii_digit();
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || (dots && c == '.'))).unwrap_or(rest.len())
            }
            _ => ["==", "!=", "<=", ">=", "//", "**"]
                .iter()
                .find(|op| rest.starts_with(**op))
                .map_or(c.len_utf8(), |op| op.len()),
        };
        out.push(at..at + len);
        at += len;
    }
    out
}

/// What takes the place of a part of a tag.
type Edit = (Range<usize>, String);

fn before(place: &Range<usize>, text: &str) -> Edit {
    (place.start..place.start, text.to_owned())
}

fn after(place: &Range<usize>, text: String) -> Edit {
    (place.end..place.end, text)
}

fn expression(inner: &str, is_block: bool) -> String {
    let places = tokens(inner);
    let loops = is_block && places.iter().any(|place| &inner[place.clone()] == "for");
    if !loops && !inner.contains(['~', '%']) {
        return inner.to_owned();
    }
    let words: Vec<&str> = places.iter().map(|place| &inner[place.clone()]).collect();
    let mut edits: Vec<Edit> = Vec::new();
    concatenations(&words, is_block, &places, &mut edits);
    if is_block {
        walked(&words, &places, &mut edits);
    }
    // Stable: what was noted first stands first where places are equal.
    edits.sort_by_key(|edit| edit.0.start);
    let mut out = String::with_capacity(inner.len() + 64);
    let mut at = 0;
    for (place, text) in edits {
        out.push_str(&inner[at..place.start]);
        out.push_str(&text);
        at = place.end;
    }
    out.push_str(&inner[at..]);
    out
}

/// Whether a token begins a new run: what binds less tightly than `~`.
fn parts(words: &[&str], at: usize) -> bool {
    let before = at.checked_sub(1).map_or("", |before| words[before]);
    match words[at] {
        "," | ":" | "=" | "==" | "!=" | "<" | ">" | "<=" | ">=" => true,
        // A sign is part of its operand.
        "+" | "-" => !before.is_empty() && before.ends_with(|c: char| c.is_alphanumeric() || "_)]}'\"".contains(c)),
        "and" | "or" | "in" | "if" | "else" => before != "." && before != "|",
        "not" => before != "is",
        _ => false,
    }
}

/// Notes the edits that turn each operand of `~` into text, level by level of brackets.
fn concatenations(words: &[&str], is_block: bool, places: &[Range<usize>], edits: &mut Vec<Edit>) {
    // For each open level: where its run began, and where its `~` are.
    let mut levels: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new())];
    let mut close = |(start, signs): (usize, Vec<usize>), end: usize| {
        if signs.is_empty() {
            return;
        }
        let tildes = || signs.iter().copied().filter(|&at| words[at] == "~");
        let operands = [start].into_iter().chain(tildes().map(|tilde| tilde + 1)).zip(tildes().chain([end]));
        for (first, end) in operands.filter(|(first, end)| first < end) {
            let texts = tildes().next().is_some();
            if texts {
                edits.push(before(&places[first], "("));
            }
            let within: Vec<usize> = signs.iter().copied().filter(|at| (first..end).contains(at)).collect();
            products(words, &within, first..end, places, edits);
            if texts {
                edits.push(after(&places[end - 1], format!(")|{TEXT}")));
            }
        }
    };
    // The marks of blank control at the ends are no operators.
    let marks = |word: &str| word == "-" || word == "+";
    let last = if words.last().is_some_and(|word| marks(word)) { words.len() - 1 } else { words.len() };
    let first = usize::from(words.first().is_some_and(|word| marks(word)));
    levels[0].0 = first + usize::from(is_block);
    for at in first + usize::from(is_block)..last {
        match words[at] {
            "(" | "[" | "{" => levels.push((at + 1, Vec::new())),
            ")" | "]" | "}" => {
                if levels.len() > 1
                    && let Some(level) = levels.pop()
                {
                    close(level, at);
                }
            }
            "~" | "%" | "*" | "/" | "//" => {
                if let Some(level) = levels.last_mut() {
                    level.1.push(at);
                }
            }
            _ if parts(words, at) => {
                if let Some(level) = levels.last_mut() {
                    close(std::mem::replace(level, (at + 1, Vec::new())), at);
                }
            }
            _ => {}
        }
    }
    while let Some(level) = levels.pop() {
        close(level, last);
    }
}

/// Notes the edits that make a filter of each `%` among an operand's signs, whose left side is all before it.
fn products(words: &[&str], signs: &[usize], range: Range<usize>, places: &[Range<usize>], edits: &mut Vec<Edit>) {
    for (index, &at) in signs.iter().enumerate().filter(|(_, at)| words[**at] == "%") {
        let end = signs.get(index + 1).copied().unwrap_or(range.end);
        if at == range.start || at + 1 >= end {
            continue;
        }
        edits.push(before(&places[range.start], "("));
        edits.push((places[at].clone(), format!(")|{PERCENT}(")));
        edits.push(after(&places[end - 1], ")".to_owned()));
    }
}

/// Notes the edits that put what a `for` walks through into brackets and before a filter.
fn walked(words: &[&str], places: &[Range<usize>], edits: &mut Vec<Edit>) {
    let first = usize::from(words.first().is_some_and(|word| *word == "-" || *word == "+"));
    if words.get(first) != Some(&"for") {
        return;
    }
    let mut depth = 0_usize;
    let mut start = None;
    let mut end = words.len();
    for (at, word) in words.iter().enumerate().skip(first + 1) {
        match *word {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "in" if depth == 0 && start.is_none() => start = Some(at + 1),
            "if" | "recursive" if depth == 0 && start.is_some() => {
                end = at;
                break;
            }
            "-" | "+" if at + 1 == words.len() => end = at,
            _ => {}
        }
    }
    let Some(start) = start.filter(|start| *start < end) else { return };
    edits.insert(0, before(&places[start], "("));
    edits.push(after(&places[end - 1], format!(")|{WALK}")));
}
