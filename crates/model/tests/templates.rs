//! Rendered chat templates equal transformers', for the models' own and for others' idioms.

mod common;

use std::collections::BTreeMap;

use relign_core::{Message, Tokenize};
use relign_model::{Checkpoint, Template};

#[test]
fn templates_render_as_in_transformers() {
    let fixture = common::json("templates.json");
    let conversations: Vec<Vec<Message>> =
        serde_json::from_value(fixture["conversations"].clone()).expect("conversations");
    let mut own = 0;
    for case in fixture["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let template = if let Some(source) = case["source"].as_str() {
            // The special tokens of the tokenizer that the script rendered with.
            let specials = [("bos_token", "<|im_start|>"), ("eos_token", "<|im_end|>")];
            let specials: BTreeMap<_, _> = specials.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            Template::new(source, specials).unwrap_or_else(|e| panic!("{name}: {e}"))
        } else {
            let Some(path) = common::model(case["tokenizer"].as_str().expect("a file")) else { continue };
            let tokenizer = Checkpoint::open(path).expect("opens").tokenizer().expect("has a tokenizer");
            own += 1;
            for (messages, output) in conversations.iter().zip(case["outputs"].as_array().expect("outputs")) {
                let expected = output["text"].as_str().expect("the models' own templates take all of them");
                assert_eq!(tokenizer.render_text(messages).as_deref(), Ok(expected), "{name}");
                let ids = tokenizer.render(messages).expect("renders");
                assert_eq!(common::fnv([ids]), output["ids"].as_str().expect("a hash"), "{name}: {expected:?}");
            }
            continue;
        };
        for (messages, output) in conversations.iter().zip(case["outputs"].as_array().expect("outputs")) {
            match (template.render(messages, true), output["text"].as_str()) {
                (Ok(got), Some(expected)) => assert_eq!(got, expected, "{name}"),
                (Err(got), None) => assert!(got.contains(output["error"].as_str().expect("an error")), "{name}: {got}"),
                (got, expected) => panic!("{name}: got {got:?}, transformers {expected:?}"),
            }
        }
    }
    eprintln!("compared with {}; {own} of the models' own templates", fixture["reference"]);
}
