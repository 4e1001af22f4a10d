//! Chat templates: Jinja as Hugging Face's transformers runs it.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use relign_core::Message;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// A compiled chat template.
///
/// Python's string and dict methods, loop controls, `raise_exception`, `strftime_now` and Python's
/// `tojson` are there, `{% generation %}` blocks are transparent, and blocks are trimmed as
/// transformers trims them. `strftime_now` reads the clock in UTC, or `SOURCE_DATE_EPOCH` where that
/// is set, which runs that must repeat to the byte need with templates that print the date.
pub struct Template {
    environment: Environment<'static>,
    source: String,
    /// `bos_token`, `eos_token` and so on.
    specials: BTreeMap<String, String>,
}

const NAME: &str = "chat_template";

impl Template {
    /// Compiles a template. `specials` are the variables for special tokens, by name.
    ///
    /// # Errors
    /// If it is not valid Jinja; the message names the line.
    pub fn new(source: &str, specials: BTreeMap<String, String>) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(python_words);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_template_owned(NAME, transparent_generation(source)).map_err(|e| explain(&e))?;
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
        template.render(variables).map_err(|e| explain(&e))
    }
}

fn explain(error: &Error) -> String {
    let place = error.line().map_or_else(String::new, |line| format!(" (line {line} of the template)"));
    format!("chat template: {}{place}", error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))
}

/// transformers marks the model's words with `{% generation %}`, which only training masks need.
fn transparent_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(len) = rest[start..].find("%}") else { break };
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
fn python_words(out: &mut minijinja::Output<'_>, state: &minijinja::State<'_, '_>, value: &Value) -> Result<(), Error> {
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
    options.assert_all_used()?;
    let fail = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut out = Vec::new();
    if let Some(indent) = indent {
        let indent = " ".repeat(indent);
        let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter)).map_err(fail)?;
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, PythonSpacing)).map_err(fail)?;
    }
    Ok(Value::from_safe_string(String::from_utf8_lossy(&out).into_owned()))
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
    strftime(format, now).map_err(|what| Error::new(ErrorKind::InvalidOperation, what))
}

/// The C library's strftime in English and UTC, for the conversions that templates use.
fn strftime(format: &str, seconds: u64) -> Result<String, String> {
    use std::fmt::Write as _;
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS[(days % 7) as usize];
    // Howard Hinnant's civil_from_days: years begin in March, eras have 400 years.
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let name = MONTHS[month as usize - 1];

    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let written = match chars.next() {
            Some('Y') => write!(out, "{year}"),
            Some('y') => write!(out, "{:02}", year % 100),
            Some('m') => write!(out, "{month:02}"),
            Some('d') => write!(out, "{day:02}"),
            Some('e') => write!(out, "{day:2}"),
            Some('B') => write!(out, "{name}"),
            Some('b') => write!(out, "{}", &name[..3]),
            Some('A') => write!(out, "{weekday}"),
            Some('a') => write!(out, "{}", &weekday[..3]),
            Some('H') => write!(out, "{:02}", time / 3600),
            Some('M') => write!(out, "{:02}", time / 60 % 60),
            Some('S') => write!(out, "{:02}", time % 60),
            Some('%') => write!(out, "%"),
            other => return Err(format!("strftime_now: expected one of %YymdeBbAaHMS, got %{}", other.unwrap_or(' '))),
        };
        written.map_err(|e| e.to_string())?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message]) -> Result<String, String> {
        let specials = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
        Template::new(source, specials)?.render(messages, true)
    }

    #[test]
    fn dates_are_those_of_the_c_library() {
        // date -u -d @1709211723 "+%A %a %d %e %B %b %Y %y-%m %H:%M:%S"
        let text = strftime("%A %a %d %e %B %b %Y %y-%m %H:%M:%S", 1_709_211_723).expect("known conversions");
        assert_eq!(text, "Thursday Thu 29 29 February Feb 2024 24-02 13:02:03");
        assert_eq!(strftime("%d %b %Y", 0).expect("known"), "01 Jan 1970");
        assert!(strftime("%Q", 0).expect_err("unknown").contains("got %Q"));
    }

    #[test]
    fn the_templates_own_refusal_is_the_message() {
        let error = render("{{ raise_exception('roles must alternate') }}", &[]).expect_err("refuses");
        assert!(error.contains("roles must alternate"), "{error}");
        assert!(render("{% if %}", &[]).expect_err("no Jinja").contains("line 1"));
    }

    #[test]
    fn python_idioms_work() {
        let messages = [Message::user(" hé \"x\" "), Message::assistant("<think>a</think>b")];
        for (source, expected) in [
            ("{{ bos_token }}{{ messages[0].content.strip() }}", "<s>hé \"x\""),
            ("{{ messages[0]['content'] | trim }}{{ none_such }}", "hé \"x\""),
            ("{{ messages[1].content.split('</think>')[-1] }}", "b"),
            ("{{ messages[0].content.startswith(' h') }}", "True"),
            ("{{ {'b': 1, 'a': ['é', none]} | tojson }}", "{\"b\": 1, \"a\": [\"é\", null]}"),
            ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
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
