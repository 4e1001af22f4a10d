//! Completions in the shapes that OpenAI-compatible servers give them.

use serde_json::{Value, json};

use crate::{Error, short};

/// Counts above this are no counts of tokens.
const MOST_TOKENS: u64 = 1 << 40;

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The model ended it, as far as the server tells.
    Stop,
    /// It met a stop string.
    StopString,
    /// It met the limit on tokens.
    Length,
}

/// The completion in an answer to a request for one.
///
/// # Errors
/// What was expected and got, where there is none.
pub fn choice(answer: &Value) -> Result<&Value, String> {
    let choices = answer.get("choices").and_then(Value::as_array);
    let first = |choices: &'_ Vec<Value>| choices.iter().position(|choice| choice.get("index") == Some(&json!(0)));
    let choice = choices.and_then(|choices| choices.get(first(choices).unwrap_or(0)));
    choice.ok_or_else(|| match answer.get("error").filter(|error| !error.is_null()) {
        Some(error) => format!("expected `choices`, got the error {}", short(error)),
        None => format!("choices: expected a list with one completion, got {}", of(answer.get("choices"))),
    })
}

/// The text of a completion without the reasoning that a server keeps apart. It is empty where there is nothing beside
/// reasoning, tool calls or a refusal.
///
/// # Errors
/// The place, what was expected there and what was got.
pub fn text(choice: &Value) -> Result<String, String> {
    let Some(message) = choice.get("message") else {
        return match choice.get("text") {
            Some(Value::String(text)) => Ok(text.clone()),
            other => Err(format!("choices[0].text: expected text, got {}", of(other))),
        };
    };
    match message.get("content") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Null) => Ok(String::new()),
        Some(Value::Array(parts)) => parts.iter().enumerate().map(part).collect(),
        Some(one @ Value::Object(_)) => part((0, one)),
        None if APART.iter().any(|key| message.get(key).is_some()) => Ok(String::new()),
        other => Err(format!("choices[0].message.content: expected text, got {}", of(other))),
    }
}

/// What may stand in a message without content.
const APART: [&str; 5] = ["reasoning_content", "reasoning", "tool_calls", "function_call", "refusal"];

/// The text of one part of a content in parts.
fn part((place, part): (usize, &Value)) -> Result<String, String> {
    let wrong = || format!("choices[0].message.content[{place}]: expected a part with text, got {}", short(part));
    match part {
        Value::String(text) => Ok(text.clone()),
        Value::Object(fields) => match (fields.get("type").and_then(Value::as_str), fields.get("text")) {
            (None | Some("text" | "output_text"), Some(Value::String(text))) => Ok(text.clone()),
            (None | Some("text" | "output_text"), _) => Err(wrong()),
            // Reasoning, pictures and their like are no part of the text.
            (Some(_), _) => Ok(String::new()),
        },
        _ => Err(wrong()),
    }
}

/// Why a completion ended. A reason that is unknown, empty or missing is an end of the model's own, unless its `tokens`
/// reach `max_tokens`.
///
/// # Errors
/// If the server gave up on it.
pub fn ending(choice: &Value, tokens: Option<u64>, max_tokens: usize) -> Result<Ending, String> {
    // vLLM's and SGLang's words for what ended it, where that was no end token.
    let by_string = ["stop_reason", "matched_stop"].iter().any(|key| choice.get(key).is_some_and(Value::is_string));
    let reason = choice.get("finish_reason").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    match reason.as_str() {
        "stop_sequence" => Ok(Ending::StopString),
        "length" | "max_tokens" | "max_output_tokens" | "max_new_tokens" | "max_length" | "model_length" => {
            Ok(Ending::Length)
        }
        "content_filter" | "safety" | "recitation" | "error" | "abort" | "aborted" | "cancelled" | "canceled"
        | "timeout" => Err(format!("choices[0].finish_reason: expected a whole answer, got {reason:?}")),
        "stop" | "eos" | "eos_token" | "end_turn" if by_string => Ok(Ending::StopString),
        "stop" | "eos" | "eos_token" | "end_turn" => Ok(Ending::Stop),
        _ if tokens.is_some_and(|tokens| tokens >= max_tokens as u64) => Ok(Ending::Length),
        _ if by_string => Ok(Ending::StopString),
        _ => Ok(Ending::Stop),
    }
}

/// A number of tokens as servers write it: a whole number, also as a float or as text. Unknown where it is anything else
/// or cannot be true.
#[must_use]
pub fn count(value: Option<&Value>) -> Option<u64> {
    let count = match value? {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok().or_else(|| whole(text.trim().parse().ok()?)),
        _ => None,
    };
    count.filter(|count| *count <= MOST_TOKENS)
}

fn whole(number: f64) -> Option<u64> {
    (number >= 0.0 && number.fract() == 0.0 && number <= MOST_TOKENS as f64).then_some(number as u64)
}

/// The part of the first completion that an event of a stream brings.
pub(crate) fn piece(event: &Value) -> Option<&Value> {
    let choices = event.get("choices")?.as_array()?;
    choices.iter().find(|choice| choice.get("index").is_none_or(|index| index.is_null() || *index == json!(0)))
}

/// Whether an event of a stream tells that it failed.
pub(crate) fn is_error(event: &Value) -> bool {
    event.get("error").is_some_and(|error| !error.is_null()) || event.get("object") == Some(&json!("error"))
}

/// The events of a streamed completion as one answer, with what the last events tell of its end and its tokens. An error
/// is the answer; events that bring nothing of the completion, such as those of other choices or of usage alone, are
/// passed over.
#[must_use]
pub fn joined(events: &[Value]) -> Value {
    let usage = events.iter().rev().find_map(|event| event.get("usage").filter(|usage| !usage.is_null()));
    let choices: Vec<&Value> = events.iter().filter_map(piece).collect();
    if let Some(event) = events.iter().find(|event| is_error(event)) {
        return json!({"error": event.get("error").unwrap_or(event)});
    }
    if choices.is_empty() {
        return events.first().cloned().unwrap_or_else(|| json!({"choices": []}));
    }
    let last = |key: &str| {
        let mut values = choices.iter().rev().filter_map(|choice| choice.get(key));
        values.find(|value| !value.is_null() && **value != "").cloned().unwrap_or_default()
    };
    let mut choice = json!({"finish_reason": last("finish_reason"), "stop_reason": last("stop_reason")});
    if choices.iter().any(|choice| choice.get("delta").or(choice.get("message")).is_some()) {
        let pieces = choices.iter().filter_map(|choice| choice.get("delta").or(choice.get("message")));
        let mut content = String::new();
        for piece in pieces.filter(|piece| piece.get("content").is_some()) {
            match text(&json!({"message": piece})) {
                Ok(text) => content.push_str(&text),
                // What cannot be read is told by whoever reads the answer.
                Err(_) => return json!({"choices": [{"message": piece}]}),
            }
        }
        choice["message"] = json!({"role": "assistant", "content": content});
    } else {
        let pieces = choices.iter().filter_map(|choice| choice.get("text")?.as_str());
        choice["text"] = pieces.collect::<String>().into();
    }
    let mut answer = json!({"choices": [choice]});
    if let Some(usage) = usage {
        answer["usage"] = usage.clone();
    }
    answer
}

/// What a request cannot be without.
pub const NEEDED: [&str; 4] = ["model", "messages", "prompt", "stream"];

/// The parameter of `body` that a server refuses: of those that can be left out one that its words name, the longest of
/// them.
#[must_use]
pub fn refused_parameter<'b>(error: &Error, body: &'b Value, droppable: &[&str]) -> Option<&'b str> {
    let Error::Status { status: 400 | 404 | 422, said, .. } = error else { return None };
    let words: Vec<&str> = said.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let names = body.as_object()?.keys().map(String::as_str);
    names.filter(|name| droppable.contains(name) && words.contains(name)).max_by_key(|name| name.len())
}

fn of(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_in_many_shapes() {
        let four = Ok("4".to_owned());
        for message in [
            json!({"content": "4"}),
            json!({"content": "4", "reasoning_content": "5", "reasoning": null}),
            json!({"content": [{"type": "text", "text": "4"}]}),
            json!({"content": [{"type": "output_text", "text": "4", "annotations": []}]}),
            json!({"content": [{"type": "thinking", "thinking": "5"}, {"type": "text", "text": "4"}]}),
            json!({"content": [{"type": "reasoning", "text": "5"}, {"text": "4"}]}),
            json!({"content": ["4"]}),
            json!({"content": {"type": "text", "text": "4"}}),
            json!({"content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "4"}]}),
            json!({"content": [{"type": "refusal", "refusal": "no"}, {"type": "output_text", "text": "4"}]}),
        ] {
            assert_eq!(text(&json!({"message": message})), four, "{message}");
        }
        for message in [
            json!({"content": null, "reasoning": "5"}),
            json!({"reasoning_content": "5"}),
            json!({"tool_calls": []}),
            json!({"content": null}),
            json!({"content": []}),
        ] {
            assert_eq!(text(&json!({"message": message})), Ok(String::new()), "{message}");
        }
        for (choice, expected) in [
            (json!({"message": {}}), "choices[0].message.content: expected text, got nothing"),
            (json!({"message": {"content": 4}}), "choices[0].message.content: expected text, got 4"),
            (json!({"message": {"content": [4]}}), "content[0]: expected a part with text, got 4"),
            (json!({"message": {"content": [{"type": "text"}]}}), "content[0]: expected a part with text"),
            (json!({"text": 7}), "choices[0].text: expected text, got 7"),
        ] {
            assert!(text(&choice).unwrap_err().contains(expected), "{choice}");
        }
    }

    #[test]
    fn counts_come_in_many_shapes() {
        for (value, expected) in [
            (json!(2), Some(2)),
            (json!(2.0), Some(2)),
            (json!("2"), Some(2)),
            (json!(" 2.0 "), Some(2)),
            (json!(0), Some(0)),
            (json!(null), None),
            (json!(-2), None),
            (json!(2.5), None),
            (json!("two"), None),
            (json!(u64::MAX), None),
            (json!(1e300), None),
            (json!("18446744073709551615"), None),
            (json!([2]), None),
        ] {
            assert_eq!(count(Some(&value)), expected, "{value}");
        }
        assert_eq!(count(None), None);
    }

    #[test]
    fn ends_are_told_in_many_words() {
        let end = |reason: Value, tokens| ending(&json!({"finish_reason": reason}), tokens, 8);
        for reason in [json!("stop"), json!("eos"), json!("STOP"), json!(""), json!(null), json!("finished"), json!(3)]
        {
            assert_eq!(end(reason.clone(), Some(2)), Ok(Ending::Stop), "{reason}");
        }
        for reason in [json!(""), json!(null), json!("finished"), json!("length"), json!("MAX_TOKENS")] {
            assert_eq!(end(reason.clone(), Some(8)), Ok(Ending::Length), "{reason}");
        }
        assert_eq!(ending(&json!({}), None, 8), Ok(Ending::Stop));
        assert_eq!(ending(&json!({"finish_reason": "stop", "stop_reason": "\n"}), None, 8), Ok(Ending::StopString));
        assert!(end(json!("content_filter"), None).unwrap_err().contains("got \"content_filter\""));
    }

    #[test]
    fn a_stream_is_one_answer() {
        let delta =
            |delta: Value, finish: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        let events = [
            delta(json!({"role": "assistant", "content": ""}), json!("")),
            delta(json!({"reasoning_content": "5"}), json!("")),
            delta(json!({"content": "4"}), json!("")),
            delta(json!({"content": "2"}), json!("stop")),
            json!({"choices": [], "usage": {"completion_tokens": 3}}),
        ];
        let answer = joined(&events);
        let whole = choice(&answer).unwrap();
        assert_eq!((text(whole), ending(whole, None, 8)), (Ok("42".to_owned()), Ok(Ending::Stop)));
        assert_eq!(count(answer.pointer("/usage/completion_tokens")), Some(3));
        let plain =
            [json!({"choices": [{"text": "a"}]}), json!({"choices": [{"text": "b", "finish_reason": "length"}]})];
        let answer = joined(&plain);
        assert_eq!(text(choice(&answer).unwrap()), Ok("ab".to_owned()));
        // Other choices, beats of a heart, and usage whose event lacks `choices`.
        let mixed = [
            json!({"type": "ping"}),
            json!({"choices": [], "prompt_filter_results": []}),
            json!({"choices": [{"index": 1, "text": "x"}]}),
            json!({"choices": [{"index": 1, "text": "y"}, {"index": 0, "text": "a"}]}),
            json!({"choices": [{"index": 1, "text": "z", "finish_reason": "length"}]}),
            json!({"choices": [{"index": 0, "text": "b", "finish_reason": "stop"}], "error": null}),
            json!({"usage": {"completion_tokens": 2}}),
        ];
        let answer = joined(&mixed);
        let whole = choice(&answer).unwrap();
        assert_eq!((text(whole), ending(whole, None, 8)), (Ok("ab".to_owned()), Ok(Ending::Stop)));
        assert_eq!(count(answer.pointer("/usage/completion_tokens")), Some(2));
        let odd = [delta(json!({"content": "4"}), json!(null)), delta(json!({"content": 2}), json!("stop"))];
        assert!(text(choice(&joined(&odd)).unwrap()).unwrap_err().contains("expected text, got 2"));
        let failed = [plain[0].clone(), json!({"error": {"message": "boom"}})];
        assert!(choice(&joined(&failed)).unwrap_err().contains("boom"));
        let beside = json!({"error": {"message": "boom"}, "choices": [{"delta": {}, "finish_reason": "error"}]});
        assert!(choice(&joined(&[plain[0].clone(), beside])).unwrap_err().contains("boom"));
        assert!(choice(&joined(&[json!({"object": "error", "message": "boom"})])).unwrap_err().contains("boom"));
        assert!(choice(&joined(&[])).unwrap_err().contains("got []"), "an end alone is no answer");
    }
}
