//! Golden trees: what each strategy makes of the scripted world, node by node.
//!
//! `fixtures/golden/NAME.txt` holds the trees. A change that is meant is taken over with
//! `GOLDEN=write cargo test --profile quick -p relign-search --test golden`, and looked at before it is committed;
//! `fixtures/uct.py` works out the visits and values of `mcts.txt` once more.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

mod common;

use std::path::PathBuf;

use common::{Round, Script, drawn, factory};
use relign_search::Budget;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden")
}

fn check(file: &str, strategy: &str, settings: Value, budget: Budget) {
    let strategy = factory(strategy, settings);
    let tree = Round { budget, ..Round::of(&*strategy) }.run(&mut Script::new(1)).unwrap().remove(0);
    let (path, now) = (folder().join(format!("{file}.txt")), drawn(&tree));
    if std::env::var("GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&path, &now).unwrap();
        return;
    }
    let then = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(now, then, "{file}: the tree is another; see the file's head");
}

#[test]
fn answers() {
    let model = json!({"name": "reward_model"});
    check("best_of_n", "best_of_n", json!({"n": 6}), Budget::default());
    check("best_of_n_within", "best_of_n", json!({"n": 6, "fill": true, "scorer": model}), Budget::of(90));
    check("self_consistency", "self_consistency", json!({"n": 12, "at_once": 2, "confidence": 0.9}), Budget::default());
    check("weighted_vote", "weighted_vote", json!({"n": 6, "scorer": model}), Budget::default());
}

#[test]
fn steps() {
    let (model, asks) = (json!({"name": "reward_model"}), json!({"name": "self_evaluation", "question": "Good?"}));
    check("beam", "beam", json!({"n": 4, "width": 2, "scorer": model}), Budget::default());
    check("dvts", "dvts", json!({"n": 4, "width": 2, "scorer": model, "choice": "vote"}), Budget::default());
    check("tree_of_thoughts", "tree_of_thoughts", json!({"breadth": 1, "k": 2, "scorer": asks}), Budget::default());
}

#[test]
fn searches() {
    let model = json!({"name": "reward_model"});
    let mcts = json!({"simulations": 40, "at_once": 1, "expand": 3, "rollouts": 0, "scorer": model});
    check("mcts", "mcts", mcts, Budget::default());
    let puct = json!({"simulations": 24, "at_once": 4, "expand": 3, "policy": "puct", "prior": "likelihood",
        "scorer": {"name": "verifier"}, "choice": "visits"});
    check("mcts_puct", "mcts", puct, Budget::default());
    check("ab_mcts", "ab_mcts", json!({"n": 10, "scorer": model}), Budget::default());
    check("rstar", "rstar", json!({"simulations": 8, "expand": 3}), Budget::default());
    check("rest_mcts", "rest_mcts", json!({"iterations": 8, "scorer": model}), Budget::default());
}

#[test]
fn turns() {
    check("budget_forcing", "budget_forcing", json!({"end": "=", "word": " b"}), Budget::default());
    check("budget_forcing_cut", "budget_forcing", json!({"end": "=", "waits": 0, "thinking": 4}), Budget::default());
    check("self_refine", "self_refine", json!({"satisfied": "dd"}), Budget::default());
}
