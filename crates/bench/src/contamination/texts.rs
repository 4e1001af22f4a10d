//! Texts from files of training data and of benchmarks.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A text with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Where it stands: the record's number and the field.
    pub id: String,
    /// The text.
    pub text: String,
}

/// A file without texts.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct TextError {
    path: PathBuf,
    what: String,
}

/// Every text of a training set, one by one: each string in each record of a `.json` or `.jsonl` file, each
/// paragraph of any other. Returns how many there were.
///
/// # Errors
/// If the file cannot be read or is not what its name says.
pub fn training(path: &Path, each: &mut dyn FnMut(&Text)) -> Result<u64, TextError> {
    let mut count = 0;
    records(path, &mut |number, record| {
        strings(&record, &number.to_string(), &mut |id, text| {
            count += 1;
            each(&Text { id, text });
        });
    })?;
    Ok(count)
}

/// The fields that hold a benchmark's question, the first that a record has.
const QUESTIONS: [&str; 7] = ["problem", "question", "QUESTION", "prompt", "input", "text", "messages"];

/// What a benchmark's file asks, one text for each record: its question where a field is called so, else all of
/// its strings.
///
/// # Errors
/// If the file cannot be read, is not what its name says, or holds nothing.
pub fn questions(path: &Path) -> Result<Vec<Text>, TextError> {
    let mut found = Vec::new();
    records(path, &mut |number, record| {
        let question = QUESTIONS.iter().find_map(|name| record.get(name)).unwrap_or(&record);
        let mut parts = Vec::new();
        strings(question, "", &mut |_, text| parts.push(text));
        let named = ["id", "unique_id", "task_id"].iter().find_map(|name| record.get(name)).and_then(Value::as_str);
        found.push(Text { id: named.map_or_else(|| number.to_string(), str::to_owned), text: parts.join("\n") });
    })?;
    if found.is_empty() {
        return Err(TextError { path: path.to_owned(), what: "expected items, got none".to_owned() });
    }
    Ok(found)
}

/// The records of a file with their numbers, counted from 0.
fn records(path: &Path, each: &mut dyn FnMut(usize, Value)) -> Result<(), TextError> {
    let fail = |what: String| TextError { path: path.to_owned(), what };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    match path.extension().and_then(|end| end.to_str()) {
        Some("json") => {
            let value: Value =
                serde_json::from_str(&text).map_err(|error| fail(format!("expected JSON, got {error}")))?;
            match value {
                Value::Array(records) => {
                    records.into_iter().enumerate().for_each(|(number, record)| each(number, record))
                }
                Value::Object(map) => {
                    map.into_iter().enumerate().for_each(|(number, (_, record))| each(number, record))
                }
                _ => return Err(fail("expected a list of records, got a single value".to_owned())),
            }
        }
        Some("jsonl" | "ndjson") => {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let record = serde_json::from_str(line);
                each(number, record.map_err(|error| fail(format!("line {}: expected JSON, got {error}", number + 1)))?);
            }
        }
        _ => {
            let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty());
            paragraphs.enumerate().for_each(|(number, paragraph)| each(number, Value::from(paragraph)));
        }
    }
    Ok(())
}

/// Every string in a value with its place.
fn strings(value: &Value, place: &str, each: &mut dyn FnMut(String, String)) {
    match value {
        Value::String(text) => each(place.to_owned(), text.clone()),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(number, value)| strings(value, &format!("{place}.{number}"), each));
        }
        // A turn's role is no text that anyone wrote.
        Value::Object(map) => map
            .iter()
            .filter(|(name, _)| *name != "role")
            .for_each(|(name, value)| strings(value, &format!("{place}.{name}"), each)),
        _ => {}
    }
}
