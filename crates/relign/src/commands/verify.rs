//! `relign verify`: is this answer right?

use std::path::{Path, PathBuf};

use anyhow::Context;
use relign_tasks::rewards::math::{Finding, Gold, Judgement, Policy, verify};
use serde_json::{Value, json};

use super::{say, say_json};
use crate::usage::Usage;

/// What `verify` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The right answer
    #[arg(required_unless_present = "file", allow_hyphen_values = true)]
    gold: Option<String>,
    /// What was answered: the answer alone, or a text that ends in it
    #[arg(required_unless_present = "file", allow_hyphen_values = true)]
    answer: Option<String>,
    /// A file of tab-separated values whose header names `gold` and `pred`
    #[arg(long, value_name = "F.tsv", conflicts_with_all = ["gold", "answer"])]
    file: Option<PathBuf>,
    /// Where the answer stands and what its spelling means
    #[arg(long, value_name = "NAME", default_value = "latex")]
    policy: String,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let policy = Policy::named(&asked.policy).map_err(|error| Usage::error(error.message))?;
    match (&asked.file, &asked.gold, &asked.answer) {
        (Some(file), ..) => of_file(file, &policy, as_json),
        (None, Some(gold), Some(answer)) => {
            let gold = Gold::parse(gold, &policy).map_err(|error| Usage::error(error.to_string()))?;
            let judgement = verify(&gold, answer);
            if as_json {
                let mut line = row(&judgement);
                line["gold"] = gold.text().into();
                line["policy"] = asked.policy.clone().into();
                say_json(&line)
            } else {
                let extracted = judgement.extracted.as_deref().map_or(String::new(), |text| format!(" `{text}`"));
                Ok(say(format_args!("{}:{extracted} {}", name(&judgement), judgement.reason))?)
            }
        }
        _ => Err(Usage::error("verify: expected GOLD and ANSWER or --file, got neither")),
    }
}

fn name(judgement: &Judgement) -> &'static str {
    match judgement.finding {
        Finding::Correct => "correct",
        Finding::Wrong => "wrong",
        Finding::Unparsed => "unparsed",
    }
}

fn row(judgement: &Judgement) -> Value {
    json!({
        "verdict": name(judgement),
        "reason": judgement.reason,
        "extracted": judgement.extracted,
    })
}

fn of_file(path: &Path, policy: &Policy, as_json: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: expected a file of tab-separated values", path.display()))?;
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let header: Vec<&str> = lines.next().map_or_else(Vec::new, |(_, line)| line.split('\t').collect());
    let column = |wanted: &str| {
        header.iter().position(|name| *name == wanted).ok_or_else(|| {
            let got = header.join(", ");
            Usage::error(format!("{}:1: expected a column named {wanted}, got: {got}", path.display()))
        })
    };
    let (golds, answers) = (column("gold")?, column("pred")?);
    let mut counts = [0_u64; 3];
    for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let fields: Vec<&str> = line.split('\t').collect();
        let bad = |what: String| Usage::error(format!("{}:{}: {what}", path.display(), index + 1));
        let (Some(gold), Some(answer)) = (fields.get(golds), fields.get(answers)) else {
            return Err(bad(format!("expected {} columns, got {}", header.len(), fields.len())));
        };
        let gold = Gold::parse(gold, policy).map_err(|error| bad(error.to_string()))?;
        let judgement = verify(&gold, answer);
        counts[judgement.finding as usize] += 1;
        if as_json {
            let mut row = row(&judgement);
            row["line"] = (index + 1).into();
            row["gold"] = gold.text().into();
            row["pred"] = (*answer).into();
            say_json(&row)?;
        } else {
            say(format_args!("{}\t{}\t{answer}\t{}", name(&judgement), gold.text(), judgement.reason))?;
        }
    }
    let [correct, wrong, unparsed] = counts;
    if as_json {
        return say_json(&json!({
            "summary": true, "count": counts.iter().sum::<u64>(),
            "correct": correct, "wrong": wrong, "unparsed": unparsed,
        }));
    }
    Ok(say(format_args!("{correct} correct, {wrong} wrong, {unparsed} unparsed"))?)
}
