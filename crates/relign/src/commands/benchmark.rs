//! `relign benchmark`: definitions of what is measured.

use std::path::PathBuf;

use relign_bench::benchmark::{BUILTIN, Benchmark, SUITES, TEMPLATE, all};
use serde_json::json;

use super::{say, say_json};
use crate::benchmarks;
use crate::usage::Usage;

/// What `benchmark` was told.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Asked {
    /// List the built-in benchmarks and the suites
    List,
    /// Check a definition and show it with all defaults and its hash
    Show {
        /// A TOML file, or a built-in name
        name: String,
    },
    /// Start a definition of your own
    New {
        /// The file; one that exists is left alone
        file: PathBuf,
    },
    /// Print the JSON schema of definitions, for editors
    Schema,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    match asked {
        Asked::List => list(as_json),
        Asked::Show { name } => show(name, as_json),
        Asked::New { file } => {
            let written = std::fs::File::create_new(file)
                .and_then(|mut out| std::io::Write::write_all(&mut out, TEMPLATE.as_bytes()));
            written.map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    Usage(format!("{} exists already; nothing is overwritten", file.display()))
                }
                _ => Usage(format!("{}: {error}", file.display())),
            })?;
            if as_json {
                return say_json(&json!({"summary": true, "file": file}));
            }
            Ok(say(format_args!("written: {}; `relign benchmark show` checks it", file.display()))?)
        }
        Asked::Schema => Ok(say(serde_json::to_string_pretty(&relign_core::schema_of::<Benchmark>())?)?),
    }
}

fn list(as_json: bool) -> anyhow::Result<()> {
    let all = all()?;
    for (name, _) in BUILTIN {
        let own =
            |b: &&Benchmark| b.name == *name || b.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
        let variants: Vec<&Benchmark> = all.iter().filter(own).collect();
        let Some(first) = variants.first() else { continue };
        if as_json {
            let names: Vec<&str> = variants.iter().map(|b| b.name.as_str()).collect();
            say_json(&json!({"name": name, "domain": first.domain, "about": first.about, "benchmarks": names}))?;
        } else {
            let count = if variants.len() > 1 { format!(" ({} variants)", variants.len()) } else { String::new() };
            say(format_args!("  {name:<14}{:<12}{}{count}", first.domain, first.about))?;
        }
    }
    let suites: toml::Table = SUITES.parse()?;
    if as_json {
        return say_json(&json!({"summary": true, "count": all.len(), "suites": suites}));
    }
    say("\nsuites (--suite)")?;
    for (name, members) in &suites {
        let members: Vec<&str> = members.as_array().into_iter().flatten().filter_map(toml::Value::as_str).collect();
        say(format_args!("  {name:<14}{}", members.join(", ")))?;
    }
    Ok(say("  all           every benchmark")?)
}

fn show(name: &str, as_json: bool) -> anyhow::Result<()> {
    for benchmark in benchmarks::find(name)? {
        if as_json {
            say_json(&json!({"hash": benchmark.hash(), "benchmark": benchmark}))?;
        } else {
            say(format_args!("# {}\n{}", benchmark.hash(), toml::to_string(&toml::Value::try_from(&benchmark)?)?))?;
        }
    }
    if as_json { say_json(&json!({"summary": true})) } else { Ok(()) }
}
