//! A model, and what of it fits into this machine's memory. Its configuration alone is read.

use relign_core::{Dtype, KvCache, RolloutWeights, RunSection};
use relign_model::{Checkpoint, Config, Kind, resolve_dtype};
use serde::Serialize;
use serde_json::json;

use crate::commands::{say, say_json};
use crate::loaded::kind_name;
use crate::memory::{self, Numbers, Training, human};

/// What linear layers may be read as, with its word in `--weights`.
const WEIGHTS: [(RolloutWeights, &str); 4] = [
    (RolloutWeights::Full, "full"),
    (RolloutWeights::Bf16, "bf16"),
    (RolloutWeights::Int8, "int8"),
    (RolloutWeights::Q4, "q4"),
];

/// What keys and values may be kept as, with its word in `--kv-cache`.
const CACHES: [(KvCache, &str); 3] = [(KvCache::Full, "full"), (KvCache::Bf16, "bf16"), (KvCache::Int8, "int8")];

/// Lengths for which it is told how many sequences run at once, where the model's context allows them.
const LENGTHS: [u64; 4] = [512, 2048, 8192, 32_768];

/// A way to hold the weights for sampling.
#[derive(Serialize)]
struct Sampling {
    dtype: &'static str,
    weights: &'static str,
    bytes: u64,
    fits: bool,
    caches: Vec<Cache>,
}

/// A way to keep keys and values.
#[derive(Serialize)]
struct Cache {
    kv_cache: &'static str,
    bytes_per_token: u64,
    /// What is left for keys and values: as much as the engine takes, where that is free.
    bytes: u64,
    /// Lengths in tokens, and how many sequences of each run at once.
    sequences: Vec<(u64, u64)>,
}

/// A way to train.
#[derive(Serialize)]
struct Mode {
    dtype: &'static str,
    recompute: bool,
    batch_tokens: u64,
    bytes: u64,
    fits: bool,
    parts: memory::Needed,
}

/// Says what of MODEL fits.
///
/// # Errors
/// If there is no such model, or its configuration cannot be read.
pub(super) fn run(model: &str, base: Option<&str>, as_json: bool) -> anyhow::Result<()> {
    let (path, checkpoint) = open(model, base)?;
    let config = checkpoint.config();
    let (free, total) = (memory::free(), memory::total());
    let (sampling, training) = (sampling(config, free), training(config, free));
    if as_json {
        for row in &sampling {
            say_json(&json!({"sampling": row}))?;
        }
        for row in &training {
            say_json(&json!({"training": row}))?;
        }
        return say_json(&json!({
            "summary": true, "model": path, "family": config.model_type, "weights": Numbers::of(config).total(),
            "layers": config.layers, "context": config.context, "memory_free_bytes": free, "memory_bytes": total,
            "can_sample": sampling.iter().any(|row| row.fits), "can_train": training.iter().any(|row| row.fits),
        }));
    }
    say(format_args!("model       {}", path.display()))?;
    say(format_args!(
        "            {}, {:.2} billion weights, {} layers, a context of {} tokens",
        config.model_type,
        Numbers::of(config).total() as f64 / 1e9,
        config.layers,
        config.context
    ))?;
    say(format_args!("memory      {} free of {}", human(free), human(total)))?;
    table(config, &sampling, &training)?;
    Ok(())
}

/// Of a GGUF file whose weights are cut off, the header.
fn open(model: &str, base: Option<&str>) -> anyhow::Result<(std::path::PathBuf, Checkpoint)> {
    match crate::models::open(model, base) {
        Err(error) if model.ends_with(".gguf") => match Checkpoint::open_header(model) {
            Ok(checkpoint) => Ok((model.into(), checkpoint)),
            Err(_) => Err(error),
        },
        other => other,
    }
}

fn sampling(config: &Config, free: u64) -> Vec<Sampling> {
    let auto = resolve_dtype(Dtype::Auto);
    let ways = WEIGHTS.iter().map(|way| (auto, *way));
    // The other type of products, which --dtype asks for.
    let other = if auto == Kind::Float { Kind::BFloat16 } else { Kind::Float };
    let ways = ways.filter(|(kind, (weights, _))| !(*kind == Kind::BFloat16 && *weights == RolloutWeights::Bf16));
    let ways = ways.chain([(other, WEIGHTS[0])]);
    ways.map(|(kind, (weights, word))| {
        let bytes = memory::weights_to_sample(config, kind, weights);
        let with_program = bytes + memory::PROGRAM;
        let room = free.saturating_sub(with_program).min(memory::total() / 4);
        let caches = CACHES.iter().filter(|(cache, _)| !(kind == Kind::BFloat16 && *cache == KvCache::Bf16));
        let caches: Vec<Cache> = caches
            .map(|(cache, word)| {
                let per_token = memory::kv_per_token(config, kind, *cache);
                let lengths = LENGTHS.iter().copied().filter(|length| *length <= config.context as u64);
                let sequences = lengths.map(|length| (length, room / memory::kv_bytes(per_token, 1, length))).collect();
                Cache { kv_cache: word, bytes_per_token: per_token, bytes: room, sequences }
            })
            .collect();
        let least = caches.iter().map(|cache| cache.bytes_per_token).min().unwrap_or(0);
        let fits = room >= memory::kv_bytes(least, 1, 512);
        Sampling { dtype: kind_name(kind), weights: word, bytes: with_program, fits, caches }
    })
    .collect()
}

fn training(config: &Config, free: u64) -> Vec<Mode> {
    let tokens = RunSection::default().batch_tokens as u64;
    let auto = resolve_dtype(Dtype::Auto);
    let other = if auto == Kind::Float { Kind::BFloat16 } else { Kind::Float };
    let ways = [(auto, false), (auto, true), (other, false), (other, true)];
    ways.into_iter()
        .map(|(kind, recompute)| {
            let rollouts = RolloutWeights::Full;
            let parts = Training { kind, tokens, recompute, reference: false, rollouts }.needed(config);
            let bytes = parts.total();
            Mode { dtype: kind_name(kind), recompute, batch_tokens: tokens, bytes, fits: bytes <= free, parts }
        })
        .collect()
}

fn table(config: &Config, sampling: &[Sampling], training: &[Mode]) -> anyhow::Result<()> {
    let yes = |fits: bool| if fits { "fits" } else { "too large" };
    say("")?;
    say("sampling    --dtype  --weights    memory")?;
    for row in sampling {
        say(format_args!(
            "            {:<8} {:<9} {:>9}  {}",
            row.dtype,
            row.weights,
            human(row.bytes),
            yes(row.fits)
        ))?;
    }
    let chosen = sampling.iter().find(|row| row.fits);
    if let Some(row) = chosen {
        let room = row.caches.first().map_or(0, |cache| cache.bytes);
        say("")?;
        say(format_args!(
            "sequences   at once, in {} for keys and values beside weights `{}` in {}",
            human(room),
            row.weights,
            row.dtype
        ))?;
        let lengths: Vec<String> = row.caches[0].sequences.iter().map(|(length, _)| format!("{length:>9}")).collect();
        say(format_args!("            --kv-cache  a token {} tokens long", lengths.concat()))?;
        for cache in &row.caches {
            let counts: Vec<String> = cache.sequences.iter().map(|(_, count)| format!("{count:>9}")).collect();
            let bytes = human(cache.bytes_per_token);
            say(format_args!("            {:<9} {bytes:>9} {}", cache.kv_cache, counts.concat()))?;
        }
    }
    say("")?;
    let tokens = training.first().map_or(0, |mode| mode.batch_tokens);
    say(format_args!("training    all weights, AdamW, {tokens} tokens at once (run.batch_tokens)"))?;
    say("            model.dtype  run.recompute    memory")?;
    for mode in training {
        say(format_args!(
            "            {:<12} {:<13} {:>9}  {}",
            mode.dtype,
            mode.recompute,
            human(mode.bytes),
            yes(mode.fits)
        ))?;
    }
    if chosen.is_none() {
        say(format_args!("nothing of this model fits: {} layers of {} numbers", config.layers, config.hidden))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(tied: bool) -> Config {
        let raw = json!({
            "model_type": "qwen2", "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 4,
            "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 32_000,
            "max_position_embeddings": 4096, "tie_word_embeddings": tied,
        });
        Config::from_hf(&raw).expect("a configuration")
    }

    #[test]
    fn fewer_bits_take_less_memory_and_what_is_too_large_does_not_fit() {
        let config = config(false);
        let free = 8 << 30;
        let rows = sampling(&config, free);
        let bytes = |weights: &str| rows.iter().find(|row| row.weights == weights).expect("there").bytes;
        assert!(bytes("q4") < bytes("int8") && bytes("int8") < bytes("full"));
        assert!(rows.iter().all(|row| row.fits && row.caches.iter().all(|cache| cache.sequences.len() == 2)));
        let modes = training(&config, free);
        assert!(modes[1].bytes < modes[0].bytes && modes.iter().all(|mode| mode.fits));
        assert!(sampling(&config, 100 << 20).iter().all(|row| !row.fits));
        assert!(training(&config, 100 << 20).iter().all(|mode| !mode.fits));
    }

    #[test]
    fn the_account_of_weights_is_what_they_take() {
        for tied in [false, true] {
            let config = config(tied);
            let source = |name: &str| -> Result<relign_model::Tensor, relign_model::LoadError> {
                let (h, inner, kv) = (1024, 2048, 256);
                let size: &[i64] = match name {
                    name if name.contains("norm") || name.ends_with("q_proj.bias") => &[h],
                    name if name.ends_with("bias") => &[kv],
                    name if name.contains("embed") || name.contains("lm_head") => &[32_000, h],
                    name if name.contains("k_proj") || name.contains("v_proj") => &[kv, h],
                    name if name.contains("gate") || name.contains("up_proj") => &[inner, h],
                    name if name.contains("down") => &[h, inner],
                    _ => &[h, h],
                };
                Ok(relign_model::Tensor::zeros(size, (Kind::Float, relign_model::Device::Cpu)))
            };
            for kind in [Kind::Float, Kind::BFloat16] {
                for (weights, word) in WEIGHTS {
                    let policy =
                        relign_model::Policy::load_to_generate(&config, &source, kind, weights).expect("loads");
                    let (said, held) = (memory::weights_to_sample(&config, kind, weights), policy.bytes() as u64);
                    assert!(
                        said.abs_diff(held) * 1000 < held,
                        "{word} in {kind:?}, tied {tied}: {said} against {held}"
                    );
                    let mut trained = relign_model::Policy::load(&config, &source, kind).expect("loads");
                    drop(trained.sampling_family(weights));
                    let training = Training { kind, tokens: 1, recompute: false, reference: false, rollouts: weights };
                    let (said, held) = (training.needed(&config).weights(), trained.bytes() as u64);
                    assert!(
                        said.abs_diff(held) * 1000 < held,
                        "{word} in {kind:?}, tied {tied}, to be trained: {said} against {held}"
                    );
                }
            }
        }
    }
}
