//! Short Python programs from one sentence and three tests.

use relign_core::{Entry, Environment, Split};

use super::card::Card;
use super::humaneval::solution;
use crate::data::Row;

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: CARD.name, schema: || CARD.schema(), build: |settings| CARD.build(settings) };

const CARD: Card = Card {
    name: "mbpp",
    about: "MBPP (2108.07732): write a Python function from one sentence; its asserts, which are shown, run in a sandbox.\n\nThe splits are the authors', by `task_id`. Three training rows whose sentence is held out too are left out; ids 1 to 10 (their prompts) and 511 to 600 (validation) are in neither.",
    origin: "google-research/mbpp",
    licence: "CC-BY-4.0",
    splits: "371 to train on (of ids 601 to 974), 500 held out (11 to 510)",
    folder: "mbpp",
    eval: &["mbpp", "test"],
    hub: Some("hf:google-research-datasets/mbpp:full"),
    split: Some(split),
    prompt: "{{ text }}\n\nThe code must pass these tests:\n\n```python\n{{ test_list|join('\\n') }}\n```",
    instruction: "Reply with the Python code in one block.",
    // The tests are the answer.
    answer: "test_list[0]",
    facts: &[
        ("language", "'python'"),
        ("tests", r"test_setup_code ~ '\n' ~ test_list|join('\n') ~ '\n'"),
        ("solution", "code"),
    ],
    key: Some("text"),
    reward: r#"{"name": "code"}"#,
    oracle: solution,
    ..Card::BLANK
};

fn split(row: &Row) -> Option<Split> {
    match u64::try_from(row.get("task_id")?.clone()).ok()? {
        11..=510 => Some(Split::Eval),
        601..=974 => Some(Split::Train),
        _ => None,
    }
}
