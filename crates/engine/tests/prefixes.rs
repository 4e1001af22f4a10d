//! Shared beginnings: computed once, and nobody writes into another's.

mod common;

use common::*;
use relign_core::{Generate, Request};
use relign_engine::EngineOptions;

fn check(
    policy: &mut relign_model::Policy,
    options: &EngineOptions,
    requests: &[Request],
) -> relign_engine::EngineStats {
    let mut engine = engine(policy, options);
    for (request, got) in requests.iter().zip(run(&mut engine, requests)) {
        assert_eq!(got.tokens, naive(policy, request).0, "request {}", request.id);
    }
    engine.stats()
}

#[test]
fn a_group_reads_its_prompt_once() {
    let mut policy = policy("llama", 11);
    for len in [5, 16, 17, 37, 48] {
        let group: Vec<_> = (0..8).map(|id| request(id, prompt(1, len), 1.0, 30)).collect();
        let stats = check(&mut policy, &options(), &group);
        assert_eq!(stats.prompt_tokens, 8 * len as u64);
        // Seven find all but the last token, however the prompt's chunks fall.
        assert_eq!(stats.cached_tokens, 7 * (len as u64 - 1), "prompt of {len}");
        let chunked = check(&mut policy, &EngineOptions { prefill_tokens: 5, ..options() }, &group);
        assert_eq!(chunked.cached_tokens, 7 * (len as u64 - 1), "prompt of {len} in chunks");
    }
}

#[test]
fn branches_part_where_they_differ() {
    let mut policy = policy("llama", 12);
    let mut requests = Vec::new();
    // Prompts with 0 to 48 tokens in common with the first, the rest their own.
    for (id, shared) in [48, 0, 1, 8, 15, 16, 17, 31, 32, 40, 47].into_iter().enumerate() {
        let mut tokens = prompt(1, shared);
        tokens.extend(prompt(100 + id as u64, 48 - shared));
        requests.push(request(id as u64, tokens, 1.0, 40));
    }
    check(&mut policy, &options(), &requests);
    check(&mut policy, &blocks(20), &requests);
    check(&mut policy, &EngineOptions { prefill_tokens: 9, max_sequences: 4, ..options() }, &requests);
}

#[test]
fn a_later_turn_finds_what_was_said() {
    let mut policy = policy("llama", 13);
    let mut engine = engine(&mut policy, &options());
    let first = request(1, prompt(1, 21), 1.0, 30);
    let said = run(&mut engine, std::slice::from_ref(&first)).remove(0);
    let mut tokens = [first.prompt, said.tokens].concat();
    let known = tokens.len() as u64 - 1;
    tokens.extend(prompt(2, 10));
    let second = request(2, tokens, 1.0, 20);
    let before = engine.stats();
    let got = run(&mut engine, std::slice::from_ref(&second)).remove(0);
    assert_eq!(engine.stats().cached_tokens - before.cached_tokens, known);
    assert_eq!(got.tokens, naive(&mut policy, &second).0);
    // Two go on from the same half-filled block: one may write into it, the other must not notice.
    let both = [3, 4].map(|id| request(id, second.prompt[..known as usize + 3].to_vec(), 1.0, 25));
    for (request, got) in both.iter().zip(run(&mut engine, &both)) {
        assert_eq!(got.tokens, naive(&mut policy, request).0);
    }
}

#[test]
fn prefixes_make_room_when_it_is_needed() {
    let mut policy = policy("llama", 14);
    let mut engine = engine(&mut policy, &blocks(10));
    for id in 0..30 {
        let ask = request(id, prompt(id % 7, 30 + id as usize), 1.0, 20);
        let got = run(&mut engine, std::slice::from_ref(&ask)).remove(0);
        assert_eq!(got.tokens, naive(&mut policy, &ask).0, "request {id}");
    }
    assert!(engine.stats().peak_blocks <= 10);
    assert_eq!(engine.stats().preemptions, 0);
    assert_eq!(engine.in_flight(), 0);
}
