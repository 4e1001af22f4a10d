//! Definitions of benchmarks: what they may hold, what is said of those that do not fit, their hash, and which
//! items a limit leaves.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

use std::collections::BTreeSet;

use proptest::prelude::*;
use relign_bench::benchmark::{BUILTIN, Benchmark, Metric, SUITES, Shot, TEMPLATE, all, named, subset, suite};
use relign_core::{Message, Sampling, Verdict};

const SHORT: &str = "name = \"mine\"\nversion = 1\ndomain = \"math\"\n[environment]\nname = \"gsm8k\"\nlevel = 3\n";

fn one(text: &str) -> Benchmark {
    Benchmark::read("mine.toml", text).unwrap().remove(0)
}

#[test]
fn a_short_definition_is_greedy_and_asks_once() {
    let benchmark = one(SHORT);
    let sampling = Sampling::from(&benchmark.sampling);
    assert_eq!((sampling.temperature, benchmark.samples, benchmark.metric()), (0.0, 1, Metric::Accuracy));
    assert_eq!(benchmark.environment.settings["level"], 3);
    assert_eq!(benchmark.strategy.name, "sample");
}

#[test]
fn what_does_not_fit_is_said_with_its_place() {
    let replace = |from: &str, to: &str| SHORT.replace(from, to);
    for (text, said) in [
        (replace("version = 1", "version = 1\nsample = 4"), "unknown key `sample`"),
        (replace("version = 1", "version = 1\nsample = 4"), "line 3"),
        (replace("version = 1", "version = \"one\""), "expected a whole number from 0 up"),
        (format!("sampling = 5\n{SHORT}"), "sampling: expected a table of settings, got 5"),
        (format!("sampling = [0.5]\n{SHORT}"), "sampling: expected a table of settings, got a list of 1"),
        (format!("prompt = true\n{SHORT}"), "prompt: expected a table of settings, got true"),
        (replace("[environment]\nname = \"gsm8k\"\nlevel = 3\n", "environment = 5\n"), "environment: expected a table"),
        (replace("version = 1\n", ""), "missing field `version`"),
        (replace("mine", "my benchmark"), "name: expected letters, digits"),
        (replace("version = 1", "version = 1\nsamples = 0"), "samples: expected 1 to 100000, got 0"),
        (replace("version = 1", "version = 1\nsamples = 100001"), "samples: expected 1 to 100000, got 100001"),
        (replace("version = 1", "version = 1\nitems = 1000000000"), "items: expected at most 1000000, got 1000000000"),
        (format!("{SHORT}[sampling]\nmax_tokens = 1000000000"), "sampling.max_tokens: expected at most 16777216"),
        (format!("{SHORT}[prompt]\nexamples = 1000000000"), "prompt.examples: expected at most 1000"),
        (replace("version = 1", "version = 1\nsamples = 4"), "expected 1 where sampling.temperature is 0"),
        (replace("version = 1", "version = 1\nmetrics = [\"pass@8\"]"), "pass@8 needs 8 samples"),
        (replace("version = 1", "version = 1\nmetrics = [\"pas@8\"]"), "unknown metric `pas@8`, expected accuracy"),
        (replace("version = 1", "version = 1\nmetrics = []"), "metrics: expected at least one"),
        (replace("version = 1", "version = 1\nitems = 0"), "items: expected at least 1"),
        (format!("{SHORT}[prompt]\ntemplate = \"Q:\""), "expected {question} in it once"),
        (format!("{SHORT}[prompt]\nexamples = 2\nshots = [{{user = \"a\", assistant = \"b\"}}]"), "got both"),
        (format!("{SHORT}[sampling]\ntemperature = -1.0"), "from 0 up"),
        (format!("{SHORT}[sampling]\nmax_token = 5"), "unknown key `max_token`"),
        (format!("{SHORT}[each]\nlevel = [1, 2]"), "set under [environment], too"),
        (format!("{SHORT}[each]\nkind = []"), "one setting with a list"),
        ("name = ".to_owned(), "mine.toml"),
    ] {
        let error = Benchmark::read("mine.toml", &text).expect_err(&text).to_string();
        assert!(error.contains(said) && error.starts_with("benchmark mine.toml: "), "{said} in\n{error}");
    }
}

#[test]
fn metrics_are_read_as_they_are_written() {
    for text in ["accuracy", "avg@4", "pass@8", "pass^8", "maj@16", "g-pass@8:0.75", "mg-pass@8"] {
        assert_eq!(text.parse::<Metric>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "pass",
        "pass@",
        "pass@0",
        "pass@x",
        "avg^3",
        "g-pass@8",
        "g-pass@8:2",
        "maj@8:1",
        "mg-pass@1",
        "accuracy@3",
    ] {
        assert!(text.parse::<Metric>().is_err(), "{text}");
    }
}

#[test]
fn metrics_are_what_they_say() {
    let item = |verdicts: &[(Verdict, &str)]| {
        verdicts.iter().map(|(v, a)| (*v, (!a.is_empty()).then(|| (*a).to_owned()))).collect::<Vec<_>>()
    };
    let (right, wrong, failed, unparsed) = (Verdict::Correct, Verdict::Wrong, Verdict::Failed, Verdict::Unparsed);
    let mixed = item(&[(right, "7"), (wrong, "8"), (failed, ""), (unparsed, ""), (wrong, "8")]);
    let of = |metric: &str| metric.parse::<Metric>().unwrap().item(&mixed);
    assert_eq!(of("accuracy"), Some(0.25), "what no judge could judge is left out");
    assert_eq!(of("avg@2"), Some(0.5));
    assert_eq!((of("pass@1"), of("pass^2"), of("maj@4")), (Some(0.25), Some(0.0), Some(0.0)));
    assert_eq!((of("pass@5"), of("avg@5"), of("maj@5")), (None, None, None), "four were judged");
    let untold = item(&[(right, "7"), (wrong, "")]);
    assert_eq!("maj@2".parse::<Metric>().unwrap().item(&untold), None, "a vote nobody told is not made up");
    let items = vec![mixed, item(&[(failed, "")]), item(&[(right, "1")])];
    let estimate = Metric::Accuracy.over(&items, &[0, 1, 2]).unwrap();
    assert_eq!((estimate.accuracy, estimate.n), (0.625, 2));
    assert_eq!(Metric::Accuracy.over(&items[1..2], &[0]), None);
}

#[test]
fn the_hash_is_of_everything_but_the_description() {
    let hash = one(SHORT).hash();
    assert_eq!(one(&format!("about = \"More words.\"\n{SHORT}")).hash(), hash);
    assert_eq!(
        one(&format!("samples = 1\n{SHORT}[sampling]\ntemperature = 0.0\n")).hash(),
        hash,
        "defaults written out"
    );
    let mut seen = BTreeSet::from([hash]);
    for (from, to) in [("level = 3", "level = 4"), ("version = 1", "version = 2"), ("math", "maths"), ("mine", "mine2")]
    {
        assert!(seen.insert(one(&SHORT.replace(from, to)).hash()), "{to}");
    }
    assert!(seen.insert(one(&format!("{SHORT}[prompt]\nsystem = \"Think.\"")).hash()));
}

#[test]
fn every_builtin_fits_and_every_suite_holds_some() {
    let all = all().unwrap();
    let names: BTreeSet<&str> = all.iter().map(|benchmark| benchmark.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "names are distinct");
    for (name, _) in BUILTIN {
        let found = named(name).unwrap();
        assert!(found.iter().all(|b| b.name.split('/').next() == Some(*name) && !b.about.is_empty()), "{name}");
    }
    assert_eq!(named("bbh").unwrap().len(), 27);
    assert_eq!(named("bbh/navigate").unwrap()[0].environment.settings["task"], "navigate");
    assert_eq!(named("arithmetic/4").unwrap()[0].environment.settings["level"], 4);
    let suites: toml::Table = SUITES.parse().unwrap();
    for name in suites.keys().map(String::as_str).chain(["all"]) {
        assert!(!suite(name).unwrap().is_empty(), "{name}");
    }
    for name in ["math", "coding", "health", "finance", "general", "quick"] {
        assert!(suites.contains_key(name), "{name}");
    }
    assert!(named("gsm9k").unwrap_err().to_string().contains("expected a TOML file or one of: gsm8k"));
    assert!(suite("maths").unwrap_err().to_string().contains("math"));
    Benchmark::read("template.toml", TEMPLATE).unwrap();
}

#[test]
fn a_prompt_is_the_conversation_with_what_the_benchmark_adds() {
    let text = format!(
        "{SHORT}[prompt]\nsystem = \"Be exact.\"\ntemplate = \"Q: {{question}}\\nA:\"\nshots = [{{user = \"1 + 1?\", assistant = \"2\"}}]"
    );
    let prompt = one(&text).prompt;
    let own = [Message::system("You add."), Message::user("2 + 2?")];
    let shots: Vec<Shot> = prompt.shots.clone();
    assert_eq!(
        prompt.apply(&own, &shots),
        [
            Message::system("Be exact.\n\nYou add."),
            Message::user("Q: 1 + 1?\nA:"),
            Message::assistant("2"),
            Message::user("Q: 2 + 2?\nA:")
        ]
    );
    assert_eq!(one(SHORT).prompt.apply(&own, &[]), own, "nothing added, nothing changed");
}

#[test]
fn a_limit_leaves_the_same_items_for_everybody() {
    let keys: Vec<String> = (0..1000).map(|i| format!("question {i}")).collect();
    // SHA-256 of "relign subset 1\n" and the key, the lowest first; computed with Python's hashlib.
    assert_eq!(subset(&keys, 5), [120, 276, 704, 776, 781]);
}

proptest! {
    #[test]
    fn a_smaller_subset_is_part_of_a_larger_one_in_any_order(n in 0_usize..60, more in 0_usize..60, turn in 0_usize..50) {
        let keys: Vec<String> = (0..50).map(|i| format!("q{i}")).collect();
        let pick = |keys: &[String], n| -> BTreeSet<String> { subset(keys, n).into_iter().map(|i| keys[i].clone()).collect() };
        let (few, many) = (pick(&keys, n), pick(&keys, n + more));
        prop_assert!(few.is_subset(&many) && few.len() == n.min(50));
        let mut turned = keys;
        turned.rotate_left(turn);
        prop_assert_eq!(pick(&turned, n), few);
    }
}
