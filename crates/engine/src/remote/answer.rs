//! What comes back.

use relign_core::{Finish, Odds, Sampling};
use relign_http::chat::{self, Ending};
use relign_http::short;
use serde_json::Value;

use super::odds;
use super::settings::keeps_to;
use super::spelled::border;

/// A completion in a server's words, understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) text: String,
    /// Empty where the server does not tell every one.
    pub(super) tokens: Vec<u32>,
    /// One for each token, or empty.
    pub(super) logprobs: Vec<f32>,
    /// One for each token, or empty.
    pub(super) odds: Vec<Odds>,
    /// Those of the prompt's tokens that were to be scored.
    pub(super) prompt_odds: Vec<Odds>,
    pub(super) finish: Finish,
    /// The stop string that ended it, where it was cut here.
    pub(super) stop: Option<String>,
    /// How many tokens the server says the answer has.
    pub(super) count: Option<u64>,
}

/// Reads the answer to a request for one completion.
///
/// # Errors
/// The place in the answer, what was expected there and what was got.
pub(super) fn read(answer: &Value, sampling: &Sampling) -> Result<Answer, String> {
    let choice = chat::choice(answer)?;
    let place = if choice.get("message").is_some() { "choices[0].message.content" } else { "choices[0].text" };
    let text = chat::text(choice)?;
    let count = chat::count(answer.pointer("/usage/completion_tokens"));
    let finish = match chat::ending(choice, count, sampling.max_tokens)? {
        Ending::Stop => Finish::Stop,
        Ending::StopString => Finish::StopString,
        Ending::Length => Finish::Length,
    };
    let tokens = tokens(choice, count)?;
    let own = if tokens.is_empty() { Vec::new() } else { logprobs(choice, tokens.len())? };
    let odds = match sampling.top_logprobs {
        Some(top) if !own.is_empty() => odds::read(choice, &tokens, &own, top, is_whole(sampling))?,
        _ => Vec::new(),
    };
    let logprobs = if is_whole(sampling) { own } else { Vec::new() };
    let (text, finish, stop) = cut(text, finish, &sampling.stop);
    if let Some(constraint) = sampling.constraint.as_ref().filter(|_| finish == Finish::Stop) {
        keeps_to(constraint, &text).map_err(|what| format!("{place}: {what}"))?;
    }
    Ok(Answer { text, tokens, logprobs, odds, prompt_odds: Vec::new(), finish, stop, count })
}

/// Whether the model's own distribution, which servers report, is the one sampled from. At temperature 0
/// the model's own is what is wanted.
fn is_whole(sampling: &Sampling) -> bool {
    sampling.is_plain() && (sampling.temperature == 0.0 || sampling.temperature == 1.0)
}

/// Servers cut the text before a stop string; one that does not is helped.
fn cut(mut text: String, finish: Finish, stops: &[String]) -> (String, Finish, Option<String>) {
    let Some((end, stop)) = border(&text, stops) else { return (text, finish, None) };
    text.truncate(end);
    (text, Finish::StopString, Some(stop.to_owned()))
}

/// The token ids, if the server tells all of them.
fn tokens(choice: &Value, count: Option<u64>) -> Result<Vec<u32>, String> {
    for key in ["token_ids", "response_token_ids"] {
        match choice.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Array(ids)) => {
                let id = |(place, id): (usize, &Value)| {
                    let known = id.as_u64().and_then(|id| u32::try_from(id).ok());
                    known.ok_or_else(|| format!("choices[0].{key}[{place}]: expected a token id, got {}", short(id)))
                };
                let ids: Vec<u32> = ids.iter().enumerate().map(id).collect::<Result<_, _>>()?;
                if let Some(count) = count.filter(|&count| count != ids.len() as u64) {
                    let got = ids.len();
                    return Err(format!(
                        "choices[0].{key}: expected {count} ids as in usage.completion_tokens, got {got}"
                    ));
                }
                return Ok(ids);
            }
            other => return Err(format!("choices[0].{key}: expected a list of ids, got {}", of(other))),
        }
    }
    // Beside its log-probabilities a server may leave some out: all or none.
    let beside: Option<Vec<u32>> = entries(choice)
        .map(|entries| entries.iter().map_while(|entry| u32::try_from(entry.get("id")?.as_u64()?).ok()).collect());
    Ok(beside.filter(|ids| count == Some(ids.len() as u64)).unwrap_or_default())
}

/// Log-probabilities with their tokens, as chat completions and llama.cpp have them.
pub(super) fn entries(choice: &Value) -> Option<&Vec<Value>> {
    choice.pointer("/logprobs/content")?.as_array()
}

/// The log-probabilities of `count` tokens; none unless there are as many, all finite.
fn logprobs(choice: &Value, count: usize) -> Result<Vec<f32>, String> {
    let (place, numbers): (&str, Vec<Option<&Value>>) = if let Some(entries) = entries(choice) {
        ("content", entries.iter().map(|entry| entry.get("logprob")).collect())
    } else if let Some(list) = choice.pointer("/logprobs/token_logprobs").and_then(Value::as_array) {
        ("token_logprobs", list.iter().map(Some).collect())
    } else {
        return Ok(Vec::new());
    };
    let number = |(at, value): (usize, Option<&Value>)| match value.and_then(Value::as_f64) {
        Some(number) => Ok(number as f32),
        None if value.is_none_or(Value::is_null) => Ok(f32::NAN),
        None => Err(format!("choices[0].logprobs.{place}[{at}]: expected a number, got {}", of(value))),
    };
    let numbers: Vec<f32> = numbers.into_iter().enumerate().map(number).collect::<Result<_, _>>()?;
    let known = numbers.len() == count && numbers.iter().all(|number| number.is_finite());
    Ok(if known { numbers } else { Vec::new() })
}

fn of(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), short)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(choice: Value, completion_tokens: u64) -> Value {
        json!({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": completion_tokens}})
    }

    fn read_plain(answer: &Value) -> Result<Answer, String> {
        read(answer, &Sampling::default())
    }

    #[test]
    fn each_servers_shape_is_read() {
        // vLLM's completions, as its documentation has them.
        let vllm = one(
            json!({"text": " 42", "finish_reason": "stop", "stop_reason": null, "token_ids": [220, 42, 2],
                "logprobs": {"tokens": [" ", "42", "</s>"], "token_logprobs": [-0.5, -0.25, -1.0], "top_logprobs": null}}),
            3,
        );
        let read = read_plain(&vllm).unwrap();
        assert_eq!((read.text.as_str(), &read.tokens[..], read.finish), (" 42", &[220, 42, 2][..], Finish::Stop));
        assert_eq!((&read.logprobs[..], read.count), (&[-0.5, -0.25, -1.0][..], Some(3)));
        // llama.cpp's: ids beside log-probabilities.
        let entry = |id: u64, logprob: f64| json!({"id": id, "token": "x", "bytes": [120], "logprob": logprob});
        let llama = json!({"text": "42", "finish_reason": "length", "logprobs": {"content": [entry(7, -0.5), entry(8, -0.75)]}});
        let read = read_plain(&one(llama.clone(), 2)).unwrap();
        assert_eq!((&read.tokens[..], &read.logprobs[..]), (&[7, 8][..], &[-0.5, -0.75][..]));
        // A token that ends within a character is left out there: then nothing is known.
        let read = read_plain(&one(llama, 3)).unwrap();
        assert!(read.tokens.is_empty() && read.logprobs.is_empty() && read.count == Some(3));
        // A chat without any of it.
        let chat = json!({"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]});
        let read = read_plain(&chat).unwrap();
        assert!(read.text == "hi" && read.tokens.is_empty() && read.logprobs.is_empty() && read.count.is_none());
    }

    #[test]
    fn another_temperature_leaves_no_logprobs() {
        let answer = one(
            json!({"text": "x", "finish_reason": "length", "token_ids": [1], "logprobs": {"token_logprobs": [-0.5]}}),
            1,
        );
        for (temperature, known) in [(0.0, true), (1.0, true), (0.7, false), (2.0, false)] {
            let read = read(&answer, &Sampling { temperature, ..Sampling::default() }).unwrap();
            assert_eq!((read.tokens.len(), !read.logprobs.is_empty()), (1, known), "{temperature}");
        }
    }

    #[test]
    fn half_of_the_logprobs_are_none() {
        for logprobs in [json!([-0.5]), json!([-0.5, null]), json!([null, null])] {
            let choice = json!({"text": "x", "finish_reason": "stop", "token_ids": [1, 2], "logprobs": {"token_logprobs": logprobs}});
            assert!(read_plain(&one(choice, 2)).unwrap().logprobs.is_empty());
        }
    }

    #[test]
    fn stop_strings_cut() {
        let sampling = Sampling { stop: vec!["END".into(), "\n".into()], ..Sampling::default() };
        for (text, extra, kept, finish) in [
            ("a\nb END", json!(null), "a", Finish::StopString),
            ("a", json!("\n"), "a", Finish::StopString),
            ("a", json!(2), "a", Finish::Stop),
        ] {
            let answer = one(json!({"text": text, "finish_reason": "stop", "stop_reason": extra}), 4);
            let read = read(&answer, &sampling).unwrap();
            assert_eq!((read.text.as_str(), read.finish), (kept, finish));
        }
    }

    #[test]
    fn nonsense_is_named_with_its_place() {
        let fine = json!({"text": "x", "finish_reason": "stop"});
        let with = |key: &str, value: Value| {
            let mut choice = fine.clone();
            choice[key] = value;
            one(choice, 2)
        };
        for (answer, said) in [
            (json!([]), "choices: expected a list with one completion, got nothing"),
            (json!({"choices": []}), "got []"),
            (json!({"choices": "x"}), "got \"x\""),
            (json!({"error": {"message": "boom"}}), "got the error {\"message\":\"boom\"}"),
            (with("text", json!(7)), "choices[0].text: expected text, got 7"),
            (
                with("message", json!({"content": [1]})),
                "choices[0].message.content[0]: expected a part with text, got 1",
            ),
            (with("message", json!({})), "choices[0].message.content: expected text, got nothing"),
            (with("finish_reason", json!("content_filter")), "expected a whole answer, got \"content_filter\""),
            (with("token_ids", json!([1, -2])), "choices[0].token_ids[1]: expected a token id, got -2"),
            (with("token_ids", json!("x")), "choices[0].token_ids: expected a list of ids, got \"x\""),
            (with("token_ids", json!([1])), "expected 2 ids as in usage.completion_tokens, got 1"),
        ] {
            let error = read_plain(&answer).unwrap_err();
            assert!(error.contains(said), "{error}, expected {said}");
        }
        let odd = json!({"text": "x", "finish_reason": "stop", "token_ids": [1, 2], "logprobs": {"token_logprobs": [-1.0, "x"]}});
        assert!(read_plain(&one(odd, 2)).unwrap_err().contains("token_logprobs[1]: expected a number, got \"x\""));
    }
}
