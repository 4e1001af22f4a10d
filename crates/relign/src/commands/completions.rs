//! `relign completions` and `relign schema`: what shells and editors want to know.

use std::io::Write;

use clap::CommandFactory;

use super::say;
use crate::console::Out;

pub(crate) fn run(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::cli::Cli::command(), "relign", &mut script);
    Out.write_all(&script)?;
    Ok(())
}

pub(crate) fn schema() -> anyhow::Result<()> {
    Ok(say(serde_json::to_string_pretty(&relign_core::schema_of::<relign_core::Recipe>())?)?)
}
