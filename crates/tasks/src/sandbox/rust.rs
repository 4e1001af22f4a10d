//! Tests of Rust solutions: two programs, one with the tests and one with the solution.
//!
//! In the tests' program the function's body asks the solution's process, so that a solution can neither end the
//! tests early, nor redefine their macros, nor see what they expect. That needs the function's signature, which
//! the task's prefix ends in (as MultiPL-E's do). Tests without it share a process with the solution; see
//! `shared.rs`.

use super::builds::Build;
use super::pool::{Judged, Sandbox, Tests, program_in};
use super::shared::{self, Parts};
use super::two::two;
use super::{Language, Unavailable};

const WIRE: &str = include_str!("guest/wire.rs");

/// `fn name(x: A, y: B) -> R {`, as the end of a prefix.
#[derive(Debug, PartialEq, Eq)]
struct Signature<'a> {
    name: &'a str,
    /// Names and types.
    args: Vec<(&'a str, &'a str)>,
    result: &'a str,
}

pub(super) fn test(sandbox: &Sandbox, tests: &Tests<'_>) -> Result<Judged, Unavailable> {
    let Some(signature) = Signature::at_the_end(tests.prefix) else {
        return shared::test(sandbox, Language::Rust, &alone(tests), tests.solution);
    };
    let tool = sandbox.tool(Language::Rust)?;
    let made = |text: &str| Build::of(Language::Rust, text).with("wire.rs", WIRE).made(&tool, sandbox.isolated());
    let said = |outcome: &super::Outcome| shared::first_error(&outcome.stderr);
    let asking = match made(&asking(&signature, tests))? {
        Ok(folder) => folder,
        Err(outcome) => return Err(Unavailable::Broken(format!("the tests do not compile: {}", said(&outcome)))),
    };
    let answering = match made(&answering(&signature, tests))? {
        Ok(folder) => folder,
        Err(outcome) => return Ok(Judged::NoProgram(format!("does not compile: {}", said(&outcome)))),
    };
    let (asks, answers) = (program_in(sandbox.isolated(), &asking), program_in(sandbox.isolated(), &answering));
    two(sandbox.start(&tool, &asks, Vec::new(), &asking), sandbox.start(&tool, &answers, Vec::new(), &answering))
}

/// The tests, with the function that they call asking another process.
fn asking(signature: &Signature<'_>, tests: &Tests<'_>) -> String {
    let names: String = signature.args.iter().map(|(name, _)| format!("{name}, ")).collect();
    // Without the closing brace that some tests begin with.
    let body = tests.tests.trim_start().strip_prefix('}').unwrap_or(tests.tests);
    format!("mod wire;\n{}\n    crate::wire::call(({names}))\n}}\n{body}\n", tests.prefix)
}

/// The solution, and around it what answers. The types are the task's: a function of others does not compile.
fn answering(signature: &Signature<'_>, tests: &Tests<'_>) -> String {
    let (mut solution, name) = (tests.solution.to_owned(), signature.name);
    if open_braces(&solution) > 0 {
        solution.push_str("\n}");
    }
    let uses: String =
        tests.prefix.lines().filter(|line| line.starts_with("use ")).map(|line| format!("{line} ")).collect();
    let names: String = (0..signature.args.len()).map(|at| format!("a{at}, ")).collect();
    let types: String = signature.args.iter().map(|(_, kind)| format!("{kind}, ")).collect();
    let result = if signature.result.is_empty() { "()" } else { signature.result };
    format!(
        "mod wire;\nmod solution {{\n{solution}\n\
         pub fn relign_serve() {{ {uses} crate::wire::serve(|({names}): ({types})| -> {result} {{ {name}({names}) }}) }}\n\
         }}\nfn main() {{ solution::relign_serve() }}\n"
    )
}

/// Tests that stand behind a solution in one program.
fn alone<'a>(tests: &Tests<'a>) -> Parts<'a> {
    Parts { tests: tests.tests, opens: open_braces(tests.solution) > 0 }
}

impl<'a> Signature<'a> {
    fn at_the_end(prefix: &'a str) -> Option<Self> {
        let head = prefix.trim_end().strip_suffix('{')?;
        let at = head.rfind("fn ")?;
        let open = at + head[at..].find('(')?;
        let name = head[at + 3..open].trim();
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let close = open + closing(&head[open..])?;
        let mut args = Vec::new();
        for arg in pieces(&head[open + 1..close]) {
            let (name, kind) = arg.split_once(':')?;
            args.push((name.trim().trim_start_matches("mut ").trim(), kind.trim()));
        }
        // What is borrowed cannot be sent.
        if args.iter().any(|(_, kind)| kind.contains('&')) {
            return None;
        }
        let result = head[close + 1..].trim();
        let result = if result.is_empty() { "" } else { result.strip_prefix("->")?.trim() };
        (!result.contains('&')).then_some(Self { name, args, result })
    }
}

/// Where the parenthesis closes that `text` begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, c)| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        (depth == 0).then_some(at)
    })
}

/// What stands between the commas that no bracket holds.
fn pieces(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut pieces) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth -= 1,
            ',' if depth == 0 => {
                pieces.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&text[from..]);
    pieces.into_iter().filter(|piece| !piece.trim().is_empty()).collect()
}

/// Braces that are opened and not closed; those in comments, strings and characters are no braces.
pub(super) fn open_braces(text: &str) -> i64 {
    let bytes = text.as_bytes();
    let (mut open, mut at) = (0, 0);
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        at += match rest {
            [b'/', b'/', ..] => rest.iter().position(|&c| c == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => rest.windows(2).position(|two| two == b"*/").map_or(rest.len(), |end| end + 2),
            [b'"', ..] => quoted(rest),
            // A character, in contrast to a lifetime, is closed behind one.
            [b'\'', b'\\', ..] => rest.iter().skip(3).position(|&c| c == b'\'').map_or(rest.len(), |end| end + 4),
            [b'\'', _, b'\'', ..] => 3,
            [c, ..] => {
                open += i64::from(*c == b'{') - i64::from(*c == b'}');
                1
            }
            [] => 1,
        };
    }
    open
}

/// The length of the string that `text` begins with.
fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures() {
        let prefix = "use std::collections::HashMap;\n/// f(x)\nfn pairs(grid: Vec<Vec<isize>>, mut at: (isize, isize)) -> HashMap<String, isize> {\n";
        let signature = Signature::at_the_end(prefix).unwrap();
        assert_eq!(signature.name, "pairs");
        assert_eq!(signature.args, [("grid", "Vec<Vec<isize>>"), ("at", "(isize, isize)")]);
        assert_eq!(signature.result, "HashMap<String, isize>");
        assert_eq!(Signature::at_the_end("fn nothing() {").unwrap().args, []);
        for none in ["", "fn f(x: &str) -> isize {", "fn f(x: isize) -> isize", "struct S {"] {
            assert_eq!(Signature::at_the_end(none), None, "{none}");
        }
    }

    #[test]
    fn braces() {
        for (text, open) in [
            ("fn f() {", 1),
            ("fn f() { '{' }", 0),
            ("fn f() { \"\\\"}\" ", 1),
            ("fn f<'a>(x: &'a str) { // }\n /* } */ x }", 0),
            ("'\\'' '\\u{7b}' {", 1),
        ] {
            assert_eq!(open_braces(text), open, "{text}");
        }
    }
}
