//! `relign eval`: a model's accuracy on a task, with its interval.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context;
use relign_core::{
    DataFile, Environment, Estimate, Finish, Node, Rollouts, Sampling, Seed, Tree, Verdict, bounds, files, find,
    secrets,
};
use relign_search::{Driver, Judge, Options, STRATEGIES};
use serde::Serialize;
use serde_json::json;

use super::sampling::{SamplingArgs, ThoughtArgs, bar, bounded, peak_gb};
use super::{say, say_json};
use crate::generator::{Generator, Prompting, ServerArgs, ServerSummary};
use crate::held_out;
use crate::judged::{accuracy, samples, verdict};
use crate::recipe_file;
use crate::sinks::jsonl::write_trees;
use crate::sinks::terminal::estimate;
use crate::usage::Usage;

mod batch;
mod benchmark;
mod board;
mod logged;

/// What `eval` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// A built-in name, a Hugging Face folder, a GGUF file, a hub id, a run's folder, or an
    /// OpenAI-compatible server: http://HOST:PORT/v1#MODEL
    model: String,
    /// A benchmark: a built-in name (`relign benchmark list`) or a TOML file; may be given several times
    #[arg(long = "benchmark", value_name = "NAME|FILE", conflicts_with = "task")]
    benchmarks: Vec<String>,
    /// A suite of benchmarks: math, coding, health, finance, general, quick or all
    #[arg(long, value_name = "NAME", conflicts_with = "task")]
    suite: Option<String>,
    /// The environment whose held-out tasks are asked [default: the run's own, for a run's folder]
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// A setting of the environment; the value is TOML, or else a string
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Tasks asked [default: 200; all of a benchmark's. Of a benchmark, the same ones for everybody]
    #[arg(long, value_name = "N", value_parser = bounded::<u64>("items"))]
    limit: Option<u64>,
    /// Samples of each task; more than 1 needs a temperature above 0
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = bounded::<usize>("samples"))]
    samples: usize,
    /// Write `trees.jsonl.zst` and `summary.json` there; a benchmark's results [default: results], gone on with
    /// where they are there already
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What a million tokens of prompts and a million of answers cost, in any currency: a benchmark's results then
    /// tell what they cost
    #[arg(long, value_name = "PROMPTS,ANSWERS", value_parser = price, conflicts_with = "task")]
    price: Option<(f64, f64)>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    thoughts: ThoughtArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Two prices as a call gives them.
fn price(text: &str) -> Result<(f64, f64), String> {
    let number = |text: &str| text.trim().parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
    text.split_once(',')
        .and_then(|(prompts, answers)| number(prompts).zip(number(answers)))
        .ok_or_else(|| "expected two numbers, as in 0.5,1.5".to_owned())
}

/// The last line of `--json`, and `summary.json`.
#[derive(Debug, Serialize)]
struct Summary {
    summary: bool,
    model: String,
    path: PathBuf,
    task: String,
    settings: serde_json::Value,
    /// The files that tasks were read from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    data: Vec<DataFile>,
    #[serde(flatten)]
    accuracy: Estimate,
    #[serde(flatten)]
    counts: Counts,
    temperature: f32,
    max_tokens: usize,
    /// All of how it was sampled, where that is more than a temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    sampling: Option<Sampling>,
    #[serde(flatten)]
    prompting: Prompting,
    seed: u64,
    device: String,
    dtype: &'static str,
    seconds: f64,
    tokens_per_second: f64,
    peak_rss_gb: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerSummary>,
    relign: &'static str,
}

/// What became of the samples.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Counts {
    samples: u64,
    correct: u64,
    /// Samples in which no answer was found; they count as wrong.
    unparsed: u64,
    /// Samples cut off by the token limit.
    truncated: u64,
    /// Samples whose judge failed; they are left out.
    failed: u64,
    tokens: u64,
    /// Tokens that are thought and no answer.
    thought_tokens: u64,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    if !asked.benchmarks.is_empty() || asked.suite.is_some() {
        return benchmark::run(asked, as_json);
    }
    if asked.samples > 1 && asked.sampling.temperature == 0.0 {
        return Err(Usage::error("--samples above 1 needs --temperature above 0: greedy samples are all the same"));
    }
    let limit = asked.limit.unwrap_or(200);
    bounds::together(&[("--limit", limit), ("--samples", asked.samples as u64)])
        .map_err(|error| Usage(error.message))?;
    let recipe = recipe_file::of_run(&asked.model)?;
    let section = match (&asked.task, &recipe) {
        (Some(task), _) => recipe_file::section("environment", task, None, &asked.sets)?,
        (None, Some(recipe)) => {
            let own = &recipe.environment;
            recipe_file::section("environment", &own.name, Some(&own.settings), &asked.sets)?
        }
        (None, None) => {
            return Err(Usage::error(
                "expected --benchmark NAME, --suite NAME or --task NAME (`relign list` shows the environments); only a run's \
                 folder names its own",
            ));
        }
    };
    let environment: Arc<dyn Environment> =
        Arc::from(relign_tasks::environment(&section).map_err(|error| Usage(error.to_string()))?);
    let tasks = held_out::tasks(environment.as_ref(), limit, "--limit").collect::<anyhow::Result<Vec<_>>>()?;
    anyhow::ensure!(!tasks.is_empty(), "task {}: expected held-out items, it has none", section.name);

    let sequences = (tasks.len() * asked.samples).min(128);
    let thought_markers = asked.thoughts.read()?;
    let mut generator = Generator::open(&asked.model, &asked.sampling, sequences, &asked.server)?;
    generator.mark_thoughts(thought_markers);
    let max_tokens = recipe.as_ref().map_or(256, |recipe| recipe.sampling.max_tokens);
    let sampling = generator.sampling(&asked.sampling, max_tokens)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut judge =
        Judge::new(relign_tasks::rewards(&[], Arc::clone(&environment))?, threads, Duration::from_secs(10))?;
    let strategy = (find("strategy", STRATEGIES, "sample")?.build)(json!({"n": asked.samples}))?;
    let bar = bar(tasks.len() * asked.samples);
    let mut progress = |p: relign_search::Progress| {
        bar.set_position(p.done as u64);
        bar.set_message(format!("{} tokens", p.tokens));
    };
    let started = Instant::now();
    let mut trees = Vec::with_capacity(tasks.len());
    Driver {
        engine: &mut generator.source,
        tokenizer: generator.tokenizer.as_ref(),
        judge: &mut judge,
        strategy: strategy.as_ref(),
        sampling: sampling.clone(),
        seed: Seed(asked.sampling.seed).child("eval"),
        step: 0,
        interrupt: Arc::new(AtomicBool::new(false)),
        progress: Some(&mut progress),
        options: Options { thought_markers: generator.thought_markers.clone(), ..Options::default() },
    }
    .run(tasks, &mut |tree| trees.push(tree))?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let mut counts = count(&trees);
    counts.tokens = generator.tokens(counts.tokens);
    let judged = counts.samples - counts.failed;
    anyhow::ensure!(judged > 0, "all {} samples failed to be judged: {}", counts.samples, first_failure(&trees));
    let summary = Summary {
        summary: true,
        model: asked.model.clone(),
        path: generator.path.clone(),
        task: section.name.clone(),
        settings: secrets::public(&section.settings),
        data: environment.data(),
        accuracy: accuracy(&trees),
        tokens_per_second: counts.tokens as f64 / seconds,
        counts,
        temperature: sampling.temperature,
        max_tokens: sampling.max_tokens,
        sampling: Some(sampling).filter(|sampling| !sampling.is_plain() || !sampling.stop.is_empty()),
        prompting: generator.prompting(),
        seed: asked.sampling.seed,
        device: generator.device.clone(),
        dtype: generator.dtype,
        seconds,
        peak_rss_gb: peak_gb(),
        server: generator.server(),
        relign: env!("CARGO_PKG_VERSION"),
    };
    if let Some(out) = &asked.out {
        write(out, &trees, &summary)?;
    }
    if as_json {
        trees.iter().try_for_each(|tree| say_json(&item(tree)))?;
        say_json(&summary)?;
    } else {
        report(&summary, asked.out.as_deref())?;
    }
    // What was answered is kept and shown; that some was not must not pass for success.
    let lost = summary.server.map_or(0, |server| server.failed);
    anyhow::ensure!(lost == 0, "{lost} of {} requests failed: {}", summary.counts.samples, first_failure(&trees));
    Ok(())
}

fn count(trees: &[Tree]) -> Counts {
    let mut counts = Counts::default();
    for node in trees.iter().flat_map(samples) {
        counts.samples += 1;
        counts.tokens += node.tokens.len() as u64;
        counts.thought_tokens += node.thought_tokens.unwrap_or(0);
        counts.truncated += u64::from(node.finish == Some(Finish::Length));
        match verdict(node) {
            Verdict::Correct => counts.correct += 1,
            Verdict::Unparsed => counts.unparsed += 1,
            Verdict::Failed => counts.failed += 1,
            Verdict::Wrong => {}
        }
    }
    counts
}

fn first_failure(trees: &[Tree]) -> &str {
    let mut scores = trees.iter().flat_map(samples).filter_map(|node| node.score.as_ref());
    scores.find(|score| score.verdict == Verdict::Failed).map_or("no score", |score| score.reason.as_str())
}

/// The number of a sample's tokens, unless a server keeps them to itself.
fn known(node: &Node) -> Option<usize> {
    Some(node.tokens.len()).filter(|&n| n > 0)
}

fn item(tree: &Tree) -> serde_json::Value {
    let samples: Vec<_> = samples(tree)
        .map(|node| {
            let (tokens, thought) = (known(node), node.thought_tokens);
            json!({"text": node.text, "score": node.score, "finish": node.finish, "tokens": tokens, "thought_tokens": thought})
        })
        .collect();
    json!({"task": tree.task.id, "answer": tree.task.answer, "samples": samples})
}

fn write(out: &Path, trees: &[Tree], summary: &Summary) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    write_trees(&out.join("trees.jsonl.zst"), trees)?;
    let file = out.join("summary.json");
    files::write(&file, serde_json::to_string_pretty(summary)? + "\n").with_context(|| file.display().to_string())
}

fn report(summary: &Summary, out: Option<&Path>) -> anyhow::Result<()> {
    let Summary { counts, accuracy, .. } = summary;
    say(format_args!("{} on {}: accuracy {}", summary.model, summary.task, estimate(accuracy)))?;
    let share = |n: u64| 100.0 * n as f64 / counts.samples.max(1) as f64;
    say(format_args!(
        "{} samples: {:.1} % without an answer, {:.1} % cut off, {:.0} tokens on average, {:.0} of them thought",
        counts.samples,
        share(counts.unparsed),
        share(counts.truncated),
        counts.tokens as f64 / counts.samples.max(1) as f64,
        counts.thought_tokens as f64 / counts.samples.max(1) as f64
    ))?;
    if counts.failed > 0 {
        say(format_args!("{} samples could not be judged and are left out", counts.failed))?;
    }
    say(format_args!("{:.1} s, {:.0} tokens a second, {}", summary.seconds, summary.tokens_per_second, summary.dtype))?;
    if let Some(server) = summary.server.as_ref().filter(|server| server.uncounted > 0) {
        say(format_args!("the server did not count the tokens of {} answers", server.uncounted))?;
    }
    match out {
        Some(out) => Ok(say(format_args!("written: {}", out.display()))?),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::{Author, Score, Task};

    fn tree(scores: &[Score]) -> Tree {
        let mut tree = Tree::new(Task::default(), vec![1]);
        for score in scores {
            tree.push(Node {
                tokens: vec![1, 2],
                logprobs: vec![-0.1, -0.1],
                finish: Some(Finish::Length),
                score: Some(score.clone()),
                ..Node::after(0, Author::Policy)
            });
        }
        tree
    }

    #[test]
    fn what_could_not_be_judged_is_left_out_and_counted() {
        let (right, wrong, failed) = (Score::correct(""), Score::wrong(""), Score::failed("timeout"));
        let trees = [&right, &wrong, &failed].map(|score| tree(std::slice::from_ref(score)));
        let estimate = accuracy(&trees);
        assert_eq!((estimate.accuracy, estimate.n), (0.5, 2));
        let counts = count(&trees);
        assert_eq!((counts.samples, counts.correct, counts.failed, counts.truncated), (3, 1, 1, 3));
        assert_eq!(first_failure(&trees), "timeout");
        let several = [tree(&[right.clone(), failed]), tree(&[right, wrong])];
        assert_eq!(accuracy(&several).accuracy, 0.75);
    }
}
