//! A model on its way from MODEL to an engine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use indicatif::ProgressBar;
use relign_core::{Device, Dtype, KvCache, RolloutWeights, Seed};
use relign_engine::{Engine, EngineOptions};
use relign_model::{
    Checkpoint, CheckpointError, Config, Kind, LoadError, Policy, Rows, Source, Take, Tokenizer, device, read_rows,
    resolve_dtype_on,
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::models;
use crate::usage::Usage;

/// Where a model is computed, and in which type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compute {
    /// Where.
    pub(crate) device: Device,
    /// In which type.
    pub(crate) dtype: Dtype,
}

impl From<Dtype> for Compute {
    fn from(dtype: Dtype) -> Self {
        Self { dtype, ..Self::default() }
    }
}

impl Compute {
    /// libtorch's names of both, the device made ready, for weights of linear layers that are read as `weights`.
    ///
    /// # Errors
    /// If there is no such device, or it does not read such weights.
    pub(crate) fn open(self, weights: RolloutWeights) -> anyhow::Result<(relign_model::Device, Kind)> {
        if self.device != Device::Cpu && weights != RolloutWeights::Full {
            let got = serde_json::to_value(weights)?;
            return Err(Usage::error(format!(
                "weights in fewer bits: expected full on {}, for their products are for CPUs, got {got}",
                self.device
            )));
        }
        let device = device::open(self.device)?;
        Ok((device, resolve_dtype_on(self.dtype, device)))
    }
}

/// A model's weights and tokenizer, read from a checkpoint.
pub(crate) struct Loaded {
    /// Where it was read from.
    pub(crate) path: PathBuf,
    /// The weights.
    pub(crate) policy: Policy,
    /// The tokenizer.
    pub(crate) tokenizer: Arc<Tokenizer>,
}

impl Loaded {
    /// Reads MODEL (a built-in name, a folder, a GGUF file, a hub id or a run's folder) to train it on sequences of up
    /// to `context` tokens, 0 being the model's own.
    ///
    /// # Errors
    /// If there is no such model or device, or it cannot be read, or is made for shorter sequences.
    pub(crate) fn open(model: &str, compute: impl Into<Compute>, context: usize) -> anyhow::Result<Self> {
        let (device, kind) = compute.into().open(RolloutWeights::Full)?;
        Self::read(model, None, context, &|config, source| Policy::load(config, source, kind)?.on(device))
    }

    /// Reads MODEL to sample from it alone, which takes less memory. A PEFT folder is merged into the
    /// model `base`, or the one that it names.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_to_sample(
        model: &str,
        base: Option<&str>,
        compute: impl Into<Compute>,
        read: Read,
    ) -> anyhow::Result<Self> {
        let (weights, context) = (read.weights, read.context);
        let (device, kind) = compute.into().open(weights)?;
        Self::read(model, base, context, &|config, source| load_to_sample(config, source, kind, weights, device))
    }

    /// A model of the shape that a GGUF file's header tells, its weights drawn at random: for measurements of what
    /// a large model takes, where its weights are not at hand.
    ///
    /// # Errors
    /// If there is no such header.
    pub(crate) fn open_random(
        model: &str,
        compute: impl Into<Compute>,
        weights: RolloutWeights,
    ) -> anyhow::Result<Self> {
        let (device, kind) = compute.into().open(weights)?;
        let path = PathBuf::from(model);
        let checkpoint = Checkpoint::open_header(&path)?;
        let tokenizer = Arc::new(checkpoint.tokenizer()?);
        let bar = models::progress::numbers("drawing the weights", numbers(&checkpoint)?);
        let source = Watched { of: &Random(&checkpoint), bar: &bar };
        let policy = load_to_sample(checkpoint.config(), &source, kind, weights, device)
            .with_context(|| format!("model {}", path.display()))?;
        bar.finish_and_clear();
        Ok(Self { path, policy, tokenizer })
    }

    fn read(
        model: &str,
        base: Option<&str>,
        context: usize,
        load: &dyn Fn(&Config, &dyn Source) -> Result<Policy, LoadError>,
    ) -> anyhow::Result<Self> {
        let (path, mut checkpoint) = models::open(model, base)?;
        if context > 0 {
            checkpoint = checkpoint.for_context(context)?;
        }
        let tokenizer = Arc::new(checkpoint.tokenizer()?);
        let bar = models::progress::numbers("reading the model", numbers(&checkpoint)?);
        let source = Watched { of: &checkpoint, bar: &bar };
        let policy = load(checkpoint.config(), &source).with_context(|| format!("model {}", path.display()))?;
        bar.finish_and_clear();
        Ok(Self { path, policy, tokenizer })
    }

    /// The same with variables for the chat template.
    ///
    /// # Errors
    /// If the template cannot take them, or an engine has the tokenizer already.
    pub(crate) fn with_arguments(self, arguments: Map<String, Value>) -> anyhow::Result<Self> {
        let Self { path, policy, tokenizer } = self;
        let tokenizer = Arc::into_inner(tokenizer).context("template arguments come before an engine")?;
        let tokenizer = Arc::new(tokenizer.with_arguments(arguments).map_err(Usage::error)?);
        Ok(Self { path, policy, tokenizer })
    }

    /// An engine that samples from the policy and follows its updates.
    ///
    /// # Errors
    /// If the options leave no room to work in.
    pub(crate) fn engine(&mut self, read: Read, sequences: usize) -> anyhow::Result<Engine> {
        engine(&mut self.policy, &self.tokenizer, read, sequences)
    }

    /// As [`engine`](Self::engine), with all of the engine's options.
    ///
    /// # Errors
    /// If the options leave no room to work in.
    pub(crate) fn engine_with(&mut self, weights: RolloutWeights, options: &EngineOptions) -> anyhow::Result<Engine> {
        engine_with(&mut self.policy, &self.tokenizer, weights, options)
    }
}

/// A policy on `device` that only engines read.
fn load_to_sample(
    config: &Config,
    source: &dyn Source,
    kind: Kind,
    weights: RolloutWeights,
    device: relign_model::Device,
) -> Result<Policy, LoadError> {
    match device {
        relign_model::Device::Cpu => Policy::load_to_generate(config, source, kind, weights),
        device => Policy::load_to_sample(config, source, kind, weights)?.on(device),
    }
}

/// How many numbers a checkpoint holds.
fn numbers(checkpoint: &Checkpoint) -> anyhow::Result<u64> {
    let shapes = checkpoint.names().into_iter().map(|name| checkpoint.shape(name));
    Ok(shapes.map(|shape| Ok(shape?.iter().product::<usize>() as u64)).sum::<Result<u64, CheckpointError>>()?)
}

/// Weights whose reading a bar shows.
struct Watched<'a, R> {
    of: &'a R,
    bar: &'a ProgressBar,
}

impl<R: Rows> Source for Watched<'_, R> {
    fn shape(&self, name: &str) -> Result<Vec<usize>, LoadError> {
        self.of.shape(name)
    }

    fn read(&self, names: &[&str], take: Take<'_>) -> Result<(), LoadError> {
        read_rows(self.of, names, &|tensor, first, numbers| {
            take(tensor, first, numbers);
            self.bar.inc(numbers.len() as u64);
        })
    }
}

/// Weights of a checkpoint's shapes: vectors of ones, and matrices drawn evenly from -0.03 to 0.03.
struct Random<'a>(&'a Checkpoint);

impl Rows for Random<'_> {
    fn shape(&self, name: &str) -> Result<Vec<usize>, LoadError> {
        Ok(self.0.shape(name)?)
    }

    fn rows(&self, name: &str, first: usize, out: &mut [f32]) -> Result<(), LoadError> {
        let shape = self.0.shape(name)?;
        let [_, width] = shape[..] else {
            out.fill(1.0);
            return Ok(());
        };
        let seed = Seed(1).child(name);
        for (row, out) in (first as u64..).zip(out.chunks_exact_mut(width)) {
            // A seed for each row, and within it a generator that is cheap: billions of numbers are drawn.
            let mut state = seed.index(row).0 | 1;
            for number in out {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                *number = ((state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0) * 0.03;
            }
        }
        Ok(())
    }
}

/// What an engine reads weights, keys and values as, and how many of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// The weights of linear layers.
    pub(crate) weights: RolloutWeights,
    /// Keys and values.
    pub(crate) kv_cache: KvCache,
    /// The longest sequence in tokens; 0 takes the model's.
    pub(crate) context: usize,
}

/// An engine over `policy`.
pub(crate) fn engine(
    policy: &mut Policy,
    tokenizer: &Arc<Tokenizer>,
    read: Read,
    sequences: usize,
) -> anyhow::Result<Engine> {
    let options = EngineOptions {
        max_sequences: sequences,
        kv_cache: read.kv_cache,
        context: (read.context > 0).then_some(read.context),
        ..EngineOptions::default()
    };
    engine_with(policy, tokenizer, read.weights, &options)
}

fn engine_with(
    policy: &mut Policy,
    tokenizer: &Arc<Tokenizer>,
    weights: RolloutWeights,
    options: &EngineOptions,
) -> anyhow::Result<Engine> {
    let (family, config, kind) = (policy.sampling_family(weights), policy.config().clone(), policy.kind());
    let vocabulary: Arc<Tokenizer> = Arc::clone(tokenizer);
    Ok(Engine::new(family, &config, kind, vocabulary, options)?)
}

/// The word for a type of products, as recipes write it.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    if kind == Kind::BFloat16 { "bf16" } else { "f32" }
}

/// SHA-256 over a checkpoint's weight files, in the order of their names, as hexadecimal digits.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn weights_hash(path: &Path) -> anyhow::Result<String> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        files.retain(|file| file.is_file() && file.extension().is_some_and(|e| e == "safetensors"));
        files.retain(|file| file.file_name().is_some_and(|name| name != "optimizer.safetensors"));
        files.sort();
    }
    let mut hasher = Sha256::new();
    for file in files {
        let mut reader = File::open(&file).with_context(|| file.display().to_string())?;
        std::io::copy(&mut reader, &mut hasher).with_context(|| file.display().to_string())?;
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
