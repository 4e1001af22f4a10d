//! The real binary, and the models it is tried on.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Two small layers with weights at random, and a vocabulary of single letters.
pub fn tiny() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama");
    path.to_str().unwrap().to_owned()
}

/// SmolLM2-135M-Instruct, or `None`, told on stderr, where it is not on this machine.
pub fn smollm2() -> Option<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let folders = [
        std::env::var_os("RELIGN_MODELS").map(PathBuf::from).unwrap_or_default(),
        home.join(".cache/relign-models"),
        home.join(".cache/relign/models"),
    ];
    let file = "smollm2-135m-instruct-q4_1.gguf";
    let found = folders.iter().map(|folder| folder.join(file)).find(|path| path.is_file());
    if found.is_none() {
        let places = "$RELIGN_MODELS, ~/.cache/relign-models, ~/.cache/relign/models";
        relign_core::skipped!("{file} is in none of {places}");
    }
    found.map(|path| path.to_str().unwrap().to_owned())
}

pub fn relign(args: &[&str]) -> Output {
    ask(args, "")
}

/// The binary with `input` on its stdin.
pub fn ask(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relign"));
    command.args(args).env("OMP_NUM_THREADS", "1").env_remove("RELIGN_API_KEY");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may be gone before all is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

pub fn stdout(output: &Output) -> String {
    std::str::from_utf8(&output.stdout).unwrap().to_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
