//! The weights of a Hugging Face folder: one safetensors file, or shards with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::{CheckpointError, GgmlType};

/// The name of an unsharded weights file.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The name of the list of shards.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The open weights files of a folder.
pub(crate) struct Weights {
    shards: Vec<Mmap>,
    tensors: BTreeMap<String, Stored>,
    /// Tensors of types that are no weights, such as counters: an error only where one is wanted.
    unread: BTreeMap<String, String>,
}

/// Decodes elements from bytes.
pub(crate) type Decode = fn(&[u8], &mut [f32]);

/// Where a tensor lies.
pub(crate) struct Stored {
    shard: usize,
    dtype: Dtype,
    /// The shape, slowest dimension first.
    pub(crate) shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Weights {
    /// Opens the folder's weights and checks that every tensor's bytes are there.
    pub(crate) fn open(folder: &Path) -> Result<Self, CheckpointError> {
        Self::of(shard_files(folder)?)
    }

    /// Opens one file.
    pub(crate) fn open_file(file: &Path) -> Result<Self, CheckpointError> {
        Self::of(vec![file.to_owned()])
    }

    /// What an index promises and no file holds is missed where it is wanted, as every tensor is.
    fn of(files: Vec<PathBuf>) -> Result<Self, CheckpointError> {
        let mut weights = Self { shards: Vec::new(), tensors: BTreeMap::new(), unread: BTreeMap::new() };
        for file in files {
            weights.add(&file)?;
        }
        Ok(weights)
    }

    /// Of a model of several parts, the text part's tensors under the names they have in a model of text.
    pub(crate) fn text_part(mut self) -> Self {
        let of_part = |name: &str| {
            let moved = name.strip_prefix("model.language_model.").map(|rest| format!("model.{rest}"));
            moved.or_else(|| name.strip_prefix("language_model.").map(str::to_owned))
        };
        if self.tensors.keys().any(|name| of_part(name).is_some()) {
            let all = std::mem::take(&mut self.tensors).into_iter();
            let part = all.filter_map(|(name, stored)| {
                let name = of_part(&name).or_else(|| (name == "lm_head.weight").then_some(name))?;
                Some((name, stored))
            });
            self.tensors = part.collect();
            let unread = std::mem::take(&mut self.unread).into_iter();
            self.unread = unread.filter_map(|(name, what)| Some((of_part(&name)?, what))).collect();
        }
        self
    }

    fn add(&mut self, file: &Path) -> Result<(), CheckpointError> {
        let map = crate::checkpoint::map(file)?;
        let shard = self.shards.len();
        let size = map.len();
        // read_metadata checks the header, that extents abut, and that the file ends where they do.
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| {
            let got = format!("{e} in a file of {size} bytes; it is truncated or damaged");
            CheckpointError::malformed(file, "safetensors", "a complete file", got)
        })?;
        for (name, info) in metadata.tensors() {
            let start = 8 + header;
            let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
            if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                let what = format!("{}: expected F32, F16 or BF16, got {:?}", file.display(), info.dtype);
                self.unread.insert(name.clone(), what);
                continue;
            }
            let stored = Stored { shard, dtype: info.dtype, shape: info.shape.clone(), bytes };
            if let Some(other) = self.tensors.insert(name.clone(), stored) {
                // A shard that repeats a tensor is harmless as long as it says the same.
                let same = (other.dtype, &other.shape) == (info.dtype, &info.shape)
                    && self.shards.get(other.shard).unwrap_or(&map)[other.bytes.clone()]
                        == map[start + info.data_offsets.0..start + info.data_offsets.1];
                if !same {
                    let got = format!("{name} with two contents");
                    return Err(CheckpointError::malformed(file, "tensors", "names unique among shards", got));
                }
                self.tensors.insert(name.clone(), other);
            }
        }
        self.shards.push(map);
        Ok(())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// Why a tensor that is there cannot be read.
    pub(crate) fn unread(&self, name: &str) -> Option<&str> {
        self.unread.get(name).map(String::as_str)
    }

    /// The type of most of the weights.
    pub(crate) fn kind(&self) -> GgmlType {
        let size =
            |dtype: Dtype| self.tensors.values().filter(|t| t.dtype == dtype).map(|t| t.bytes.len()).sum::<usize>();
        let kinds = [(Dtype::F32, GgmlType::F32), (Dtype::F16, GgmlType::F16), (Dtype::BF16, GgmlType::Bf16)];
        kinds.into_iter().max_by_key(|(dtype, _)| size(*dtype)).map_or(GgmlType::F32, |(_, kind)| kind)
    }

    /// Decodes elements of a tensor, from element `first` on, into `out`.
    pub(crate) fn decode_from(&self, stored: &Stored, first: usize, out: &mut [f32]) {
        let (bytes, size, decode) = self.read(stored);
        let part = first * size..(first + out.len()) * size;
        decode(&bytes[part.clone()], out);
        let start = stored.bytes.start;
        crate::checkpoint::let_go(&self.shards[stored.shard], start + part.start..start + part.end);
    }

    /// The coded bytes of a tensor, the bytes of one element, and the function that decodes them.
    pub(crate) fn read(&self, stored: &Stored) -> (&[u8], usize, Decode) {
        let bytes = &self.shards[stored.shard][stored.bytes.clone()];
        match stored.dtype {
            Dtype::F16 => (bytes, 2, |b, o| decode(b, o, |b| f16::from_le_bytes(b).to_f32())),
            Dtype::BF16 => (bytes, 2, |b, o| decode(b, o, |b| bf16::from_le_bytes(b).to_f32())),
            _ => (bytes, 4, |b, o| decode(b, o, f32::from_le_bytes)),
        }
    }
}

fn decode<const N: usize>(bytes: &[u8], out: &mut [f32], f: impl Fn([u8; N]) -> f32) {
    for (bytes, out) in bytes.as_chunks::<N>().0.iter().zip(out) {
        *out = f(*bytes);
    }
}

/// The weights files of a folder. A single one counts before shards, as in transformers: an index beside it is a
/// leftover.
fn shard_files(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let single = folder.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = folder.join(INDEX);
    if index.exists() {
        let json = crate::checkpoint::read_json(&index)?;
        let bad = |got: &str| CheckpointError::malformed(&index, "weight_map", "an object of file names", got);
        let map = json.get("weight_map").and_then(Value::as_object).ok_or_else(|| bad("none"))?;
        let mut files: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (name, file) in map {
            let file = file.as_str().ok_or_else(|| bad(&file.to_string()))?;
            // An index must not reach outside its folder.
            if Path::new(file).components().count() != 1 || file == ".." {
                return Err(bad(&format!("{file:?}, which is no plain file name")));
            }
            files.entry(file).or_default().insert(name.clone());
        }
        if files.is_empty() {
            return Err(bad("an empty one"));
        }
        if let Some((file, names)) = files.iter().find(|(file, _)| !folder.join(file).is_file()) {
            return Err(CheckpointError::MissingFile {
                path: folder.to_owned(),
                thing: format!("shard {file}"),
                hint: format!("{INDEX} places {} of the model's {} tensors in it", names.len(), map.len()),
            });
        }
        return Ok(files.into_keys().map(|file| folder.join(file)).collect());
    }
    if let Some(file) = pickled(folder) {
        let what = format!(
            "holds {file} but no {SINGLE}; pickled weights are refused because reading them runs code from the \
             file. Convert them where you trust them: save_pretrained(..., safe_serialization=True)"
        );
        return Err(CheckpointError::unsupported(folder, what));
    }
    Err(CheckpointError::MissingFile {
        path: folder.to_owned(),
        thing: SINGLE.to_owned(),
        hint: format!("a model folder holds {SINGLE}, or {INDEX} and its shards"),
    })
}

fn pickled(folder: &Path) -> Option<String> {
    let mut names: Vec<_> =
        folder.read_dir().ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names.into_iter().find(|name| {
        let pickle = [".bin", ".pt", ".pth", ".bin.index.json"].iter().any(|end| name.ends_with(end));
        pickle && (name.starts_with("pytorch_model") || name.starts_with("consolidated") || name.starts_with("model"))
    })
}
