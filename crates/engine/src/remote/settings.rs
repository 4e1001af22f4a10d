//! What tells a server how to sample, in its own words.

use relign_core::{Constraint, Sampling};
use serde_json::{Map, Value, json};

use super::dialect::{Alternatives, Constraining, Dialect};

/// The settings that go beyond a temperature, as a server wants to hear them; `is_chat` where it renders conversations.
///
/// # Errors
/// The setting that it does not take: thing, expected, got. Nothing is left out in silence.
pub(super) fn settings(dialect: &Dialect, is_chat: bool, sampling: &Sampling) -> Result<Map<String, Value>, String> {
    let mut words = Map::new();
    let plain = Sampling::default();
    let refuse = |name: &str, expected: &str, got: &dyn std::fmt::Display| {
        Err(format!("{name}: expected {expected}, for {} is not known to take it, got {got}", dialect.name))
    };
    if sampling.top_p != plain.top_p {
        words.insert("top_p".to_owned(), number(sampling.top_p));
    }
    let (presence, frequency) = (sampling.presence_penalty, sampling.frequency_penalty);
    for (name, penalty) in [("presence_penalty", presence), ("frequency_penalty", frequency)] {
        if penalty != 0.0 {
            words.insert(name.to_owned(), number(penalty));
        }
    }
    if !sampling.logit_bias.is_empty() {
        let bias = sampling.logit_bias.iter().map(|(token, bias)| (token.to_string(), number(*bias)));
        words.insert("logit_bias".to_owned(), Value::Object(bias.collect()));
    }
    if sampling.top_k > 0 {
        let Some(word) = dialect.top_k else { return refuse("top_k", "0", &sampling.top_k) };
        words.insert(word.to_owned(), sampling.top_k.into());
    }
    if sampling.min_p > 0.0 {
        let Some(word) = dialect.min_p else { return refuse("min_p", "0", &sampling.min_p) };
        words.insert(word.to_owned(), number(sampling.min_p));
    }
    let repetition = sampling.repetition_penalty;
    if repetition != 1.0 {
        let Some(word) = dialect.repetition_penalty else { return refuse("repetition_penalty", "1", &repetition) };
        words.insert(word.to_owned(), number(repetition));
    }
    if let Some(window) = dialect.window.filter(|_| repetition != 1.0 || presence != 0.0 || frequency != 0.0) {
        // Without it, what was said long ago would not count.
        words.insert(window.to_owned(), (-1).into());
    }
    if let Some(constraint) = &sampling.constraint {
        constrain(dialect, is_chat, constraint, &mut words)?;
    }
    if let Some(top) = sampling.top_logprobs {
        match dialect.alternatives {
            Alternatives::Unknown => {
                return Err(format!(
                    "top_logprobs: expected none, for {} tells no ids of tokens, got {top}",
                    dialect.name
                ));
            }
            Alternatives::WithIds => {}
            Alternatives::AsIds => {
                words.insert("return_tokens_as_token_ids".to_owned(), true.into());
            }
        }
        if is_chat {
            words.insert("logprobs".to_owned(), true.into());
        }
        words.insert(if is_chat { "top_logprobs" } else { "logprobs" }.to_owned(), top.max(1).into());
    }
    if let Some(from) = sampling.score_from {
        let Some(word) = dialect.scoring.filter(|_| !is_chat) else {
            let way = if is_chat { " of a conversation that it renders" } else { "" };
            return Err(format!(
                "score_from: expected none, for {} is not known to tell the odds of given tokens{way}, got {from}",
                dialect.name
            ));
        };
        words.insert(word.to_owned(), sampling.top_logprobs.unwrap_or(0).into());
        if sampling.max_tokens == 0 {
            // No server samples nothing; what it says is thrown away.
            words.insert(dialect.max_tokens.to_owned(), 1.into());
        }
    }
    if sampling.certainty {
        return Err(
            "certainty: expected false, for whole distributions are known of models that are read here, got true"
                .to_owned(),
        );
    }
    Ok(words)
}

/// A number as it was written: 0.9 is no 0.8999999761581421.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or_else(|_| f64::from(value).into(), Value::from)
}

fn constrain(
    dialect: &Dialect,
    is_chat: bool,
    constraint: &Constraint,
    words: &mut Map<String, Value>,
) -> Result<(), String> {
    let mut put = |word: &str, value: Value| words.insert(word.to_owned(), value);
    match (constraint, dialect.constraining) {
        (Constraint::JsonSchema(schema), Constraining::Vllm) => put("structured_outputs", json!({"json": schema})),
        (Constraint::Regex(regex), Constraining::Vllm) => put("structured_outputs", json!({"regex": regex})),
        (Constraint::Regex(regex), Constraining::Sglang) => put("regex", regex.as_str().into()),
        (Constraint::JsonSchema(schema), Constraining::Sglang) if !is_chat => {
            put("json_schema", schema.to_string().into())
        }
        (Constraint::JsonSchema(schema), Constraining::LlamaCpp) => put("json_schema", schema.clone()),
        (Constraint::JsonSchema(schema), Constraining::LlamaCppPython) if is_chat => {
            put("response_format", json!({"type": "json_object", "schema": schema}))
        }
        (Constraint::JsonSchema(schema), Constraining::Sglang | Constraining::Openai) if is_chat => {
            let named = json!({"name": "answer", "schema": schema, "strict": true});
            put("response_format", json!({"type": "json_schema", "json_schema": named}))
        }
        (constraint, _) => {
            let (got, way) = match constraint {
                Constraint::Regex(_) => ("a regular expression", ""),
                Constraint::JsonSchema(_) => ("a JSON schema", " beside tokens"),
            };
            let name = dialect.name;
            return Err(format!("constraint: expected none, for {name} is not known to take it{way}, got {got}"));
        }
    };
    Ok(())
}

/// Whether a whole answer keeps to its constraint: a server that does not know the word for one may pass over it.
///
/// # Errors
/// What was expected and got.
pub(super) fn keeps_to(constraint: &Constraint, text: &str) -> Result<(), String> {
    let short = || text.chars().take(80).collect::<String>();
    match constraint {
        Constraint::JsonSchema(_) => serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map(drop)
            .map_err(|error| format!("expected an answer in JSON, as asked for, got {:?} ({error})", short())),
        Constraint::Regex(regex) => match regex::Regex::new(&format!("^(?:{regex})$")) {
            Ok(whole) if !whole.is_match(text) => {
                Err(format!("expected an answer that matches {regex:?}, as asked for, got {:?}", short()))
            }
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(owner: &str, is_chat: bool, sampling: &Sampling) -> Result<Value, String> {
        settings(Dialect::of(Some(owner), false), is_chat, sampling).map(Value::Object)
    }

    #[test]
    fn every_server_hears_it_in_its_own_words() {
        let plain = Sampling::default();
        let all = Sampling {
            top_k: 40,
            top_p: 0.9,
            min_p: 0.05,
            repetition_penalty: 1.1,
            presence_penalty: 0.5,
            frequency_penalty: -0.25,
            logit_bias: [(7, -100.0)].into(),
            ..plain.clone()
        };
        let common = json!({"top_p": 0.9, "presence_penalty": 0.5, "frequency_penalty": -0.25,
            "logit_bias": {"7": -100.0}, "top_k": 40, "min_p": 0.05});
        for (owner, more) in [
            ("vllm", json!({"repetition_penalty": 1.1})),
            ("sglang", json!({"repetition_penalty": 1.1})),
            ("llamacpp", json!({"repeat_penalty": 1.1, "repeat_last_n": -1})),
            ("me", json!({"repeat_penalty": 1.1})),
        ] {
            let mut expected = common.clone();
            expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(of(owner, false, &all).unwrap(), expected, "{owner}");
            assert_eq!(of(owner, true, &plain).unwrap(), json!({}), "{owner}");
        }
        let known = Sampling { top_p: 0.5, presence_penalty: 1.0, ..plain.clone() };
        assert_eq!(of("someone", true, &known).unwrap(), json!({"top_p": 0.5, "presence_penalty": 1.0}));
    }

    #[test]
    fn constraints_and_alternatives_go_where_each_server_has_them() {
        let schema = json!({"type": "object"});
        let with = |constraint| Sampling { constraint: Some(constraint), ..Sampling::default() };
        let json_schema = with(Constraint::JsonSchema(schema.clone()));
        let regex = with(Constraint::Regex("[0-9]+".into()));
        let strict = json!({"response_format": {"type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": true}}});
        for (owner, is_chat, sampling, expected) in [
            ("vllm", false, &json_schema, json!({"structured_outputs": {"json": schema}})),
            ("vllm", true, &regex, json!({"structured_outputs": {"regex": "[0-9]+"}})),
            ("sglang", false, &json_schema, json!({"json_schema": "{\"type\":\"object\"}"})),
            ("sglang", true, &json_schema, strict.clone()),
            ("sglang", true, &regex, json!({"regex": "[0-9]+"})),
            ("llamacpp", false, &json_schema, json!({"json_schema": schema})),
            ("me", true, &json_schema, json!({"response_format": {"type": "json_object", "schema": schema}})),
            ("someone", true, &json_schema, strict),
        ] {
            assert_eq!(of(owner, is_chat, sampling).unwrap(), expected, "{owner}");
        }
        let top = Sampling { top_logprobs: Some(3), ..Sampling::default() };
        assert_eq!(of("vllm", false, &top).unwrap(), json!({"logprobs": 3, "return_tokens_as_token_ids": true}));
        assert_eq!(of("llamacpp", true, &top).unwrap(), json!({"logprobs": true, "top_logprobs": 3}));
        let given = Sampling { score_from: Some(4), max_tokens: 0, ..Sampling::default() };
        assert_eq!(of("vllm", false, &given).unwrap(), json!({"prompt_logprobs": 0, "max_tokens": 1}));
        assert!(of("vllm", true, &given).unwrap_err().contains("of a conversation that it renders"));
    }

    #[test]
    fn what_a_server_cannot_do_is_refused() {
        let plain = Sampling::default();
        let regex = Sampling { constraint: Some(Constraint::Regex("a".into())), ..plain.clone() };
        let schema = Sampling { constraint: Some(Constraint::JsonSchema(json!({}))), ..plain.clone() };
        for (owner, sampling, said) in [
            (
                "someone",
                Sampling { top_k: 5, ..plain.clone() },
                "top_k: expected 0, for OpenAI-compatible server is not",
            ),
            ("someone", Sampling { min_p: 0.1, ..plain.clone() }, "min_p: expected 0"),
            ("someone", Sampling { repetition_penalty: 1.5, ..plain.clone() }, "repetition_penalty: expected 1"),
            ("llamacpp", regex, "constraint: expected none, for llama.cpp is not known to take it, got a regular"),
            ("me", schema, "constraint: expected none, for llama-cpp-python is not known to take it beside tokens"),
            (
                "sglang",
                Sampling { top_logprobs: Some(1), ..plain.clone() },
                "top_logprobs: expected none, for SGLang tells",
            ),
            (
                "sglang",
                Sampling { score_from: Some(1), ..plain.clone() },
                "score_from: expected none, for SGLang is not",
            ),
            ("vllm", Sampling { certainty: true, ..plain.clone() }, "certainty: expected false"),
        ] {
            let error = of(owner, false, &sampling).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn a_constraint_that_was_passed_over_is_noticed() {
        let json = Constraint::JsonSchema(json!({"type": "integer"}));
        assert!(keeps_to(&json, " {\"a\": [1]}\n").is_ok());
        assert!(
            keeps_to(&json, "Sure! {}").unwrap_err().contains("expected an answer in JSON, as asked for, got \"Sure!")
        );
        let regex = Constraint::Regex("[0-9]+|none".into());
        assert!(keeps_to(&regex, "17").is_ok() && keeps_to(&regex, "none").is_ok());
        assert!(keeps_to(&regex, "17.").unwrap_err().contains("expected an answer that matches"));
    }
}
