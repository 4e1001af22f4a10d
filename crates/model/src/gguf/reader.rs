//! Reads the structure of a GGUF file (versions 2 and 3, little-endian).
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Counts and lengths in the
//! file are trusted by nobody: each is held against the bytes that remain before anything is
//! allocated for it, and arrays stay in the file until someone asks for them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::GgmlType;
use super::cursor::{Cursor, FLOAT, MIN_ENTRY, MIN_TENSOR, STRING};
use crate::CheckpointError;

/// An open GGUF file: its metadata, and its tensors by their GGUF names.
pub struct Gguf {
    path: PathBuf,
    /// The file, or all parts of a split model in order; metadata lie in the first.
    maps: Vec<Mmap>,
    metadata: BTreeMap<String, GgufValue>,
    tensors: Vec<GgufTensor>,
    by_name: HashMap<String, usize>,
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// Any unsigned integer type.
    Unsigned(u64),
    /// Any signed integer type.
    Signed(i64),
    /// A float. 32-bit floats carry the shortest decimal that names them, so 1e-5 reads as 1e-5.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array: where its elements lie in the file. Read it with [`Gguf::strings`], [`Gguf::integers`] or [`Gguf::floats`].
    Array {
        /// The elements' GGUF type code.
        kind: u32,
        /// How many elements there are.
        len: usize,
        /// Their bytes within the file.
        bytes: Range<usize>,
    },
}

/// Where a tensor lies, and how it is coded.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTensor {
    /// The GGUF name, for example `blk.0.attn_q.weight`.
    pub name: String,
    /// The coding of its numbers.
    pub kind: GgmlType,
    /// The shape, slowest dimension first (the reverse of GGUF's order).
    pub shape: Vec<usize>,
    /// Its bytes within the file.
    pub bytes: Range<usize>,
    /// Which of a split model's files it lies in, from 0.
    pub part: usize,
}

impl GgufTensor {
    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// In how many files a split model lies.
const SPLIT_COUNT: &str = "split.count";

impl Gguf {
    /// Opens and checks a file: structure, names, every tensor's extent. Tensor data is not read.
    /// Of a model that was split into several files, `path` names the first
    /// (`NAME-00001-of-00003.gguf`) and the others lie beside it.
    ///
    /// # Errors
    /// If the file cannot be opened, is no GGUF file, is truncated or contradicts itself, or if a part
    /// of a split model is missing.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_all(path, true)
    }

    /// As [`open`](Self::open), but of a file whose tensor data may be cut off: only what is asked for
    /// must be there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_header(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_all(path, false)
    }

    fn open_all(path: &Path, whole: bool) -> Result<Self, CheckpointError> {
        let mut first = Self::read(path, whole)?;
        if let Some(count @ 2..) = first.unsigned(SPLIT_COUNT)? {
            first.add_parts(count, whole)?;
        }
        Ok(first)
    }

    fn add_parts(&mut self, count: u64, whole: bool) -> Result<(), CheckpointError> {
        let path = self.path.clone();
        let bad = |thing: &str, expected: String, got: String| CheckpointError::malformed(&path, thing, expected, got);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = self.unsigned("split.no")?.unwrap_or(0);
        let stem = name.strip_suffix(&format!("-00001-of-{count:05}.gguf")).filter(|_| number == 0);
        let Some(stem) = stem else {
            let expected = format!("the first of {count} parts, called NAME-00001-of-{count:05}.gguf");
            return Err(bad("split model", expected, format!("part {} called {name}", number.saturating_add(1))));
        };
        for part in 1..count {
            let file = path.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", part + 1));
            if !file.is_file() {
                let thing = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let hint = format!("the model was split into {count} files");
                return Err(CheckpointError::MissingFile { path: path.clone(), thing, hint });
            }
            let other = Self::read(&file, whole)?;
            if other.unsigned("split.no")? != Some(part) || other.unsigned(SPLIT_COUNT)? != Some(count) {
                let got = format!("{:?} of {:?}", other.unsigned("split.no")?, other.unsigned(SPLIT_COUNT)?);
                return Err(CheckpointError::malformed(&file, "split.no", format!("{part} of {count}"), got));
            }
            for mut tensor in other.tensors {
                tensor.part = self.maps.len();
                if self.by_name.insert(tensor.name.clone(), self.tensors.len()).is_some() {
                    let got = format!("{} twice", tensor.name);
                    return Err(CheckpointError::malformed(&file, "tensors", "names unique among the parts", got));
                }
                self.tensors.push(tensor);
            }
            self.maps.extend(other.maps);
        }
        if let Some(total) = self.unsigned("split.tensors.count")?
            && total != self.tensors.len() as u64
        {
            return Err(bad(
                "split.tensors.count",
                format!("{total} tensors in all parts"),
                self.tensors.len().to_string(),
            ));
        }
        Ok(())
    }

    fn read(path: &Path, whole: bool) -> Result<Self, CheckpointError> {
        let map = crate::checkpoint::map(path)?;
        let bad = |thing: &str, expected: &str, got: String| CheckpointError::malformed(path, thing, expected, got);
        let mut cursor = Cursor { path, bytes: &map, at: 0 };
        let magic = cursor.take(4, "magic")?;
        if magic != b"GGUF" {
            return Err(bad("magic", "GGUF", format!("{magic:02x?}")));
        }
        let version = cursor.u32("version")?;
        if version & 0xffff == 0 && version != 0 {
            return Err(bad("version", "a little-endian file", format!("{version:#x}, a big-endian one")));
        }
        if !(2..=3).contains(&version) {
            return Err(bad("version", "2 or 3", version.to_string()));
        }
        let tensor_count = cursor.count(MIN_TENSOR, "tensor count")?;
        let entry_count = cursor.count(MIN_ENTRY, "metadata count")?;

        let mut metadata = BTreeMap::new();
        for index in 0..entry_count {
            let key = cursor.string(&format!("key of metadata entry {index}"))?;
            let kind = cursor.u32(&key)?;
            let value = cursor.value(kind, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(bad("metadata", "unique keys", format!("{key} twice")));
            }
        }

        let mut tensors = Vec::with_capacity(tensor_count);
        let mut offsets = Vec::with_capacity(tensor_count);
        for index in 0..tensor_count {
            let (tensor, offset) = cursor.tensor(index)?;
            tensors.push(tensor);
            offsets.push(offset);
        }

        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(GgufValue::Unsigned(n)) if n.is_power_of_two() && *n <= 1 << 20 => *n as usize,
            Some(other) => return Err(bad("general.alignment", "a power of two up to 2^20", format!("{other:?}"))),
        };
        let start = cursor.at.next_multiple_of(alignment);
        let mut by_name = HashMap::with_capacity(tensor_count);
        for (index, (tensor, offset)) in tensors.iter_mut().zip(offsets).enumerate() {
            let end = usize::try_from(offset)
                .ok()
                .and_then(|o| start.checked_add(o))
                .and_then(|from| Some((from, from.checked_add(tensor.bytes.end)?)));
            match end {
                Some((from, to)) if to <= map.len() || !whole => tensor.bytes = from..to,
                _ => return Err(cut_off(path, tensor, tensor.bytes.end, map.len())),
            }
            if !tensor.bytes.start.is_multiple_of(alignment) {
                let name = &tensor.name;
                return Err(bad(&format!("tensor {name}"), &format!("alignment to {alignment}"), offset.to_string()));
            }
            if by_name.insert(tensor.name.clone(), index).is_some() {
                return Err(bad("tensors", "unique names", format!("{} twice", tensor.name)));
            }
        }
        Ok(Self { path: path.to_owned(), maps: vec![map], metadata, tensors, by_name })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors, in the order of the file.
    #[must_use]
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// A tensor by its GGUF name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.by_name.get(name).map(|&index| &self.tensors[index])
    }

    /// A tensor's bytes, as coded.
    ///
    /// # Errors
    /// If the file ends before them.
    pub fn data(&self, tensor: &GgufTensor) -> Result<&[u8], CheckpointError> {
        let missing = || cut_off(&self.path, tensor, tensor.bytes.len(), self.maps[tensor.part].len());
        self.maps[tensor.part].get(tensor.bytes.clone()).ok_or_else(missing)
    }

    /// Gives back the memory that elements of a tensor were read into.
    pub(crate) fn let_go(&self, tensor: &GgufTensor, elements: Range<usize>) {
        let (block, size) = (tensor.kind.block(), tensor.kind.block_bytes());
        let start = tensor.bytes.start;
        let bytes = start + elements.start / block * size..start + elements.end.div_ceil(block) * size;
        crate::checkpoint::let_go(&self.maps[tensor.part], bytes);
    }

    /// All metadata by key.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, GgufValue> {
        &self.metadata
    }

    fn wrong(&self, key: &str, expected: &str, got: Option<&GgufValue>) -> CheckpointError {
        let got = match got {
            None => "nothing".to_owned(),
            Some(GgufValue::Array { kind, len, .. }) => format!("an array of {len} elements of type {kind}"),
            Some(value) => format!("{value:?}"),
        };
        CheckpointError::malformed(&self.path, format!("metadata {key}"), expected, got)
    }

    /// A string; `None` where the key is absent.
    ///
    /// # Errors
    /// If the value is no string.
    pub fn text(&self, key: &str) -> Result<Option<&str>, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(GgufValue::Text(text)) => Ok(Some(text)),
            other => Err(self.wrong(key, "a string", other)),
        }
    }

    /// A number of any type that is a whole number of at least 0; `None` where the key is absent.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(GgufValue::Unsigned(n)) => Ok(Some(*n)),
            Some(GgufValue::Signed(n)) if *n >= 0 => Ok(Some(n.unsigned_abs())),
            other => Err(self.wrong(key, "a whole number of at least 0", other)),
        }
    }

    /// A number that must be there.
    ///
    /// # Errors
    /// If the key is absent or its value something else.
    pub fn required(&self, key: &str) -> Result<u64, CheckpointError> {
        self.unsigned(key)?.ok_or_else(|| self.wrong(key, "a whole number of at least 0", None))
    }

    /// A float; `None` where the key is absent.
    ///
    /// # Errors
    /// If the value is no number.
    pub fn float(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(GgufValue::Float(x)) => Ok(Some(*x)),
            Some(GgufValue::Unsigned(n)) => Ok(Some(*n as f64)),
            Some(GgufValue::Signed(n)) => Ok(Some(*n as f64)),
            other => Err(self.wrong(key, "a number", other)),
        }
    }

    /// A truth value; `None` where the key is absent.
    ///
    /// # Errors
    /// If the value is none.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(GgufValue::Bool(b)) => Ok(Some(*b)),
            other => Err(self.wrong(key, "true or false", other)),
        }
    }

    /// An array of strings; `None` where the key is absent.
    ///
    /// # Errors
    /// If the value is something else, or a string is not UTF-8.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>, CheckpointError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let GgufValue::Array { kind: STRING, len, bytes } = value else {
            return Err(self.wrong(key, "an array of strings", Some(value)));
        };
        let mut cursor = Cursor { path: &self.path, bytes: &self.maps[0][..bytes.end], at: bytes.start };
        (0..*len).map(|_| cursor.string(key)).collect::<Result<_, _>>().map(Some)
    }

    /// An array of floats; `None` where the key is absent.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, CheckpointError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let GgufValue::Array { kind: FLOAT, bytes, .. } = value else {
            return Err(self.wrong(key, "an array of 32-bit floats", Some(value)));
        };
        let (numbers, _) = self.maps[0][bytes.clone()].as_chunks::<4>();
        Ok(Some(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()))
    }

    /// An array of whole numbers; `None` where the key is absent.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, CheckpointError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let GgufValue::Array { kind, len, bytes } = value else {
            return Err(self.wrong(key, "an array of whole numbers", Some(value)));
        };
        let mut cursor = Cursor { path: &self.path, bytes: &self.maps[0][..bytes.end], at: bytes.start };
        (0..*len)
            .map(|_| match cursor.value(*kind, key)? {
                GgufValue::Unsigned(n) => {
                    i64::try_from(n).map_err(|_| self.wrong(key, "numbers below 2^63", Some(&GgufValue::Unsigned(n))))
                }
                GgufValue::Signed(n) => Ok(n),
                other => Err(self.wrong(key, "an array of whole numbers", Some(&other))),
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

fn cut_off(path: &Path, tensor: &GgufTensor, bytes: usize, file: usize) -> CheckpointError {
    let expected = format!("its {bytes} bytes within the file's {file}");
    let got = "a place beyond the end; the file is truncated or damaged";
    CheckpointError::malformed(path, format!("tensor {}", tensor.name), expected, got)
}
