//! Opens a model: a GGUF file or a Hugging Face folder, with one face for both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use relign_core::files;

use memmap2::Mmap;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::gguf::Gguf;
use crate::gguf::names::{self, Change, Place};
use crate::kernels::element::view_mut;
use crate::kernels::parallel::Shared;
use crate::peft::{self, Adapter};
use crate::source::{Rows, Source, Take, read_rows};
use crate::{CheckpointError, Config, GgmlType, LoadError, Tokenizer, safetensors};

/// A model at rest: its configuration, its weights by Hugging Face name, its tokenizer.
///
/// Opening checks structure and extents and reads no weights; files are memory-mapped, so a file
/// must not be cut short while its checkpoint is open.
pub struct Checkpoint {
    path: PathBuf,
    config: Config,
    generation: Option<Value>,
    weights: Weights,
    adapter: Option<Adapter>,
    /// The output matrix is the embedding in the files, but no longer with the adapter.
    untied: bool,
}

/// The Hugging Face names of the two matrices that may be one.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(crate) const HEAD: &str = "lm_head.weight";

enum Weights {
    Gguf { gguf: Gguf, tensors: BTreeMap<String, Place> },
    Folder(safetensors::Weights),
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
            (read_json(&file)?, generation, Weights::Folder(safetensors::Weights::open(path)?.text_part()))
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
        Self::assemble(&path, &config, None, Weights::Gguf { gguf, tensors })
    }

    fn assemble(
        path: &Path,
        json: &Value,
        generation: Option<Value>,
        weights: Weights,
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

    /// The same, read for sequences of up to `tokens` tokens; see [`Config::for_context`].
    ///
    /// # Errors
    /// If the model is made for shorter ones.
    pub fn for_context(mut self, tokens: usize) -> Result<Self, CheckpointError> {
        let unsupported = |why: String| CheckpointError::unsupported(&self.path, why);
        let config = Config::for_context(&self.config.raw, tokens).map_err(|e| unsupported(e.to_string()))?;
        if tokens > config.context {
            let most = config.context;
            return Err(unsupported(format!("context: expected at most the model's {most} tokens, got {tokens}")));
        }
        self.config = config;
        Ok(self)
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
            Weights::Gguf { tensors, .. } => tensors.keys().map(String::as_str).collect(),
            Weights::Folder(weights) => weights.names().collect(),
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
        self.shape(name).is_ok() || self.unread(name).is_some()
    }

    /// Why a tensor that is there cannot be read.
    fn unread(&self, name: &str) -> Option<&str> {
        match &self.weights {
            Weights::Gguf { .. } => None,
            Weights::Folder(weights) => weights.unread(self.place(name)),
        }
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
            Weights::Gguf { gguf, tensors } => {
                tensors.get(self.place(name)).map(|place| &gguf.tensors()[place.index].shape)
            }
            Weights::Folder(weights) => weights.get(self.place(name)).map(|stored| &stored.shape),
        };
        stored.cloned().ok_or_else(|| self.missing(name))
    }

    /// The coding of most of the weights.
    #[must_use]
    pub fn stored_kind(&self) -> GgmlType {
        match &self.weights {
            Weights::Gguf { gguf, .. } => {
                gguf.tensors().iter().max_by_key(|t| t.len()).map_or(GgmlType::F32, |tensor| tensor.kind)
            }
            Weights::Folder(weights) => weights.kind(),
        }
    }

    /// Reads a tensor by its Hugging Face name: f32 on the CPU, decoded on all cores, with the adapter
    /// merged into it where there is one.
    ///
    /// # Errors
    /// If there is no such tensor, or the tensor library refuses its shape.
    pub fn tensor(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let bad = |expected: &str, got: String| {
            CheckpointError::malformed(&self.path, format!("tensor {name}"), expected, got)
        };
        let shape = self.shape(name)?;
        self.is_there(name)?;
        let size: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let tensor = Tensor::f_empty(&size, (Kind::Float, Device::Cpu))
            .map_err(|e| bad("a shape to compute with", e.to_string()))?;
        let width: usize = shape.iter().skip(1).product();
        let out = Shared::new(view_mut::<f32>(&tensor));
        let take = |_: usize, first: usize, numbers: &[f32]| {
            // SAFETY: the tensor is new, and every row is handed out once.
            #[allow(unsafe_code)]
            let out = unsafe { out.slice(first * width..first * width + numbers.len()) };
            out.copy_from_slice(numbers);
        };
        match read_rows(self, &[name], &take) {
            Ok(()) => Ok(tensor),
            Err(LoadError::Checkpoint(error)) => Err(error),
            Err(other) => Err(bad("its values", other.to_string())),
        }
    }

    /// Sees to it that a tensor's bytes are in the files: of a header alone they are not.
    fn is_there(&self, name: &str) -> Result<(), CheckpointError> {
        if let Weights::Gguf { gguf, tensors } = &self.weights
            && let Some(place) = tensors.get(self.place(name))
        {
            gguf.data(&gguf.tensors()[place.index])?;
        }
        Ok(())
    }

    /// Rows of a tensor as the model's own files have it, `width` numbers each.
    fn stored(&self, name: &str, first: usize, width: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        let place = self.place(name);
        match &self.weights {
            Weights::Gguf { gguf, tensors } => {
                let place = tensors.get(place).ok_or_else(|| self.missing(name))?;
                let tensor = &gguf.tensors()[place.index];
                let data = gguf.data(tensor)?;
                match place.change {
                    Change::None => tensor.kind.decode_from(data, first * width, out),
                    Change::OneAdded => {
                        tensor.kind.decode_from(data, first * width, out);
                        out.iter_mut().for_each(|number| *number -= 1.0);
                    }
                    Change::Interleaved(heads) => {
                        // Rows x0 y0 x1 y1 ... of each head become x0 x1 ... y0 y1 ...
                        let rows = tensor.shape.first().copied().unwrap_or(1) / heads;
                        for (row, out) in (first..).zip(out.chunks_exact_mut(width)) {
                            let (head, within) = (row / rows, row % rows);
                            let from = head * rows + 2 * (within % (rows / 2)) + within / (rows / 2);
                            tensor.kind.decode_from(data, from * width, out);
                        }
                    }
                }
                gguf.let_go(tensor, first * width..first * width + out.len());
                Ok(())
            }
            Weights::Folder(weights) => {
                let stored = weights.get(place).ok_or_else(|| self.missing(name))?;
                weights.decode_from(stored, first * width, out);
                Ok(())
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
        if let Some(vocab) = adapter.vocab(&self)? {
            self.config.vocab = vocab;
            self.config.raw["vocab_size"] = Value::from(vocab);
        }
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
            Weights::Gguf { gguf, .. } => Tokenizer::from_gguf(gguf),
            Weights::Folder(_) => Tokenizer::from_folder(&self.path, &self.config.raw, self.generation.as_ref()),
        }
    }

    fn missing(&self, name: &str) -> CheckpointError {
        if let Some(why) = self.unread(name) {
            return CheckpointError::unsupported(&self.path, format!("tensor {name} in {why}"));
        }
        let names = self.names();
        let ending: String = name.split('.').skip(3).collect::<Vec<_>>().join(".");
        let near: Vec<_> =
            names.iter().filter(|n| !ending.is_empty() && n.ends_with(&ending)).take(3).copied().collect();
        let near = if near.is_empty() { String::new() } else { format!(", among them {}", near.join(", ")) };
        CheckpointError::MissingTensor { path: self.path.clone(), name: name.to_owned(), count: names.len(), near }
    }
}

impl Rows for Checkpoint {
    fn shape(&self, name: &str) -> Result<Vec<usize>, LoadError> {
        self.is_there(name)?;
        Ok(Self::shape(self, name)?)
    }

    fn rows(&self, name: &str, first: usize, out: &mut [f32]) -> Result<(), LoadError> {
        let width: usize = Self::shape(self, name)?.iter().skip(1).product();
        let stored = |out: &mut [f32]| self.stored(name, first, width, out);
        match &self.adapter {
            Some(adapter) => adapter.rows(name, first, width, out, stored)?,
            None => stored(out)?,
        }
        Ok(())
    }
}

impl Source for Checkpoint {
    fn shape(&self, name: &str) -> Result<Vec<usize>, LoadError> {
        Rows::shape(self, name)
    }

    fn read(&self, names: &[&str], take: Take<'_>) -> Result<(), LoadError> {
        read_rows(self, names, take)
    }
}

/// Maps a file into memory.
pub(crate) fn map(path: &Path) -> Result<Mmap, CheckpointError> {
    let file = files::open(path).map_err(CheckpointError::io(path))?;
    // SAFETY: the mapping is private and read-only. That nobody truncates the file while it is
    // mapped is what Checkpoint's documentation demands; RELIGN itself replaces checkpoint files by
    // renaming and never writes into one in place.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file) };
    map.map_err(CheckpointError::io(path))
}

/// Gives back the memory that bytes of a file were read into; whoever reads them again gets them from the file. A
/// model is read once, and its file may be larger than the memory that is left beside its weights.
pub(crate) fn let_go(map: &Mmap, bytes: std::ops::Range<usize>) {
    // Of less than this, the pages are mostly the neighbours'.
    if bytes.len() < 1 << 16 || bytes.end > map.len() {
        return;
    }
    // SAFETY: the mapping is read-only, so that there is nothing in its pages but what the file holds.
    #[cfg(unix)]
    #[allow(unsafe_code)]
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value, CheckpointError> {
    let text = files::read(path).map_err(CheckpointError::io(path))?;
    serde_json::from_slice(&text).map_err(|e| CheckpointError::malformed(path, "the file", "valid JSON", e.to_string()))
}
