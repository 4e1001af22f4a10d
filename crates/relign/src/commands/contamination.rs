//! `relign contamination`: whether a benchmark's items stand in a training set.

use std::path::{Path, PathBuf};

use anyhow::Context;
use relign_bench::contamination::{Index, Options, Report, Text, questions, training};
use serde_json::json;

use super::{say, say_json};
use crate::benchmarks;
use crate::usage::Usage;

/// The longest run of words that is looked for.
const LONGEST_RUN: u64 = 1000;

/// What `contamination` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The training data: .jsonl or .json (every string of a record is read), else text in paragraphs
    #[arg(required = true)]
    train: Vec<PathBuf>,
    /// Benchmarks by name, and files with their items, separated by commas
    #[arg(long, value_name = "NAME,FILE,...", required = true, value_delimiter = ',')]
    against: Vec<String>,
    /// Words in a run that both may not hold
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(2..=LONGEST_RUN))]
    run: u64,
    /// The share of common runs from which two texts are near duplicates
    #[arg(long, value_name = "SHARE", default_value_t = 0.7)]
    near: f64,
    /// Items shown of each kind
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    if !(asked.near > 0.0 && asked.near <= 1.0) {
        return Err(Usage::error(format!("--near: expected a share above 0, at most 1, got {}", asked.near)));
    }
    let sought = asked.against.iter().map(|name| against(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let options = Options { run: usize::try_from(asked.run)?, near: asked.near, ..Options::default() };
    let mut index = Index::new(sought.into_iter().flatten().collect(), options);
    let started = std::time::Instant::now();
    for path in &asked.train {
        training(path, &mut |text| index.scan(text))?;
    }
    let (report, seconds) = (index.report(), started.elapsed().as_secs_f64());
    if as_json {
        report.overlaps.iter().try_for_each(say_json)?;
        let Report { texts, words, benchmarks, .. } = &report;
        return say_json(
            &json!({"summary": true, "texts": texts, "words": words, "benchmarks": benchmarks, "run": asked.run,
            "near": asked.near, "seconds": seconds}),
        );
    }
    say(format_args!("{} words in {} texts, {seconds:.1} s", report.words, report.texts))?;
    for (name, counts) in &report.benchmarks {
        let all = counts.exact + counts.near + counts.shared;
        let short =
            if counts.short > 0 { format!(" ({} more are too short to tell)", counts.short) } else { String::new() };
        say(format_args!(
            "{name}: {all} of {} items overlap{short}: {} exact, {} nearly, {} share a run of {} words",
            counts.items, counts.exact, counts.near, counts.shared, asked.run
        ))?;
        let mut shown = std::collections::HashMap::new();
        for overlap in report.overlaps.iter().filter(|overlap| overlap.benchmark == *name) {
            let count = shown.entry(overlap.kind).or_insert(0_usize);
            *count += 1;
            if *count <= asked.show {
                let kind = format!("{:?}", overlap.kind).to_lowercase();
                say(format_args!("  {kind}  {} in {}: {}", overlap.item, overlap.train, start(&overlap.item_text)))?;
            }
        }
    }
    Ok(())
}

/// The items of a file, or of a benchmark and its variants.
///
/// # Errors
/// [`Usage`] if there is neither, or it does not fit.
pub(crate) fn against(name: &str) -> anyhow::Result<Vec<(String, Vec<Text>)>> {
    let path = Path::new(name);
    if path.is_file() && path.extension().is_none_or(|end| end != "toml") {
        let title = path.file_name().map_or(name.to_owned(), |name| name.to_string_lossy().into_owned());
        return Ok(vec![(title, questions(path)?)]);
    }
    let found = benchmarks::find(name)?;
    let texts = |benchmark: &relign_bench::benchmark::Benchmark| {
        // What a benchmark puts around its questions is in every item, and says nothing.
        let mut plain = benchmark.clone();
        plain.prompt = Default::default();
        let (_, items) = benchmarks::items(&plain, None).with_context(|| benchmark.name.clone())?;
        let text = |item: relign_bench::results::Item| Text {
            text: item.task.messages.last().map(|message| message.content.clone()).unwrap_or_default(),
            id: item.task.id,
        };
        Ok((benchmark.name.clone(), items.into_iter().map(text).collect()))
    };
    found.iter().map(texts).collect()
}

/// The beginning of a text on one line.
fn start(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(90).collect()
}
