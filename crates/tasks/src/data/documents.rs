//! Files that are one JSON document: rows in a list, rows by key, or columns.

use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, Read, Seek, SeekFrom};

use minijinja::Value;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Row;
use super::formats::{MARK, Take};
use super::json::{self, Decimals, Pairs};

/// The name under which a row knows the key it stood under, in a file that is an object of rows.
const KEY: &str = "_key";

/// The methods of a visitor that takes all values but lists and objects alike: a function of it and the kind of value.
macro_rules! scalars {
    ($value:ty, $made:expr) => {
        scalars!(@ $value, $made, visit_bool(bool) "true or false", visit_i64(i64) "a number", visit_u64(u64) "a number");
        scalars!(@ $value, $made, visit_f64(f64) "a number", visit_str(&str) "a text", visit_unit() "null");
    };
    (@ $value:ty, $made:expr, $($name:ident($($type:ty)?) $kind:literal),*) => {
        $(fn $name<E: serde::de::Error>(self, $(_: $type)?) -> Result<$value, E> {
            let made: fn(Self, &'static str) -> Result<$value, E> = $made;
            made(self, $kind)
        })*
    };
}

/// Reads one JSON document. It is one of:
///
/// - a list of rows;
/// - an object that holds such lists (what stands beside them is passed over);
/// - an object of rows, whose keys become the field `_key`;
/// - columns: an object of lists of one length, an object of objects with the same numbers as keys (what pandas writes), or
///   pandas' `split`: the columns' names, then rows as lists of values;
/// - one row: an object that holds neither lists nor objects.
///
/// Rows are read one after the other; columns need the whole file in memory.
pub(super) fn documents(file: &mut File, take: &mut Take<'_>) -> Result<(), String> {
    let wrong = |error: serde_json::Error| format!("expected JSON, got: {error}");
    let mut sketch = None;
    read(file, |reader| sketched(reader, &mut sketch))?.map_err(wrong)?;
    let shape = sketch.map_or(Ok(Shape::Rows { beside: true }), |entries: Vec<(String, Sketch)>| shape(&entries))?;
    if let Shape::Rows { beside } = shape {
        let mut rows = Rows { take, number: 0, beside };
        return read(file, |reader| whole(reader, Document { rows: &mut rows, depth: 0, key: None }))?.map_err(wrong);
    }
    let mut text = String::new();
    read(file, |reader| reader.read_to_string(&mut text))?.map_err(|error| error.to_string())?;
    if shape == Shape::One {
        return take(" row 1".to_owned(), json::row(text.as_bytes(), Decimals::Floats));
    }
    let Pairs(columns) = serde_json::from_str(&text).map_err(wrong)?;
    match shape {
        Shape::Split => split(&columns, take),
        _ => by_column(&columns, take),
    }
}

/// Has `with` read a file from its beginning, behind a byte order mark if there is one.
fn read<T>(file: &mut File, with: impl FnOnce(&mut BufReader<&mut File>) -> T) -> Result<T, String> {
    let wrong = |error: std::io::Error| error.to_string();
    let mut first = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(wrong)?;
    file.take(MARK.len() as u64).read_to_end(&mut first).map_err(wrong)?;
    let begin = if first == MARK { MARK.len() } else { 0 };
    file.seek(SeekFrom::Start(begin as u64)).map_err(wrong)?;
    Ok(with(&mut BufReader::with_capacity(1 << 16, file)))
}

/// A document's value, and nothing behind it.
fn whole<'de, S: DeserializeSeed<'de>>(reader: impl Read, seed: S) -> serde_json::Result<S::Value> {
    let mut document = serde_json::Deserializer::from_reader(reader);
    let value = seed.deserialize(&mut document)?;
    document.end().map(|()| value)
}

/// How an object's rows are written.
#[derive(Debug, PartialEq)]
enum Shape {
    /// As rows; `beside` tells whether objects that stand in the document's object are rows, too.
    Rows { beside: bool },
    /// Column by column.
    Columns,
    /// Names, then rows without names.
    Split,
    /// The document is a row.
    One,
}

/// What an entry of the document's object looks like.
#[derive(Debug, PartialEq)]
enum Sketch {
    Scalar,
    /// The length of a list and what it begins with.
    List(u64, First),
    /// Whether all keys of an object are numbers, and a hash of them.
    Object(bool, u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum First {
    Nothing,
    Object,
    List,
    Scalar,
}

fn shape(entries: &[(String, Sketch)]) -> Result<Shape, String> {
    let list = |name: &str| entries.iter().find(|(entry, _)| entry == name).map(|(_, sketch)| sketch);
    let named = entries.iter().all(|(name, _)| ["columns", "index", "data"].contains(&name.as_str()));
    if named
        && matches!(list("columns"), Some(Sketch::List(_, First::Scalar)))
        && matches!(list("data"), Some(Sketch::List(_, First::List | First::Nothing)))
    {
        return Ok(Shape::Split);
    }
    let first = entries.first().map(|(_, sketch)| sketch);
    if first.is_some() && entries.iter().all(|(_, sketch)| *sketch == Sketch::Scalar) {
        return Ok(Shape::One);
    }
    if matches!(first, Some(Sketch::Object(true, _))) && entries.iter().all(|(_, sketch)| Some(sketch) == first) {
        return Ok(Shape::Columns);
    }
    let rows = entries.iter().any(|(_, sketch)| matches!(sketch, Sketch::List(_, First::Object)));
    let column = |sketch: &Sketch| matches!(sketch, Sketch::List(_, First::List | First::Scalar));
    let lists = entries.iter().all(|(_, sketch)| matches!(sketch, Sketch::List(..)));
    if lists && entries.iter().any(|(_, sketch)| column(sketch)) {
        let lengths = |(name, sketch): &(String, Sketch)| match sketch {
            Sketch::List(length, _) => Some((name.clone(), *length)),
            _ => None,
        };
        let lengths: Vec<(String, u64)> = entries.iter().filter_map(lengths).collect();
        let Some(other) = lengths.iter().find(|(_, length)| *length != lengths[0].1) else { return Ok(Shape::Columns) };
        if !rows {
            let (a, b) = (&lengths[0], other);
            return Err(format!(
                "expected rows, or columns of one length, got {} values of `{}` and {} of `{}`",
                a.1, a.0, b.1, b.0
            ));
        }
    }
    Ok(Shape::Rows { beside: !rows })
}

fn sketched(reader: impl Read, into: &mut Option<Vec<(String, Sketch)>>) -> serde_json::Result<()> {
    whole(reader, Sketching(into))
}

/// Notes what the entries of the document's object look like; nothing where the document is no object.
struct Sketching<'a>(&'a mut Option<Vec<(String, Sketch)>>);

impl<'de> DeserializeSeed<'de> for Sketching<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Sketching<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an object of rows")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        *self.0 = Some(entries);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    scalars!((), |_, _| Ok(()));
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Entry)
    }
}

/// Reads a [`Sketch`].
struct Entry;

impl<'de> Visitor<'de> for Entry {
    type Value = Sketch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sketch, A::Error> {
        let Some(first) = seq.next_element::<Box<RawValue>>()? else { return Ok(Sketch::List(0, First::Nothing)) };
        let first = match first.get().as_bytes().first() {
            Some(b'{') => First::Object,
            Some(b'[') => First::List,
            _ => First::Scalar,
        };
        let mut length = 1;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            length += 1;
        }
        Ok(Sketch::List(length, first))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sketch, A::Error> {
        let (mut numbers, mut hash, mut count) = (true, DefaultHasher::new(), 0_u64);
        while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
            numbers &= key.parse::<i64>().is_ok();
            key.hash(&mut hash);
            count += 1;
        }
        Ok(Sketch::Object(numbers && count > 0, hash.finish()))
    }

    scalars!(Sketch, |_, _| Ok(Sketch::Scalar));
}

/// The rows of a document that holds them as rows.
struct Rows<'t, 'a> {
    take: &'t mut Take<'a>,
    number: u64,
    /// Whether objects beside lists of rows are rows, too.
    beside: bool,
}

impl Rows<'_, '_> {
    fn row<E: serde::de::Error>(&mut self, row: Result<Row, String>) -> Result<(), E> {
        self.number += 1;
        (self.take)(format!(" row {}", self.number), row).map_err(E::custom)
    }
}

/// The document, or what stands in its object.
struct Document<'r, 't, 'a> {
    rows: &'r mut Rows<'t, 'a>,
    /// 0 for the document, 1 for what stands in its object.
    depth: u8,
    key: Option<String>,
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Document<'_, '_, '_> {
    fn scalar<E: serde::de::Error>(&self, kind: &str) -> Result<(), E> {
        let wrong = || E::custom(format!("expected a list or an object of rows, got {kind}"));
        if self.depth == 0 { Err(wrong()) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Document<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an object of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<Box<RawValue>>()? {
            self.rows.row(json::row(raw.get().as_bytes(), Decimals::Floats))?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.depth == 0 {
            while let Some(key) = map.next_key::<String>()? {
                map.next_value_seed(Document { rows: &mut *self.rows, depth: 1, key: Some(key) })?;
            }
            return Ok(());
        }
        if !self.rows.beside {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut row = Row::new();
        row.extend(self.key.map(|key| (KEY.to_owned(), Value::from(key))));
        while let Some((name, raw)) = map.next_entry::<String, Box<RawValue>>()? {
            row.insert(name, json::parse(raw.get()).map_err(A::Error::custom)?);
        }
        self.rows.row(Ok(row))
    }

    scalars!((), |document, kind| document.scalar(kind));
}

/// Rows from columns: lists of values, or objects whose keys are the rows'.
fn by_column(columns: &[(String, &RawValue)], take: &mut Take<'_>) -> Result<(), String> {
    let wrong = |error: serde_json::Error| format!("expected JSON, got: {error}");
    let mut keys: Option<Vec<String>> = None;
    let mut read = Vec::with_capacity(columns.len());
    for (name, raw) in columns {
        let values = if raw.get().starts_with('{') {
            let Pairs(pairs) = serde_json::from_str(raw.get()).map_err(wrong)?;
            let (names, values): (Vec<String>, Vec<&RawValue>) = pairs.into_iter().unzip();
            keys.get_or_insert(names);
            values
        } else {
            serde_json::from_str(raw.get()).map_err(wrong)?
        };
        read.push((name, values));
    }
    for at in 0..read.first().map_or(0, |(_, values)| values.len()) {
        let key =
            keys.as_ref().and_then(|keys| keys.get(at)).map(|key| Ok((KEY.to_owned(), Value::from(key.as_str()))));
        let value = |(name, values): &(&String, Vec<&RawValue>)| {
            Ok(((*name).clone(), json::parse(values.get(at).map_or("null", |raw| raw.get()))?))
        };
        let row: serde_json::Result<Row> = key.into_iter().chain(read.iter().map(value)).collect();
        take(format!(" row {}", at + 1), row.map_err(wrong))?;
    }
    Ok(())
}

/// Rows from pandas' `split`.
fn split(entries: &[(String, &RawValue)], take: &mut Take<'_>) -> Result<(), String> {
    let wrong = |error: serde_json::Error| format!("expected JSON, got: {error}");
    let raw = |name: &str| entries.iter().find(|(entry, _)| entry == name).map_or("[]", |(_, raw)| raw.get());
    let names: Vec<&RawValue> = serde_json::from_str(raw("columns")).map_err(wrong)?;
    let names = names.into_iter().map(|name| serde_json::from_str(name.get()));
    let names: Vec<String> = names.collect::<serde_json::Result<_>>().map_err(wrong)?;
    let rows: Vec<Vec<&RawValue>> = serde_json::from_str(raw("data")).map_err(wrong)?;
    for (at, values) in rows.into_iter().enumerate() {
        let row = if values.len() == names.len() {
            let value = |(name, raw): (&String, &RawValue)| Ok((name.clone(), json::parse(raw.get())?));
            names.iter().zip(values).map(value).collect::<serde_json::Result<Row>>().map_err(wrong)
        } else {
            Err(format!("expected {} values, got {}", names.len(), values.len()))
        };
        take(format!(" row {}", at + 1), row)?;
    }
    Ok(())
}
