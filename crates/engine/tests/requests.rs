//! The edges of a request: how it ends, how it is refused, how it is cancelled.

mod common;

use common::*;
use relign_core::{Finish, Generate, GenerateError, Request, Sampling};
use relign_engine::EngineOptions;

#[test]
fn a_completion_ends_as_asked() {
    let mut policy = policy("llama", 20);
    let mut engine = engine(&mut policy, &EngineOptions { context: Some(80), ..options() });
    let base = request(0, prompt(1, 30), 1.0, 1000);
    let endless = |id| Request {
        id,
        sampling: Sampling { ignore_eos: true, max_tokens: 1000, ..Sampling::default() },
        ..base.clone()
    };
    let whole = run(&mut engine, &[endless(0)]).remove(0);
    assert_eq!((whole.tokens.len(), whole.finish), (50, Finish::Length), "the context's end");
    assert!(whole.tokens.iter().all(|&t| t < VOCAB as u32));
    let letters: Vec<u8> = whole
        .tokens
        .iter()
        .filter(|&&t| t != EOS)
        .flat_map(|&t| relign_engine::Vocabulary::token_bytes(&*Letters::shared(), t).to_vec())
        .collect();
    assert_eq!(whole.text, String::from_utf8_lossy(&letters));

    let short = Request { sampling: Sampling { max_tokens: 7, ..endless(0).sampling }, ..endless(1) };
    let short = run(&mut engine, &[short]).remove(0);
    assert_eq!((&short.tokens[..], short.finish), (&whole.tokens[..7], Finish::Length));

    let token = whole.tokens[9];
    let place = whole.tokens.iter().position(|&t| t == token).expect("it is there");
    let stopped = Request { sampling: Sampling { stop_tokens: vec![token], ..endless(0).sampling }, ..endless(2) };
    let stopped = run(&mut engine, &[stopped]).remove(0);
    assert_eq!((&stopped.tokens[..], stopped.finish), (&whole.tokens[..=place], Finish::Stop));

    // Characters 11 to 13 lie in tokens of their own: the string is found across them.
    let stop: String = whole.text.chars().skip(11).take(3).collect();
    let cut = whole.text.find(&stop).expect("it is there");
    let stopped = Request {
        sampling: Sampling { stop: vec!["never".into(), stop.clone()], ..endless(0).sampling },
        ..endless(3)
    };
    let stopped = run(&mut engine, &[stopped]).remove(0);
    assert_eq!((stopped.text.as_str(), stopped.finish), (&whole.text[..cut], Finish::StopString));
    assert_eq!(stopped.tokens, whole.tokens[..stopped.tokens.len()], "tokens stay as they were sampled");
    assert_eq!(stopped.tokens.len(), stopped.logprobs.len());
    assert!(stopped.tokens.len() < whole.tokens.len());
}

#[test]
fn the_models_end_token_ends_and_is_kept() {
    let mut policy = policy("llama", 21);
    let requests: Vec<_> = (0..200).map(|id| request(id, prompt(id, 3), 4.0, 60)).collect();
    let all = run(&mut engine(&mut policy, &options()), &requests);
    let ended: Vec<_> = all.iter().filter(|c| c.finish == Finish::Stop).collect();
    assert!(!ended.is_empty(), "an end token among 12000 draws at a high temperature");
    for c in ended {
        assert_eq!(c.tokens.last(), Some(&EOS));
        assert!(!c.tokens[..c.tokens.len() - 1].contains(&EOS) && !c.text.contains("<end>"));
    }
}

#[test]
fn senseless_requests_are_refused_and_harm_nobody() {
    let mut policy = policy("llama", 22);
    let mut engine = engine(&mut policy, &blocks(4));
    let good = request(1, prompt(1, 20), 1.0, 10);
    engine.submit(good.clone()).expect("a good request");
    let with = |sampling: Sampling| Request { id: 2, sampling, ..good.clone() };
    let refusals = [
        (good.clone(), "id"),
        (Request { id: 2, prompt: vec![], ..good.clone() }, "at least one token"),
        (Request { id: 2, prompt: vec![5, VOCAB as u32], ..good.clone() }, "below 97, got 97"),
        (with(Sampling { temperature: -1.0, ..good.sampling.clone() }), "temperature: expected 0 or more, got -1"),
        (with(Sampling { temperature: f32::NAN, ..good.sampling.clone() }), "temperature"),
        (with(Sampling { max_tokens: 0, ..good.sampling.clone() }), "max_tokens"),
        (with(Sampling { stop: vec![String::new()], ..good.sampling.clone() }), "stop"),
    ];
    for (request, word) in refusals {
        let error = engine.submit(request).expect_err(word);
        assert!(matches!(error, GenerateError::Invalid { .. }) && error.to_string().contains(word), "{error}");
    }
    // Four blocks are 64 positions, whatever the model's context.
    let long = engine.submit(Request { id: 2, prompt: prompt(1, 64), ..good.clone() }).expect_err("no room");
    assert!(matches!(long, GenerateError::TooLong { id: 2, tokens: 64, context: 64 }), "{long}");
    engine.submit(Request { id: 3, prompt: prompt(2, 63), ..good.clone() }).expect("room for one token");
    let done = drain(&mut engine);
    assert_eq!(done.len(), 2);
    assert_eq!(done[0].tokens, naive(&mut policy, &good).0);
    assert_eq!((done[1].tokens.len(), done[1].finish), (1, Finish::Length));
    assert!(engine.poll().expect("nothing to do").is_empty());
}

#[test]
fn cancelled_requests_come_back_and_leave_room() {
    let mut policy = policy("llama", 23);
    let mut engine = engine(&mut policy, &EngineOptions { max_sequences: 2, ..options() });
    let requests: Vec<_> = (0..4)
        .map(|id| Request {
            sampling: Sampling { ignore_eos: true, max_tokens: 60, ..Sampling::default() },
            ..request(id, prompt(id, 20), 1.0, 60)
        })
        .collect();
    for request in &requests {
        engine.submit(request.clone()).expect("a good request");
    }
    assert!(engine.poll().expect("works").is_empty(), "nothing ends in the first passes");
    engine.cancel(0);
    engine.cancel(3);
    engine.cancel(99);
    assert_eq!(engine.in_flight(), 4);
    let cancelled = engine.poll().expect("works");
    let ends: Vec<_> = cancelled.iter().map(|c| (c.id, c.finish)).collect();
    assert_eq!(ends, [(0, Finish::Cancelled), (3, Finish::Cancelled)]);
    assert!(!cancelled[0].tokens.is_empty() && cancelled[1].tokens.is_empty());
    assert_eq!(cancelled[0].tokens, naive(&mut policy, &requests[0]).0[..cancelled[0].tokens.len()]);
    let rest = drain(&mut engine);
    assert_eq!(rest.len(), 2);
    for done in rest {
        assert_eq!(done.tokens, naive(&mut policy, &requests[done.id as usize]).0);
    }
}

#[test]
fn weights_that_are_not_numbers_are_an_error() {
    let mut policy = policy("llama", 24);
    let mut engine = engine(&mut policy, &options());
    for (_, tensor) in policy.named() {
        let _ = relign_model::no_grad_guard();
        let mut tensor = tensor;
        let _ = tensor.fill_(f64::NAN);
    }
    engine.submit(request(5, prompt(1, 8), 1.0, 4)).expect("a good request");
    let error = engine.poll().expect_err("nothing sensible can come out");
    assert!(error.to_string().contains("request 5") && error.to_string().contains("finite"), "{error}");
    assert_eq!(engine.in_flight(), 1);
    engine.cancel(5);
    assert_eq!(engine.poll().expect("a cancelled request").len(), 1);
}
