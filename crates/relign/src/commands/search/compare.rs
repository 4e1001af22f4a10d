//! `relign search compare`: what strategies make of the tokens they spend.

use std::path::PathBuf;

use anyhow::Context;
use relign_bench::tradeoff::{self, Row};
use relign_search::Budget;
use serde_json::json;

use super::{Figures, What, judged, prepare, write};
use crate::commands::sampling::peak_gb;
use crate::commands::{say, say_json};
use crate::reward_models;
use crate::searches::{Cell, Live, Variant, budget};
use crate::sinks::tradeoff as plot;
use crate::usage::Usage;

/// Examples.
pub(super) const HELP: &str = "Examples:
  relign search compare --task gsm8k --model qwen --strategies beam,mcts,best_of_n --budgets 1024,4096
  relign search compare --task gsm8k --model qwen --out runs/compare --strategies \\
      'greedy, self_consistency(n=16, budget=none), best_of_n(n=16, scorer=certainty, label=certainty)'

A strategy is NAME or NAME(key=value, ...): its settings (`relign explain NAME`), and besides
temperature, top_k, top_p, min_p, max_tokens, budget (tokens or none) and label. scorer=X is short for
scorer.name=X. greedy is sample(n=1, temperature=0, budget=none).

Each strategy is run within each budget. Killed at any moment, the same call goes on; with more
strategies, budgets or a higher --limit it adds to what is there. No completion is generated twice:
strategies that ask for the same get the same, and each is charged its tokens.";

/// What `search compare` was told.
#[derive(Debug, clap::Args)]
#[command(mut_arg("temperature", |arg| arg.default_value("1")))]
pub(super) struct Asked {
    /// The strategies, with commas between them
    #[arg(long, value_name = "LIST")]
    strategies: String,
    /// Tokens that may be generated for each task, with commas between them; `none` for no bound
    #[arg(long, value_name = "LIST", default_value = "none")]
    budgets: String,
    /// Where all is kept [default: runs/compare-TASK-SEED]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    what: What,
}

pub(super) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let variants = Variant::read_all(&asked.strategies)?;
    let budgets = budgets(&asked.budgets)?;
    let seed = asked.what.sampling.seed;
    let out = asked.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/compare-{}-{seed}", asked.what.task())));
    let mut prepared = prepare(&asked.what, &variants, Some(&out))?;
    let mut cells = Vec::new();
    for variant in &variants {
        let scorer = reward_models::sha256(&variant.section)?;
        for tokens in variant.budget.map_or_else(|| budgets.clone(), |budget| vec![budget]) {
            let budget = Budget { tokens, prompts: asked.what.prompt_budget };
            let sampling = variant.sampling(&prepared.sampling)?;
            let cell = Cell { variant, budget, sampling, scorer: scorer.clone() };
            // All before the first begins: hours may pass until the last one does.
            prepared.searcher.check(&cell, &prepared.tasks[0])?;
            cells.push(cell);
        }
    }
    let mut live = Live::new();
    let (mut rows, mut lost) = (Vec::new(), Ok(()));
    for cell in &cells {
        let (variant, tokens) = (cell.variant, cell.budget.tokens);
        let total = prepared.searcher.run(cell, &prepared.tasks, &mut live, &mut |_| Ok(()))?;
        lost = lost.and_then(|()| judged(&total).with_context(|| cell.variant.label.clone()));
        let spent = Figures::of(&total);
        if as_json {
            let trees = prepared.searcher.folder().map(|folder| folder.trees(cell));
            say_json(&json!({
                "strategy": variant.label, "settings": variant.section, "budget": tokens,
                "accuracy": total.accuracy(), "ceiling": total.ceiling(), "spent": spent, "trees": trees,
            }))?;
        }
        rows.push(Row {
            strategy: variant.label.clone(),
            budget: tokens,
            accuracy: total.accuracy(),
            ceiling: total.ceiling(),
            failed: spent.failed as u64,
            tokens: spent.tokens,
            requests: spent.requests,
            served: spent.served,
            seconds: spent.seconds,
            measured: spent.measured_seconds,
            reused: spent.reused,
        });
    }
    drop(live);
    let generator = prepared.searcher.generator();
    let model = asked.what.model();
    let short = model.rsplit('/').find(|part| !part.is_empty()).unwrap_or(model);
    let title = format!("{short} on {}", prepared.section.name);
    let facts = [
        ("model", generator.path.display().to_string()),
        ("task", format!("{}, {} held-out tasks", prepared.section.name, prepared.tasks.len())),
        (
            "sampling",
            format!(
                "temperature {}, at most {} tokens an answer",
                prepared.sampling.temperature, prepared.sampling.max_tokens
            ),
        ),
        ("seed", seed.to_string()),
        ("products", generator.dtype.to_owned()),
        ("RELIGN", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    plot::draw(&out, &title, &rows)?;
    let svg = std::fs::read_to_string(out.join("compare.svg"))?;
    write(&out.join("compare.html"), &tradeoff::html(&title, &facts, &rows, &svg))?;
    write(&out.join("compare.md"), &tradeoff::markdown(&rows))?;
    let summary = json!({
        "summary": true, "model": asked.what.model(), "path": generator.path, "task": prepared.section.name,
        "settings": relign_core::secrets::public(&prepared.section.settings), "data": prepared.environment.data(), "items": prepared.tasks.len(),
        "sampling": prepared.sampling, "seed": seed, "dtype": generator.dtype, "rows": rows, "out": out,
        "peak_rss_gb": peak_gb(), "server": generator.server(), "relign": env!("CARGO_PKG_VERSION"),
    });
    write(&out.join("compare.json"), &(serde_json::to_string_pretty(&summary)? + "\n"))?;
    if as_json {
        say_json(&summary)?;
        return lost;
    }
    say(format_args!("{title}, {} tasks", prepared.tasks.len()))?;
    say(tradeoff::text(&rows).trim_end())?;
    say(format_args!(
        "written: {}/compare.{{html,png,svg,md,json}}; trees in {}/searches",
        out.display(),
        out.display()
    ))?;
    lost
}

/// Reads `256,1024,none`.
fn budgets(text: &str) -> anyhow::Result<Vec<Option<u64>>> {
    let mut budgets = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let one = budget(part).map_err(|what| Usage(format!("--budgets: {what}")))?;
        if !budgets.contains(&one) {
            budgets.push(one);
        }
    }
    if budgets.is_empty() {
        return Err(Usage::error("--budgets: expected at least one, got none"));
    }
    Ok(budgets)
}
