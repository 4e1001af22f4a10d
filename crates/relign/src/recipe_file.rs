//! Reads recipes: TOML, changed by `--set`, checked down to the last setting.
//!
//! Every error names the place (file, line, column, or the `--set` it came from), shows the line and
//! suggests the nearest name.

use std::ops::Range;
use std::path::Path;

use anyhow::Context;
use relign_core::{ConfigError, Recipe};
use serde_json::Value;

mod check;
mod difference;
mod place;
mod sets;

pub(crate) use check::check;
pub(crate) use difference::difference;
pub(crate) use sets::apply as apply_sets;

use crate::usage::Usage;

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// Where, as a dotted path: `run.steps`, `rewards.0.weight`.
    pub(crate) path: String,
    /// What is wrong: thing, expected, got.
    pub(crate) message: String,
    /// How to put it right.
    pub(crate) advice: Option<String>,
}

impl Fault {
    pub(crate) fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        let ConfigError { path, message } = ConfigError::at(path, message);
        Self { path, message, advice: None }
    }
}

/// The recipe in the file at `path`, changed by `sets` (`a.b=c` each) and checked.
///
/// # Errors
/// [`Usage`] with everything that does not fit.
pub(crate) fn load(path: &Path, sets: &[String]) -> anyhow::Result<Recipe> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Usage(format!("recipe {}: {error}; expected a TOML file", path.display())))?;
    read(&path.display().to_string(), &text, sets).map_err(Usage::error)
}

/// The recipe of the run whose folder `model` is, if it is one.
///
/// # Errors
/// If the recipe cannot be read.
pub(crate) fn of_run(model: &str) -> anyhow::Result<Option<Recipe>> {
    let file = Path::new(model).join("recipe.toml");
    if file.is_file() { load(&file, &[]).map(Some) } else { Ok(None) }
}

/// Like [`load`], from text; `name` stands for the file in errors.
pub(crate) fn read(name: &str, text: &str, sets: &[String]) -> Result<Recipe, String> {
    let document = toml::de::DeTable::parse(text)
        .map_err(|error| show(name, text, error.span(), &format!("not TOML: {}", error.message().trim()), None))?;
    let mut value =
        place::to_json(document.get_ref()).map_err(|(span, what)| show(name, text, Some(span), &what, None))?;
    apply_sets(&mut value, sets)?;
    let faults = match relign_core::settings::read::<Recipe>(value) {
        Ok(recipe) => match check(&recipe) {
            faults if faults.is_empty() => return Ok(recipe),
            faults => faults,
        },
        Err(error) => vec![fault_of(&error.path, &error.message)],
    };
    let shown: Vec<String> = faults.iter().map(|fault| placed(fault, name, text, document.get_ref(), sets)).collect();
    Err(shown.join("\n"))
}

/// `error`, shown with the line or the `--set` that gave the setting, where it is one about a setting of the recipe in
/// the file at `path`, changed by `sets`.
pub(crate) fn show_where(error: anyhow::Error, path: &Path, sets: &[String]) -> anyhow::Error {
    let Some(ConfigError { path: setting, message }) = error.downcast_ref() else { return error };
    let Ok(text) = std::fs::read_to_string(path) else { return error };
    let Ok(document) = toml::de::DeTable::parse(&text) else { return error };
    let fault = Fault::at(place::normal(setting), message.clone());
    Usage::error(placed(&fault, &path.display().to_string(), &text, document.get_ref(), sets))
}

/// `error` as one about the setting at `path`, where it is the caller's to mend.
pub(crate) fn blame(error: anyhow::Error, path: &str) -> anyhow::Error {
    match error.downcast_ref::<Usage>() {
        Some(Usage(message)) => ConfigError::at(path, message.clone()).into(),
        None => error.context(path.to_owned()),
    }
}

/// A fault with its place.
fn placed(fault: &Fault, name: &str, text: &str, document: &toml::de::DeTable<'_>, sets: &[String]) -> String {
    let Fault { path, message, advice } = fault;
    let full = if path.is_empty() { message.clone() } else { format!("{path}: {message}") };
    // What is missing, or known to nobody, is blamed on what was set within the same table.
    let within = message.starts_with("unknown key") || message.starts_with("missing field");
    match sets::origin(sets, path, within) {
        Some(set) => with_advice(&format!("--set {set}: {full}"), advice.as_deref()),
        None => show(name, text, place::find(document, path), &full, advice.as_deref()),
    }
}

/// The section that names `name` of the kind `kind`, with `settings` changed by `sets` (`key=value` each).
///
/// # Errors
/// [`Usage`] with what does not fit.
pub(crate) fn section(
    kind: &str,
    name: &str,
    settings: Option<&serde_json::Map<String, Value>>,
    sets: &[String],
) -> anyhow::Result<relign_core::Section> {
    let mut value = Value::Object(settings.cloned().unwrap_or_default());
    apply_sets(&mut value, sets).map_err(Usage::error)?;
    let Value::Object(settings) = value else { unreachable!("settings stay a table") };
    match check::fault(kind, name, &settings) {
        None => Ok(relign_core::Section { name: name.to_owned(), settings }),
        Some(fault) => {
            let unknown = fault.message.starts_with("unknown key");
            let place = sets::origin(sets, &fault.path, unknown).map_or(String::new(), |set| format!("--set {set}: "));
            Err(Usage::error(with_advice(&format!("{place}{}", fault.message), fault.advice.as_deref())))
        }
    }
}

/// The recipe as a file that [`read`] gives back unchanged, but for [secrets](relign_core::secrets).
///
/// # Errors
/// If a setting has a value TOML cannot hold.
pub(crate) fn write(recipe: &Recipe) -> anyhow::Result<String> {
    toml::to_string(&public(recipe)).context("the recipe as TOML")
}

/// The recipe without [secrets](relign_core::secrets), as it is kept, printed and compared.
pub(crate) fn public(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    let Recipe { model, environment, rewards, strategy, algorithm, .. } = &mut recipe;
    model.path = relign_core::without_secrets(&model.path);
    let sections = [environment, strategy, algorithm].into_iter().map(|section| &mut section.settings);
    for settings in sections.chain(rewards.iter_mut().map(|reward| &mut reward.settings)) {
        if let Value::Object(public) = relign_core::secrets::public(settings) {
            *settings = public;
        }
    }
    recipe
}

/// A fault from what serde said about `path`.
pub(crate) fn fault_of(path: &str, said: &str) -> Fault {
    let path = place::normal(path);
    let quoted: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
    let mut fault = Fault::at(path, said);
    if let (true, [wrong, known @ ..]) = (said.starts_with("unknown "), quoted.as_slice()) {
        fault.advice = nearest(wrong, known.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        // The path of an unknown key ends at its table; what is wrong is the key.
        if said.starts_with("unknown key") && fault.path.rsplit('.').next() != Some(wrong) {
            fault.path = if fault.path.is_empty() { (*wrong).to_owned() } else { format!("{}.{wrong}", fault.path) };
        }
    }
    fault
}

/// The one of `known` nearest to `wrong`, if any is near: by what it begins with or by letters swapped,
/// left out or added.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let score =
        |name: &str| (strsim::jaro_winkler(wrong, name) - 0.1).max(strsim::normalized_damerau_levenshtein(wrong, name));
    let scored = known.into_iter().map(|name| (score(name), name)).filter(|(score, _)| *score > 0.65);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// An error with its place: file, line, column, the line and a caret under what is wrong.
fn show(name: &str, text: &str, span: Option<Range<usize>>, message: &str, advice: Option<&str>) -> String {
    let Some(span) = span else { return with_advice(&format!("{name}: {message}"), advice) };
    let start = span.start.min(text.len());
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let number = text[..start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count();
    let end = span.end.clamp(start, line_start + line.len());
    let carets = text.get(start..end).map_or(1, |marked| marked.chars().count()).max(1);
    let gutter = " ".repeat(number.to_string().len());
    // Tabs before the caret stay tabs, so that it stands where the terminal put the character.
    let pad: String = line.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    with_advice(
        &format!(
            "{message}\n{gutter} --> {name}:{number}:{}\n{gutter} |\n{number} | {line}\n{gutter} | {pad}{}",
            column + 1,
            "^".repeat(carets)
        ),
        advice,
    )
}

fn with_advice(message: &str, advice: Option<&str>) -> String {
    advice.map_or_else(|| message.to_owned(), |advice| format!("{message}\n  help: {advice}"))
}

#[cfg(test)]
mod tests;
