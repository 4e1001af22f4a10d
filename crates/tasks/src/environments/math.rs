//! Competition mathematics to train on.

use relign_core::{Entry, Environment, Task};

use super::card::Card;

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: CARD.name, schema: || CARD.schema(), build: |settings| CARD.build(settings) };

pub(super) const INSTRUCTION: &str = "Think step by step and put the final answer into \\boxed{}.";
pub(super) const REWARD: &str = r#"{"name": "math"}"#;

/// What solves a task of mathematics.
pub(super) fn boxed(task: &Task) -> String {
    format!("So the answer is \\boxed{{{}}}.", task.answer)
}

const CARD: Card = Card {
    name: "math",
    about: "MATH (2103.03874): competition problems to train on, with the 500 of MATH-500 held out.\n\nFields for filters: `subject` and `level` (0 to 5). Training problems that are held out as well are left out; some stand in other public test sets.",
    origin: "hendrycks/math, openai/prm800k",
    licence: "MIT",
    splits: "7,472 to train on (two more have no answer), the 500 of `math500` held out; on the hub 12,000 to train on, all that are not among the 500",
    folder: "math",
    train: &["train_answers", "train"],
    eval: &["math500", "test"],
    hub: Some("hf:nlile/hendrycks-MATH-benchmark"),
    // Both files say the same in other words.
    fields: &[
        ("subject", "subject if subject is defined else type"),
        ("level", "level if level is defined else difficulty"),
    ],
    prompt: "{{ problem }}",
    instruction: INSTRUCTION,
    reward: REWARD,
    // Two rows have no answer.
    bad_rows: 2,
    oracle: boxed,
    ..Card::BLANK
};
