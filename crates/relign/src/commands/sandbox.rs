//! `relign sandbox`: a program that nobody trusts.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use relign_tasks::sandbox::{Ending, Input, Language, Limits, Sandbox};
use serde_json::json;

use super::sampling::bounded;
use super::say_json;
use crate::console::{Out, note, visible};
use crate::usage::Usage;

/// What `sandbox` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The program's text
    file: PathBuf,
    /// python, rust, javascript or c [default: what the file's ending says]
    #[arg(long, value_name = "L")]
    lang: Option<String>,
    /// Seconds of CPU time
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    cpu_seconds: f64,
    /// Seconds it may wait for nothing
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    idle_seconds: f64,
    /// Megabytes of memory
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = bounded::<u64>("memory_mb"))]
    memory_mb: u64,
    /// Processes and threads at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = bounded::<u32>("processes"))]
    processes: u32,
    /// Kilobytes of output, and as many of errors
    #[arg(long, value_name = "KB", default_value_t = 1024, value_parser = bounded::<u64>("output_kb"))]
    output_kb: u64,
    /// The Python interpreter
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// Run it without isolation: it can do all that you can
    #[arg(long)]
    unsafe_no_sandbox: bool,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let ending = || asked.file.extension().map(|ending| ending.to_string_lossy().into_owned()).unwrap_or_default();
    let name = asked.lang.clone().unwrap_or_else(ending);
    let language = Language::named(&name)
        .ok_or_else(|| Usage::error(format!("--lang: expected python, rust, javascript or c, got `{name}`")))?;
    let limits = Limits {
        cpu_seconds: asked.cpu_seconds,
        idle_seconds: asked.idle_seconds,
        memory_mb: asked.memory_mb,
        processes: asked.processes,
        output_kb: asked.output_kb,
        ..Limits::default()
    };
    if let Some((key, complaint)) = limits.complaint() {
        return Err(Usage::error(format!("--{}: {complaint}", key.replace('_', "-"))));
    }
    let text = std::fs::read_to_string(&asked.file).with_context(|| asked.file.display().to_string())?;
    let sandbox = Sandbox::new(limits, asked.python.clone(), !asked.unsafe_no_sandbox);
    let outcome = sandbox.run(language, &text, Input::Ours)?;
    let (status, signal) = match outcome.ending {
        Ending::Exit(status) => (Some(status), None),
        Ending::Signal(signal) => (None, Some(signal)),
        _ => (None, None),
    };
    let verdict = match outcome.ending {
        Ending::Exit(0) => "passed",
        Ending::Exit(_) | Ending::Signal(_) => "failed",
        _ => "stopped",
    };
    let megabytes = outcome.peak_memory as f64 / 1e6;
    if as_json {
        say_json(&json!({
            "verdict": verdict,
            "ending": outcome.ending.to_string(),
            "status": status,
            "signal": signal,
            "cpu_seconds": outcome.cpu.as_secs_f64(),
            "wall_seconds": outcome.wall.as_secs_f64(),
            "peak_memory_mb": (megabytes * 10.0).round() / 10.0,
            "isolated": !asked.unsafe_no_sandbox,
            "stdout": String::from_utf8_lossy(&outcome.stdout),
            "stderr": String::from_utf8_lossy(&outcome.stderr),
        }))?;
    } else {
        let shown = |bytes: &[u8]| visible(&String::from_utf8_lossy(bytes)).into_owned().into_bytes();
        let (mut out, mut err) = (outcome.stdout, outcome.stderr);
        if std::io::stdout().is_terminal() {
            out = shown(&out);
        }
        if std::io::stderr().is_terminal() {
            err = shown(&err);
        }
        Out.write_all(&out)?;
        let _ = std::io::stderr().lock().write_all(&err);
        note!("{verdict}: {}; {:.3} s of CPU time, {megabytes:.1} MB", outcome.ending, outcome.cpu.as_secs_f64());
    }
    if outcome.ending != Ending::Exit(0) {
        bail!("{}: {}", asked.file.display(), outcome.ending);
    }
    Ok(())
}
