//! Figures of several samples, of differences and of many tests, against inspect_ai, statsmodels and SciPy
//! (`fixtures/sampled.py` made the values) and against plain enumeration.

use proptest::prelude::*;
use relign_bench::statistics::{
    benjamini_hochberg, bootstrap, clustered_error, clustered_mean, difference, g_pass_at_k, holm, maj_at_k,
    mg_pass_at_k, minimum_detectable, needed, pass_at_k, pass_hat_k, relative_uplift, wilson,
};
use relign_core::Seed;
use serde_json::Value;

fn cases(name: &str) -> Vec<Value> {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/sampled.json")).expect("the fixture is JSON");
    fixture[name].as_array().expect("a list").clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn places(value: &Value) -> Vec<usize> {
    value.as_array().expect("a list").iter().map(|v| v.as_u64().expect("a number") as usize).collect()
}

fn whole(case: &Value, key: &str) -> u64 {
    case[key].as_u64().expect("a whole number")
}

#[track_caller]
fn close(got: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().expect("a number");
    assert!((got - expected).abs() <= tolerance, "expected {expected}, got {got}");
}

#[test]
fn pass_at_k_equals_inspect_ai() {
    for case in cases("pass_at") {
        let got = pass_at_k(whole(&case, "n"), whole(&case, "c"), whole(&case, "k"));
        close(got.expect("k fits"), &case["value"], 1e-12);
    }
    assert_eq!(
        (pass_at_k(3, 1, 4), pass_at_k(3, 1, 0), pass_hat_k(3, 1, 4), maj_at_k(1, &[], 0, 2)),
        (None, None, None, None)
    );
}

#[test]
fn reliability_equals_hypergeometric_tails() {
    for case in cases("at_least") {
        let (n, c, k) = (whole(&case, "n"), whole(&case, "c"), whole(&case, "k"));
        for (tau, expected) in case["taus"].as_object().expect("thresholds") {
            close(g_pass_at_k(n, c, k, tau.parse().expect("a number")).expect("k fits"), expected, 1e-10);
        }
        close(pass_hat_k(n, c, k).expect("k fits"), &case["all"], 1e-10);
        close(mg_pass_at_k(n, c, k).expect("k fits"), &case["mg"], 1e-10);
    }
}

#[test]
fn clustered_errors_equal_inspect_ai_and_statsmodels() {
    for case in cases("error") {
        let (values, clusters) = (numbers(&case["values"]), places(&case["clusters"]));
        let error = clustered_error(&values, &clusters);
        close(error, &case["inspect_ai"], 1e-12);
        close(error, &case["statsmodels"], 1e-12);
        let mean = clustered_mean(&values, &clusters);
        // Ours is cut to where a share can be.
        close(mean.low, &case["low"].as_f64().map(|low| low.max(0.0)).into(), 1e-8);
        close(mean.high, &case["high"].as_f64().map(|high| high.min(1.0)).into(), 1e-8);
    }
}

#[test]
fn paired_differences_equal_statsmodels() {
    for case in cases("difference") {
        let got = difference(&numbers(&case["before"]), &numbers(&case["after"]), &places(&case["clusters"]));
        close(got.low, &case["low"], 1e-8);
        close(got.high, &case["high"], 1e-8);
        close(got.p, &case["p"], 1e-8);
    }
}

#[test]
fn corrections_equal_statsmodels() {
    for case in cases("adjusted") {
        let p = numbers(&case["p"]);
        for (got, name) in [(holm(&p), "holm"), (benjamini_hochberg(&p), "bh")] {
            for (got, expected) in got.into_iter().zip(numbers(&case[name])) {
                close(got, &expected.into(), 1e-12);
            }
        }
    }
}

#[test]
fn power_equals_statsmodels() {
    for case in cases("power") {
        let (error, power) = (case["error"].as_f64().expect("a number"), case["power"].as_f64().expect("a number"));
        // statsmodels also counts the hair of a chance to find a difference of the wrong sign.
        let detectable = minimum_detectable(error, power);
        close(detectable, &case["difference"], 1e-4 * detectable);
        let n = whole(&case, "n");
        assert_eq!(needed(detectable, error, n, power), Some(n), "an item more or less is rounding");
    }
    assert_eq!(needed(0.0, 0.1, 100, 0.8), None);
}

#[test]
fn the_bootstrap_of_a_ratio_equals_scipy() {
    for case in cases("bootstrap") {
        let (before, after) = (numbers(&case["before"]), numbers(&case["after"]));
        let clusters: Vec<usize> = (0..before.len()).collect();
        let got = relative_uplift(&before, &after, &clusters, Seed(5), 50_000);
        close(got.value, &case["value"], 1e-12);
        let width = got.high - got.low;
        close(got.low, &case["low"], 0.03 * width);
        close(got.high, &case["high"], 0.03 * width);
        assert_eq!(got, relative_uplift(&before, &after, &clusters, Seed(5), 50_000), "same seed, same interval");
    }
}

#[test]
fn ratios_without_a_base_are_not_made_up() {
    let clusters = [0, 1, 2, 3];
    let none = relative_uplift(&[0.0; 4], &[1.0, 0.0, 1.0, 0.0], &clusters, Seed(1), 1000);
    assert_eq!(none.value, f64::INFINITY);
    assert!(relative_uplift(&[0.0; 4], &[0.0; 4], &clusters, Seed(1), 1000).value.is_nan());
    assert!(bootstrap(Seed(1), 1000, 1, |_| 0.5).low.is_infinite(), "one cluster says nothing about its spread");
}

#[test]
fn what_never_differs_is_not_certain() {
    let same = difference(&[1.0; 50], &[1.0; 50], &(0..50).collect::<Vec<_>>());
    assert!(same.low < -0.02 && same.high > 0.02 && same.p == 1.0, "{same:?}");
}

/// Every choice of `k` of `votes`: the mean share that the right answer (0) wins; `None` is silent.
fn enumerate(votes: &[Option<usize>], k: usize) -> f64 {
    let (mut won, mut choices) = (0.0, 0.0);
    for mask in 0_u32..1 << votes.len() {
        if mask.count_ones() as usize != k {
            continue;
        }
        choices += 1.0;
        let mut counts = [0; 8];
        for (_, vote) in votes.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1) {
            if let Some(vote) = vote {
                counts[*vote] += 1;
            }
        }
        let most = *counts.iter().max().expect("eight");
        if most > 0 && counts[0] == most {
            won += 1.0 / counts.iter().filter(|count| **count == most).count() as f64;
        }
    }
    won / choices
}

proptest! {
    #[test]
    fn a_vote_equals_its_enumeration(correct in 0_usize..5, others in prop::collection::vec(1_usize..4, 0..3), silent in 0_usize..3, k in 1_usize..6) {
        let mut votes = vec![Some(0); correct];
        votes.extend(others.iter().enumerate().flat_map(|(i, n)| vec![Some(i + 1); *n]));
        votes.extend(vec![None; silent]);
        prop_assume!(k <= votes.len());
        let counts: Vec<u64> = others.iter().map(|n| *n as u64).collect();
        let got = maj_at_k(correct as u64, &counts, silent as u64, k as u64).expect("k fits");
        prop_assert!((got - enumerate(&votes, k)).abs() < 1e-12);
    }

    #[test]
    fn more_samples_find_more_and_agree_on_less(n in 1_u64..300, share in 0.0..1.0_f64, k in 1_u64..300) {
        prop_assume!(k < n);
        let c = (n as f64 * share) as u64;
        let (any, all) = (pass_at_k(n, c, k).unwrap(), pass_hat_k(n, c, k).unwrap());
        prop_assert!(pass_at_k(n, c, k + 1).unwrap() >= any - 1e-12 && pass_hat_k(n, c, k + 1).unwrap() <= all + 1e-12);
        prop_assert!((g_pass_at_k(n, c, k, 0.0).unwrap() - any).abs() < 1e-9, "one of k is pass@k");
        prop_assert!((g_pass_at_k(n, c, k, 1.0).unwrap() - all).abs() < 1e-9, "all of k is pass^k");
        prop_assert!((pass_at_k(n, c, 1).unwrap() - c as f64 / n as f64).abs() < 1e-12);
    }

    #[test]
    fn adjusted_values_keep_their_order_and_never_fall(p in prop::collection::vec(0.0..=1.0_f64, 1..20)) {
        for adjusted in [holm(&p), benjamini_hochberg(&p)] {
            for i in 0..p.len() {
                prop_assert!(p[i] <= adjusted[i] + 1e-15 && adjusted[i] <= 1.0);
                for j in 0..p.len() {
                    prop_assert!(p[i] >= p[j] || adjusted[i] <= adjusted[j]);
                }
            }
        }
    }
}

/// Pairs of models that truly differ by `gain`: each item has its own ease, one sample or several of each.
fn pairs(seed: Seed, clusters: usize, size: usize, samples: u64, gain: f64) -> (Vec<f64>, Vec<f64>, Vec<usize>) {
    let (mut before, mut after, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for item in 0..clusters * size {
        let cluster = item / size;
        // What a cluster's items share: how easy they are, and how much was learned of them (0 to twice the gain).
        let own = seed.child("cluster").index(cluster as u64);
        let ease = own.uniform(0) * (1.0 - 2.0 * gain);
        let learned = ease + 2.0 * gain * own.uniform(1);
        let draw = |name: &str, p: f64| {
            let seed = seed.child(name).index(item as u64);
            (0..samples).filter(|&s| seed.uniform(s) < p).count() as f64 / samples as f64
        };
        before.push(draw("before", ease));
        after.push(draw("after", learned));
        places.push(cluster);
    }
    (before, after, places)
}

#[test]
fn intervals_cover_the_true_difference_as_often_as_they_claim() {
    let rounds = 1500;
    for (clusters, size, samples, gain) in
        [(60, 1, 1, 0.1), (250, 1, 1, 0.0), (250, 1, 1, 0.05), (120, 1, 8, 0.05), (60, 5, 1, 0.08), (40, 4, 4, 0.0)]
    {
        let (mut absolute, mut relative, mut found) = (0, 0, 0);
        for round in 0..rounds {
            let seed = Seed(17).child(&format!("{clusters} {size} {samples} {gain}")).index(round);
            let (before, after, places) = pairs(seed, clusters, size, samples, gain);
            let got = difference(&before, &after, &places);
            absolute += u64::from(got.low <= gain && gain <= got.high);
            found += u64::from(got.p < 0.05);
            if round < 400 {
                let truth = gain / (0.5 * (1.0 - 2.0 * gain));
                let uplift = relative_uplift(&before, &after, &places, seed, 500);
                relative += u64::from(uplift.low <= truth && truth <= uplift.high);
            }
        }
        // The claimed 95 % must be a likely share of what was counted: within four standard errors, and two
        // points of grace for Student's approximation on the one side, for Bonett and Price's caution on the other.
        let share = absolute as f64 / rounds as f64;
        assert!((0.93 - 0.0226..=0.99).contains(&share), "{clusters} x {size}, {samples} samples, {gain}: {share}");
        let share = relative as f64 / 400.0;
        assert!((0.95 - 0.045..=0.99).contains(&share), "relative, {clusters} x {size}, {samples}: {share}");
        if gain == 0.0 {
            let wrong = wilson(found, rounds);
            assert!(wrong.low < 0.06, "claims found where there is nothing: {wrong:?}");
        }
    }
}
