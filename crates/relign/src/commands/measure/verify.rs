//! Judged answers per second on one core, and the errors among them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use relign_core::files;
use relign_tasks::rewards::math::{Finding, Gold, Policy, verify};
use serde::Deserialize;
use serde_json::json;

use super::{peak_gb, say_json};

/// What is judged.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// A file of items, one a line: gold, answer, equal
    items: PathBuf,
    /// Write the misjudged items there
    #[arg(long)]
    errors: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Item {
    gold: String,
    answer: String,
    equal: bool,
    rule: String,
}

/// Gold answers are parsed anew for every item, as the peer does it.
fn right(item: &Item) -> anyhow::Result<bool> {
    let gold = Gold::parse(&item.gold, &Policy::LATEX)?;
    Ok(verify(&gold, &item.answer).finding == Finding::Correct)
}

pub(super) fn run(asked: &Asked) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&asked.items)?;
    let items = text
        .lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}", asked.items.display(), index + 1))
        })
        .collect::<anyhow::Result<Vec<Item>>>()?;
    let mut errors = Vec::new();
    for item in &items {
        if right(item)? != item.equal {
            errors.push(item);
        }
    }
    let (start, mut judged) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) {
        for item in &items {
            std::hint::black_box(right(item)?);
        }
        judged += items.len();
    }
    let rate = judged as f64 / start.elapsed().as_secs_f64();
    if let Some(path) = &asked.errors {
        let line = |item: &&Item| {
            json!({"gold": item.gold, "answer": item.answer, "equal": item.equal, "rule": item.rule}).to_string() + "\n"
        };
        files::write(path, errors.iter().map(line).collect::<String>())?;
    }
    say_json(&json!({
        "items": items.len(),
        "false_positives": errors.iter().filter(|item| !item.equal).count(),
        "false_negatives": errors.iter().filter(|item| item.equal).count(),
        "rate": rate,
        "rss_gb": peak_gb(),
    }))
}
