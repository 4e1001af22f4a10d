//! Models: families, tokenizers, chat templates, checkpoints, kernels and the [`Policy`].
//!
//! The only crate that knows the tensor backend (libtorch through `tch`); the others say
//! [`Tensor`]. Weights have f32 masters and are computed with in f32 or bf16.

pub mod attention;
mod autograd;
mod checkpoint;
mod config;
pub mod device;
mod error;
pub mod exhausted;
mod families;
mod fill;
mod gguf;
mod grader;
mod guard;
mod kernels;
pub mod kv;
mod load;
pub mod logits;
pub mod ops;
mod packed;
mod parameters;
mod peft;
mod plain;
mod policy;
mod rotary;
mod safetensors;
mod save;
mod source;
mod template;
mod tokenizer;

pub use autograd::{backward, take_grad};
pub use checkpoint::Checkpoint;
pub use config::{Config, ConfigInvalid, Rope};
pub use error::CheckpointError;
pub use exhausted::{of_panic, out_of_memory};
pub use families::{FAMILIES, Family, FamilyEntry};
pub use gguf::{GgmlType, Gguf, GgufTensor, GgufValue, save_gguf};
pub use grader::{Asked, Grader};
pub use kernels::adamw::AdamWStep;
pub use kernels::tree::Segment;
pub use kernels::{Level, level as kernel_level};
pub use load::LoadError;
pub use parameters::{Builder, Linear, Parameter};
pub use peft::{AdapterBase, adapter_base};
pub use policy::{Policy, family_of, has_bf16_products, resolve_dtype, resolve_dtype_on};
pub use save::{save_checkpoint, save_folder};
pub use source::{Rows, Source, Take, read_rows};
pub use tch::{Device, Kind, Tensor, get_num_threads, no_grad_guard, set_num_threads};
pub use template::Template;
pub use tokenizer::{TextStream, Tokenizer, unfinished};
