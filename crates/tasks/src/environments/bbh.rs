//! Hard tasks of BIG-Bench.

use relign_core::{ConfigError, Entry, Environment, Seed, parse};
use serde_json::{Value, json};

use super::card::{Card, Settings};

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> = Entry { name: CARD.name, schema, build };

/// The tasks, as their files are called.
pub static TASKS: [&str; 27] = [
    "boolean_expressions",
    "causal_judgement",
    "date_understanding",
    "disambiguation_qa",
    "dyck_languages",
    "formal_fallacies",
    "geometric_shapes",
    "hyperbaton",
    "logical_deduction_five_objects",
    "logical_deduction_seven_objects",
    "logical_deduction_three_objects",
    "movie_recommendation",
    "multistep_arithmetic_two",
    "navigate",
    "object_counting",
    "penguins_in_a_table",
    "reasoning_about_colored_objects",
    "ruin_names",
    "salient_translation_error_detection",
    "snarks",
    "sports_understanding",
    "temporal_sequences",
    "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects",
    "tracking_shuffled_objects_three_objects",
    "web_of_lies",
    "word_sorting",
];

const CARD: Card = Card {
    name: "bbh",
    about: "BIG-Bench Hard (2210.09261): 27 tasks of BIG-Bench that language models of 2022 did worse on than people.\n\nWithout `task` all of them are asked, mixed by a fixed seed. The files carry a canary string: their authors ask that they stay out of training sets, and there are no training rows.",
    origin: "suzgunmirac/BIG-Bench-Hard",
    licence: "MIT",
    splits: "6,511 held out, 146 to 250 a task; none to train on",
    folder: "bbh",
    eval: &[],
    // Its main branch is a script; the hub's own conversion has the rows.
    hub: Some("hf:lukaemon/bbh@refs/convert/parquet"),
    config: Some("*"),
    prompt: "{{ input }}",
    instruction: "Think step by step and end with \"The answer is\" and the answer; where there are options with letters, the letter.",
    answer: "target",
    reward: r#"{"name": "by_form"}"#,
    ..Card::BLANK
};

fn schema() -> Value {
    let mut schema = CARD.schema();
    schema["properties"]["task"] = json!({
        "type": ["string", "null"],
        "enum": TASKS.iter().map(|task| json!(task)).chain([Value::Null]).collect::<Vec<_>>(),
        "default": null,
        "description": "One of the 27 tasks; left out, all of them.",
    });
    schema
}

fn build(mut settings: Value) -> Result<Box<dyn Environment>, ConfigError> {
    let task = settings.as_object_mut().and_then(|settings| settings.remove("task")).unwrap_or_default();
    let settings: Settings = parse(settings).map_err(|mut error| {
        error.message = error.message.replace("expected one of `path`", "expected one of `task`, `path`");
        error
    })?;
    if task.is_null() {
        return CARD.with(Settings { shuffle: settings.shuffle.or(Some(Seed(0))), ..settings });
    }
    let place = TASKS.iter().position(|known| task == *known).ok_or_else(|| {
        ConfigError::at("task", format!("unknown task {task}, expected one of: {}", TASKS.join(", ")))
    })?;
    let eval = std::slice::from_ref(&TASKS[place]);
    Card { eval, config: Some(TASKS[place]), ..CARD }.with(settings)
}
