//! Programs a second in the sandbox.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use relign_tasks::sandbox::{Ending, Judged, Language, Limits, Sandbox, Tests};
use serde::Deserialize;

use super::figure;

/// A line of the file: a whole program, or a solution and its tests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    program: String,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    entry_point: String,
    #[serde(default)]
    tests: String,
}

/// Runs every line of `file` once to warm up and `rounds` times for the figure, on `threads` threads. All must pass.
pub(super) fn run(file: &Path, threads: usize, rounds: usize, python: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines: Vec<Line> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let limits = Limits { cpu_seconds: 60.0, idle_seconds: 60.0, ..Limits::default() };
    let sandbox = Sandbox::new(limits, python, true);
    all(&sandbox, &lines, threads)?;
    let start = Instant::now();
    for _ in 0..rounds {
        all(&sandbox, &lines, threads)?;
    }
    figure((rounds * lines.len()) as f64 / start.elapsed().as_secs_f64())
}

fn all(sandbox: &Sandbox, lines: &[Line], threads: usize) -> anyhow::Result<()> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(line) = lines.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = one(sandbox, line)
                        && let Ok(mut failed) = failed.lock()
                    {
                        failed.get_or_insert(error);
                    }
                }
            });
        }
    });
    failed.into_inner().ok().flatten().map_or(Ok(()), Err)
}

fn one(sandbox: &Sandbox, line: &Line) -> anyhow::Result<()> {
    if line.tests.is_empty() {
        let outcome = sandbox.program(Language::Python, &line.program, b"")?;
        if outcome.ending != Ending::Exit(0) {
            bail!("{}: {}", outcome.ending, String::from_utf8_lossy(&outcome.stderr));
        }
        return Ok(());
    }
    let tests =
        Tests { solution: &line.program, prefix: &line.prefix, entry_point: &line.entry_point, tests: &line.tests };
    match sandbox.test(Language::Python, &tests)? {
        Judged::Passed => Ok(()),
        judged => bail!("{}: {judged:?}", line.entry_point),
    }
}
