//! PEFT adapters, merged as they are read, give the logits that PEFT gives.

mod common;

use relign_model::attention::TreeAttention;
use relign_model::{Checkpoint, GgmlType, Kind, Policy, Tensor, adapter_base, save_gguf};
use serde_json::{Value, json};

fn logits(checkpoint: &Checkpoint, ids: &[i64]) -> Tensor {
    let mut policy = Policy::load(checkpoint.config(), checkpoint, Kind::Float).expect("loads");
    let family = policy.family();
    let _no_grad = relign_model::no_grad_guard();
    let positions: Vec<i64> = (0..ids.len() as i64).collect();
    let hidden = family.forward(&Tensor::from_slice(ids), &positions, &mut TreeAttention::causal(ids.len()));
    family.head().forward(&hidden).to_kind(Kind::Double)
}

fn gap(tensor: &Tensor, expected: &Value) -> f64 {
    let expected: Vec<f64> = serde_json::from_value(expected.clone()).expect("numbers");
    (tensor - Tensor::from_slice(&expected)).abs().max().double_value(&[])
}

#[test]
fn an_adapted_model_says_what_peft_says() {
    let fixture = common::json("lora.json");
    for name in ["tiny-lora", "tiny-lora-tied"] {
        let case = &fixture["cases"][name];
        let base = case["base"].as_str().expect("a name");
        let plain = Checkpoint::open(common::fixture(base)).expect("opens");
        let ids: Vec<i64> = serde_json::from_value(case["ids"].clone()).expect("ids");
        let before = gap(&logits(&plain, &ids).get(-1), &case["last"]);
        assert!(before > 0.1, "{name} does nothing: {before}");
        let adapted = plain.with_adapter(&common::fixture(name)).expect("fits");
        assert_eq!(adapter_base(&common::fixture(name)).expect("reads").expect("named").name, format!("../{base}"));
        let values = logits(&adapted, &ids);
        let last = gap(&values.get(-1), &case["last"]);
        let sums = gap(&values.logsumexp(&[-1_i64][..], false), &case["logsumexp"]);
        eprintln!("{name}: last {last:.1e}, sums {sums:.1e}, without the adapter {before:.1e}");
        assert!(last.max(sums) < 1e-4, "{name}: {last} {sums}");

        // Merged for good, in a file.
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("merged.gguf");
        save_gguf(&file, &adapted, GgmlType::F32).expect("writes");
        let merged = logits(&Checkpoint::open(&file).expect("opens"), &ids);
        assert!(gap(&merged.get(-1), &case["last"]) < 1e-4, "{name} merged");
    }
}

#[test]
fn adapters_that_do_not_fit_or_are_of_another_kind_are_refused() {
    let config = std::fs::read(common::fixture("tiny-lora").join("adapter_config.json")).expect("reads");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let weights = std::fs::read(common::fixture("tiny-lora").join("adapter_model.safetensors")).expect("reads");
    let try_with = |changes: Value, base: &str, file: &str, weights: &[u8]| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = config.clone();
        for (key, value) in changes.as_object().expect("an object") {
            config[key] = value.clone();
        }
        std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).expect("writes");
        std::fs::write(dir.path().join(file), weights).expect("writes");
        let alone = Checkpoint::open(dir.path()).err().expect("no model").to_string();
        assert!(alone.contains("PEFT adapter; its base model"), "{alone}");
        let checkpoint = Checkpoint::open(common::fixture(base)).expect("opens");
        checkpoint.with_adapter(dir.path()).err().map(|e| e.to_string())
    };
    let file = "adapter_model.safetensors";
    assert_eq!(try_with(json!({}), "tiny-llama", file, &weights), None);
    for (changes, said) in [
        (json!({"peft_type": "IA3"}), "peft_type: expected LORA, got IA3"),
        (json!({"use_dora": true}), "use_dora"),
        (json!({"lora_bias": true}), "lora_bias"),
        (json!({"init_lora_weights": "pissa_niter_4"}), "pissa_niter_4 need a changed base model"),
        (json!({"layer_replication": [[0, 1]]}), "layer_replication"),
        (json!({"alpha_pattern": {"(": 3}}), "pattern in the settings"),
        (json!({"r": 0}), "expected at least 1, got 0"),
        (json!({"r": "many"}), "those of a LoRA adapter"),
    ] {
        let error = try_with(changes, "tiny-llama", file, &weights).expect(said);
        assert!(error.contains(said) && error.contains("adapter_"), "{said}: {error}");
    }
    let error = try_with(json!({}), "tiny-llama", "adapter_model.bin", &weights).expect("pickled");
    assert!(error.contains("runs code"), "{error}");
    let error = try_with(json!({}), "tiny-llama", file, &weights[..weights.len() - 9]).expect("cut short");
    assert!(error.contains("truncated or damaged"), "{error}");

    // An adapter for another model.
    let dir = tempfile::tempdir().expect("a temporary folder");
    let wide = Tensor::zeros([4, 48], (Kind::Float, relign_model::Device::Cpu));
    let names = ["lora_A", "lora_B"].map(|f| format!("base_model.model.model.layers.0.self_attn.q_proj.{f}.weight"));
    relign_model::Tensor::write_safetensors(
        &[(names[0].clone(), wide.shallow_clone()), (names[1].clone(), wide.tr().contiguous())],
        dir.path().join(file),
    )
    .expect("writes");
    std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).expect("writes");
    let checkpoint = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
    let error = checkpoint.with_adapter(dir.path()).err().expect("48 wide").to_string();
    assert!(error.contains("layers.0.self_attn.q_proj") && error.contains("shape [64, 32]"), "{error}");
}

/// Tokens that were added in training make both matrices of the vocabulary longer; one alone fits no model.
#[test]
fn adapters_with_a_longer_vocabulary_are_read_or_refused() {
    let base = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
    let (vocab, hidden) = (base.config().vocab as i64, base.config().hidden as i64);
    let rows = |n: i64| Tensor::ones([n, hidden], (Kind::Float, relign_model::Device::Cpu));
    let with = |tensors: &[(&str, Tensor)]| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = json!({"peft_type": "LORA", "r": 4});
        std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).expect("writes");
        let file = dir.path().join("adapter_model.safetensors");
        relign_model::Tensor::write_safetensors(tensors, file).expect("writes");
        let base = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
        base.with_adapter(dir.path()).map(|checkpoint| {
            let shape = checkpoint.tensor("lm_head.weight").expect("reads").size();
            (checkpoint.config().vocab as i64, checkpoint.config().raw["vocab_size"].clone(), shape)
        })
    };
    let names = ["embed_tokens", "lm_head"];
    let [embedding, head] =
        [format!("base_model.model.model.{}.weight", names[0]), format!("base_model.model.{}.weight", names[1])];
    let longer = with(&[(&embedding, rows(vocab + 3)), (&head, rows(vocab + 3))]).expect("fits");
    assert_eq!(longer, (vocab + 3, json!(vocab + 3), vec![vocab + 3, hidden]));
    for tensors in [
        vec![(embedding.as_str(), rows(vocab + 3))],
        vec![(head.as_str(), rows(vocab + 3))],
        vec![(embedding.as_str(), rows(vocab + 3)), (head.as_str(), rows(vocab + 2))],
    ] {
        let error = with(&tensors).expect_err("two vocabularies").to_string();
        assert!(error.contains("one number of tokens"), "{error}");
    }
}

/// Of patterns that fit a module the first in the file counts, as in PEFT.
#[test]
fn the_first_pattern_of_the_file_counts() {
    let scaled = |patterns: &str| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(common::fixture("tiny-lora").join(file), dir.path().join(file)).expect("copies");
        }
        let file = dir.path().join("adapter_config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).expect("reads")).expect("JSON");
        config["alpha_pattern"] = serde_json::from_str(patterns).expect("JSON");
        std::fs::write(&file, config.to_string()).expect("writes");
        let base = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
        let adapted = base.with_adapter(dir.path()).expect("fits");
        adapted.tensor("model.layers.0.self_attn.q_proj.weight").expect("reads")
    };
    let (three, five) = (scaled(r#"{"q_proj": 3}"#), scaled(r#"{"q_proj": 5}"#));
    assert_ne!(three, five);
    assert_eq!(scaled(r#"{"self_attn.q_proj": 3, "q_proj": 5}"#), three);
    assert_eq!(scaled(r#"{"q_proj": 5, "layers.0.self_attn.q_proj": 3}"#), five);
    assert_eq!(scaled(r#"{"self_attn.q_proj": 5, "layers.0.self_attn.q_proj": 3}"#), five);
}
