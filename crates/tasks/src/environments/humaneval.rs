//! Python functions from their descriptions.

use relign_core::{Entry, Environment, Task};

use super::card::Card;

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: CARD.name, schema: || CARD.schema(), build: |settings| CARD.build(settings) };

const CARD: Card = Card {
    name: "humaneval",
    about: "HumanEval (2107.03374): write a Python function from its signature and description; its tests run in a sandbox.",
    origin: "openai/human-eval",
    licence: "MIT",
    splits: "164 held out, none to train on",
    folder: "humaneval",
    eval: &["HumanEval", "test"],
    hub: Some("hf:openai/openai_humaneval"),
    prompt: "Complete this Python function.\n\n```python\n{{ prompt|trim }}\n```",
    instruction: "Reply with the whole function in one block of code.",
    // The tests are the answer.
    answer: "entry_point",
    facts: &[
        ("language", "'python'"),
        ("prefix", "prompt"),
        ("entry_point", "entry_point"),
        ("tests", r"test ~ '\ncheck(' ~ entry_point ~ ')\n'"),
        ("solution", "prompt ~ canonical_solution"),
    ],
    key: Some("prompt"),
    reward: r#"{"name": "code"}"#,
    oracle: solution,
    ..Card::BLANK
};

/// A task's solution in Python, as an answer.
pub(super) fn solution(task: &Task) -> String {
    task.facts.get("solution").map(|code| format!("```python\n{code}\n```")).unwrap_or_default()
}
