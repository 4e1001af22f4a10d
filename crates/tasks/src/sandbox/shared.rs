//! Tests that share a process with the solution, for languages where no better is possible.
//!
//! The tests' end is told by a word that only the harness reads and repeats. A solution that ends early does not
//! get there, and one that prints, redefines `main` or changes the exit status gains nothing; one that was
//! written to read the harness's own descriptors could. Where that matters, use standard input and output,
//! or a language whose tests run apart.

use std::os::fd::{AsFd, BorrowedFd};

use super::boxed::Boxed;
use super::builds::Build;
use super::plan::{Kind, Start};
use super::pool::{Judged, Sandbox, program_in};
use super::run::{Heard, Watch, ending, readable, text_file, wait};
use super::two::told;
use super::{Ending, Language, Unavailable};

/// The tests' text, and what it takes to make a program of it.
pub(super) struct Parts<'a> {
    pub(super) tests: &'a str,
    /// Whether the solution ends within a function, which the tests close.
    pub(super) opens: bool,
}

/// Builds solution and tests as one program and runs it.
pub(super) fn test(
    sandbox: &Sandbox,
    language: Language,
    parts: &Parts<'_>,
    solution: &str,
) -> Result<Judged, Unavailable> {
    let text = if language == Language::Rust { rust(parts, solution) } else { c(parts, solution) };
    let tool = sandbox.tool(language)?;
    let folder = match Build::of(language, &text).made(&tool, sandbox.isolated())? {
        Ok(folder) => folder,
        Err(outcome) => return Ok(Judged::NoProgram(format!("does not compile: {}", first_error(&outcome.stderr)))),
    };
    let program = program_in(sandbox.isolated(), &folder);
    repeated(sandbox.start(&tool, &program, Vec::new(), &folder))
}

fn rust(parts: &Parts<'_>, solution: &str) -> String {
    let tests = parts.tests.trim_start();
    let tests = if parts.opens { tests } else { tests.strip_prefix('}').unwrap_or(tests) };
    let tests = tests.replacen("fn main(", "fn relign_tests(", 1);
    format!(
        "{solution}\n{tests}\nfn main() {{\n    let _ = relign_tests();\n    use ::std::{{fs::File, io::{{Read, Write}}, os::fd::FromRawFd}};\n    \
         let mut word = Vec::new();\n    unsafe {{ File::from_raw_fd(3) }}.read_to_end(&mut word).unwrap();\n    \
         unsafe {{ File::from_raw_fd(4) }}.write_all(&word).unwrap();\n}}\n"
    )
}

fn c(parts: &Parts<'_>, solution: &str) -> String {
    format!(
        "#define main relign_demo\n{solution}\n#undef main\n#define main relign_tests\n#line 1 \"tests.c\"\n{}\n#undef main\n\
         extern long read(int, void *, unsigned long);\nextern long write(int, const void *, unsigned long);\n\
         int main(void) {{\n    int status = ((int (*)(void))relign_tests)();\n    char word[64];\n    if (status) return status;\n    \
         long length = read(3, word, sizeof word);\n    return write(4, word, length) != length;\n}}\n",
        parts.tests
    )
}

/// Runs a program that repeats a secret word once its tests are through.
fn repeated(start: Start<'_>) -> Result<Judged, Unavailable> {
    let limits = start.limits;
    let mut word = [0; 16];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut word)?;
    let secret = text_file(&word)?;
    let (mut heard, line) = Heard::new(64)?;
    let (mut complaints, stderr) = Heard::new(limits.output())?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let fds = vec![null.as_fd(), null.as_fd(), stderr.as_fd(), secret.as_fd(), line.as_fd()];
    let mut boxed = Boxed::start(&Start { fds, kind: Kind::Watched, ..start })?;
    drop((line, stderr, secret));
    let meter = boxed.meter();
    let mut watch = Watch::new(limits);
    loop {
        let fds: Vec<BorrowedFd<'_>> = [complaints.fd(), boxed.status()].into_iter().flatten().collect();
        wait(&fds);
        let ended = boxed.status().is_none_or(readable);
        complaints.take();
        if ended {
            break;
        }
        if let Some(ending) = watch.glance(&[&meter]) {
            return Ok(Judged::Stopped(ending));
        }
    }
    let Some(end) = boxed.end() else {
        return Err(Unavailable::Broken("the first process of a box was killed".to_owned()));
    };
    drop(boxed);
    complaints.take();
    let quiet = heard.take();
    match ending(end.how) {
        _ if u128::from(end.cpu_micros) > limits.cpu().as_micros() => Ok(Judged::Stopped(Ending::CpuTime)),
        Ending::Exit(0) if quiet && heard.text == word => Ok(Judged::Passed),
        Ending::Exit(0) => Ok(Judged::Wrong("it ended before the tests did".to_owned())),
        other => Ok(Judged::Wrong(format!("{}{other}", told(&complaints.text)))),
    }
}

/// What a compiler says first.
pub(super) fn first_error(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().find(|line| line.contains("error")).or_else(|| text.lines().next()).unwrap_or("no words");
    line.trim().chars().take(300).collect()
}
