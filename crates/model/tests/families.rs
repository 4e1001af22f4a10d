//! Every family says what transformers says: logits of tiny random checkpoints in all variants of their
//! settings, gradients, and the same logits from paged keys and values as from packed trees.
//! The numbers are in fixtures/families.json, made by scripts/families.py.

mod common;

use std::collections::BTreeMap;

use common::{floats, gap};
use relign_model::attention::TreeAttention;
use relign_model::device::WithoutKernels;
use relign_model::kv::{KvPool, PagedRow};
use relign_model::{Checkpoint, Config, FAMILIES, Family, Kind, LoadError, Policy, Source, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Fixture {
    ids: Vec<i64>,
    weights: Vec<f32>,
    families: BTreeMap<String, Vec<Variant>>,
}

/// A checkpoint with some words of its config.json changed; the first of a family has no change.
#[derive(Deserialize)]
struct Variant {
    name: String,
    changes: Map<String, Value>,
    /// The context it is read for.
    context: usize,
    logits: Vec<Logits>,
    /// Weights that the folder does not have.
    #[serde(default)]
    tensors: BTreeMap<String, Vec<f32>>,
    loss: Option<f64>,
    #[serde(default)]
    gradients: BTreeMap<String, Watched>,
}

#[derive(Deserialize)]
struct Logits {
    ids: Vec<i64>,
    /// Every fourth logit of the last token.
    last: Vec<f64>,
    logsumexp: Vec<f64>,
}

/// A gradient's norm and eight of its elements, evenly spaced from the first to the last.
#[derive(Deserialize)]
struct Watched {
    norm: f64,
    at: Vec<f64>,
}

fn fixture() -> Fixture {
    let fixture: Fixture = serde_json::from_value(common::json("families.json")).expect("the fixture");
    for family in FAMILIES {
        assert!(fixture.families.contains_key(family.name), "{} is not in the fixture", family.name);
    }
    fixture
}

fn load(family: &str, variant: &Variant, kind: Kind) -> Policy {
    load_by(family, variant, &|config, source| Policy::load(config, source, kind))
}

fn load_by(
    family: &str,
    variant: &Variant,
    load: &dyn Fn(&Config, &dyn Source) -> Result<Policy, LoadError>,
) -> Policy {
    let checkpoint = Checkpoint::open(common::fixture(&format!("tiny-{family}"))).expect("opens");
    let mut raw = checkpoint.config().raw.clone();
    let words = raw.as_object_mut().expect("an object");
    for (key, value) in &variant.changes {
        match value {
            Value::Null => drop(words.remove(key)),
            Value::String(null) if null == "null" => drop(words.insert(key.clone(), Value::Null)),
            value => drop(words.insert(key.clone(), value.clone())),
        }
    }
    let config =
        Config::for_context(&raw, variant.context).unwrap_or_else(|e| panic!("{family} {}: {e}", variant.name));
    let source = |name: &str| match variant.tensors.get(name) {
        Some(values) => Ok(Tensor::from_slice(values)),
        None => checkpoint.tensor(name).map_err(LoadError::from),
    };
    load(&config, &source).unwrap_or_else(|e| panic!("{family} {}: {e}", variant.name))
}

fn logits(family: &dyn Family, ids: &[i64]) -> Tensor {
    let positions: Vec<i64> = (0..ids.len() as i64).collect();
    let hidden = family.forward(&Tensor::from_slice(ids), &positions, &mut TreeAttention::causal(ids.len()));
    hidden.matmul(&family.head().weight().tr()).to_kind(Kind::Float)
}

/// The logits of paged keys and values, as the engine makes them: a part of the sequence at once, the
/// rest token by token.
fn paged(policy: &mut Policy, family: &dyn Family, ids: &[i64]) -> Tensor {
    let _no_grad = relign_model::no_grad_guard();
    let mut pool = KvPool::new(policy.config(), policy.kind(), relign_core::KvCache::Full);
    let blocks = ids.len().div_ceil(KvPool::BLOCK);
    pool.resize(blocks).expect("memory");
    let table: Vec<u32> = (0..blocks as u32).rev().collect();
    let rows: Vec<PagedRow<'_>> = (1..=ids.len()).map(|len| PagedRow { blocks: &table, len }).collect();
    let first = ids.len() * 2 / 3;
    let ends = std::iter::once(first).filter(|&n| n > 0).chain(first + 1..=ids.len());
    let mut start = 0;
    let mut parts = Vec::new();
    for end in ends {
        let positions: Vec<i64> = (start as i64..end as i64).collect();
        let tokens = Tensor::from_slice(&ids[start..end]);
        parts.push(family.forward(&tokens, &positions, &mut pool.attention(&rows[start..end])));
        start = end;
    }
    family.head().logits(&Tensor::cat(&parts, 0))
}

/// Distances allowed from transformers in f32, and between paged and packed attention, for logits that
/// reach about 10: f32 differs by the order of sums alone, bf16 by its 8 bits of mantissa.
const FROM_TRANSFORMERS: [(Kind, f64); 2] = [(Kind::Float, 1e-4), (Kind::BFloat16, 0.6)];
const PAGED: [f64; 2] = [2e-5, 0.3];

#[test]
fn logits_are_transformers_packed_and_paged() {
    logits_are_transformers();
}

#[test]
fn logits_without_kernels_are_transformers() {
    let _without = WithoutKernels::new();
    logits_are_transformers();
}

fn logits_are_transformers() {
    let fixture = fixture();
    let _no_grad = relign_model::no_grad_guard();
    for (family, variants) in &fixture.families {
        for variant in variants {
            for ((kind, tolerance), apart) in FROM_TRANSFORMERS.into_iter().zip(PAGED) {
                let mut policy = load(family, variant, kind);
                let model = policy.family();
                for case in &variant.logits {
                    let values = logits(&*model, &case.ids);
                    let last = floats(&values.get(-1)).into_iter().step_by(4).collect::<Vec<_>>();
                    let last = gap(&last, &case.last);
                    let sums = gap(&floats(&values.logsumexp(&[-1_i64][..], false)), &case.logsumexp);
                    let cached = gap(&floats(&paged(&mut policy, &*model, &case.ids)), &floats(&values));
                    let n = case.ids.len();
                    let name = &variant.name;
                    eprintln!(
                        "{family} {name:?} {n} tokens {kind:?}: last {last:.1e}, sums {sums:.1e}, paged {cached:.1e}"
                    );
                    assert!(last.max(sums) < tolerance, "{family} {name:?} in {kind:?}, {n} tokens: {last} {sums}");
                    assert!(cached < apart, "{family} {name:?} in {kind:?}, {n} tokens, paged: {cached}");
                }
            }
        }
    }
}

/// Weights in the order that an engine may keep them in say, bit for bit, what they say in that of the checkpoint.
#[test]
fn an_engines_order_of_weights_changes_no_bit() {
    let full = relign_core::RolloutWeights::Full;
    for kind in [Kind::Float, Kind::BFloat16] {
        for (family, variants) in &fixture().families {
            let variant = &variants[0];
            let [plain, ordered] = [false, true].map(|ordered| {
                let mut policy = load_by(family, variant, &|config, source| match ordered {
                    true => Policy::load_to_generate(config, source, kind, full),
                    false => Policy::load(config, source, kind),
                });
                let model = if ordered { policy.sampling_family(full) } else { policy.family() };
                floats(&paged(&mut policy, &*model, &variant.logits[0].ids))
            });
            assert_eq!(plain, ordered, "{family} in {kind:?}");
        }
        if !Policy::is_reordered(kind) {
            relign_core::skipped!(
                hardware: "this CPU multiplies {kind:?} in the checkpoint's order, so equal loads were compared"
            );
        }
    }
}

/// What samples from a policy that learns says, bit for bit, what learns does, before and after the weights change; and
/// the latter has gradients whichever was made first.
#[test]
fn what_samples_follows_what_learns() {
    for kind in [Kind::Float, Kind::BFloat16] {
        for (family, variants) in &fixture().families {
            let variant = &variants[0];
            let mut policy = load(family, variant, kind);
            let sampler = policy.sampling_family(relign_core::RolloutWeights::Full);
            let learner = policy.family();
            let ids = &variant.logits[0].ids;
            let mut said = Vec::new();
            for _ in 0..2 {
                let [learned, sampled] = [&learner, &sampler].map(|model| floats(&paged(&mut policy, &**model, ids)));
                assert_eq!(learned, sampled, "{family} in {kind:?}");
                said.push(sampled);
                for parameter in policy.parameters() {
                    let _ = tch::no_grad(|| parameter.master.shallow_clone().g_mul_scalar_(0.75));
                }
                policy.publish();
            }
            assert_ne!(said[0], said[1], "{family} in {kind:?}: weights that changed");
            policy.track_gradients(true);
            logits(&*policy.family(), ids).sum(Kind::Float).backward();
            for parameter in policy.parameters() {
                assert!(parameter.compute.grad().defined(), "{family}: {} has no gradient", parameter.name);
            }
        }
    }
}

/// The weighted sum of log-probabilities of every next token, and its gradients by checkpoint name.
fn gradients(family: &str, variant: &Variant, kind: Kind, fixture: &Fixture) -> (f64, BTreeMap<String, Vec<f64>>) {
    let mut policy = load(family, variant, kind);
    policy.track_gradients(true);
    let model = policy.family();
    // No longer than the model's context.
    let n = fixture.ids.len().min(policy.config().context) as i64;
    let ids = &fixture.ids[..n as usize];
    let logits = logits(&*model, ids).narrow(0, 0, n - 1);
    let next = Tensor::from_slice(&ids[1..]).unsqueeze(1);
    let logp = logits.log_softmax(-1, Kind::Float).gather(1, &next, false).squeeze();
    let loss = (logp * Tensor::from_slice(&fixture.weights[..n as usize - 1])).sum(Kind::Float);
    loss.backward();
    let mut found = BTreeMap::new();
    for parameter in policy.parameters() {
        let grad = parameter.compute.grad();
        assert!(grad.defined(), "{family}: {} has no gradient", parameter.name);
        for (name, row, rows) in &parameter.parts {
            found.insert(name.clone(), floats(&grad.narrow(0, *row as i64, *rows as i64)));
        }
    }
    (loss.double_value(&[]), found)
}

/// Checks loss and gradients within a relative `tolerance`.
fn compare(kind: Kind, tolerance: f64) {
    let fixture = fixture();
    for (family, variants) in &fixture.families {
        let expected = &variants[0];
        let (loss, found) = gradients(family, expected, kind, &fixture);
        let expected_loss = expected.loss.expect("the loss of the first variant");
        assert!((loss - expected_loss).abs() < tolerance * expected_loss.abs(), "{family}: {loss} {expected_loss}");
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.gradients.keys().collect::<Vec<_>>(), "{family}");
        let mut largest = 0.0_f64;
        for (name, Watched { norm, at }) in &expected.gradients {
            let values = &found[name];
            assert!(values.iter().all(|x| x.is_finite()) && values.iter().any(|&x| x != 0.0), "{family}: {name}");
            let own = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!((own - norm).abs() < tolerance * norm, "{family}: the norm of {name}: {own}, expected {norm}");
            // Elements are held to the tensor's usual size: small ones are differences of large ones.
            let usual = norm / (values.len() as f64).sqrt();
            for (i, &expected) in at.iter().enumerate() {
                let got = values[(values.len() - 1) * i / 7];
                let gap = (got - expected).abs() / (usual + expected.abs());
                largest = largest.max(gap);
                assert!(gap < tolerance, "{family}: element {i} of {name}: {got}, expected {expected}");
            }
        }
        eprintln!("{family} in {kind:?}: gradients differ by at most {largest:.1e} of their size");
    }
}

#[test]
fn gradients_are_transformers() {
    compare(Kind::Float, 5e-5);
}

/// What runs on a GPU, on the CPU.
#[test]
fn gradients_without_kernels_are_transformers() {
    let _without = WithoutKernels::new();
    compare(Kind::Float, 5e-5);
}

/// bf16 has 8 bits of mantissa: one element may be off by a good part of its size, never the whole.
#[test]
fn gradients_in_bf16_are_near() {
    compare(Kind::BFloat16, 0.25);
}

#[test]
fn what_no_family_implements_is_named() {
    let raw = |family: &str| {
        Checkpoint::open(common::fixture(&format!("tiny-{family}"))).expect("opens").config().raw.clone()
    };
    for (family, key, value, expected) in [
        ("llama", "rope_parameters", serde_json::json!({"rope_type": "ntk", "factor": 2.0}), "got ntk"),
        ("llama", "rope_parameters", serde_json::json!({"rope_type": "dynamic"}), "dynamic: `factor` is missing"),
        ("llama", "rope_parameters", serde_json::json!({"rope_type": 3}), "expected the name of a type, got 3"),
        (
            "llama",
            "hidden_act",
            serde_json::json!("relu"),
            "`hidden_act`: expected silu or gelu_pytorch_tanh, got relu",
        ),
        ("llama", "num_hidden_layers", serde_json::json!(-3), "`num_hidden_layers`: expected a positive whole number"),
        ("llama", "tie_word_embeddings", serde_json::json!("yes"), "`tie_word_embeddings`: expected true or false"),
        ("llama", "partial_rotary_factor", serde_json::json!(0.5), "0.5 of 16 does not fit the family"),
        ("llama", "rope_parameters", serde_json::json!({"rope_type": "linear"}), "linear: `factor` is missing"),
        ("llama", "rope_parameters", serde_json::json!({"rope_theta": 0.0}), "expected a positive number, got 0.0"),
        ("llama", "model_type", serde_json::json!(null), "`model_type` is missing"),
        (
            "mistral",
            "sliding_window",
            serde_json::json!(0),
            "`sliding_window`: expected a positive whole number, got 0",
        ),
        ("gemma3_text", "final_logit_softcapping", serde_json::json!(30.0), "`final_logit_softcapping`: expected none"),
        ("gemma3_text", "layer_types", serde_json::json!(["chunked_attention", "", ""]), "got \"chunked_attention\""),
        ("gemma3_text", "layer_types", serde_json::json!(["full_attention"]), "expected one for each of 3"),
        ("phi3", "partial_rotary_factor", serde_json::json!("much"), "`partial_rotary_factor`: expected a number"),
    ] {
        let mut raw = raw(family);
        raw[key] = value;
        let error = Config::from_hf(&raw).expect_err(key).to_string();
        assert!(error.contains(expected), "{key}: {error}");
    }
    let mut longrope = raw("phi3");
    longrope["rope_parameters"]["short_factor"] = serde_json::json!([1.0, 2.0]);
    let error = Config::from_hf(&longrope).expect_err("too few").to_string();
    assert!(error.contains("`short_factor`: expected 3 positive numbers"), "{error}");
}

/// Within its original context LongRoPE takes the short factors, beyond it the long ones.
#[test]
fn longrope_is_chosen_by_the_context() {
    let raw = Checkpoint::open(common::fixture("tiny-phi3")).expect("opens").config().raw.clone();
    let [short, also_short, long] = [0, 32, 33].map(|n| Config::for_context(&raw, n).expect("valid"));
    assert_eq!(short, also_short);
    assert_eq!((short.context, long.context), (32, 256));
    assert!(short.rope.frequencies.iter().zip(&long.rope.frequencies).all(|(s, l)| s > l));
    assert!(short.rope.magnitude > 1.0);
}

/// A type that is null is none, the older name counts where the newer is null, and dynamic frequencies are the plain ones
/// within the model's context.
#[test]
fn rope_types_may_be_null_or_dynamic() {
    let read = |value: serde_json::Value| {
        let mut raw = Checkpoint::open(common::fixture("tiny-llama")).expect("opens").config().raw.clone();
        raw["rope_parameters"] = value;
        Config::from_hf(&raw).expect("reads").rope
    };
    let plain = read(serde_json::json!(null));
    for same in [
        serde_json::json!({"rope_type": null}),
        serde_json::json!({"type": null, "factor": 4.0}),
        serde_json::json!({"rope_type": "dynamic", "factor": 4.0}),
    ] {
        assert_eq!(read(same.clone()), plain, "{same}");
    }
    let linear = read(serde_json::json!({"rope_type": null, "type": "linear", "factor": 2.0}));
    assert_eq!(linear.frequencies[0], plain.frequencies[0] / 2.0);
}
