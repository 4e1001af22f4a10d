//! `relign search`: spends computation at inference time on tasks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relign_core::{DataFile, Environment, Estimate, Sampling, Section, Task, Tree, bounds, files, secrets};
use relign_search::Budget;
use serde::Serialize;
use serde_json::{Value, json};

use super::sampling::{SamplingArgs, ThoughtArgs, bounded, peak_gb};
use super::{say, say_json};
use crate::generator::{Generator, Prompting, ServerArgs, ServerSummary, Source};
use crate::held_out;
use crate::loaded::weights_hash;
use crate::recipe_file;
use crate::reward_models;
use crate::searches::{Cell, Folder, Live, Searcher, Total, Variant};
use crate::sinks::terminal::estimate;
use crate::usage::Usage;

mod compare;

/// What `search` was told.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Asked {
    #[command(subcommand)]
    compare: Option<Sub>,
    #[command(flatten)]
    one: One,
}

#[derive(Debug, clap::Subcommand)]
enum Sub {
    /// Compare strategies: accuracy against the tokens they spend, as a table and as plots
    #[command(after_help = compare::HELP)]
    Compare(compare::Asked),
}

/// One strategy.
#[derive(Debug, clap::Args)]
#[command(mut_arg("temperature", |arg| arg.default_value("1")))]
struct One {
    /// The strategy: a name from `relign list strategies`, or NAME(key=value, ...)
    #[arg(long, value_name = "STRATEGY", required = true)]
    strategy: Option<String>,
    /// Tokens that may be generated for each task [default: no bound]
    #[arg(long, value_name = "TOKENS", value_parser = bounded::<u64>("budget"))]
    budget: Option<u64>,
    /// Seconds that all may take; what was searched by then is what comes of it
    #[arg(long, value_name = "SECONDS", value_parser = bounded::<u64>("seconds"))]
    seconds: Option<u64>,
    /// Keep trees and figures there; the same call again goes on with what is there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    what: What,
}

/// What is searched with what, for one strategy as for several.
#[derive(Debug, clap::Args)]
struct What {
    /// The environment whose held-out tasks are searched
    #[arg(long, value_name = "NAME", required = true)]
    task: Option<String>,
    /// A setting of the environment; the value is TOML, or else a string
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// A built-in name, a Hugging Face folder, a GGUF file, a hub id, a run's folder, or an OpenAI-compatible server:
    /// http://HOST:PORT/v1#MODEL
    #[arg(long, value_name = "MODEL", required = true)]
    model: Option<String>,
    /// Tasks searched
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = bounded::<u64>("items"))]
    limit: u64,
    /// Tokens of all prompts that a search may make the engine read, as if no cache served any [default: no bound]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    prompt_budget: Option<u64>,
    /// Tasks searched at once; figures do not depend on it
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = bounded::<usize>("at_once"))]
    at_once: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    thoughts: ThoughtArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl What {
    /// The environment's name. The parser sees to it that there is one, unless a subcommand makes up for it.
    fn task(&self) -> &str {
        self.task.as_deref().unwrap_or_default()
    }

    fn model(&self) -> &str {
        self.model.as_deref().unwrap_or_default()
    }
}

/// The last line of `--json`, and `summary.json`.
#[derive(Debug, Serialize)]
struct Summary {
    summary: bool,
    model: String,
    path: PathBuf,
    task: String,
    settings: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    data: Vec<DataFile>,
    strategy: Section,
    budget: Option<u64>,
    #[serde(flatten)]
    accuracy: Estimate,
    /// The share of tasks of which any answer in the tree is right.
    ceiling: Estimate,
    #[serde(flatten)]
    spent: Figures,
    sampling: Sampling,
    #[serde(flatten)]
    prompting: Prompting,
    seed: u64,
    dtype: &'static str,
    peak_rss_gb: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerSummary>,
    relign: &'static str,
}

/// What searches spent.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    searches: usize,
    /// Searches of which nothing could be judged; they are left out of the shares.
    failed: usize,
    /// Generated tokens of a search, on average.
    tokens: f64,
    /// Tokens of its requests' prompts, on average, as if no cache served any.
    prompt_tokens: f64,
    /// Its requests, on average.
    requests: f64,
    /// The share of prompt tokens that came from the tree; unknown of a server, and where all was generated before.
    served: Option<f64>,
    /// Seconds of the engine that went into its completions, whoever had them generated; for all searches.
    seconds: f64,
    /// Seconds on the clock, for all searches.
    measured_seconds: f64,
    /// The share of tokens that another search had generated.
    reused: f64,
}

impl Figures {
    fn of(total: &Total) -> Self {
        Self {
            searches: total.outcomes.len(),
            failed: total.failed(),
            tokens: total.mean(|outcome| outcome.tokens),
            prompt_tokens: total.mean(|outcome| outcome.prompts),
            requests: total.mean(|outcome| outcome.requests),
            served: total.served(),
            seconds: total.seconds,
            measured_seconds: total.clock,
            reused: total.reused_share(),
        }
    }
}

/// The tasks, and what they are searched with.
struct Prepared {
    section: Section,
    environment: Arc<dyn Environment>,
    tasks: Vec<Task>,
    sampling: Sampling,
    searcher: Searcher,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    match &asked.compare {
        Some(Sub::Compare(asked)) => compare::run(asked, as_json),
        None => search(&asked.one, as_json),
    }
}

fn search(asked: &One, as_json: bool) -> anyhow::Result<()> {
    let variants = [Variant::read(asked.strategy.as_deref().unwrap_or_default())?];
    let [variant] = &variants;
    let mut prepared = prepare(&asked.what, &variants, asked.out.as_deref())?;
    let cell = Cell {
        variant,
        budget: Budget { tokens: variant.budget.unwrap_or(asked.budget), prompts: asked.what.prompt_budget },
        sampling: variant.sampling(&prepared.sampling)?,
        scorer: reward_models::sha256(&variant.section)?,
    };
    prepared.searcher.check(&cell, &prepared.tasks[0])?;
    prepared.searcher.limit = asked.seconds.map(Duration::from_secs);
    let mut live = Live::new();
    let total = prepared.searcher.run(&cell, &prepared.tasks, &mut live, &mut |tree| {
        if as_json { say_json(&item(tree)) } else { Ok(()) }
    })?;
    drop(live);
    let generator = prepared.searcher.generator();
    let summary = Summary {
        summary: true,
        model: asked.what.model().to_owned(),
        path: generator.path.clone(),
        task: prepared.section.name.clone(),
        settings: secrets::public(&prepared.section.settings),
        data: prepared.environment.data(),
        strategy: variant.section.clone(),
        budget: cell.budget.tokens,
        accuracy: total.accuracy(),
        ceiling: total.ceiling(),
        spent: Figures::of(&total),
        sampling: cell.sampling.clone(),
        prompting: generator.prompting(),
        seed: asked.what.sampling.seed,
        dtype: generator.dtype,
        peak_rss_gb: peak_gb(),
        server: generator.server(),
        relign: env!("CARGO_PKG_VERSION"),
    };
    if let Some(out) = &asked.out {
        write(&out.join("summary.json"), &(serde_json::to_string_pretty(&summary)? + "\n"))?;
    }
    if as_json {
        say_json(&summary)?;
    } else {
        report(&summary, prepared.searcher.folder().map(|folder| folder.trees(&cell)).as_deref())?;
    }
    judged(&total)
}

/// What was found is kept and shown; that some was not must not pass for success.
fn judged(total: &Total) -> anyhow::Result<()> {
    let (all, lost) = (total.outcomes.len(), total.lost);
    anyhow::ensure!(lost == 0, "{lost} of {all} searches failed, which the same call tries again: {}", total.why);
    anyhow::ensure!(total.failed() < all, "all {all} searches failed: nothing they came to could be judged");
    Ok(())
}

/// Gets tasks, model and folder ready; what makes no sense is said before a model is read.
fn prepare(what: &What, variants: &[Variant], out: Option<&Path>) -> anyhow::Result<Prepared> {
    what.sampling.check()?;
    let thought_markers = what.thoughts.read()?;
    let section = recipe_file::section("environment", what.task(), None, &what.sets)?;
    let environment: Arc<dyn Environment> =
        Arc::from(relign_tasks::environment(&section).map_err(|error| Usage(error.to_string()))?);
    let tasks = held_out::tasks(environment.as_ref(), what.limit, "--limit").collect::<anyhow::Result<Vec<_>>>()?;
    anyhow::ensure!(!tasks.is_empty(), "task {}: expected held-out items, it has none", section.name);
    let samples = variants.iter().map(|variant| variant.factory.samples()).max().unwrap_or(1);
    let at_once = tasks.len().min(what.at_once) as u64;
    bounds::together(&[("tasks searched at once (--at-once)", at_once), ("nodes of a search", samples as u64)])
        .map_err(|error| Usage(error.message))?;
    let sequences = tasks.len().min(what.at_once).saturating_mul(samples).clamp(1, 128);
    let mut generator = Generator::open(what.model(), &what.sampling, sequences, &what.server)?;
    generator.mark_thoughts(thought_markers);
    generator.read_answers();
    let sampling = generator.sampling(&what.sampling, 256)?;
    for variant in variants {
        let own = variant.sampling(&sampling)?;
        if own.temperature == 0.0 && !variant.factory.linear() {
            return Err(Usage::error(format!(
                "strategy {}: expected a temperature above 0, got 0: whatever it asked for twice would be the same twice",
                variant.label
            )));
        }
    }
    let facts = facts(what, &section, environment.as_ref(), &generator, &sampling)?;
    let folder = out.map(|out| Folder::open(out, &facts)).transpose()?;
    let seed = what.sampling.seed;
    let searcher = Searcher::new(generator, &environment, folder, variants, seed, what.at_once)?;
    Ok(Prepared { section, environment, tasks, sampling, searcher })
}

/// All that searches depend on, apart from their strategies and budgets.
fn facts(
    what: &What,
    section: &Section,
    environment: &dyn Environment,
    generator: &Generator,
    sampling: &Sampling,
) -> anyhow::Result<BTreeMap<&'static str, Value>> {
    let mut model = match &generator.source {
        Source::Local(_) => json!({
            "sha256": weights_hash(&generator.path)?,
            "base": what.sampling.base,
            "dtype": generator.dtype,
            "weights": what.sampling.weights,
            "kv_cache": what.sampling.kv_cache,
        }),
        Source::Server(remote) if remote.drop_params().is_empty() => {
            json!({"server": remote.url(), "model": remote.model()})
        }
        Source::Server(remote) => {
            json!({"server": remote.url(), "model": remote.model(), "drop_params": remote.drop_params()})
        }
    };
    if what.sampling.context > 0 {
        model["context"] = what.sampling.context.into();
    }
    if let (Value::Object(model), Value::Object(prompting)) = (&mut model, serde_json::to_value(generator.prompting())?)
    {
        model.extend(prompting);
    }
    Ok(BTreeMap::from([
        ("data", serde_json::to_value(environment.data())?),
        ("model", model),
        ("sampling", serde_json::to_value(sampling)?),
        ("seed", what.sampling.seed.into()),
        ("settings", secrets::public(&section.settings)),
        ("task", section.name.clone().into()),
    ]))
}

fn item(tree: &Tree) -> Value {
    let chosen = tree.chosen.map(|chosen| {
        let text = tree.transcript(chosen).last().to_owned();
        json!({"text": text, "score": tree.nodes[chosen].score})
    });
    let leaves: Vec<_> = tree.leaves().filter_map(|leaf| tree.nodes[leaf].score.as_ref()).collect();
    json!({"task": tree.task.id, "answer": tree.task.answer, "chosen": chosen, "scores": leaves, "cost": tree.cost})
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use anyhow::Context;
    files::write(path, text).with_context(|| path.display().to_string())
}

fn report(summary: &Summary, trees: Option<&Path>) -> anyhow::Result<()> {
    let Summary { spent, .. } = summary;
    say(format_args!(
        "{} on {} with {}: accuracy {}",
        summary.model,
        summary.task,
        summary.strategy.name,
        estimate(&summary.accuracy)
    ))?;
    say(format_args!("any answer right: {}", estimate(&summary.ceiling)))?;
    let served = spent.served.map(|share| format!(", {:.1} % of them from the tree", 100.0 * share));
    say(format_args!(
        "a search: {:.0} tokens generated in {:.1} requests, {:.0} tokens of prompts{}",
        spent.tokens,
        spent.requests,
        spent.prompt_tokens,
        served.unwrap_or_default()
    ))?;
    if spent.failed > 0 {
        say(format_args!("{} of {} searches could not be judged and are left out", spent.failed, spent.searches))?;
    }
    say(format_args!("{:.1} s on the clock, {}", spent.measured_seconds, summary.dtype))?;
    match trees {
        Some(trees) => Ok(say(format_args!("trees: relign tree {}", trees.display()))?),
        None => Ok(()),
    }
}
