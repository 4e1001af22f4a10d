//! Folders become GGUF files and GGUF files folders, and nothing is lost on the way.

mod common;

use std::path::Path;

use relign_core::Message;
use relign_model::{Checkpoint, Config, GgmlType, Gguf, Kind, Tokenizer, save_checkpoint, save_gguf};
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

/// What makes each tiny model one that GGUF has a place for: changes to its configuration.
const FAMILIES: &[(&str, &[(&str, &str)])] = &[
    ("llama", &[]),
    ("mistral", &[]),
    ("qwen2", &[]),
    ("qwen3", &[("attention_bias", "false")]),
    (
        "gemma3_text",
        &[
            ("layer_types", r#"["sliding_attention", "sliding_attention", "sliding_attention"]"#),
            ("query_pre_attn_scalar", "12"),
        ],
    ),
    ("phi3", &[]),
    ("olmo2", &[]),
];

/// A tiny model of a family as a folder, with the tokenizer of another, its weights times `by`.
fn tiny(family: &str, by: f64, to: &Path) -> Checkpoint {
    let source = Checkpoint::open(common::fixture(&format!("tiny-{family}"))).expect("opens");
    let mut raw = source.config().raw.clone();
    let changes = FAMILIES.iter().find(|(name, _)| *name == family).expect("listed").1;
    for (key, value) in changes {
        raw[*key] = serde_json::from_str(value).expect("JSON");
    }
    let config = Config::from_hf(&raw).expect("a configuration");
    let has = |name: &str| family != "qwen3" || !name.ends_with("bias");
    let tensors = source.names().into_iter().filter(|name| has(name));
    let tensors = tensors.map(|name| (name.to_owned(), source.tensor(name).expect("reads") * by));
    let tokenizer = Checkpoint::open(common::fixture("tiny-llama")).expect("opens").tokenizer().expect("has one");
    std::fs::create_dir(to).expect("makes");
    relign_model::save_folder(to, &config, tensors, &tokenizer, Kind::Float).expect("writes");
    Checkpoint::open(to).expect("opens")
}

#[test]
fn every_family_goes_there_and_back() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let ids = [5, 17, 99, 4, 64, 33, 8, 120, 77, 3];
    for (family, _) in FAMILIES {
        // Weights that are bf16's, and weights that need all of f32's bits.
        for (kind, ggml, by) in [(Kind::BFloat16, GgmlType::Bf16, 1.0), (Kind::Float, GgmlType::F32, 1.001)] {
            let place = |what: &str| dir.path().join(format!("{family}-{what}-{}", ggml.name()));
            let original = tiny(family, by, &place("folder"));
            let file = place("file").with_extension("gguf");
            save_gguf(&file, &original, ggml).unwrap_or_else(|e| panic!("{family}: {e}"));
            let read = Checkpoint::open(&file).unwrap_or_else(|e| panic!("{family}: {e}"));
            let back = place("back");
            std::fs::create_dir(&back).expect("makes");
            save_checkpoint(&back, &read, kind).expect("writes");
            let back = Checkpoint::open(&back).expect("opens");
            assert_eq!(original.names(), back.names(), "{family}");
            for name in original.names() {
                let (a, b) = (original.tensor(name).expect("reads"), back.tensor(name).expect("reads"));
                // A norm that is stored with 1 added loses what lies below the last bit of the sum.
                let rounded = *family == "gemma3_text" && by != 1.0 && name.ends_with("norm.weight");
                let same = if rounded { a.allclose(&b, 0.0, 1e-7, false) } else { a.equal(&b) };
                assert!(same, "{family} {name} as {}", ggml.name());
            }
            let [a, b] = [&original, &back]
                .map(|checkpoint| common::floats(&common::logits(&mut common::policy(checkpoint, Kind::Float), &ids)));
            assert!(common::gap(&a, &b) < 1e-4, "{family} as {}: {}", ggml.name(), common::gap(&a, &b));
            if *family == "mistral" {
                assert_eq!((original.config().context, back.config().context), (256, 12), "no longer than the window");
            } else {
                same_config(&original, &back);
            }
        }
    }
}

#[test]
fn a_vocabulary_of_pieces_goes_there_and_back() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let pieces = Tokenizer::from_gguf(&Gguf::open(&common::fixture("pieces.gguf")).expect("opens")).expect("reads");
    let source = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
    let mut raw = source.config().raw.clone();
    raw["vocab_size"] = pieces.vocab_size().into();
    let rows = pieces.vocab_size() as i64;
    let tensors = source.names().into_iter().map(|name| {
        let tensor = source.tensor(name).expect("reads");
        let wide = name.contains("embed") || name.contains("lm_head");
        let tensor =
            if wide { relign_model::Tensor::zeros([rows, 32], (Kind::Float, tensor.device())) } else { tensor };
        (name.to_owned(), tensor)
    });
    let config = Config::from_hf(&raw).expect("a configuration");
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).expect("makes");
    relign_model::save_folder(&folder, &config, tensors, &pieces, Kind::Float).expect("writes");
    let file = dir.path().join("pieces.gguf");
    save_gguf(&file, &Checkpoint::open(&folder).expect("opens"), GgmlType::F16).expect("writes");
    let read = Checkpoint::open(&file).expect("opens").tokenizer().expect("has one");
    let more = common::json("architectures.json")["pieces"]["texts"].clone();
    let sample = common::json("sample.json");
    for text in common::strings(&sample).into_iter().chain(common::strings(&more)) {
        assert_eq!(read.encode(text), pieces.encode(text), "{text:?}");
        assert_eq!(read.encode_with_specials(text), pieces.encode_with_specials(text), "{text:?}");
        assert_eq!(read.decode(&read.encode(text)), pieces.decode(&pieces.encode(text)), "{text:?}");
    }
}

#[test]
fn a_model_that_llama_cpp_would_misread_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (family, changes, said) in [
        ("qwen3", vec![("attention_bias", "true")], "attention_bias"),
        ("gemma3_text", vec![("query_pre_attn_scalar", "20")], "query_pre_attn_scalar: expected 12, got 20"),
        (
            "gemma3_text",
            vec![("layer_types", r#"["sliding_attention", "full_attention", "sliding_attention"]"#)],
            "every sixth layer",
        ),
    ] {
        let folder = dir.path().join(said.split(' ').next().expect("a word"));
        drop(tiny(family, 1.0, &folder));
        let file = folder.join("config.json");
        let mut json: Value = serde_json::from_slice(&std::fs::read(&file).expect("reads")).expect("JSON");
        for (key, value) in changes {
            json[key] = serde_json::from_str(value).expect("JSON");
        }
        std::fs::write(&file, json.to_string()).expect("writes");
        let checkpoint = Checkpoint::open(&folder).expect("opens");
        let error = save_gguf(&dir.path().join("x.gguf"), &checkpoint, GgmlType::F16).expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
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
