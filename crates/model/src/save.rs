//! Writes a model as a Hugging Face folder.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use safetensors::tensor::View;
use safetensors::{Dtype, SafeTensorError, serialize_to_file};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use crate::safetensors::{INDEX, SINGLE};
use crate::{Checkpoint, CheckpointError, Config, Tokenizer};

/// A weights file holds at most this many bytes of tensors, as transformers splits them.
const SHARD_BYTES: usize = 5_000_000_000;

/// Writes `config.json`, `generation_config.json`, the weights, `tokenizer.json` and
/// `tokenizer_config.json` into the existing folder `dir`, and flushes them to the disk.
///
/// `tensors` go by their Hugging Face names and are stored as `kind` (f32, f16 or bf16), converted
/// one at a time. Equal input gives equal bytes. Other files in the folder are left alone; to replace
/// a folder in one go, write a new one beside it and rename.
///
/// # Errors
/// If a file cannot be written, or `kind` is another type.
pub fn save_folder(
    dir: &Path,
    config: &Config,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
    tokenizer: &Tokenizer,
    kind: Kind,
) -> Result<(), CheckpointError> {
    save_in_shards(dir, config, held(tensors), tokenizer, kind, SHARD_BYTES)
}

/// Writes a checkpoint as a Hugging Face folder, as [`save_folder`] does, reading one tensor at a time.
///
/// # Errors
/// If the tokenizer cannot be read, a file cannot be written, or `kind` is another type.
pub fn save_checkpoint(dir: &Path, checkpoint: &Checkpoint, kind: Kind) -> Result<(), CheckpointError> {
    let tokenizer = checkpoint.tokenizer()?;
    let sources = checkpoint.names().into_iter().map(|name| Ok((name.to_owned(), checkpoint.shape(name)?)));
    let sources: Vec<_> = sources.collect::<Result<_, CheckpointError>>()?;
    let sources = sources.into_iter().map(|(name, shape)| (name, shape, Values::Checkpoint(checkpoint)));
    save_in_shards(dir, checkpoint.config(), sources, &tokenizer, kind, SHARD_BYTES)
}

fn held(
    tensors: impl IntoIterator<Item = (String, Tensor)>,
) -> impl Iterator<Item = (String, Vec<usize>, Values<'static>)> {
    tensors.into_iter().map(|(name, tensor)| {
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        (name, shape, Values::Tensor(tensor))
    })
}

fn save_in_shards<'a>(
    dir: &Path,
    config: &Config,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, Values<'a>)>,
    tokenizer: &Tokenizer,
    kind: Kind,
    shard_bytes: usize,
) -> Result<(), CheckpointError> {
    let (dtype, dtype_name) = match kind {
        Kind::Float => (Dtype::F32, "float32"),
        Kind::Half => (Dtype::F16, "float16"),
        Kind::BFloat16 => (Dtype::BF16, "bfloat16"),
        other => {
            let what = format!("weights are saved as f32, f16 or bf16, not as {other:?}");
            return Err(CheckpointError::unsupported(dir, what));
        }
    };
    let mut json = config.raw.clone();
    if let Some(map) = json.as_object_mut() {
        map.remove("dtype");
        map.insert("torch_dtype".to_owned(), json!(dtype_name));
    }
    write_json(&dir.join("config.json"), &json)?;
    write_json(&dir.join("generation_config.json"), &generation_config(config, tokenizer))?;
    let broken = |e: String| CheckpointError::malformed(dir, "tokenizer", "one that can be written", e);
    write(&dir.join("tokenizer.json"), tokenizer.to_json().map_err(broken)?.as_bytes())?;
    write_json(&dir.join("tokenizer_config.json"), tokenizer.config_json())?;
    write_weights(dir, tensors, kind, dtype, shard_bytes)?;
    #[cfg(unix)]
    File::open(dir).and_then(|f| f.sync_all()).map_err(CheckpointError::io(dir))?;
    Ok(())
}

/// The checkpoint's own settings with the end tokens that were found for it.
fn generation_config(config: &Config, tokenizer: &Tokenizer) -> Value {
    let mut map = tokenizer.generation_json().and_then(Value::as_object).cloned().unwrap_or_default();
    if map.is_empty() {
        map = ["bos_token_id", "pad_token_id"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), config.raw.get(key).filter(|v| !v.is_null())?.clone())))
            .collect::<Map<_, _>>();
    }
    match tokenizer.eos_ids() {
        [] => {}
        [id] => drop(map.insert("eos_token_id".to_owned(), json!(id))),
        ids => drop(map.insert("eos_token_id".to_owned(), json!(ids))),
    }
    Value::Object(map)
}

/// A tensor that is converted when its turn to be written comes.
struct Lazy<'a> {
    name: String,
    from: Values<'a>,
    shape: Vec<usize>,
    kind: Kind,
    dtype: Dtype,
    /// What went wrong in reading it: the writer's interface has no place for an error.
    failed: &'a Mutex<Option<CheckpointError>>,
}

/// Where a tensor's values come from.
enum Values<'a> {
    Tensor(Tensor),
    Checkpoint(&'a Checkpoint),
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.data_len()];
        let tensor = match &self.from {
            Values::Tensor(tensor) => Ok(tensor.shallow_clone()),
            Values::Checkpoint(checkpoint) => checkpoint.tensor(&self.name),
        };
        match tensor {
            Ok(tensor) => {
                let tensor = tensor.detach().to_device(tch::Device::Cpu).to_kind(self.kind).contiguous();
                tensor.copy_data_u8(&mut bytes, tensor.numel());
            }
            Err(error) => *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.kind.elt_size_in_bytes()
    }
}

fn write_weights<'a>(
    dir: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, Values<'a>)>,
    kind: Kind,
    dtype: Dtype,
    shard_bytes: usize,
) -> Result<(), CheckpointError> {
    let failed = Mutex::new(None);
    let mut shards: Vec<Vec<(String, Lazy<'_>)>> = vec![Vec::new()];
    let (mut filled, mut total) = (0, 0);
    for (name, shape, from) in tensors {
        let lazy = Lazy { name: name.clone(), from, shape, kind, dtype, failed: &failed };
        let size = lazy.data_len();
        if filled > 0 && filled + size > shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += size;
        total += size;
        if let Some(shard) = shards.last_mut() {
            shard.push((name, lazy));
        }
    }
    let count = shards.len();
    let mut places = BTreeMap::new();
    for (index, shard) in shards.into_iter().enumerate() {
        let file =
            if count == 1 { SINGLE.to_owned() } else { format!("model-{:05}-of-{count:05}.safetensors", index + 1) };
        places.extend(shard.iter().map(|(name, _)| (name.clone(), file.clone())));
        let path = dir.join(file);
        // transformers refuses a file that does not say which framework's layout it has.
        let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        serialize_to_file(shard, Some(format), &path).map_err(|e| match e {
            SafeTensorError::IoError(e) => CheckpointError::io(&path)(e),
            other => CheckpointError::malformed(&path, "weights", "tensors that can be written", other.to_string()),
        })?;
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        File::open(&path).and_then(|f| f.sync_all()).map_err(CheckpointError::io(&path))?;
    }
    if count > 1 {
        let index = json!({"metadata": {"total_size": total}, "weight_map": places});
        write_json(&dir.join(INDEX), &index)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &Value) -> Result<(), CheckpointError> {
    let mut text = format!("{value:#}");
    text.push('\n');
    write(path, text.as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    use std::io::Write as _;
    let mut file = File::create(path).map_err(CheckpointError::io(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(CheckpointError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<(String, Tensor)> {
        let make = |name: &str, rows: i64, from: f64| {
            (name.to_owned(), Tensor::arange(rows * 4, (Kind::Float, tch::Device::Cpu)).view([rows, 4]) + from)
        };
        vec![make("a.weight", 3, 0.5), make("b.weight", 2, -7.0), make("c.weight", 5, 1e-3)]
    }

    #[test]
    fn shards_are_listed_and_read_back() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write_weights(dir.path(), held(tensors()), Kind::Float, Dtype::F32, 80).expect("writes");
        let mut files: Vec<_> =
            dir.path().read_dir().expect("lists").map(|e| e.expect("entry").file_name().into_string()).collect();
        files.sort();
        let expected =
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"];
        assert_eq!(files, expected.map(|name| Ok(name.to_owned())));

        let weights = crate::safetensors::Weights::open(dir.path()).expect("opens");
        for (name, tensor) in tensors() {
            let stored = weights.get(&name).expect("saved");
            let (bytes, size, decode) = weights.read(stored);
            assert_eq!(
                (size, stored.shape.as_slice()),
                (4, &*tensor.size().iter().map(|&n| n as usize).collect::<Vec<_>>())
            );
            let mut out = vec![0.0; tensor.numel()];
            decode(bytes, &mut out);
            assert_eq!(out, Vec::<f32>::try_from(tensor.view([-1])).expect("f32"), "{name}");
        }

        std::fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).expect("removes");
        let error = crate::safetensors::Weights::open(dir.path()).err().expect("a shard is missing").to_string();
        assert!(error.contains("missing shard model-00002-of-00002.safetensors"), "{error}");
    }

    #[test]
    fn a_full_disk_is_an_error_not_a_panic() {
        if !Path::new("/dev/full").exists() {
            relign_core::skipped!("no /dev/full on this system");
            return;
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::os::unix::fs::symlink("/dev/full", dir.path().join(SINGLE)).expect("links");
        let error = write_weights(dir.path(), held(tensors()), Kind::Float, Dtype::F32, 1 << 20).expect_err("full");
        assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
    }
}
