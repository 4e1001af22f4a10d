//! Rust functions from their descriptions.

use relign_core::{Entry, Environment};

use super::card::Card;

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: CARD.name, schema: || CARD.schema(), build: |settings| CARD.build(settings) };

const CARD: Card = Card {
    name: "humaneval-rs",
    about: "HumanEval in Rust (MultiPL-E, 2208.08227): write a Rust function from its signature and description; its tests run in a sandbox.\n\nNeeds `rustc`. No solutions are published with it, so none can be shown.",
    origin: "nuprl/MultiPL-E",
    licence: "BSD-3-Clause",
    splits: "156 held out, none to train on",
    folder: "humaneval",
    eval: &["humaneval-rs", "test"],
    hub: Some("hf:nuprl/MultiPL-E:humaneval-rs"),
    fields: &[("function", "prompt.split('fn ')[-1].split('(')[0]|trim")],
    prompt: "Complete this Rust function.\n\n```rust\n{{ prompt|trim }}\n```",
    instruction: "Reply with the whole function in one block of code.",
    // The tests are the answer.
    answer: "function",
    facts: &[("language", "'rust'"), ("prefix", "prompt"), ("entry_point", "function"), ("tests", "tests")],
    key: Some("prompt"),
    reward: r#"{"name": "code"}"#,
    oracle: |_| String::new(),
    ..Card::BLANK
};
