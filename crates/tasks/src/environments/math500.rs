//! Competition mathematics, the 500 problems that most papers measure on.

use relign_core::{Entry, Environment};

use super::card::Card;

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: CARD.name, schema: || CARD.schema(), build: |settings| CARD.build(settings) };

const CARD: Card = Card {
    name: "math500",
    about: "MATH-500: 500 test problems of MATH (2103.03874), chosen by \"Let's Verify Step by Step\" (2305.20050).\n\nFields for filters: `subject`, `level` (1 to 5), `unique_id`.",
    origin: "hendrycks/math, openai/prm800k",
    licence: "MIT",
    splits: "500 held out, none to train on (`math` has those)",
    folder: "math",
    eval: &["math500", "test"],
    hub: Some("hf:HuggingFaceH4/MATH-500"),
    prompt: "{{ problem }}",
    instruction: super::math::INSTRUCTION,
    reward: super::math::REWARD,
    oracle: super::math::boxed,
    ..Card::BLANK
};
