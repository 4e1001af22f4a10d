//! `relign tasks`: what is asked, and what would be right.

use relign_core::{Score, Split, Task, Verdict};
use serde_json::json;

use super::{say, say_json};
use crate::recipe_file;
use crate::usage::Usage;

/// What `tasks` was told.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Asked {
    /// Show tasks of an environment
    #[command(after_help = "Examples:
  relign tasks show gsm8k -n 5
  relign tasks show bbh --set task=snarks
  relign tasks show dataset --set path=mine.jsonl --set prompt='{{ text }}' --split train --json")]
    Show(Show),
}

/// What `tasks show` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// An environment from `relign list tasks`
    name: String,
    /// Tasks shown
    #[arg(short, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    n: u64,
    /// The first of them
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// The part they are of
    #[arg(long, value_enum, default_value_t = Part::Eval)]
    split: Part,
    /// A setting of the environment; the value is TOML, or else a string
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// A split, as the command line names it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Part {
    /// Tasks to learn from
    Train,
    /// Held-out tasks
    Eval,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let Asked::Show(asked) = asked;
    let section = recipe_file::section("environment", &asked.name, None, &asked.sets)?;
    let environment = relign_tasks::environment(&section).map_err(|error| Usage(error.to_string()))?;
    let split = match asked.split {
        Part::Train => Split::Train,
        Part::Eval => Split::Eval,
    };
    // The first task says what is wrong with files that cannot be read.
    let there = match environment.len(split) {
        Some(0) => {
            let other = if split == Split::Train { "eval" } else { "train" };
            anyhow::bail!("{}: expected tasks in `{}`, it has none; see --split {other}", asked.name, split.name());
        }
        there => there,
    };
    let end = there.map_or(asked.from.saturating_add(asked.n), |there| there.min(asked.from.saturating_add(asked.n)));
    if end <= asked.from {
        return Err(Usage::error(format!("--from: expected an index below {end}, got {}", asked.from)));
    }
    let mut right = 0;
    let mut unknown = 0;
    for index in asked.from..end {
        let task = environment.task(split, index).map_err(anyhow::Error::msg)?;
        let oracle = environment.oracle(&task);
        let score = (!oracle.last().is_empty()).then(|| environment.score(&task, &oracle));
        right += u64::from(score.as_ref().is_some_and(|score| score.verdict == Verdict::Correct));
        unknown += u64::from(score.is_none());
        if as_json {
            say_json(&json!({
                "task": task, "oracle": score.is_some().then(|| oracle.last()), "score": score,
            }))?;
        } else {
            show(&task, oracle.last(), score.as_ref())?;
        }
    }
    let lengths = [Split::Train, Split::Eval].map(|split| environment.len(split));
    if as_json {
        return say_json(&json!({
            "summary": true, "environment": asked.name, "settings": relign_core::secrets::public(&section.settings), "split": split.name(),
            "shown": end - asked.from, "oracle_correct": right, "oracle_unknown": unknown,
            "train": lengths[0], "eval": lengths[1], "data": environment.data(),
        }));
    }
    let [train, eval] = lengths.map(|length| length.map_or_else(|| "without end".to_owned(), |n| n.to_string()));
    say(format_args!("{}: {train} to train on, {eval} held out", asked.name))?;
    for file in environment.data() {
        let bad = if file.bad_rows == 0 { String::new() } else { format!(", {} of them bad", file.bad_rows) };
        say(format_args!("  {}: {} rows{bad}, sha256 {}", file.name, file.rows, file.sha256))?;
    }
    Ok(())
}

fn show(task: &Task, oracle: &str, score: Option<&Score>) -> anyhow::Result<()> {
    say(format_args!("=== {}", task.id))?;
    for message in &task.messages {
        let role = format!("{:?}", message.role).to_lowercase();
        say(format_args!("[{role}]\n{}", message.content))?;
    }
    say(format_args!("[gold answer]\n{}", task.answer))?;
    for (name, fact) in task.facts.iter().filter(|(name, _)| *name != "solution") {
        say(format_args!("[{name}]\n{}", fact.trim_end()))?;
    }
    match score {
        Some(score) => {
            say(format_args!("[a solution]\n{}", oracle.trim_end()))?;
            let verdict = format!("{:?}", score.verdict).to_lowercase();
            let reason = if score.reason.is_empty() { String::new() } else { format!(": {}", score.reason) };
            say(format_args!("[its score]\n{} ({verdict}{reason})\n", score.value))?;
        }
        None => say("[a solution]\nnone is known\n")?,
    }
    Ok(())
}
