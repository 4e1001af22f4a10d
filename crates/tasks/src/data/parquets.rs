//! Parquet, one row group after the other.

use std::fs::File;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use serde_json::Value;

use super::formats::Take;

/// Reads all rows. At no time more than a batch of a row group's columns is decoded.
pub(super) fn parquets(file: File, take: &mut Take<'_>) -> Result<(), String> {
    let wrong = |error: parquet::errors::ParquetError| format!("expected a Parquet file, got: {error}");
    let reader = SerializedFileReader::new(file).map_err(wrong)?;
    let mut number = 0_u64;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(wrong)?;
        for row in RowIter::from_row_group(None, group.as_ref()).map_err(wrong)? {
            number += 1;
            // A column that cannot be decoded once cannot be later either.
            let row = row.map_err(|error| format!(" row {number}: {error}"))?;
            let Value::Object(row) = row.to_json_value() else {
                return Err(format!(" row {number}: expected named columns"));
            };
            take(format!(" row {number}"), Ok(row))?;
        }
    }
    Ok(())
}
