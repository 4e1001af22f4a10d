//! The AMC 12 of 2023.

use relign_core::{Entry, Environment};

use super::card::Card;

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: CARD.name, schema: || CARD.schema(), build: |settings| CARD.build(settings) };

const CARD: Card = Card {
    name: "amc23",
    about: "AMC 2023: 40 problems of both American Mathematics Competitions 12 of 2023, their answers as whole numbers instead of letters.",
    origin: "MAA; collected as math-ai/amc23",
    licence: "the texts belong to the MAA: for measuring only",
    splits: "40 held out, none to train on",
    folder: "amc",
    eval: &["amc23", "test"],
    hub: Some("hf:math-ai/amc23"),
    prompt: "{{ question }}",
    instruction: super::math::INSTRUCTION,
    reward: r#"{"name": "math", "policy": "aime"}"#,
    oracle: super::math::boxed,
    ..Card::BLANK
};
