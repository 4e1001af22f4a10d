//! Folders become GGUF files and GGUF files folders, and nothing is lost on the way.

mod common;

use std::path::Path;

use relign_core::Message;
use relign_model::{Checkpoint, GgmlType, Gguf, Kind, save_checkpoint, save_gguf};
use serde_json::Value;

fn same_weights(a: &Checkpoint, b: &Checkpoint) {
    assert_eq!(a.names(), b.names());
    for name in a.names() {
        let (left, right) = (a.tensor(name).expect("reads"), b.tensor(name).expect("reads"));
        assert!(left.equal(&right), "{name}");
    }
}

fn same_config(a: &Checkpoint, b: &Checkpoint) {
    let (mut a, mut b) = (a.config().clone(), b.config().clone());
    (a.raw, b.raw) = Default::default();
    // Qwen2's folders leave out that it has a bias, which its family knows; its GGUF files show it.
    (a.attention_bias, b.attention_bias) = Default::default();
    assert_eq!(a, b);
}

#[test]
fn there_and_back_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in ["tiny-llama", "tiny-qwen2", "tiny-llama.gguf"] {
        let original = Checkpoint::open(common::fixture(name)).expect("opens");
        let tokenizer = original.tokenizer().expect("has a tokenizer");
        // The fixtures' weights are numbers that all three types hold.
        for kind in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16] {
            let file = dir.path().join(format!("{name}-{}.gguf", kind.name()));
            save_gguf(&file, &original, kind).expect("writes");
            let read = Checkpoint::open(&file).expect("opens");
            assert_eq!(read.stored_kind(), kind);
            same_weights(&original, &read);
            same_config(&original, &read);
            let again = read.tokenizer().expect("has a tokenizer");
            assert_eq!(again.eos_ids()[0], tokenizer.eos_ids()[0]);
            assert_eq!((again.bos(), again.adds_bos()), (tokenizer.bos(), tokenizer.adds_bos()));
            assert_eq!(again.vocab_size(), tokenizer.vocab_size());
            for text in common::strings(&common::json("tiny.json")["texts"]) {
                assert_eq!(again.encode(text), tokenizer.encode(text), "{text:?}");
                assert_eq!(again.encode_with_specials(text), tokenizer.encode_with_specials(text), "{text:?}");
            }
            let messages = [Message::system("Be short."), Message::user("What is 3 + 4?")];
            assert_eq!(again.render_text(&messages), tokenizer.render_text(&messages));

            let folder = dir.path().join(format!("{name}-{}", kind.name()));
            std::fs::create_dir(&folder).expect("makes");
            save_checkpoint(&folder, &read, Kind::BFloat16).expect("writes");
            let folder = Checkpoint::open(&folder).expect("opens");
            same_weights(&original, &folder);
            same_config(&original, &folder);
        }
    }
}

#[test]
fn equal_models_give_equal_bytes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let checkpoint = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
    let [a, b] = ["a.gguf", "b.gguf"].map(|name| {
        save_gguf(&dir.path().join(name), &checkpoint, GgmlType::Q8_0).expect("writes");
        std::fs::read(dir.path().join(name)).expect("reads")
    });
    assert_eq!(a, b);
}

/// A file of gguf-py's writing and one of ours for the same model: every tensor has the same bytes, and
/// every key of the metadata the same value.
#[test]
fn a_file_is_what_gguf_py_writes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("ours.gguf");
    save_gguf(&path, &Checkpoint::open(common::fixture("tiny-llama")).expect("opens"), GgmlType::F16).expect("writes");
    let (ours, theirs) =
        (Gguf::open(&path).expect("opens"), Gguf::open(&common::fixture("tiny-llama.gguf")).expect("opens"));
    assert_eq!(ours.tensors().len(), theirs.tensors().len());
    for tensor in theirs.tensors() {
        let own = ours.tensor(&tensor.name).expect("the same names");
        assert_eq!((own.kind, &own.shape), (tensor.kind, &tensor.shape), "{}", tensor.name);
        assert!(ours.data(own).expect("there") == theirs.data(tensor).expect("there"), "{}", tensor.name);
    }
    for (key, value) in theirs.metadata() {
        match value {
            relign_model::GgufValue::Array { kind: 8, .. } => {
                assert_eq!(ours.strings(key).expect("strings"), theirs.strings(key).expect("strings"), "{key}");
            }
            relign_model::GgufValue::Array { .. } => {
                assert_eq!(ours.integers(key).expect("numbers"), theirs.integers(key).expect("numbers"), "{key}");
            }
            _ => assert_eq!(ours.metadata().get(key), Some(value), "{key}"),
        }
    }
}

#[test]
fn quantised_files_stay_close_and_vectors_stay_exact() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let original = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
    // Half a step of the greatest magnitude in a block; Q4_0 may cut off one step at the other end.
    for (kind, part) in [(GgmlType::Q8_0, 1.0 / 254.0), (GgmlType::Q4_0, 1.0 / 8.0)] {
        let file = dir.path().join(format!("{}.gguf", kind.name()));
        save_gguf(&file, &original, kind).expect("writes");
        let read = Checkpoint::open(&file).expect("opens");
        assert_eq!(read.stored_kind(), kind);
        for name in original.names() {
            let (a, b) = (original.tensor(name).expect("reads"), read.tensor(name).expect("reads"));
            if a.size().len() == 1 {
                assert!(a.equal(&b), "{name}");
                continue;
            }
            let gap = (&a - &b).abs().max().double_value(&[]);
            let most = a.abs().max().double_value(&[]);
            assert!(gap > 0.0 && gap <= most * part * 1.01, "{name} as {}: {gap} of {most}", kind.name());
        }
    }
}

#[test]
fn what_gguf_cannot_hold_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("x.gguf");
    let checkpoint = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
    let error = save_gguf(&path, &checkpoint, GgmlType::Q4K).expect_err("not written").to_string();
    assert!(error.contains("Q8_0, Q4_0, not as Q4_K"), "{error}");
    let error = save_gguf(Path::new("/no/such/folder/x.gguf"), &checkpoint, GgmlType::F16).expect_err("nowhere");
    assert!(error.to_string().starts_with("/no/such/folder/x.gguf"), "{error}");

    // Changes to the folder, and what is said of them.
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).expect("makes");
    for entry in common::fixture("tiny-llama").read_dir().expect("the fixture") {
        let from = entry.expect("an entry").path();
        std::fs::copy(&from, folder.join(from.file_name().expect("a name"))).expect("copies");
    }
    let file = folder.join("tokenizer.json");
    let sound = std::fs::read_to_string(&file).expect("reads");
    let tokenizer: Value = serde_json::from_str(&sound).expect("JSON");
    for (change, said) in [
        (
            (
                "pre_tokenizer",
                serde_json::json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
            ),
            "cutting text into words",
        ),
        (("normalizer", serde_json::json!({"type": "Lowercase"})), "expected no normalizer or NFC, got Lowercase"),
        (("decoder", Value::Null), "byte-level BPE"),
    ] {
        let mut changed = tokenizer.clone();
        changed[change.0] = change.1;
        std::fs::write(&file, changed.to_string()).expect("writes");
        let error = save_gguf(&path, &Checkpoint::open(&folder).expect("opens"), GgmlType::F16).expect_err(said);
        assert!(error.to_string().contains(said), "{error}");
    }
    std::fs::write(&file, sound).expect("writes");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let large = checkpoint.names().into_iter().map(|n| (n.to_owned(), checkpoint.tensor(n).expect("reads") * 1e5));
    let tokenizer = checkpoint.tokenizer().expect("has one");
    relign_model::save_folder(dir.path(), checkpoint.config(), large, &tokenizer, Kind::Float).expect("saves");
    let large = Checkpoint::open(dir.path()).expect("opens");
    let error = save_gguf(&path, &large, GgmlType::F16).expect_err("too large").to_string();
    assert!(error.contains("F16 holds magnitudes up to 65504") && error.contains("tensor "), "{error}");
    save_gguf(&path, &large, GgmlType::Bf16).expect("bf16 has the range");
}

/// A model split as llama.cpp's `gguf-split` does it.
#[test]
fn split_files_are_one_model() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let script = "crates/model/scripts/split.py";
    for part in 1..=3 {
        let name = format!("tiny-{part:05}-of-00003.gguf");
        std::fs::copy(common::fixture("tiny-split").join(&name), dir.path().join(&name))
            .unwrap_or_else(|e| panic!("{name}, made by {script}: {e}"));
    }
    let first = dir.path().join("tiny-00001-of-00003.gguf");
    let whole = Checkpoint::open(common::fixture("tiny-qwen2")).expect("opens");
    same_weights(&Checkpoint::open(&first).expect("opens"), &whole);

    let error = Checkpoint::open(dir.path().join("tiny-00002-of-00003.gguf")).err().expect("no first part").to_string();
    assert!(error.contains("the first of 3 parts"), "{error}");
    std::fs::copy(dir.path().join("tiny-00002-of-00003.gguf"), dir.path().join("tiny-00003-of-00003.gguf"))
        .expect("copies");
    let error = Checkpoint::open(&first).err().expect("the second twice").to_string();
    assert!(error.contains("split.no: expected 2 of 3"), "{error}");
    std::fs::remove_file(dir.path().join("tiny-00003-of-00003.gguf")).expect("removes");
    let error = Checkpoint::open(&first).err().expect("a part is missing").to_string();
    assert!(error.contains("missing tiny-00003-of-00003.gguf"), "{error}");
}
