//! Logs of results: nothing lost, nothing twice, nothing changed unseen.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

mod common;

use std::fs;

use common::{benchmark, header, items, sample, write};
use proptest::prelude::*;
use relign_bench::results::{Log, Spent, find, read, summary};
use relign_core::{Score, Verdict};
use sha2::{Digest, Sha256};

#[test]
fn what_was_written_is_read_and_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    let items = items(4);
    let path =
        write(folder.path(), header(&benchmark("sums", 2), "a"), &items, |place, number| place > 1 || number == 0);
    let results = read(&path).unwrap();
    assert!(results.complete && results.items == items);
    let all = summary(&results);
    assert_eq!(all.strict.unwrap().accuracy, 0.75);
    assert_eq!((all.shares.samples, all.shares.correct, all.shares.wrong, all.shares.truncated), (8, 0.75, 0.25, 0.25));
    assert_eq!((all.shares.length, all.shares.tokens), (5.5, 44));
    assert_eq!(all.lenient, None);
    fs::write(folder.path().join("other.jsonl"), "{\"kind\":\"something else\"}\n").unwrap();
    assert_eq!(find(folder.path()).unwrap(), [path], "other tools' lines are left alone");
}

#[test]
fn form_and_substance_are_counted_apart() {
    let folder = tempfile::tempdir().unwrap();
    let items = items(4);
    let path = folder.path().join("x.jsonl");
    let mut log = Log::open(&path, header(&benchmark("sums", 1), "a"), &items).unwrap();
    for (place, item) in items.iter().enumerate() {
        let mut sample = sample(item, 0, place == 0);
        match place {
            1 => (sample.score, sample.lenient) = (Score::unparsed("no ####"), Some(Score::correct("14"))),
            2 => (sample.score, sample.lenient) = (Score::failed("timeout"), Some(Score::failed("timeout"))),
            _ => sample.lenient = Some(sample.score.clone()),
        }
        log.add(place, sample).unwrap();
    }
    log.finish().unwrap();
    let all = summary(&read(&path).unwrap());
    let (strict, lenient) = (all.strict.unwrap(), all.lenient.unwrap());
    assert_eq!((strict.n, lenient.n), (3, 3), "what no judge could judge is left out");
    assert!((strict.accuracy - 1.0 / 3.0).abs() < 1e-12 && (lenient.accuracy - 2.0 / 3.0).abs() < 1e-12);
    let shares = all.shares;
    assert_eq!([shares.correct, shares.wrong, shares.unparsed, shares.failed], [0.25; 4]);
}

#[test]
fn a_change_anywhere_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), header(&benchmark("sums", 1), "a"), &items(5), |place, _| place == 0);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 5 + 5 + 1);
    let refuse = |what: &str, lines: Vec<String>, said: &str| {
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        let error = read(&path).expect_err(what).to_string();
        assert!(error.contains("refused") && error.contains(said), "{what}: {error}");
    };
    let owned = || lines.iter().map(|line| (*line).to_owned()).collect::<Vec<String>>();
    for place in 0..lines.len() {
        let mut changed = owned();
        changed[place] = changed[place].replacen('1', "2", 1);
        refuse("a digit changed", changed, &format!(".jsonl:{}:", place + 1));
        if place + 1 < lines.len() {
            let mut missing = owned();
            missing.remove(place);
            refuse("a line removed", missing, &format!(".jsonl:{}:", place + 1));
            let mut swapped = owned();
            swapped.swap(place, place + 1);
            refuse("lines swapped", swapped, &format!(".jsonl:{}:", place + 1));
        }
    }
    let mut wrong = owned();
    wrong[7] = wrong[7].replace("\"wrong\"", "\"correct\"");
    refuse("a wrong answer made right", wrong, "the chain is broken");
    let mut twice = owned();
    twice.push(lines[7].to_owned());
    refuse("a line after the end", twice, "the chain is broken");
    fs::write(&path, "").unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("expected a header"));
    // Without its last line it is what it says: not complete.
    fs::write(&path, lines[..11].join("\n") + "\n").unwrap();
    assert!(!read(&path).unwrap().complete);
}

#[test]
fn another_measurement_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.jsonl");
    let ours = header(&benchmark("sums", 1), "a");
    drop(Log::open(&path, ours.clone(), &items(3)).unwrap());
    let open = |header, n| Log::open(&path, header, &items(n)).map(drop).map_err(|error| error.to_string());
    open(ours.clone(), 3).unwrap();
    let mut seed = ours.clone();
    seed.seed = 2;
    for (other, n, what) in [
        (header(&benchmark("sums", 2), "a"), 3, "another benchmark"),
        (header(&benchmark("sums", 1), "b"), 3, "another model"),
        (ours.clone(), 4, "another data set"),
        (seed, 3, "another configuration"),
    ] {
        assert!(open(other, n).unwrap_err().contains(what), "{what}");
    }
    let held = Log::open(&path, ours.clone(), &items(3)).unwrap();
    assert!(open(ours.clone(), 3).unwrap_err().contains("another process"));
    drop(held);
    let mut log = Log::open(&path, ours, &items(3)).unwrap();
    assert!(log.add(1, sample(&items(3)[0], 0, true)).is_err(), "an item at another's place");
    assert!(log.add(0, sample(&items(3)[0], 1, true)).is_err(), "a second sample of one");
    assert_eq!(log.missing(), [0, 1, 2]);
}

#[test]
fn a_header_that_asks_for_all_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.jsonl");
    let mut benchmark = benchmark("sums", 1);
    benchmark.samples = 1 << 60;
    let header = serde_json::to_string(&header(&benchmark, "a").sealed(&items(1))).unwrap();
    let body = format!("{{\"kind\":\"header\",{}", &header[1..]);
    let chain = Sha256::digest(format!("relign results 1\n{body}"));
    let chain: String = chain.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&path, format!("{},\"chain\":\"{chain}\"}}\n", &body[..body.len() - 1])).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("expected 1 to 100000 samples of an item"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Cut off at any byte and gone on with, any number of times, a log ends with the bytes of one that was
    /// written at once; what was safe is not asked for again.
    #[test]
    fn killed_anywhere_it_goes_on(cuts in prop::collection::vec(0.0..1.0_f64, 1..4)) {
        let folder = tempfile::tempdir().unwrap();
        let (items, plain) = (items(6), folder.path().join("plain"));
        let header = header(&benchmark("sums", 2), "a");
        let right = |place: usize, number: u64| (place as u64 + number).is_multiple_of(3);
        let whole = fs::read(write(&plain, header.clone(), &items, right)).unwrap();
        let path = folder.path().join("cut.jsonl");
        for cut in cuts.iter().map(|cut| (whole.len() as f64 * cut) as usize).chain([whole.len()]) {
            let written = fs::read(&path).unwrap_or_default();
            let mut log = Log::open(&path, header.clone(), &items).unwrap();
            let before = log.missing();
            prop_assert!(written.len() < whole.len() || before.is_empty());
            for place in before {
                for number in 0..2 {
                    log.add(place, sample(&items[place], number, right(place, number))).unwrap();
                }
            }
            log.finish().unwrap();
            drop(log);
            let now = fs::read(&path).unwrap();
            prop_assert!(now == whole, "the same bytes");
            fs::write(&path, &now[..cut]).unwrap();
        }
    }
}

#[test]
fn clocks_change_no_score() {
    let folder = tempfile::tempdir().unwrap();
    let (items, path) = (items(2), folder.path().join("x.jsonl"));
    let mut log = Log::open(&path, header(&benchmark("sums", 1), "a"), &items).unwrap();
    log.add(1, sample(&items[1], 0, true)).unwrap();
    log.spend(Spent { seconds: 1.5, tokens: 10, cost: 0.25 }).unwrap();
    log.add(0, sample(&items[0], 0, false)).unwrap();
    log.spend(Spent { seconds: 2.0, tokens: 5, cost: 0.0 }).unwrap();
    log.finish().unwrap();
    let end = |path: &std::path::Path| {
        let text = fs::read_to_string(path).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        last["content"].as_str().unwrap().to_owned()
    };
    let plain = write(folder.path(), header(&benchmark("sums", 1), "a"), &items, |place, _| place == 1);
    assert_eq!(end(&path), end(&plain), "whatever order, whatever it took");
    let shares = summary(&read(&path).unwrap()).shares;
    assert_eq!((shares.seconds, shares.cost), (3.5, 0.25));
    assert_eq!(read(&path).unwrap().samples[1][0].as_ref().unwrap().score.verdict, Verdict::Correct);
}
