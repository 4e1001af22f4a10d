//! `relign eval MODEL --benchmark B` and `--suite S`: every answer goes into a log as it comes, and a log that is there
//! already is gone on with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use relign_bench::benchmark::{Benchmark, suite};
use relign_bench::results::{Header, Item, Log, Summary};
use relign_core::{Device, Environment, Message, Reward, bounds};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Asked;
use super::batch::{Measurement, Told};
use crate::benchmarks;
use crate::commands::sampling::peak_gb;
use crate::commands::{say, say_json};
use crate::generator::{Generator, Source};
use crate::loaded::weights_hash;
use crate::sinks::terminal::estimate;
use crate::usage::Usage;

/// Where logs go, unless the call says.
const OUT: &str = "results";

/// A benchmark with what it asks.
pub(super) struct Prepared {
    pub(super) benchmark: Benchmark,
    pub(super) environment: Arc<dyn Environment>,
    /// What judges.
    pub(super) reward: Arc<dyn Reward>,
    pub(super) items: Vec<Item>,
}

pub(super) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let chosen = chosen(asked)?;
    let mut prepared = Vec::with_capacity(chosen.len());
    for benchmark in chosen {
        let (environment, items) = benchmarks::items(&benchmark, asked.limit)?;
        let samples = benchmarks::width(&benchmark) as u64;
        bounds::together(&[("items", items.len() as u64), ("samples", samples)])
            .map_err(|error| Usage(format!("benchmark {}: {}", benchmark.name, error.message)))?;
        let reward = relign_tasks::rewards(&benchmark.rewards, Arc::clone(&environment))
            .map_err(|error| Usage(format!("benchmark {}: {error}", benchmark.name)))?;
        prepared.push(Prepared { benchmark, environment, reward, items });
    }
    let most: usize = prepared.iter().map(|p| p.items.len() * benchmarks::width(&p.benchmark)).sum();
    let thought_markers = asked.thoughts.read()?;
    let mut generator = Generator::open(&asked.model, &asked.sampling, most.clamp(1, 128), &asked.server)?;
    generator.mark_thoughts(thought_markers);
    if prepared.iter().any(|p| p.benchmark.strategy.name != "sample") {
        generator.read_answers();
    }
    let origin = origin(asked, &generator)?;
    let out = asked.out.clone().unwrap_or_else(|| PathBuf::from(OUT));
    let started = Instant::now();
    let mut measurements = Vec::with_capacity(prepared.len());
    for what in &prepared {
        measurements.push(Measurement::begin(what, log(asked, &origin, what, &out)?, asked.price)?);
    }
    let mut lost = 0;
    let mut tell = |what: &Prepared, path: &Path, found: &Summary| -> anyhow::Result<()> {
        lost += (found.shares.failed * found.shares.samples as f64).round() as u64;
        if !as_json {
            return report(&what.benchmark, found, path);
        }
        let Benchmark { name, domain, .. } = &what.benchmark;
        let n = what.items.len();
        say_json(&json!({"benchmark": name, "domain": domain, "items": n, "results": found, "file": path}))
    };
    super::batch::run(asked.sampling.seed, &mut generator, measurements, &mut tell as &mut Told<'_>)?;
    if as_json {
        let names: Vec<&str> = prepared.iter().map(|p| p.benchmark.name.as_str()).collect();
        say_json(&json!({"summary": true, "model": asked.model, "benchmarks": names, "out": out, "failed": lost,
            "seconds": started.elapsed().as_secs_f64(), "dtype": generator.dtype, "peak_rss_gb": peak_gb(),
            "relign": env!("CARGO_PKG_VERSION")}))?;
    }
    // What was answered is kept and shown; that some was not must not pass for success.
    anyhow::ensure!(
        lost == 0,
        "{lost} samples could not be judged and are left out; the logs in {} say why",
        out.display()
    );
    Ok(())
}

/// The benchmarks that the call names.
fn chosen(asked: &Asked) -> anyhow::Result<Vec<Benchmark>> {
    let own = [("--samples", asked.samples != 1), ("--set", !asked.sets.is_empty())];
    let given = own.into_iter().find_map(|(name, given)| given.then_some(name)).or(asked.sampling.given());
    if let Some(option) = given {
        return Err(Usage::error(format!(
            "{option} is for --task; a benchmark says how it is asked (`relign benchmark new FILE` starts one of your own)"
        )));
    }
    let mut found = Vec::new();
    for name in &asked.benchmarks {
        found.extend(benchmarks::find(name)?);
    }
    if let Some(name) = &asked.suite {
        let members = suite(name).map_err(|error| Usage(error.to_string()))?;
        members.iter().try_for_each(benchmarks::check)?;
        found.extend(members);
    }
    let mut names = std::collections::HashSet::new();
    found.retain(|benchmark| names.insert(benchmark.name.clone()));
    Ok(found)
}

/// Where scores come from, the benchmark aside.
struct Origin {
    model_sha256: String,
    template_sha256: String,
    engine: BTreeMap<String, String>,
}

fn origin(asked: &Asked, generator: &Generator) -> anyhow::Result<Origin> {
    // What the template makes of a conversation is told by the tokens of one that has everything in it.
    let probe = [Message::system("s"), Message::user("u"), Message::assistant("a"), Message::user("v")];
    let tokens = generator.tokenizer.render(&probe).or_else(|_| generator.tokenizer.render(&probe[1..]));
    let tokens = tokens.map_err(anyhow::Error::msg)?;
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    let mut engine = BTreeMap::from([("dtype".to_owned(), generator.dtype.to_owned())]);
    if !generator.arguments.is_empty() {
        engine.insert("chat_template_kwargs".to_owned(), serde_json::to_string(&generator.arguments)?);
    }
    if !generator.thought_markers.is_empty() {
        engine.insert("thought_markers".to_owned(), serde_json::to_string(&generator.thought_markers)?);
    }
    let model_sha256 = match &generator.source {
        Source::Local(_) => {
            engine.insert("name".to_owned(), "relign".to_owned());
            // Results from before there were devices are the CPU's.
            if asked.sampling.device != Device::Cpu {
                engine.insert("device".to_owned(), generator.device.clone());
            }
            engine.insert("weights".to_owned(), word(&asked.sampling.weights)?);
            engine.insert("kv_cache".to_owned(), word(&asked.sampling.kv_cache)?);
            // Only where it was given: other results are of the model's own.
            if asked.sampling.context > 0 {
                engine.insert("context".to_owned(), asked.sampling.context.to_string());
            }
            if let Some(base) = &asked.sampling.base {
                engine.insert("base".to_owned(), base.clone());
            }
            weights_hash(&generator.path)?
        }
        // Nobody outside can hash a server's weights: its address and the model's name stand for them.
        Source::Server(remote) => {
            engine.insert("name".to_owned(), remote.kind().to_owned());
            if !remote.drop_params().is_empty() {
                engine.insert("drop_params".to_owned(), remote.drop_params().join(","));
            }
            sha256(format!("{} {}", remote.url(), remote.model()).as_bytes())
        }
    };
    Ok(Origin { model_sha256, template_sha256: sha256(&bytes), engine })
}

/// A setting as recipes write it.
fn word(setting: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_value(setting)?.as_str().unwrap_or_default().to_owned())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The log of a benchmark, new or to be gone on with.
fn log(asked: &Asked, origin: &Origin, what: &Prepared, out: &Path) -> anyhow::Result<Log> {
    let Prepared { benchmark, items, .. } = what;
    let header = Header {
        format: 0,
        benchmark: benchmark.clone(),
        benchmark_hash: String::new(),
        items: 0,
        limit: asked.limit,
        data_sha256: String::new(),
        model: asked.model.clone(),
        model_sha256: origin.model_sha256.clone(),
        template_sha256: origin.template_sha256.clone(),
        grader: grader(benchmark),
        engine: origin.engine.clone(),
        seed: asked.sampling.seed,
        config_hash: String::new(),
        relign: env!("CARGO_PKG_VERSION").to_owned(),
    }
    .sealed(items);
    let path = out.join(header.file_name());
    Ok(Log::open(&path, header, items)?)
}

/// What judges, and which version of it.
fn grader(benchmark: &Benchmark) -> String {
    let parts: Vec<String> =
        benchmark.rewards.iter().map(|reward| format!("{} x {}", reward.name, reward.weight)).collect();
    let what = if parts.is_empty() { benchmark.environment.name.clone() } else { parts.join(" + ") };
    format!("{what}, relign {}", env!("CARGO_PKG_VERSION"))
}

fn report(benchmark: &Benchmark, found: &Summary, path: &Path) -> anyhow::Result<()> {
    let shares = &found.shares;
    for (name, figure) in &found.metrics {
        say(format_args!("{} {name}: {}", benchmark.name, estimate(figure)))?;
    }
    if let Some(lenient) = &found.lenient {
        say(format_args!("  judged leniently: {}", estimate(lenient)))?;
    }
    say(format_args!(
        "  {} samples: {:.1} % wrong, {:.1} % without an answer, {:.1} % cut off, {:.1} % not judged, {}; {:.1} s",
        shares.samples,
        100.0 * shares.wrong,
        100.0 * shares.unparsed,
        100.0 * shares.truncated,
        100.0 * shares.failed,
        shares.length_in_words(),
        shares.seconds
    ))?;
    if shares.cost > 0.0 {
        say(format_args!("  cost {:.4}", shares.cost))?;
    }
    Ok(say(format_args!("  {}", path.display()))?)
}
