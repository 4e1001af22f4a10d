//! `relign leaderboard`: a static site of many results.

use std::path::PathBuf;

use relign_bench::leaderboard::{board, write};
use serde_json::json;

use super::{say, say_json};
use crate::usage::Usage;

/// What `leaderboard` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The folder with results, in folders of its own as well
    folder: PathBuf,
    /// Where the site goes [default: FOLDER/site]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let here = asked.folder.display();
    if !asked.folder.is_dir() {
        return Err(Usage::error(format!("{here}: expected a folder of results, there is none")));
    }
    let board = board(&asked.folder)?;
    if board.domains.is_empty() && board.refused.is_empty() {
        let what = "expected results (relign eval MODEL --benchmark B --out DIR writes them), got none";
        return Err(Usage::error(format!("{here}: {what}")));
    }
    let out = asked.out.clone().unwrap_or_else(|| asked.folder.join("site"));
    write(&board, &out)?;
    let rows: usize = board.domains.iter().flat_map(|domain| &domain.boards).map(|table| table.rows.len()).sum();
    if as_json {
        board.domains.iter().flat_map(|domain| &domain.boards).try_for_each(say_json)?;
        say_json(&json!({"summary": true, "out": out, "rows": rows, "refused": board.refused}))?;
    } else {
        for table in board.domains.iter().flat_map(|domain| &domain.boards) {
            say(format_args!("{} ({})", table.benchmark, table.metric))?;
            for row in &table.rows {
                let estimate = crate::sinks::terminal::estimate(&row.figure);
                say(format_args!("  {:>3}. {}  {estimate}", row.rank, row.model))?;
            }
        }
        say(format_args!("written: {}, {rows} rows", out.join("index.html").display()))?;
    }
    // The site is there without them; that they are missing must not pass for success.
    anyhow::ensure!(
        board.refused.is_empty(),
        "{} results refused:\n  {}",
        board.refused.len(),
        board.refused.join("\n  ")
    );
    Ok(())
}
