//! What counts as the answer, and what its spelling means: one policy per kind of data set.

use relign_core::ConfigError;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where the final answer stands and how it is read.
///
/// A policy belongs to a data set, not to a model: gold answers are parsed under it once, and every
/// answer is read the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Where in a text the answer is looked for.
    pub extract: Extract,
    /// Read `3,14` as a decimal fraction and `1.234` as a thousand and more.
    pub decimal_comma: bool,
    /// What a percent sign means.
    pub percent: Percent,
    /// What a unit behind a value means.
    pub units: Units,
    /// An answer in decimals is taken for a gold answer that has no such decimals (`1/3`, `\sqrt{2}`) from
    /// this many significant digits on, if it is rounded or cut off correctly. 0: never.
    pub digits: u32,
}

/// Where the answer stands in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Extract {
    /// The first of these that the text has: the last `\boxed{}`; behind the last `####`; behind the last
    /// "answer is" or "answer:"; the whole text where it is nothing but an answer; the last formula
    /// between dollars or in `\(...\)`; the last number.
    #[default]
    Auto,
    /// The last `\boxed{}` and nothing else.
    Boxed,
    /// Behind the last `####` and nothing else.
    Marker,
    /// The last number of all.
    LastNumber,
    /// The letter of a multiple-choice answer: boxed, behind "answer is", alone in the text or on its
    /// last line.
    Choice,
    /// The whole text.
    Whole,
}

/// What a percent sign means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Percent {
    /// `28%` is 0.28 and, because questions ask for "how many percent", 28 too. 28 is never 0.28.
    #[default]
    Either,
    /// `28%` is 0.28.
    Hundredth,
    /// `28%` is 28.
    Ignored,
}

/// What a unit behind a value means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// It may be left out; two known units that differ make the answer wrong.
    #[default]
    Compare,
    /// It means nothing.
    Ignored,
}

impl Policy {
    /// Competition mathematics in LaTeX (MATH, AMC, Olympiads).
    pub const LATEX: Self = Self {
        extract: Extract::Auto,
        decimal_comma: false,
        percent: Percent::Either,
        units: Units::Compare,
        digits: 6,
    };
    /// GSM8K: a number behind `####`, boxed or behind "answer is"; units and percent signs mean nothing.
    pub const GSM8K: Self = Self { percent: Percent::Ignored, units: Units::Ignored, ..Self::LATEX };
    /// The last number of the text, whatever stands around it.
    pub const NUMBER: Self = Self { extract: Extract::LastNumber, ..Self::GSM8K };
    /// AIME: a whole number from 0 to 999.
    pub const AIME: Self = Self { digits: 0, ..Self::GSM8K };
    /// Only what is boxed counts.
    pub const BOXED: Self = Self { extract: Extract::Boxed, ..Self::LATEX };
    /// The letter of a multiple-choice answer.
    pub const CHOICE: Self = Self { extract: Extract::Choice, ..Self::LATEX };
    /// The text is nothing but the answer.
    pub const BARE: Self = Self { extract: Extract::Whole, ..Self::LATEX };
    /// LaTeX with a decimal comma, as in most of Europe.
    pub const DECIMAL_COMMA: Self = Self { decimal_comma: true, ..Self::LATEX };

    /// The policies that have a name, each with the line that explains it.
    pub const NAMED: &[(&str, Self, &str)] = &[
        ("latex", Self::LATEX, "competition mathematics in LaTeX or plain text; the default"),
        ("gsm8k", Self::GSM8K, "word problems: units and percent signs mean nothing"),
        ("aime", Self::AIME, "whole numbers: no answer in rounded decimals"),
        ("number", Self::NUMBER, "the last number of the text"),
        ("boxed", Self::BOXED, "only what stands in \\boxed{}"),
        ("choice", Self::CHOICE, "the letter of a multiple-choice answer"),
        ("bare", Self::BARE, "the whole text is the answer"),
        ("decimal_comma", Self::DECIMAL_COMMA, "3,14 is a decimal fraction, 1.234 a thousand"),
    ];

    /// The policy called `name`.
    ///
    /// # Errors
    /// If there is none of that name; the message lists them.
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        Self::NAMED.iter().find(|(known, ..)| *known == name).map(|(_, policy, _)| *policy).ok_or_else(|| {
            let names: Vec<_> = Self::NAMED.iter().map(|(known, ..)| *known).collect();
            ConfigError::at("policy", format!("unknown policy `{name}`, expected one of: {}", names.join(", ")))
        })
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::LATEX
    }
}
