//! Filters as jinja2 and transformers have them, where minijinja's differ.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::{methods, python};

/// What jinja2's filters of texts do first: `str(value)`.
pub(super) fn of_text(
    name: &'static str,
    behind: &'static str,
) -> impl Fn(&State<'_, '_>, Rest<Value>) -> Result<Value, Error> {
    move |state, mut values| {
        if let Some(value) = values.first_mut()
            && value.as_str().is_none()
        {
            *value = Value::from(python::text(value)?);
        }
        let text = values.first().and_then(Value::as_str).unwrap_or_default();
        match name {
            "trim" => {
                let (_, chars): (&Value, Option<&str>) = minijinja::value::from_args(&values)?;
                Ok(Value::from(methods::strip(text, chars, true, true)))
            }
            "capitalize" => methods::call(state, &values[0], name, &values[1..]),
            _ => state.apply_filter(behind, &values),
        }
    }
}

/// A list with a text between its items, as jinja2 joins them.
pub(super) fn join(value: &Value, given: Rest<Value>) -> Result<String, Error> {
    let (between, attribute, named): (Option<Value>, Option<Value>, Kwargs) = minijinja::value::from_args(&given)?;
    let between = between.or(named.get("d")?).map_or_else(|| Ok(String::new()), |value| python::text(&value))?;
    let attribute = attribute.or(named.get("attribute")?);
    named.assert_all_used()?;
    let mut out = String::new();
    for (index, item) in walk(value)?.try_iter()?.enumerate() {
        let item = match attribute.as_ref().map(|name| (name.as_str(), name)) {
            None => item,
            Some((Some(path), _)) => path.split('.').try_fold(item, |item, name| item.get_item(&Value::from(name)))?,
            Some((None, name)) => item.get_item(name)?,
        };
        out.push_str(if index > 0 { &between } else { "" });
        out.push_str(&python::text(&item)?);
    }
    Ok(out)
}

/// `str.replace`, of all places or the first so many.
pub(super) fn replace(value: &Value, old: &str, new: &str, most: Option<i64>) -> Result<String, Error> {
    let text = python::text(value)?;
    Ok(match most.and_then(|most| usize::try_from(most).ok()) {
        Some(most) => text.replacen(old, new, most),
        None => text.replace(old, new),
    })
}

/// Python's `int` and `float` of a value, or another where it is none.
pub(super) fn whole(value: &Value, given: Rest<Value>) -> Result<Value, Error> {
    let (default, named): (Option<Value>, Kwargs) = minijinja::value::from_args(&given)?;
    let default = default.or(named.get("default")?).unwrap_or_else(|| Value::from(0));
    named.assert_all_used()?;
    if let Some(text) = value.as_str() {
        let text = text.trim();
        let number =
            text.parse::<i64>().ok().or_else(|| text.parse::<f64>().ok().filter(|x| x.is_finite()).map(|x| x as i64));
        return Ok(number.map_or(default, Value::from));
    }
    Ok(match value.kind() {
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value.clone(),
        ValueKind::Number => f64::try_from(value.clone()).map_or(default, |x| Value::from(x as i64)),
        _ => default,
    })
}

/// See [`whole`].
pub(super) fn decimal(value: &Value, given: Rest<Value>) -> Result<Value, Error> {
    let (default, named): (Option<Value>, Kwargs) = minijinja::value::from_args(&given)?;
    let default = default.or(named.get("default")?).unwrap_or_else(|| Value::from(0.0));
    named.assert_all_used()?;
    if let Some(text) = value.as_str() {
        return Ok(text.trim().parse::<f64>().map_or(default, Value::from));
    }
    Ok(match value.kind() {
        ValueKind::Bool => Value::from(f64::from(u8::from(value.is_true()))),
        _ => f64::try_from(value.clone()).map_or(default, Value::from),
    })
}

/// jinja2's `round`, which rounds halves to even digits.
pub(super) fn round(value: &Value, places: Option<usize>, method: Option<&str>) -> Result<Value, Error> {
    let places = places.unwrap_or(0).min(300);
    if value.is_integer() {
        return Ok(value.clone());
    }
    let x = f64::try_from(value.clone())?;
    let scale = 10_f64.powi(places as i32);
    Ok(Value::from(match method.unwrap_or("common") {
        "common" => format!("{x:.places$}").parse().unwrap_or(x),
        "ceil" => (x * scale).ceil() / scale,
        "floor" => (x * scale).floor() / scale,
        other => {
            let what = format!("round: expected common, ceil or floor, got {other}");
            return Err(Error::new(ErrorKind::InvalidOperation, what));
        }
    }))
}

/// Python's `%`: a text's places filled in, or what is left of a division, with the divisor's sign.
pub(super) fn percent(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    if left.as_str().is_some() {
        let mut values = vec![left.clone()];
        // A list in brackets is one value to Python and several to the library, which has no tuples: several are usual.
        match right.kind() {
            ValueKind::Seq => values.extend(right.try_iter()?),
            ValueKind::Map => values.push(
                right
                    .try_iter()?
                    .map(|key| {
                        let text = python::text(&key)?;
                        Ok((text, right.get_item(&key)?))
                    })
                    .collect::<Result<Kwargs, Error>>()?
                    .into(),
            ),
            _ => values.push(right.clone()),
        }
        return state.apply_filter("format", &values);
    }
    let whole = |value: &Value| value.is_integer().then(|| i64::try_from(value.clone()).ok()).flatten();
    let number = |value: &Value| f64::try_from(value.clone()).ok().filter(|_| value.kind() == ValueKind::Number);
    let wrong = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    match ((whole(left), whole(right)), (number(left), number(right))) {
        ((_, Some(0)), _) => Err(wrong("integer modulo by zero".to_owned())),
        ((Some(a), Some(b)), _) => Ok(Value::from((i128::from(a) % i128::from(b) + i128::from(b)) % i128::from(b))),
        (_, (Some(a), Some(b))) if b != 0.0 => Ok(Value::from(a - b * (a / b).floor())),
        _ => Err(wrong(format!("unsupported operands of %: {} and {}", left.kind(), right.kind()))),
    }
}

/// What Python can walk through: neither None nor a number, though nothing at all where a variable is undefined.
pub(super) fn walk(value: &Value) -> Result<Value, Error> {
    if matches!(value.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number) {
        let what = format!("expected something to iterate over, got {}", python::repr(value)?);
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    Ok(value.clone())
}

/// `len(value)`; an undefined variable has none.
pub(super) fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value
        .len()
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("object of type {} has no len()", value.kind())))
}

/// Python's `json.dumps(value, ensure_ascii=False)` with its keywords, as transformers hands them on.
pub(super) fn tojson(value: &Value, given: Rest<Value>) -> Result<Value, Error> {
    type Positions = (Option<bool>, Option<Value>, Option<Value>, Option<bool>, Kwargs);
    let (ascii, indent, separators, sorted, options): Positions = minijinja::value::from_args(&given)?;
    let wrong = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    let given = |place: Option<Value>, name: &str| -> Result<Option<Value>, Error> {
        Ok(place.or(options.get(name)?).filter(|value| !value.is_none()))
    };
    let indent = match given(indent, "indent")? {
        None => None,
        Some(value) => Some(match (value.as_str(), i64::try_from(value.clone())) {
            (Some(text), _) if text.len() <= 64 => text.to_owned(),
            (None, Ok(n)) if n <= 64 => " ".repeat(n.max(0) as usize),
            _ => return Err(wrong("tojson: expected an indent of at most 64".to_owned())),
        }),
    };
    let separators = match given(separators, "separators")? {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => {
            let pair: Vec<String> = pair.try_iter()?.filter_map(|part| part.as_str().map(str::to_owned)).collect();
            let [between, after] = <[String; 2]>::try_from(pair)
                .map_err(|_| wrong("tojson: expected two texts as separators".to_owned()))?;
            (between, after)
        }
    };
    let ascii = ascii.or(options.get("ensure_ascii")?).unwrap_or(false);
    let sorted = sorted.or(options.get("sort_keys")?).unwrap_or(false);
    options.assert_all_used()?;
    Ok(Value::from_safe_string(python::Json { ascii, indent, separators, sorted }.write(value)?))
}
