//! The statistics against SciPy's (`fixtures/statistics.py` made the values) and against their own sense.

use proptest::prelude::*;
use relign_bench::{clustered, mcnemar, moments, paired, wilson};
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/statistics.json")).expect("the fixture is JSON")
}

fn cases(name: &str) -> Vec<Value> {
    fixture()[name].as_array().expect("a list").clone()
}

fn number(case: &Value, key: &str) -> f64 {
    case[key].as_f64().expect("a number")
}

fn whole(case: &Value, key: &str) -> u64 {
    case[key].as_u64().expect("a whole number")
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

#[track_caller]
fn close(got: f64, expected: f64, tolerance: f64) {
    let scale = expected.abs().max(1e-300);
    assert!((got - expected).abs() <= tolerance * scale.max(1e-12), "expected {expected}, got {got}");
}

#[test]
fn wilson_equals_scipy() {
    for case in cases("wilson") {
        let estimate = wilson(whole(&case, "hits"), whole(&case, "n"));
        // SciPy leaves rounding noise where the interval touches 0.
        assert!((estimate.low - number(&case, "low")).abs() < 1e-12, "{case}: {estimate:?}");
        assert!((estimate.high - number(&case, "high")).abs() < 1e-12, "{case}: {estimate:?}");
    }
}

#[test]
fn mcnemar_equals_scipy() {
    for case in cases("mcnemar") {
        let p = mcnemar(whole(&case, "won"), whole(&case, "lost"));
        close(p, number(&case, "p"), 1e-9);
    }
}

#[test]
fn clustered_equals_scipy() {
    for case in cases("clustered") {
        let means = list(&case["means"]);
        if let Some(items) = case["values"].as_array() {
            for (item, mean) in items.iter().zip(&means) {
                close(moments(&list(item)).mean, *mean, 1e-12);
            }
        }
        let estimate = clustered(&means);
        close(estimate.accuracy, number(&case, "mean"), 1e-12);
        if number(&case, "error") > 0.0 {
            close(estimate.low, number(&case, "low"), 1e-8);
            close(estimate.high, number(&case, "high"), 1e-8);
        }
    }
}

#[test]
fn moments_equal_numpy() {
    for case in cases("moments") {
        let got = moments(&list(&case["values"]));
        close(got.mean, number(&case, "mean"), 1e-12);
        close(got.std, number(&case, "std"), 1e-9);
    }
}

#[test]
fn nothing_measured_says_nothing() {
    for estimate in [wilson(0, 0), clustered(&[])] {
        assert_eq!((estimate.low, estimate.high, estimate.n), (0.0, 1.0, 0));
    }
    let same = clustered(&[1.0; 20]);
    assert!(same.low < 0.9 && same.high == 1.0, "twenty alike do not make certainty: {same:?}");
    assert_eq!(mcnemar(0, 0), 1.0);
}

#[test]
fn pairs_must_be_pairs() {
    let error = paired(&[true], &[true, false]).expect_err("lengths differ");
    assert_eq!(error.to_string(), "paired measurements: expected as many after as before (1), got 2");
    let both = paired(&[true, false, false, true], &[true, true, true, false]).expect("of one length");
    assert_eq!((both.won, both.lost, both.before.accuracy, both.after.accuracy), (2, 1, 0.5, 0.75));
}

proptest! {
    #[test]
    fn an_interval_holds_its_share(hits in 0..1000_u64, misses in 0..1000_u64) {
        let estimate = wilson(hits, hits + misses);
        prop_assert!(0.0 <= estimate.low && estimate.low <= estimate.accuracy);
        prop_assert!(estimate.accuracy <= estimate.high && estimate.high <= 1.0);
    }

    #[test]
    fn winning_and_losing_are_alike(won in 0..500_u64, lost in 0..500_u64) {
        prop_assert_eq!(mcnemar(won, lost), mcnemar(lost, won));
        prop_assert!((0.0..=1.0).contains(&mcnemar(won, lost)));
    }
}
