//! Writes GGUF files (version 3, little-endian).
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::GgmlType;
use crate::CheckpointError;

/// A metadata value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meta {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Texts(Vec<String>),
}

/// A tensor that will be written.
pub(super) struct Entry {
    /// Its GGUF name.
    pub(super) name: String,
    /// How its numbers are coded.
    pub(super) kind: GgmlType,
    /// The shape, slowest dimension first.
    pub(super) shape: Vec<usize>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() / self.kind.block() * self.kind.block_bytes()
    }
}

/// Tensors begin at multiples of this.
const ALIGNMENT: usize = 32;

/// Writes a file and flushes it to the disk. `data` appends the coded bytes of the tensor it is given,
/// and is asked for them in order, one tensor at a time.
pub(super) fn write(
    path: &Path,
    metadata: &[(String, Meta)],
    tensors: &[Entry],
    mut data: impl FnMut(&Entry, &mut Vec<u8>) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let mut head = b"GGUF".to_vec();
    head.extend(3_u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut head, key);
        value.write(&mut head);
    }
    let mut offset = 0;
    for tensor in tensors {
        text(&mut head, &tensor.name);
        head.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|&n| head.extend((n as u64).to_le_bytes()));
        head.extend(tensor.kind.code().to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT), 0);

    let io = || CheckpointError::io(path);
    let mut file = BufWriter::new(File::create(path).map_err(io())?);
    file.write_all(&head).map_err(io())?;
    let mut bytes = Vec::new();
    for tensor in tensors {
        bytes.clear();
        data(tensor, &mut bytes)?;
        if bytes.len() != tensor.bytes() {
            let (thing, expected) = (format!("tensor {}", tensor.name), format!("{} bytes", tensor.bytes()));
            return Err(CheckpointError::malformed(path, thing, expected, bytes.len().to_string()));
        }
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        file.write_all(&bytes).map_err(io())?;
    }
    let file = file.into_inner().map_err(|e| CheckpointError::io(path)(e.into_error()))?;
    file.sync_all().map_err(io())
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Meta {
    fn write(&self, out: &mut Vec<u8>) {
        let mut array = |kind: u32, len: usize| {
            out.extend(9_u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((len as u64).to_le_bytes());
        };
        match self {
            Self::U32(n) => {
                out.extend(4_u32.to_le_bytes());
                out.extend(n.to_le_bytes());
            }
            Self::F32(x) => {
                out.extend(6_u32.to_le_bytes());
                out.extend(x.to_le_bytes());
            }
            Self::Bool(b) => {
                out.extend(7_u32.to_le_bytes());
                out.push((*b).into());
            }
            Self::Text(content) => {
                out.extend(8_u32.to_le_bytes());
                text(out, content);
            }
            Self::I32s(numbers) => {
                array(5, numbers.len());
                out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
            }
            Self::F32s(numbers) => {
                array(6, numbers.len());
                out.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
            }
            Self::Texts(texts) => {
                array(8, texts.len());
                texts.iter().for_each(|content| text(out, content));
            }
        }
    }
}
