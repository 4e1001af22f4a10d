//! Questions about companies' reports.

use relign_core::{Entry, Environment};

use super::card::Card;

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: CARD.name, schema: || CARD.schema(), build: |settings| CARD.build(settings) };

const CARD: Card = Card {
    name: "finqa",
    about: "FinQA (2109.00122): questions about the text and tables of companies' annual reports, answered by calculation.\n\nA row has `conversations`, or `query` and `answer` as on the hub: the question with its context, and the answer. Gold answers are results of programs (0.60306 where a report would say 60.3 %), a few are yes or no; the reward takes percentages as fractions too, and what is rounded correctly.",
    origin: "czyssrs/FinQA, its questions with their context as FLARE (2306.05443) asks them; on the hub its terms are to be accepted first",
    licence: "MIT",
    splits: "the dev set's 883 held out; 6,251 to train on where `train` is there too, as on the hub",
    folder: "finqa",
    train: &["train"],
    eval: &["valid", "test"],
    hub: Some("hf:TheFinAI/flare-finqa"),
    fields: &[
        ("question", "(query if query is defined else conversations[0].value)|trim"),
        ("gold", "(answer if query is defined else conversations[1].value)|trim"),
    ],
    prompt: "{{ question }}",
    instruction: "Think step by step. Write percentages with a % sign. End with \"The answer is\" and the number, or yes or no.",
    answer: "gold",
    reward: r#"{"name": "numeric"}"#,
    ..Card::BLANK
};
