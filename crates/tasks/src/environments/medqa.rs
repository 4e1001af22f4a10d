//! Questions of medical licensing examinations.

use relign_core::{Entry, Environment};

use super::card::Card;

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: CARD.name, schema: || CARD.schema(), build: |settings| CARD.build(settings) };

const CARD: Card = Card {
    name: "medqa",
    about: "MedQA (2009.13081): questions in the style of the US medical licensing examination, four options each.",
    origin: "jind11/MedQA, in the form of GBaker/MedQA-USMLE-4-options",
    licence: "MIT",
    splits: "1,273 held out; 10,178 to train on where `train` is there too, as on the hub",
    folder: "medqa",
    train: &["train"],
    hub: Some("hf:GBaker/MedQA-USMLE-4-options"),
    prompt: "{{ question }}\n{% for letter, text in options|dictsort %}\n{{ letter }}. {{ text }}{% endfor %}",
    instruction: "Think step by step and end with \"The answer is\" and the letter.",
    answer: "answer_idx",
    facts: &[("options", "options")],
    key: Some("question"),
    reward: r#"{"name": "choice"}"#,
    ..Card::BLANK
};
