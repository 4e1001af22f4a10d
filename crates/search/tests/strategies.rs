//! What holds for every strategy, whatever the engine's order: budgets, determinism, restoring, bad settings.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

mod common;

use std::collections::HashMap;

use common::{Round, Script, factory, tasks};
use proptest::prelude::*;
use relign_core::{Author, Cost, Finish, Tree};
use relign_search::{Budget, Journal, STRATEGIES, read_journal, strategy, write_told};
use serde_json::{Value, json};

/// Each strategy in several settings.
fn cases() -> Vec<(&'static str, Value)> {
    let model = json!({"name": "reward_model"});
    let asks = json!({"name": "self_evaluation"});
    vec![
        ("sample", json!({"n": 5})),
        ("best_of_n", json!({"n": 6})),
        ("best_of_n", json!({"n": 3, "scorer": asks})),
        ("self_consistency", json!({"n": 9, "at_once": 3, "confidence": 0.8})),
        ("weighted_vote", json!({"n": 6, "scorer": model})),
        ("beam", json!({"n": 6, "width": 3, "scorer": model, "aggregate": "min"})),
        ("dvts", json!({"n": 6, "width": 3, "choice": "vote"})),
        ("tree_of_thoughts", json!({"breadth": 2, "k": 2})),
        ("ab_mcts", json!({"n": 12, "scorer": model})),
        ("ab_mcts", json!({"n": 9, "posterior": "beta", "at_once": 3, "scorer": {"name": "verifier"}})),
        ("rest_mcts", json!({"iterations": 12, "scorer": model, "enough": 0.9})),
        ("rest_mcts", json!({"iterations": 9, "look_ahead": 0, "aggregate": "mean"})),
        ("rstar", json!({"simulations": 12, "expand": 3})),
        ("rstar", json!({"simulations": 9, "expand": 4, "at_once": 2, "scorer": model, "choice": "visits"})),
        ("budget_forcing", json!({"end": "=", "word": " b"})),
        ("budget_forcing", json!({"end": "\n\n", "waits": 3, "thinking": 30})),
        ("self_refine", json!({"satisfied": "a"})),
        ("mcts", json!({"simulations": 24, "expand": 3, "scorer": {"name": "verifier"}})),
        (
            "mcts",
            json!({"simulations": 30, "rollouts": 0, "policy": "puct", "prior": "likelihood", "scorer": model,
            "backup": "max", "choice": "visits", "widen": 0.5, "expand": 2, "at_once": 5}),
        ),
        ("mcts", json!({"simulations": 12, "rollouts": 2, "choice": "vote", "policy": "puct", "prior": "frequency"})),
    ]
}

#[test]
fn every_strategy_is_among_the_cases() {
    for entry in STRATEGIES {
        assert!(cases().iter().any(|(name, _)| *name == entry.name), "{} has no case", entry.name);
    }
}

fn check(tree: &Tree, budget: Budget) {
    let generated: usize = tree.nodes.iter().filter(|n| n.author == Author::Policy).map(|n| n.tokens.len()).sum();
    let Cost { generated: counted, prompts, .. } = tree.cost.unwrap();
    assert!(generated as u64 <= counted, "{generated} tokens in the tree, {counted} counted");
    assert!(budget.tokens.is_none_or(|most| counted <= most), "{counted} tokens of {budget:?}");
    assert!(budget.prompts.is_none_or(|most| prompts <= most), "{prompts} prompt tokens of {budget:?}");
    for (id, node) in tree.nodes.iter().enumerate() {
        assert!(node.parent.is_none_or(|parent| parent < id));
        assert_eq!(tree.path(id)[0], 0, "node {id} is not below the root");
        assert!(node.value.is_none_or(f64::is_finite));
        // What is said is what the tokens say.
        if node.author == Author::Policy && node.finish != Some(Finish::Failed) {
            assert_eq!(node.text, relign_core::Tokenize::decode(&common::Letters, &node.tokens), "node {id}");
            assert_eq!(node.tokens.len(), node.logprobs.len());
        }
    }
    // Every answer is judged, but for those that rstar left behind.
    for leaf in tree.leaves().filter(|&leaf| tree.nodes[leaf].finish == Some(Finish::Stop)) {
        let left_behind = tree.nodes[leaf].text.starts_with('d');
        assert!(tree.nodes[leaf].score.is_some() || left_behind, "answer {leaf} is not judged");
    }
    if let Some(chosen) = tree.chosen {
        assert!(!tree.nodes[chosen].aside && chosen > 0);
        assert!(tree.nodes[chosen].score.is_some());
    }
}

#[test]
fn the_order_of_arrival_changes_no_tree() {
    for (name, settings) in cases() {
        let strategy = factory(name, settings);
        let run = |order: u64, count: u32| {
            Round { tasks: tasks(count), ..Round::of(&*strategy) }.run(&mut Script::new(order)).unwrap()
        };
        let first = run(0, 3);
        for order in 1..6 {
            assert_eq!(run(order, 3), first, "{name}");
        }
        assert_eq!(run(9, 1)[0], first[0], "{name} alone");
        for tree in &first {
            check(tree, Budget::default());
            assert!(name == "sample" || tree.chosen.is_some(), "{name} chooses none");
        }
    }
}

#[test]
fn many_requests_are_in_flight() {
    for (name, settings) in cases() {
        if ["budget_forcing", "self_refine"].contains(&name) {
            continue; // One chain a task.
        }
        let strategy = factory(name, settings);
        let mut engine = Script::new(1);
        Round { tasks: tasks(4), ..Round::of(&*strategy) }.run(&mut engine).unwrap();
        assert!(engine.most >= 8, "{name}: {} at once for 4 tasks", engine.most);
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_before_work() {
    let error = |name: &str, settings: Value| {
        let Value::Object(settings) = settings else { panic!() };
        strategy(&relign_core::Section { name: name.to_owned(), settings }).err().unwrap().to_string()
    };
    for (name, settings, said) in [
        ("best_of_n", json!({"n": 0}), "strategy.n: expected at least 1, got 0"),
        ("best_of_n", json!({"scorer": {"name": "vibes"}}), "strategy.scorer.name: unknown scorer `vibes`"),
        ("best_of_n", json!({"scorer": {"name": "logprob", "men": 1}}), "strategy.scorer.men: unknown key `men`"),
        (
            "best_of_n",
            json!({"scorer": {"name": "outcome"}}),
            "strategy.scorer.model: expected a reward model, got none",
        ),
        (
            "best_of_n",
            json!({"scorer": {"name": "process", "model": "m", "separator": ""}}),
            "strategy.scorer.separator: expected text, got none",
        ),
        ("self_consistency", json!({"confidence": 0.5}), "strategy.confidence: expected more than 0.5"),
        ("beam", json!({"n": 10, "width": 4}), "strategy.n: expected a multiple of width (4), got 10"),
        ("beam", json!({"width": 0}), "strategy.width: expected at least 1, got 0"),
        ("beam", json!({"steps": {"max_tokens": 0}}), "strategy.steps.max_tokens: expected at least 1"),
        ("dvts", json!({"steps": {"border": "strings"}}), "strategy.steps.strings: expected a string"),
        ("mcts", json!({"expand": 0}), "strategy.expand: expected at least 1, got 0"),
        ("mcts", json!({"c": -1.0}), "strategy.c: expected 0 or more, got -1"),
        ("mcts", json!({"policy": "ucb"}), "strategy.policy: unknown name `ucb`"),
        ("tree_of_thoughts", json!({"k": 0}), "strategy.k: expected at least 1"),
        (
            "tree_of_thoughts",
            json!({"scorer": {"name": "self_evaluation", "times": 3}}),
            "temperature: expected above 0",
        ),
    ] {
        let got = error(name, settings);
        assert!(got.contains(said), "{name}: {got}");
    }
    let spent = |name: &str, settings: Value, budget: Budget| {
        let strategy = factory(name, settings);
        let mut engine = Script::new(1);
        let error = Round { budget, ..Round::of(&*strategy) }.run(&mut engine).unwrap_err().to_string();
        assert!(engine.taken.is_empty());
        error
    };
    let error = spent("best_of_n", json!({}), Budget::of(0));
    assert!(error.contains("budget: expected at least 1 of tokens, got 0"), "{error}");
    for name in ["best_of_n", "mcts"] {
        let error = spent(name, json!({"fill": true}), Budget::default());
        assert!(error.contains("fill: expected a budget to go up to, got none"), "{error}");
    }
}

#[test]
fn a_scorer_that_needs_what_the_engine_does_not_tell_is_an_error() {
    for (scorer, said) in [("logprob", "does not tell log-probabilities"), ("certainty", "how certain the model is")] {
        let strategy = factory("best_of_n", json!({"scorer": {"name": scorer}}));
        let mut engine = Script { blind: true, ..Script::new(1) };
        let error = Round::of(&*strategy).run(&mut engine).unwrap_err().to_string();
        assert!(error.contains("task t/0: scorer: the engine") && error.contains(said), "{error}");
    }
}

#[test]
fn the_most_certain_answer_is_chosen_and_engines_tell_it_where_it_is_asked_for() {
    let certain = factory("best_of_n", json!({"n": 8, "scorer": {"name": "certainty"}}));
    let tree = Round::of(&*certain).run(&mut Script::new(1)).unwrap().remove(0);
    let mean = |id: usize| {
        let certainty = &tree.nodes[id].certainty;
        assert_eq!(certainty.len(), tree.nodes[id].tokens.len());
        certainty.iter().map(|&c| f64::from(c)).sum::<f64>() / certainty.len() as f64
    };
    let means: Vec<f64> = tree.leaves().map(mean).collect();
    let most = means.iter().copied().fold(0.0, f64::max);
    assert!(means.len() == 8 && means.iter().any(|&mean| mean < most));
    assert_eq!(mean(tree.chosen.unwrap()), most);
    let likely = factory("best_of_n", json!({"n": 8}));
    let tree = Round::of(&*likely).run(&mut Script::new(1)).unwrap().remove(0);
    assert!(tree.nodes.iter().all(|node| node.certainty.is_empty()));
}

#[test]
fn a_budget_is_used_up_where_there_is_more_to_do() {
    for (name, settings) in [
        ("best_of_n", json!({"n": 4, "fill": true})),
        ("self_consistency", json!({"n": 4, "fill": true})),
        ("mcts", json!({"fill": true, "scorer": {"name": "reward_model"}})),
        ("ab_mcts", json!({"fill": true})),
        ("rest_mcts", json!({"fill": true, "scorer": {"name": "reward_model"}})),
    ] {
        let strategy = factory(name, settings);
        let budget = Budget::of(700);
        let tree = Round { budget, ..Round::of(&*strategy) }.run(&mut Script::new(1)).unwrap().remove(0);
        check(&tree, budget);
        assert!(tree.cost.unwrap().generated > 690, "{name}: {:?}", tree.cost);
    }
}

fn killed_and_restored(name: &str, settings: Value, budget: Budget, dies_after: usize, failing: u64) {
    let strategy = factory(name, settings);
    let round = || Round { tasks: tasks(2), budget, ..Round::of(&*strategy) };
    let engine = |order| Script { failing, ..Script::new(order) };
    let mut straight = round();
    let expected = straight.run(&mut engine(3)).unwrap();
    let mut cut = Round { dies_after: dies_after % (straight.told.len() + 1), ..round() };
    let outcome = cut.run(&mut engine(4));
    assert_eq!(outcome.is_err(), cut.told.len() < straight.told.len());
    // Through the file, whose last line was half written.
    let mut file = Vec::new();
    for (task, told) in &cut.told {
        write_told(&mut file, task, told).unwrap();
    }
    file.extend_from_slice(b"{\"task\": \"t/");
    let journal: Journal = read_journal(&file[..]).unwrap();
    let known: HashMap<String, usize> = journal.iter().map(|(task, told)| (task.clone(), told.len())).collect();
    let mut restored = Round { journal, ..round() };
    let mut engine = engine(5);
    assert_eq!(restored.run(&mut engine).unwrap(), expected, "{name}");
    // Only what was not known yet was asked and recorded.
    assert_eq!(restored.told.len() + known.values().sum::<usize>(), straight.told.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_budget_is_exceeded_and_every_tree_is_whole(
        case in 0..20_usize, seed: u64, order: u64, tokens in 1..900_u64, prompts in prop::option::of(1..4000_u64),
        failing in prop::sample::select(vec![0_u64, 4]),
    ) {
        let (name, settings) = cases().swap_remove(case);
        let strategy = factory(name, settings);
        let budget = Budget { tokens: Some(tokens), prompts };
        let mut engine = Script { failing, ..Script::new(order) };
        let trees = Round { budget, seed, tasks: tasks(2), ..Round::of(&*strategy) }.run(&mut engine).unwrap();
        for (tree, task) in trees.iter().zip(0..) {
            check(tree, budget);
            // By the engine's own count.
            let spent = engine.generated.get(&u64::from(u32::from('A') + task)).copied().unwrap_or(0);
            prop_assert!(spent <= tokens, "{name} spent {spent} of {tokens}");
        }
    }

    #[test]
    fn a_search_that_was_killed_goes_on_to_the_same_tree(
        case in 0..20_usize, dies_after: usize, tokens in prop::option::of(50..900_u64),
        failing in prop::sample::select(vec![0_u64, 5]),
    ) {
        let (name, settings) = cases().swap_remove(case);
        killed_and_restored(name, settings, Budget { tokens, prompts: None }, dies_after, failing);
    }

    #[test]
    fn visits_add_up(seed: u64, simulations in 1..60_usize, at_once in 1..9_usize, expand in 1..5_usize, widen in 0..2_u32) {
        let settings = json!({"simulations": simulations, "at_once": at_once, "expand": expand, "rollouts": 0,
            "widen": f64::from(widen) / 2.0, "scorer": {"name": "reward_model"}});
        let strategy = factory("mcts", settings);
        let tree = Round { seed, ..Round::of(&*strategy) }.run(&mut Script::new(seed)).unwrap().remove(0);
        check(&tree, Budget::default());
        let below = |id: usize| tree.nodes.iter().filter(|n| n.parent == Some(id)).map(|n| n.visits).sum::<u32>();
        prop_assert!(tree.nodes[0].visits as usize <= simulations);
        prop_assert_eq!(tree.nodes[0].visits, below(0));
        for (id, node) in tree.nodes.iter().enumerate().skip(1).filter(|(_, node)| node.visits > 0) {
            match below(id) {
                0 => {}
                // One visit was its own, when it was valued.
                seen => prop_assert_eq!(node.visits, seen + 1, "node {}", id),
            }
            // The mean of what lies below.
            let value = node.value.unwrap();
            prop_assert!((0.0..=1.0).contains(&value));
        }
    }
}

#[test]
fn nothing_follows_a_step_that_does_not_work() {
    let strategy = factory("rstar", json!({"simulations": 20, "expand": 4}));
    let trees = Round { tasks: tasks(4), ..Round::of(&*strategy) }.run(&mut Script::new(1)).unwrap();
    let mut left = 0;
    for tree in &trees {
        for (id, _) in tree.nodes.iter().enumerate().filter(|(_, node)| node.text.starts_with('d')) {
            left += 1;
            assert!(tree.nodes.iter().all(|node| node.parent != Some(id)), "node {id} goes on");
            assert!(tree.chosen != Some(id) && tree.nodes[id].score.is_none() && tree.nodes[id].visits == 0);
        }
        // Only answers are worth something, and every simulation came to one.
        let ends = tree.leaves().map(|leaf| tree.nodes[leaf].visits).sum::<u32>();
        assert_eq!(ends, tree.nodes[0].visits);
    }
    assert!(left > 4, "{left} steps did not work");
}

#[test]
fn a_journal_of_another_search_is_refused() {
    let (few, many) = (factory("best_of_n", json!({"n": 2})), factory("mcts", json!({})));
    let mut first = Round::of(&*few);
    first.run(&mut Script::new(1)).unwrap();
    let mut journal = Journal::new();
    for (task, told) in first.told.iter().rev() {
        journal.entry(task.clone()).or_default().push_back(told.clone());
    }
    let error = Round { journal, ..Round::of(&*many) }.run(&mut Script::new(1)).unwrap_err().to_string();
    assert!(error.contains("another search's"), "{error}");
    let error = read_journal(&b"{\"task\": 3}\n{}\n"[..]).unwrap_err();
    assert!(error.starts_with("line 1: expected what a strategy was told"), "{error}");
}

#[test]
fn steps_end_where_their_border_is() {
    for (steps, border) in [
        (json!({"border": "blank_line"}), "\n\n"),
        (json!({"border": "line"}), "\n"),
        (json!({"border": "strings", "strings": [" ", "\n\n"]}), ""),
        (json!({"border": "tokens", "max_tokens": 3}), ""),
        (json!({"border": "blank_line", "most": 2}), "\n\n"),
    ] {
        let strategy = factory("dvts", json!({"n": 4, "width": 2, "steps": steps}));
        let tree = Round::of(&*strategy).run(&mut Script::new(1)).unwrap().remove(0);
        let inner = |id: usize| tree.nodes.iter().any(|node| node.parent == Some(id));
        let most = steps["most"].as_u64().unwrap_or(40) as usize;
        for (id, node) in tree.nodes.iter().enumerate().skip(1) {
            assert!(!inner(id) || node.text.ends_with(border), "{:?}", node.text);
            assert!(steps["border"] != "tokens" || node.tokens.len() <= 3);
            assert!(tree.path(id).len() <= most + 1);
        }
        assert!((1..tree.nodes.len()).any(inner), "{steps}: no step was continued");
    }
}
