//! JSON Lines and CSV, row by row.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use super::Row;
use super::json::{self, Decimals};
use super::table::LONGEST_LINE;

/// Takes a row, or what is wrong with it: the byte it begins at, its place in words, the row.
pub(super) type Each<'a> = dyn FnMut(u64, String, Result<Row, String>) + 'a;
/// Takes a row that has no place of its own in the file.
pub(super) type Take<'a> = dyn FnMut(String, Result<Row, String>) -> Result<(), String> + 'a;

/// The byte order mark of UTF-8.
pub(super) const MARK: &[u8] = b"\xef\xbb\xbf";

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
        // Editors of one system put a mark before the first line, and files are joined.
        let text = line.strip_prefix(MARK).unwrap_or(&line);
        let begin = offset + (line.len() - text.len()) as u64;
        if !text.iter().all(u8::is_ascii_whitespace) {
            each(begin, number.to_string(), json::row(text, Decimals::Floats));
        }
        offset += length as u64;
    }
}

/// The column names in a CSV file's first record.
pub(super) fn csv_header(file: &mut File) -> Result<Vec<String>, String> {
    file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let header = reader.headers().map_err(|error| format!("expected a line of column names, got: {error}"))?;
    // A column without a name is pandas' index; it gets the name that pandas gives it.
    let name = |(index, name): (usize, &str)| match name.trim_start_matches('\u{feff}').trim() {
        "" => format!("Unnamed: {index}"),
        name => name.to_owned(),
    };
    let names: Vec<String> = header.iter().enumerate().map(name).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
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
