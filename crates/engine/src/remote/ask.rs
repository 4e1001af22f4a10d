//! What is sent.

use relign_core::{Message, Sampling, Seed};
use serde_json::{Value, json};

use super::dialect::Dialect;
use super::settings::settings;

/// What is to be continued.
#[derive(Clone, Debug)]
pub(super) enum Prompt {
    Tokens(Vec<u32>),
    /// Tokens, written out.
    Text(String),
    Conversation(Vec<Message>),
}

impl Prompt {
    /// Where it is sent, after the server's base.
    pub(super) const fn path(&self) -> &'static str {
        match self {
            Self::Tokens(_) | Self::Text(_) => "/completions",
            Self::Conversation(_) => "/chat/completions",
        }
    }
}

/// The body of a request whose settings the server takes.
///
/// With `streams` the answer comes in pieces and its stop strings are kept back.
pub(super) fn body(
    model: &str,
    dialect: &Dialect,
    prompt: &Prompt,
    sampling: &Sampling,
    seed: Seed,
    streams: bool,
) -> Value {
    let mut body = dialect.parameters();
    body["model"] = model.into();
    body["stream"] = streams.into();
    body["temperature"] = f64::from(sampling.temperature).into();
    body["seed"] = (seed.0 >> 33).max(1).into(); // positive in every server's 32 bits
    body[dialect.max_tokens] = sampling.max_tokens.into();
    if !sampling.stop.is_empty() && !streams {
        body["stop"] = json!(sampling.stop);
    }
    if !sampling.stop_tokens.is_empty() {
        body["stop_token_ids"] = json!(sampling.stop_tokens);
    }
    if sampling.ignore_eos {
        body["ignore_eos"] = true.into();
    }
    match prompt {
        Prompt::Tokens(tokens) => {
            body["prompt"] = json!(tokens);
            if dialect.logprobs {
                body["logprobs"] = 1.into();
            }
        }
        Prompt::Text(text) => body["prompt"] = text.as_str().into(),
        Prompt::Conversation(messages) => {
            body["messages"] = json!(messages);
            if dialect.logprobs {
                body["logprobs"] = true.into();
                body["top_logprobs"] = 1.into();
            }
        }
    }
    let is_chat = matches!(prompt, Prompt::Conversation(_));
    for (word, value) in settings(dialect, is_chat, sampling).unwrap_or_default() {
        body[word] = value;
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_was_asked() {
        let sampling = Sampling { temperature: 0.5, max_tokens: 7, stop: vec!["\n".into()], ..Sampling::default() };
        let vllm = Dialect::of(Some("vllm"), false);
        let sent = body("m", vllm, &Prompt::Tokens(vec![5, 6]), &sampling, Seed(u64::MAX), false);
        let known = json!({"model": "m", "prompt": [5, 6], "temperature": 0.5, "max_tokens": 7, "stop": ["\n"],
            "seed": i32::MAX, "logprobs": 1, "top_k": -1, "return_token_ids": true, "stream": false});
        let cut = Sampling { top_k: 5, top_p: 0.5, ..sampling.clone() };
        let overruled = body("m", vllm, &Prompt::Tokens(vec![5, 6]), &cut, Seed(1), false);
        assert_eq!(
            (&overruled["top_k"], &overruled["top_p"], &overruled["min_p"]),
            (&json!(5), &json!(0.5), &json!(0))
        );
        for (key, value) in known.as_object().unwrap() {
            assert_eq!(&sent[key], value, "{key}");
        }
        assert!(sent.get("ignore_eos").is_none() && sent.get("stop_token_ids").is_none());
        let chat = Prompt::Conversation(vec![Message::system("s"), Message::user("u")]);
        let sent = body("m", Dialect::of(None, true), &chat, &Sampling::default(), Seed(0), false);
        let whole = json!({"model": "m", "temperature": 1.0, "max_completion_tokens": 256, "seed": 1, "top_p": 1,
            "stream": false,
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]});
        assert_eq!(sent, whole);
    }
}
