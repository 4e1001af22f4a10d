//! Results of models that only exist on paper.
#![allow(dead_code, clippy::unwrap_used)] // Not every test needs all of it, and each may fail loudly.

use std::path::{Path, PathBuf};

use relign_bench::benchmark::Benchmark;
use relign_bench::results::{Header, Item, Log, Results, Sample, read};
use relign_core::{Finish, Message, Score, Seed, Task};

/// A benchmark called `name` with `samples` answers to each item.
pub(crate) fn benchmark(name: &str, samples: u64) -> Benchmark {
    let text = format!(
        "name = \"{name}\"\nversion = 1\ndomain = \"math\"\nsamples = {samples}\n[environment]\nname = \"gsm8k\"\n\
         [sampling]\ntemperature = 0.7\n"
    );
    Benchmark::read("test.toml", &text).unwrap().remove(0)
}

/// `n` items.
pub(crate) fn items(n: usize) -> Vec<Item> {
    let task = |i: usize| Task {
        id: format!("sum/eval/{i}"),
        messages: vec![Message::user(format!("What is {i} + {i}? <script>alert({i})</script>"))],
        answer: (2 * i).to_string(),
        ..Task::default()
    };
    (0..n).map(|i| Item { task: task(i), cluster: None }).collect()
}

/// The header of a result of `model`.
pub(crate) fn header(benchmark: &Benchmark, model: &str) -> Header {
    Header {
        format: 0,
        benchmark: benchmark.clone(),
        benchmark_hash: String::new(),
        items: 0,
        limit: None,
        data_sha256: String::new(),
        model: model.to_owned(),
        model_sha256: format!("{:064x}", Seed(1).child(model).0),
        template_sha256: "c".repeat(64),
        grader: "final_number 1".to_owned(),
        engine: [("name", "relign"), ("dtype", "f32")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        seed: 1,
        config_hash: String::new(),
        relign: "0.1.0".to_owned(),
    }
}

/// An answer to an item.
pub(crate) fn sample(item: &Item, number: u64, right: bool) -> Sample {
    let text = if right { item.task.answer.clone() } else { "no & <b>idea</b>".to_owned() };
    Sample {
        item: item.task.id.clone(),
        sample: number,
        score: if right { Score::correct(text.as_str()) } else { Score::wrong("said \"no\"") },
        text,
        lenient: None,
        answer: Some(if right { "right" } else { "wrong" }.to_owned()),
        tokens: Some(5 + number),
        thought_tokens: None,
        finish: Some(if right { Finish::Stop } else { Finish::Length }),
    }
}

/// Writes a complete result into `folder`: the item at place `i` is right in sample `s` where `right(i, s)`.
pub(crate) fn write(folder: &Path, header: Header, items: &[Item], right: impl Fn(usize, u64) -> bool) -> PathBuf {
    let sealed = header.sealed(items);
    let path = folder.join(sealed.file_name());
    let mut log = Log::open(&path, sealed.clone(), items).unwrap();
    for (place, item) in items.iter().enumerate() {
        for number in 0..sealed.benchmark.samples {
            log.add(place, sample(item, number, right(place, number))).unwrap();
        }
    }
    log.finish().unwrap();
    path
}

/// The result that [`write`] writes, read again.
pub(crate) fn result(folder: &Path, header: Header, items: &[Item], right: impl Fn(usize, u64) -> bool) -> Results {
    read(&write(folder, header, items, right)).unwrap()
}

/// Whether something of probability `p` happened.
pub(crate) fn chance(name: &str, place: usize, number: u64, p: f64) -> bool {
    Seed(3).child(name).index(place as u64).uniform(number) < p
}
