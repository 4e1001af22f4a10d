//! For servers that take text alone: prompts written out, and answers read back into tokens.

use std::fmt;
use std::sync::Arc;

use relign_model::Tokenizer;
use serde_json::Value;

/// Writes tokens as text and reads text as tokens.
pub trait Spelling: Send + Sync {
    /// The text that a server is to read as `tokens`: special tokens written out, and without a token at the beginning
    /// that llama.cpp's kin put there by themselves.
    fn spell(&self, tokens: &[u32]) -> String;

    /// The tokens of what a model said, special tokens not looked for.
    fn read(&self, text: &str) -> Vec<u32>;
}

impl Spelling for Tokenizer {
    fn spell(&self, tokens: &[u32]) -> String {
        let doubled = self.adds_bos() && tokens.first().copied() == self.bos();
        let bytes: Vec<u8> =
            tokens.iter().skip(usize::from(doubled)).flat_map(|&token| self.token_bytes(token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn read(&self, text: &str) -> Vec<u32> {
        self.encode(text)
    }
}

/// A spelling that is handed around.
#[derive(Clone)]
pub(super) struct Shared(pub(super) Arc<dyn Spelling>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spelling(...)")
    }
}

/// Where the first of `stops` begins in `text`, and which it is: of several at one place the one that was complete first.
pub(super) fn border<'a>(text: &str, stops: &'a [String]) -> Option<(usize, &'a str)> {
    let found = stops.iter().filter_map(|stop| Some((text.find(stop.as_str())?, stop.as_str())));
    found.min_by_key(|&(place, stop)| (place, stop.len()))
}

/// Whether an answer that is streamed has come to its end, by the server's account or at one of `stops`.
pub(super) fn enough(events: &[Value], stops: &[String]) -> bool {
    let Some(last) = events.last() else { return false };
    let ended = last
        .pointer("/choices/0")
        .is_none_or(|choice| choice.get("finish_reason").and_then(Value::as_str).is_some_and(|why| !why.is_empty()));
    ended || border(&text_of(events), stops).is_some()
}

fn text_of(events: &[Value]) -> String {
    events.iter().filter_map(|event| event.pointer("/choices/0/text")?.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(text: &str, finish: Value) -> Value {
        json!({"choices": [{"text": text, "finish_reason": finish}]})
    }

    #[test]
    fn an_answer_ends_at_its_first_stop() {
        let stops = ["\n\n".to_owned(), "\n".to_owned(), "END".to_owned()];
        assert_eq!(border("aEND\n\n", &stops), Some((1, "END")));
        assert_eq!(border("a\n\nEND", &stops), Some((1, "\n")));
        assert_eq!((border("a", &stops), border("", &[])), (None, None));
    }

    #[test]
    fn a_stream_is_one_answer() {
        let stops = ["\n\n".to_owned()];
        let mut events = vec![said("a\n", json!(null))];
        assert!(!enough(&events, &stops) && !enough(&[], &stops));
        // A stop may lie across events.
        events.push(said("\nb", json!(null)));
        assert!(enough(&events, &stops));
        let ended = [said("a", json!(null)), said("", json!("length"))];
        assert!(enough(&ended, &stops));
        // Some servers write an empty reason until there is one.
        assert!(!enough(&[said("a", json!(""))], &stops));
        // An error in the middle is what is read.
        let failed = [said("a", json!(null)), json!({"error": {"message": "boom"}})];
        assert!(enough(&failed, &stops));
    }
}
