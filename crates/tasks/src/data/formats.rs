//! JSON Lines, JSON and CSV, row by row.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::Row;
use super::table::LONGEST_LINE;

/// Takes a row, or what is wrong with it: the byte it begins at, its place in words, the row.
pub(super) type Each<'a> = dyn FnMut(u64, String, Result<Row, String>) + 'a;
/// Takes a row that has no place of its own in the file.
pub(super) type Take<'a> = dyn FnMut(String, Result<Row, String>) -> Result<(), String> + 'a;

/// Reads JSON Lines from the beginning of `file`.
pub(super) fn lines(file: &mut File, each: &mut Each<'_>) -> Result<(), String> {
    file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut offset, mut number) = (0, 0_u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        number += 1;
        let length =
            reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if length == 0 {
            return Ok(());
        }
        if length as u64 == LONGEST_LINE {
            return Err(format!("{number}: expected lines of less than {LONGEST_LINE} bytes, got a longer one"));
        }
        // Editors of one system put a mark before the first line.
        let text = if offset == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        let begin = offset + (line.len() - text.len()) as u64;
        if !text.iter().all(u8::is_ascii_whitespace) {
            let row = serde_json::from_slice::<Value>(text).map_err(|error| {
                // Its own line number is always 1.
                format!("expected an object, got: {}", error.to_string().replace(" at line 1", " at"))
            });
            each(begin, number.to_string(), row.and_then(object));
        }
        offset += length as u64;
    }
}

fn object(value: Value) -> Result<Row, String> {
    match value {
        Value::Object(row) => Ok(row),
        other => Err(format!("expected an object, got {}", kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The name under which a row knows the key it stood under, in a file that is an object of rows.
const KEY: &str = "_key";

/// Reads one JSON document: a list of objects, an object that holds such lists (what stands beside them
/// is passed over), or an object of objects, whose keys become the field `_key`.
pub(super) fn jsons(reader: impl Read, take: &mut Take<'_>) -> Result<(), String> {
    let mut document = serde_json::Deserializer::from_reader(reader);
    let mut number = 0;
    Document { take, number: &mut number, depth: 0, key: None }
        .deserialize(&mut document)
        .and_then(|()| document.end())
        .map_err(|error| format!("expected JSON, got: {error}"))
}

struct Document<'t, 'a> {
    take: &'t mut Take<'a>,
    number: &'t mut u64,
    /// 0 for the document, 1 for what stands in its object, 2 for a list's element.
    depth: u8,
    key: Option<String>,
}

impl Document<'_, '_> {
    fn row(&mut self, row: Result<Row, String>) -> Result<(), String> {
        *self.number += 1;
        (self.take)(format!(" row {}", self.number), row)
    }

    fn scalar<E>(mut self, what: &str) -> Result<(), E>
    where
        E: serde::de::Error,
    {
        match self.depth {
            0 => Err(E::custom(format!("expected a list or an object of rows, got {what}"))),
            1 => Ok(()),
            _ => self.row(Err(format!("expected an object, got {what}"))).map_err(E::custom),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        if self.depth == 2 {
            while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
            return self.row(Err("expected an object, got a list".to_owned())).map_err(A::Error::custom);
        }
        let (take, number) = (self.take, self.number);
        while seq.next_element_seed(Document { take, number, depth: 2, key: None })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        if self.depth > 0 {
            let mut row = Row::new();
            if let Some(key) = self.key.take() {
                row.insert(KEY.to_owned(), Value::String(key));
            }
            while let Some((key, value)) = map.next_entry::<String, Value>()? {
                row.insert(key, value);
            }
            return self.row(Ok(row)).map_err(A::Error::custom);
        }
        let (take, number) = (self.take, self.number);
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(Document { take, number, depth: 1, key: Some(key) })?;
        }
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar("true or false")
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar("a number")
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar("a number")
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar("a number")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar("a text")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar("null")
    }
}

/// The column names in a CSV file's first record.
pub(super) fn csv_header(file: &mut File) -> Result<Vec<String>, String> {
    file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let header = reader.headers().map_err(|error| format!("expected a line of column names, got: {error}"))?;
    let names: Vec<String> = header.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect();
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || names[..index].contains(name) {
            return Err(format!("1: expected column names that differ, got `{name}` as number {}", index + 1));
        }
    }
    if names.is_empty() {
        return Err("1: expected a line of column names, got none".to_owned());
    }
    Ok(names)
}

/// Reads a CSV file's records; all values are texts.
pub(super) fn csvs(file: &mut File, columns: &[String], each: &mut Each<'_>) -> Result<(), String> {
    file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let mut record = csv::StringRecord::new();
    loop {
        let position = reader.position().clone();
        let begin = if position.byte() == 0 {
            // The header is read with the first record.
            reader.headers().map_err(|error| error.to_string())?;
            reader.position().clone()
        } else {
            position
        };
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let line = record.position().map_or(begin.line(), csv::Position::line);
                each(begin.byte(), line.to_string(), csv_row(&record, columns));
            }
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                each(begin.byte(), begin.line().to_string(), Err("expected UTF-8, got other bytes".to_owned()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn csv_row(record: &csv::StringRecord, columns: &[String]) -> Result<Row, String> {
    if record.len() != columns.len() {
        return Err(format!("expected {} values, got {}", columns.len(), record.len()));
    }
    Ok(columns.iter().zip(record).map(|(name, value)| (name.clone(), value.into())).collect())
}

/// The record at the place where `file` stands.
pub(super) fn csv_record(file: &mut File, columns: &[String]) -> Result<Row, String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(file);
    let mut record = csv::StringRecord::new();
    match reader.read_record(&mut record) {
        Ok(true) => csv_row(&record, columns),
        Ok(false) => Err("the end of the file".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
