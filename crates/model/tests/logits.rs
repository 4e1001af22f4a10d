//! Logits equal transformers'.

mod common;

use common::{floats, gap, logits, numbers, policy};
use relign_core::Message;
use relign_model::{Checkpoint, Kind, Tensor};

/// Distances allowed for logits of the tiny models (which reach about 10) and of the real ones
/// (about 30): f32 differs by the order of sums alone, bf16 by its 8 bits of mantissa.
const TINY: [(Kind, f64); 2] = [(Kind::Float, 1e-4), (Kind::BFloat16, 0.3)];
const REAL: [(Kind, f64); 2] = [(Kind::Float, 1e-3), (Kind::BFloat16, 0.75)];

#[test]
fn tiny_models_say_the_same() {
    let fixture = common::json("tiny.json");
    for (family, path) in [("llama", "tiny-llama"), ("llama", "tiny-llama.gguf"), ("qwen2", "tiny-qwen2")] {
        let checkpoint = Checkpoint::open(common::fixture(path)).expect("opens");
        for (kind, tolerance) in TINY {
            let mut policy = policy(&checkpoint, kind);
            for case in fixture["logits"][family].as_array().expect("cases") {
                let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).expect("ids");
                let values = logits(&mut policy, &ids);
                let last = gap(&floats(&values.get(-1)), &numbers(&case["last"]));
                let sums = gap(&floats(&values.logsumexp(&[-1_i64][..], false)), &numbers(&case["logsumexp"]));
                let following = Tensor::from_slice(&ids[1..].iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
                let next = values.narrow(0, 0, ids.len() as i64 - 1).gather(1, &following.unsqueeze(1), false);
                let next = gap(&floats(&next), &numbers(&case["next"]));
                eprintln!("{path}, {} tokens, {kind:?}: last {last:.1e}, sums {sums:.1e}, next {next:.1e}", ids.len());
                assert!(last.max(sums).max(next) < tolerance, "{path} in {kind:?}: {last} {sums} {next}");
            }
        }
    }
}

fn real(fixture: &str, kinds: &[(Kind, f64)]) {
    let fixture = common::json(fixture);
    let Some(path) = common::model(fixture["model"].as_str().expect("a file")) else { return };
    let checkpoint = Checkpoint::open(path).expect("opens");
    let tokenizer = checkpoint.tokenizer().expect("has a tokenizer");
    for &(kind, tolerance) in kinds {
        let mut policy = policy(&checkpoint, kind);
        for case in fixture["cases"].as_array().expect("cases") {
            let prompt = case["prompt"].as_str().expect("a prompt");
            let text = tokenizer.render_text(&[Message::user(prompt)]).expect("renders");
            let ids = tokenizer.encode_with_specials(&text);
            assert_eq!(common::fnv([ids.clone()]), case["ids"].as_str().expect("a hash"), "{prompt:?} became {ids:?}");
            let values = logits(&mut policy, &ids);
            let last = values.get(-1);
            let top: Vec<(i64, f64)> = serde_json::from_value(case["top"].clone()).expect("pairs");
            let indices = Tensor::from_slice(&top.iter().map(|(id, _)| *id).collect::<Vec<_>>());
            let expected: Vec<f64> = top.iter().map(|(_, value)| *value).collect();
            let tops = gap(&floats(&last.index_select(0, &indices)), &expected);
            let following = Tensor::from_slice(&ids[1..].iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
            let logprobs = values.log_softmax(-1, Kind::Float).narrow(0, 0, ids.len() as i64 - 1);
            let logprobs = floats(&logprobs.gather(1, &following.unsqueeze(1), false));
            let sum = (logprobs.iter().sum::<f64>() - case["logprob_sum"].as_f64().expect("a number")).abs();
            let tail = numbers(&case["logprobs"]);
            let next = gap(&logprobs[logprobs.len() - tail.len()..], &tail);
            let mean = (last.mean(Kind::Double).double_value(&[]) - case["mean"].as_f64().expect("a number")).abs();
            let std = (last.std(true).double_value(&[]) - case["std"].as_f64().expect("a number")).abs();
            let n = ids.len();
            eprintln!(
                "{kind:?}, {n} tokens: top {tops:.1e}, next {next:.1e}, sum {sum:.1e}, mean {mean:.1e}, std {std:.1e}"
            );
            assert!(tops.max(next).max(mean).max(std) < tolerance, "{prompt:?} in {kind:?}");
            assert!(sum < tolerance * n as f64 / 2.0, "{prompt:?} in {kind:?}");
            if kind == Kind::Float {
                assert_eq!(last.argmax(-1, false).int64_value(&[]), top[0].0, "{prompt:?}");
            }
        }
    }
}

#[test]
fn smollm2_says_the_same() {
    real("logits-smollm2.json", &REAL);
}

#[test]
fn qwen2_says_the_same() {
    real("logits-qwen2.5.json", &REAL);
}

#[test]
fn qwen2_of_more_layers_says_the_same() {
    // In f32 alone: three times the size says nothing new about bf16.
    real("logits-qwen2.5-1.5b.json", &REAL[..1]);
}

#[test]
fn gemma3_says_the_same() {
    // In f32 alone: bf16 takes long with so large a vocabulary, and the tiny models have it.
    real("logits-gemma3.json", &REAL[..1]);
}
