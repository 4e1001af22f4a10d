//! Token ids equal llama.cpp's for GGUF files and transformers' for `tokenizer.json`.
//!
//! The references are hashes that `scripts/tokens.py` made of the same texts.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use relign_model::{Checkpoint, Tensor, Tokenizer, save_folder};
use serde_json::Value;

const SMOLLM2: &str = "smollm2-135m-instruct-q4_1.gguf";
const GEMMA3: &str = "gemma-3-270m-q4_k_m.gguf";
const QWEN2: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";

/// All strings in a JSON value, objects by sorted key.
fn walk(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| walk(item, out)),
        Value::Object(map) => map.iter().collect::<BTreeMap<_, _>>().values().for_each(|item| walk(item, out)),
        _ => {}
    }
}

/// Holds a tokenizer against a fixture. In `departures` (texts, and whether special tokens are parsed) it
/// must differ, for a reason stated there.
fn compare(tokenizer: &Tokenizer, fixture: &str, departures: &[(&str, bool)]) {
    let fixture = common::json(fixture);
    let sample = common::json("sample.json");
    let sample = common::strings(&sample);
    for (key, special) in [("sample_plain", false), ("sample_special", true)] {
        let expected = common::strings(&fixture[key]);
        assert_eq!(sample.len(), expected.len());
        for (&text, expected) in sample.iter().zip(expected) {
            let ids = if special { tokenizer.encode_with_specials(text) } else { tokenizer.encode(text) };
            let departs = departures.contains(&(text, special));
            assert_eq!(common::fnv([ids.clone()]) != expected, departs, "{key}: {text:?} became {ids:?}");
        }
    }
    let mut compared = 0;
    for file in fixture["files"].as_array().expect("files") {
        let name = file["file"].as_str().expect("a name");
        let Some(path) = common::data(name) else { continue };
        let content = std::fs::read_to_string(path).expect("readable data");
        let lines: Vec<&str> = content.split('\n').filter(|line| !line.is_empty()).collect();
        let records = file["records"].as_u64().expect("a number") as usize;
        let mut texts = 0;
        for (index, (chunk, expected)) in
            lines[..records.min(lines.len())].chunks(100).zip(common::strings(&file["chunks"])).enumerate()
        {
            let mut strings = Vec::new();
            for line in chunk {
                walk(&serde_json::from_str(line).expect("JSON"), &mut strings);
            }
            texts += strings.len();
            let got = common::fnv(strings.iter().map(|text| tokenizer.encode(text)));
            assert_eq!(got, expected, "{name}, records from {} on", index * 100);
        }
        assert_eq!(texts as u64, file["texts"].as_u64().expect("a number"), "texts of {name}");
        compared += texts;
    }
    eprintln!("compared {compared} real texts with {}", fixture["reference"]);
}

#[test]
fn gguf_smollm2_has_the_tokens_of_llama_cpp() {
    let Some(path) = common::model(SMOLLM2) else { return };
    let tokenizer = Checkpoint::open(path).expect("opens").tokenizer().expect("has a tokenizer");
    compare(&tokenizer, "tokens-smollm2-llama.cpp.json", &[]);
    assert_eq!(tokenizer.eos_ids()[0], tokenizer.token_id("<|im_end|>").expect("known"));
}

#[test]
fn gguf_qwen2_has_the_tokens_of_llama_cpp() {
    let Some(path) = common::model(QWEN2) else { return };
    let tokenizer = Checkpoint::open(path).expect("opens").tokenizer().expect("has a tokenizer");
    // llama.cpp takes any token called </s> for an end token; the model knows it as text.
    compare(&tokenizer, "tokens-qwen2.5-llama.cpp.json", &[("<s>x</s>", true)]);
    // The end tokens of the model's own generation_config.json.
    assert_eq!(tokenizer.eos_ids(), [151_645, 151_643]);
}

#[test]
fn gguf_gemma3_has_the_tokens_of_llama_cpp() {
    let Some(path) = common::model(GEMMA3) else { return };
    let tokenizer = Checkpoint::open(path).expect("opens").tokenizer().expect("has a tokenizer");
    // The same token is one of Gemma's words by decree (HTML), which llama.cpp keeps from plain text.
    compare(&tokenizer, "tokens-gemma3-llama.cpp.json", &[("<s>x</s>", false)]);
    let end = tokenizer.token_id("<end_of_turn>").expect("known");
    assert!(tokenizer.eos_ids().contains(&end) && tokenizer.adds_bos());
}

/// Saves the tokenizer as a folder and reads it back.
fn through_a_folder(path: &Path) -> Tokenizer {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let checkpoint = Checkpoint::open(path).expect("opens");
    let built = checkpoint.tokenizer().expect("has a tokenizer");
    let none: [(String, Tensor); 0] = [];
    save_folder(dir.path(), checkpoint.config(), none, &built, relign_model::Kind::Float).expect("saves");
    let saved = Checkpoint::open(dir.path()).expect("opens").tokenizer().expect("has a tokenizer");
    assert_eq!(saved.eos_ids(), built.eos_ids());
    assert_eq!(saved.bos(), built.bos());
    assert_eq!(saved.vocab_size(), built.vocab_size());
    assert_eq!(saved.template().map(|t| t.source()), built.template().map(|t| t.source()));
    saved
}

#[test]
fn saved_smollm2_has_the_tokens_of_transformers() {
    let Some(path) = common::model(SMOLLM2) else { return };
    compare(&through_a_folder(&path), "tokens-smollm2-transformers.json", &[]);
}

#[test]
fn saved_qwen2_has_the_tokens_of_transformers() {
    let Some(path) = common::model(QWEN2) else { return };
    compare(&through_a_folder(&path), "tokens-qwen2.5-transformers.json", &[]);
}

#[test]
fn any_text_comes_back_and_streams_alike() {
    let Some(path) = common::model(QWEN2) else { return };
    let tokenizer = Checkpoint::open(path).expect("opens").tokenizer().expect("has a tokenizer");
    let size = tokenizer.vocab_size() as u32;
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) };
    proptest!(config, |(text in any::<String>(), ids in prop::collection::vec(0..size, 0..40))| {
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
        let mut stream = tokenizer.stream();
        let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
        streamed.push_str(&stream.finish());
        prop_assert_eq!(streamed, tokenizer.decode(&ids));
    });
}
