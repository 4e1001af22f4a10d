//! `relign eval MODEL --benchmark B` and `--suite S`: every answer goes into a log as it comes, and a log that is there
//! already is gone on with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use relign_bench::benchmark::{Benchmark, suite};
use relign_bench::results::{Header, Item, Log, Sample, Spent, Summary, summary};
use relign_core::{Device, Environment, Message, Rollouts, Sampling, Score, Seed, Task, Tree, find};
use relign_search::{Driver, Judge, STRATEGIES};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Asked;
use crate::benchmarks;
use crate::cli::Usage;
use crate::commands::sampling::bar;
use crate::commands::{say, say_json};
use crate::generator::{Generator, Source};
use crate::judged::samples;
use crate::loaded::weights_hash;
use crate::sinks::terminal::estimate;

/// Where logs go, unless the call says.
const OUT: &str = "results";

/// How long a judge may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A benchmark with what it asks.
struct Prepared {
    benchmark: Benchmark,
    environment: Arc<dyn Environment>,
    items: Vec<Item>,
}

pub(super) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let chosen = chosen(asked)?;
    let mut prepared = Vec::with_capacity(chosen.len());
    for benchmark in chosen {
        let (environment, items) = benchmarks::items(&benchmark, asked.limit)?;
        prepared.push(Prepared { benchmark, environment, items });
    }
    let most = prepared.iter().map(|p| p.items.len() * p.benchmark.samples as usize).max().unwrap_or(1);
    let mut generator = Generator::open(&asked.model, &asked.sampling, most.min(128), &asked.server)?;
    let origin = origin(asked, &generator)?;
    let out = asked.out.clone().unwrap_or_else(|| PathBuf::from(OUT));
    let mut lost = 0;
    for what in &prepared {
        let (path, found) = measure(asked, &mut generator, &origin, what, &out)?;
        lost += (found.shares.failed * found.shares.samples as f64).round() as u64;
        if as_json {
            let Benchmark { name, domain, .. } = &what.benchmark;
            let n = what.items.len();
            say_json(&json!({"benchmark": name, "domain": domain, "items": n, "results": found, "file": path}))?;
        } else {
            report(&what.benchmark, &found, &path)?;
        }
    }
    if as_json {
        let names: Vec<&str> = prepared.iter().map(|p| p.benchmark.name.as_str()).collect();
        say_json(&json!({"summary": true, "model": asked.model, "benchmarks": names, "out": out, "failed": lost,
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
    let model_sha256 = match &generator.source {
        Source::Local(_) => {
            engine.insert("name".to_owned(), "relign".to_owned());
            // Results from before there were devices are the CPU's.
            if asked.sampling.device != Device::Cpu {
                engine.insert("device".to_owned(), generator.device.clone());
            }
            engine.insert("weights".to_owned(), word(&asked.sampling.weights)?);
            engine.insert("kv_cache".to_owned(), word(&asked.sampling.kv_cache)?);
            if let Some(base) = &asked.sampling.base {
                engine.insert("base".to_owned(), base.clone());
            }
            weights_hash(&generator.path)?
        }
        // Nobody outside can hash a server's weights: its address and the model's name stand for them.
        Source::Server(remote) => {
            engine.insert("name".to_owned(), remote.kind().to_owned());
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

/// Asks what the log of this benchmark lacks; the log's file and what it amounts to.
fn measure(
    asked: &Asked,
    generator: &mut Generator,
    origin: &Origin,
    what: &Prepared,
    out: &Path,
) -> anyhow::Result<(PathBuf, Summary)> {
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
    let mut log = Log::open(&path, header, items)?;
    let missing = log.missing();
    if !missing.is_empty() {
        let started = Instant::now();
        let outcome = ask(asked.sampling.seed, generator, what, &missing, &mut log);
        let tokens = missing.iter().flat_map(|&place| &log.results().samples[place]).flatten();
        let tokens = tokens.filter_map(|sample| sample.tokens).sum();
        log.spend(Spent { seconds: started.elapsed().as_secs_f64(), tokens, cost: 0.0 })?;
        outcome?;
    }
    log.finish()?;
    let found = summary(log.results());
    Ok((path, found))
}

/// What judges, and which version of it.
fn grader(benchmark: &Benchmark) -> String {
    let parts: Vec<String> =
        benchmark.rewards.iter().map(|reward| format!("{} x {}", reward.name, reward.weight)).collect();
    let what = if parts.is_empty() { benchmark.environment.name.clone() } else { parts.join(" + ") };
    format!("{what}, relign {}", env!("CARGO_PKG_VERSION"))
}

/// Asks the items that are `missing`, and writes each as it comes.
fn ask(seed: u64, generator: &mut Generator, what: &Prepared, missing: &[usize], log: &mut Log) -> anyhow::Result<()> {
    let Prepared { benchmark, environment, items } = what;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut judge = Judge::new(relign_tasks::rewards(&benchmark.rewards, Arc::clone(environment))?, threads, PATIENCE)?;
    let mut lenient = match benchmark.lenient.as_slice() {
        [] => None,
        parts => Some(Judge::new(relign_tasks::rewards(parts, Arc::clone(environment))?, threads, PATIENCE)?),
    };
    let strategy = (find("strategy", STRATEGIES, "sample")?.build)(json!({"n": benchmark.samples}))?;
    let tasks: Vec<Task> = missing.iter().map(|&place| items[place].task.clone()).collect();
    let bar = bar(tasks.len() * benchmark.samples as usize);
    let (mut right, mut judged) = (0_u64, 0_u64);
    let name = benchmark.name.clone();
    let running = std::cell::Cell::new((0_u64, 0_u64));
    let mut progress = |p: relign_search::Progress| {
        bar.set_position(p.done as u64);
        let (right, judged) = running.get();
        let sofar = relign_bench::wilson(right, judged);
        let sofar = if judged == 0 { String::new() } else { estimate(&sofar) };
        bar.set_message(format!("{name} {sofar}"));
    };
    let interrupt = Arc::new(AtomicBool::new(false));
    let mut broken: Option<anyhow::Error> = None;
    let mut places = missing.iter();
    let outcome = Driver {
        engine: &mut generator.source,
        tokenizer: generator.tokenizer.as_ref(),
        judge: &mut judge,
        strategy: strategy.as_ref(),
        options: relign_search::Options::default(),
        sampling: Sampling::from(&benchmark.sampling),
        seed: Seed(seed).child("eval"),
        step: 0,
        interrupt: Arc::clone(&interrupt),
        progress: Some(&mut progress),
    }
    .run(tasks, &mut |tree| {
        let Some(&place) = places.next() else { return };
        for sample in logged(&tree, lenient.as_mut()) {
            right += u64::from(sample.score.verdict == relign_core::Verdict::Correct);
            judged += u64::from(sample.score.verdict != relign_core::Verdict::Failed);
            if broken.is_none()
                && let Err(error) = log.add(place, sample)
            {
                broken = Some(error.into());
                interrupt.store(true, Ordering::Relaxed);
            }
        }
        running.set((right, judged));
    });
    bar.finish_and_clear();
    // A log that cannot be written interrupts the round: that is the error, not the interruption.
    if let Some(error) = broken {
        return Err(error);
    }
    Ok(outcome?)
}

/// The samples of a tree, as logs hold them.
fn logged(tree: &Tree, mut lenient: Option<&mut Judge>) -> Vec<Sample> {
    let mut all = Vec::new();
    let leaves = tree.leaves().filter(|&leaf| tree.nodes[leaf].parent.is_some());
    for ((number, leaf), node) in leaves.enumerate().zip(samples(tree)) {
        let failed = || Score::failed("not judged");
        all.push(Sample {
            item: tree.task.id.clone(),
            sample: number as u64,
            text: node.text.clone(),
            score: node.score.clone().unwrap_or_else(failed),
            lenient: lenient.as_deref_mut().map(|judge| second(judge, tree, leaf)),
            answer: None,
            tokens: Some(node.tokens.len() as u64).filter(|&n| n > 0),
            finish: node.finish,
        });
    }
    all
}

/// The forgiving judgement of a sample, under the same limit of time.
fn second(judge: &mut Judge, tree: &Tree, leaf: usize) -> Score {
    let ticket = judge.submit(Arc::new(tree.task.clone()), tree.transcript(leaf));
    let started = Instant::now();
    while started.elapsed() < 2 * PATIENCE {
        let scores = judge.drain(Duration::from_millis(100));
        if let Some((_, score)) = scores.into_iter().find(|(own, _)| *own == ticket) {
            return score;
        }
    }
    Score::failed("not judged in time")
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
