//! Generation of natural length from given prompts.

use std::path::{Path, PathBuf};
use std::time::Instant;

use relign_core::{Generate, KvCache, Request, RolloutWeights, Sampling, Seed};
use relign_engine::{Engine, EngineOptions};
use serde::Deserialize;
use serde_json::json;

use super::{dtype_of, peak_gb};
use crate::commands::sampling::{bounded, kv_cache, weights};
use crate::commands::say_json;
use crate::loaded::{Loaded, Read};
use crate::usage::Usage;

/// What `measure decode` was told. Answers are sampled at temperature 1 and end where the model ends them.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The model
    model: String,
    /// The requests: `{"tokens": [ids]}` a line, the chat template applied
    #[arg(long, value_name = "F.jsonl")]
    prompts: PathBuf,
    /// Requests of the same form that come before the clock starts
    #[arg(long, value_name = "F.jsonl")]
    warm_up: Option<PathBuf>,
    /// Sequences that run at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = bounded::<usize>("sequences"))]
    sequences: usize,
    /// At most this many tokens an answer
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = bounded::<usize>("max_tokens"))]
    max_tokens: usize,
    /// f32 or bf16: what activations are computed in
    #[arg(long, value_name = "TYPE", default_value = "bf16")]
    dtype: String,
    /// What linear layers are read as: full (as activations are), bf16, int8 or q4
    #[arg(long, value_name = "WEIGHTS", default_value = "full", value_parser = weights)]
    weights: RolloutWeights,
    /// What keys and values are kept as: full, bf16 or int8
    #[arg(long, value_name = "TYPE", default_value = "full", value_parser = kv_cache)]
    kv_cache: KvCache,
    /// MODEL is a GGUF file whose header alone is read; weights are drawn at random
    #[arg(long)]
    random_weights: bool,
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
    let mut engine = engine(asked)?;
    let seed = Seed(asked.seed).child("measure decode");
    let sampling = |max_tokens| Sampling { max_tokens, ..Sampling::default() };
    generate(&mut engine, &warm_up, &sampling(asked.max_tokens.min(8)), seed.child("warm up"))?;
    // Nothing of the warm-up is anybody's prefix.
    engine.set_version(0);
    let before = engine.stats();
    let started = Instant::now();
    let (tokens, ended) = generate(&mut engine, &prompts, &sampling(asked.max_tokens), seed)?;
    let seconds = started.elapsed().as_secs_f64();
    let stats = engine.stats();
    say_json(&json!({
        "rate": tokens as f64 / seconds, "rss_gb": peak_gb(), "seconds": seconds, "dtype": asked.dtype,
        "weights": asked.weights, "requests": prompts.len(), "tokens": tokens,
        "ended": ended, "prompt_tokens": stats.prompt_tokens - before.prompt_tokens,
        "cached_tokens": stats.cached_tokens - before.cached_tokens,
        "computed_tokens": stats.computed_tokens - before.computed_tokens,
        "forward_passes": stats.forward_passes - before.forward_passes,
    }))
}

fn engine(asked: &Asked) -> anyhow::Result<Engine> {
    let options = EngineOptions {
        max_sequences: asked.sequences,
        kv_cache: asked.kv_cache,
        share_prefixes: !asked.no_sharing,
        ..EngineOptions::default()
    };
    let dtype = dtype_of(&asked.dtype)?;
    let mut loaded = if asked.random_weights {
        Loaded::open_random(&asked.model, dtype, asked.weights)?
    } else {
        Loaded::open_to_sample(&asked.model, None, dtype, Read { weights: asked.weights, ..Read::default() })?
    };
    loaded.engine_with(asked.weights, &options)
}

/// Answers every prompt; how many tokens that made, and how many answers the model ended itself.
fn generate(
    engine: &mut Engine,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    seed: Seed,
) -> anyhow::Result<(usize, usize)> {
    for (id, prompt) in (0..).zip(prompts) {
        engine.submit(Request { id, prompt: prompt.clone(), sampling: sampling.clone(), seed: seed.index(id) })?;
    }
    let (mut tokens, mut ended) = (0, 0);
    while engine.in_flight() > 0 {
        for completion in engine.poll()? {
            tokens += completion.tokens.len();
            ended += usize::from(completion.finish.is_natural());
        }
    }
    Ok((tokens, ended))
}

pub(super) fn read(file: &Path) -> anyhow::Result<Vec<Vec<u32>>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        tokens: Vec<u32>,
    }
    let text = std::fs::read_to_string(file).map_err(|error| Usage(format!("{}: {error}", file.display())))?;
    let wrong = |at: usize, what: String| Usage::error(format!("{}:{}: {what}", file.display(), at + 1));
    let lines = text.lines().enumerate();
    lines
        .map(|(at, line)| match serde_json::from_str::<Line>(line) {
            Ok(Line { tokens }) if !tokens.is_empty() => Ok(tokens),
            Ok(_) => Err(wrong(at, "tokens: expected at least one, got none".to_owned())),
            Err(error) => Err(wrong(at, error.to_string())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_blamed_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.jsonl");
        std::fs::write(&file, "{\"tokens\": [1, 2]}\n{\"tokens\": [3]}\n").unwrap();
        assert_eq!(read(&file).unwrap(), [vec![1, 2], vec![3]]);
        for (line, said) in [("{\"tokens\": []}", "got none"), ("{}", "missing field"), ("[1]", "p.jsonl:2:")] {
            std::fs::write(&file, format!("{{\"tokens\": [1]}}\n{line}\n")).unwrap();
            let error = read(&file).unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().contains(said), "{error}");
        }
    }
}
