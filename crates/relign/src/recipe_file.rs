//! Reads recipes: TOML, changed by `--set`, checked down to the last setting.
//!
//! Every error names the place (file, line, column, or the `--set` it came from), shows the line and
//! suggests the nearest name.

use std::ops::Range;
use std::path::Path;

use anyhow::Context;
use relign_core::Recipe;
use serde_json::Value;

mod check;
mod place;
mod sets;

pub(crate) use check::check;
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
        Self { path: path.into(), message: message.into(), advice: None }
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
    let faults = match serde_path_to_error::deserialize::<_, Recipe>(value) {
        Ok(recipe) => match check(&recipe) {
            faults if faults.is_empty() => return Ok(recipe),
            faults => faults,
        },
        Err(error) => vec![fault_of(&error.path().to_string(), &error.inner().to_string())],
    };
    let shown: Vec<String> = faults
        .iter()
        .map(|fault| {
            let message = if fault.path.is_empty() {
                fault.message.clone()
            } else {
                format!("{}: {}", fault.path, fault.message)
            };
            match sets::origin(sets, &fault.path, fault.message.starts_with("unknown key")) {
                Some(set) => with_advice(&format!("--set {set}: {message}"), fault.advice.as_deref()),
                None => {
                    let span = place::find(document.get_ref(), &fault.path);
                    show(name, text, span, &message, fault.advice.as_deref())
                }
            }
        })
        .collect();
    Err(shown.join("\n"))
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

/// The recipe as a file that [`read`] gives back unchanged.
///
/// # Errors
/// If a setting has a value TOML cannot hold.
pub(crate) fn write(recipe: &Recipe) -> anyhow::Result<String> {
    toml::to_string(recipe).context("the recipe as TOML")
}

/// A fault from what serde said about `path`.
pub(crate) fn fault_of(path: &str, said: &str) -> Fault {
    let path = place::normal(path);
    let said = said.split(" at line ").next().unwrap_or(said);
    let quoted: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
    let mut fault = Fault::at(path, plain_words(said));
    if let (true, [wrong, known @ ..]) = (said.starts_with("unknown "), quoted.as_slice()) {
        fault.advice = nearest(wrong, known.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        // The path of an unknown key ends at its table; what is wrong is the key.
        if said.starts_with("unknown field") && fault.path.rsplit('.').next() != Some(wrong) {
            fault.path = if fault.path.is_empty() { (*wrong).to_owned() } else { format!("{}.{wrong}", fault.path) };
        }
    }
    fault
}

/// Rust's type names mean nothing to most who write recipes.
fn plain_words(said: &str) -> String {
    let mut said = said.replace("floating point", "the number").replace("unknown field", "unknown key");
    for name in ["u64", "usize", "u32", "u16", "u8"] {
        said = said.replace(&format!("expected {name}"), "expected a whole number from 0 up");
    }
    for name in ["i64", "i32"] {
        said = said.replace(&format!("expected {name}"), "expected a whole number");
    }
    for name in ["f64", "f32"] {
        said = said.replace(&format!("expected {name}"), "expected a number");
    }
    said
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
