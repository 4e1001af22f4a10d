//! Where a step of a chain of thought ends.

use relign_core::{ConfigError, Sampling, Tokenize};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an answer is cut into steps.
///
/// A step's node holds its tokens to the one that completes the border, and its text is what these say: nothing is
/// tokenised again. A token that reaches over the border belongs to the step that it completes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Steps {
    /// What ends a step.
    pub border: Border,
    /// The longest a step may be, in tokens; one without a border ends there.
    pub max_tokens: usize,
    /// The most steps of an answer. The last goes on to the answer's end.
    pub most: usize,
    /// Strings that end a step, for the border `strings`.
    pub strings: Vec<String>,
}

impl Default for Steps {
    fn default() -> Self {
        Self { border: Border::BlankLine, max_tokens: 256, most: 40, strings: Vec::new() }
    }
}

/// What ends a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// An empty line.
    BlankLine,
    /// The end of a line.
    Line,
    /// A line that begins with the word Step: it is the last word of the step before.
    Numbered,
    /// The end of a sentence, with the space or line break after it.
    Sentence,
    /// `max_tokens` tokens, wherever that is.
    Tokens,
    /// The end of the thinking, `</think>`: two steps, the thinking and the answer.
    EndOfThink,
    /// One of `strings`.
    Strings,
}

impl Steps {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let at_least_one = |name: &str, n: usize| match n {
            0 => Err(ConfigError::at(format!("steps.{name}"), "expected at least 1, got 0")),
            _ => Ok(()),
        };
        at_least_one("max_tokens", self.max_tokens)?;
        at_least_one("most", self.most)?;
        let wanted = self.border == Border::Strings;
        match self.strings.as_slice() {
            [] if wanted => {
                Err(ConfigError::at("steps.strings", "expected a string for the border `strings`, got none"))
            }
            [_, ..] if !wanted => Err(ConfigError::at("steps.strings", "expected none without the border `strings`")),
            strings if strings.iter().any(String::is_empty) => {
                Err(ConfigError::at("steps.strings", "expected strings with text in them, got an empty one"))
            }
            _ => Ok(()),
        }
    }

    /// How a step is sampled, of an answer that may have `left` more tokens.
    pub(crate) fn sampling(&self, whole: &Sampling, tokenizer: &dyn Tokenize, left: usize) -> Sampling {
        let mut sampling = Sampling { max_tokens: left.min(self.max_tokens), ..whole.clone() };
        let stops: &[&str] = match self.border {
            Border::BlankLine => &["\n\n"],
            Border::Line => &["\n"],
            Border::Numbered => &["\nStep"],
            Border::Sentence => &[". ", "! ", "? ", ".\n", "!\n", "?\n"],
            Border::Tokens | Border::Strings => &[],
            Border::EndOfThink => {
                end_of(THINK, tokenizer, &mut sampling);
                &[]
            }
        };
        sampling.stop.extend(stops.iter().map(|&stop| stop.to_owned()));
        sampling.stop.extend(self.strings.iter().cloned());
        sampling
    }

    /// The token that ends a step without ending the answer, if one does.
    pub(crate) fn end_token(&self, tokenizer: &dyn Tokenize) -> Option<u32> {
        (self.border == Border::EndOfThink).then(|| single(THINK, tokenizer)).flatten()
    }
}

/// What ends the thinking of Qwen3, R1 and their kin.
pub(crate) const THINK: &str = "</think>";

/// Makes `sampling` end with `word`: by its token where it is one, since special tokens have no text to be found in.
pub(crate) fn end_of(word: &str, tokenizer: &dyn Tokenize, sampling: &mut Sampling) {
    match single(word, tokenizer) {
        Some(token) => sampling.stop_tokens.push(token),
        None => sampling.stop.push(word.to_owned()),
    }
}

/// The one token that `word` is, if it is one.
pub(crate) fn single(word: &str, tokenizer: &dyn Tokenize) -> Option<u32> {
    match tokenizer.encode(word).ok()?.as_slice() {
        [token] => Some(*token),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use relign_core::Message;

    use super::*;

    /// Knows `</think>` as token 7, or not at all.
    struct Words(bool);

    impl Tokenize for Words {
        fn render(&self, _: &[Message]) -> Result<Vec<u32>, String> {
            Ok(Vec::new())
        }

        fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
            Ok(if self.0 && text == THINK { vec![7] } else { text.chars().map(u32::from).collect() })
        }

        fn decode(&self, _: &[u32]) -> String {
            String::new()
        }
    }

    #[test]
    fn every_border_ends_a_step_and_the_users_own_stops_stay() {
        let whole = Sampling { stop: vec!["END".to_owned()], max_tokens: 500, ..Sampling::default() };
        for (border, stops) in [
            (Border::BlankLine, &["\n\n"][..]),
            (Border::Line, &["\n"]),
            (Border::Numbered, &["\nStep"]),
            (Border::Sentence, &[". ", "! ", "? ", ".\n", "!\n", "?\n"]),
            (Border::Tokens, &[]),
            (Border::EndOfThink, &[THINK]),
        ] {
            let steps = Steps { border, max_tokens: 40, ..Steps::default() };
            steps.check().unwrap();
            let sampling = steps.sampling(&whole, &Words(false), 100);
            assert_eq!(sampling.stop[0], "END");
            assert_eq!(&sampling.stop[1..], stops, "{border:?}");
            assert_eq!((sampling.max_tokens, sampling.stop_tokens.len()), (40, 0));
            assert_eq!(steps.sampling(&whole, &Words(false), 9).max_tokens, 9);
        }
        let thinks = Steps { border: Border::EndOfThink, ..Steps::default() };
        let sampling = thinks.sampling(&whole, &Words(true), 100);
        assert_eq!((sampling.stop_tokens, sampling.stop.len()), (vec![7], 1));
        assert_eq!(thinks.end_token(&Words(true)), Some(7));
    }
}
