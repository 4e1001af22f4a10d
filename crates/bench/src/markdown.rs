//! Texts in Markdown (CommonMark with GitHub's tables): one function for each place that a text can stand in. Texts come from
//! models, data sets and names; none of them ends its place, and nothing in them is live HTML.

use std::fmt::Write;

use relign_core::is_control;

/// Text in a table's cell, or anywhere within a line but at its beginning.
#[must_use]
pub fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().map(plain).peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        match c {
            // Within a word it emphasises nothing.
            '_' if before.is_alphanumeric() && chars.peek().is_some_and(|next| next.is_alphanumeric()) => out.push(c),
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
        before = c;
    }
    out.trim().to_owned()
}

/// Text that a paragraph, a heading or a list's item begins with.
#[must_use]
pub fn text(text: &str) -> String {
    let mut out = cell(text);
    // These would open a heading, a list, a rule or a table's line.
    let digits = out.bytes().take_while(u8::is_ascii_digit).count();
    if out.starts_with(['#', '+', '-', '=', ':']) {
        out.insert(0, '\\');
    } else if digits > 0 && out[digits..].starts_with(['.', ')']) {
        out.insert(digits, '\\');
    }
    // A heading's closing hashes are not shown.
    if out.ends_with('#') && !out.ends_with("\\#") {
        out.insert(out.len() - 1, '\\');
    }
    out
}

/// Text between backticks, as many as it takes.
#[must_use]
pub fn code(text: &str) -> String {
    let text: String = text.chars().map(plain).collect();
    if text.trim().is_empty() {
        return "` `".to_owned();
    }
    let ticks = "`".repeat(longest_run(&text, '`') + 1);
    // One space at each end is not shown.
    let pad = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// [`code`] in a table's cell.
#[must_use]
pub fn code_cell(text: &str) -> String {
    // Behind a backslash a bar is no border; behind two it is one to some readers.
    code(&text.replace("\\|", "\\ |")).replace('|', "\\|")
}

/// Text as a block within a block quotation, its lines as they are.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::new();
    for line in lines(text) {
        let line: String = line.chars().map(|c| if c == '\t' { c } else { plain(c) }).collect();
        let _ = writeln!(out, ">     {line}");
    }
    out
}

/// A block of code whose fence is longer than any within.
#[must_use]
pub fn fenced(language: &str, code: &str) -> String {
    let fence = "`".repeat(longest_run(code, '`').max(2) + 1);
    let mut out = format!("{fence}{language}\n");
    for line in lines(code) {
        out.extend(line.chars().map(|c| if c == '\t' { c } else { plain(c) }));
        out.push('\n');
    }
    out + &fence + "\n"
}

/// Text in a link's address.
#[must_use]
pub fn address(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => out.push(char::from(byte)),
            other => drop(write!(out, "%{other:02X}")),
        }
    }
    out
}

/// A character on a line: whatever is a line's end to somebody is a space, any other control a mark in its place.
fn plain(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        c if is_control(c) => '\u{fffd}',
        c => c,
    }
}

/// The lines of a text, ended by what any reader takes for an end.
fn lines(text: &str) -> impl Iterator<Item = String> {
    let text = text.replace("\r\n", "\n");
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
    text.trim_end_matches(ends).split(ends).map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}
