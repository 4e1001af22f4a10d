//! What a recipe makes of a row: Jinja templates and expressions over its fields.

use std::collections::HashSet;

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use super::json::entries;
use super::nulls::Nulls;
use super::{Row, json};

/// Templates by name, and expressions.
///
/// Besides Jinja's own filters and the methods of Python's texts there are `after(MARK)`, what follows
/// the last MARK in a text, and `boxed`, what stands in its last `\boxed{}`.
#[derive(Debug)]
pub(crate) struct Templates(Environment<'static>);

impl Templates {
    /// Compiles templates.
    ///
    /// # Errors
    /// The name of the one that does not compile, and why.
    pub(crate) fn new<'a>(
        templates: impl IntoIterator<Item = (&'static str, &'a str)>,
    ) -> Result<Self, (&'static str, String)> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_test("none", Nulls::is_null);
        environment.add_filter("after", after);
        environment.add_filter("boxed", boxed);
        environment.set_keep_trailing_newline(true);
        let mut templates_of = Self(environment);
        for (name, text) in templates {
            templates_of
                .0
                .add_template_owned(name, text.to_owned())
                .map_err(|error| (name, format!("expected a Jinja template, got: {}", why(&error))))?;
        }
        Ok(templates_of)
    }

    /// Whether `expression` can be read.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, expression: &str) -> Result<(), String> {
        let checked = self.0.compile_expression(expression).map(drop);
        checked.map_err(|error| format!("expected an expression over the row's fields, got: {}", why(&error)))
    }

    /// The template `name`, filled in.
    ///
    /// # Errors
    /// What the row lacks.
    pub(crate) fn render(&self, name: &str, row: &Value) -> Result<String, String> {
        let render = |row: &Value| self.0.get_template(name).and_then(|template| template.render(row));
        let used =
            || self.0.get_template(name).map(|template| template.undeclared_variables(false)).unwrap_or_default();
        let text = render(row).map_err(|error| lacking(&error, used, row))?;
        Nulls::check(&text, row, &|row| render(row).is_ok())?;
        Ok(text)
    }

    /// The value of an expression.
    ///
    /// # Errors
    /// What the row lacks.
    pub(crate) fn value(&self, expression: &str, row: &Value) -> Result<Value, String> {
        // Most expressions are a field's name.
        let plain = expression.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if plain
            && expression.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && let Some(value) = row.get_attr(expression).ok().filter(|value| !value.is_undefined())
        {
            return Ok(value);
        }
        if expression.contains(['<', '>']) && json::holds_digits(row) {
            self.comparable(expression, row)?;
        }
        let eval = |row: &Value| self.0.compile_expression(expression).and_then(|expression| expression.eval(row));
        let value = eval(row);
        if let Some(text) = value.as_ref().ok().and_then(Value::as_str) {
            // A text is what makes a word of a null.
            let again = |row: &Value| eval(row).is_ok();
            Nulls::check(text, row, &again).map_err(|what| format!("`{expression}`: {what}"))?;
        }
        match value {
            Ok(value) if value.is_undefined() => {
                Err(format!("no value for `{expression}`; the row has {}", names(row)))
            }
            Ok(value) => Ok(value),
            Err(error) => {
                let used = || {
                    let compiled = self.0.compile_expression(expression);
                    compiled.map(|compiled| compiled.undeclared_variables(false)).unwrap_or_default()
                };
                Err(format!("`{expression}`: {}", lacking(&error, used, row)))
            }
        }
    }

    /// The value of an expression as a text: numbers and truth as JSON writes them, lists and tables as
    /// JSON.
    ///
    /// # Errors
    /// What the row lacks.
    pub(crate) fn text(&self, expression: &str, row: &Value) -> Result<String, String> {
        let value = self.value(expression, row)?;
        match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None if value.is_none() => Err(format!("expected a value for `{expression}`, got null")),
            None => Ok(json::write(&value)),
        }
    }

    /// Numbers that the engine's types do not hold are not compared: they would come out above all others.
    fn comparable(&self, expression: &str, row: &Value) -> Result<(), String> {
        let compiled = self.0.compile_expression(expression).map_err(|error| why(&error))?;
        let mut names: Vec<String> = compiled.undeclared_variables(false).into_iter().collect();
        names.sort();
        let long = names.into_iter().find(|name| row.get_attr(name).is_ok_and(|value| json::holds_digits(&value)));
        long.map_or(Ok(()), |name| {
            Err(format!(
                "`{expression}`: expected numbers of at most 38 digits to compare, got more digits in `{name}`"
            ))
        })
    }
}

/// A row as templates see it.
pub(crate) fn seen(row: &Row) -> Value {
    row.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn why(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// An error while a row was filled in; fields that the row lacks are named, and those that it has.
fn lacking(error: &minijinja::Error, used: impl FnOnce() -> HashSet<String>, row: &Value) -> String {
    if error.kind() != ErrorKind::UndefinedError {
        return why(error);
    }
    let lacks = |name: &String| row.get_attr(name).map_or(true, |value| value.is_undefined());
    let mut missing: Vec<String> = used().into_iter().filter(lacks).map(|name| format!("`{name}`")).collect();
    missing.sort();
    // Otherwise something within a field is missing.
    let what = if missing.is_empty() { why(error) } else { missing.join(", ") };
    format!("a field that the row lacks: {what}; it has {}", names(row))
}

/// The names of a row's fields.
fn names(row: &Value) -> String {
    /// As many as a line holds.
    const MOST: usize = 20;
    let names: Vec<String> = entries(row).map(|(name, _)| format!("`{name}`")).collect();
    let more = if names.len() > MOST { format!(" and {} more", names.len() - MOST) } else { String::new() };
    format!("{}{more}", names[..names.len().min(MOST)].join(", "))
}

/// A filter's text.
fn text_of(value: &Value) -> Result<&str, minijinja::Error> {
    value.as_str().ok_or_else(|| {
        let kind = if value.is_undefined() { ErrorKind::UndefinedError } else { ErrorKind::InvalidOperation };
        minijinja::Error::new(kind, format!("expected a text, got {}", value.kind()))
    })
}

fn after(text: &Value, mark: &str) -> Result<String, minijinja::Error> {
    let text = text_of(text)?;
    text.rsplit_once(mark).map(|(_, after)| after.trim().to_owned()).ok_or_else(|| {
        let end = text.char_indices().rev().nth(39).map_or(text, |(at, _)| &text[at..]);
        minijinja::Error::new(ErrorKind::InvalidOperation, format!("expected a text that holds `{mark}`, got `{end}`"))
    })
}

fn boxed(text: &Value) -> Result<String, minijinja::Error> {
    crate::rewards::last_boxed(text_of(text)?)
        .map(str::to_owned)
        .ok_or_else(|| minijinja::Error::new(ErrorKind::InvalidOperation, "expected a text that holds \\boxed{}"))
}
