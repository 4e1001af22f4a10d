//! Files that mean harm, or are merely broken, end in an error. Most of these were found by
//! `examples/fuzz`.

mod common;

use std::path::Path;

use relign_model::{Checkpoint, CheckpointError, Kind, Policy};
use serde_json::{Value, json};

/// tiny-llama with one file changed.
fn changed(file: &str, change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for entry in common::fixture("tiny-llama").read_dir().expect("the fixture") {
        let from = entry.expect("an entry").path();
        std::fs::copy(&from, dir.path().join(from.file_name().expect("a name"))).expect("copies");
    }
    change(&dir.path().join(file));
    dir
}

/// Opens a model and reads everything in it.
fn read(path: &Path) -> Result<(), String> {
    let checkpoint = Checkpoint::open(path).map_err(|e| e.to_string())?;
    let all = || -> Result<(), CheckpointError> {
        checkpoint.names().into_iter().try_for_each(|name| checkpoint.tensor(name).map(drop))?;
        checkpoint.tokenizer().map(drop)
    };
    all().map_err(|e| e.to_string())?;
    Policy::load(checkpoint.config(), &checkpoint, Kind::Float).map(drop).map_err(|e| e.to_string())
}

fn edit(file: &Path, edit: impl FnOnce(&mut Value)) {
    let mut json = serde_json::from_slice(&std::fs::read(file).expect("reads")).expect("JSON");
    edit(&mut json);
    std::fs::write(file, json.to_string()).expect("writes");
}

#[test]
fn tokenizers_that_make_no_sense_are_refused() {
    type Change = fn(&Path);
    let cases: [(&str, Change, &str); 6] = [
        // The library panics on JSON that breaks off within a decoder.
        (
            "tokenizer.json",
            |file| {
                let text = std::fs::read_to_string(file).expect("reads");
                let at = text.find("\"decoder\"").expect("there") + 30;
                std::fs::write(file, &text[..at]).expect("writes");
            },
            "tokenizer.json",
        ),
        (
            "tokenizer.json",
            |file| edit(file, |json| json["model"]["vocab"]["the"] = json!(4_000_000_000_u32)),
            "the id 4000000000",
        ),
        (
            "tokenizer.json",
            |file| edit(file, |json| json["model"] = json!({"type": "WordLevel", "vocab": {}, "unk_token": "x"})),
            "takes any text",
        ),
        ("tokenizer_config.json", |file| std::fs::write(file, "\"text\"").expect("writes"), "a JSON object"),
        ("tokenizer_config.json", |file| std::fs::write(file, "[".repeat(100_000)).expect("writes"), "valid JSON"),
        ("chat_template.jinja", |file| std::fs::write(file, "{%}").expect("writes"), "a Jinja template"),
    ];
    for (file, change, said) in cases {
        let dir = changed(file, change);
        let error = read(dir.path()).expect_err(said);
        assert!(error.contains(said), "{file}: {error}");
    }
}

#[test]
fn a_configuration_is_not_taken_at_its_word() {
    for (key, value, said) in [
        ("num_hidden_layers", json!(4_000_000_000_u32), "at most 65536 layers"),
        ("head_dim", json!(4_000_000_000_u32), "at most 65536 layers"),
        ("vocab_size", json!(4_000_000_000_u32), "expected shape [4000000000, 32]"),
        ("intermediate_size", json!(4_000_000_000_u32), "expected shape [4000000000, 32]"),
        ("hidden_size", json!(-1), "hidden_size"),
        ("num_attention_heads", json!(1e300), "num_attention_heads"),
        ("rms_norm_eps", json!("x"), "rms_norm_eps"),
    ] {
        let dir = changed("config.json", |file| edit(file, |json| json[key] = value.clone()));
        let error = read(dir.path()).expect_err(key);
        assert!(error.contains(said), "{key}: {error}");
    }
}

#[test]
fn safetensors_headers_are_not_taken_at_their_word() {
    let sound = std::fs::read(common::fixture("tiny-llama").join("model.safetensors")).expect("reads");
    let len = u64::from_le_bytes(*sound.first_chunk().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&sound[8..8 + len]).expect("JSON");
    let with = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &sound[8 + len..]].concat();
    let norm = |edit: fn(&mut Value)| {
        let mut header = header.clone();
        edit(&mut header["model.norm.weight"]);
        with(&header.to_string())
    };
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("seven bytes", vec![0; 7]),
        ("a header of 2^64 - 1", [&[255; 8], &sound[8..]].concat()),
        ("a header that reaches past the end", [&((sound.len() as u64) << 8).to_le_bytes(), &sound[8..]].concat()),
        ("brackets", with(&"[".repeat(10_000))),
        ("no UTF-8", with("{\"\u{1}\": 1}").into_iter().map(|b| if b == 1 { 0xff } else { b }).collect()),
        ("a shape that overflows", norm(|t| t["shape"] = json!([u64::MAX, u64::MAX]))),
        ("a shape of nothing, too wide", norm(|t| t["shape"] = json!([0, u64::MAX, 32]))),
        ("another shape", norm(|t| t["shape"] = json!([33]))),
        ("offsets backwards", norm(|t| t["data_offsets"] = json!([64, 0]))),
        ("offsets outside", norm(|t| t["data_offsets"] = json!([0, u64::MAX]))),
        ("another type", norm(|t| t["dtype"] = json!("I64"))),
    ] {
        let dir = changed("model.safetensors", |file| std::fs::write(file, &bytes).expect("writes"));
        let error = read(dir.path()).expect_err(what);
        assert!(error.contains("model.safetensors"), "{what}: {error}");
    }
}

/// A GGUF file of nothing but metadata, and the bytes of one entry.
fn gguf(entries: &[Vec<u8>]) -> Vec<u8> {
    let head =
        [&b"GGUF"[..], &3_u32.to_le_bytes(), &0_u64.to_le_bytes(), &(entries.len() as u64).to_le_bytes()].concat();
    entries.iter().fold(head, |mut file, entry| {
        file.extend(entry);
        file
    })
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

#[test]
fn gguf_metadata_are_not_taken_at_their_word() {
    let array = |kind: u32, len: u64| [&9_u32.to_le_bytes()[..], &kind.to_le_bytes(), &len.to_le_bytes()].concat();
    let nested = |depth: usize| {
        let mut bytes = 9_u32.to_le_bytes().to_vec();
        for _ in 0..depth {
            bytes.extend(9_u32.to_le_bytes());
            bytes.extend(1_u64.to_le_bytes());
        }
        bytes
    };
    for (what, entry) in [
        ("an array of 2^63 strings", array(8, 1 << 63)),
        ("an array of 2^61 doubles", array(12, 1 << 61)),
        ("an array of no type", array(77, 1)),
        ("arrays without end", nested(1000)),
        ("no type", 13_u32.to_le_bytes().to_vec()),
        ("half a truth", [&7_u32.to_le_bytes()[..], &[2]].concat()),
        ("a long string", [&8_u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat()),
    ] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("model.gguf");
        std::fs::write(&path, gguf(&[[text("some.key"), entry].concat()])).expect("writes");
        let error = read(&path).expect_err(what);
        assert!(error.contains("some.key"), "{what}: {error}");
    }
}
