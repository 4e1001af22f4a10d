//! `relign doctor`: this machine, a server or a model: what is wrong with it and what to do, or what of it fits.

mod model;
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use relign_engine::remote::Address;
use relign_model::device;

use super::{say, say_json};
use crate::generator::ServerArgs;
use crate::usage::Usage;

/// One thing looked at.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// What `doctor` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// A model, of which is told what fits into this machine's memory, or a server to look at: http://HOST:PORT/v1#MODEL
    model: Option<String>,
    /// The base model of a PEFT folder [default: what the folder names]
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    match &asked.model {
        Some(model) if !Address::is_one(model) => model::run(model, asked.base.as_deref(), as_json),
        Some(model) => {
            let address = Address::parse(model).map_err(|error| Usage(error.to_string()))?;
            report(&server::look(&address, &asked.server)?, as_json)
        }
        None => report(&machine(), as_json),
    }
}

fn machine() -> Vec<Finding> {
    vec![
        cpu(),
        dtype(),
        threads(),
        memory(),
        disk(),
        allocator(),
        huge_pages(),
        libtorch(),
        devices(),
        python(),
        sandbox(),
        models(),
    ]
}

fn report(findings: &[Finding], as_json: bool) -> anyhow::Result<()> {
    let failed = findings.iter().filter(|finding| finding.state == State::Fail).count();
    for finding in findings {
        if as_json {
            say_json(finding)?;
            continue;
        }
        let mark = match finding.state {
            State::Ok => "ok  ",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        say(format_args!("{mark}  {:<11}{}", finding.what, finding.found))?;
        if let Some(advice) = &finding.advice {
            say(format_args!("                 -> {advice}"))?;
        }
    }
    if as_json {
        say_json(&json!({"summary": true, "ok": failed == 0, "version": env!("CARGO_PKG_VERSION")}))?;
    }
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed", findings.len());
    Ok(())
}

fn ok(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, state: State::Ok, found: found.into(), advice: None }
}

fn warn(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what, state: State::Warn, found: found.into(), advice: Some(advice.into()) }
}

fn fail(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what, state: State::Fail, found: found.into(), advice: Some(advice.into()) }
}

fn proc_value(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').next().map(str::trim) == Some(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn cpu() -> Finding {
    const SHOWN: [(&str, &str); 5] = [
        ("avx2", "AVX2"),
        ("avx512f", "AVX-512"),
        ("avx512_bf16", "AVX512-BF16"),
        ("amx_bf16", "AMX-BF16"),
        ("f16c", "F16C"),
    ];
    let name = proc_value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let flags = proc_value("/proc/cpuinfo", "flags").unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let features: Vec<&str> = SHOWN.iter().filter(|(flag, _)| has(flag)).map(|(_, name)| *name).collect();
    let found = format!("{name}: {}", if features.is_empty() { "no AVX2".to_owned() } else { features.join(", ") });
    if has("avx2") { ok("cpu", found) } else { warn("cpu", found, "without AVX2 products are several times slower") }
}

fn dtype() -> Finding {
    let chosen = match relign_model::resolve_dtype(relign_core::Dtype::Auto) {
        relign_model::Kind::BFloat16 => "bf16: this CPU multiplies it in hardware",
        _ => "f32: this CPU has no bf16 products",
    };
    ok("dtype", format!("`auto` computes in {chosen}"))
}

fn threads() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let used = relign_model::get_num_threads();
    let found = format!("{used} for tensors on {cores} cores; at barriers they {}", crate::spinning::state());
    match std::env::var("OMP_NUM_THREADS") {
        Ok(set) if used < cores as i32 => {
            warn("threads", found, format!("OMP_NUM_THREADS={set} holds it back; unset it"))
        }
        _ => ok("threads", found),
    }
}

fn gib(kib: u64) -> f64 {
    kib as f64 / f64::from(1 << 20)
}

fn memory() -> Finding {
    let memory = relign_engine::memory::here();
    let (total, free) = (gib(memory.total >> 10), gib(memory.free >> 10));
    let limited = if memory.limited { " that a control group allows" } else { "" };
    let found = format!("{free:.1} GiB free of {total:.1}{limited}");
    if free < 4.0 {
        warn("memory", found, "training a model of 135 million weights takes about 4 GiB")
    } else {
        ok("memory", found)
    }
}

fn disk() -> Finding {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let Some(free) = run_for_text(Command::new("df").args(["-Pk", "."])) else {
        return warn("disk", "unknown: df did not answer", "see to it that a few GB are free");
    };
    let free: u64 = free.lines().nth(1).and_then(|l| l.split_whitespace().nth(3)?.parse().ok()).unwrap_or(0);
    let found = format!("{:.1} GiB free in {}", gib(free), here.display());
    if gib(free) < 5.0 {
        warn("disk", found, "a checkpoint takes 12 bytes a weight: 1.6 GB for smollm2")
    } else {
        ok("disk", found)
    }
}

fn allocator() -> Finding {
    let state = crate::allocator::state();
    let tensor = relign_model::Tensor::zeros([1 << 20], (relign_model::Kind::Float, relign_model::Device::Cpu));
    let ours = crate::allocator::owns(tensor.data_ptr());
    match (state.overrides_c && ours, state.keeps) {
        (true, true) => ok("allocator", "mimalloc serves libtorch too and keeps its memory"),
        (true, false) => warn(
            "allocator",
            "mimalloc hands memory back",
            "unset MIMALLOC_PURGE_DELAY: handing back costs page faults",
        ),
        _ => warn(
            "allocator",
            "libtorch does not allocate through mimalloc",
            "is another allocator preloaded (LD_PRELOAD)? Untuned, page faults cost up to a factor of four",
        ),
    }
}

fn huge_pages() -> Finding {
    match crate::allocator::state().huge_pages.as_str() {
        state @ ("always" | "madvise") => ok("huge pages", format!("transparent, `{state}`")),
        state => warn("huge pages", state, "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"),
    }
}

fn libtorch() -> Finding {
    let Some(folder) = device::libtorch_folder() else {
        return fail("libtorch", "not loaded", "run ./x once; it fetches libtorch 2.11.0");
    };
    let version = folder.parent().and_then(|torch| std::fs::read_to_string(torch.join("version.py")).ok());
    let version = version.and_then(|text| Some(text.split("__version__ = '").nth(1)?.split('\'').next()?.to_owned()));
    let found = format!("{} from {}", version.as_deref().unwrap_or("unknown version"), folder.display());
    match version {
        Some(version) if version.starts_with("2.11.") => ok("libtorch", found),
        _ => warn("libtorch", found, "expected 2.11; remove .x/ and run ./x, which fetches it"),
    }
}

/// What `--device` and `model.device` can name.
fn devices() -> Finding {
    match device::gpus() {
        Ok(count) => {
            let names = (0..count).map(|index| match device::gpu_memory(index) {
                Some(bytes) => format!(", cuda:{index} with {:.1} GiB", bytes as f64 / f64::from(1 << 30)),
                None => format!(", cuda:{index}"),
            });
            ok("devices", format!("cpu{}", names.collect::<String>()))
        }
        // Without a GPU nothing is wrong; with one, what keeps libtorch from it is worth knowing.
        Err(_) if !Path::new("/proc/driver/nvidia/version").exists() => ok("devices", "cpu; no NVIDIA driver"),
        Err(found) => warn("devices", format!("cpu; no GPU: {found}"), device::CUDA_ADVICE),
    }
}

fn python() -> Finding {
    let advice = "only `relign pull` of built-in models and ./x need Python 3 with pip";
    match run_for_text(Command::new("python3").args(["-m", "pip", "--version"])) {
        Some(text) => ok("python", text.split(" from ").next().unwrap_or_default().trim().to_owned() + ", python3"),
        None => warn("python", "python3 with pip not found", advice),
    }
}

fn sandbox() -> Finding {
    use relign_tasks::sandbox::{Ending, Input, Language, Limits, Sandbox};
    let sandbox = Sandbox::new(Limits::default(), "python3", true);
    let works = |language| sandbox.run(language, "", Input::Text(b"")).map(|outcome| outcome.ending);
    let advice = "only the reward `code` and `relign sandbox` need it";
    match works(Language::Python) {
        Ok(Ending::Exit(0)) => ok("sandbox", "programs run isolated"),
        Ok(ending) => warn("sandbox", format!("an empty program: {ending}"), advice),
        Err(error) => warn("sandbox", error.to_string(), advice),
    }
}

fn models() -> Finding {
    let here: Vec<&str> = crate::models::BUILTIN.iter().filter(|m| m.is_here()).map(|m| m.name).collect();
    let found = if here.is_empty() { "none fetched yet".to_owned() } else { format!("{} here", here.join(", ")) };
    ok("models", found)
}

/// What a program printed, if it ended well within ten seconds.
fn run_for_text(command: &mut Command) -> Option<String> {
    use std::process::Stdio;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let start = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if start.elapsed() > Duration::from_secs(10) {
            child.kill().ok()?;
            child.wait().ok()?;
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
