//! `relign pull`: a model, fetched for later.

use serde_json::json;

use super::{say, say_json};

pub(crate) fn run(model: &str, as_json: bool) -> anyhow::Result<()> {
    let path = crate::models::pull(model)?;
    if as_json { say_json(&json!({"model": model, "path": path})) } else { Ok(say(path.display())?) }
}
