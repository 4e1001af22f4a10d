//! What servers have in common they say alike; this is the rest, a line for each.

use serde_json::{Value, json};

/// What must be said to one kind of server beside the words that all understand.
#[derive(Debug)]
pub(super) struct Dialect {
    /// What to call it.
    pub(super) name: &'static str,
    /// What `/models` gives as a model's owner.
    owners: &'static [&'static str],
    /// Sampling parameters that leave the model's distribution whole, and what makes the server tell
    /// token ids, as a JSON object.
    extra: &'static str,
    /// Whether a prompt may be token ids.
    pub(super) ids: Ids,
    /// Whether it says that it was a stop string that ended an answer, and which tokens it was made of.
    pub(super) tells_stops: bool,
    /// Whether a new request ends a stream that is under way.
    pub(super) interrupts: bool,
    /// Whether it tells log-probabilities of the model's own distribution at no great cost.
    pub(super) logprobs: bool,
    /// Whether it takes `stop_token_ids`.
    pub(super) stop_tokens: bool,
    /// Whether it takes `ignore_eos`.
    pub(super) ignore_eos: bool,
    /// Its words for settings that not all servers have, where it has them.
    pub(super) top_k: Option<&'static str>,
    pub(super) min_p: Option<&'static str>,
    pub(super) repetition_penalty: Option<&'static str>,
    /// Its word for how far back penalties look, -1 being to the beginning, where it looks less far by itself.
    pub(super) window: Option<&'static str>,
    /// How it is told what an answer must be.
    pub(super) constraining: Constraining,
    /// How it tells what else could have been said.
    pub(super) alternatives: Alternatives,
    /// Its word for the log-probabilities of given tokens, where it tells them.
    pub(super) scoring: Option<&'static str>,
    /// What it calls the limit on an answer's tokens.
    pub(super) max_tokens: &'static str,
    /// How it can be asked for a text's tokens, if it can.
    pub(super) tokenize: Option<Tokenizing>,
}

/// Whether a prompt may be token ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    Taken,
    /// Only text is.
    Refused,
    /// To be tried.
    Unknown,
}

/// How a server is told what an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Constraining {
    /// `response_format`, for conversations.
    Openai,
    /// `structured_outputs`.
    Vllm,
    /// `regex` and `json_schema`, or `response_format` for conversations.
    Sglang,
    /// `json_schema`.
    LlamaCpp,
    /// `response_format` with a schema of its own, for conversations.
    LlamaCppPython,
}

/// How a server tells what else could have been said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alternatives {
    /// As text alone, or not at all.
    Unknown,
    /// Each with its id.
    WithIds,
    /// As `token_id:ID`, if asked to.
    AsIds,
}

/// A way to ask for the tokens of a text, beside the OpenAI-compatible paths.
#[derive(Debug)]
pub(super) struct Tokenizing {
    /// From the server's root, not its `/v1`.
    pub(super) path: &'static str,
    /// Where the text goes.
    pub(super) text: &'static str,
    /// What keeps the server from adding tokens, and has it read special tokens, as a JSON object.
    extra: &'static str,
}

impl Tokenizing {
    /// The body that asks for the tokens of `text`.
    pub(super) fn body(&self, model: &str, text: &str) -> Value {
        let mut body: Value = serde_json::from_str(self.extra).unwrap_or_else(|_| json!({}));
        body["model"] = model.into();
        body[self.text] = text.into();
        body
    }
}

const AS_VLLM: Tokenizing = Tokenizing { path: "/tokenize", text: "prompt", extra: r#"{"add_special_tokens": false}"# };

/// OpenAI refuses words it does not know; so may what is not known here.
const OPENAI: Dialect = Dialect {
    name: "OpenAI",
    owners: &[],
    extra: r#"{"top_p": 1}"#,
    ids: Ids::Taken,
    tells_stops: false,
    interrupts: false,
    logprobs: false,
    stop_tokens: false,
    ignore_eos: false,
    top_k: None,
    min_p: None,
    repetition_penalty: None,
    window: None,
    constraining: Constraining::Openai,
    alternatives: Alternatives::Unknown,
    scoring: None,
    max_tokens: "max_completion_tokens",
    tokenize: None,
};

const OTHER: Dialect =
    Dialect { name: "OpenAI-compatible server", max_tokens: "max_tokens", ids: Ids::Unknown, ..OPENAI };

/// All that are known.
const DIALECTS: &[Dialect] = &[
    Dialect {
        name: "vLLM",
        owners: &["vllm"],
        // Without these, a model's generation_config.json cuts the distribution.
        extra: r#"{"top_p": 1, "top_k": -1, "min_p": 0, "repetition_penalty": 1, "presence_penalty": 0,
                   "frequency_penalty": 0, "return_token_ids": true}"#,
        ids: Ids::Taken,
        tells_stops: true,
        interrupts: false,
        logprobs: true,
        stop_tokens: true,
        ignore_eos: true,
        top_k: Some("top_k"),
        min_p: Some("min_p"),
        repetition_penalty: Some("repetition_penalty"),
        window: None,
        constraining: Constraining::Vllm,
        alternatives: Alternatives::AsIds,
        scoring: Some("prompt_logprobs"),
        max_tokens: "max_tokens",
        tokenize: Some(AS_VLLM),
    },
    Dialect {
        name: "SGLang",
        owners: &["sglang"],
        extra: r#"{"top_p": 1, "top_k": -1, "min_p": 0, "repetition_penalty": 1, "presence_penalty": 0,
                   "frequency_penalty": 0, "return_token_ids": true}"#,
        ids: Ids::Taken,
        tells_stops: true,
        interrupts: false,
        logprobs: true,
        stop_tokens: true,
        ignore_eos: true,
        top_k: Some("top_k"),
        min_p: Some("min_p"),
        repetition_penalty: Some("repetition_penalty"),
        window: None,
        constraining: Constraining::Sglang,
        alternatives: Alternatives::Unknown,
        scoring: None,
        max_tokens: "max_tokens",
        tokenize: Some(AS_VLLM),
    },
    Dialect {
        name: "llama.cpp",
        owners: &["llamacpp"],
        extra: r#"{"top_p": 1, "top_k": 0, "min_p": 0, "typical_p": 1, "repeat_penalty": 1, "presence_penalty": 0,
                   "frequency_penalty": 0}"#,
        ids: Ids::Taken,
        tells_stops: false,
        interrupts: false,
        logprobs: true,
        stop_tokens: false,
        ignore_eos: true,
        top_k: Some("top_k"),
        min_p: Some("min_p"),
        repetition_penalty: Some("repeat_penalty"),
        window: Some("repeat_last_n"),
        constraining: Constraining::LlamaCpp,
        alternatives: Alternatives::WithIds,
        scoring: None,
        max_tokens: "max_tokens",
        tokenize: Some(Tokenizing {
            path: "/tokenize",
            text: "content",
            extra: r#"{"add_special": false, "parse_special": true}"#,
        }),
    },
    Dialect {
        name: "llama-cpp-python",
        // Its penalties look back over 64 tokens, or as many as `--last_n_tokens_size` said when it was started; a request
        // cannot change that.
        owners: &["me"],
        extra: r#"{"top_p": 1, "top_k": 0, "min_p": 0, "repeat_penalty": 1, "presence_penalty": 0,
                   "frequency_penalty": 0}"#,
        ids: Ids::Refused,
        tells_stops: false,
        interrupts: true,
        // Its servers keep no logits unless started so, and fail when asked.
        logprobs: false,
        stop_tokens: false,
        ignore_eos: false,
        top_k: Some("top_k"),
        min_p: Some("min_p"),
        repetition_penalty: Some("repeat_penalty"),
        window: None,
        constraining: Constraining::LlamaCppPython,
        alternatives: Alternatives::Unknown,
        scoring: None,
        max_tokens: "max_tokens",
        tokenize: Some(Tokenizing { path: "/extras/tokenize", text: "input", extra: "{}" }),
    },
];

impl Dialect {
    /// The dialect of a server whose models belong to `owner`.
    pub(super) fn of(owner: Option<&str>, is_openai: bool) -> &'static Self {
        if is_openai {
            return &OPENAI;
        }
        DIALECTS.iter().find(|dialect| owner.is_some_and(|owner| dialect.owners.contains(&owner))).unwrap_or(&OTHER)
    }

    /// The parameters to begin a request with.
    pub(super) fn parameters(&self) -> Value {
        serde_json::from_str(self.extra).unwrap_or_else(|_| json!({}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_found_and_its_parameters_are_json() {
        for dialect in DIALECTS {
            assert!(dialect.parameters()["top_p"] == 1, "{}", dialect.name);
            if let Some(tokenize) = &dialect.tokenize {
                let body = tokenize.body("m", "text");
                assert_eq!((&body["model"], &body[tokenize.text]), (&json!("m"), &json!("text")), "{}", dialect.name);
                // What puts a token before the text by itself is given the text without it.
                let kept = body.as_object().unwrap().values().filter(|value| **value == false).count();
                assert_eq!(kept == 0, dialect.ids == Ids::Refused, "{}", dialect.name);
            }
            for owner in dialect.owners {
                assert_eq!(Dialect::of(Some(owner), false).name, dialect.name);
            }
        }
        assert_eq!(Dialect::of(Some("library"), false).max_tokens, "max_tokens");
        assert_eq!(Dialect::of(None, true).max_tokens, "max_completion_tokens");
        for dialect in [&OPENAI, &OTHER] {
            assert_eq!(dialect.parameters(), json!({"top_p": 1}));
        }
    }
}
