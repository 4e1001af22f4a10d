//! What is sent.

use relign_core::{Message, Sampling, Seed};
use serde_json::{Map, Value, json};

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

/// The parameters that a request may have and can be without, whatever the server.
pub(super) const PARAMETERS: [&str; 29] = [
    "temperature",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "repeat_penalty",
    "repeat_last_n",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "stop",
    "stop_token_ids",
    "ignore_eos",
    "logprobs",
    "top_logprobs",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "skip_special_tokens",
    "cache_prompt",
    "response_format",
    "structured_outputs",
    "json_schema",
    "regex",
    "prompt_logprobs",
    "n",
];

/// Those of them that change no distribution that is sampled from.
const HARMLESS: [&str; 12] = [
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "logprobs",
    "top_logprobs",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "skip_special_tokens",
    "cache_prompt",
    "prompt_logprobs",
    "n",
];

/// What is changed in every request, whatever it asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// Parameters that are left out.
    pub(super) drop_params: Vec<String>,
    /// Variables for the server's chat template, for conversations.
    pub(super) chat_template_kwargs: Map<String, Value>,
}

impl Changes {
    /// Whether a server may sample from another distribution than the one asked for.
    pub(super) fn reshape(&self) -> bool {
        self.drop_params.iter().any(|name| !HARMLESS.contains(&name.as_str()))
    }

    /// Changes the body of a request.
    pub(super) fn apply(&self, body: &mut Value) {
        if !self.chat_template_kwargs.is_empty() && body.get("messages").is_some() {
            body["chat_template_kwargs"] = Value::Object(self.chat_template_kwargs.clone());
        }
        if let Value::Object(fields) = body {
            fields.retain(|name, _| !self.drop_params.contains(name));
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
    use relign_core::Constraint;
    use relign_http::chat;

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

    #[test]
    fn every_parameter_can_be_left_out() {
        let all = Sampling {
            top_k: 40,
            top_p: 0.9,
            min_p: 0.05,
            repetition_penalty: 1.1,
            presence_penalty: 0.5,
            logit_bias: [(7, -100.0)].into(),
            stop: vec!["\n".into()],
            stop_tokens: vec![3],
            ignore_eos: true,
            constraint: Some(Constraint::Regex("a".into())),
            top_logprobs: Some(2),
            score_from: Some(1),
            ..Sampling::default()
        };
        let schema = Constraint::JsonSchema(json!({"type": "object"}));
        let schema = Sampling { constraint: Some(schema), score_from: None, top_logprobs: None, ..all.clone() };
        let [open, scored] = [None, Some(1)].map(|score_from| Sampling {
            constraint: None,
            top_logprobs: score_from.map(|_| 2),
            score_from,
            ..all.clone()
        });
        for owner in ["vllm", "sglang", "llamacpp", "me", "someone"] {
            for prompt in [Prompt::Tokens(vec![1]), Prompt::Conversation(vec![Message::user("u")])] {
                for sampling in [&all, &schema, &open, &scored, &Sampling::default()] {
                    let mut body = body("m", Dialect::of(Some(owner), false), &prompt, sampling, Seed(0), false);
                    let fields = body.as_object().unwrap().keys().filter(|name| !chat::NEEDED.contains(&name.as_str()));
                    let unknown: Vec<_> = fields.filter(|name| !PARAMETERS.contains(&name.as_str())).collect();
                    assert!(unknown.is_empty(), "{owner}: {unknown:?}");
                    let drop_params = PARAMETERS.map(str::to_owned).into();
                    Changes { drop_params, ..Changes::default() }.apply(&mut body);
                    assert!(body.as_object().unwrap().keys().all(|name| chat::NEEDED.contains(&name.as_str())));
                }
            }
        }
    }
}
