//! Opens a model: a GGUF file or a Hugging Face folder, with one face for both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::gguf::Gguf;
use crate::gguf::names::{self, Change, Place};
use crate::peft::{self, Adapter};
use crate::safetensors::Weights;
use crate::{CheckpointError, Config, GgmlType, Tokenizer};

/// A model at rest: its configuration, its weights by Hugging Face name, its tokenizer.
///
/// Opening checks structure and extents and reads no weights; files are memory-mapped, so a file
/// must not be cut short while its checkpoint is open.
pub struct Checkpoint {
    path: PathBuf,
    config: Config,
    generation: Option<Value>,
    weights: Source,
    adapter: Option<Adapter>,
    /// The output matrix is the embedding in the files, but no longer with the adapter.
    untied: bool,
}

/// The Hugging Face names of the two matrices that may be one.
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

enum Source {
    Gguf { gguf: Gguf, tensors: BTreeMap<String, Place> },
    Folder(Weights),
}

impl Checkpoint {
    /// Opens a GGUF file, or a folder with `config.json` and safetensors weights; of a model that also
    /// sees, the part for text.
    ///
    /// # Errors
    /// If there is nothing at `path`, or it is no checkpoint, damaged, incomplete or of an unknown
    /// family.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let metadata = std::fs::metadata(path).map_err(CheckpointError::io(path))?;
        let (json, generation, weights) = if metadata.is_dir() {
            let file = path.join("config.json");
            if !file.is_file() {
                let hint = if path.join(peft::CONFIG).is_file() {
                    "the folder holds a PEFT adapter; its base model is needed, too"
                } else {
                    "a model is a GGUF file or a Hugging Face folder"
                };
                return Err(CheckpointError::MissingFile {
                    path: path.to_owned(),
                    thing: "config.json".to_owned(),
                    hint: hint.to_owned(),
                });
            }
            let generation = path.join("generation_config.json");
            let generation = generation.is_file().then(|| read_json(&generation)).transpose()?;
            (read_json(&file)?, generation, Source::Folder(Weights::open(path)?.text_part()))
        } else {
            return Self::of_gguf(Gguf::open(path)?);
        };
        Self::assemble(path, &json, generation, weights)
    }

    /// Opens a GGUF file whose weights may be cut off, for its configuration, tokenizer and template;
    /// a tensor that is not there is an error when it is read.
    ///
    /// # Errors
    /// If what precedes the weights is damaged or incomplete.
    pub fn open_header(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        Self::of_gguf(Gguf::open_header(path.as_ref())?)
    }

    fn of_gguf(gguf: Gguf) -> Result<Self, CheckpointError> {
        let names::Translation { config, tensors } = names::translate(&gguf)?;
        let path = gguf.path().to_owned();
        Self::assemble(&path, &config, None, Source::Gguf { gguf, tensors })
    }

    fn assemble(
        path: &Path,
        json: &Value,
        generation: Option<Value>,
        weights: Source,
    ) -> Result<Self, CheckpointError> {
        let config = Config::from_hf(json).map_err(|e| CheckpointError::unsupported(path, e.to_string()))?;
        Ok(Self { path: path.to_owned(), config, generation, weights, adapter: None, untied: false })
    }

    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's configuration; its `raw` is the folder's `config.json`, or the GGUF metadata translated.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The folder's `generation_config.json`, where there is one.
    #[must_use]
    pub fn generation_json(&self) -> Option<&Value> {
        self.generation.as_ref()
    }

    /// The tensors' Hugging Face names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = match &self.weights {
            Source::Gguf { tensors, .. } => tensors.keys().map(String::as_str).collect(),
            Source::Folder(weights) => weights.names().collect(),
        };
        if self.untied && !names.contains(&HEAD) {
            names.push(HEAD);
            names.sort_unstable();
        }
        names
    }

    /// Whether there is a tensor of that Hugging Face name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.shape(name).is_ok()
    }

    /// The shape of a tensor, by its Hugging Face name.
    ///
    /// # Errors
    /// If there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, CheckpointError> {
        if let Some(shape) = self.adapter.as_ref().and_then(|adapter| adapter.replaced_shape(name)) {
            return Ok(shape);
        }
        let stored = match &self.weights {
            Source::Gguf { gguf, tensors } => {
                tensors.get(self.place(name)).map(|place| &gguf.tensors()[place.index].shape)
            }
            Source::Folder(weights) => weights.get(self.place(name)).map(|stored| &stored.shape),
        };
        stored.cloned().ok_or_else(|| self.missing(name))
    }

    /// The coding of most of the weights.
    #[must_use]
    pub fn stored_kind(&self) -> GgmlType {
        match &self.weights {
            Source::Gguf { gguf, .. } => {
                gguf.tensors().iter().max_by_key(|t| t.len()).map_or(GgmlType::F32, |tensor| tensor.kind)
            }
            Source::Folder(weights) => weights.kind(),
        }
    }

    /// Reads a tensor by its Hugging Face name: f32 on the CPU, decoded on all cores, with the adapter
    /// merged into it where there is one.
    ///
    /// # Errors
    /// If there is no such tensor, or the tensor library refuses its shape.
    pub fn tensor(&self, name: &str) -> Result<Tensor, CheckpointError> {
        match &self.adapter {
            Some(adapter) => adapter.apply(name, || self.stored(name)),
            None => self.stored(name),
        }
    }

    /// A tensor as the model's own files have it.
    fn stored(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let refused = |e: tch::TchError| {
            CheckpointError::malformed(&self.path, format!("tensor {name}"), "a shape to compute with", e.to_string())
        };
        match &self.weights {
            Source::Gguf { gguf, tensors } => {
                let place = tensors.get(self.place(name)).ok_or_else(|| self.missing(name))?;
                let stored = &gguf.tensors()[place.index];
                let (block, size) = (stored.kind.block(), stored.kind.block_bytes());
                let decode = |bytes: &[u8], out: &mut [f32]| stored.kind.dequantize(bytes, out);
                let tensor = decoded(gguf.data(stored)?, &stored.shape, block, size, decode).map_err(refused)?;
                match place.change {
                    Change::None => Ok(tensor),
                    Change::Interleaved(heads) => split_halves(&tensor, heads).map_err(refused),
                    Change::OneAdded => Ok(tensor - 1.0),
                }
            }
            Source::Folder(weights) => {
                let stored = weights.get(self.place(name)).ok_or_else(|| self.missing(name))?;
                weights.tensor(stored).map_err(refused)
            }
        }
    }

    /// The name under which the files hold a tensor: an output matrix that an adapter has cut loose
    /// from the embedding starts from the embedding.
    fn place<'a>(&self, name: &'a str) -> &'a str {
        if self.untied && name == HEAD { EMBEDDING } else { name }
    }

    /// Reads a tensor that must have the given shape.
    ///
    /// # Errors
    /// If there is no such tensor, or its shape is another one.
    pub fn tensor_of(&self, name: &str, shape: &[i64]) -> Result<Tensor, CheckpointError> {
        let got: Vec<i64> = self.shape(name)?.iter().map(|&n| n as i64).collect();
        if got != shape {
            let (path, name) = (self.path.clone(), name.to_owned());
            return Err(CheckpointError::Shape { path, name, expected: shape.to_vec(), got });
        }
        self.tensor(name)
    }

    /// Merges a PEFT adapter (the folder of its `adapter_config.json`) into the weights as they are read.
    /// The adapter's tokenizer takes the place of the model's where it has one.
    ///
    /// # Errors
    /// If there is an adapter already, or this one is damaged, of an unknown kind or made for another model.
    pub fn with_adapter(mut self, folder: &Path) -> Result<Self, CheckpointError> {
        if self.adapter.is_some() {
            return Err(CheckpointError::unsupported(
                folder,
                "the model has an adapter already; merge it first (relign convert)",
            ));
        }
        let adapter = Adapter::open(folder, &self)?;
        if self.config.tied && (adapter.touches(HEAD) || adapter.touches(EMBEDDING)) {
            self.untied = true;
            self.config.tied = false;
            self.config.raw["tie_word_embeddings"] = Value::Bool(false);
        }
        self.adapter = Some(adapter);
        Ok(self)
    }

    /// The checkpoint's tokenizer and chat template.
    ///
    /// # Errors
    /// If the checkpoint has none, or one that cannot be read.
    pub fn tokenizer(&self) -> Result<Tokenizer, CheckpointError> {
        if let Some(folder) = self.adapter.as_ref().map(Adapter::path)
            && folder.join("tokenizer.json").is_file()
        {
            return Tokenizer::from_folder(folder, &self.config.raw, self.generation.as_ref());
        }
        match &self.weights {
            Source::Gguf { gguf, .. } => Tokenizer::from_gguf(gguf),
            Source::Folder(_) => Tokenizer::from_folder(&self.path, &self.config.raw, self.generation.as_ref()),
        }
    }

    fn missing(&self, name: &str) -> CheckpointError {
        let names = self.names();
        let ending: String = name.split('.').skip(3).collect::<Vec<_>>().join(".");
        let near: Vec<_> =
            names.iter().filter(|n| !ending.is_empty() && n.ends_with(&ending)).take(3).copied().collect();
        let near = if near.is_empty() { String::new() } else { format!(", among them {}", near.join(", ")) };
        CheckpointError::MissingTensor { path: self.path.clone(), name: name.to_owned(), count: names.len(), near }
    }
}

/// Maps a file into memory.
pub(crate) fn map(path: &Path) -> Result<Mmap, CheckpointError> {
    let file = std::fs::File::open(path).map_err(CheckpointError::io(path))?;
    // SAFETY: the mapping is private and read-only. That nobody truncates the file while it is
    // mapped is what Checkpoint's documentation demands; RELIGN itself replaces checkpoint files by
    // renaming and never writes into one in place.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file) };
    map.map_err(CheckpointError::io(path))
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value, CheckpointError> {
    let text = std::fs::read(path).map_err(CheckpointError::io(path))?;
    serde_json::from_slice(&text).map_err(|e| CheckpointError::malformed(path, "the file", "valid JSON", e.to_string()))
}

/// Decodes `bytes`, blocks of `block` elements in `size` bytes, into a new tensor, in parallel.
pub(crate) fn decoded(
    bytes: &[u8],
    shape: &[usize],
    block: usize,
    size: usize,
    decode: impl Fn(&[u8], &mut [f32]) + Sync,
) -> Result<Tensor, tch::TchError> {
    /// Below this many elements a thread costs more than it saves.
    const WORTH_A_THREAD: usize = 1 << 16;
    let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    let tensor = Tensor::f_empty(&shape, (Kind::Float, Device::Cpu))?;
    let len = tensor.numel();
    if len == 0 {
        return Ok(tensor);
    }
    // SAFETY: the tensor was made one line above, is contiguous f32 on the CPU with `len` elements,
    // and nobody else holds it while `out` lives. Every element is written below before it is read.
    #[allow(unsafe_code)]
    let out = unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), len) };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(len.div_ceil(WORTH_A_THREAD)).max(1);
    let blocks = (len / block).div_ceil(threads);
    std::thread::scope(|scope| {
        let mut parts = bytes.chunks(blocks * size).zip(out.chunks_mut(blocks * block));
        let first = parts.next();
        for (bytes, out) in parts {
            let decode = &decode;
            scope.spawn(move || decode(bytes, out));
        }
        if let Some((bytes, out)) = first {
            decode(bytes, out);
        }
    });
    Ok(tensor)
}

/// Puts the rows of a query or key projection from interleaved rotary pairs (x0 y0 x1 y1 ...) into
/// split halves (x0 x1 ... y0 y1 ...), head by head.
fn split_halves(tensor: &Tensor, heads: usize) -> Result<Tensor, tch::TchError> {
    let shape = tensor.size();
    let (heads, rows) = (heads as i64, shape[0]);
    tensor.f_view([heads, rows / heads / 2, 2, -1])?.f_transpose(1, 2)?.f_contiguous()?.f_view(shape.as_slice())
}
