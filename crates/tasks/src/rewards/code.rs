//! Programs that pass their tests.

use num_rational::BigRational;
use relign_core::{ConfigError, Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

mod cases;

use cases::{Case, cases, same_output};

use crate::sandbox::{Ending, Judged, Language, Limits, Sandbox, Tests, Unavailable};

/// Pays 1 if the answer's program passes the task's tests, run in a sandbox.
///
/// The program is the last fenced block of the task's language, or else the last block that names none, or
/// else the whole answer. Where it does not define the task's entry point, it completes the task's prefix.
/// Python, Rust (`rustc`), JavaScript (`node`) and C (`cc`) are run where they are installed. The task says in its
/// facts what is asked:
///
/// - `language`: python, rust, javascript or c.
/// - `tests`: a program that runs behind the solution and fails by an exception or its exit status (HumanEval's
///   `check`, MBPP's asserts, MultiPL-E's `main`); with `entry_point`, the function's name, and `prefix`.
/// - or `cases`: a JSON list of `{"input": "...", "output": "..."}`, or `{"inputs": [...], "outputs": [...]}` (APPS): standard
///   input and the output expected on it; spaces at the ends of lines and line breaks at the end are no matter. All must
///   be met. `tolerance` compares numbers as numbers.
///
/// Tests never share a process with a Python, Rust or JavaScript solution: calls go from one sandbox to another
/// as plain data, so that nothing a solution does to its own process changes asserts, expected values or the
/// verdict, and no object of its own passes for a number. (Rust needs a prefix that ends in a signature
/// without references; otherwise, and in C, tests and solution are one program that has to run to its end.)
/// Python's `random` starts from a fixed seed.
///
/// CPU time decides what takes too long, so a busy machine changes no score. Where programs cannot be isolated
/// the score is a failure, never 0: see `unsafe_no_sandbox`. `run.reward_seconds` should leave room for a few times
/// `limits.cpu_seconds`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Code {
    /// What each program may use; each case of `cases` is a program.
    pub limits: Limits,
    /// The Python interpreter, by name or path; 3.10 or newer.
    pub python: String,
    /// How far a number in the output on one of `cases` may be from the expected one, absolutely or relative to it: `0` takes
    /// 0.50 for 0.5 (as LiveCodeBench does), `1e-6` also 0.3333333 for 1/3 in decimals. Two whole numbers must be equal.
    /// Without it, outputs are compared as text.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub tolerance: Option<f64>,
    /// Runs programs without isolation: they can read, change and send all that you can. Only for machines
    /// that hold nothing and are isolated themselves.
    pub unsafe_no_sandbox: bool,
}

impl Default for Code {
    fn default() -> Self {
        Self { limits: Limits::default(), python: "python3".to_owned(), tolerance: None, unsafe_no_sandbox: false }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "code",
    schema: schema_of::<Code>,
    build: |settings| Ok(Box::new(parse::<Code>(settings)?.runner()?)),
};

/// A [`Code`] with its warm workers.
struct Runner {
    sandbox: Sandbox,
    tolerance: Option<BigRational>,
}

impl Code {
    fn runner(self) -> Result<Runner, ConfigError> {
        if let Some((key, complaint)) = self.limits.complaint() {
            return Err(ConfigError::at(key, complaint).within("limits"));
        }
        let tolerance = match self.tolerance {
            None => None,
            Some(tolerance) if (0.0..=1.0).contains(&tolerance) => BigRational::from_float(tolerance),
            Some(other) => return Err(ConfigError::at("tolerance", format!("expected 0 to 1, got {other}"))),
        };
        Ok(Runner { sandbox: Sandbox::new(self.limits, self.python, !self.unsafe_no_sandbox), tolerance })
    }
}

impl Reward for Runner {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let fact = |name: &str| task.facts.get(name).map(String::as_str).filter(|text| !text.trim().is_empty());
        let missing = |what: &str| Score::failed(format!("task {}: expected {what} among its facts", task.id));
        let Some(name) = fact("language") else { return missing("`language`") };
        let Some(language) = Language::named(name) else {
            return Score::failed(format!("task {}: expected python, rust, javascript or c, got `{name}`", task.id));
        };
        let Some((code, fenced)) = extracted(&transcript.answer(), language, fact("entry_point").unwrap_or_default())
        else {
            return Score::unparsed("no program");
        };
        let entry_point = fact("entry_point").unwrap_or_default();
        let prefix = fact("prefix").unwrap_or_default();
        let solution = completed(&code, prefix, entry_point, language);
        let score = if let Some(tests) = fact("tests") {
            self.sandbox
                .test(language, &Tests { solution: &solution, prefix, entry_point, tests })
                .map(|judged| told(judged, fenced))
        } else if let Some(cases) = fact("cases") {
            match self::cases(cases) {
                Ok(cases) => self.run_cases(language, &solution, &cases),
                Err(error) => return Score::failed(format!("task {}: fact `cases`: {error}", task.id)),
            }
        } else {
            return missing("`tests` or `cases`");
        };
        score.unwrap_or_else(|error| Score::failed(error.to_string()))
    }
}

impl Runner {
    fn run_cases(&self, language: Language, solution: &str, cases: &[Case]) -> Result<Score, Unavailable> {
        for (index, Case { input, output }) in cases.iter().enumerate() {
            let outcome = self.sandbox.program(language, solution, input.as_bytes())?;
            let which = format!("case {} of {}", index + 1, cases.len());
            if outcome.ending != Ending::Exit(0) {
                let said = String::from_utf8_lossy(&outcome.stderr);
                let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
                let last: String = last.chars().take(200).collect();
                return Ok(Score::wrong(format!("{which}: {} {last}", outcome.ending).trim_end().to_owned()));
            }
            let got = String::from_utf8_lossy(&outcome.stdout);
            if !same_output(&got, output, self.tolerance.as_ref()) {
                let short: String = got.trim().chars().take(100).collect();
                return Ok(Score::wrong(format!("{which}: got `{short}`")));
            }
        }
        Ok(Score::correct(format!("{} cases", cases.len())))
    }
}

fn told(judged: Judged, fenced: bool) -> Score {
    match judged {
        Judged::Passed => Score::correct("passes its tests"),
        Judged::Wrong(why) => Score::wrong(why),
        Judged::Stopped(ending) => Score::wrong(ending.to_string()),
        Judged::NoProgram(why) if fenced => Score::wrong(why),
        Judged::NoProgram(why) => Score::unparsed(format!("no code block, and the text is no program: {why}")),
    }
}

/// The program of an answer, and whether it stood in a fenced block: of several blocks the last that defines the entry point,
/// for what follows it may be usage, tests or output; else the last one.
fn extracted(text: &str, language: Language, entry_point: &str) -> Option<(String, bool)> {
    let blocks = blocks(text, language);
    let own: Vec<&Block> = blocks.iter().filter(|block| block.named == Some(true) && !block.text.is_empty()).collect();
    let unnamed: Vec<&Block> = blocks.iter().filter(|block| block.named.is_none() && !block.text.is_empty()).collect();
    let solves = |block: &&&Block| !entry_point.is_empty() && defines_any(&block.text, entry_point, language);
    let last = |blocks: &[&Block]| blocks.iter().rev().find(solves).or(blocks.last()).map(|block| block.text.clone());
    // A block without a name that solves the task counts before one with a name that does not.
    let own_solves = own.iter().any(|block| solves(&block));
    let first = if !own_solves && unnamed.iter().any(|block| solves(&block)) { &unnamed } else { &own };
    if let Some(block) = last(first).or_else(|| last(&unnamed)) {
        return Some((block, true));
    }
    // Prose around the solution, with blocks that hold other things.
    let bare = blocks.is_empty() || (!entry_point.is_empty() && defines_any(text, entry_point, language));
    (bare && !text.trim().is_empty()).then(|| (text.trim_start_matches('\n').to_owned(), false))
}

/// A fenced block.
struct Block {
    /// Whether its name is the language's; none without a name.
    named: Option<bool>,
    text: String,
}

/// The fenced blocks of a text: behind three or more backticks or tildes, up to a line of at least as many. Fences within a text
/// in triple quotes of Python are part of it.
fn blocks<'t>(text: &'t str, language: Language) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        // A block within a quotation is quoted line by line.
        let quotation = line.trim_start().starts_with('>');
        let unquoted = |line: &'t str| if quotation { quoted_text(line) } else { line };
        let line = unquoted(line);
        let bare = line.trim_start();
        let mark = match bare.chars().next() {
            Some(mark @ ('`' | '~')) => mark,
            _ => continue,
        };
        let length = bare.chars().take_while(|&c| c == mark).count();
        let info = bare[length..].trim();
        // Backticks behind the fence are code within a line.
        if length < 3 || (mark == '`' && info.contains('`')) {
            continue;
        }
        let margin = line.len() - bare.len();
        let name = info.trim_start_matches(['{', '.']).split([' ', '{', '}', ',']).next().unwrap_or_default();
        let named = (!name.is_empty()).then(|| Language::named(&name.to_lowercase()) == Some(language));
        // A block that the token limit cut is closed by the end.
        let mut block = String::new();
        let mut quoted: Option<&str> = None;
        for line in lines.by_ref() {
            let line = unquoted(line);
            let bare = line.trim();
            let ends = bare.chars().take_while(|&c| c == mark).count() >= length && bare.chars().all(|c| c == mark);
            if ends && quoted.is_none() {
                break;
            }
            if language == Language::Python && named != Some(false) {
                quoted = quotes_open(line, quoted);
            }
            // A block within a list is moved in as a whole.
            let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
            block.push_str(&line[margin.min(blank)..]);
            block.push('\n');
        }
        let text = if block.trim().is_empty() { String::new() } else { block };
        blocks.push(Block { named, text });
    }
    blocks
}

/// A line without the mark of a quotation.
fn quoted_text(line: &str) -> &str {
    let line = line.trim_start();
    line.strip_prefix("> ").or_else(|| line.strip_prefix('>')).unwrap_or(line)
}

/// Which triple quotes are open behind a line of Python, where `open` were before it.
fn quotes_open<'q>(line: &str, mut open: Option<&'q str>) -> Option<&'q str> {
    let mut rest = line;
    loop {
        match open {
            Some(quotes) => {
                let Some(at) = rest.find(quotes) else { return open };
                (rest, open) = (&rest[at + quotes.len()..], None);
            }
            None => {
                let first =
                    ["\"\"\"", "'''"].into_iter().filter_map(|quotes| rest.find(quotes).map(|at| (at, quotes))).min();
                let comment = rest.find('#');
                let (at, quotes) = first.filter(|(at, _)| comment.is_none_or(|comment| comment > *at))?;
                (rest, open) = (&rest[at + quotes.len()..], Some(quotes));
            }
        }
    }
}

/// Whether a line of the code defines the entry point.
fn defines_any(code: &str, entry_point: &str, language: Language) -> bool {
    code.lines().any(|line| {
        let line = line.trim_start_matches("pub ").trim_start_matches("export ").trim_start_matches("async ");
        let named = |word: &str| {
            line.strip_prefix(word)
                .map(str::trim_start)
                .and_then(|rest| rest.strip_prefix(entry_point))
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        match language {
            Language::Python => named("def ") || named("class ") || (named("") && line.contains('=')),
            Language::Rust => named("fn "),
            Language::JavaScript => {
                named("function ") || named("function* ") || named("const ") || named("let ") || named("var ")
            }
            Language::C => !line.starts_with([' ', '\t']) && line.contains(&format!("{entry_point}(")),
        }
    })
}

/// A solution that is whole: where the code lacks the entry point it goes on from the prefix.
fn completed(code: &str, prefix: &str, entry_point: &str, language: Language) -> String {
    if prefix.is_empty() {
        return code.to_owned();
    }
    let whole = !entry_point.is_empty() && defines_any(code, entry_point, language);
    match language {
        // The prefix brings what answers often leave out: imports, and functions that the tests know.
        Language::Python if whole && code.contains("from __future__") => code.to_owned(),
        Language::Python if whole => format!("{prefix}\n\n{code}"),
        _ if whole => code.to_owned(),
        Language::Python => format!("{prefix}{}{}", if prefix.ends_with('\n') { "" } else { "\n" }, indented(code)),
        _ => format!("{prefix}{code}"),
    }
}

/// A body that begins at the margin, moved in below its function's head.
fn indented(code: &str) -> String {
    let first = code.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if first.starts_with([' ', '\t']) {
        return code.to_owned();
    }
    code.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_answers() {
        let found = |text: &str| extracted(text, Language::Python, "");
        let block = |text: &str| Some((text.to_owned(), true));
        assert_eq!(
            found("So:\n```python\nx = 1\n```\nor\n```py\nx = 2\n```\nIt prints\n```text\n3\n```"),
            block("x = 2\n")
        );
        assert_eq!(found("```\nx = 1\n```\n```rust\nfn f() {}\n```"), block("x = 1\n"));
        assert_eq!(found("1. So\n   ```python\n   if x:\n       y\n   ```"), block("if x:\n    y\n"));
        assert_eq!(found("```python\ncut = 1\nof"), block("cut = 1\nof\n"));
        assert_eq!(found("````python\ns = '''\n```\n'''\n````"), block("s = '''\n```\n'''\n"));
        assert_eq!(found("    return 1\n"), Some(("    return 1\n".to_owned(), false)));
        for none in ["", " \n", "```python\n```", "```rust\nfn f() {}\n```"] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn prefixes_are_completed() {
        let prefix = "import math\ndef f(x):\n    \"\"\"doc\"\"\"\n";
        let python = |code: &str| completed(code, prefix, "f", Language::Python);
        assert_eq!(python("    return 1\n"), format!("{prefix}    return 1\n"));
        assert_eq!(python("return 1"), format!("{prefix}    return 1\n"));
        assert_eq!(python("def f(x):\n    return 1\n"), format!("{prefix}\n\ndef f(x):\n    return 1\n"));
        assert_eq!(python("def fg(x): pass"), format!("{prefix}    def fg(x): pass\n"));
        let rust = |code: &str| completed(code, "fn f(x: i32) -> i32 {\n", "f", Language::Rust);
        assert_eq!(rust("    x\n}"), "fn f(x: i32) -> i32 {\n    x\n}");
        assert_eq!(rust("pub fn f(x: i32) -> i32 { x }"), "pub fn f(x: i32) -> i32 { x }");
    }

    #[test]
    fn settings_are_checked() {
        let error = |settings| (ENTRY.build)(settings).err().unwrap().to_string();
        assert!(error(serde_json::json!({"limits": {"cpu_seconds": 0}})).starts_with("limits.cpu_seconds: expected"));
        assert!(error(serde_json::json!({"tolerance": -1})).starts_with("tolerance: expected 0 to 1, got -1"));
        assert!(error(serde_json::json!({"limits": {"processes": 0}})).starts_with("limits.processes: expected"));
    }
}
