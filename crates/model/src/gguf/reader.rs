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
use crate::CheckpointError;

/// An open GGUF file: its metadata, and its tensors by their GGUF names.
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
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

/// The smallest encodings of a metadata entry (empty key, type, one byte) and of a tensor's entry
/// (empty name, no dimensions, type, offset): they bound the counts that a file may claim.
const MIN_ENTRY: usize = 8 + 4 + 1;
const MIN_TENSOR: usize = 8 + 4 + 4 + 8;
const MAX_DIMS: u32 = 4;
const MAX_DEPTH: u32 = 4;

const FLOAT: u32 = 6;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// The bytes of a scalar metadata type; `None` for strings, arrays and unknown codes.
const fn scalar_size(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | BOOL => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

impl Gguf {
    /// Opens and checks a file: structure, names, every tensor's extent. Tensor data is not read.
    ///
    /// # Errors
    /// If the file cannot be opened, is no GGUF file, is truncated or contradicts itself.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::read(path, true)
    }

    /// As [`open`](Self::open), but of a file whose tensor data may be cut off: only what is asked for
    /// must be there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_header(path: &Path) -> Result<Self, CheckpointError> {
        Self::read(path, false)
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
        Ok(Self { path: path.to_owned(), map, metadata, tensors, by_name })
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
        let missing = || cut_off(&self.path, tensor, tensor.bytes.len(), self.map.len());
        self.map.get(tensor.bytes.clone()).ok_or_else(missing)
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
        let mut cursor = Cursor { path: &self.path, bytes: &self.map[..bytes.end], at: bytes.start };
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
        let (numbers, _) = self.map[bytes.clone()].as_chunks::<4>();
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
        let mut cursor = Cursor { path: &self.path, bytes: &self.map[..bytes.end], at: bytes.start };
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

struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn bad(&self, thing: &str, expected: impl Into<String>, got: impl Into<String>) -> CheckpointError {
        CheckpointError::malformed(self.path, thing, expected, got)
    }

    fn take(&mut self, len: usize, thing: &str) -> Result<&'a [u8], CheckpointError> {
        let left = self.bytes.len() - self.at;
        if len > left {
            let at = self.at;
            return Err(self.bad(thing, format!("{len} bytes at {at}"), format!("{left}; the file is truncated")));
        }
        self.at += len;
        Ok(&self.bytes[self.at - len..self.at])
    }

    fn array<const N: usize>(&mut self, thing: &str) -> Result<[u8; N], CheckpointError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, thing)?);
        Ok(out)
    }

    fn u32(&mut self, thing: &str) -> Result<u32, CheckpointError> {
        self.array(thing).map(u32::from_le_bytes)
    }

    fn u64(&mut self, thing: &str) -> Result<u64, CheckpointError> {
        self.array(thing).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `size` bytes each, all of them still to come.
    fn count(&mut self, size: usize, thing: &str) -> Result<usize, CheckpointError> {
        let count = self.u64(thing)?;
        let most = (self.bytes.len() - self.at) / size;
        match usize::try_from(count) {
            Ok(n) if n <= most => Ok(n),
            _ => Err(self.bad(thing, format!("at most {most}, what the file has room for"), count.to_string())),
        }
    }

    fn string(&mut self, thing: &str) -> Result<String, CheckpointError> {
        let len = self.count(1, thing)?;
        let bytes = self.take(len, thing)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|e| self.bad(thing, "UTF-8", format!("{e} in {:02x?}", &bytes[..bytes.len().min(32)])))
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<GgufValue, CheckpointError> {
        Ok(match kind {
            0 => GgufValue::Unsigned(self.array::<1>(key)?[0].into()),
            1 => GgufValue::Signed(i8::from_le_bytes(self.array(key)?).into()),
            2 => GgufValue::Unsigned(u16::from_le_bytes(self.array(key)?).into()),
            3 => GgufValue::Signed(i16::from_le_bytes(self.array(key)?).into()),
            4 => GgufValue::Unsigned(self.u32(key)?.into()),
            5 => GgufValue::Signed(i32::from_le_bytes(self.array(key)?).into()),
            FLOAT => {
                let x = f32::from_le_bytes(self.array(key)?);
                GgufValue::Float(x.to_string().parse().unwrap_or_else(|_| f64::from(x)))
            }
            BOOL => match self.array::<1>(key)?[0] {
                0 => GgufValue::Bool(false),
                1 => GgufValue::Bool(true),
                other => return Err(self.bad(key, "0 or 1 for a truth value", other.to_string())),
            },
            STRING => GgufValue::Text(self.string(key)?),
            ARRAY => self.skip_array(key, 0)?,
            10 => GgufValue::Unsigned(self.u64(key)?),
            11 => GgufValue::Signed(i64::from_le_bytes(self.array(key)?)),
            12 => GgufValue::Float(f64::from_le_bytes(self.array(key)?)),
            other => return Err(self.bad(key, "a value type of 0 to 12", other.to_string())),
        })
    }

    fn skip_array(&mut self, key: &str, depth: u32) -> Result<GgufValue, CheckpointError> {
        if depth == MAX_DEPTH {
            return Err(self.bad(key, format!("arrays nested at most {MAX_DEPTH} deep"), "more"));
        }
        let kind = self.u32(key)?;
        let least = match (scalar_size(kind), kind) {
            (Some(size), _) => size,
            (None, STRING) => 8,
            (None, ARRAY) => 12,
            _ => return Err(self.bad(key, "an element type of 0 to 12", kind.to_string())),
        };
        let len = self.count(least, key)?;
        let start = self.at;
        if scalar_size(kind).is_some() {
            self.take(len * least, key)?;
        } else {
            for _ in 0..len {
                if kind == STRING {
                    let len = self.count(1, key)?;
                    self.take(len, key)?;
                } else {
                    self.skip_array(key, depth + 1)?;
                }
            }
        }
        Ok(GgufValue::Array { kind, len, bytes: start..self.at })
    }

    /// The `index`-th tensor's entry, its `bytes` being `0..size` still, and its offset.
    fn tensor(&mut self, index: usize) -> Result<(GgufTensor, u64), CheckpointError> {
        let name = self.string(&format!("name of tensor {index}"))?;
        let thing = format!("tensor {name}");
        let dims = self.u32(&thing)?;
        if dims > MAX_DIMS {
            return Err(self.bad(&thing, format!("at most {MAX_DIMS} dimensions"), dims.to_string()));
        }
        let mut shape = Vec::with_capacity(dims as usize);
        let mut len = Some(1_usize);
        for _ in 0..dims {
            let dim = self.u64(&thing)?;
            let dim = usize::try_from(dim)
                .map_err(|_| self.bad(&thing, "a dimension that fits in memory", dim.to_string()))?;
            len = len.and_then(|n| n.checked_mul(dim));
            shape.push(dim);
        }
        let code = self.u32(&thing)?;
        let kind = GgmlType::from_code(code).ok_or_else(|| {
            let known: Vec<_> = GgmlType::ALL.iter().map(|k| k.name()).collect();
            let got = super::dequant::name_of(code);
            self.bad(&thing, format!("one of the types {}", known.join(", ")), format!("type {code}{got}"))
        })?;
        let row = shape.first().copied().unwrap_or(1);
        if !row.is_multiple_of(kind.block()) {
            return Err(self.bad(
                &thing,
                format!("rows of a multiple of {} elements for {}", kind.block(), kind.name()),
                row.to_string(),
            ));
        }
        let size = len.and_then(|n| (n / kind.block()).checked_mul(kind.block_bytes()));
        let size = size.ok_or_else(|| self.bad(&thing, "a size that fits in memory", format!("shape {shape:?}")))?;
        let offset = self.u64(&thing)?;
        shape.reverse();
        Ok((GgufTensor { name, kind, shape, bytes: 0..size }, offset))
    }
}
