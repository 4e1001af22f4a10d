//! Overlap between training texts and benchmarks.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

use std::path::Path;

use proptest::prelude::*;
use relign_bench::contamination::{Index, Kind, Options, Report, Text, questions, training};
use relign_core::Seed;

const ITEM: &str = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips \
                    did Natalia sell altogether in April and May?";

fn text(id: &str, text: &str) -> Text {
    Text { id: id.to_owned(), text: text.to_owned() }
}

fn look(items: &[&str], texts: &[&str]) -> Report {
    let items = items.iter().enumerate().map(|(i, item)| text(&i.to_string(), item)).collect();
    let mut index = Index::new(vec![("bench".to_owned(), items)], Options::default());
    texts.iter().enumerate().for_each(|(i, said)| index.scan(&text(&format!("t{i}"), said)));
    index.report()
}

#[test]
fn each_kind_of_overlap_is_told() {
    let within = format!("Here is one from a book.\n{}\nThe answer is 72.", ITEM.to_uppercase().replace(',', " ; "));
    let reworded = ITEM.replace("Natalia", "Maria").replace("48", "50");
    let quoted = "They wrote that she sold half as many clips in May. How many people read it is not known.";
    for (train, kind) in [
        (ITEM, Some(Kind::Exact)),
        (within.as_str(), Some(Kind::Exact)),
        (&ITEM.replace("altogether ", ""), Some(Kind::Near)),
        (quoted, Some(Kind::Shared)),
        ("How many clips did Natalia buy?", None),
        ("", None),
    ] {
        let report = look(&[ITEM], &[train]);
        assert_eq!(report.overlaps.first().map(|overlap| overlap.kind), kind, "{train}");
    }
    let report = look(&[ITEM], &[&reworded]);
    assert!(report.overlaps[0].jaccard > 0.5 && report.overlaps[0].kind != Kind::Exact, "{:?}", report.overlaps);
}

#[test]
fn the_worst_overlap_stands_for_an_item_and_all_are_counted() {
    let report = look(
        &[ITEM, "What is the square root of a number that nobody knows yet?"],
        &["nothing", "She sold half as many clips in May. How odd.", ITEM, ITEM],
    );
    assert_eq!((report.texts, report.overlaps.len()), (4, 1));
    let worst = &report.overlaps[0];
    assert_eq!((worst.kind, worst.train.as_str(), worst.texts), (Kind::Exact, "t2", 3));
    let counts = report.benchmarks["bench"];
    assert_eq!((counts.items, counts.exact, counts.near, counts.shared), (2, 1, 0, 0));
}

#[test]
fn short_items_are_found_whole_alone() {
    let report = look(
        &["Compute $\\sin 60^\\circ$.", "2 + 2?"],
        &["compute sin 60 circ", "We compute sin 60 circ here.", "2 + 2?"],
    );
    assert_eq!((report.benchmarks["bench"].short, report.benchmarks["bench"].items), (1, 1));
    assert_eq!((report.overlaps.len(), report.overlaps[0].texts), (1, 1), "four words within a text are chance");
}

#[test]
fn a_page_that_quotes_an_item_is_found_among_many_words() {
    let page: String = (0..5000).map(|i| format!("word{} ", Seed(1).below(i, 900))).collect();
    let report = look(&[ITEM], &[&page, &format!("{page} {ITEM} {page}")]);
    assert_eq!((report.overlaps[0].kind, report.overlaps[0].train.as_str()), (Kind::Exact, "t1"));
}

#[test]
fn files_are_read_as_their_names_say() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let read = |path: &Path| {
        let mut seen = Vec::new();
        training(path, &mut |text| seen.push((text.id.clone(), text.text.clone()))).map(|_| seen)
    };
    let chat = put("a.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"n\":1}\n\n{\"q\":\"x\"}\n");
    assert_eq!(read(&chat).unwrap(), [("0.messages.0.content".into(), "hi".into()), ("2.q".into(), "x".into())]);
    let list = put("b.json", "[{\"problem\":\"p\",\"solution\":\"s\",\"unique_id\":\"u\"}]");
    assert_eq!(questions(&list).unwrap(), [text("u", "p")], "a benchmark is what it asks");
    assert_eq!(read(&list).unwrap().len(), 3, "a training set is all that it says");
    assert_eq!(read(&put("c.txt", "one\ntwo\n\nthree\n")).unwrap().len(), 2);
    for (path, said) in [
        (put("d.jsonl", "{}\nnot json\n"), "line 2: expected JSON"),
        (put("e.json", "3"), "expected a list of records"),
        (folder.path().join("none.txt"), "No such file"),
    ] {
        assert!(read(&path).unwrap_err().to_string().contains(said), "{said}");
    }
    assert!(questions(&put("f.jsonl", "")).unwrap_err().to_string().contains("expected items"));
}

/// Every near pair by its definition, the slow way.
fn jaccard(a: &str, b: &str) -> f64 {
    let set = |text: &str| -> std::collections::HashSet<Vec<String>> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        words.windows(3).map(<[String]>::to_vec).collect()
    };
    let (a, b) = (set(a), set(b));
    a.intersection(&b).count() as f64 / a.union(&b).count().max(1) as f64
}

proptest! {
    #[test]
    fn near_duplicates_are_those_of_the_definition(seed in 0_u64..10_000, swaps in 0_usize..12, length in 12_u64..60) {
        let seed = Seed(seed);
        let mut words: Vec<String> = (0..length).map(|i| format!("w{}", seed.below(i, 2000))).collect();
        let item = words.join(" ");
        for swap in 0..swaps as u64 {
            let place = seed.child("place").below(swap, length) as usize;
            words[place] = format!("other{swap}");
        }
        let other = words.join(" ");
        let report = look(&[&item], &[&other]);
        let truth = jaccard(&item, &other);
        if let Some(found) = report.overlaps.first() {
            prop_assert!((found.jaccard - truth).abs() < 1e-12);
        }
        let near = report.overlaps.first().is_some_and(|found| found.kind <= Kind::Near);
        prop_assert!(near || truth < 0.7, "{truth}: {:?}", report.overlaps);
    }
}

#[test]
fn a_training_set_that_holds_test_problems_is_caught() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/math");
    let data = std::env::var_os("RELIGN_DATA").map_or(data, |root| Path::new(&root).join("math"));
    let (train, test) = (data.join("train_answers.json"), data.join("math500.jsonl"));
    if !train.exists() || !test.exists() {
        relign_core::skipped!("{} is not here", data.display());
        return;
    }
    let mut index = Index::new(vec![("math500".to_owned(), questions(&test).unwrap())], Options::default());
    training(&train, &mut |text| index.scan(text)).unwrap();
    let report = index.report();
    let counts = report.benchmarks["math500"];
    // Counted by sets of words in Python, without any hashing: `fixtures/contamination.py`.
    assert_eq!((counts.items, counts.short), (498, 2));
    assert_eq!((counts.exact, counts.near, counts.shared), (0, 10, 198));
    assert_eq!((report.texts, report.words), (22_420, 335_461));
}
