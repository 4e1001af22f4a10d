//! GGUF files: the reader, the dequantisation of their blocks and the translation of their names.

pub(crate) mod dequant;
pub(crate) mod names;
mod reader;

pub use dequant::GgmlType;
pub use reader::{Gguf, GgufTensor, GgufValue};
