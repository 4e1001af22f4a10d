//! What the parity tests share: where models, data and fixtures are.
#![allow(dead_code, reason = "every test file uses a part")]

use std::path::{Path, PathBuf};

use relign_model::attention::TreeAttention;
use relign_model::{Checkpoint, Kind, Policy, Tensor};
use serde_json::Value;

/// The folder of a fixture.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A fixture's content.
pub(crate) fn json(name: &str) -> Value {
    let path = fixture(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A real model's file, or `None`, told on stderr, where it is not on this machine.
pub(crate) fn model(file: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let folders = [
        std::env::var_os("RELIGN_MODELS").map(PathBuf::from).unwrap_or_default(),
        home.join(".cache/relign-models"),
        home.join(".cache/relign/models"),
    ];
    let found = folders.iter().map(|folder| folder.join(file)).find(|path| path.is_file());
    if found.is_none() {
        relign_core::skipped!("{file} is in none of $RELIGN_MODELS, ~/.cache/relign-models, ~/.cache/relign/models");
    }
    found
}

/// A file of real data, or `None`, told on stderr, where it is not beside the repository.
pub(crate) fn data(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(file);
    if path.is_file() {
        return Some(path);
    }
    relign_core::skipped!("no {}", path.display());
    None
}

/// The strings of a fixture's array.
pub(crate) fn strings(value: &Value) -> Vec<&str> {
    value.as_array().expect("an array").iter().map(|v| v.as_str().expect("a string")).collect()
}

/// FNV-1a over little-endian ids, each text closed by `u32::MAX`, as the scripts hash.
pub(crate) fn fnv(texts: impl IntoIterator<Item = Vec<u32>>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for number in texts.into_iter().flat_map(|ids| ids.into_iter().chain([u32::MAX])) {
        for byte in number.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// A checkpoint's weights as a policy.
pub(crate) fn policy(checkpoint: &Checkpoint, kind: Kind) -> Policy {
    Policy::load(checkpoint.config(), checkpoint, kind).expect("loads")
}

/// Logits `[n, vocab]` of a sequence, as f32.
pub(crate) fn logits(policy: &mut Policy, ids: &[u32]) -> Tensor {
    let family = policy.family();
    let _no_grad = relign_model::no_grad_guard();
    let tokens = Tensor::from_slice(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
    let positions: Vec<i64> = (0..ids.len() as i64).collect();
    let hidden = family.forward(&tokens, &positions, &mut TreeAttention::causal(ids.len()));
    hidden.matmul(&family.head().weight().tr()).to_kind(Kind::Float)
}

/// A tensor's numbers.
pub(crate) fn floats(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).contiguous().view([-1])).expect("numbers")
}

/// The numbers of a fixture's array.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// The greatest distance between two lists of finite numbers.
pub(crate) fn gap(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().all(|x| x.is_finite()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
