//! Every family's gradients equal those of transformers and autograd.
//! The numbers are in fixtures/gradients.json, made by scripts/gradients.py.

mod common;

use std::collections::BTreeMap;

use relign_model::attention::TreeAttention;
use relign_model::{Checkpoint, FAMILIES, Kind, LoadError, Policy, Tensor};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    ids: Vec<i64>,
    weights: Vec<f32>,
    families: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    loss: f64,
    gradients: BTreeMap<String, Watched>,
}

/// A gradient's norm and eight of its elements, evenly spaced from the first to the last.
#[derive(Deserialize)]
struct Watched {
    norm: f64,
    at: Vec<f64>,
}

fn fixture() -> Fixture {
    serde_json::from_value(common::json("gradients.json")).expect("the fixture")
}

/// The weighted sum of log-probabilities of every next token, and its gradients by checkpoint name.
fn gradients(family: &str, kind: Kind, fixture: &Fixture) -> (f64, BTreeMap<String, Vec<f64>>) {
    let checkpoint = Checkpoint::open(common::fixture(&format!("tiny-{family}"))).expect("opens");
    let source = |name: &str| checkpoint.tensor(name).map_err(LoadError::from);
    let mut policy = Policy::load(checkpoint.config(), &source, kind).expect("loads");
    policy.track_gradients(true);
    let model = policy.family();
    let n = fixture.ids.len() as i64;
    let tokens = Tensor::from_slice(&fixture.ids);
    let positions: Vec<i64> = (0..n).collect();
    let hidden = model.forward(&tokens, &positions, &mut TreeAttention::causal(n as usize));
    let logits = hidden.narrow(0, 0, n - 1).matmul(&model.head().weight().tr()).to_kind(Kind::Float);
    let next = tokens.narrow(0, 1, n - 1).unsqueeze(1);
    let logp = logits.log_softmax(-1, Kind::Float).gather(1, &next, false).squeeze();
    let loss = (logp * Tensor::from_slice(&fixture.weights)).sum(Kind::Float);
    loss.backward();
    let mut found = BTreeMap::new();
    for parameter in policy.parameters() {
        let grad = parameter.compute.grad();
        assert!(grad.defined(), "{family}: {} has no gradient", parameter.name);
        for (name, row, rows) in &parameter.parts {
            let part = grad.narrow(0, *row as i64, *rows as i64).to_kind(Kind::Double).contiguous().view([-1]);
            found.insert(name.clone(), Vec::try_from(part).expect("numbers"));
        }
    }
    (loss.double_value(&[]), found)
}

/// Checks loss and gradients within a relative `tolerance`.
fn compare(kind: Kind, tolerance: f64) {
    let fixture = fixture();
    for family in FAMILIES.iter().map(|f| f.name) {
        let expected = fixture.families.get(family).unwrap_or_else(|| panic!("{family} is not in the fixture"));
        let (loss, found) = gradients(family, kind, &fixture);
        assert!((loss - expected.loss).abs() < tolerance * expected.loss.abs(), "{family}: {loss} {}", expected.loss);
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
    compare(Kind::Float, 3e-5);
}

/// bf16 has 8 bits of mantissa: one element may be off by a good part of its size, never the whole.
#[test]
fn gradients_in_bf16_are_near() {
    compare(Kind::BFloat16, 0.15);
}
