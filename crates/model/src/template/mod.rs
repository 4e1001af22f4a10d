//! Chat templates: Jinja as Hugging Face's transformers runs it.

mod date;

use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, context};
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
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_filter("pprint", pprint);
        for (name, behind) in BOUNDED {
            let bounded = move |state: &State<'_, '_>, values: Rest<Value>| {
                values.iter().try_for_each(modest)?;
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
        environment.add_filter(BOUNDED[4].1, minijinja::filters::replace);
        environment.add_filter(BOUNDED[5].1, minijinja::filters::join);
        let source_seen = transparent_generation(source);
        compile(&mut environment, source_seen)?;
        Ok(Self { environment, source: source.to_owned(), specials })
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
        let template = self.environment.get_template(NAME).map_err(|e| explain(&e))?;
        let variables = context! {
            messages => messages,
            add_generation_prompt => answer,
            tools => (),
            documents => (),
            ..Value::from_serialize(&self.specials)
        };
        let said: usize = messages.iter().map(|message| message.content.len()).sum();
        let mut out = Bounded { text: Vec::new(), most: MOST.saturating_add(said.saturating_mul(4)) };
        let rendered = guarded(|| template.render_captured_to(variables, &mut out).map(drop));
        rendered.map_err(|e| format!("chat template: {e}"))?.map_err(|e| explain(&e))?;
        String::from_utf8(out.text).map_err(|e| format!("chat template: {e}"))
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

/// A value as it would be written in a template. As with `tojson`, a chain of these grows without end.
fn pprint(value: &Value) -> Result<String, Error> {
    let mut out = Bounded { text: Vec::new(), most: MOST };
    std::io::Write::write_fmt(&mut out, format_args!("{value:#?}"))
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))?;
    Ok(String::from_utf8_lossy(&out.text).into_owned())
}

/// Python's methods of strings, lists and dicts.
fn python_method(state: &State<'_, '_>, value: &Value, method: &str, values: &[Value]) -> Result<Value, Error> {
    if method == "format" {
        modest(value)?;
        values.iter().try_for_each(modest)?;
    }
    // The library would count the places of nothing for ever.
    if let ("count", Some(text), Some("")) = (method, value.as_str(), values.first().and_then(Value::as_str)) {
        return Ok(Value::from(text.chars().count() + 1));
    }
    if method == "join" {
        joined(&[values, std::slice::from_ref(value)].concat())?;
    }
    if method == "replace" {
        short(&[std::slice::from_ref(value), values].concat())?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, values)
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

/// transformers marks the model's words with `{% generation %}`, which only training masks need.
fn transparent_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        // After the `%` of the beginning: `{%}` is no tag.
        let Some(len) = rest[start + 2..].find("%}").map(|len| len + 2) else { break };
        let tag = &rest[start..start + len + 2];
        let word = tag[2..tag.len() - 2].trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        out.push_str(&rest[..start]);
        match word {
            "generation" => out.push_str(&tag.replacen(word, "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen(word, "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = &rest[start + len + 2..];
    }
    out.push_str(rest);
    out
}

/// Python prints its constants in its own way.
fn python_words(out: &mut minijinja::Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }).map_err(Error::from),
        ValueKind::None => out.write_str("None").map_err(Error::from),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn tojson(value: &Value, options: minijinja::value::Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    if indent.is_some_and(|indent| indent > 64) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: expected an indent of at most 64"));
    }
    options.assert_all_used()?;
    let fail = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    // Text that was written so before doubles its backslashes: a chain of these grows without end.
    let mut out = Bounded { text: Vec::new(), most: MOST };
    if let Some(indent) = indent {
        let indent = " ".repeat(indent);
        let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter)).map_err(fail)?;
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, PythonSpacing)).map_err(fail)?;
    }
    Ok(Value::from_safe_string(String::from_utf8_lossy(&out.text).into_owned()))
}

/// Python puts a blank after commas and colons.
struct PythonSpacing;

impl serde_json::ser::Formatter for PythonSpacing {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

fn strftime_now(format: &str) -> Result<String, Error> {
    let pinned = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|s| s.trim().parse().ok());
    let now = pinned.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()));
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
            (&format!("{{{{ 'a\"' {} }}}}", "| pprint ".repeat(60)), "bytes of text"),
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
            (
                "{{ 'ab' | join('-') }}{{ ['a', 1] | join(', ') }}{{ [1, 'x'] | pprint }}",
                "a-ba, 1[\n    1,\n    \"x\",\n]",
            ),
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
