//! Reward models say what transformers says: one and two labels for a text or a token, a head of two layers, and the
//! logits of chosen tokens. The numbers are in fixtures/heads.json, made by scripts/heads.py.

mod common;

use std::collections::BTreeMap;

use common::gap;
use relign_model::{Asked, Checkpoint, FAMILIES, Grader, Kind, LoadError, Tensor};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Fixture {
    texts: Vec<Vec<u32>>,
    places: Vec<Vec<usize>>,
    tokens: Vec<u32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    family: String,
    kind: String,
    tensors: BTreeMap<String, Value>,
    /// By text and place.
    numbers: Vec<Vec<Vec<f64>>>,
}

fn fixture() -> Fixture {
    serde_json::from_value(common::json("heads.json")).expect("the fixture")
}

fn tensor(value: &Value) -> Tensor {
    match serde_json::from_value::<Vec<Vec<f32>>>(value.clone()) {
        Ok(rows) => Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1]),
        Err(_) => Tensor::from_slice(&serde_json::from_value::<Vec<f32>>(value.clone()).expect("numbers")),
    }
}

/// The tiny checkpoint with a head, and without its output matrix where it needs none.
fn source<'a>(checkpoint: &'a Checkpoint, case: &'a Case) -> impl Fn(&str) -> Result<Tensor, LoadError> + 'a {
    move |name| match case.tensors.get(name) {
        Some(value) => Ok(tensor(value)),
        None if name.starts_with("lm_head") && !case.tensors.is_empty() => Err(LoadError::Missing(name.to_owned())),
        None => Ok(checkpoint.tensor(name)?),
    }
}

fn open(case: &Case, tokens: &[u32]) -> Grader {
    let checkpoint = Checkpoint::open(common::fixture(&format!("tiny-{}", case.family))).expect("opens");
    let source = source(&checkpoint, case);
    assert_eq!(Grader::has_labels(&source), case.kind != "tokens");
    let grader = if case.kind == "tokens" {
        Grader::with_tokens(checkpoint.config(), &source, Kind::Float, tokens)
    } else {
        Grader::with_labels(checkpoint.config(), &source, Kind::Float)
    };
    grader.unwrap_or_else(|e| panic!("{} {}: {e}", case.family, case.kind))
}

fn asked(fixture: &Fixture, case: &Case, grader: &Grader) -> Vec<Asked> {
    let places = |at: usize| match case.kind.starts_with("sequence") {
        true => vec![grader.last_place(&fixture.texts[at])],
        false => fixture.places[at].clone(),
    };
    let ask = |(at, tokens): (usize, &Vec<u32>)| Asked { tokens: tokens.clone(), places: places(at) };
    fixture.texts.iter().enumerate().map(ask).collect()
}

#[test]
fn numbers_are_those_of_transformers() {
    let fixture = fixture();
    for family in FAMILIES {
        let kinds = fixture.cases.iter().filter(|case| case.family == family.name).map(|case| case.kind.as_str());
        let kinds: Vec<&str> = kinds.collect();
        assert!(kinds.contains(&"sequence, 1 label") && kinds.contains(&"tokens"), "{}: {kinds:?}", family.name);
    }
    for case in &fixture.cases {
        let grader = open(case, &fixture.tokens);
        assert_eq!(grader.numbers(), case.numbers[0][0].len());
        let asked = asked(&fixture, case, &grader);
        for (at, (got, expected)) in grader.read(&asked).into_iter().zip(&case.numbers).enumerate() {
            let got = got.unwrap_or_else(|e| panic!("{} {}: {e}", case.family, case.kind));
            let got: Vec<f64> = got.concat().into_iter().map(f64::from).collect();
            let gap = gap(&got, &expected.concat());
            assert!(gap < 2e-4, "{} {}, text {at}: off by {gap}", case.family, case.kind);
        }
    }
}

#[test]
fn a_text_depends_on_itself_alone() {
    let fixture = fixture();
    let case = fixture.cases.iter().find(|case| case.kind == "two layers").expect("in the fixture");
    let grader = open(case, &[]);
    let asked = asked(&fixture, case, &grader);
    let together = grader.read(&asked);
    for (one, together) in asked.iter().zip(&together) {
        assert_eq!(&grader.read(std::slice::from_ref(one))[0], together);
    }
    // What cannot be read is said of that text, and the others are read.
    let mut bad = asked.clone();
    bad[0].tokens.clear();
    bad[1].places.push(99);
    bad[2].tokens = vec![5; 300];
    bad.push(Asked { tokens: vec![5000], places: vec![0] });
    let answers = grader.read(&bad);
    for (at, said) in [(0, "1 to 256 tokens, got 0"), (1, "places below 9, got 99"), (2, "got 300"), (4, "got 5000")] {
        let error = answers[at].as_ref().unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(answers[3], together[3]);
    assert!(grader.read(&[]).is_empty());
}

#[test]
fn a_model_without_the_head_is_an_error() {
    let checkpoint = Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
    assert!(!Grader::has_labels(&checkpoint));
    let error = Grader::with_labels(checkpoint.config(), &checkpoint, Kind::Float).err().expect("no head");
    assert_eq!(error.to_string(), "tensor `score.weight`: expected in the checkpoint, not found");
    for (shape, said) in [([1, 31], "expected shape [1, 32], got [1, 31]"), ([0, 32], "expected shape [1, 32]")] {
        let source = |name: &str| match name {
            "score.weight" => Ok(Tensor::zeros(shape, (Kind::Float, relign_model::Device::Cpu))),
            name => Ok(checkpoint.tensor(name)?),
        };
        let error = Grader::with_labels(checkpoint.config(), &source, Kind::Float).err().expect("a wrong head");
        assert!(error.to_string().contains(said), "{error}");
    }
}
