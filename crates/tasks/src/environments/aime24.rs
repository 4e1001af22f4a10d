//! The AIME of 2024.

use relign_core::{Entry, Environment};

use super::card::Card;

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: CARD.name, schema: || CARD.schema(), build: |settings| CARD.build(settings) };

const CARD: Card = Card {
    name: "aime24",
    about: "AIME 2024: the 30 problems of both American Invitational Mathematics Examinations of 2024.\n\nAnswers are whole numbers from 0 to 999; `025` and `25` are equal.",
    origin: "MAA; collected as math-ai/aime24",
    licence: "the texts belong to the MAA: for measuring only",
    splits: "30 held out, none to train on",
    folder: "aime",
    eval: &["aime24", "test"],
    hub: Some("hf:math-ai/aime24"),
    // The hub's rows have the answer in their solution alone.
    fields: &[("gold", "answer if answer is defined else solution|boxed")],
    prompt: "{{ problem }}",
    instruction: super::math::INSTRUCTION,
    answer: "gold",
    reward: r#"{"name": "math", "policy": "aime"}"#,
    oracle: super::math::boxed,
    ..Card::BLANK
};
