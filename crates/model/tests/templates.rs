//! Rendered chat templates equal transformers', for the models' own and for others' idioms.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

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

/// DeepSeek-R1-Distill-Qwen from a file whose weights are cut off: thoughts of earlier turns fall away,
/// the prompt begins the next one, and ids are llama.cpp's. (transformers takes the special tokens of
/// this file for text.)
#[test]
fn r1_is_rendered_and_tokenised_without_its_weights() {
    let fixture = common::json("r1.json");
    let Some(path) = common::model(fixture["model"].as_str().expect("a file")) else { return };
    let whole = Checkpoint::open(&path).err().expect("the file ends within its weights").to_string();
    assert!(whole.contains("truncated"), "{whole}");
    let checkpoint = Checkpoint::open_header(&path).expect("opens");
    let config = checkpoint.config();
    assert_eq!((config.model_type.as_str(), config.layers, config.hidden, config.tied), ("qwen2", 28, 3584, false));
    let error = checkpoint.tensor("model.layers.27.mlp.down_proj.weight").expect_err("beyond the end").to_string();
    assert!(error.contains("blk.27.ffn_down.weight") && error.contains("truncated"), "{error}");
    let tokenizer = checkpoint.tokenizer().expect("has a tokenizer");
    let template = tokenizer.template().expect("has a template");
    for case in fixture["cases"].as_array().expect("cases") {
        let conversation: Vec<Message> = serde_json::from_value(case["conversation"].clone()).expect("messages");
        for (key, answer) in [("prompt", true), ("text", false)] {
            let (expected, ids) = (&case[key]["text"], case[key]["ids"].as_str().expect("a hash"));
            let text = template.render(&conversation, answer).expect("renders");
            assert_eq!(Some(text.as_str()), expected.as_str());
            let got = tokenizer.encode_with_specials(&text);
            assert_eq!(common::fnv([got.clone()]), ids, "{text:?} became {got:?}");
        }
    }
    let sample = common::json("sample.json");
    for (text, expected) in common::strings(&sample).into_iter().zip(common::strings(&fixture["sample_plain"])) {
        assert_eq!(common::fnv([tokenizer.encode(text)]), expected, "{text:?}");
    }
}

/// When the script's clock stands still.
const NOW: u64 = 1_709_211_723;

/// Every template that trl and transformers carry, the inputs of people's reports, and idioms, over conversations with
/// systems, tools, calls, parts and without content: jinja2 itself says what comes out, or that nothing does.
#[test]
fn templates_of_other_projects_render_as_in_jinja2() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let peers = root.join("../../.x/peers/bin/python").display().to_string();
    let has = |python: &String| {
        let status = Command::new(python).args(["-c", "import trl, transformers, jinja2"]).output();
        status.is_ok_and(|done| done.status.success())
    };
    let Some(python) = [peers, "python3".to_owned()].into_iter().find(has) else {
        relign_core::skipped!("no Python with trl and transformers in .x/peers (./x peers) or on the path");
        return;
    };
    let reports = root.join("../../../shared/cases/templates");
    let mut files: Vec<_> = match reports.read_dir() {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) => {
            relign_core::skipped!("{}: {error}", reports.display());
            Vec::new()
        }
    };
    files.retain(|file| file.extension().is_some_and(|end| end == "jinja"));
    files.sort();
    let done = Command::new(&python).arg(root.join("tests/templates.py")).args(&files).output().expect("runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let (mut templates, mut renders, mut wrong) = (0, 0, Vec::new());
    for line in String::from_utf8(done.stdout).expect("UTF-8").lines() {
        let case: serde_json::Value = serde_json::from_str(line).expect("a case");
        templates += 1;
        renders += case["renders"].as_array().expect("renders").len();
        wrong.extend(differences(&case));
    }
    assert!(wrong.is_empty(), "{} of {renders} renders differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(templates > 100, "only {templates} templates");
    eprintln!("{templates} templates, {renders} renders as in jinja2");
}

/// Where a template comes out otherwise than with jinja2.
fn differences(case: &serde_json::Value) -> Vec<String> {
    let specials = serde_json::from_value(case["specials"].clone()).expect("special tokens");
    let template = Template::new(case["source"].as_str().expect("a source"), specials).map(|t| t.at(NOW));
    let mut wrong = Vec::new();
    for render in case["renders"].as_array().expect("renders") {
        let arguments = render["arguments"].as_object().expect("arguments");
        let answer = render["answer"].as_bool().expect("a flag");
        let got = template.as_ref().map_err(Clone::clone);
        let got = got.and_then(|template| template.render_with(&render["messages"], answer, arguments));
        let same = match (&got, render["text"].as_str()) {
            (Ok(got), Some(expected)) => got == expected,
            (got, expected) => got.is_err() && expected.is_none(),
        };
        if !same {
            let expected = render.get("text").unwrap_or(&render["error"]);
            wrong.push(format!("{} ({}, {answer}): got {got:?}, jinja2 {expected}", case["name"], render["name"]));
        }
    }
    wrong
}
