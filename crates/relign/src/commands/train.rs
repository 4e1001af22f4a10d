//! `relign train`: a recipe becomes a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use relign_core::{
    ConfigError, DataFile, Device, Environment, Estimate, Recipe, Reward, Sink, Spent, Split, files, find, secrets,
};
use relign_search::STRATEGIES;
use relign_train::{ALGORITHMS, Algorithm, Outcome, Run, Saved, Trainer, TrainerOptions};
use serde::Serialize;

use super::{say, say_json};
use crate::began::Began;
use crate::console::note;
use crate::held_against::Found;
use crate::judged;
use crate::loaded::{Compute, Loaded, Read, engine, kind_name, weights_hash};
use crate::recipe_file::blame;
use crate::sampler::Sampler;
use crate::shell::{self, file_word};
use crate::sinks::jsonl::{Files, Stdout, write_trees};
use crate::sinks::tensorboard::TensorBoard;
use crate::sinks::terminal::{Terminal, duration, estimate};
use crate::sinks::{Sinks, plot};
use crate::usage::Usage;
use crate::{memory, recipe_file};

mod folder;

pub(crate) use folder::lock;
pub(crate) use folder::p_value;
use folder::{before_and_after, default_folder, held_out_file, lengthen, occupy, prepare};

/// What `relign train` is asked for.
pub(crate) struct Asked {
    pub(crate) recipe: PathBuf,
    pub(crate) out: Option<PathBuf>,
    pub(crate) sets: Vec<String>,
    pub(crate) resume: bool,
    pub(crate) dry_run: bool,
    pub(crate) json: bool,
}

/// A run's `summary.json`.
#[derive(Debug, Serialize)]
struct Summary {
    name: String,
    base: Option<Estimate>,
    #[serde(rename = "final")]
    end: Option<Estimate>,
    /// McNemar's exact two-sided p-value over the held-out items; only for one sample an item.
    p_value: Option<f64>,
    steps: u64,
    tokens: u64,
    seconds: f64,
    seed: u64,
    device: Device,
    dtype: &'static str,
    threads: i32,
    cpu: String,
    peak_rss_bytes: u64,
    model: PathBuf,
    model_sha256: String,
    /// The files that tasks were read from.
    data: Vec<DataFile>,
    /// What of the items that it is measured on stands among the tasks.
    contamination: Found,
    /// What rewards asked of servers since this process began.
    #[serde(skip_serializing_if = "Option::is_none")]
    judging: Option<Spent>,
    relign: &'static str,
    libtorch: &'static str,
}

pub(crate) fn run(asked: &Asked) -> anyhow::Result<()> {
    train(asked).map_err(|error| recipe_file::show_where(error, &asked.recipe, &asked.sets))
}

fn train(asked: &Asked) -> anyhow::Result<()> {
    let started = Instant::now();
    let recipe = recipe_file::load(&asked.recipe, &asked.sets)?;
    if let Some(path) = secrets::hidden_in(&serde_json::to_value(&recipe)?) {
        let message = "expected its secret, got the marks that stand for one in the copy of a run's recipe; give the recipe \
                       that has it, or --set this";
        return Err(ConfigError::at(path, message).into());
    }
    let folder = asked.out.clone().unwrap_or_else(|| default_folder(&recipe, &asked.recipe));
    let saved = Saved::of(&folder);
    let algorithm = algorithm_for(&recipe)?;
    if asked.dry_run {
        return dry_run(&recipe, algorithm.as_ref(), &folder, asked.json);
    }
    let compute = Compute { device: recipe.model.device, dtype: recipe.model.dtype };
    compute.open(recipe.model.rollout_weights)?; // before anything is written
    let (environment, reward) = judged_by(&recipe)?;
    let contamination = Found::of(&recipe, environment.as_ref())?;
    let progress = prepare(&folder, &recipe, &saved, asked.resume)?;
    contamination.lines().for_each(|line| note!("{line}"));
    note!("loading {}", recipe.model.path);
    let arguments = recipe.model.chat_template_kwargs.clone().into_iter().collect();
    let loaded =
        Loaded::open(&recipe.model.path, compute, recipe.run.context).map_err(|error| blame(error, "model.path"))?;
    let Loaded { path, policy, tokenizer } = loaded.with_arguments(arguments).context("model.chat_template_kwargs")?;
    let hash = weights_hash(&path)?;
    let kind = policy.kind();
    recipe.sampling.check_ids(policy.config().vocab).map_err(|error| error.within("sampling"))?;
    // Nothing is left behind by a call that is refused: the folder is made once nothing is left to refuse.
    let began = Began::of(&recipe, &path, hash.clone(), environment.data())?;
    if asked.resume {
        began.expect(&folder)?;
    }
    let _lock = occupy(&folder, &recipe, &began, asked.resume)?;
    note!(
        "{}: {:.0} M weights, computing on {} in {} on {} threads",
        path.display(),
        policy.parameters().iter().map(|p| p.master.numel()).sum::<usize>() as f64 / 1e6,
        recipe.model.device,
        kind_name(kind),
        relign_model::get_num_threads()
    );
    let mut trainer = Trainer::new(policy, algorithm.needs().reference, options(&recipe));
    if progress.step > 0 {
        saved.restore(&mut trainer, &progress)?;
    }
    let interrupt = interrupts()?;
    let (weights, kv_cache, context) = (recipe.model.rollout_weights, recipe.model.kv_cache, recipe.run.context);
    let read = Read { weights, kv_cache, context };
    let engine = engine(trainer.policy_mut(), &tokenizer, read, recipe.run.sequences)?;
    let mut sampler = Sampler::new(
        &recipe,
        engine,
        Arc::clone(&tokenizer),
        Arc::clone(&environment),
        reward,
        Arc::clone(&interrupt),
    )?;
    let held_out = folder.join("held-out");
    fs::create_dir_all(&held_out).with_context(|| held_out.display().to_string())?;
    let own = folder.clone();
    sampler.keep = Box::new(move |step, trees| write_trees(&held_out_file(&own, step), trees).map_err(Into::into));

    let mut sinks: Vec<Box<dyn Sink>> = vec![
        Box::new(Files::open(&folder, progress.step, recipe.checkpoint.trees)?),
        Box::new(TensorBoard::create(&folder, progress.step)?),
        Box::new(Terminal::new()),
    ];
    contamination.write(&folder)?;
    if asked.resume {
        lengthen(&folder, &recipe)?;
    }
    let failure = Rc::default();
    if asked.json {
        sinks.push(Box::new(Stdout::new(Arc::clone(&interrupt), Rc::clone(&failure))));
    }
    let mut sinks = Sinks(sinks);
    let outcome = Run {
        recipe: &recipe,
        trainer: &mut trainer,
        algorithm: algorithm.as_ref(),
        environment: environment.as_ref(),
        sampler: &mut sampler,
        sink: &mut sinks,
        tokenizer: &tokenizer,
        folder: &folder,
        interrupt: &interrupt,
    }
    .run(progress)?;
    drop(sinks);
    plot::draw(&folder, &title(&recipe))?;
    let seconds = started.elapsed().as_secs_f64();
    let mut summary = summarise(&recipe, &folder, &outcome, seconds, path, hash, environment.data(), kind_name(kind))?;
    (summary.judging, summary.contamination) = (sampler.spent(), contamination);
    write_summary(&folder, &summary)?;
    if let Some(error) = failure.take() {
        if outcome.interrupted {
            interrupted(&folder, &outcome, asked);
        }
        return Err(error.into());
    }
    report(&recipe, &folder, &outcome, &summary, asked)
}

fn title(recipe: &Recipe) -> String {
    if recipe.name.is_empty() { recipe.algorithm.name.clone() } else { recipe.name.clone() }
}

fn options(recipe: &Recipe) -> TrainerOptions {
    TrainerOptions {
        temperature: recipe.sampling.temperature,
        batch_tokens: recipe.run.batch_tokens,
        minibatches: recipe.run.minibatches,
        epochs: recipe.run.epochs,
        recompute: recipe.run.recompute,
        optimizer: recipe.optimizer.clone(),
        steps: recipe.run.steps,
    }
}

/// A flag that SIGINT and SIGTERM set; the second signal ends the process at once.
pub(crate) fn interrupts() -> anyhow::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

#[allow(clippy::too_many_arguments, reason = "what a summary is made of")]
fn summarise(
    recipe: &Recipe,
    folder: &Path,
    outcome: &Outcome,
    seconds: f64,
    model: PathBuf,
    model_sha256: String,
    data: Vec<DataFile>,
    dtype: &'static str,
) -> anyhow::Result<Summary> {
    let p_value = if outcome.end.is_some() { p_value(folder, recipe)? } else { None };
    let summary = Summary {
        name: recipe.name.clone(),
        base: outcome.progress.base,
        end: outcome.end,
        p_value,
        steps: outcome.progress.step,
        tokens: outcome.progress.tokens,
        seconds,
        seed: recipe.seed.0,
        device: recipe.model.device,
        dtype,
        threads: relign_model::get_num_threads(),
        cpu: memory::cpu_name(),
        peak_rss_bytes: memory::peak_rss(),
        model,
        model_sha256,
        data,
        contamination: Found::default(),
        judging: None,
        relign: env!("CARGO_PKG_VERSION"),
        libtorch: "2.11.0",
    };
    Ok(summary)
}

fn write_summary(folder: &Path, summary: &Summary) -> anyhow::Result<()> {
    let file = folder.join("summary.json");
    files::write(&file, serde_json::to_string_pretty(summary)? + "\n").with_context(|| file.display().to_string())
}

/// Where tasks come from and what judges the answers, ready to: what is missing is said before anything is loaded.
fn judged_by(recipe: &Recipe) -> anyhow::Result<(Arc<dyn Environment>, Arc<dyn Reward>)> {
    let environment: Arc<dyn Environment> = Arc::from(relign_tasks::environment(&recipe.environment)?);
    if environment.len(Split::Train) != Some(0) {
        environment.task(Split::Train, 0).map_err(anyhow::Error::msg)?;
    }
    let reward = relign_tasks::rewards(&recipe.rewards, Arc::clone(&environment))?;
    reward.prepare().map_err(Usage::error)?;
    Ok((environment, reward))
}

/// How an interrupted run is gone on with.
fn interrupted(folder: &Path, outcome: &Outcome, asked: &Asked) {
    note!("interrupted after step {}; everything is saved in {}", outcome.progress.step, folder.display());
    let sets = asked.sets.iter().flat_map(|set| ["--set".to_owned(), secrets::without_secrets(set)]);
    let json = asked.json.then(|| "--json".to_owned());
    let mut words = vec!["train".to_owned(), file_word(&asked.recipe), "--out".to_owned(), file_word(folder)];
    words.extend(sets.chain(["--resume".to_owned()]).chain(json));
    note!("go on with: {}", shell::command(&words));
    if asked.sets.iter().any(|set| secrets::without_secrets(set) != *set) {
        note!("secrets are not printed: put yours in the place of {}", secrets::HIDDEN);
    }
}

fn report(recipe: &Recipe, folder: &Path, outcome: &Outcome, summary: &Summary, asked: &Asked) -> anyhow::Result<()> {
    let (here, json) = (folder.display(), asked.json);
    if outcome.interrupted {
        interrupted(folder, outcome, asked);
        if json {
            say_json(summary)?;
        }
        anyhow::bail!("interrupted");
    }
    if json {
        return say_json(summary);
    }
    if let (Some(base), Some(end)) = (summary.base, summary.end) {
        say("")?;
        say(format!("held-out accuracy before  {}", estimate(&base)))?;
        say(format!("held-out accuracy after   {}", estimate(&end)))?;
        if let Some(p) = summary.p_value {
            say(format!("the same items, before against after: McNemar p = {p:.2e}"))?;
        }
    }
    if let Some((before, after)) = before_and_after(folder, recipe.run.steps) {
        for (before, after) in before.iter().zip(&after).take(3) {
            say("")?;
            say(format!("question  {}", one_line(&before.nodes[0].text)))?;
            for (when, tree) in [("before", before), ("after", after)] {
                let Some(leaf) = tree.leaves().next() else { continue };
                let node = &tree.nodes[leaf];
                let verdict = node.score.as_ref().map_or("", |score| match score.verdict {
                    relign_core::Verdict::Correct => "right",
                    relign_core::Verdict::Wrong => "wrong",
                    relign_core::Verdict::Unparsed => "no answer",
                    relign_core::Verdict::Failed => "not judged",
                });
                say(format!("{when:<8}  {}  [{verdict}]", one_line(&node.text)))?;
            }
        }
    }
    say("")?;
    say(format!("{} steps, {} tokens, {}", summary.steps, summary.tokens, duration(summary.seconds)))?;
    summary.contamination.lines().try_for_each(say)?;
    if let Some(spent) = &summary.judging {
        say(format!("judging: {}", judged::spent(spent)))?;
    }
    say(format!("the run            {here}"))?;
    say(format!("the curve          {here}/curve.png, curve.svg"))?;
    say(format!("the model          {here}/checkpoints/last (a Hugging Face folder)"))?;
    say(format!("every sample       {here}/trees.jsonl.zst"))?;
    say("")?;
    say("next:")?;
    let run = file_word(folder);
    let recipe_words = |more: &[&str]| {
        let sets = asked.sets.iter().filter(|set| !set.starts_with("seed=")).map(|set| secrets::without_secrets(set));
        let sets = sets.flat_map(|set| ["--set".to_owned(), set]);
        let words = ["train".to_owned(), file_word(&asked.recipe)].into_iter().chain(sets);
        shell::command(&words.chain(more.iter().map(|&word| word.to_owned())).collect::<Vec<_>>())
    };
    say(format!("  {}", shell::command(&["chat", &run])))?;
    say(format!("  {}", shell::command(&["eval", &run])))?;
    say(format!("  tensorboard --logdir {}", shell::quoted(&run)))?;
    say(format!("  {} DIR      a model card and what transformers loads", shell::command(&["export", &run])))?;
    say(format!("  {}", recipe_words(&["--set", &format!("seed={}", recipe.seed.0.wrapping_add(1))])))?;
    Ok(())
}

fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() > 160 { text.chars().take(157).collect::<String>() + "..." } else { text }
}

/// The algorithm that `recipe` asks for, if it can learn from what the recipe's strategy makes.
fn algorithm_for(recipe: &Recipe) -> anyhow::Result<Box<dyn Algorithm>> {
    let section = &recipe.algorithm;
    let algorithm = (find("algorithm", ALGORITHMS, &section.name)?.build)(section.settings.clone().into())
        .map_err(|error| error.within("algorithm"))?;
    let strategy = &recipe.strategy;
    let group = (find("strategy", STRATEGIES, &strategy.name)?.build)(strategy.settings.clone().into())?;
    let least = algorithm.needs().group;
    // A search prefers some beginnings to others, and only a sample's own tokens would be trained.
    if least > 1 && !group.independent() {
        let message = format!(
            "{} compares independent samples of a prompt, expected `sample`, got `{}`",
            section.name, strategy.name
        );
        return Err(ConfigError::at("strategy.name", message).into());
    }
    if group.samples() < least {
        let got = group.samples();
        let message = format!("expected at least {least}, for {} compares samples of a task, got {got}", section.name);
        return Err(ConfigError::at("strategy.n", message).into());
    }
    Ok(algorithm)
}

/// What a run would do and need, without doing it.
fn dry_run(recipe: &Recipe, algorithm: &dyn Algorithm, folder: &Path, json: bool) -> anyhow::Result<()> {
    let (environment, _) = judged_by(recipe)?;
    let contamination = Found::of(recipe, environment.as_ref())?;
    let (path, checkpoint) =
        crate::models::open(&recipe.model.path, None).map_err(|error| blame(error, "model.path"))?;
    recipe.sampling.check_ids(checkpoint.config().vocab).map_err(|error| error.within("sampling"))?;
    let compute = Compute { device: recipe.model.device, dtype: recipe.model.dtype };
    let (_, kind) = compute.open(recipe.model.rollout_weights)?;
    let need = memory::needed(checkpoint.config(), recipe, kind, algorithm.needs().reference);
    let (have, samples) = (memory::total(), recipe.run.tasks as u64 * recipe.run.steps);
    if json {
        return say_json(&serde_json::json!({
            "run": folder, "model": path, "device": compute.device, "dtype": kind_name(kind), "steps": recipe.run.steps, "groups": samples,
            "memory_needed_bytes": need.total(), "memory_bytes": have, "parts": need, "contamination": contamination,
        }));
    }
    say(format!("run        {}", folder.display()))?;
    say(format!(
        "model      {} ({}), computed on {} in {}",
        path.display(),
        checkpoint.config().model_type,
        compute.device,
        kind_name(kind)
    ))?;
    say(format!("task       {}", recipe.environment.name))?;
    say(format!("algorithm  {}, {} steps of {} groups", recipe.algorithm.name, recipe.run.steps, recipe.run.tasks))?;
    contamination.lines().try_for_each(say)?;
    say(format!("memory     about {} of {}", memory::human(need.total()), memory::human(have)))?;
    for (what, bytes) in need.parts() {
        say(format!("           {:>9}  {what}", memory::human(bytes)))?;
    }
    if need.total() > have {
        say("this will not fit: lower run.batch_tokens or run.sequences, or set run.recompute = true")?;
    }
    Ok(())
}
