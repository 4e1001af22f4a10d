//! `relign list`: everything a recipe can name.

use serde_json::json;

use super::{say, say_json};
use crate::models::BUILTIN;
use crate::recipe_file::nearest;
use crate::registry::{KINDS, summary};
use crate::usage::Usage;

/// What `list` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// One kind: algorithms, environments (or tasks), rewards, strategies, models
    kind: Option<String>,
}

/// The models' kind, which is no table of a crate.
const MODELS: &str = "models";

/// The plural of the kind that `word` means.
fn plural(word: &str) -> anyhow::Result<&'static str> {
    let word = if word == "task" || word == "tasks" { "environments" } else { word };
    let known = || KINDS.iter().map(|kind| (kind.name, kind.plural)).chain([("model", MODELS)]);
    if let Some((_, plural)) = known().find(|(name, plural)| word == *name || word == *plural) {
        return Ok(plural);
    }
    let names: Vec<&str> = known().map(|(_, plural)| plural).chain(["tasks"]).collect();
    let near = nearest(word, names.iter().copied()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Err(Usage::error(format!("no kind `{word}`, expected one of: {}{near}", names.join(", "))))
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let wanted = asked.kind.as_deref().map(plural).transpose()?;
    let is_wanted = |plural: &str| wanted.is_none_or(|wanted| wanted == plural);
    let mut count = 0;
    for kind in KINDS.iter().filter(|kind| is_wanted(kind.plural)) {
        let names = (kind.names)();
        if !as_json {
            say(format_args!("{}  ({})", kind.plural, kind.section))?;
        }
        for name in names {
            let summary = summary(&(kind.schema)(name).unwrap_or_default());
            row(as_json, kind.name, name, &summary)?;
            count += 1;
        }
        if !as_json {
            say("")?;
        }
    }
    if !as_json && is_wanted(MODELS) {
        say("models  (model.path; also a Hugging Face folder, a GGUF file, a hub id, a run's folder)")?;
    }
    for model in BUILTIN.iter().filter(|_| is_wanted(MODELS)) {
        row(as_json, "model", model.name, model.about)?;
        count += 1;
    }
    if as_json {
        say_json(&json!({"summary": true, "count": count}))?;
    } else {
        say("\n`relign explain NAME` shows the manual and the settings of one.")?;
    }
    Ok(())
}

fn row(as_json: bool, kind: &str, name: &str, summary: &str) -> anyhow::Result<()> {
    if as_json {
        say_json(&json!({"kind": kind, "name": name, "summary": summary}))
    } else {
        Ok(say(format_args!("  {name:<18}{summary}"))?)
    }
}
