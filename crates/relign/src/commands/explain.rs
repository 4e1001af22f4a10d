//! `relign explain`: the manual of one thing and a table of its settings.

use serde_json::{Value, json};

use super::{say, say_json};
use crate::models::BUILTIN;
use crate::recipe_file::nearest;
use crate::registry::{KINDS, manual};
use crate::usage::Usage;

pub(crate) fn run(name: &str, as_json: bool) -> anyhow::Result<()> {
    let found = lookup(name)?;
    if as_json {
        return say_json(&json!({"kind": found.kind, "name": found.name, "schema": found.schema}));
    }
    say(format_args!("{} ({})\n", found.name, found.kind))?;
    say(manual(&found.schema).trim())?;
    let rows = settings(&found.schema);
    if !rows.is_empty() {
        say("\nSettings")?;
        for line in table(&rows) {
            say(line)?;
        }
    }
    if let Some(example) = found.example {
        say(format_args!("\nIn a recipe\n{example}"))?;
    }
    Ok(())
}

struct Found {
    kind: &'static str,
    name: String,
    schema: Value,
    example: Option<String>,
}

fn lookup(name: &str) -> anyhow::Result<Found> {
    let (wanted, bare) = name.split_once(':').map_or((None, name), |(kind, name)| (Some(kind), name));
    let mut found = Vec::new();
    for kind in KINDS.iter().filter(|kind| wanted.is_none_or(|wanted| wanted == kind.name)) {
        if (kind.names)().contains(&bare) {
            let schema = (kind.schema)(bare).unwrap_or_default();
            let example = Some(format!("  {}\n  name = \"{bare}\"", kind.section));
            found.push(Found { kind: kind.name, name: bare.to_owned(), schema, example });
        }
    }
    if found.len() > 1 {
        let choices: Vec<String> = found.iter().map(|f| format!("`relign explain {}:{bare}`", f.kind)).collect();
        return Err(Usage::error(format!("`{bare}` names {} things: {}", found.len(), choices.join(" or "))));
    }
    if let Some(found) = found.pop() {
        return Ok(found);
    }
    let recipe = relign_core::schema_of::<relign_core::Recipe>();
    if bare == "recipe" {
        return Ok(Found { kind: "file", name: "recipe".into(), schema: recipe, example: None });
    }
    if let Some(section) = recipe.pointer(&format!("/properties/{bare}")) {
        let mut schema = resolved(section, &recipe).clone();
        schema["$defs"] = recipe["$defs"].clone();
        let example = Some(format!("  [{bare}]"));
        return Ok(Found { kind: "section of a recipe", name: bare.to_owned(), schema, example });
    }
    if let Some(model) = BUILTIN.iter().find(|model| model.name == bare) {
        let schema = json!({"description": format!("{}\n\n`relign pull {bare}` fetches it.", model.about)});
        let example = Some(format!("  [model]\n  path = \"{bare}\""));
        return Ok(Found { kind: "model", name: bare.to_owned(), schema, example });
    }
    let known: Vec<&str> = KINDS.iter().flat_map(|kind| (kind.names)()).chain(BUILTIN.iter().map(|m| m.name)).collect();
    let near = nearest(bare, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Err(Usage::error(format!("nothing is called `{name}`{near} (`relign list` shows all names)")))
}

/// Name, type, default and meaning of every setting.
type Row = [String; 4];

fn settings(schema: &Value) -> Vec<Row> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let required = |name: &str| {
        schema.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|n| n == name))
    };
    properties
        .iter()
        .map(|(name, property)| {
            let default = match property.get("default") {
                Some(Value::Object(_) | Value::Null) => String::new(),
                Some(default) => default.to_string(),
                None if required(name) => "required".to_owned(),
                None => String::new(),
            };
            let about = property.get("description").or_else(|| resolved(property, schema).get("description"));
            let about = about.and_then(Value::as_str).unwrap_or_default();
            [name.clone(), type_name(property, schema), default, about.replace('\n', " ")]
        })
        .collect()
}

/// What `$ref` refers to, through one level of `allOf`.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let schema = schema.pointer("/allOf/0").unwrap_or(schema);
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|path| root.pointer(path.trim_start_matches('#')));
    target.unwrap_or(schema)
}

/// A type in words that TOML writers know.
fn type_name(schema: &Value, root: &Value) -> String {
    let schema = resolved(schema, root);
    for key in ["anyOf", "oneOf"] {
        if let Some(options) = schema.get(key).and_then(Value::as_array) {
            let mut names: Vec<String> = options.iter().map(|option| type_name(option, root)).collect();
            names.retain(|name| name != "null");
            names.dedup();
            return names.join(" | ");
        }
    }
    if let Some(constant) = schema.get("const") {
        return constant.to_string();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    let names: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => return "any".to_owned(),
    };
    let word = |name: &str| match name {
        "integer" => match schema.get("maximum") {
            Some(most) => format!("whole number to {most}"),
            None => "whole number".to_owned(),
        },
        "boolean" => "true | false".to_owned(),
        "string" => "text".to_owned(),
        "object" => "table".to_owned(),
        "array" => match schema.get("items") {
            Some(items) => format!("list of {}", type_name(items, root)),
            None => match schema.get("prefixItems").and_then(Value::as_array) {
                Some(items) => {
                    let names: Vec<String> = items.iter().map(|item| type_name(item, root)).collect();
                    format!("[{}]", names.join(", "))
                }
                None => "list".to_owned(),
            },
        },
        other => other.to_owned(),
    };
    names.into_iter().map(word).collect::<Vec<_>>().join(" | ")
}

/// The rows in columns, the meaning wrapped below each name.
fn table(rows: &[Row]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).min(28);
    let (name, kind) = (width(0), width(1));
    let mut lines = Vec::new();
    for [n, t, default, about] in rows {
        let default = match default.as_str() {
            "" => String::new(),
            "required" => "  required".to_owned(),
            other => format!("  default {other}"),
        };
        lines.push(format!("  {n:<name$}  {t:<kind$}{default}").trim_end().to_owned());
        lines.extend(wrap(about, 88).into_iter().map(|line| format!("      {line}")));
    }
    lines
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_every_section_has_a_manual() {
        for kind in KINDS {
            for name in (kind.names)() {
                let found = lookup(&format!("{}:{name}", kind.name)).unwrap();
                assert!(manual(&found.schema).len() > 20, "{} `{name}` has no manual", kind.name);
                for [setting, _, _, about] in settings(&found.schema) {
                    assert!(!about.is_empty(), "setting `{setting}` of {} `{name}` has no doc comment", kind.name);
                }
            }
        }
        for section in ["model", "sampling", "optimizer", "run", "eval", "checkpoint", "recipe"] {
            let rows = settings(&lookup(section).unwrap().schema);
            assert!(!rows.is_empty() && rows.iter().all(|row| !row[3].is_empty()), "{section}: {rows:?}");
        }
    }

    #[test]
    fn types_and_defaults_are_in_plain_words() {
        let rows = settings(&lookup("optimizer").unwrap().schema);
        let row = |name: &str| rows.iter().find(|row| row[0] == name).unwrap();
        assert_eq!(row("warmup")[1..3], ["whole number", "0"]);
        let sample = settings(&lookup("strategy:sample").unwrap().schema);
        assert_eq!(sample[0][1], "whole number to 100000");
        assert_eq!(row("schedule")[1..3], [r#""constant" | "linear" | "cosine""#, r#""constant""#]);
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        let error = lookup("arithmatic").err().unwrap().to_string();
        assert!(error.contains("did you mean `arithmetic`?"), "{error}");
    }
}
