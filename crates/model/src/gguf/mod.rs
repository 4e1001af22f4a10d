//! GGUF files: the reader and the writer, the coding of their blocks and the translation of their names.

mod architectures;
mod cursor;
pub(crate) mod dequant;
mod export;
pub(crate) mod names;
mod quantize;
mod reader;
mod rope;
mod writer;

pub use dequant::GgmlType;
pub use export::save_gguf;
pub use reader::{Gguf, GgufTensor, GgufValue};
pub(crate) use writer::Meta;
