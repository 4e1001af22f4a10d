//! LoRA adapters (Hu et al., 2106.09685) as Hugging Face's PEFT saves them, merged into a model's
//! weights when these are read: `W + s B A` with `s = lora_alpha / r`, or `lora_alpha / sqrt(r)` for
//! rank-stabilised adapters (2312.03732).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::checkpoint::{EMBEDDING, HEAD, read_json};
use crate::safetensors::Weights;
use crate::{Checkpoint, CheckpointError};

/// The name of an adapter's settings.
pub(crate) const CONFIG: &str = "adapter_config.json";
/// The name of an adapter's weights.
const WEIGHTS: &str = "adapter_model.safetensors";

/// The model that an adapter was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterBase {
    /// A hub id or a path, as the adapter's maker had it.
    pub name: String,
    /// The revision of the hub id.
    pub revision: Option<String>,
}

/// What the adapter in `folder` says about its base model; `None` where it says nothing.
///
/// # Errors
/// If there is no adapter, or its settings cannot be read.
pub fn adapter_base(folder: &Path) -> Result<Option<AdapterBase>, CheckpointError> {
    let json = read_json(&folder.join(CONFIG))?;
    let text = |key: &str| json.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(text("base_model_name_or_path").map(|name| AdapterBase { name, revision: text("revision") }))
}

/// The settings that change what an adapter means. Those that only steer training are not read. Of patterns the first in
/// the file that fits counts, so these keep their order.
#[derive(Deserialize)]
struct Settings {
    r: u32,
    #[serde(default = "eight")]
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    rank_pattern: Map<String, Value>,
    #[serde(default)]
    alpha_pattern: Map<String, Value>,
}

/// PEFT's default of `lora_alpha`.
fn eight() -> f64 {
    8.0
}

/// Settings of kinds that are not plain LoRA; each must be absent, null, false or empty.
const REFUSED: &[&str] = &[
    "use_dora",
    "use_qalora",
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
    "use_bdlora",
];

/// Ways to begin that also change the base model's weights, which the adapter then depends on.
const CHANGE_THE_BASE: &[&str] = &["pissa", "olora", "corda", "loftq", "lora_ga"];

/// An adapter's weights, ready to be merged.
pub(crate) struct Adapter {
    path: PathBuf,
    weights: Weights,
    /// By the name of the base model's tensor.
    deltas: BTreeMap<String, Delta>,
    /// The adapter's tensors that take a base tensor's place, by its name.
    replaced: BTreeMap<String, String>,
}

struct Delta {
    /// `[r, in]`, by its name in the file.
    a: String,
    /// `[out, r]`.
    b: String,
    scale: f64,
    /// `A` and `B` are those of an embedding, whose weight is `[in, out]`.
    embedding: bool,
}

impl Adapter {
    /// Opens the adapter in `folder` and holds its names and shapes against the model `base`.
    pub(crate) fn open(folder: &Path, base: &Checkpoint) -> Result<Self, CheckpointError> {
        let file = folder.join(CONFIG);
        let json = read_json(&file)?;
        let settings = settings(&file, &json)?;
        let path = folder.join(WEIGHTS);
        if !path.is_file() {
            let hint = if folder.join("adapter_model.bin").is_file() {
                "adapter_model.bin is refused because reading pickled weights runs code from the file; save the \
                 adapter again where you trust it: save_pretrained(..., safe_serialization=True)"
            } else {
                "an adapter is adapter_config.json and adapter_model.safetensors"
            };
            let (path, thing) = (folder.to_owned(), WEIGHTS.to_owned());
            return Err(CheckpointError::MissingFile { path, thing, hint: hint.to_owned() });
        }
        let weights = Weights::open_file(&path)?;
        let mut adapter = Self { path: folder.to_owned(), weights, deltas: BTreeMap::new(), replaced: BTreeMap::new() };
        adapter.sort_out(&path, &settings)?;
        adapter.check(&path, base)?;
        Ok(adapter)
    }

    /// The adapter's folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the adapter changes a tensor.
    pub(crate) fn touches(&self, name: &str) -> bool {
        self.deltas.contains_key(name) || self.replaced.contains_key(name)
    }

    /// The shape of a tensor that the adapter replaces.
    pub(crate) fn replaced_shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.weights.get(self.replaced.get(name)?)?.shape.clone())
    }

    /// Rows of the tensor `name`, `width` numbers each, with the adapter's changes; `stored` writes the model's own.
    pub(crate) fn rows(
        &self,
        name: &str,
        first: usize,
        width: usize,
        out: &mut [f32],
        stored: impl FnOnce(&mut [f32]) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        match self.replaced.get(name) {
            Some(replacement) => out.copy_from_slice(&self.read(replacement, first * width, out.len())?),
            None => stored(out)?,
        }
        let Some(delta) = self.deltas.get(name) else { return Ok(()) };
        let count = out.len() / width.max(1);
        let rank = self.weights.get(&delta.a).map_or(0, |a| a.shape[0]);
        // `left` `[count, rank]` by number, then rank; `right` `[rank, width]`.
        let (left, right) = if delta.embedding {
            // The weight is the product's transpose: a row is a column of A, times B's transpose.
            let vocab = self.weights.get(&delta.a).map_or(0, |a| a.shape[1]);
            let columns: Vec<Vec<f32>> =
                (0..rank).map(|r| self.read(&delta.a, r * vocab + first, count)).collect::<Result<_, _>>()?;
            let b = self.read(&delta.b, 0, width * rank)?;
            let left = (0..count * rank).map(|i| columns[i % rank][i / rank]).collect();
            (left, (0..rank * width).map(|i| b[i % width * rank + i / width]).collect())
        } else {
            (self.read(&delta.b, first * rank, count * rank)?, self.read(&delta.a, 0, rank * width)?)
        };
        let mut change = vec![0.0_f32; width];
        for (left, out) in left.chunks_exact(rank.max(1)).zip(out.chunks_exact_mut(width.max(1))) {
            change.fill(0.0);
            for (by, right) in left.iter().zip(right.chunks_exact(width.max(1))) {
                change.iter_mut().zip(right).for_each(|(sum, x)| *sum += by * x);
            }
            out.iter_mut().zip(&change).for_each(|(out, change)| *out += delta.scale as f32 * change);
        }
        Ok(())
    }

    /// Elements of one of the adapter's tensors.
    fn read(&self, key: &str, first: usize, count: usize) -> Result<Vec<f32>, CheckpointError> {
        let stored = self.weights.get(key).ok_or_else(|| {
            CheckpointError::malformed(&self.path, format!("tensor {key}"), "a tensor", "nothing".to_owned())
        })?;
        let mut numbers = vec![0.0; count];
        self.weights.decode_from(stored, first, &mut numbers);
        Ok(numbers)
    }

    /// Sorts the file's tensors into pairs of factors and whole replacements.
    fn sort_out(&mut self, file: &Path, settings: &Settings) -> Result<(), CheckpointError> {
        for key in self.weights.names() {
            let name = key.strip_prefix("base_model.model.").unwrap_or(key);
            if name.contains(".lora_magnitude_vector") {
                return Err(CheckpointError::unsupported(
                    file,
                    format!("tensor {key}: DoRA adapters are not supported"),
                ));
            }
            if let Some((module, kind, rest)) = factor(name) {
                let embedding = kind.starts_with("embedding_");
                if rest == "bias" {
                    let what = format!("tensor {key}: adapters with a bias of their own are not supported");
                    return Err(CheckpointError::unsupported(file, what));
                }
                let scale = scale(settings, module).map_err(|what| CheckpointError::unsupported(file, what))?;
                let empty = || Delta { a: String::new(), b: String::new(), scale, embedding };
                let delta = self.deltas.entry(format!("{module}.weight")).or_insert_with(empty);
                let place = if kind.ends_with('A') { &mut delta.a } else { &mut delta.b };
                key.clone_into(place);
                continue;
            }
            // What stands in `modules_to_save`, and biases trained along, are whole tensors.
            let name = name.replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".");
            self.replaced.insert(name.replace(".base_layer.", "."), key.to_owned());
        }
        Ok(())
    }

    /// The vocabulary with the adapter, where it is another one than the model's: new tokens were added in training.
    pub(crate) fn vocab(&self, base: &Checkpoint) -> Result<Option<usize>, CheckpointError> {
        let rows = |name: &str| self.replaced_shape(name).map(|shape| shape[0]);
        let own = base.config().vocab;
        let (embedding, head) = (rows(EMBEDDING), rows(HEAD));
        let (embedding, head) = match (embedding, head, base.config().tied) {
            (embedding, head, false) => (embedding.unwrap_or(own), head.unwrap_or(own)),
            (embedding, head, true) => {
                let embedding = embedding.or(head).unwrap_or(own);
                (embedding, head.unwrap_or(embedding))
            }
        };
        // A tied embedding that is not in the file has the model's own rows.
        let stored = rows(EMBEDDING).unwrap_or(own);
        if embedding != head || stored != embedding {
            let got = format!("an embedding of {stored} and an output matrix of {head}, where the model has {own}");
            let file = self.path.join(WEIGHTS);
            return Err(CheckpointError::malformed(&file, "the vocabulary", "one number of tokens", got));
        }
        Ok((embedding != own).then_some(embedding))
    }

    fn check(&self, file: &Path, base: &Checkpoint) -> Result<(), CheckpointError> {
        let bad = |thing: &str, expected: String, got: String| {
            CheckpointError::malformed(file, format!("adapter of {thing}"), expected, got)
        };
        if self.deltas.is_empty() && self.replaced.is_empty() {
            return Err(CheckpointError::malformed(file, "adapter", "LoRA tensors", "none"));
        }
        // A tied output matrix is not among the base model's tensors, but its adapter has a meaning.
        let shape = |name: &str| match base.shape(name) {
            Err(_) if name == HEAD && base.config().tied => {
                self.replaced_shape(EMBEDDING).map_or_else(|| base.shape(EMBEDDING), Ok)
            }
            other => other,
        };
        for name in self.replaced.keys() {
            let (expected, got) = (shape(name)?, self.replaced_shape(name).unwrap_or_default());
            // The two matrices of the vocabulary may be longer; whether they agree is seen at the end.
            let of_vocab = [EMBEDDING, HEAD].contains(&name.as_str()) && got.len() == 2;
            if got != expected && !(of_vocab && got[1..] == expected[1..]) {
                return Err(bad(name, format!("a tensor of shape {expected:?}"), format!("{got:?}")));
            }
        }
        for (name, delta) in &self.deltas {
            let factor = |key: &str, which: &str| {
                let stored = self.weights.get(key).filter(|stored| stored.shape.len() == 2);
                stored.map(|stored| (stored.shape[0], stored.shape[1])).ok_or_else(|| {
                    bad(
                        name,
                        format!("a matrix lora_{which}"),
                        if key.is_empty() { "none" } else { "another shape" }.to_owned(),
                    )
                })
            };
            let ((rank, inputs), (outputs, other)) = (factor(&delta.a, "A")?, factor(&delta.b, "B")?);
            let expected = self.replaced_shape(name).map_or_else(|| shape(name), Ok)?;
            let got = if delta.embedding { vec![inputs, outputs] } else { vec![outputs, inputs] };
            if rank != other || got != expected {
                let said = format!("B A of shape {expected:?}");
                return Err(bad(name, said, format!("B [{outputs}, {other}] and A [{rank}, {inputs}]")));
            }
        }
        Ok(())
    }
}

fn settings(file: &Path, json: &Value) -> Result<Settings, CheckpointError> {
    let unsupported = |what: String| CheckpointError::unsupported(file, what);
    let kind = json.get("peft_type").and_then(Value::as_str).unwrap_or("nothing");
    if kind != "LORA" {
        return Err(unsupported(format!("peft_type: expected LORA, got {kind}")));
    }
    for key in REFUSED {
        let off = match json.get(*key) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            Some(_) => false,
        };
        if !off {
            return Err(unsupported(format!("{key}: expected plain LoRA without it, got {}", json[*key])));
        }
    }
    let start = json.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    if CHANGE_THE_BASE.iter().any(|name| start.starts_with(name)) {
        let what = format!(
            "init_lora_weights: adapters that began as {start} need a changed base model; convert the adapter to plain \
             LoRA with PEFT (save_pretrained(..., path_initial_model_for_weight_conversion=...))"
        );
        return Err(unsupported(what));
    }
    serde_json::from_value(json.clone())
        .map_err(|e| CheckpointError::malformed(file, "the settings", "those of a LoRA adapter", e.to_string()))
}

/// The module, the kind of factor (`A`, `B`, `embedding_A`, `embedding_B`) and what follows, of a
/// tensor's name such as `model.layers.0.self_attn.q_proj.lora_A.weight`.
fn factor(name: &str) -> Option<(&str, &str, &str)> {
    let (module, rest) = name.split_once(".lora_")?;
    let kind = ["embedding_A", "embedding_B", "A", "B"]
        .into_iter()
        .find(|kind| rest.strip_prefix(kind).is_some_and(|after| after.is_empty() || after.starts_with('.')))?;
    Some((module, kind, rest.rsplit('.').next().unwrap_or_default()))
}

/// What a module's product is multiplied by. Its rank and alpha may differ from the adapter's by
/// patterns, which fit as PEFT lets them: at the end of the name, after a dot.
fn scale(settings: &Settings, module: &str) -> Result<f64, String> {
    let fits = |pattern: &str| -> Result<bool, String> {
        let pattern = Regex::new(&format!(r"^(?:(?:.*\.)?(?:{pattern}))$"));
        pattern.map(|pattern| pattern.is_match(module)).map_err(|e| format!("pattern in the settings: {e}"))
    };
    let own = |patterns: &Map<String, Value>, what: &str| -> Result<Option<f64>, String> {
        for (pattern, own) in patterns {
            if fits(pattern)? {
                let number =
                    own.as_f64().ok_or_else(|| format!("{what} of {pattern}: expected a number, got {own}"))?;
                return Ok(Some(number));
            }
        }
        Ok(None)
    };
    let rank = own(&settings.rank_pattern, "rank_pattern")?.unwrap_or(f64::from(settings.r));
    let alpha = own(&settings.alpha_pattern, "alpha_pattern")?.unwrap_or(settings.lora_alpha);
    if rank < 1.0 {
        return Err(format!("rank of {module}: expected at least 1, got {rank}"));
    }
    Ok(alpha / if settings.use_rslora { rank.sqrt() } else { rank })
}
