//! Reads the pieces of a GGUF file, each held against the bytes that are left.

use std::path::Path;

use super::dequant::name_of;
use super::{GgmlType, GgufTensor, GgufValue};
use crate::CheckpointError;

/// The smallest encodings of a metadata entry (empty key, type, one byte) and of a tensor's entry
/// (empty name, no dimensions, type, offset): they bound the counts that a file may claim.
pub(super) const MIN_ENTRY: usize = 8 + 4 + 1;
pub(super) const MIN_TENSOR: usize = 8 + 4 + 4 + 8;
const MAX_DIMS: u32 = 4;
const MAX_DEPTH: u32 = 4;

pub(super) const FLOAT: u32 = 6;
const BOOL: u32 = 7;
pub(super) const STRING: u32 = 8;
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

/// A place in a file, and how to go on from it.
pub(super) struct Cursor<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    fn bad(&self, thing: &str, expected: impl Into<String>, got: impl Into<String>) -> CheckpointError {
        CheckpointError::malformed(self.path, thing, expected, got)
    }

    pub(super) fn take(&mut self, len: usize, thing: &str) -> Result<&'a [u8], CheckpointError> {
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

    pub(super) fn u32(&mut self, thing: &str) -> Result<u32, CheckpointError> {
        self.array(thing).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, thing: &str) -> Result<u64, CheckpointError> {
        self.array(thing).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `size` bytes each, all of them still to come.
    pub(super) fn count(&mut self, size: usize, thing: &str) -> Result<usize, CheckpointError> {
        let count = self.u64(thing)?;
        let most = (self.bytes.len() - self.at) / size;
        match usize::try_from(count) {
            Ok(n) if n <= most => Ok(n),
            _ => Err(self.bad(thing, format!("at most {most}, what the file has room for"), count.to_string())),
        }
    }

    pub(super) fn string(&mut self, thing: &str) -> Result<String, CheckpointError> {
        let len = self.count(1, thing)?;
        let bytes = self.take(len, thing)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|e| self.bad(thing, "UTF-8", format!("{e} in {:02x?}", &bytes[..bytes.len().min(32)])))
    }

    pub(super) fn value(&mut self, kind: u32, key: &str) -> Result<GgufValue, CheckpointError> {
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
    pub(super) fn tensor(&mut self, index: usize) -> Result<(GgufTensor, u64), CheckpointError> {
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
            let fits = i64::try_from(dim).ok().filter(|dim| *dim > 0).and_then(|dim| usize::try_from(dim).ok());
            let dim =
                fits.ok_or_else(|| self.bad(&thing, "a dimension from 1 on that fits in memory", dim.to_string()))?;
            len = len.and_then(|n| n.checked_mul(dim));
            shape.push(dim);
        }
        let code = self.u32(&thing)?;
        let kind = GgmlType::from_code(code).ok_or_else(|| {
            let known: Vec<_> = GgmlType::ALL.iter().map(|k| k.name()).collect();
            let got = name_of(code);
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
        Ok((GgufTensor { name, kind, shape, bytes: 0..size, part: 0 }, offset))
    }
}
