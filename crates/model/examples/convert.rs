//! Writes a model as a Hugging Face folder: `convert MODEL DIR [f32|bf16|f16]`.
//!
//! MODEL is a GGUF file or a Hugging Face folder; quantised weights are written as the numbers they
//! stand for. The parity scripts compare such folders with transformers.

use std::path::Path;

use relign_model::{Checkpoint, CheckpointError, Kind, save_folder};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, dir, kind) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [model, dir] | [model, dir, "f32"] => (model, dir, Kind::Float),
        [model, dir, "bf16"] => (model, dir, Kind::BFloat16),
        [model, dir, "f16"] => (model, dir, Kind::Half),
        _ => return Err("usage: convert MODEL DIR [f32|bf16|f16]".into()),
    };
    let checkpoint = Checkpoint::open(model)?;
    std::fs::create_dir_all(dir)?;
    let tensors: Vec<_> = checkpoint
        .names()
        .into_iter()
        .map(|name| Ok((name.to_owned(), checkpoint.tensor(name)?)))
        .collect::<Result<_, CheckpointError>>()?;
    save_folder(Path::new(dir), checkpoint.config(), tensors, &checkpoint.tokenizer()?, kind)?;
    Ok(())
}
