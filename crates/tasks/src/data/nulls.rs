//! Nulls that templates would show as a word.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Value;
use minijinja::value::{Object, ObjectRepr, ValueKind};

use super::json::entries;

/// The word that the template engine has for null.
const WORD: &str = "None";

/// Watches for nulls that become part of a text.
pub(super) struct Nulls;

impl Nulls {
    /// Whether `text`, which was made of `row`, shows a null as a word. Where that may be, `again` makes it once more of a
    /// row whose nulls notice that they are shown.
    ///
    /// # Errors
    /// The field that is null.
    pub(super) fn check(text: &str, row: &Value, again: &dyn Fn(&Value) -> bool) -> Result<(), String> {
        let said = text.as_bytes().windows(WORD.len()).any(|part| part.eq_ignore_ascii_case(WORD.as_bytes()));
        if !said || !holds_null(row) {
            return Ok(());
        }
        let shown = Arc::default();
        // Where the watched row fails, templates compare with none by other ways than `is none`.
        again(&watched(row, "", &shown));
        match &*shown.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(field) => Err(format!(
                "expected a value for `{field}`, got null (`{field} is none` tests for it, `{field}|default('', true)` stands in)"
            )),
            None => Ok(()),
        }
    }

    /// The test `none`, also for a null that is watched.
    pub(super) fn is_null(value: &Value) -> bool {
        value.is_none() || value.downcast_object_ref::<Watched>().is_some()
    }
}

fn holds_null(value: &Value) -> bool {
    match value.kind() {
        ValueKind::None => true,
        ValueKind::Seq => value.try_iter().is_ok_and(|mut items| items.any(|item| holds_null(&item))),
        ValueKind::Map => entries(value).any(|(_, value)| holds_null(&value)),
        _ => false,
    }
}

/// `value` with its nulls watched.
fn watched(value: &Value, field: &str, shown: &Arc<Mutex<Option<String>>>) -> Value {
    match value.kind() {
        ValueKind::None => Value::from_object(Watched { field: field.to_owned(), shown: Arc::clone(shown) }),
        ValueKind::Seq => value.try_iter().into_iter().flatten().map(|item| watched(&item, field, shown)).collect(),
        ValueKind::Map => {
            let within = |name: &Value| if field.is_empty() { name.to_string() } else { format!("{field}.{name}") };
            entries(value).map(|(name, value)| (name.clone(), watched(&value, &within(&name), shown))).collect()
        }
        _ => value.clone(),
    }
}

/// A null that notes its field where it is shown.
struct Watched {
    field: String,
    shown: Arc<Mutex<Option<String>>>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| self.field.clone());
        f.write_str(WORD)
    }
}

impl Object for Watched {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
