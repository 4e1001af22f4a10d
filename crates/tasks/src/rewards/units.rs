//! Units of everyday amounts, exactly.

use num_bigint::BigInt;
use num_rational::BigRational;

/// What a unit measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    /// How many: thousand, million.
    Count,
    Length,
    Mass,
    Time,
    Volume,
}

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    name: &'static str,
    pub(super) quantity: Quantity,
    /// What one of it is, in its quantity's first unit.
    pub(super) size: BigRational,
}

/// Spellings, the quantity and the size as a fraction. Sizes of inch, pound and gallon are those of the
/// international agreement of 1959 and of US law.
type Line = (&'static [&'static str], Quantity, u64, u64);

const UNITS: &[Line] = &[
    (&["thousand", "thousands"], Quantity::Count, 1_000, 1),
    (&["million", "millions", "mn"], Quantity::Count, 1_000_000, 1),
    (&["billion", "billions", "bn"], Quantity::Count, 1_000_000_000, 1),
    (&["trillion", "trillions"], Quantity::Count, 1_000_000_000_000, 1),
    (&["m", "meter", "meters", "metre", "metres"], Quantity::Length, 1, 1),
    (&["mm", "millimeter", "millimeters", "millimetre", "millimetres"], Quantity::Length, 1, 1_000),
    (&["cm", "centimeter", "centimeters", "centimetre", "centimetres"], Quantity::Length, 1, 100),
    (&["km", "kilometer", "kilometers", "kilometre", "kilometres"], Quantity::Length, 1_000, 1),
    (&["inch", "inches"], Quantity::Length, 254, 10_000),
    (&["ft", "foot", "feet"], Quantity::Length, 3_048, 10_000),
    (&["yd", "yard", "yards"], Quantity::Length, 9_144, 10_000),
    (&["mi", "mile", "miles"], Quantity::Length, 1_609_344, 1_000),
    (&["g", "gram", "grams"], Quantity::Mass, 1, 1),
    (&["mg", "milligram", "milligrams"], Quantity::Mass, 1, 1_000),
    (&["kg", "kilogram", "kilograms"], Quantity::Mass, 1_000, 1),
    (&["tonne", "tonnes"], Quantity::Mass, 1_000_000, 1),
    (&["lb", "lbs", "pound", "pounds"], Quantity::Mass, 45_359_237, 100_000),
    (&["oz", "ounce", "ounces"], Quantity::Mass, 45_359_237, 1_600_000),
    (&["s", "sec", "second", "seconds"], Quantity::Time, 1, 1),
    (&["ms", "millisecond", "milliseconds"], Quantity::Time, 1, 1_000),
    (&["min", "minute", "minutes"], Quantity::Time, 60, 1),
    (&["h", "hr", "hrs", "hour", "hours"], Quantity::Time, 3_600, 1),
    (&["day", "days"], Quantity::Time, 86_400, 1),
    (&["week", "weeks"], Quantity::Time, 604_800, 1),
    (&["l", "liter", "liters", "litre", "litres"], Quantity::Volume, 1, 1),
    (&["ml", "milliliter", "milliliters", "millilitre", "millilitres"], Quantity::Volume, 1, 1_000),
    (&["gallon", "gallons"], Quantity::Volume, 3_785_411_784, 1_000_000_000),
];

impl Unit {
    /// The unit that `text` begins with.
    pub(super) fn at(text: &str) -> Option<Self> {
        let text = text.trim_start_matches(|c: char| c.is_whitespace() || "$\\{}".contains(c));
        let text = text.strip_prefix("text").map_or(text, |inner| inner.trim_start_matches(['{', ' ']));
        let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
        // A power or a quotient of units is another unit.
        if text[end..].starts_with(['^', '/', '²', '³']) {
            return None;
        }
        let word = &text[..end];
        let (names, quantity, top, bottom) =
            UNITS.iter().find(|(names, ..)| names.iter().any(|name| name.eq_ignore_ascii_case(word)))?;
        Some(Self {
            name: names[names.len().min(2) - 1],
            quantity: *quantity,
            size: BigRational::new(BigInt::from(*top), BigInt::from(*bottom)),
        })
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// How many of `other` one of it is; none where they measure different things.
    pub(super) fn factor_to(&self, other: &Self) -> Option<BigRational> {
        (self.quantity == other.quantity).then(|| &self.size / &other.size)
    }
}
