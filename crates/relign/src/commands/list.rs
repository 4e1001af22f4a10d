//! `relign list`: everything a recipe can name.

use serde_json::json;

use super::{say, say_json};
use crate::models::BUILTIN;
use crate::registry::{KINDS, summary};

pub(crate) fn run(as_json: bool) -> anyhow::Result<()> {
    let mut count = 0;
    for kind in KINDS {
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
    if !as_json {
        say("models  (model.path; also a Hugging Face folder, a GGUF file, a hub id, a run's folder)")?;
    }
    for model in BUILTIN {
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
