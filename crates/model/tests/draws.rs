//! The distributions that tokens are drawn from: transformers' for every setting, and the draws follow them.

mod common;

use relign_core::{Sampling, Seed};
use relign_model::logits::{Draw, Seen, Shape, draw};
use relign_model::{Kind, Tensor};
use serde_json::Value;

struct Case {
    name: String,
    sampling: Sampling,
    allowed: Option<Vec<u32>>,
    probabilities: Vec<f64>,
}

struct Fixture {
    logits: Vec<f32>,
    seen: Seen,
    cases: Vec<Case>,
}

fn fixture() -> Fixture {
    let json = common::json("sampling.json");
    let ids = |value: &Value| serde_json::from_value::<Vec<u32>>(value.clone()).expect("ids");
    let mut seen = Seen::new(&ids(&json["prompt"]));
    ids(&json["answer"]).into_iter().for_each(|token| seen.push(token));
    let cases = json["cases"].as_array().expect("cases").iter().map(|case| {
        let mut settings = case.as_object().expect("an object").clone();
        let probabilities = common::numbers(&settings.remove("probabilities").expect("a list"));
        let name = Value::Object(settings.clone()).to_string();
        let allowed = settings.remove("allowed").map(|allowed| {
            let mut bits = vec![0_u32; 2];
            ids(&allowed).into_iter().for_each(|token| bits[token as usize / 32] |= 1 << (token % 32));
            bits
        });
        let sampling = relign_core::parse(Value::Object(settings)).expect("sampling's own words");
        Case { name, sampling, allowed, probabilities }
    });
    let logits = common::numbers(&json["logits"]).into_iter().map(|logit| logit as f32).collect();
    Fixture { cases: cases.collect(), logits, seen }
}

/// A fast row has no shape at all; every other one goes through its own.
fn how<'a>(case: &'a Case, seen: &'a Seen, uniform: f64, odds: Option<usize>) -> Draw<'a> {
    let shape = Shape { sampling: &case.sampling, seen: Some(seen), allowed: case.allowed.as_deref() };
    let shaped = case.allowed.is_some() || !case.sampling.is_plain();
    Draw { temperature: case.sampling.temperature, uniform, shape: shaped.then_some(shape), odds }
}

#[test]
fn distributions_are_those_of_transformers() {
    let Fixture { logits, seen, cases } = fixture();
    let row = Tensor::from_slice(&logits).unsqueeze(0);
    let mut own: Vec<(u32, f64)> =
        (0..).zip(Vec::<f64>::try_from(row.log_softmax(-1, Kind::Double).get(0)).unwrap()).collect();
    own.sort_by(|a, b| b.1.total_cmp(&a.1));
    for case in &cases {
        let drawn = draw(&row, &[how(case, &seen, 0.37, Some(logits.len()))]).remove(0);
        let odds = drawn.odds.expect("asked for");
        // Under the sampler's distribution: what can be drawn, and how likely.
        let mut got = vec![0.0; logits.len()];
        for &(token, logprob) in &odds.sampler {
            got[token as usize] = f64::from(logprob).exp();
        }
        for (token, (got, expected)) in got.iter().zip(&case.probabilities).enumerate() {
            assert!((got - expected).abs() < 2e-6, "{}: token {token}: {got}, expected {expected}", case.name);
            assert_eq!(*got > 0.0, *expected > 0.0 || *got > 0.0 && *got < 1e-10, "{}: token {token}", case.name);
        }
        assert!(odds.sampler.is_sorted_by(|a, b| a.1 >= b.1), "{}", case.name);
        assert_eq!(drawn.logprob, odds.sampler.iter().find(|(token, _)| *token == drawn.token).unwrap().1);
        // Under the model's own, whatever was done to it.
        for ((token, logprob), (expected_token, expected)) in odds.model.iter().zip(&own) {
            assert!((f64::from(*logprob) - expected).abs() < 1e-5 && token == expected_token, "{}", case.name);
        }
        assert_eq!(odds.model[odds.rank.expect("known here") - 1], (drawn.token, odds.logprob));
    }
}

#[test]
fn a_hundred_thousand_draws_follow_the_distribution_of_every_setting() {
    const N: usize = 100_000;
    const BATCH: usize = 1000;
    let Fixture { logits, seen, cases } = fixture();
    let rows = Tensor::from_slice(&logits).unsqueeze(0).repeat([BATCH as i64, 1]);
    for case in &cases {
        let seed = Seed(3).child(&case.name);
        let mut counts = vec![0.0_f64; logits.len()];
        for batch in 0..N / BATCH {
            let uniform = |at: usize| seed.uniform((batch * BATCH + at) as u64);
            let draws: Vec<_> = (0..BATCH).map(|at| how(case, &seen, uniform(at), None)).collect();
            for drawn in draw(&rows, &draws) {
                counts[drawn.token as usize] += 1.0;
                let expected = case.probabilities[drawn.token as usize].ln();
                assert!((f64::from(drawn.logprob) - expected).abs() < 1e-4, "{}", case.name);
            }
        }
        // Rare tokens share one cell, so that the statistic follows its distribution.
        let (mut chi2, mut cells, mut rare) = (0.0, 0, (0.0, 0.0));
        for (&count, &p) in counts.iter().zip(&case.probabilities) {
            let expected = p * N as f64;
            if expected < 5.0 {
                rare = (rare.0 + count, rare.1 + expected);
            } else {
                chi2 += (count - expected).powi(2) / expected;
                cells += 1;
            }
        }
        if rare.1 > 1.0 {
            chi2 += (rare.0 - rare.1).powi(2) / rare.1;
            cells += 1;
        }
        // Mean `freedom` and variance twice that: five deviations above is beyond any honest luck.
        let freedom = f64::from(cells - 1);
        eprintln!("chi-squared {chi2:.1}, {freedom} degrees of freedom: {}", case.name);
        assert!(chi2 <= freedom + 5.0 * (2.0 * freedom).sqrt(), "chi-squared {chi2}, {freedom}: {}", case.name);
    }
}

#[test]
fn a_row_is_drawn_alike_in_any_company() {
    let Fixture { logits, seen, cases } = fixture();
    for kind in [Kind::Float, Kind::BFloat16] {
        let rows = Tensor::from_slice(&logits).unsqueeze(0).repeat([cases.len() as i64, 1]).to_kind(kind);
        let draws: Vec<_> =
            (0..cases.len()).map(|i| how(&cases[i], &seen, Seed(5).uniform(i as u64), Some(3))).collect();
        let together = draw(&rows, &draws);
        for (at, together) in together.iter().enumerate() {
            let alone = draw(&rows.narrow(0, at as i64, 1), &draws[at..=at]).remove(0);
            assert_eq!(&alone, together, "{kind:?}: {}", cases[at].name);
            // Telling the odds changes nothing, and neither does a shape that changes nothing.
            let silent = draw(&rows.narrow(0, at as i64, 1), &[Draw { odds: None, ..draws[at] }]).remove(0);
            assert_eq!((silent.token, silent.logprob), (alone.token, alone.logprob));
            if draws[at].shape.is_none() {
                let idle = Shape { sampling: &cases[at].sampling, seen: Some(&seen), allowed: None };
                let idle = draw(&rows.narrow(0, at as i64, 1), &[Draw { shape: Some(idle), ..draws[at] }]).remove(0);
                assert_eq!(idle, alone, "{kind:?}: {}", cases[at].name);
            }
        }
    }
}

#[test]
fn greedily_the_most_likely_after_bias_and_penalties_is_taken() {
    let Fixture { logits, seen, .. } = fixture();
    let row = Tensor::from_slice(&logits).unsqueeze(0);
    let best = row.argmax(-1, false).int64_value(&[0]) as u32;
    let greedy = |sampling: Sampling| {
        let sampling = Sampling { temperature: 0.0, ..sampling };
        let shape = Some(Shape { sampling: &sampling, seen: Some(&seen), allowed: None });
        draw(&row, &[Draw { temperature: 0.0, uniform: 0.9, shape, odds: None }]).remove(0).token
    };
    assert_eq!(greedy(Sampling { top_k: 3, top_p: 0.1, min_p: 0.5, ..Sampling::default() }), best);
    assert_eq!(greedy(Sampling { logit_bias: [(33, 50.0)].into(), ..Sampling::default() }), 33);
    assert_ne!(greedy(Sampling { logit_bias: [(best, -100.0)].into(), ..Sampling::default() }), best);
}
