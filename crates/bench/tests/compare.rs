//! Reports of comparisons: right figures, nothing compared that cannot be, nothing a text can break.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

mod common;

use common::{benchmark, chance, header, items, result, sample};
use relign_bench::compare::{self, CompareError, Options, compare, html, markdown, text};
use relign_bench::results::{Header, Log, Results, read};
use relign_bench::{mcnemar, wilson};

/// A result on `sums` by a model that solves the items where `right` says so.
fn of(model: &str, n: usize, samples: u64, right: impl Fn(usize, u64) -> bool) -> Results {
    changed(model, n, samples, |header| header, right)
}

fn changed(
    model: &str,
    n: usize,
    samples: u64,
    change: impl Fn(Header) -> Header,
    right: impl Fn(usize, u64) -> bool,
) -> Results {
    let folder = tempfile::tempdir().unwrap();
    result(folder.path(), change(header(&benchmark("sums", samples), model)), &items(n), right)
}

#[test]
fn one_sample_an_item_is_mcnemars() {
    let base = of("base", 100, 1, |place, _| place < 40);
    let tuned = of("tuned", 100, 1, |place, _| (5..70).contains(&place));
    let report = compare(&[base], &[vec![tuned]], &Options::default()).unwrap();
    let row = &report.comparisons[0].rows[0];
    assert_eq!((row.won, row.lost, row.left_out), (30, 5, 0));
    assert_eq!((row.base, row.tuned), (wilson(40, 100), wilson(65, 100)));
    assert_eq!(row.difference.p, mcnemar(30, 5));
    assert!((row.difference.difference - 0.25).abs() < 1e-12 && (row.uplift.value - 0.625).abs() < 1e-12);
    assert!(row.uplift.low > 0.2 && row.uplift.low < 0.625 && row.uplift.high > 0.625);
    assert_eq!((row.verdict(), row.p_holm), ("better", row.difference.p), "one test needs no correction");
    assert!(report.comparisons[0].overall.is_none() && report.warnings.is_empty());
    // The clearest flips come with what was asked and said.
    assert_eq!((row.gained.len(), row.missed.len()), (20, 5));
    assert_eq!((row.gained[0].item.as_str(), row.gained[0].tuned.text.as_str()), ("sum/eval/40", "80"));
    assert_eq!((row.missed[0].item.as_str(), row.missed[0].tuned.text.as_str()), ("sum/eval/0", "no & <b>idea</b>"));
}

#[test]
fn what_is_not_comparable_is_refused_unless_told_to() {
    let right = |place: usize, _: u64| place.is_multiple_of(2);
    let base = || of("base", 30, 1, right);
    let refuse = |tuned: Results, said: &str| {
        let tuned = [vec![tuned]];
        let CompareError::NotComparable(what) = compare(&[base()], &tuned, &Options::default()).unwrap_err() else {
            panic!("{said}: another error")
        };
        assert!(what.iter().any(|what| what.contains(said)), "{said}: {what:?}");
        let forced = compare(&[base()], &tuned, &Options { force: true, ..Options::default() }).unwrap();
        assert_eq!(forced.warnings, what);
        for page in [text(&forced), markdown(&forced), html(&forced)] {
            assert!(page.to_lowercase().contains("not comparable") && page.contains(said), "{said} in {page}");
        }
        forced
    };
    refuse(changed("t", 30, 1, |h| Header { template_sha256: "d".repeat(64), ..h }, right), "chat template differs");
    refuse(
        changed("t", 30, 1, |h| Header { grader: "final_number 2".into(), ..h }, right),
        "grader differs: final_number 1 and final_number 2",
    );
    let dtype = |mut h: Header| {
        h.engine.insert("dtype".into(), "bf16".into());
        h
    };
    refuse(changed("t", 30, 1, dtype, right), "engine: dtype differs: f32 and bf16");
    let hotter = |mut h: Header| {
        h.benchmark.sampling.temperature = 1.0;
        h
    };
    refuse(changed("t", 30, 1, hotter, right), "benchmark definition: sampling differs");
    let forced = refuse(of("t", 20, 1, right), "data differs");
    assert_eq!((forced.comparisons[0].rows[0].difference.n, forced.comparisons[0].rows[0].left_out), (20, 10));
    // What does no harm is only noted.
    let seed = changed("t", 30, 1, |h| Header { seed: 9, ..h }, right);
    let report = compare(&[base()], &[vec![seed]], &Options::default()).unwrap();
    assert!(report.warnings.is_empty() && report.notes[0].contains("other seeds: 1 and 9"));
}

#[test]
fn an_unfinished_result_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (items, path) = (items(5), folder.path().join("x.jsonl"));
    let mut log = Log::open(&path, header(&benchmark("sums", 1), "t"), &items).unwrap();
    log.add(0, sample(&items[0], 0, true)).unwrap();
    drop(log);
    let error =
        compare(&[of("base", 5, 1, |_, _| true)], &[vec![read(&path).unwrap()]], &Options::default()).unwrap_err();
    assert!(error.to_string().contains("not complete, 4 samples are missing"), "{error}");
}

#[test]
fn nothing_in_common_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let other = result(folder.path(), header(&benchmark("products", 1), "t"), &items(5), |_, _| true);
    let error = compare(&[of("base", 5, 1, |_, _| true)], &[vec![other]], &Options::default()).unwrap_err();
    assert!(error.to_string().contains("in common"), "{error}");
    let twice = [of("base", 5, 1, |_, _| true), of("base", 5, 1, |_, _| false)];
    let error = compare(&twice, &[vec![of("t", 5, 1, |_, _| true)]], &Options::default()).unwrap_err();
    assert!(error.to_string().contains("name one file"), "{error}");
}

#[test]
fn many_benchmarks_are_corrected_and_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let side = |model: &str, gain: f64| -> Vec<Results> {
        (0..6_usize)
            .map(|b| {
                let p = if b == 0 { 0.4 + gain } else { 0.4 };
                let right = |place: usize, number: u64| chance(&format!("{b}"), place, number, p);
                result(&folder.path().join(model), header(&benchmark(&format!("b{b}"), 4), model), &items(150), right)
            })
            .collect()
    };
    let (base, tuned) = (side("base", 0.0), side("tuned", 0.2));
    let report = compare(&base, &[tuned], &Options { draws: 500, ..Options::default() }).unwrap();
    let comparison = &report.comparisons[0];
    let rows = &comparison.rows;
    assert_eq!(rows[0].verdict(), "better");
    assert!((rows[0].p_holm - (6.0 * rows[0].difference.p)).abs() < 1e-15, "the smallest of six counts six times");
    assert!(rows[1..].iter().all(|row| row.verdict() == "not shown" && row.difference.difference == 0.0));
    let overall = comparison.overall.unwrap();
    assert!((overall.value - rows[0].difference.difference / 6.0).abs() < 1e-12 && overall.low > 0.0);
    assert_eq!(report.comparisons[0].rows.len(), 6);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["comparisons"][0]["rows"][0]["metric"], "accuracy");
}

#[test]
fn a_report_is_read_back_as_it_was_written() {
    let base = of("base", 40, 1, |_, _| false); // a relative uplift over nothing has no end
    let tuned = of("tuned", 40, 1, |place, _| place < 25);
    let report = compare(&[base], &[vec![tuned]], &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compare.json");
    let text = serde_json::to_string_pretty(&report).unwrap();
    let sealed = compare::sealed(&report).unwrap();
    std::fs::write(&file, &sealed).unwrap();
    for path in [file.as_path(), folder.path()] {
        let again = compare::read(path).unwrap();
        assert_eq!(serde_json::to_string_pretty(&again).unwrap(), text);
        assert_eq!(html(&again), html(&report));
        assert_eq!(markdown(&again), markdown(&report));
    }
    assert!(serde_json::from_str::<serde_json::Value>(&sealed).unwrap()["sha256"].is_string());
    for (changed, expected) in [
        ("{}".to_owned(), "compare.json: expected a report"),
        (sealed.replacen("0.625", "0.95", 1), "got one that was changed since it was written"),
        (text, "got one without its sha256"),
    ] {
        assert_ne!(changed, sealed);
        std::fs::write(&file, changed).unwrap();
        let error = compare::read(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn texts_stay_texts_in_every_form() {
    let base = of("<i>base</i>|", 40, 1, |place, _| place < 10);
    let tuned = of("tuned", 40, 1, |place, _| place < 25);
    let report = compare(&[base], &[vec![tuned]], &Options::default()).unwrap();
    let page = html(&report);
    for raw in ["<i>base", "<script>alert", "<b>idea"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(page.contains("&lt;script&gt;alert") && page.contains("&lt;i&gt;base&lt;/i&gt;|"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains(outside), "the page needs {outside}");
    }
    let markdown = markdown(&report);
    assert!(markdown.contains("&lt;i&gt;base&lt;/i&gt;\\|"), "{markdown}");
    let table: Vec<&str> = markdown.lines().filter(|line| line.starts_with("| sums |")).collect();
    assert!(table[0].matches(" | ").count() == 9, "{}", table[0]);
    let text = text(&report);
    assert!(
        text.contains("+37.5 (") && text.contains("better") && text.contains("with 40 items a difference of"),
        "{text}"
    );
}

#[test]
fn equal_calls_write_equal_bytes() {
    let make = || {
        let base = of("base", 50, 3, |place, number| chance("x", place, number, 0.4));
        let tuned = of("tuned", 50, 3, |place, number| chance("y", place, number, 0.6));
        let report = compare(&[base], &[vec![tuned]], &Options::default()).unwrap();
        [text(&report), markdown(&report), html(&report), serde_json::to_string(&report).unwrap()]
    };
    assert_eq!(make(), make());
}
