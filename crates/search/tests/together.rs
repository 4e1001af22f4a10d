//! Several rounds on one engine: what they grow is what each grows alone.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Letters, NoD, One, Script, ShareOfA, drawn, factory, tasks};
use proptest::prelude::*;
use relign_core::{RolloutError, Rollouts, Sampling, Seed, Tree};
use relign_search::{Budget, Driver, Judge, Options, Shared, StrategyFactory, together};
use serde_json::json;

fn judge() -> Judge {
    Judge::new(Arc::new(One), 2, Duration::from_secs(60)).expect("threads")
}

/// Rounds with a strategy, a number of tasks and a limit of tokens each. Their tasks have the same names.
fn lots() -> Vec<(Box<dyn StrategyFactory>, u32, usize)> {
    vec![
        (factory("sample", json!({"n": 3})), 4, 40),
        (factory("mcts", json!({"simulations": 6})), 2, 60),
        (factory("sample", json!({"n": 1})), 5, 20),
        (factory("self_consistency", json!({"n": 5, "at_once": 2})), 3, 60),
    ]
}

fn driver<'a>(
    engine: &'a mut dyn relign_core::Generate,
    judge: &'a mut Judge,
    strategy: &'a dyn StrategyFactory,
    max_tokens: usize,
) -> Driver<'a> {
    Driver {
        engine,
        tokenizer: &Letters,
        judge,
        strategy,
        sampling: Sampling { max_tokens, ..Sampling::default() },
        seed: Seed(5),
        step: 0,
        interrupt: Arc::default(),
        progress: None,
        options: Options {
            budget: Budget::of(2000),
            scorer: Some(&ShareOfA),
            checker: Some(&NoD),
            ..Options::default()
        },
    }
}

fn alone(lots: &[(Box<dyn StrategyFactory>, u32, usize)], failing: u64) -> Vec<Vec<Tree>> {
    let one = |(strategy, count, most): &(Box<dyn StrategyFactory>, u32, usize)| {
        let mut engine = Script { failing, ..Script::new(0) };
        let (mut judge, mut trees) = (judge(), Vec::new());
        let mut driver = driver(&mut engine, &mut judge, &**strategy, *most);
        driver.run(tasks(*count), &mut |tree| trees.push(tree)).expect("a round");
        trees
    };
    lots.iter().map(one).collect()
}

fn run(
    engine: &mut Script,
    lots: &[(Box<dyn StrategyFactory>, u32, usize)],
    each: &mut dyn FnMut(usize, usize, Tree) -> bool,
) -> Result<(), RolloutError> {
    let shared = Shared::new(engine);
    let mut parts: Vec<_> = lots.iter().map(|_| shared.part()).collect();
    let mut judges: Vec<_> = lots.iter().map(|_| judge()).collect();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let rounds = lots.iter().zip(&mut parts).zip(&mut judges).map(|(((strategy, count, most), part), judge)| {
        let driver = Driver { interrupt: Arc::clone(&stop), ..driver(part, judge, &**strategy, *most) };
        (driver, tasks(*count))
    });
    let rounds = rounds.collect();
    together(&shared, rounds, &mut |number, place, tree| {
        if !each(number, place, tree) {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_round_grows_what_it_grows_alone(order in 0_u64..10_000, failing in prop_oneof![Just(0_u64), 3_u64..9]) {
        let lots = lots();
        let expected = alone(&lots, failing);
        let mut found: Vec<Vec<Option<Tree>>> = lots.iter().map(|(_, count, _)| vec![None; *count as usize]).collect();
        let mut engine = Script { failing, ..Script::new(order) };
        run(&mut engine, &lots, &mut |number, place, tree| {
            assert!(found[number][place].replace(tree).is_none(), "handed over twice");
            true
        })
        .expect("rounds");
        prop_assert!(engine.waiting.is_empty());
        for (own, expected) in found.into_iter().zip(&expected) {
            let own: Vec<Tree> = own.into_iter().map(|tree| tree.expect("handed over")).collect();
            prop_assert_eq!(own.iter().map(drawn).collect::<Vec<_>>(), expected.iter().map(drawn).collect::<Vec<_>>());
            prop_assert_eq!(&own, expected);
        }
    }
}

#[test]
fn all_of_them_are_one_batch_and_trees_come_as_they_end() {
    let lots = lots();
    let mut overtook = false;
    for order in 0..20 {
        let mut engine = Script::new(order);
        let mut came = Vec::new();
        run(&mut engine, &lots, &mut |number, place, _| {
            came.push((number, place));
            true
        })
        .expect("rounds");
        // At the beginning: 4 x 3 samples, 2 first iterations, 5 samples, 3 x 2 votes.
        assert!(engine.most >= 12 + 2 + 5 + 6, "{} at once", engine.most);
        let mut sorted = came.clone();
        sorted.sort_unstable();
        assert_eq!(sorted.len(), 14);
        overtook |= came != sorted;
    }
    assert!(overtook, "a short round waits for no long one");
}

#[test]
fn an_interrupt_ends_all() {
    let lots = lots();
    let mut engine = Script::new(3);
    let mut came = 0;
    let ended = run(&mut engine, &lots, &mut |_, _, _| {
        came += 1;
        came < 2
    });
    assert!(matches!(ended, Err(RolloutError::Interrupted)), "{ended:?}");
    assert!(came < 14, "{came} trees");
}
