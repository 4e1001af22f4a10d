//! Hugging Face folders: what transformers wrote is read, what is saved is read back, and what is
//! missing is named.

mod common;

use std::path::Path;

use relign_model::{Checkpoint, Kind, Tensor, save_folder};

fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for entry in common::fixture(name).read_dir().expect("the fixture") {
        let from = entry.expect("an entry").path();
        std::fs::copy(&from, dir.path().join(from.file_name().expect("a name"))).expect("copies");
    }
    dir
}

fn error(path: &Path) -> String {
    let checkpoint = match Checkpoint::open(path) {
        Err(error) => return error.to_string(),
        Ok(checkpoint) => checkpoint,
    };
    checkpoint.tokenizer().err().expect("something is wrong").to_string()
}

fn tensors(checkpoint: &Checkpoint) -> Vec<(String, Tensor)> {
    checkpoint.names().into_iter().map(|n| (n.to_owned(), checkpoint.tensor(n).expect("reads"))).collect()
}

#[test]
fn a_saved_folder_holds_the_same_model() {
    for (name, eos) in [("tiny-llama", &[2][..]), ("tiny-qwen2", &[2]), ("tiny-llama.gguf", &[2, 0])] {
        let checkpoint = Checkpoint::open(common::fixture(name)).expect("opens");
        let tokenizer = checkpoint.tokenizer().expect("has a tokenizer");
        assert_eq!(tokenizer.eos_ids(), eos, "{name}");
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            let dirs = [0; 2].map(|_| {
                let dir = tempfile::tempdir().expect("a temporary folder");
                save_folder(dir.path(), checkpoint.config(), tensors(&checkpoint), &tokenizer, kind).expect("saves");
                dir
            });
            let saved = Checkpoint::open(dirs[0].path()).expect("opens");
            assert_eq!(saved.names(), checkpoint.names());
            // The fixture's weights are numbers that all three types hold.
            for ((name, a), (_, b)) in tensors(&checkpoint).into_iter().zip(tensors(&saved)) {
                assert!(a.equal(&b), "{name} as {kind:?}");
            }
            let (mut a, mut b) = (checkpoint.config().clone(), saved.config().clone());
            (a.raw, b.raw) = Default::default();
            assert_eq!(a, b);
            let again = saved.tokenizer().expect("has a tokenizer");
            assert_eq!(again.eos_ids(), tokenizer.eos_ids());
            let text = "<|im_start|>The end of it is 12.<|im_end|>";
            assert_eq!(again.encode_with_specials(text), tokenizer.encode_with_specials(text));
            assert_eq!(again.template().map(|t| t.source()), tokenizer.template().map(|t| t.source()));
            for file in ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"] {
                let [a, b] = dirs.each_ref().map(|dir| std::fs::read(dir.path().join(file)).expect("reads"));
                assert_eq!(a, b, "{file} saved twice");
            }
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        let refused = save_folder(dir.path(), checkpoint.config(), tensors(&checkpoint), &tokenizer, Kind::Int64);
        assert!(refused.expect_err("no float").to_string().contains("f32, f16 or bf16"));
    }
}

#[test]
fn an_unwritable_folder_is_named() {
    let checkpoint = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
    let tokenizer = checkpoint.tokenizer().expect("has a tokenizer");
    let dir = Path::new("/no/such/folder");
    let error = save_folder(dir, checkpoint.config(), tensors(&checkpoint), &tokenizer, Kind::Float);
    assert!(error.expect_err("nowhere").to_string().starts_with("/no/such/folder/config.json"));
}

#[test]
fn tensors_that_are_missing_or_misshapen_are_named() {
    let checkpoint = Checkpoint::open(common::fixture("tiny-qwen2")).expect("opens");
    let error = checkpoint.tensor("model.layers.7.mlp.up_proj.weight").expect_err("two layers").to_string();
    assert!(error.contains("no tensor named model.layers.7.mlp.up_proj.weight"), "{error}");
    assert!(error.contains("among them model.layers.0.mlp.up_proj.weight"), "{error}");
    let error = checkpoint.tensor_of("model.norm.weight", &[33]).expect_err("32 wide").to_string();
    assert!(error.contains("model.norm.weight: expected shape [33], got [32]"), "{error}");
    assert_eq!(checkpoint.tensor_of("model.norm.weight", &[32]).expect("reads").size(), [32]);
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let shard = "model-00002-of-00002.safetensors";
    let dir = copy("tiny-qwen2");
    std::fs::remove_file(dir.path().join(shard)).expect("removes");
    let told = error(dir.path());
    assert!(
        told.contains(&format!("missing shard {shard}")) && told.contains("model.safetensors.index.json"),
        "{told}"
    );

    let dir = copy("tiny-qwen2");
    let whole = std::fs::read(dir.path().join(shard)).expect("reads");
    std::fs::write(dir.path().join(shard), &whole[..whole.len() / 2]).expect("writes");
    let told = error(dir.path());
    assert!(told.contains(shard) && told.contains("truncated or damaged"), "{told}");

    let dir = copy("tiny-qwen2");
    let mut other = std::fs::read(dir.path().join("model-00001-of-00002.safetensors")).expect("reads");
    *other.last_mut().expect("bytes") ^= 1;
    std::fs::write(dir.path().join(shard), other).expect("writes");
    let told = error(dir.path());
    assert!(told.contains(shard) && told.contains("unique among shards"), "{told}");

    let dir = copy("tiny-qwen2");
    let index = dir.path().join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).expect("reads").replace(shard, "../secret.safetensors");
    std::fs::write(&index, text).expect("writes");
    assert!(error(dir.path()).contains("no plain file name"), "{}", error(dir.path()));

    let dir = copy("tiny-llama");
    std::fs::rename(dir.path().join("model.safetensors"), dir.path().join("pytorch_model.bin")).expect("renames");
    let told = error(dir.path());
    assert!(told.contains("pytorch_model.bin") && told.contains("runs code"), "{told}");

    let dir = copy("tiny-llama");
    std::fs::remove_file(dir.path().join("model.safetensors")).expect("removes");
    assert!(error(dir.path()).contains("missing model.safetensors"), "{}", error(dir.path()));

    let dir = copy("tiny-llama");
    std::fs::remove_file(dir.path().join("config.json")).expect("removes");
    assert!(error(dir.path()).contains("missing config.json"), "{}", error(dir.path()));

    let dir = copy("tiny-llama");
    std::fs::write(dir.path().join("config.json"), "{\"model_type\": ").expect("writes");
    assert!(error(dir.path()).contains("valid JSON"), "{}", error(dir.path()));

    let dir = copy("tiny-llama");
    std::fs::remove_file(dir.path().join("tokenizer.json")).expect("removes");
    assert!(error(dir.path()).contains("missing tokenizer.json"), "{}", error(dir.path()));

    let dir = copy("tiny-llama");
    std::fs::write(dir.path().join("chat_template.jinja"), "{% for %}").expect("writes");
    assert!(error(dir.path()).contains("chat template"), "{}", error(dir.path()));

    assert!(error(Path::new("/no/such/model")).contains("/no/such/model"));
}

#[test]
fn a_model_without_a_template_gets_plain_text() {
    use relign_core::{Message, Tokenize};
    let dir = copy("tiny-llama");
    std::fs::remove_file(dir.path().join("chat_template.jinja")).expect("removes");
    let tokenizer = Checkpoint::open(dir.path()).expect("opens").tokenizer().expect("has a tokenizer");
    assert!(tokenizer.template().is_none());
    let tokens = tokenizer.render(&[Message::system("Be short."), Message::user("3 + 4?")]).expect("renders");
    assert_eq!(tokenizer.decode(&tokens), "Be short.\n\n3 + 4?\n\n");
}

/// Checkpoints that also see keep their text part under names of its own.
#[test]
fn the_text_part_of_gemma_3_is_a_model() {
    let text = Checkpoint::open(common::fixture("tiny-gemma3_text")).expect("opens");
    let tokenizer = Checkpoint::open(common::fixture("tiny-llama")).expect("opens").tokenizer().expect("has one");
    let older = |name: &str| format!("language_model.{name}");
    let newer = |name: &str| name.replace("model.", "model.language_model.");
    for renamed in [&older as &dyn Fn(&str) -> String, &newer] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut all: Vec<_> = tensors(&text).into_iter().map(|(name, tensor)| (renamed(&name), tensor)).collect();
        all.push(("vision_tower.patch.weight".to_owned(), Tensor::from_slice(&[1.0_f32])));
        save_folder(dir.path(), text.config(), all, &tokenizer, Kind::Float).expect("saves");
        let mut part = text.config().raw.clone();
        let words = part.as_object_mut().expect("an object");
        // What transformers leaves out because it is the family's own.
        for key in ["tie_word_embeddings", "hidden_activation", "architectures"] {
            words.remove(key);
        }
        let config = serde_json::json!({"model_type": "gemma3", "text_config": part, "vision_config": {}});
        std::fs::write(dir.path().join("config.json"), config.to_string()).expect("writes");
        let whole = Checkpoint::open(dir.path()).expect("opens");
        assert_eq!(whole.names(), text.names());
        let (mut a, mut b) = (whole.config().clone(), text.config().clone());
        (a.raw, b.raw) = Default::default();
        assert_eq!(a, b);
        assert_eq!(whole.config().raw["architectures"][0], "Gemma3ForCausalLM");
    }
}

/// What transformers loads is loaded: one file beside the index of shards that are gone or old, a tensor that a second
/// shard repeats, counters that nothing reads, and an index that promises more than there is.
#[test]
fn folders_with_leftovers_are_read_as_in_transformers() {
    let single = |dir: &Path| dir.join("model.safetensors");
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let whole = tensors(&Checkpoint::open(common::fixture("tiny-qwen2")).expect("opens"));

    // The single file counts: its numbers are others than the old shards'.
    let dir = copy("tiny-qwen2");
    let doubled: Vec<_> = whole.iter().map(|(name, tensor)| (name.clone(), tensor * 2.0)).collect();
    Tensor::write_safetensors(&doubled, single(dir.path())).expect("writes");
    assert_eq!(tensors(&Checkpoint::open(dir.path()).expect("opens")), doubled);
    std::fs::remove_file(dir.path().join(first)).expect("removes");
    assert_eq!(tensors(&Checkpoint::open(dir.path()).expect("opens")), doubled);

    // A tensor of a type that is no weight, a repeated one, and a promise.
    let dir = copy("tiny-qwen2");
    let counter = Tensor::from_slice(&[1_i64, 2]);
    let old = Checkpoint::open(dir.path()).expect("opens");
    let mut more = Tensor::read_safetensors(dir.path().join(second)).expect("reads");
    let repeated = Tensor::read_safetensors(dir.path().join(first)).expect("reads").swap_remove(0);
    more.extend([repeated, ("model.position_ids".to_owned(), counter)]);
    drop(old);
    std::fs::remove_file(dir.path().join(second)).expect("removes");
    Tensor::write_safetensors(&more, dir.path().join(second)).expect("writes");
    let index = dir.path().join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).expect("reads");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["weight_map"]["model.rotary.inv_freq"] = second.into();
    std::fs::write(&index, json.to_string()).expect("writes");
    let checkpoint = Checkpoint::open(dir.path()).expect("opens");
    assert_eq!(tensors(&checkpoint), whole);
    let error = checkpoint.tensor("model.position_ids").expect_err("whole numbers").to_string();
    assert!(error.contains("model.position_ids") && error.contains("got I64"), "{error}");
    assert!(checkpoint.has("model.position_ids") && !checkpoint.has("model.rotary.inv_freq"));
}

/// The files of several ages beside tokenizer.json say what templates are given, as in transformers.
#[test]
fn templates_and_special_tokens_are_found_in_files_of_all_ages() {
    let messages = [relign_core::Message::user("hi")];
    let bare = || {
        let dir = copy("tiny-llama");
        let file = dir.path().join("tokenizer_config.json");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|_| "{}".to_owned());
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let map = json.as_object_mut().expect("an object");
        map.retain(|key, _| !["chat_template", "added_tokens_decoder", "bos_token"].contains(&key.as_str()));
        std::fs::write(&file, json.to_string()).expect("writes");
        let _ = std::fs::remove_file(dir.path().join("chat_template.jinja"));
        let _ = std::fs::remove_file(dir.path().join("special_tokens_map.json"));
        dir
    };
    let open = |dir: &Path| Checkpoint::open(dir).expect("opens").tokenizer();
    let write = |dir: &Path, file: &str, text: &str| std::fs::write(dir.join(file), text).expect("writes");

    let dir = bare();
    write(dir.path(), "special_tokens_map.json", r#"{"bos_token": {"content": "<s>"}}"#);
    write(dir.path(), "chat_template.json", r#"{"chat_template": "{{ bos_token }}legacy"}"#);
    assert_eq!(open(dir.path()).expect("reads").render_text(&messages).as_deref(), Ok("<s>legacy"));
    write(dir.path(), "chat_template.jinja", "{% if true %}\r\na{{ x }}\r\n{% endif %}\r\n");
    let arguments = serde_json::json!({"x": "!"}).as_object().expect("an object").clone();
    let tokenizer = open(dir.path()).expect("reads").with_arguments(arguments).expect("takes them");
    assert_eq!(tokenizer.render_text(&messages).as_deref(), Ok("a!\n"));

    let dir = bare();
    let named = serde_json::json!({"chat_template": [
        {"name": "rag", "template": "R{{ documents | length }}"}, {"name": "tool_use", "template": "T"},
    ]});
    write(dir.path(), "tokenizer_config.json", &named.to_string());
    let error = open(dir.path()).expect("reads").render_text(&messages).expect_err("none is the default");
    assert!(error.contains("rag, tool_use") && error.contains("chat_template"), "{error}");
    for (arguments, expected) in [
        (serde_json::json!({"chat_template": "rag", "documents": [1, 2]}), Ok("R2")),
        (serde_json::json!({"tools": []}), Ok("T")),
        (serde_json::json!({"chat_template": "other"}), Err("expected one of rag, tool_use, got other")),
        (serde_json::json!({"messages": []}), Err("messages is RELIGN's own")),
    ] {
        let arguments = arguments.as_object().expect("an object").clone();
        let got = open(dir.path()).expect("reads").with_arguments(arguments);
        match (got.and_then(|tokenizer| tokenizer.render_text(&messages)), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}"),
            (got, expected) => panic!("got {got:?}, expected {expected:?}"),
        }
    }
}
