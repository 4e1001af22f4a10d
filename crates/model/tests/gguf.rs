//! GGUF files: numbers equal gguf-py's bit for bit, and damage is an error that says what is wrong.

mod common;

use proptest::prelude::*;
use relign_model::{Checkpoint, GgmlType, Gguf, Kind};

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

#[test]
fn blocks_decode_to_the_same_bits_as_ggml() {
    let fixture = common::json("dequant.json");
    let cases = fixture["cases"].as_array().expect("cases");
    for kind in GgmlType::ALL {
        let case = cases.iter().find(|case| case["type"] == kind.name()).expect("a case for every type");
        let coded = bytes(case["bytes"].as_str().expect("hex"));
        let expected = bytes(case["f32"].as_str().expect("hex"));
        let mut out = vec![f32::NAN; expected.len() / 4];
        kind.dequantize(&coded, &mut out);
        for (index, (got, expected)) in out.iter().zip(expected.as_chunks::<4>().0).enumerate() {
            let expected = f32::from_le_bytes(*expected);
            assert_eq!(got.to_bits(), expected.to_bits(), "{} element {index}: {got} or {expected}", kind.name());
        }
    }
}

#[test]
fn numbers_are_coded_as_gguf_py_codes_them() {
    let fixture = common::json("quant.json");
    let values: Vec<f32> =
        bytes(fixture["f32"].as_str().expect("hex")).as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    for kind in GgmlType::WRITTEN {
        let cases = fixture["cases"].as_array().expect("cases");
        let case = cases.iter().find(|case| case["type"] == kind.name()).expect("a case for every written type");
        let expected = bytes(case["bytes"].as_str().expect("hex"));
        let mut got = Vec::new();
        kind.quantize(&values, &mut got);
        let size = kind.block_bytes();
        for (index, (got, expected)) in got.chunks(size).zip(expected.chunks(size)).enumerate() {
            assert_eq!(got, expected, "{}, block {index}", kind.name());
        }
        assert_eq!(got.len(), expected.len());
    }
}

#[test]
fn a_gguf_file_holds_the_same_model_as_the_folder_it_was_made_from() {
    let gguf = Checkpoint::open(common::fixture("tiny-llama.gguf")).expect("opens");
    let folder = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
    assert_eq!(gguf.names(), folder.names());
    for name in folder.names() {
        let (a, b) = (gguf.tensor(name).expect("reads"), folder.tensor(name).expect("reads"));
        assert_eq!(a.kind(), Kind::Float);
        assert_eq!(a.size(), b.size(), "{name}");
        assert!(a.equal(&b), "{name}");
    }
    let (mut a, mut b) = (gguf.config().clone(), folder.config().clone());
    (a.raw, b.raw) = Default::default();
    assert_eq!(a, b);
}

#[test]
fn tokens_and_template_of_a_gguf_file_are_llama_cpps_and_transformers() {
    let fixture = common::json("tiny.json");
    let checkpoint = Checkpoint::open(common::fixture("tiny-llama.gguf")).expect("opens");
    let tokenizer = checkpoint.tokenizer().expect("has one");
    for (index, text) in common::strings(&fixture["texts"]).into_iter().enumerate() {
        assert_eq!(serde_json::json!(tokenizer.encode(text)), fixture["tokens_plain"][index], "{text:?}");
        assert_eq!(
            serde_json::json!(tokenizer.encode_with_specials(text)),
            fixture["tokens_special"][index],
            "{text:?}"
        );
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
    }
    let conversation: Vec<relign_core::Message> =
        serde_json::from_value(fixture["conversation"].clone()).expect("messages");
    assert_eq!(tokenizer.render_text(&conversation).as_deref(), Ok(fixture["rendered"].as_str().expect("text")));
    // <|im_end|> is the file's end token; <|endoftext|> ends an answer, too.
    assert_eq!(tokenizer.eos_ids(), [2, 0]);
}

#[test]
fn every_architecture_says_what_transformers_says() {
    let fixture = common::json("architectures.json");
    let ids: Vec<u32> = serde_json::from_value(fixture["ids"].clone()).expect("ids");
    for (name, expected) in fixture["files"].as_object().expect("files") {
        let checkpoint = Checkpoint::open(common::fixture(&format!("tiny-{name}.gguf"))).expect("opens");
        let values = common::logits(&mut common::policy(&checkpoint, Kind::Float), &ids);
        let last: Vec<f64> = common::floats(&values.get(-1)).into_iter().step_by(4).collect();
        let last = common::gap(&last, &common::numbers(&expected["last"]));
        let sums = common::floats(&values.logsumexp(&[-1_i64][..], false));
        let sums = common::gap(&sums, &common::numbers(&expected["logsumexp"]));
        eprintln!("{name}: last {last:.1e}, sums {sums:.1e}");
        assert!(last.max(sums) < 5e-5, "{name}: {last} {sums}");
    }
}

/// Bytes for characters that are missing, a blank in front, words by decree: as llama.cpp has them.
#[test]
fn sentencepiece_gives_the_tokens_of_llama_cpp() {
    let fixture = common::json("architectures.json");
    let gguf = Gguf::open(&common::fixture("pieces.gguf")).expect("opens");
    let tokenizer = relign_model::Tokenizer::from_gguf(&gguf).expect("a tokenizer");
    let sample = common::json("sample.json");
    let texts = common::strings(&sample).into_iter().chain(common::strings(&fixture["pieces"]["texts"]));
    let expected = ["tokens_plain", "tokens_special"].map(|key| common::strings(&fixture["pieces"][key]));
    for (index, text) in texts.enumerate() {
        let ids = [tokenizer.encode(text), tokenizer.encode_with_specials(text)];
        for (ids, expected) in ids.into_iter().zip(&expected) {
            assert_eq!(common::fnv([ids.clone()]), expected[index], "{text:?} became {ids:?}");
        }
        // A blank goes in front of what follows a word by decree, too, as llama.cpp has it.
        if !text.starts_with(' ') && !["   ", "\n\n", "<tool>"].iter().any(|word| text.contains(word)) {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
        }
    }
    assert!(tokenizer.adds_bos());
    assert_eq!(tokenizer.eos_ids(), [2]);
}

#[test]
fn a_file_cut_off_in_its_weights_still_has_its_words() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, &tiny()[..20_000]).expect("writes");
    assert!(Checkpoint::open(&path).err().expect("not whole").to_string().contains("truncated"));
    let checkpoint = Checkpoint::open_header(&path).expect("opens");
    let whole = Checkpoint::open(common::fixture("tiny-llama.gguf")).expect("opens");
    assert_eq!(checkpoint.config(), whole.config());
    let text = "The answer is 12.";
    let [cut, whole] = [&checkpoint, &whole].map(|c| c.tokenizer().expect("has one").encode(text));
    assert_eq!(cut, whole);
    let error = checkpoint.tensor("lm_head.weight").expect_err("beyond the end").to_string();
    assert!(error.contains("output.weight") && error.contains("truncated"), "{error}");
}

/// Opens bytes as a GGUF file and reads everything in it; the error's text, if there is one.
fn open(bytes: &[u8]) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("writes");
    let checkpoint = Checkpoint::open(&path).map_err(|e| e.to_string())?;
    for name in checkpoint.names() {
        checkpoint.tensor(name).map(drop).map_err(|e| e.to_string())?;
    }
    checkpoint.tokenizer().map(drop).map_err(|e| e.to_string())
}

fn tiny() -> Vec<u8> {
    std::fs::read(common::fixture("tiny-llama.gguf")).expect("the fixture")
}

/// The file with `to` in place of the only `from` in it, which is of the same length.
fn replaced(from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = tiny();
    let at = bytes.windows(from.len()).position(|window| window == from).expect("there");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

fn long(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

#[test]
fn damage_is_named() {
    assert_eq!(open(&tiny()), Ok(()));
    let with = |at: usize, new: &[u8]| {
        let mut bytes = tiny();
        bytes[at..at + new.len()].copy_from_slice(new);
        bytes
    };
    for (what, damaged, expected) in [
        ("no magic", with(0, b"GGML"), "magic: expected GGUF"),
        ("empty", Vec::new(), "magic: expected 4 bytes"),
        ("version", with(4, &1_u32.to_le_bytes()), "version: expected 2 or 3, got 1"),
        ("endianness", with(4, &3_u32.to_be_bytes()), "expected a little-endian file"),
        ("tensor count", with(8, &u64::MAX.to_le_bytes()), "tensor count: expected at most"),
        ("metadata count", with(16, &(1_u64 << 40).to_le_bytes()), "metadata count: expected at most"),
        ("key length", with(24, &(1_u64 << 62).to_le_bytes()), "key of metadata entry 0: expected at most"),
        ("half a file", tiny()[..tiny().len() / 2].to_vec(), "truncated"),
        ("last byte", tiny()[..tiny().len() - 40].to_vec(), "truncated"),
        (
            "family",
            replaced(&long("llama"), &long("mamba")),
            "expected one of llama, qwen2, qwen3, gemma3, phi3, olmo2, got mamba",
        ),
        ("no UTF-8", replaced(&long("smollm"), &[&6_u64.to_le_bytes()[..], b"sm\xffllm"].concat()), "UTF-8"),
        ("splitting rule", replaced(&long("smollm"), &long("smollx")), "tokenizer.ggml.pre: expected one of smollm"),
        ("vocabulary", replaced(&long("gpt2"), &long("bert")), "tokenizer.ggml.model: expected gpt2"),
        ("tensor name", replaced(b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight"), "blk.1.ffn_xx.weight has no place"),
        ("twice", replaced(b"blk.1.ffn_norm.weight", b"blk.0.ffn_norm.weight"), "blk.0.ffn_norm.weight twice"),
    ] {
        let error = open(&damaged).expect_err(what);
        assert!(error.contains(expected), "{what}: {error}");
        assert!(error.contains("model.gguf"), "{what}: {error}");
    }
}

#[test]
fn sizes_that_overflow_are_refused() {
    // The entry of a tensor: name, two dimensions, type, offset.
    let name = long("blk.0.ffn_up.weight");
    let bytes = tiny();
    let at = bytes.windows(name.len()).position(|window| window == name).expect("there") + name.len();
    for (what, place, new, expected) in [
        ("no rows", at + 12, 0_u64.to_le_bytes().to_vec(), "from 1 on"),
        ("dimensions", at, 5_u32.to_le_bytes().to_vec(), "at most 4 dimensions"),
        ("row", at + 4, u64::MAX.to_le_bytes().to_vec(), "fits in memory"),
        ("rows", at + 12, (1_u64 << 40).to_le_bytes().to_vec(), "within the file"),
        ("type", at + 20, 15_u32.to_le_bytes().to_vec(), "got type 15 (Q8_K)"),
        ("blocks", at + 20, 12_u32.to_le_bytes().to_vec(), "multiple of 256"),
        ("offset", at + 24, u64::MAX.to_le_bytes().to_vec(), "within the file"),
        ("alignment", at + 24, 33_u64.to_le_bytes().to_vec(), "alignment to 32"),
    ] {
        let mut damaged = bytes.clone();
        damaged[place..place + new.len()].copy_from_slice(&new);
        let error = open(&damaged).expect_err(what);
        assert!(error.contains(expected), "{what}: {error}");
        assert!(error.contains("blk.0.ffn_up.weight"), "{what}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whatever stands in a file, reading it ends with a model or an error.
    #[test]
    fn no_file_makes_the_reader_panic(
        changes in prop::collection::vec((0_usize..6000, any::<u8>()), 1..8),
        cut in prop::option::of(0_usize..70_000),
    ) {
        let mut bytes = tiny();
        for (at, new) in changes {
            bytes[at] = new;
        }
        bytes.truncate(cut.unwrap_or(bytes.len()));
        let _ = open(&bytes);
    }
}

#[test]
fn metadata_is_typed() {
    let gguf = Gguf::open(&common::fixture("tiny-llama.gguf")).expect("opens");
    assert_eq!(gguf.text("general.architecture").expect("a string"), Some("llama"));
    assert_eq!(gguf.float("llama.attention.layer_norm_rms_epsilon").expect("a number"), Some(1e-5));
    assert_eq!(gguf.strings("tokenizer.ggml.tokens").expect("strings").map(|s| s.len()), Some(128));
    assert_eq!(gguf.text("no.such.key").expect("absent"), None);
    let error = gguf.integers("tokenizer.ggml.tokens").expect_err("strings").to_string();
    assert!(error.contains("tokenizer.ggml.tokens: expected an array of whole numbers"), "{error}");
    let error = gguf.required("no.such.key").expect_err("absent").to_string();
    assert!(error.contains("no.such.key: expected a whole number of at least 0, got nothing"), "{error}");
}
