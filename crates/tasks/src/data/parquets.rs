//! Parquet, one row group after the other.

use std::fs::File;

use minijinja::Value;
use num_bigint::{BigInt, Sign};
use parquet::data_type::Decimal;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;

use super::formats::Take;
use super::json;

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
            let row = row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect();
            take(format!(" row {number}"), Ok(row))?;
        }
    }
    Ok(())
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::from(()),
        Field::Bool(value) => Value::from(*value),
        Field::Byte(n) => Value::from(*n),
        Field::Short(n) => Value::from(*n),
        Field::Int(n) => Value::from(*n),
        Field::Long(n) => Value::from(*n),
        Field::UByte(n) => Value::from(*n),
        Field::UShort(n) => Value::from(*n),
        Field::UInt(n) => Value::from(*n),
        Field::ULong(n) => Value::from(*n),
        Field::Float16(n) => float(shortest_of_half(f64::from(*n))),
        // The shortest decimal that is this number among those of 32 bits.
        Field::Float(n) => float(n.to_string().parse().unwrap_or(f64::NAN)),
        Field::Double(n) => float(*n),
        Field::Decimal(decimal) => of_decimal(decimal),
        Field::Str(text) => Value::from(text.as_str()),
        // As Base64, which JSON can hold.
        Field::Bytes(_) => Value::from_serialize(field.to_json_value()),
        Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_) => Value::from(field.to_string()),
        Field::Group(row) => row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => map.entries().iter().map(|(key, field)| (value(key), value(field))).collect(),
    }
}

/// A number that is none, or infinite, is null: JSON has no word for it.
fn float(value: f64) -> Value {
    if value.is_finite() { Value::from(value) } else { Value::from(()) }
}

/// The shortest decimal that is nearer to a number of 16 bits than to its neighbours.
fn shortest_of_half(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    // Ten bits behind the first; the smallest numbers share an exponent.
    let exponent = value.abs().log2().floor().max(-14.0);
    let spacing = (exponent - 10.0).exp2();
    let near = |decimal: &f64| (decimal - value).abs() < spacing / 2.0;
    (0..5).filter_map(|digits| format!("{value:.digits$e}").parse().ok()).find(near).unwrap_or(value)
}

/// A decimal number: a whole one where it has no fraction by its type.
fn of_decimal(decimal: &Decimal) -> Value {
    let unscaled = BigInt::from_signed_bytes_be(decimal.data());
    let Some(fraction) = usize::try_from(decimal.scale()).ok().filter(|scale| *scale > 0) else {
        let zeros = "0".repeat(usize::try_from(decimal.scale().unsigned_abs()).unwrap_or(0));
        return json::whole(&format!("{unscaled}{zeros}")).unwrap_or_default();
    };
    let digits = format!("{:0>width$}", unscaled.magnitude(), width = fraction + 1);
    let (whole, behind) = digits.split_at(digits.len() - fraction);
    let sign = if unscaled.sign() == Sign::Minus { "-" } else { "" };
    json::decimal(&format!("{sign}{whole}.{behind}"))
}

#[cfg(test)]
mod tests {
    use parquet::data_type::ByteArray;

    use super::*;

    #[test]
    fn decimals_are_exact() {
        let bytes = |text: &str, scale| {
            let number: BigInt = text.parse().unwrap();
            of_decimal(&Decimal::from_bytes(ByteArray::from(number.to_signed_bytes_be()), 38, scale)).to_string()
        };
        let nines = "9".repeat(38);
        assert_eq!(bytes(&nines, 0), nines);
        assert_eq!(bytes("-1180591620717411303424", 0), "-1180591620717411303424");
        assert_eq!(bytes(&nines, 2), format!("{}.{}", &nines[2..], "99"));
        for (value, scale, expected) in
            [(150, 2, "1.5"), (-5, 3, "-0.005"), (500, 2, "5.0"), (7, 0, "7"), (0, 2, "0.0")]
        {
            assert_eq!(of_decimal(&Decimal::from_i32(value, 9, scale)).to_string(), expected);
        }
    }

    #[test]
    fn short_floats_are_their_shortest_decimals() {
        assert_eq!(value(&Field::Float(0.1)).to_string(), "0.1");
        assert_eq!(value(&Field::Float(16_777_216.0)).to_string(), "16777216.0");
        for (half, expected) in
            [(0.099_975_585_937_5, 0.1), (0.333_251_953_125, 0.3333), (65504.0, 65500.0), (2.5, 2.5)]
        {
            assert_eq!(shortest_of_half(half), expected);
        }
        assert!(value(&Field::Double(f64::NAN)).is_none());
    }
}
