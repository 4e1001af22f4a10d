//! GGUF files: the reader, the dequantisation of their blocks and the translation of their names.

mod architectures;
pub(crate) mod dequant;
pub(crate) mod names;
mod reader;
mod rope;

pub use dequant::GgmlType;
pub use reader::{Gguf, GgufTensor, GgufValue};
