//! The verdict on one answer.

use num_rational::BigRational;

use super::policy::Policy;
use crate::number;

/// A task's answer, parsed once.
///
/// Gold and answer are different types because they are not interchangeable: see [`verify`].
#[derive(Clone, Debug)]
pub struct Gold {
    text: String,
    value: Option<BigRational>,
    policy: Policy,
}

/// Why a gold answer cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoldError {
    /// Nothing stands there.
    #[error("gold answer: expected an answer, got an empty text")]
    Empty,
    /// It is longer than any answer.
    #[error("gold answer: expected at most {most} bytes, got {got}")]
    TooLong {
        /// The limit, in bytes.
        most: usize,
        /// The text's length, in bytes.
        got: usize,
    },
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub finding: Finding,
    /// Why, in a sentence.
    pub reason: String,
    /// What was taken for the answer, as it stands in the text.
    pub extracted: Option<String>,
}

/// The verdict on an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It equals the gold answer.
    Correct,
    /// An answer was found and it does not equal the gold answer.
    Wrong,
    /// No answer was found, or what was found cannot be read.
    Unparsed,
}

impl Gold {
    /// Reads a gold answer: bare mathematics or words, without a sentence around it.
    ///
    /// # Errors
    /// If it is empty or longer than 10,000 bytes.
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, GoldError> {
        const MOST: usize = 10_000;
        let text = text.trim();
        if text.is_empty() {
            return Err(GoldError::Empty);
        }
        if text.len() > MOST {
            return Err(GoldError::TooLong { most: MOST, got: text.len() });
        }
        Ok(Self { text: text.to_owned(), value: number::parse(&number::plain(text)), policy: *policy })
    }

    /// The gold answer as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The policy it was parsed under.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// Finds the answer in `text` and compares it with `gold`, under the gold answer's policy.
#[must_use]
pub fn verify(gold: &Gold, text: &str) -> Judgement {
    let plain = number::plain(text);
    let found = number::numbers(&plain);
    let Some(last) = found.last() else {
        return Judgement { finding: Finding::Unparsed, reason: "no answer was found".to_owned(), extracted: None };
    };
    let right = gold.value.as_ref() == Some(&last.value);
    Judgement {
        finding: if right { Finding::Correct } else { Finding::Wrong },
        reason: if right { "equal numbers" } else { "different numbers" }.to_owned(),
        extracted: Some(plain[last.start..last.end].to_owned()),
    }
}

/// Whether two bare answers are the same, for counting votes. Symmetric, unlike [`verify`]: neither is gold.
#[must_use]
pub fn equivalent(a: &str, b: &str, policy: &Policy) -> bool {
    let one_way =
        |a: &str, b: &str| Gold::parse(a, policy).is_ok_and(|gold| verify(&gold, b).finding == Finding::Correct);
    one_way(a, b) && one_way(b, a)
}
