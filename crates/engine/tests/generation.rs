//! What the engine samples, against a plain loop over whole sequences.

mod common;

use common::*;
use relign_core::{Finish, Generate, Request, Sampling, Seed};
use relign_engine::EngineOptions;
use relign_model::attention::TreeAttention;
use relign_model::device::WithoutKernels;
use relign_model::logits::TokenStats;
use relign_model::ops::logits;
use relign_model::{Kind, Segment, Tensor};

fn mixed() -> Vec<Request> {
    (0..12)
        .map(|id| {
            let temperature = [0.0, 1.0, 0.7][id as usize % 3];
            request(id, prompt(id, 1 + (id as usize * 13) % 70), temperature, 5 + (id as usize * 7) % 40)
        })
        .collect()
}

#[test]
fn tokens_and_logprobs_are_those_of_the_plain_loop() {
    plain_loop();
}

/// What runs on a GPU, on the CPU.
#[test]
fn tokens_without_kernels_are_those_of_the_plain_loop() {
    let _without = WithoutKernels::new();
    plain_loop();
}

fn plain_loop() {
    for family in ["llama", "qwen2"] {
        let mut policy = policy(family, 3);
        let got = run(&mut engine(&mut policy, &options()), &mixed());
        for (request, got) in mixed().iter().zip(got) {
            let (tokens, logprobs) = naive(&mut policy, request);
            assert_eq!(got.tokens, tokens, "{family}, request {}", request.id);
            for (a, b) in got.logprobs.iter().zip(logprobs) {
                assert!((f64::from(*a) - b).abs() < 1e-4, "{family}, request {}: {a} and {b}", request.id);
            }
            let ended = if tokens.last() == Some(&EOS) { Finish::Stop } else { Finish::Length };
            assert_eq!(got.finish, ended);
        }
    }
}

#[test]
fn results_do_not_depend_on_company() {
    let mut policy = policy("llama", 4);
    let alone: Vec<_> =
        mixed().iter().map(|r| run(&mut engine(&mut policy, &options()), std::slice::from_ref(r)).remove(0)).collect();
    let schedules = [
        options(),
        EngineOptions { prefill_tokens: 1, ..options() },
        EngineOptions { prefill_tokens: 7, max_sequences: 3, ..options() },
        EngineOptions { prefill_tokens: 33, max_sequences: 1, ..options() },
        blocks(14),
    ];
    for schedule in schedules {
        let mut engine = engine(&mut policy, &schedule);
        let together = run(&mut engine, &mixed());
        for (a, b) in alone.iter().zip(&together) {
            assert_eq!((&a.tokens, &a.text, a.finish), (&b.tokens, &b.text, b.finish), "{schedule:?}");
            assert_eq!(a.logprobs, b.logprobs, "{schedule:?}: the same bits");
        }
        // A second time everything is cached, and nothing else changes.
        for (a, b) in alone.iter().zip(run(&mut engine, &mixed())) {
            assert_eq!((&a.tokens, &a.logprobs), (&b.tokens, &b.logprobs), "{schedule:?}, cached");
        }
    }
}

/// What sampling goes through the trainer goes through as well: the log-probabilities are equal to the last bit.
#[test]
fn the_trainer_sees_the_bits_that_were_sampled_from() {
    for (family, kind) in [("llama", Kind::Float), ("qwen2", Kind::Float), ("llama", Kind::BFloat16)] {
        let mut policy = policy_in(family, 12, kind);
        let requests: Vec<_> = mixed().into_iter().filter(|r| r.sampling.temperature > 0.0).collect();
        let sampled = run(&mut engine(&mut policy, &options()), &requests);
        for (request, completion) in requests.iter().zip(sampled) {
            let tokens: Vec<u32> = request.prompt.iter().chain(&completion.tokens).copied().collect();
            // As in training: a prompt, and a completion that continues it.
            let (prompt, len) = (request.prompt.len(), completion.tokens.len());
            let mut attention = TreeAttention::new(vec![
                Segment { start: 0, len: prompt, parent: None },
                Segment { start: prompt, len, parent: Some(0) },
            ]);
            let positions = attention.positions();
            let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
            let family = policy.family();
            let hidden = family.forward(&Tensor::from_slice(&ids), &positions, &mut attention);
            let rows = hidden.narrow(0, prompt as i64 - 1, len as i64);
            let logits = logits(&rows, family.head().weight());
            let stats = TokenStats::of(&logits, &completion.tokens, request.sampling.temperature);
            assert_eq!(stats.logp, completion.logprobs, "{kind:?}, request {}", request.id);
        }
    }
}

#[test]
fn equal_engines_give_equal_bits() {
    let mut policy = policy("llama", 5);
    let mut first = engine(&mut policy, &blocks(14));
    let once = run(&mut first, &mixed());
    assert_eq!(once, run(&mut engine(&mut policy, &blocks(14)), &mixed()));
    first.release();
    assert_eq!(once, run(&mut first, &mixed()), "after release the engine is as new");
    first.set_version(0);
    assert_eq!(once, run(&mut first, &mixed()), "after a new version the engine is as new");
}

#[test]
fn crowded_sequences_give_way_and_come_back() {
    let mut policy = policy("llama", 6);
    let requests: Vec<_> = (0..6)
        .map(|id| Request {
            sampling: Sampling { temperature: 1.0, max_tokens: 100, ignore_eos: true, ..Sampling::default() },
            ..request(id, prompt(id, 10), 1.0, 100)
        })
        .collect();
    let free = run(&mut engine(&mut policy, &options()), &requests);
    let mut tight = engine(&mut policy, &blocks(12));
    let crowded = run(&mut tight, &requests);
    let stats = tight.stats();
    assert!(stats.preemptions > 0 && stats.peak_blocks <= 12, "{stats:?}");
    assert_eq!(stats.generated_tokens, 600);
    assert_eq!(stats.prompt_tokens, 60);
    for (a, b) in free.iter().zip(crowded) {
        assert_eq!(a.tokens, b.tokens, "request {}", a.id);
    }
}

#[test]
fn weights_that_change_leave_no_trace() {
    let (mut old, mut new) = (policy("llama", 7), policy("llama", 8));
    let mut shared = policy("llama", 7);
    let mut engine_ = engine(&mut shared, &options());
    let ask = request(1, prompt(1, 40), 1.0, 20);
    let before = run(&mut engine_, std::slice::from_ref(&ask)).remove(0);
    assert_eq!(before.tokens, naive(&mut old, &ask).0);
    assert_eq!(before.version, 0);
    let named: std::collections::HashMap<_, _> = new.named().into_iter().collect();
    shared.restore(&|name: &str| Ok(named[name].copy())).expect("the same names");
    engine_.set_version(9);
    let after = run(&mut engine_, std::slice::from_ref(&ask)).remove(0);
    assert_eq!(after.tokens, naive(&mut new, &ask).0);
    assert_ne!(before.tokens, after.tokens);
    assert_eq!(after.version, 9);
}

#[test]
fn draws_follow_the_model() {
    let mut policy = policy("llama", 10);
    let mut engine = engine(&mut policy, &options());
    let start = prompt(3, 9);
    let n = 4000;
    let requests: Vec<_> =
        (0..n).map(|i| Request { seed: Seed(5).index(i), ..request(i, start.clone(), 2.0, 1) }).collect();
    let mut counts = vec![0.0_f64; VOCAB];
    for completion in run(&mut engine, &requests) {
        counts[completion.tokens[0] as usize] += 1.0;
    }
    let row = log_probs(&mut policy, &start, 2.0).get(start.len() as i64 - 1).exp();
    let expected: Vec<f64> = Vec::<f64>::try_from(&row).expect("a vector").iter().map(|p| p * n as f64).collect();
    // Rare tokens share one cell, so that the statistic follows its distribution.
    let (mut chi2, mut cells, mut rare) = (0.0, 0, (0.0, 0.0));
    for (&count, &expected) in counts.iter().zip(&expected) {
        if expected < 5.0 {
            rare = (rare.0 + count, rare.1 + expected);
        } else {
            chi2 += (count - expected).powi(2) / expected;
            cells += 1;
        }
    }
    if rare.1 > 0.0 {
        chi2 += (rare.0 - rare.1).powi(2) / rare.1;
    }
    // Mean `cells` and variance twice that: five deviations above is beyond any honest luck.
    assert!(cells > 5, "{cells} cells");
    assert!(chi2 < f64::from(cells) + 5.0 * (2.0 * f64::from(cells)).sqrt(), "chi-squared {chi2} over {cells} cells");
    // 4000 requests with one prompt: it was read once, then each computed its last token.
    assert_eq!(engine.stats().cached_tokens, (n - 1) * 8);
    assert!(engine.in_flight() == 0);
}
