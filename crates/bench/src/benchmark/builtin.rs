//! The benchmarks that come with RELIGN: the files of `benchmarks/`, embedded.

use std::collections::BTreeMap;

use super::{Benchmark, BenchmarkError};

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../benchmarks/", $name, ".toml")))
    };
}

/// Every file, one line each: its name and its text.
pub const BUILTIN: &[(&str, &str)] = &[
    file!("gsm8k"),
    file!("math500"),
    file!("aime24"),
    file!("amc23"),
    file!("humaneval"),
    file!("humaneval-rs"),
    file!("mbpp"),
    file!("medqa"),
    file!("pubmedqa"),
    file!("finqa"),
    file!("bbh"),
    file!("arithmetic"),
    file!("countdown"),
];

/// Which benchmarks a suite holds, as `benchmarks/suites.toml` says.
pub const SUITES: &str = include_str!("../../../../benchmarks/suites.toml");

/// What `relign benchmark new` starts from.
pub const TEMPLATE: &str = include_str!("../../../../benchmarks/template.toml");

/// All built-in benchmarks, variants apart, in the order of the table.
///
/// # Errors
/// If one does not fit; a test keeps that from happening.
pub fn all() -> Result<Vec<Benchmark>, BenchmarkError> {
    let mut found = Vec::new();
    for (name, text) in BUILTIN {
        found.extend(Benchmark::read(&format!("benchmarks/{name}.toml"), text)?);
    }
    Ok(found)
}

/// The built-in benchmark called `name`, or all variants of it.
///
/// # Errors
/// If there is none; the error lists what there is.
pub fn named(name: &str) -> Result<Vec<Benchmark>, BenchmarkError> {
    let of = |benchmark: &Benchmark| {
        benchmark.name == name || benchmark.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
    };
    let found: Vec<Benchmark> = all()?.into_iter().filter(of).collect();
    if found.is_empty() {
        let names: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
        let message = format!("unknown, expected a TOML file or one of: {}", names.join(", "));
        return Err(BenchmarkError::new(name, message));
    }
    Ok(found)
}

/// The benchmarks of the suite called `name`; `all` are all of them.
///
/// # Errors
/// If there is no such suite; the error lists what there is.
pub fn suite(name: &str) -> Result<Vec<Benchmark>, BenchmarkError> {
    if name == "all" {
        return all();
    }
    let suites: BTreeMap<String, Vec<String>> =
        toml::from_str(SUITES).map_err(|error| BenchmarkError::new("suites.toml", error.to_string()))?;
    let Some(members) = suites.get(name) else {
        let names: Vec<&str> = suites.keys().map(String::as_str).chain(["all"]).collect();
        return Err(BenchmarkError::new(name, format!("unknown suite, expected one of: {}", names.join(", "))));
    };
    let mut found = Vec::new();
    for member in members {
        found.extend(named(member)?);
    }
    Ok(found)
}
