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
