//! Tree search on many problems at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use relign_core::{
    Message, Reward, RolloutWeights, Rollouts, Sampling, Score, Section, Seed, Task, Tokenize, Transcript, Tree,
};
use relign_engine::EngineOptions;
use relign_search::{Driver, Judge, Options, strategy};
use serde_json::{Map, json};

use super::decode::read;
use super::{dtype_of, peak_gb};
use crate::commands::sampling::bounded;
use crate::commands::say_json;
use crate::loaded::{Loaded, Read};

/// What `measure search` was told: MCTS (UCT) over steps of so many tokens, each beginning being worth the geometric mean
/// of its tokens' probabilities.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The model
    model: String,
    /// The problems: `{"tokens": [ids]}` a line, the chat template applied
    #[arg(long, value_name = "F.jsonl")]
    prompts: PathBuf,
    /// Others of the same form that come before the clock starts
    #[arg(long, value_name = "F.jsonl")]
    warm_up: Option<PathBuf>,
    /// Simulations on each problem
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = bounded::<usize>("simulations"))]
    simulations: usize,
    /// Simulations under way at once on each problem
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = bounded::<usize>("at_once"))]
    at_once: usize,
    /// Candidate steps of a node
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = bounded::<usize>("expand"))]
    expand: usize,
    /// Tokens of a step
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = bounded::<usize>("max_tokens"))]
    step_tokens: usize,
    /// At most this many tokens an answer
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = bounded::<usize>("max_tokens"))]
    max_tokens: usize,
    /// Sequences that run at once
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = bounded::<usize>("sequences"))]
    sequences: usize,
    /// f32 or bf16: what activations are computed in
    #[arg(long, value_name = "TYPE", default_value = "bf16")]
    dtype: String,
    /// Compute every prompt by itself, also where prompts begin alike
    #[arg(long)]
    no_sharing: bool,
    /// The source of all randomness
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(asked: &Asked) -> anyhow::Result<()> {
    let prompts = read(&asked.prompts)?;
    let warm_up = asked.warm_up.as_deref().map(read).transpose()?.unwrap_or_default();
    let mut loaded = Loaded::open_to_sample(&asked.model, None, dtype_of(&asked.dtype)?, Read::default())?;
    let options =
        EngineOptions { max_sequences: asked.sequences, share_prefixes: !asked.no_sharing, ..EngineOptions::default() };
    let mut engine = loaded.engine_with(RolloutWeights::Full, &options)?;
    let search = |prompts: &[Vec<u32>], simulations: usize, engine: &mut relign_engine::Engine| {
        let settings = json!({
            "simulations": simulations, "at_once": asked.at_once, "expand": asked.expand, "rollouts": 0, "c": 1.0,
            "scorer": {"name": "logprob"}, "steps": {"border": "tokens", "max_tokens": asked.step_tokens},
        });
        let settings = settings.as_object().cloned().unwrap_or_else(Map::new);
        let mcts = strategy(&Section { name: "mcts".to_owned(), settings })?;
        let mut judge = Judge::new(Arc::new(Unread), 1, Duration::from_secs(60))?;
        let tokenizer = Given { prompts, tokenizer: loaded.tokenizer.as_ref() };
        let mut driver = Driver {
            engine,
            tokenizer: &tokenizer,
            judge: &mut judge,
            strategy: mcts.as_ref(),
            sampling: Sampling { max_tokens: asked.max_tokens, ..Sampling::default() },
            seed: Seed(asked.seed).child("measure search"),
            step: 0,
            interrupt: Arc::new(AtomicBool::new(false)),
            progress: None,
            options: Options::default(),
        };
        let mut trees = Vec::new();
        driver.run((0..prompts.len()).map(task).collect(), &mut |tree| trees.push(tree))?;
        anyhow::Ok(trees)
    };
    search(&warm_up, asked.simulations.min(4), &mut engine)?;
    // Nothing of the warm-up is anybody's prefix.
    engine.set_version(0);
    let before = engine.stats();
    let started = Instant::now();
    let trees = search(&prompts, asked.simulations, &mut engine)?;
    let seconds = started.elapsed().as_secs_f64();
    let stats = engine.stats();
    let of =
        |count: fn(&relign_core::Cost) -> u64| -> u64 { trees.iter().flat_map(|tree| &tree.cost).map(count).sum() };
    let tokens = of(|cost| cost.generated);
    let prompt_tokens = stats.prompt_tokens - before.prompt_tokens;
    let cached_tokens = stats.cached_tokens - before.cached_tokens;
    say_json(&json!({
        "rate": tokens as f64 / seconds, "rss_gb": peak_gb(), "seconds": seconds, "dtype": asked.dtype,
        "problems": trees.len(), "simulations": simulations(&trees), "requests": of(|cost| cost.requests), "tokens": tokens,
        "answers": trees.iter().flat_map(Tree::leaves).count(), "prompt_tokens": prompt_tokens,
        "cached_tokens": cached_tokens, "cached": cached_tokens as f64 / prompt_tokens.max(1) as f64,
        "forward_passes": stats.forward_passes - before.forward_passes,
    }))
}

/// Visits of all roots.
fn simulations(trees: &[Tree]) -> u64 {
    trees.iter().map(|tree| u64::from(tree.nodes[0].visits)).sum()
}

/// The task whose prompt is given as tokens.
fn task(index: usize) -> Task {
    Task { id: index.to_string(), messages: vec![Message::user(index.to_string())], ..Task::default() }
}

/// Prompts that were rendered before; the task says which.
struct Given<'a> {
    prompts: &'a [Vec<u32>],
    tokenizer: &'a dyn Tokenize,
}

impl Tokenize for Given<'_> {
    fn render(&self, messages: &[Message]) -> Result<Vec<u32>, String> {
        let index = messages.last().and_then(|message| message.content.parse::<usize>().ok());
        index.and_then(|index| self.prompts.get(index)).cloned().ok_or_else(|| "expected a given prompt".to_owned())
    }

    fn decode(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens)
    }
}

/// Nobody reads the answers here.
struct Unread;

impl Reward for Unread {
    fn score(&self, _: &Task, _: &Transcript) -> Score {
        Score::wrong("not read")
    }
}
