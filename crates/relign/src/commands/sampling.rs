//! What the commands that make tokens have in common: options and a bar.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use relign_core::{Constraint, Device, Dtype, KvCache, RolloutWeights, Sampling, ThoughtMarkers, bounds};
use relign_model::Tokenizer;

use crate::loaded::{Compute, Read};
use crate::usage::Usage;

/// How answers are sampled.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SamplingArgs {
    /// At most this many tokens an answer [default: 256, or what a run's recipe says]
    #[arg(long, value_name = "N", value_parser = bounded::<usize>("max_tokens"))]
    pub(crate) max_tokens: Option<usize>,
    /// 0 takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub(crate) temperature: f32,
    /// The source of all randomness
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    shape: ShapeArgs,
    /// Where the model is computed: cpu, or cuda:N for the GPU of that number
    #[arg(long, value_name = "DEVICE", default_value_t = Device::Cpu)]
    pub(crate) device: Device,
    /// The type of products: auto, f32 or bf16
    #[arg(long, value_name = "TYPE", default_value = "auto", value_parser = dtype)]
    pub(crate) dtype: Dtype,
    /// What linear layers are read as: full, bf16, int8 or q4. Fewer bits are faster and less exact
    #[arg(long, value_name = "WEIGHTS", default_value = "full", value_parser = weights)]
    pub(crate) weights: RolloutWeights,
    /// What keys and values are kept as: full, bf16 or int8
    #[arg(long, value_name = "TYPE", default_value = "full", value_parser = kv_cache)]
    pub(crate) kv_cache: KvCache,
    /// The longest sequence in tokens, prompt included [default: the model's, of Phi-3 and Phi-4-mini what they were
    /// first trained on; more makes them read all positions as for long texts]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = bounded_or_none::<usize>("context"))]
    pub(crate) context: usize,
    /// The base model, where MODEL is a PEFT folder [default: what the folder names]
    #[arg(long, value_name = "MODEL")]
    pub(crate) base: Option<String>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
}

/// What the chat template is given.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TemplateArgs {
    /// Variables for the chat template, a JSON object as text or as a file: enable_thinking, tools, documents;
    /// chat_template names one of several templates
    #[arg(long, value_name = "FILE|JSON")]
    chat_template_kwargs: Option<String>,
}

impl TemplateArgs {
    /// The variables by name.
    ///
    /// # Errors
    /// [`Usage`] if they are no JSON object.
    pub(crate) fn read(&self) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
        let Some(given) = &self.chat_template_kwargs else { return Ok(serde_json::Map::new()) };
        let wrong = |what: String| Usage::error(format!("--chat-template-kwargs: {what}"));
        let text = if given.trim_start().starts_with('{') {
            given.clone()
        } else {
            std::fs::read_to_string(given).map_err(|error| wrong(format!("{given}: {error}")))?
        };
        serde_json::from_str(&text).map_err(|error| wrong(format!("expected a JSON object, got {given}: {error}")))
    }
}

/// What marks thoughts, which are no answers.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ThoughtArgs {
    /// Two texts that open and end a thought, beside <think> and </think> and their like; may be given several times
    #[arg(long, num_args = 2, value_names = ["OPEN", "END"])]
    thought_markers: Vec<String>,
}

impl ThoughtArgs {
    /// The pairs.
    ///
    /// # Errors
    /// [`Usage`] if a pair cannot mark a thought.
    pub(crate) fn read(&self) -> anyhow::Result<ThoughtMarkers> {
        let pairs = self.thought_markers.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        let markers = ThoughtMarkers(pairs.collect());
        match markers.complaint() {
            Some(complaint) => Err(Usage::error(format!("--thought-markers: {complaint}"))),
            None => Ok(markers),
        }
    }
}

/// What changes the distribution besides the temperature, in the order in which it does.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "What may be said, in the order in which it is settled")]
struct ShapeArgs {
    /// The answer is JSON of this schema, given as text or as a file; '{}' is any JSON
    #[arg(long, value_name = "FILE|TEXT", conflicts_with = "regex")]
    json_schema: Option<String>,
    /// The answer matches this expression from beginning to end
    #[arg(long, value_name = "RE", allow_hyphen_values = true)]
    regex: Option<String>,
    /// Add to a token's logit; ID is a token's id or its text, and -100 all but forbids it
    #[arg(long, value_name = "ID=BIAS", allow_hyphen_values = true)]
    logit_bias: Vec<String>,
    /// Divide the logits of tokens in prompt and answer by this, multiply negative ones [default: 1]
    #[arg(long, value_name = "X", default_value_t = 1.0, hide_default_value = true)]
    repetition_penalty: f32,
    /// Take this from a token's logit for each time that it was said [default: 0]
    #[arg(long, value_name = "X", default_value_t = 0.0, hide_default_value = true, allow_hyphen_values = true)]
    frequency_penalty: f32,
    /// Take this from a token's logit once it was said [default: 0]
    #[arg(long, value_name = "X", default_value_t = 0.0, hide_default_value = true, allow_hyphen_values = true)]
    presence_penalty: f32,
    /// Draw from the N most likely tokens; 0 is all [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    top_k: usize,
    /// Draw from the most likely tokens that make up this share; 1 is all [default: 1]
    #[arg(long, value_name = "P", default_value_t = 1.0, hide_default_value = true)]
    top_p: f32,
    /// Draw from tokens at least this share as likely as the most likely; 0 is all [default: 0]
    #[arg(long, value_name = "P", default_value_t = 0.0, hide_default_value = true)]
    min_p: f32,
    /// End before this text; may be given more than once
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
}

impl SamplingArgs {
    /// What the engine reads.
    pub(crate) fn read(&self) -> Read {
        Read { weights: self.weights, kv_cache: self.kv_cache, context: self.context }
    }

    /// Where and in what the engine computes.
    pub(crate) fn compute(&self) -> Compute {
        Compute { device: self.device, dtype: self.dtype }
    }

    /// The first option that shapes what is said and was given: temperature, lengths, cuts, penalties, constraints.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let ShapeArgs { json_schema, regex, logit_bias, stop, .. } = &self.shape;
        let shape = &self.shape;
        let all = [
            ("--max-tokens", self.max_tokens.is_some()),
            ("--temperature", self.temperature != 0.0),
            ("--json-schema", json_schema.is_some()),
            ("--regex", regex.is_some()),
            ("--logit-bias", !logit_bias.is_empty()),
            ("--repetition-penalty", shape.repetition_penalty != 1.0),
            ("--frequency-penalty", shape.frequency_penalty != 0.0),
            ("--presence-penalty", shape.presence_penalty != 0.0),
            ("--top-k", shape.top_k != 0),
            ("--top-p", shape.top_p != 1.0),
            ("--min-p", shape.min_p != 0.0),
            ("--stop", !stop.is_empty()),
        ];
        all.into_iter().find_map(|(name, given)| given.then_some(name))
    }

    /// Whether the settings make sense, as far as that is known without a model.
    ///
    /// # Errors
    /// [`Usage`] with the first that does not.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.shape.logit_bias.iter().try_for_each(|bias| split(bias).map(drop))?;
        let plain = Self { shape: ShapeArgs { logit_bias: Vec::new(), ..self.shape.clone() }, ..self.clone() };
        plain.sampling(1, None).map(drop)
    }

    /// In the engine's words; `max_tokens` is taken where the call names no limit, and `tokenizer` knows the ids of
    /// tokens that are given as text.
    ///
    /// # Errors
    /// [`Usage`] with what makes no sense.
    pub(crate) fn sampling(&self, max_tokens: usize, tokenizer: Option<&Tokenizer>) -> anyhow::Result<Sampling> {
        let shape = &self.shape;
        let bias = shape.logit_bias.iter().map(|given| {
            let (token, bias) = split(given)?;
            Ok((token_id(token, tokenizer).map_err(|what| Usage(format!("--logit-bias {given}: {what}")))?, bias))
        });
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: shape.top_k,
            top_p: shape.top_p,
            min_p: shape.min_p,
            repetition_penalty: shape.repetition_penalty,
            presence_penalty: shape.presence_penalty,
            frequency_penalty: shape.frequency_penalty,
            logit_bias: bias.collect::<anyhow::Result<_>>()?,
            constraint: constraint(shape)?,
            max_tokens: self.max_tokens.unwrap_or(max_tokens),
            stop: shape.stop.clone(),
            ..Sampling::default()
        };
        sampling.check().map_err(|error| Usage(format!("--{}: {}", error.path.replace('_', "-"), error.message)))?;
        Ok(sampling)
    }
}

fn constraint(shape: &ShapeArgs) -> anyhow::Result<Option<Constraint>> {
    let Some(given) = &shape.json_schema else { return Ok(shape.regex.clone().map(Constraint::Regex)) };
    let (place, text) = if given.trim_start().starts_with('{') {
        ("--json-schema".to_owned(), given.clone())
    } else {
        let text = std::fs::read_to_string(given).map_err(|error| {
            Usage(format!("--json-schema {given}: expected a file or a schema that begins with {{, {error}"))
        })?;
        (format!("--json-schema {given}"), text)
    };
    let schema = serde_json::from_str(&text).map_err(|error| Usage(format!("{place}: expected JSON: {error}")))?;
    Ok(Some(Constraint::JsonSchema(schema)))
}

/// The parts of ID=BIAS; the token may hold the sign itself.
fn split(given: &str) -> anyhow::Result<(&str, f32)> {
    let parts = given.rsplit_once('=').and_then(|(token, bias)| Some((token, bias.trim().parse::<f32>().ok()?)));
    let fits = |(token, bias): &(&str, f32)| !token.is_empty() && bias.is_finite();
    let wrong = || Usage::error(format!("--logit-bias: expected ID=BIAS with a finite number, got {given}"));
    parts.filter(fits).ok_or_else(wrong)
}

fn token_id(token: &str, tokenizer: Option<&Tokenizer>) -> Result<u32, String> {
    if let Ok(id) = token.parse() {
        return Ok(id);
    }
    let Some(tokenizer) = tokenizer else {
        return Err("expected a token's id, for the tokenizer is the server's".to_owned());
    };
    match tokenizer.encode_with_specials(token)[..] {
        [id] => Ok(id),
        ref ids => Err(format!("expected text that is one token, got {}: {ids:?}", ids.len())),
    }
}

/// Reads a count from 1 to the bound of the setting called `name`.
pub(crate) fn bounded<N: TryFrom<u64>>(name: &'static str) -> impl Fn(&str) -> Result<N, String> + Clone {
    move |text| within(1, bounds::most(name), text)
}

/// Like [`bounded`], from 0 up.
pub(crate) fn bounded_or_none<N: TryFrom<u64>>(name: &'static str) -> impl Fn(&str) -> Result<N, String> + Clone {
    move |text| within(0, bounds::most(name), text)
}

fn within<N: TryFrom<u64>>(least: u64, most: Option<u64>, text: &str) -> Result<N, String> {
    let fits = |n: &u64| *n >= least && most.is_none_or(|most| *n <= most);
    let read = text.parse().ok().filter(fits).and_then(|n| N::try_from(n).ok());
    read.ok_or_else(|| match most {
        Some(most) => format!("expected a whole number from {least} to {most}"),
        None => format!("expected a whole number from {least} up"),
    })
}

fn temperature(text: &str) -> Result<f32, String> {
    let fits = |t: &f32| t.is_finite() && *t >= 0.0;
    text.parse().ok().filter(fits).ok_or_else(|| "expected a number from 0 up".to_owned())
}

fn dtype(text: &str) -> Result<Dtype, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected auto, f32 or bf16".to_owned())
}

/// A word for what weights are read as.
pub(crate) fn weights(text: &str) -> Result<RolloutWeights, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected full, bf16, int8 or q4".to_owned())
}

/// A word for what keys and values are kept as.
pub(crate) fn kv_cache(text: &str) -> Result<KvCache, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected full, bf16 or int8".to_owned())
}

/// A bar on stderr; nothing where that is no terminal.
pub(crate) fn bar(total: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30.cyan/dim} {pos}/{len}  {msg}  {eta} left");
    ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Peak memory of this process in gigabytes.
pub(crate) fn peak_gb() -> f64 {
    crate::memory::peak_rss() as f64 / 1e9
}
