//! Everything that makes a distribution out of logits, in the engine: against a plain loop, and in any company.

mod common;

use common::*;
use relign_core::{Completion, Constraint, Finish, Generate, GenerateError, Odds, Request, Sampling};
use relign_engine::{EngineOptions, Vocabulary};
use relign_model::Policy;

/// Every setting, alone and together.
fn settings() -> Vec<Sampling> {
    let plain = Sampling { max_tokens: 30, ..Sampling::default() };
    let regex = Some(Constraint::Regex("[a-f]{3}(,[0-9]{2,6}){1,9}".to_owned()));
    vec![
        plain.clone(),
        Sampling { temperature: 0.0, ..plain.clone() },
        Sampling { temperature: 2.0, top_k: 5, ..plain.clone() },
        Sampling { temperature: 2.5, top_p: 0.8, ..plain.clone() },
        Sampling { temperature: 2.5, min_p: 0.1, ..plain.clone() },
        Sampling { repetition_penalty: 1.4, ..plain.clone() },
        Sampling { temperature: 0.0, presence_penalty: 3.0, ..plain.clone() },
        Sampling { temperature: 0.7, frequency_penalty: 0.9, ..plain.clone() },
        Sampling { temperature: 1.5, logit_bias: [(7, 6.0), (8, -50.0)].into(), ..plain.clone() },
        Sampling { constraint: regex.clone(), ..plain.clone() },
        Sampling { temperature: 0.0, constraint: regex.clone(), frequency_penalty: 0.5, ..plain.clone() },
        Sampling {
            temperature: 1.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.01,
            repetition_penalty: 1.1,
            presence_penalty: 0.3,
            frequency_penalty: 0.2,
            logit_bias: [(3, 2.0)].into(),
            top_logprobs: Some(4),
            score_from: Some(2),
            ..plain
        },
    ]
}

fn requests() -> Vec<Request> {
    let settings = settings();
    (0..settings.len() * 2)
        .map(|at| {
            // Prompts that begin alike, so that prefixes are found.
            let tokens = [prompt(77, 20), prompt(at as u64, 1 + at % 9)].concat();
            Request { sampling: settings[at / 2].clone(), ..request(at as u64, tokens, 1.0, 1) }
        })
        .collect()
}

/// The request by the plainest loop and by the book, in double precision; without constraints, and without the
/// repetition penalty, which asks for a logit's sign where there are log-probabilities here.
fn by_the_book(policy: &mut Policy, request: &Request) -> (Vec<u32>, Vec<f64>) {
    let Request { prompt, sampling, seed, .. } = request;
    let (mut tokens, mut logprobs) = (prompt.clone(), Vec::new());
    for at in 0..sampling.max_tokens {
        let row = log_probs(policy, &tokens, 1.0).get(tokens.len() as i64 - 1);
        let mut row = Vec::<f64>::try_from(&row).expect("a vector");
        for (&token, &bias) in &sampling.logit_bias {
            row[token as usize] += f64::from(bias);
        }
        for (token, logit) in row.iter_mut().enumerate() {
            let count = tokens[prompt.len()..].iter().filter(|&&said| said as usize == token).count() as f64;
            *logit -= count * f64::from(sampling.frequency_penalty);
            *logit -= f64::from(u8::from(count > 0.0)) * f64::from(sampling.presence_penalty);
        }
        let greedy = sampling.temperature == 0.0;
        let scale = if greedy { 1.0 } else { 1.0 / f64::from(sampling.temperature) };
        let mut order: Vec<usize> = (0..VOCAB).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        let weight = |token: usize| (row[token] * scale).exp();
        if !greedy {
            if sampling.top_k > 0 {
                order.truncate(sampling.top_k);
            }
            let total: f64 = order.iter().map(|&token| weight(token)).sum();
            let mut before = 0.0;
            order.retain(|&token| {
                before += weight(token);
                before - weight(token) < f64::from(sampling.top_p) * total
            });
            let best = weight(order[0]);
            order.retain(|&token| weight(token) >= f64::from(sampling.min_p) * best);
        }
        let total: f64 = order.iter().map(|&token| weight(token)).sum();
        let token = if greedy {
            order[0]
        } else {
            let (mut sum, mut sorted) = (0.0, order.clone());
            sorted.sort_unstable();
            let uniform = seed.uniform(at as u64) * total;
            sorted.into_iter().find(|&token| (sum += weight(token), sum > uniform).1).expect("below the total")
        };
        logprobs.push((weight(token) / total).ln());
        tokens.push(token as u32);
        if token as u32 == EOS {
            break;
        }
    }
    (tokens.split_off(prompt.len()), logprobs)
}

#[test]
fn tokens_and_logprobs_are_those_by_the_book() {
    let mut policy = policy("llama", 30);
    let requests: Vec<_> = requests()
        .into_iter()
        .filter(|r| r.sampling.constraint.is_none() && r.sampling.repetition_penalty == 1.0)
        .collect();
    assert!(requests.len() >= 16);
    let got = run(&mut engine(&mut policy, &options()), &requests);
    for (request, got) in requests.iter().zip(got) {
        let (tokens, logprobs) = by_the_book(&mut policy, request);
        assert_eq!(got.tokens, tokens, "{:?}", request.sampling);
        for (a, b) in got.logprobs.iter().zip(logprobs) {
            assert!((f64::from(*a) - b).abs() < 1e-3, "{:?}: {a} and {b}", request.sampling);
        }
    }
}

/// Penalties count the tokens so far, constraints remember where they are: neither may be lost or counted twice when a
/// sequence gives its blocks up and is computed again, finds its prefix, or is cut into chunks.
#[test]
fn results_do_not_depend_on_company_or_on_being_given_up() {
    let mut policy = policy("llama", 31);
    let alone: Vec<_> = requests()
        .iter()
        .map(|request| run(&mut engine(&mut policy, &options()), std::slice::from_ref(request)).remove(0))
        .collect();
    let mut preempted = 0;
    for schedule in [
        options(),
        EngineOptions { prefill_tokens: 5, ..options() },
        EngineOptions { prefill_tokens: 7, max_sequences: 3, share_prefixes: false, ..options() },
        blocks(9),
    ] {
        let mut engine = engine(&mut policy, &schedule);
        for round in ["at first", "again, with all prefixes there"] {
            for (alone, together) in alone.iter().zip(run(&mut engine, &requests())) {
                assert_eq!(alone, &together, "{schedule:?} {round}: to the last bit");
            }
        }
        preempted += engine.stats().preemptions;
    }
    assert!(preempted > 0, "somebody had to give way");
}

#[test]
fn answers_keep_to_their_constraint_and_end_where_it_does() {
    let mut policy = policy("llama", 32);
    let schema = serde_json::json!({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4});
    let of = |constraint: &Constraint, id: u64| {
        let sampling = Sampling {
            temperature: [0.0, 1.0, 3.0][id as usize % 3],
            max_tokens: 200,
            constraint: Some(constraint.clone()),
            ..Sampling::default()
        };
        Request { sampling, ..request(id, prompt(id, 5), 1.0, 1) }
    };
    let (json, regex) = (Constraint::JsonSchema(schema), Constraint::Regex("(no|yes,[a-c]{2,4})!".to_owned()));
    let requests: Vec<_> = (0..60).map(|id| of(if id % 2 == 0 { &json } else { &regex }, id)).collect();
    let mut ended = 0;
    for (request, got) in requests.iter().zip(run(&mut engine(&mut policy, &options()), &requests)) {
        assert!(got.logprobs.iter().all(|logprob| *logprob <= 1e-6), "{got:?}");
        if got.finish == Finish::Length {
            continue;
        }
        ended += 1;
        // The end token is sampled as every other, where nothing else can be.
        assert_eq!((got.finish, got.tokens.last()), (Finish::Stop, Some(&EOS)));
        if request.sampling.constraint.as_ref() == Some(&json) {
            let numbers: Vec<serde_json::Number> =
                serde_json::from_str(&got.text).unwrap_or_else(|e| panic!("{e}: {got:?}"));
            assert!((2..=4).contains(&numbers.len()), "{}", got.text);
        } else {
            let letters = got.text.strip_prefix("yes,").and_then(|rest| rest.strip_suffix('!'));
            let fits = |text: &str| (2..=4).contains(&text.len()) && text.bytes().all(|b| b"abc".contains(&b));
            assert!(got.text == "no!" || letters.is_some_and(fits), "{}", got.text);
        }
    }
    assert!(ended > 50, "{ended} of 60 came to their end");
}

#[test]
fn constraints_that_cannot_be_kept_are_refused() {
    let mut policy = policy("llama", 33);
    let mut engine = engine(&mut policy, &options());
    for (constraint, said) in [
        (Constraint::Regex("a(".to_owned()), "constraint: expected a regular expression, got"),
        (Constraint::JsonSchema(serde_json::json!({"type": "banana"})), "constraint: expected a JSON schema"),
        // No token here is or begins with a brace.
        (Constraint::Regex("\\{a\\}".to_owned()), "constraint: expected a token that can come next"),
    ] {
        let sampling = Sampling { constraint: Some(constraint), ..Sampling::default() };
        let error = engine.submit(Request { sampling, ..request(1, prompt(1, 5), 1.0, 1) }).expect_err(said);
        assert!(matches!(error, GenerateError::Invalid { id: 1, .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    for (sampling, said) in [
        (Sampling { logit_bias: [(VOCAB as u32, 1.0)].into(), ..Sampling::default() }, "expected ids below 97, got 97"),
        (Sampling { top_p: 1.5, ..Sampling::default() }, "top_p: expected a share above 0, at most 1, got 1.5"),
        (
            Sampling { score_from: Some(9), ..Sampling::default() },
            "score_from: expected at most the prompt's length, 5",
        ),
    ] {
        let error = engine.submit(Request { sampling, ..request(1, prompt(1, 5), 1.0, 1) }).expect_err(said);
        assert!(error.to_string().contains(said), "{error}");
    }
    assert_eq!(engine.in_flight(), 0);
}

/// A constraint that leads where no token goes on: that request fails, with its reason, and the others do not notice.
#[test]
fn a_dead_end_fails_alone() {
    let mut policy = policy("llama", 34);
    let mut engine = engine(&mut policy, &options());
    let dead = Sampling { constraint: Some(Constraint::Regex("ab\\{".to_owned())), ..Sampling::default() };
    let others: Vec<_> = (1..4).map(|id| request(id, prompt(id, 9), 1.0, 12)).collect();
    engine.submit(Request { sampling: dead, ..request(0, prompt(0, 9), 1.0, 12) }).expect("it begins well");
    others.iter().for_each(|request| engine.submit(request.clone()).expect("good"));
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    while engine.in_flight() > 0 {
        match engine.poll() {
            Ok(completions) => done.extend(completions),
            Err(GenerateError::Failed { id, what }) => failed.push((id, what)),
            Err(broken) => panic!("{broken}"),
        }
    }
    done.sort_by_key(|completion| completion.id);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].0 == 0 && failed[0].1.starts_with("constraint: "), "{failed:?}");
    for (request, got) in others.iter().zip(done) {
        assert_eq!(got.tokens, naive(&mut policy, request).0);
    }
}

fn close(odds: &Odds, row: &[f64], token: u32) {
    assert!((f64::from(odds.logprob) - row[token as usize]).abs() < 1e-4, "{odds:?}");
    assert_eq!(odds.rank, Some(1 + row.iter().filter(|&&other| other > row[token as usize]).count()));
    for &(token, logprob) in &odds.model {
        assert!((f64::from(logprob) - row[token as usize]).abs() < 1e-4);
    }
    let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert!(odds.model.first().is_none_or(|&(_, logprob)| (f64::from(logprob) - best).abs() < 1e-4));
}

#[test]
fn given_text_is_scored_as_the_model_sees_it() {
    let mut policy = policy("llama", 35);
    let text = prompt(9, 60);
    let score = |id: u64, from: usize, top: Option<usize>| Request {
        sampling: Sampling { max_tokens: 0, score_from: Some(from), top_logprobs: top, ..Sampling::default() },
        ..request(id, text.clone(), 1.0, 1)
    };
    let whole = score(1, 0, Some(3));
    let rows = log_probs(&mut policy, &text, 1.0);
    let check = |got: &Completion, from: usize| {
        assert!(got.tokens.is_empty() && got.text.is_empty() && got.finish == Finish::Length);
        assert_eq!(got.prompt_odds.len(), text.len() - from.max(1));
        for (odds, place) in got.prompt_odds.iter().zip(from.max(1)..) {
            close(odds, &Vec::<f64>::try_from(rows.get(place as i64 - 1)).unwrap(), text[place]);
            assert!(odds.sampler.is_empty());
        }
    };
    let first = run(&mut engine(&mut policy, &options()), std::slice::from_ref(&whole)).remove(0);
    check(&first, 0);
    assert!(first.prompt_odds.iter().all(|odds| odds.model.len() == 3));
    for schedule in [options(), EngineOptions { prefill_tokens: 7, ..options() }, blocks(6)] {
        let mut engine = engine(&mut policy, &schedule);
        for _ in 0..2 {
            assert_eq!(run(&mut engine, std::slice::from_ref(&whole)).remove(0).prompt_odds, first.prompt_odds);
        }
        // What lies before the first place asked for is found where it was computed.
        let cached = engine.stats().cached_tokens;
        let late = run(&mut engine, &[score(2, 50, None)]).remove(0);
        check(&late, 50);
        assert_eq!(engine.stats().cached_tokens - cached, 49);
        assert_eq!(engine.stats().generated_tokens, 0);
        for (late, first) in late.prompt_odds.iter().zip(&first.prompt_odds[49..]) {
            assert_eq!((late.logprob, late.rank), (first.logprob, first.rank));
        }
    }
    // Text that fills the context can be read, though nothing could follow.
    let mut small = engine(&mut policy, &EngineOptions { context: Some(60), ..options() });
    check(&run(&mut small, &[score(3, 1, None)])[0], 1);
    assert!(matches!(small.submit(request(4, text.clone(), 1.0, 1)), Err(GenerateError::TooLong { .. })));
}

#[test]
fn certainty_is_that_of_the_models_own_distribution() {
    let mut policy = policy("llama", 38);
    let ask = |at: usize, certainty: bool| {
        let own = Sampling { max_tokens: 30, ignore_eos: true, certainty, ..settings()[at].clone() };
        Request { sampling: own, ..request(at as u64, prompt(at as u64, 12), 1.0, 1) }
    };
    // Without a constraint, which says itself when to end; every other request asks.
    let plain: Vec<usize> = (0..settings().len()).filter(|&at| settings()[at].constraint.is_none()).collect();
    let requests: Vec<Request> = plain.iter().map(|&at| ask(at, at % 2 == 0)).collect();
    let silent: Vec<Request> = plain.iter().map(|&at| ask(at, false)).collect();
    let silent = run(&mut engine(&mut policy, &options()), &silent);
    for schedule in [options(), blocks(9)] {
        let mut engine = engine(&mut policy, &schedule);
        let told = run(&mut engine, &requests);
        assert_eq!(engine.stats().preemptions > 0, schedule == blocks(9));
        for ((request, got), silent) in requests.iter().zip(&told).zip(&silent) {
            assert_eq!(got.tokens, silent.tokens);
            if !request.sampling.certainty {
                assert!(got.certainty.is_empty());
                continue;
            }
            assert_eq!(got.certainty.len(), got.tokens.len());
            let whole = [request.prompt.as_slice(), &got.tokens].concat();
            let rows = log_probs(&mut policy, &whole, 1.0);
            for (at, certainty) in got.certainty.iter().enumerate() {
                let row = Vec::<f64>::try_from(rows.get((request.prompt.len() + at) as i64 - 1)).unwrap();
                let uniform = 1.0 / row.len() as f64;
                let divergence: f64 = row.iter().map(|logp| uniform * (uniform.ln() - logp)).sum();
                assert!((f64::from(*certainty) - divergence).abs() < 1e-4, "{certainty}, expected {divergence}");
            }
        }
    }
}

#[test]
fn scoring_survives_giving_way_and_tells_what_sampling_told() {
    let mut policy = policy("llama", 36);
    let ask = |id: u64| Request {
        sampling: Sampling {
            max_tokens: 60,
            ignore_eos: true,
            score_from: Some(1),
            top_logprobs: Some(2),
            ..Sampling::default()
        },
        ..request(id, prompt(id, 30), 1.0, 1)
    };
    let requests: Vec<_> = (0..5).map(ask).collect();
    let free = run(&mut engine(&mut policy, &options()), &requests);
    let mut tight = engine(&mut policy, &EngineOptions { prefill_tokens: 9, ..blocks(10) });
    assert_eq!(free, run(&mut tight, &requests));
    assert!(tight.stats().preemptions > 0);
    // An answer that is given back as a prompt is scored as it was sampled, to the last bit.
    for (request, got) in requests.iter().zip(&free) {
        let tokens = [&request.prompt[..], &got.tokens].concat();
        let sampling = Sampling { max_tokens: 0, score_from: Some(30), ..Sampling::default() };
        let scored =
            run(&mut engine(&mut policy, &options()), &[Request { prompt: tokens, sampling, ..request.clone() }]);
        let scored: Vec<f32> = scored[0].prompt_odds.iter().map(|odds| odds.logprob).collect();
        assert_eq!(scored, got.logprobs);
        assert_eq!(scored, got.odds.iter().map(|odds| odds.logprob).collect::<Vec<_>>());
    }
}

#[test]
fn watched_text_comes_piece_by_piece_and_is_the_beginning_of_the_whole() {
    let mut policy = policy("llama", 37);
    let mut engine = engine(&mut policy, &options());
    let ask = |id: u64, stop: Vec<String>| Request {
        sampling: Sampling { temperature: 4.0, max_tokens: 80, ignore_eos: true, stop, ..Sampling::default() },
        ..request(id, prompt(id, 9), 4.0, 80)
    };
    let silent = run(&mut engine, &(0..8).map(|id| ask(id, Vec::new())).collect::<Vec<_>>());
    for (id, silent) in silent.iter().enumerate() {
        let stop: String = silent.text.chars().skip(20).take(3).collect();
        let stopped = run(&mut engine, &[ask(id as u64, vec![stop.clone()])]).remove(0);
        for (request, whole) in [(ask(id as u64, Vec::new()), silent), (ask(id as u64, vec![stop]), &stopped)] {
            engine.submit(request).expect("good");
            assert!(engine.watch(id as u64));
            let mut pieces = Vec::new();
            let got = loop {
                let done = engine.poll().expect("works").pop();
                pieces.extend(engine.heard());
                if let Some(done) = done {
                    break done;
                }
            };
            assert_eq!(&got, whole, "watching changes nothing");
            let heard: String = pieces.iter().map(|(_, text)| text.as_str()).collect();
            assert!(whole.text.starts_with(&heard), "{heard:?} of {:?}", whole.text);
            // All but what the last tokens brought, or might have been a stop string.
            assert!(heard.chars().count() + 8 >= whole.text.chars().count() && pieces.len() > 10);
            assert!(pieces.iter().all(|(from, text)| *from == id as u64 && !text.is_empty()));
        }
    }
    let letters = Letters::shared();
    assert!(
        silent.iter().any(|c| c.tokens.windows(2).any(|pair| letters.token_bytes(pair[0]) == b"\xc3" && pair[1] == 91)
            || c.text.contains('\u{fffd}')),
        "characters in pieces were among it"
    );
}
