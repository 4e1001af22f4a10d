//! Shared beginnings: computed once, and nobody writes into another's.

mod common;

use std::collections::HashSet;

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

/// Three trees of 24 branches that leave their trunk at four depths, none of them at a block's end.
fn trees() -> Vec<Request> {
    let mut requests = Vec::new();
    for tree in 0..3 {
        let trunk = prompt(tree, 110);
        for branch in 0..24 {
            let mut tokens = trunk[..[25, 50, 77, 107][branch as usize % 4]].to_vec();
            // The branch's own beginning; the letters no trunk has tell branches from one another.
            tokens.push(90 + branch as u32 / 4);
            tokens.extend(prompt(1000 + 100 * tree + branch, branch as usize % 3 * 7));
            requests.push(request(100 * tree + branch, tokens, 1.0, 12));
        }
    }
    requests
}

#[test]
fn no_prefix_token_is_read_twice_while_memory_suffices() {
    let mut policy = policy("llama", 15);
    let requests = trees();
    // What has to be read at the least: each beginning that a prompt has before its last token once,
    // and every prompt's last token, which the first draw needs.
    let prefixes: HashSet<&[u32]> = requests.iter().flat_map(|r| (1..r.prompt.len()).map(|n| &r.prompt[..n])).collect();
    let least = (prefixes.len() + requests.len()) as u64;
    let alone = run(&mut engine(&mut policy, &EngineOptions { share_prefixes: false, ..options() }), &requests);
    for options in [
        options(),
        EngineOptions { prefill_tokens: 7, ..options() },
        EngineOptions { max_sequences: 5, ..options() },
        EngineOptions { max_sequences: 9, prefill_tokens: 30, ..options() },
    ] {
        let mut engine = engine(&mut policy, &options);
        let shared = run(&mut engine, &requests);
        let stats = engine.stats();
        assert_eq!(stats.preemptions, 0, "memory suffices");
        assert_eq!(stats.prompt_tokens - stats.cached_tokens, least, "{options:?}");
        // Beside them only what was sampled went through the model, but for each sequence's last token.
        assert_eq!(stats.computed_tokens, least + stats.generated_tokens - requests.len() as u64, "{options:?}");
        for (shared, alone) in shared.iter().zip(&alone) {
            assert_eq!(shared.tokens, alone.tokens, "request {}", shared.id);
        }
    }
}

#[test]
fn without_sharing_every_request_reads_all_of_its_prompt() {
    let mut policy = policy("llama", 16);
    let requests = trees();
    let mut engine = engine(&mut policy, &EngineOptions { share_prefixes: false, ..options() });
    for _ in 0..2 {
        run(&mut engine, &requests);
    }
    let (stats, n) = (engine.stats(), 2 * requests.len() as u64);
    assert_eq!(stats.prompt_tokens, 2 * requests.iter().map(|r| r.prompt.len() as u64).sum::<u64>());
    assert_eq!((stats.cached_tokens, stats.computed_tokens), (0, stats.prompt_tokens + stats.generated_tokens - n));
    // A request holds blocks for all of its own tokens, and gives every one of them back.
    let whole = EngineOptions { share_prefixes: false, ..blocks(8) };
    let mut engine = self::engine(&mut policy, &whole);
    for id in 0..20 {
        run(&mut engine, &[request(id, prompt(1, 100), 1.0, 20)]);
    }
    assert_eq!(engine.stats().peak_blocks, 8);
}
