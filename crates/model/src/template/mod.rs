//! Chat templates: Jinja as Hugging Face's transformers runs it.

mod date;
mod filters;
mod methods;
mod python;
mod rewrite;

use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use relign_core::Message;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::guard::guarded;

/// A compiled chat template.
///
/// Python's string and dict methods, loop controls, `raise_exception`, `strftime_now` and Python's
/// `tojson` are there, `{% generation %}` blocks are transparent, and blocks are trimmed as
/// transformers trims them. `strftime_now` reads the clock in UTC, or `SOURCE_DATE_EPOCH` where that
/// is set, which runs that must repeat to the byte need with templates that print the date.
///
/// A template's steps, the sizes that it asks filters for and its output are limited, so that a hostile
/// one ends in an error. Not limited is the memory of values on the way: a loop that doubles a string.
pub struct Template {
    environment: Environment<'static>,
    source: String,
    /// `bos_token`, `eos_token` and so on.
    specials: BTreeMap<String, String>,
}

const NAME: &str = "chat_template";

/// Steps that a template may take: hundreds for each message are usual, a loop without end is not.
const FUEL: u64 = 5_000_000;

/// Bytes that a template may write besides the conversation itself.
const MOST: usize = 16 << 20;

impl Template {
    /// Compiles a template. `specials` are the variables for special tokens, by name.
    ///
    /// # Errors
    /// If it is not valid Jinja; the message names the line.
    pub fn new(source: &str, specials: BTreeMap<String, String>) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(python_method);
        environment.set_formatter(python_words);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", |format: &str| strftime_now(format, None));
        environment.add_filter("tojson", filters::tojson);
        environment.add_filter("pprint", pprint);
        for (name, behind) in BOUNDED {
            let bounded = move |state: &State<'_, '_>, values: Rest<Value>| {
                let widths =
                    *name != "format" || values.first().and_then(Value::as_str).is_none_or(|text| text.contains('*'));
                values.iter().take(if widths { usize::MAX } else { 1 }).try_for_each(modest)?;
                match *name {
                    "replace" => short(&values)?,
                    "join" => joined(&values)?,
                    _ => {}
                }
                state.apply_filter(behind, &values)
            };
            environment.add_filter(*name, bounded);
        }
        environment.add_filter(BOUNDED[0].1, minijinja::filters::batch);
        environment.add_filter(BOUNDED[1].1, minijinja::filters::slice);
        environment.add_filter(BOUNDED[2].1, minijinja::filters::indent);
        environment.add_filter(BOUNDED[3].1, minijinja::filters::format);
        environment.add_filter(BOUNDED[4].1, filters::replace);
        environment.add_filter(BOUNDED[5].1, filters::join);
        for (name, behind) in TEXTS {
            environment.add_filter(*name, filters::of_text(name, behind));
        }
        environment.add_filter(TEXTS[0].1, minijinja::filters::upper);
        environment.add_filter(TEXTS[1].1, minijinja::filters::lower);
        environment.add_filter(TEXTS[2].1, minijinja::filters::title);
        environment.add_filter("string", |value: &Value| python::text(value));
        environment.add_filter(rewrite::TEXT, |value: &Value| python::text(value));
        environment.add_test("sequence", |value: &Value| {
            !matches!(value.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number)
        });
        environment.add_test("number", |value: &Value| matches!(value.kind(), ValueKind::Bool | ValueKind::Number));
        environment.add_filter("round", filters::round);
        environment.add_filter(rewrite::PERCENT, filters::percent);
        environment.add_filter("int", filters::whole);
        environment.add_filter("float", filters::decimal);
        // Attributes are no keys.
        environment.add_filter("attr", |value: &Value, name: &str| match value.kind() {
            ValueKind::Map => Ok(Value::UNDEFINED),
            _ => value.get_attr(name),
        });
        environment.add_filter(rewrite::WALK, |value: &Value| filters::walk(value));
        environment.add_filter("length", |value: &Value| filters::length(value));
        environment.add_filter("count", |value: &Value| filters::length(value));
        environment.add_test("iterable", |value: &Value| {
            !matches!(value.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number) && value.try_iter().is_ok()
        });
        compile(&mut environment, rewrite::rewritten(source))?;
        Ok(Self { environment, source: source.to_owned(), specials })
    }

    /// The same, with the clock standing at `seconds` after the beginning of 1970.
    #[must_use]
    pub fn at(mut self, seconds: u64) -> Self {
        self.environment.add_function("strftime_now", move |format: &str| strftime_now(format, Some(seconds)));
        self
    }

    /// The template as it stands in the checkpoint.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation; with `answer`, ready for the model's next turn.
    ///
    /// # Errors
    /// If the template rejects the conversation; the message is the template's own.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, String> {
        self.render_with(messages, answer, &serde_json::Map::new())
    }

    /// The same with further variables, as `chat_template_kwargs` are for servers: `enable_thinking`, `tools`,
    /// `documents` and whatever else the template reads. Messages are anything that serializes as a list of them.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_with(
        &self,
        messages: &(impl Serialize + ?Sized),
        answer: bool,
        arguments: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<String, String> {
        let template = self.environment.get_template(NAME).map_err(|e| explain(&e))?;
        let messages = Value::from_serialize(messages);
        let most = MOST.saturating_add(text_in(&messages).saturating_mul(4));
        let text = |(name, text): (&String, &String)| (name.clone(), Value::from(text.as_str()));
        let mut variables: BTreeMap<String, Value> = self.specials.iter().map(text).collect();
        variables.extend(["tools", "documents"].map(|name| (name.to_owned(), Value::from(()))));
        variables.extend(arguments.iter().map(|(name, value)| (name.clone(), Value::from_serialize(value))));
        variables.insert("messages".to_owned(), messages);
        variables.insert("add_generation_prompt".to_owned(), Value::from(answer));
        let mut out = Bounded { text: Vec::new(), most };
        let rendered = guarded(|| template.render_captured_to(Value::from(variables), &mut out).map(drop));
        rendered.map_err(|e| format!("chat template: {e}"))?.map_err(|e| explain(&e))?;
        String::from_utf8(out.text).map_err(|e| format!("chat template: {e}"))
    }
}

/// How many bytes of text the values of a conversation hold.
fn text_in(value: &Value) -> usize {
    if let Some(text) = value.as_str() {
        return text.len();
    }
    match value.kind() {
        ValueKind::Seq => value.try_iter().map_or(0, |items| items.map(|item| text_in(&item)).sum()),
        ValueKind::Map => value
            .try_iter()
            .map_or(0, |keys| keys.map(|key| value.get_item(&key).map_or(0, |item| text_in(&item))).sum()),
        _ => 0,
    }
}

/// Filters that make as much as a number in the template says, and the names that the originals go by.
const BOUNDED: &[(&str, &str)] = &[
    ("batch", "relign batch"),
    ("slice", "relign slice"),
    ("indent", "relign indent"),
    ("format", "relign format"),
    ("replace", "relign replace"),
    ("join", "relign join"),
];

/// Filters that turn what they are given into text first, and the names that the originals go by.
const TEXTS: &[(&str, &str)] = &[
    ("upper", "relign upper"),
    ("lower", "relign lower"),
    ("title", "relign title"),
    ("trim", ""),
    ("capitalize", ""),
];

/// Refuses numbers that only serve to fill the memory, alone, among named arguments or in a format.
fn modest(value: &Value) -> Result<(), Error> {
    const MOST: i64 = 10_000;
    let refuse =
        || Err(Error::new(ErrorKind::InvalidOperation, format!("expected sizes of at most {MOST}, got {value}")));
    match value.kind() {
        ValueKind::Number if i64::try_from(value.clone()).is_ok_and(|n| n > MOST) => refuse(),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
            if digits > 4 && text.contains(['%', '{']) { refuse() } else { Ok(()) }
        }
        ValueKind::Map if value.is_kwargs() => {
            for key in value.try_iter()? {
                modest(&value.get_item(&key)?)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Refuses a replacement, of text, old and new, that could make more than a template may write.
fn short(values: &[Value]) -> Result<(), Error> {
    let len = |at: usize| values.get(at).and_then(Value::as_str).map_or(0, str::len);
    if (len(0) + 1).saturating_mul(len(2) + 1) > MOST {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("replace: expected at most {MOST} bytes to come of it"),
        ));
    }
    Ok(())
}

/// Refuses to join what would make more than a template may write: a text is joined letter by letter, so that a chain of
/// these doubles it.
fn joined(values: &[Value]) -> Result<(), Error> {
    let between = values.get(1).and_then(Value::as_str).map_or(0, str::len);
    let Some(value) = values.first() else { return Ok(()) };
    let total = match value.as_str() {
        Some(text) => text.len().saturating_mul(between + 1),
        // What cannot be walked through is the filter's to refuse.
        None => value.try_iter().map_or(0, |items| {
            items.fold(0_usize, |sum, item| sum.saturating_add(between + item.as_str().map_or(0, str::len)))
        }),
    };
    if total > MOST {
        let what = format!("join: expected at most {MOST} bytes to come of it");
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    Ok(())
}

/// `pprint.pformat` of what fits a line.
fn pprint(value: &Value) -> Result<String, Error> {
    let line = python::repr(value)?;
    if line.chars().count() > 80 {
        let what = "pprint: expected a value that fits a line of 80 characters, got a longer one";
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    Ok(line)
}

/// Python's methods of strings, lists and dicts.
fn python_method(state: &State<'_, '_>, value: &Value, method: &str, values: &[Value]) -> Result<Value, Error> {
    if method == "format" {
        modest(value)?;
        // A width can be a value of its own: `{:{}}`.
        let nested = value.as_str().is_some_and(|text| {
            text.split("{:").skip(1).any(|spec| {
                spec.starts_with(|c| c != '}') && spec.split('}').next().is_some_and(|spec| spec.contains('{'))
            })
        });
        if nested {
            values.iter().try_for_each(modest)?;
        }
    }
    if method == "join" {
        joined(&[values, std::slice::from_ref(value)].concat())?;
    }
    if method == "replace" {
        short(&[std::slice::from_ref(value), values].concat())?;
    }
    methods::call(state, value, method, values)
}

/// Compiles on a thread whose stack holds what the longest source can nest: the library's parser bounds the
/// depth of brackets and blocks, but not that of `not not not` or of `elif`.
fn compile(environment: &mut Environment<'static>, source: String) -> Result<(), String> {
    /// Published templates have up to some 30 KB.
    const LONGEST: usize = 128 << 10;
    const STACK: usize = 512 << 20;
    if source.len() > LONGEST {
        return Err(format!("chat template: expected at most {LONGEST} bytes, got {}", source.len()));
    }
    let work = || guarded(|| environment.add_template_owned(NAME, source));
    let outcome = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        thread
            .map_err(|e| format!("chat template: {e}"))?
            .join()
            .map_err(|_| "chat template: it cannot be read".to_owned())?
    });
    outcome?.map_err(|e| explain(&e))
}

/// Takes text up to a limit.
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.most - self.text.len() {
            return Err(std::io::Error::other(format!("expected at most {} bytes of text, got more", self.most)));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn explain(error: &Error) -> String {
    let place = error.line().map_or_else(String::new, |line| format!(" (line {line} of the template)"));
    // The writer's own words, where its limit was reached.
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("chat template: {}{cause}{place}", error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))
}

/// Prints values as Python does.
fn python_words(out: &mut minijinja::Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Undefined => minijinja::escape_formatter(out, state, value),
        _ => out.write_str(&python::text(value)?).map_err(Error::from),
    }
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

fn strftime_now(format: &str, at: Option<u64>) -> Result<String, Error> {
    let pinned = || std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|s| s.trim().parse().ok());
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let now = at.or_else(pinned).unwrap_or_else(clock);
    date::strftime(format, now).map_err(|what| Error::new(ErrorKind::InvalidOperation, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message]) -> Result<String, String> {
        let specials = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
        Template::new(source, specials)?.render(messages, true)
    }

    #[test]
    fn the_templates_own_refusal_is_the_message() {
        let error = render("{{ raise_exception('roles must alternate') }}", &[]).expect_err("refuses");
        assert!(error.contains("roles must alternate"), "{error}");
        assert!(render("{% if %}", &[]).expect_err("no Jinja").contains("line 1"));
    }

    #[test]
    fn hostile_templates_end_in_an_error() {
        let messages = [Message::user("x".repeat(100))];
        for (source, said) in [
            ("{% for a in range(9000) %}{% for b in range(9000) %}x{% endfor %}{% endfor %}", "fuel"),
            ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "recursion"),
            ("{% for a in range(300) %}{{ 'a' * 99999 }}{% endfor %}", "bytes of text"),
            ("{{ messages | slice(1000000000) | list }}", "at most 10000"),
            ("{{ messages | batch(1000000000, 'x') | list }}", "at most 10000"),
            ("{{ 'a' | indent(width=1000000000) }}", "at most 10000"),
            ("{{ '%99999999999d' | format(1) }}", "at most 10000"),
            ("{{ '{:99999999999}'.format(1) }}", "at most 10000"),
            ("{{ [1] | tojson(indent=1000000000) }}", "at most 64"),
            (&format!("{{{{ 'a' {} }}}}", "| tojson ".repeat(60)), "bytes of text"),
            (&format!("{{{{ 'a' {} }}}}", "| replace('', 'xxxxxxxx') ".repeat(60)), "to come of it"),
            (&format!("{{{{ 'a'{} }}}}", ".replace('', 'xxxxxxxx')".repeat(60)), "to come of it"),
            (&format!("{{{{ 'a\"' {} }}}}", "| pprint ".repeat(60)), "a line of 80"),
            (&format!("{{{{ 'role' {} }}}}", "| join(',') ".repeat(60)), "to come of it"),
            ("{{ messages[::0] }}", ""),
            ("{%}", ""),
            ("{%", ""),
            (
                "{% set x = messages[0:0][::-1] %}{{ x[::-2] | list }}{{ ([] * 3)[::-1] | list }}{{ nothing.at.all }}",
                "",
            ),
            (&"{% if 1 %}".repeat(5000), ""),
            (&format!("{{{{ {}1 }}}}", "(".repeat(5000)), ""),
            (&format!("{{{{ {}1 }}}}", "not ".repeat(50_000)), "at most 131072 bytes"),
            (&format!("{{{{ {}x( }}}}", "not ".repeat(30_000)), ""),
            (&format!("{{{{ {}x( }}}}", "-".repeat(130_000)), ""),
            (&format!("{{% if 1 %}}{}", "{% elif 1 %}".repeat(10_000)), ""),
        ] {
            let error = render(source, &messages).expect_err(&source[..source.len().min(80)]);
            assert!(error.contains(said), "{source}: {error}");
        }
        // No error, and no stack that is too small for it either.
        assert!(render(&format!("{{{{ 1{} / 0 }}}}", "+1".repeat(60_000)), &messages).is_ok());
    }

    #[test]
    fn python_idioms_work() {
        let messages = [Message::user(" hé \"x\" "), Message::assistant("<think>a</think>b")];
        for (source, expected) in [
            ("{{ bos_token }}{{ messages[0].content.strip() }}", "<s>hé \"x\""),
            ("{{ messages[0]['content'] | trim }}{{ none_such }}", "hé \"x\""),
            ("{{ messages[1].content.split('</think>')[-1] }}", "b"),
            ("{{ 'aba'.count('a') }}{{ 'aba'.count('') }}", "24"),
            ("{{ messages[0].content.startswith(' h') }}", "True"),
            ("{{ {'b': 1, 'a': ['é', none]} | tojson }}", "{\"b\": 1, \"a\": [\"é\", null]}"),
            ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
            ("{{ 'ab' | join('-') }}{{ ['a', 1] | join(', ') }}{{ [1, 'x'] | pprint }}", "a-ba, 1[1, 'x']"),
            (
                "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% endfor %}",
                "assistant",
            ),
            ("a{%- generation -%} b {%- endgeneration %}\nc\n", "abc"),
            ("  {% set ns = namespace(x=1) %}\n{% set ns.x = 2 %}\n{{ ns.x }}", "2"),
            ("{{ tools is none }}{{ messages | length }}{{ messages[::-1][0].role }}", "True2assistant"),
        ] {
            assert_eq!(render(source, &messages).as_deref(), Ok(expected), "{source}");
        }
    }
}
