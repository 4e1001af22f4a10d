//! Texts from files of training data and of benchmarks.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

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

/// The longest paragraph that is read as one: a file without empty lines must not have to fit into memory.
const LONGEST: usize = 4 << 20;

/// The records of a file with their numbers, counted from 0, one after the other: the file may be larger than memory.
fn records(path: &Path, each: &mut dyn FnMut(usize, Value)) -> Result<(), TextError> {
    let fail = |what: String| TextError { path: path.to_owned(), what };
    let reader = BufReader::new(File::open(path).map_err(|error| fail(error.to_string()))?);
    match path.extension().and_then(|end| end.to_str()) {
        Some("json") => {
            let mut json = serde_json::Deserializer::from_reader(reader);
            let read = (&mut json).deserialize_any(Records(each)).and_then(|()| json.end());
            read.map_err(|error| match error.classify() {
                Category::Data => fail("expected a list of records, got a single value".to_owned()),
                _ => fail(format!("expected JSON, got {error}")),
            })
        }
        Some("jsonl" | "ndjson") => {
            for (number, line) in reader.lines().enumerate() {
                let line = line.map_err(|error| fail(format!("line {}: {error}", number + 1)))?;
                if !line.trim().is_empty() {
                    let record = serde_json::from_str(&line);
                    let wrong = |error| fail(format!("line {}: expected JSON, got {error}", number + 1));
                    each(number, record.map_err(wrong)?);
                }
            }
            Ok(())
        }
        _ => {
            let (mut paragraph, mut count) = (String::new(), 0);
            let mut end = |paragraph: &mut String| {
                if !paragraph.trim().is_empty() {
                    each(count, Value::from(paragraph.as_str()));
                    count += 1;
                }
                paragraph.clear();
            };
            for line in reader.lines() {
                let line = line.map_err(|error| fail(error.to_string()))?;
                if line.is_empty() || paragraph.len() > LONGEST {
                    end(&mut paragraph);
                }
                paragraph.push_str(&line);
                paragraph.push('\n');
            }
            end(&mut paragraph);
            Ok(())
        }
    }
}

/// Hands over the elements of a list, or the values of an object, as they are read.
struct Records<'a>(&'a mut dyn FnMut(usize, Value));

impl<'de> Visitor<'de> for Records<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(record) = list.next_element()? {
            (self.0)(number, record);
            number += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some((IgnoredAny, record)) = map.next_entry()? {
            (self.0)(number, record);
            number += 1;
        }
        Ok(())
    }
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
