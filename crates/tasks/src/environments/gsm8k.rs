//! Grade-school word problems.

use relign_core::{Entry, Environment};

use super::card::Card;
use crate::number;

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: CARD.name, schema: || CARD.schema(), build: |settings| CARD.build(settings) };

const CARD: Card = Card {
    name: "gsm8k",
    about: "GSM8K (2110.14168): grade-school word problems, from `train` and `test`.\n\nA row has `question` and `answer`; the answer's number stands after its last `####`. Training questions that stand in the held-out file as well, spaces and case aside, are left out.",
    origin: "openai/grade-school-math",
    licence: "MIT",
    splits: "7,473 to train on, 1,319 held out",
    folder: "gsm8k",
    train: &["train"],
    hub: Some("hf:openai/gsm8k:main"),
    instruction: "Think step by step and end with #### and the number.",
    fields: &[("gold", "answer|after('####')")],
    answer: "gold",
    facts: &[("solution", "answer")],
    reward: r#"{"name": "final_number"}"#,
    check: |task| match number::parse(&task.answer) {
        Some(_) => Ok(()),
        None => Err(format!("expected an answer that ends in #### and a number, got `{}`", task.answer)),
    },
    oracle: |task| task.facts.get("solution").cloned().unwrap_or_default(),
    ..Card::BLANK
};
