//! Searches: strategies on the tasks of an environment, kept in a folder as they end.
//!
//! | file | does |
//! |---|---|
//! | `variant.rs` | strategies as a call names them |
//! | `memo.rs` | completions that are kept, so that nothing is generated twice |
//! | `lines.rs` | files of lines that survive being cut off |
//! | `answers.rs` | final answers, as the verifier sees them |
//! | `checker.rs` | steps whose code must run |
//! | `outcome.rs` | what a finished search amounts to |
//! | `live.rs` | how far it has come |

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use relign_core::{Environment, Finish, Rollouts, Sampling, Scorer, Seed, Task, Tree, files};
use relign_search::{Budget, Driver, Judge, Options, Start};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::commands::train::lock;
use crate::generator::Generator;
use crate::reward_models;
use crate::usage::Usage;

mod answers;
mod checker;
mod lines;
mod live;
mod memo;
mod outcome;
mod variant;

pub(crate) use live::Live;
pub(crate) use outcome::{Outcome, Total};
pub(crate) use variant::{Variant, budget};

pub(crate) use answers::{ByVerifier, classes};
pub(crate) use checker::RunsCode;
use lines::Lines;
use memo::{Memo, Remembering, Tally};

/// How long a judge may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A strategy within a budget.
pub(crate) struct Cell<'a> {
    pub(crate) variant: &'a Variant,
    pub(crate) budget: Budget,
    pub(crate) sampling: Sampling,
    /// SHA-256 of the reward model that its scorer asks, if it asks one.
    pub(crate) scorer: Option<String>,
}

impl Cell<'_> {
    /// What it is called in a folder: legible, and different for different settings.
    pub(crate) fn name(&self) -> String {
        let Budget { tokens, prompts } = self.budget;
        let mut whole = json!([self.variant.section, self.sampling, tokens, prompts]);
        if let (Value::Array(whole), Some(scorer)) = (&mut whole, &self.scorer) {
            whole.push(json!(scorer));
        }
        let whole = whole.to_string();
        let hash: String = Sha256::digest(whole).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let tokens = tokens.map_or_else(|| "open".to_owned(), |tokens| tokens.to_string());
        format!("{}-{tokens}-{hash}", self.variant.section.name)
    }
}

/// Where searches are kept. A call that is made again goes on with what is there.
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Opens `path`, or begins it with `facts`: all that its searches depend on, apart from their strategies and budgets.
    ///
    /// # Errors
    /// [`Usage`] if what lies there was begun with other facts.
    pub(crate) fn open(path: &Path, facts: &BTreeMap<&'static str, Value>) -> anyhow::Result<Self> {
        fs::create_dir_all(path.join("searches")).with_context(|| path.display().to_string())?;
        let lock = lock(path)?;
        let file = path.join("run.json");
        if file.is_file() {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let there: BTreeMap<String, Value> =
                serde_json::from_str(&text).with_context(|| file.display().to_string())?;
            for (&name, got) in facts {
                let expected = there.get(name).unwrap_or(&Value::Null);
                if expected != got {
                    return Err(Usage::error(format!(
                        "{}: {name}: expected {expected}, which its searches were begun with, got {got}; give another --out",
                        path.display()
                    )));
                }
            }
        } else {
            let text = serde_json::to_string_pretty(facts)? + "\n";
            files::write(&file, text).with_context(|| file.display().to_string())?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The file of a cell's trees.
    pub(crate) fn trees(&self, cell: &Cell<'_>) -> PathBuf {
        self.path.join("searches").join(format!("{}.jsonl", cell.name()))
    }
}

/// What a finished search took: a line of a cell's `.spent.jsonl`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Spent {
    task: String,
    /// Its part of the time that the engine worked, whoever had its completions generated.
    seconds: f64,
    /// Tokens in its completions.
    tokens: u64,
    /// Those of them that another search had generated.
    reused: u64,
    /// What passed since the search before it ended: seconds on the clock, tokens of prompts that entered the engine,
    /// and those of them that were there already.
    clock: f64,
    prompts: u64,
    cached: u64,
}

/// Everything that searches are run with.
pub(crate) struct Searcher {
    generator: Generator,
    judge: Judge,
    answers: ByVerifier,
    checker: Option<RunsCode>,
    /// Reward models, by the labels of the variants that ask them.
    scorers: HashMap<String, Box<dyn Scorer>>,
    memo: Memo,
    folder: Option<Folder>,
    seed: Seed,
    at_once: usize,
    interrupt: Arc<AtomicBool>,
    /// How long a cell may take.
    pub(crate) limit: Option<Duration>,
}

impl Searcher {
    /// Gets everything ready that `variants` need.
    ///
    /// # Errors
    /// If something of it is not to be had.
    pub(crate) fn new(
        generator: Generator,
        environment: &Arc<dyn Environment>,
        folder: Option<Folder>,
        variants: &[Variant],
        seed: u64,
        at_once: usize,
    ) -> anyhow::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let reward = relign_tasks::rewards(&[], Arc::clone(environment))?;
        let answers = ByVerifier::new(Arc::clone(&reward));
        let memo = match &folder {
            Some(folder) => Memo::open(&folder.path.join("completions.jsonl"))?,
            None => Memo::passing(),
        };
        let mut scorers = HashMap::new();
        for variant in variants {
            if let Some(scorer) = reward_models::of_strategy(&variant.section)? {
                scorers.insert(variant.label.clone(), scorer);
            }
        }
        let checked = variants.iter().any(|variant| variant.factory.needs_checker());
        Ok(Self {
            generator,
            judge: Judge::new(reward, threads, PATIENCE)?,
            answers,
            checker: checked.then(RunsCode::new).transpose()?,
            scorers,
            memo,
            folder,
            seed: Seed(seed).child("search"),
            at_once,
            interrupt: crate::commands::train::interrupts()?,
            limit: None,
        })
    }

    pub(crate) fn generator(&self) -> &Generator {
        &self.generator
    }

    pub(crate) fn folder(&self) -> Option<&Folder> {
        self.folder.as_ref()
    }

    /// Whether the cell's strategy could work at all, tried on `task` without an engine.
    ///
    /// # Errors
    /// [`Usage`] with what it lacks.
    pub(crate) fn check(&self, cell: &Cell<'_>, task: &Task) -> anyhow::Result<()> {
        let tokenizer = self.generator.tokenizer.as_ref();
        let prompt = tokenizer.render(&task.messages).map_err(|what| anyhow::anyhow!("task {}: {what}", task.id))?;
        let start = Start {
            tree: Tree::new(task.clone(), prompt),
            sampling: cell.sampling.clone(),
            seed: self.seed,
            budget: cell.budget,
            tokenizer,
            answers: &self.answers,
            scorer: self.scorers.get(&cell.variant.label).map(|scorer| &**scorer),
            checker: self.checker.as_ref().map(|checker| checker as &dyn Scorer),
        };
        let started = cell.variant.factory.start(start).map(drop);
        started.map_err(|what| Usage::error(format!("strategy {}: {what}", cell.variant.label)))
    }

    /// Searches the `tasks` that were not searched yet, and hands each tree over, found or kept, in the order of `tasks`.
    ///
    /// # Errors
    /// If the engine breaks, the strategy can never work, or nothing can be written.
    pub(crate) fn run(
        &mut self,
        cell: &Cell<'_>,
        tasks: &[Task],
        live: &mut Live,
        each: &mut dyn FnMut(&Tree) -> anyhow::Result<()>,
    ) -> anyhow::Result<Total> {
        let mut kept = Kept::open(self.folder.as_ref(), cell)?;
        let independent = cell.variant.factory.independent();
        let mut total = Total::default();
        let mut missing = Vec::new();
        for task in tasks {
            match kept.trees.remove(&task.id) {
                // Only those before the first that is missing are handed over now, to keep the order.
                Some((tree, spent)) if missing.is_empty() => {
                    total.add(Outcome::of(&tree, independent), &spent);
                    each(&tree)?;
                }
                Some(there) => drop(kept.trees.insert(task.id.clone(), there)),
                None => missing.push(task.clone()),
            }
        }
        live.begin(&cell.variant.label, cell.budget.tokens, tasks.len(), &total);
        if missing.is_empty() {
            return Ok(total);
        }
        let tally = Tally::default();
        let (limit, started) = (self.limit, Instant::now());
        let (seed, by) = (self.seed, cell.name());
        let interrupt = Arc::clone(&self.interrupt);
        let mut broken: Option<anyhow::Error> = None;
        let (mut began, mut before) = (Instant::now(), tally.made.get());
        let first = tasks.iter().position(|task| task.id == missing[0].id).unwrap_or(0);
        let mut rest = tasks[first..].iter();
        let progress_live = std::cell::RefCell::new(live);
        let mut progress = |_: relign_search::Progress| progress_live.borrow_mut().made(tally.made.get().tokens);
        let mut engine = Remembering::new(&mut self.memo, &mut self.generator.source, &by, &tally);
        let outcome = Driver {
            engine: &mut engine,
            tokenizer: self.generator.tokenizer.as_ref(),
            judge: &mut self.judge,
            strategy: cell.variant.factory.as_ref(),
            sampling: cell.sampling.clone(),
            seed,
            step: 0,
            interrupt: Arc::clone(&interrupt),
            progress: Some(&mut progress),
            options: Options {
                budget: cell.budget,
                limit: self.limit,
                at_once: self.at_once,
                answers: &self.answers,
                thought_markers: self.generator.thought_markers.clone(),
                scorer: self.scorers.get(&cell.variant.label).map(|scorer| &**scorer),
                checker: self.checker.as_ref().map(|checker| checker as &dyn Scorer),
                ..Options::default()
            },
        }
        .run(missing, &mut |tree| {
            if broken.is_some() {
                return;
            }
            let made = tally.made.get();
            let mut spent = Spent {
                task: tree.task.id.clone(),
                clock: began.elapsed().as_secs_f64(),
                prompts: made.prompts - before.prompts,
                cached: made.cached - before.cached,
                ..Spent::default()
            };
            (began, before) = (Instant::now(), made);
            let own = seed.child(&tree.task.id);
            for number in 0..tree.cost.map_or(0, |cost| cost.requests) {
                // A request that failed has no share.
                let Some(share) = tally.shares.borrow_mut().remove(&own.index(number)) else { continue };
                spent.seconds += share.seconds;
                spent.tokens += share.tokens;
                spent.reused += if share.reused { share.tokens } else { 0 };
            }
            // What failed is tried again by the next call, and what the clock cut short is no result to keep.
            let why = lost(&tree);
            let late = limit.is_some_and(|limit| started.elapsed() >= limit);
            let mut hand = || {
                if why.is_none() && !late {
                    kept.add(&tree, &spent)?;
                }
                for task in rest.by_ref() {
                    if task.id == tree.task.id {
                        match &why {
                            Some(why) => total.lose(why, Outcome::of(&tree, independent), &spent),
                            None => total.add(Outcome::of(&tree, independent), &spent),
                        }
                        each(&tree)?;
                        break;
                    }
                    if let Some((tree, spent)) = kept.trees.remove(&task.id) {
                        total.add(Outcome::of(&tree, independent), &spent);
                        each(&tree)?;
                    }
                }
                anyhow::Ok(())
            };
            if let Err(error) = hand() {
                broken = Some(error);
                interrupt.store(true, Ordering::Relaxed);
            }
            progress_live.borrow_mut().ended(&total);
        });
        if let Some(error) = broken {
            return Err(error);
        }
        outcome.map_err(|error| match (&error, &self.folder) {
            (relign_core::RolloutError::Interrupted, Some(folder)) => {
                anyhow::anyhow!("interrupted; the same call goes on with what is in {}", folder.path.display())
            }
            _ => error.into(),
        })?;
        for task in rest {
            if let Some((tree, spent)) = kept.trees.remove(&task.id) {
                total.add(Outcome::of(&tree, independent), &spent);
                each(&tree)?;
            }
        }
        Ok(total)
    }
}

/// Why a request of the search failed, if one did.
fn lost(tree: &Tree) -> Option<String> {
    let node = tree.nodes.iter().find(|node| node.finish == Some(Finish::Failed))?;
    Some(node.score.as_ref().map_or_else(|| "a request failed".to_owned(), |score| score.reason.clone()))
}

/// A cell's files.
struct Kept {
    trees: HashMap<String, (Tree, Spent)>,
    files: Option<(Lines, Lines)>,
}

impl Kept {
    fn open(folder: Option<&Folder>, cell: &Cell<'_>) -> anyhow::Result<Self> {
        let Some(folder) = folder else { return Ok(Self { trees: HashMap::new(), files: None }) };
        let path = folder.trees(cell);
        let (file, lines) = Lines::open(&path).with_context(|| path.display().to_string())?;
        let spent_path = path.with_extension("spent.jsonl");
        let (spent_file, spent_lines) = Lines::open(&spent_path).with_context(|| spent_path.display().to_string())?;
        let mut spent: HashMap<String, Spent> = HashMap::new();
        for line in &spent_lines {
            let one: Spent = serde_json::from_str(line).with_context(|| spent_path.display().to_string())?;
            spent.insert(one.task.clone(), one);
        }
        let mut trees = HashMap::new();
        for (at, line) in lines.iter().enumerate() {
            let tree: Tree = serde_json::from_str(line)
                .with_context(|| format!("{}, line {}: expected a tree", path.display(), at + 1))?;
            let spent = spent.remove(&tree.task.id).unwrap_or_default();
            trees.insert(tree.task.id.clone(), (tree, spent));
        }
        Ok(Self { trees, files: Some((file, spent_file)) })
    }

    /// Keeps a finished search. What it took comes first: the tree is what says that it is finished.
    fn add(&mut self, tree: &Tree, spent: &Spent) -> anyhow::Result<()> {
        let Some((trees, spents)) = &mut self.files else { return Ok(()) };
        spents.add(spent).and_then(|()| trees.add(tree)).context("a finished search")
    }
}
