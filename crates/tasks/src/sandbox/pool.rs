//! The sandbox as the rest of the house sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::builds::Build;
use super::pair::{Pair, Spec, Word};
use super::plan::{Bind, Kind, MemoryLimit, Start};
use super::run::{Input, run};
use super::toolchains::{Tool, find};
use super::{Ending, Language, Limits, Outcome, Unavailable, javascript, rust, shared};

/// Runs programs that nobody trusts, many at a time.
///
/// Workers are started as they are needed, one for each thread that asks at the same time, and kept warm.
pub struct Sandbox {
    limits: Limits,
    python: String,
    isolated: bool,
    idle: Mutex<Vec<Pair>>,
    tools: Mutex<HashMap<Language, Arc<Tool>>>,
}

/// A solution and what it is tested with.
#[derive(Clone, Copy, Debug)]
pub struct Tests<'a> {
    /// The whole solution.
    pub solution: &'a str,
    /// The text that the task began with, for names that tests use; may be empty.
    pub prefix: &'a str,
    /// The function that is tested; may be empty.
    pub entry_point: &'a str,
    /// The tests: a text that fails by an exception (Python, JavaScript) or an exit status (Rust, C).
    pub tests: &'a str,
}

/// What tests say of a solution.
#[derive(Clone, Debug, PartialEq)]
pub enum Judged {
    /// It passes all.
    Passed,
    /// It fails one, and which.
    Wrong(String),
    /// It is no program of its language, and why.
    NoProgram(String),
    /// It exceeded a limit.
    Stopped(Ending),
}

impl Sandbox {
    /// A sandbox under `limits`; `python` is the name or the path of the interpreter.
    ///
    /// `isolated = false` runs programs without any isolation but limits of single processes.
    #[must_use]
    pub fn new(limits: Limits, python: impl Into<String>, isolated: bool) -> Self {
        Self { limits, python: python.into(), isolated, idle: Mutex::default(), tools: Mutex::default() }
    }

    /// The limits of every program.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Runs a program in a box of its own, without a warm worker.
    ///
    /// # Errors
    /// If this machine cannot run it; see [`Unavailable`]. A build that fails is an [`Outcome`], too.
    pub fn run(&self, language: Language, text: &str, input: Input<'_>) -> Result<Outcome, Unavailable> {
        match language {
            Language::Python | Language::JavaScript => {
                let tool = self.tool(language)?;
                let folder = tempfile::tempdir()?;
                let name = format!("program.{}", language.ending());
                readable(folder.path(), &name, text)?;
                let script = std::path::Path::new("/program").join(name);
                let mut args = vec![script.into_os_string()];
                if language == Language::JavaScript {
                    args.insert(0, javascript::heap(&self.limits));
                }
                self.boxed(&tool, &tool.program, args, folder.path(), input)
            }
            Language::Rust | Language::C => {
                let tool = self.tool(language)?;
                match Build::of(language, text).made(&tool, self.isolated)? {
                    Err(outcome) => Ok(outcome),
                    Ok(folder) => self.boxed(&tool, &program_in(self.isolated, &folder), Vec::new(), &folder, input),
                }
            }
        }
    }

    /// Runs a program on a warm worker where its language has one.
    ///
    /// # Errors
    /// As [`Sandbox::run`].
    pub fn program(&self, language: Language, text: &str, input: &[u8]) -> Result<Outcome, Unavailable> {
        if language != Language::Python {
            return self.run(language, text, Input::Text(input));
        }
        self.with_pair(|pair, _| pair.program(text, input, &self.limits))
    }

    /// Tests a solution.
    ///
    /// # Errors
    /// If this machine cannot run it or the tests cannot be run.
    pub fn test(&self, language: Language, tests: &Tests<'_>) -> Result<Judged, Unavailable> {
        match language {
            Language::Python => {
                let spec = Spec { prefix: tests.prefix, entry_point: tests.entry_point, tests: tests.tests };
                let word =
                    self.with_pair(|pair, tool| pair.test(tool, self.isolated, tests.solution, &spec, &self.limits))?;
                match word {
                    Err(ending) => Ok(Judged::Stopped(ending)),
                    Ok(Word::Passed) => Ok(Judged::Passed),
                    Ok(Word::Wrong(why)) => Ok(Judged::Wrong(why)),
                    Ok(Word::NoProgram(why)) => Ok(Judged::NoProgram(why)),
                    Ok(Word::Unfit(why)) => Err(Unavailable::Broken(why)),
                }
            }
            Language::Rust => rust::test(self, tests),
            Language::JavaScript => javascript::test(self, tests),
            Language::C => {
                let parts = shared::Parts { tests: tests.tests, opens: false };
                shared::test(self, Language::C, &parts, tests.solution)
            }
        }
    }

    pub(super) fn isolated(&self) -> bool {
        self.isolated
    }

    /// Runs `program` with `folder` at `/program`.
    fn boxed(
        &self,
        tool: &Tool,
        program: &std::path::Path,
        args: Vec<std::ffi::OsString>,
        folder: &std::path::Path,
        input: Input<'_>,
    ) -> Result<Outcome, Unavailable> {
        run(self.start(tool, program, args, folder), input)
    }

    /// A program that sees `folder` as `/program`.
    pub(super) fn start<'a>(
        &'a self,
        tool: &Tool,
        program: &'a std::path::Path,
        args: Vec<std::ffi::OsString>,
        folder: &std::path::Path,
    ) -> Start<'a> {
        let mut binds = tool.binds.clone();
        binds.push(Bind { from: folder.to_owned(), to: "/program".into(), writable: false });
        // Without a box there is no /program.
        let here = |arg: std::ffi::OsString| match arg.to_str().and_then(|arg| arg.strip_prefix("/program")) {
            Some(rest) if !self.isolated => folder.join(rest.trim_start_matches('/')).into_os_string(),
            _ => arg,
        };
        Start {
            program,
            args: args.into_iter().map(here).collect(),
            env: vec![("PYTHONHASHSEED", "0".into()), ("PYTHONDONTWRITEBYTECODE", "1".into())],
            binds,
            folder: "/tmp",
            limits: &self.limits,
            // Node reserves far more than it uses.
            memory: if tool.version.starts_with('v') { MemoryLimit::Data } else { MemoryLimit::Space },
            own_limits: true,
            fds: Vec::new(),
            kind: Kind::Watched,
            isolated: self.isolated,
        }
    }

    pub(super) fn tool(&self, language: Language) -> Result<Arc<Tool>, Unavailable> {
        let mut tools = lock(&self.tools);
        if let Some(tool) = tools.get(&language) {
            return Ok(Arc::clone(tool));
        }
        let tool = Arc::new(find(language, &self.python)?);
        tools.insert(language, Arc::clone(&tool));
        Ok(tool)
    }

    fn with_pair<T>(&self, work: impl FnOnce(&mut Pair, &Tool) -> Result<T, Unavailable>) -> Result<T, Unavailable> {
        let tool = self.tool(Language::Python)?;
        let warm = lock(&self.idle).pop();
        let mut pair = match warm {
            Some(pair) => pair,
            None => Pair::new(&tool, &self.limits, self.isolated)?,
        };
        let result = work(&mut pair, &tool);
        // One that was stopped, or broke, is dropped: killed with all that is in it.
        if pair.healthy() {
            lock(&self.idle).push(pair);
        }
        result
    }
}

/// Where a build's program lies: in the box, or as it is.
pub(super) fn program_in(isolated: bool, folder: &std::path::Path) -> std::path::PathBuf {
    if isolated { "/program/program".into() } else { folder.join("program") }
}

/// Writes a file that a box of root's, who is nobody there, can read, too.
pub(super) fn readable(folder: &std::path::Path, name: &str, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
