//! Rotary frequencies and what stretches them to longer contexts.

use std::f64::consts::TAU;

use serde_json::Value;

use super::ConfigInvalid;
use super::words::Words;

/// Rotary frequencies (Su et al., 2104.09864).
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The angle per position of each pair of numbers, in radians. A pair is number `i` and number
    /// `i + frequencies.len()`; what is left of a head does not turn.
    pub frequencies: Vec<f32>,
    /// What cosines and sines are multiplied by: YaRN and LongRoPE sharpen attention through it.
    pub magnitude: f32,
}

/// What a configuration says about positions.
pub(super) struct Ropes {
    pub(super) global: Rope,
    pub(super) local: Option<Rope>,
    pub(super) context: usize,
}

impl Rope {
    /// The unscaled frequencies `theta^(-2 i / dim)` of `dim` numbers.
    #[must_use]
    pub fn plain(dim: usize, theta: f64) -> Self {
        Self { frequencies: plain(dim, theta).into_iter().map(|f| f as f32).collect(), magnitude: 1.0 }
    }
}

fn plain(dim: usize, theta: f64) -> Vec<f64> {
    (0..dim / 2).map(|i| 1.0 / theta.powf((2 * i) as f64 / dim as f64)).collect()
}

/// One set's settings: an object of `rope_parameters`, or `rope_scaling`, beside which older files have
/// base and the rest.
struct Settings<'a> {
    words: &'a Words<'a>,
    object: Option<&'a Value>,
}

impl Settings<'_> {
    fn number(&self, key: &str) -> Result<Option<f64>, ConfigInvalid> {
        match self.object.and_then(|object| object.get(key)).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => value.as_f64().filter(|x| x.is_finite() && *x > 0.0).map(Some).ok_or_else(|| {
                ConfigInvalid(format!("rope scaling: `{key}`: expected a positive number, got {value}"))
            }),
        }
    }

    fn required(&self, key: &str, kind: &str) -> Result<f64, ConfigInvalid> {
        self.number(key)?.ok_or_else(|| ConfigInvalid(format!("rope scaling {kind}: `{key}` is missing")))
    }

    /// One divisor for each frequency.
    fn factors(&self, key: &str, count: usize) -> Result<Vec<f64>, ConfigInvalid> {
        let list = self.object.and_then(|object| object.get(key)).and_then(Value::as_array);
        let factors: Option<Vec<f64>> =
            list.map(|list| list.iter().filter_map(Value::as_f64).filter(|x| *x > 0.0).collect());
        factors
            .filter(|factors| factors.len() == count)
            .ok_or_else(|| ConfigInvalid(format!("rope scaling longrope: `{key}`: expected {count} positive numbers")))
    }
}

/// The frequencies of a configuration for sequences of `wanted` tokens, and its context.
pub(super) fn read(words: &Words<'_>, head_dim: usize, wanted: usize) -> Result<Ropes, ConfigInvalid> {
    let context = words.count("max_position_embeddings")?;
    let object = words.value("rope_parameters").or_else(|| words.value("rope_scaling"));
    // Newer files of models with two kinds of layers have one object for each kind.
    let of_kind = |kind: &str| object.and_then(|object| object.get(kind)).filter(|value| !value.is_null());
    let nested = object.is_some_and(|o| o.get("full_attention").is_some() || o.get("sliding_attention").is_some());
    let global = Settings { words, object: if nested { of_kind("full_attention") } else { object } };
    let local = match words.number("rope_local_base_freq")? {
        None if nested => {
            let what = "a single set of frequencies, got one for each kind of layer";
            return Err(ConfigInvalid(format!("`rope_parameters`: expected {what}")));
        }
        None => None,
        Some(base) => {
            let settings = Settings { words, object: of_kind("sliding_attention") };
            Some(set(&settings, head_dim, base, context, wanted)?.0)
        }
    };
    let theta = words.number("rope_theta")?.unwrap_or(10_000.0);
    let (global, context) = set(&global, head_dim, theta, context, wanted)?;
    Ok(Ropes { global, local, context })
}

/// One set of frequencies, and the context that it serves.
fn set(
    settings: &Settings<'_>,
    head_dim: usize,
    base: f64,
    context: usize,
    wanted: usize,
) -> Result<(Rope, usize), ConfigInvalid> {
    let theta = settings.number("rope_theta")?.unwrap_or(base);
    if theta <= 1.0 {
        return Err(ConfigInvalid(format!("`rope_theta`: expected more than 1, got {theta}")));
    }
    let partial = settings.number("partial_rotary_factor")?;
    let partial = partial.or(settings.words.number("partial_rotary_factor")?).unwrap_or(1.0);
    let dim = (head_dim as f64 * partial) as usize;
    let turns_part = settings.words.family_has("partial_rotary_factor");
    if (dim != head_dim && !turns_part) || dim == 0 || dim > head_dim || !dim.is_multiple_of(2) {
        return Err(ConfigInvalid(format!("`partial_rotary_factor`: {partial} of {head_dim} does not fit the family")));
    }
    let named = |key: &str| settings.object.and_then(|object| object.get(key)).filter(|value| !value.is_null());
    let kind = match named("rope_type").or_else(|| named("type")) {
        None => None,
        Some(Value::String(kind)) => Some(kind.as_str()),
        Some(other) => return Err(ConfigInvalid(format!("rope scaling: expected the name of a type, got {other}"))),
    };
    let kind = match (kind.unwrap_or("default"), turns_part) {
        // Early files of Phi-3 call LongRoPE by these names.
        ("su" | "yarn", true) => "longrope",
        (kind, _) => kind,
    };
    let mut frequencies = plain(dim, theta);
    let mut magnitude = 1.0;
    let mut serves = context;
    let original = match settings.words.number("original_max_position_embeddings")? {
        Some(n) => n,
        None => settings.number("original_max_position_embeddings")?.unwrap_or(context as f64),
    };
    match kind {
        "default" => {}
        // Up to the model's context, beyond which RELIGN does not go, transformers keeps the plain frequencies.
        "dynamic" => {
            settings.required("factor", kind)?;
        }
        "linear" => {
            let factor = settings.required("factor", kind)?;
            frequencies.iter_mut().for_each(|f| *f /= factor);
        }
        "llama3" => {
            let factor = settings.required("factor", kind)?;
            let low = settings.required("low_freq_factor", kind)?;
            let high = settings.required("high_freq_factor", kind)?;
            frequencies.iter_mut().for_each(|f| *f /= llama3(*f, original, factor, low, high));
        }
        "yarn" => {
            let factor = settings.number("factor")?.unwrap_or(context as f64 / original);
            let fast = settings.number("beta_fast")?.unwrap_or(32.0);
            let slow = settings.number("beta_slow")?.unwrap_or(1.0);
            let truncate = settings.object.and_then(|o| o.get("truncate")).and_then(Value::as_bool).unwrap_or(true);
            yarn(&mut frequencies, dim, theta, original, factor, (fast, slow, truncate));
            let grown = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
            magnitude = match (
                settings.number("attention_factor")?,
                settings.number("mscale")?,
                settings.number("mscale_all_dim")?,
            ) {
                (Some(given), _, _) => given,
                (None, Some(scale), Some(all)) => grown(scale) / grown(all),
                _ => grown(1.0),
            };
        }
        "longrope" => {
            // transformers takes the short factors up to the original length and recomputes everything
            // with the long ones beyond. Keys that are kept, and prefixes that paths of unequal length
            // share, allow one set only: it is chosen by the context that is asked for.
            let (short, long) = (settings.factors("short_factor", dim / 2)?, settings.factors("long_factor", dim / 2)?);
            let factors = if wanted as f64 > original { long } else { short };
            if wanted as f64 <= original {
                serves = context.min(original as usize);
            }
            frequencies.iter_mut().zip(factors).for_each(|(f, by)| *f /= by);
            let factor = settings.number("factor")?.unwrap_or(context as f64 / original);
            let default = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
            magnitude = settings.number("attention_factor")?.unwrap_or(default);
        }
        other => {
            let expected = "default, linear, dynamic, llama3, yarn or longrope";
            return Err(ConfigInvalid(format!("rope scaling: expected {expected}, got {other}")));
        }
    }
    let frequencies = frequencies.into_iter().map(|f| f as f32).collect();
    Ok((Rope { frequencies, magnitude: magnitude as f32 }, serves))
}

/// Llama 3's divisor of a frequency, for a context of `original` tokens: 1 for wavelengths below
/// `original / high`, `factor` above `original / low`, and a blend between.
pub(crate) fn llama3(frequency: f64, original: f64, factor: f64, low: f64, high: f64) -> f64 {
    let turns = original * frequency / TAU;
    let blend = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    1.0 / ((1.0 - blend) / factor + blend)
}

/// YaRN (Peng et al., 2309.00071): frequencies that turn fewer than `slow` times within the original
/// context are divided by `factor`, those above `fast` are kept, with a ramp over the pairs between.
fn yarn(
    frequencies: &mut [f64],
    dim: usize,
    theta: f64,
    original: f64,
    factor: f64,
    (fast, slow, truncate): (f64, f64, bool),
) {
    let pair = |turns: f64| dim as f64 * (original / (turns * TAU)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (pair(fast), pair(slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(dim as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    for (i, f) in frequencies.iter_mut().enumerate() {
        let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
        *f *= ramp / factor + (1.0 - ramp);
    }
}
