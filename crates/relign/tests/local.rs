//! The real binary over models that are read here: a tiny one with weights at random, and SmolLM2 where it is at hand.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

mod binary;

use binary::{ask, lines, relign, smollm2, stderr, stdout, tiny};
use serde_json::{Value, json};

/// `generate` on the tiny model, with `more` arguments.
fn generate(more: &[&str]) -> std::process::Output {
    let model = tiny();
    let output = relign(&[&["generate", "--model", &model, "--dtype", "f32"], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

#[test]
fn generate_says_the_same_as_text_and_as_json() {
    let call = ["--prompt", "What is 3 + 4?", "--max-tokens", "20", "--temperature", "1", "--seed", "5"];
    let text = stdout(&generate(&call));
    let all = lines(&generate(&[&call[..], &["--json"]].concat()));
    let [line, summary] = &all[..] else { panic!("{all:?}") };
    assert_eq!(text, format!("{}\n", line["text"].as_str().unwrap().trim_end()));
    let (tokens, logprobs) = (line["tokens"].as_array().unwrap(), line["logprobs"].as_array().unwrap());
    assert!(!tokens.is_empty() && tokens.len() <= 20 && tokens.iter().all(|token| token.as_u64().unwrap() < 128));
    assert_eq!(tokens.len(), logprobs.len());
    assert!(logprobs.iter().all(|logprob| logprob.as_f64().unwrap() <= 0.0));
    let finish = if tokens.len() == 20 { "length" } else { "stop" };
    assert_eq!((&line["prompt"], &line["sample"], &line["finish"]), (&json!(0), &json!(0), &json!(finish)));
    assert_eq!((&summary["summary"], &summary["completions"]), (&json!(true), &json!(1)));
    assert_eq!((&summary["tokens"], &summary["dtype"]), (&json!(tokens.len()), &json!("f32")));
}

#[test]
fn a_seed_gives_the_same_samples_and_samples_differ() {
    let call = |seed: &str, n: &str| {
        let more = ["--prompt", "hi", "-n", n, "--temperature", "1", "--max-tokens", "12", "--seed", seed, "--json"];
        let mut all = lines(&generate(&more));
        all.pop();
        all
    };
    let (once, again, other) = (call("7", "5"), call("7", "5"), call("8", "5"));
    assert_eq!(once, again);
    assert_ne!(once, other);
    let places: Vec<_> = once.iter().map(|line| line["sample"].as_u64().unwrap()).collect();
    assert_eq!(places, [0, 1, 2, 3, 4]);
    let texts: std::collections::HashSet<_> = once.iter().map(|line| line["text"].to_string()).collect();
    assert!(texts.len() > 1);
    // A sample's randomness is its own: fewer of them are the first of more.
    assert_eq!(call("7", "2"), once[..2]);
}

#[test]
fn a_file_of_prompts_is_answered_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.jsonl");
    let text = "{\"prompt\": \"one\", \"id\": \"a\"}\n\n{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, \
                {\"role\": \"user\", \"content\": \"two\"}], \"id\": 2}\n{\"prompt\": \"one\"}\n";
    std::fs::write(&file, text).unwrap();
    let call = ["--file", file.to_str().unwrap(), "-n", "2", "--max-tokens", "9", "--json"];
    let all = lines(&generate(&call));
    let places: Vec<_> = all[..6].iter().map(|line| json!([line["prompt"], line["sample"], line["id"]])).collect();
    let expected = [[json!(0), json!("a")], [json!(1), json!(2)], [json!(2), Value::Null]];
    for (at, [prompt, id]) in expected.iter().enumerate() {
        assert_eq!(places[2 * at], json!([prompt, 0, id]));
        assert_eq!(places[2 * at + 1], json!([prompt, 1, id]));
    }
    // Greedily, equal prompts have equal answers, in company as alone.
    assert_eq!(all[0]["tokens"], all[1]["tokens"]);
    assert_eq!(all[0]["tokens"], all[4]["tokens"]);
    let alone = lines(&generate(&["--prompt", "one", "--max-tokens", "9", "--json"]));
    assert_eq!((&all[0]["tokens"], &all[0]["logprobs"]), (&alone[0]["tokens"], &alone[0]["logprobs"]));
    assert_eq!((&all[6]["prompts"], &all[6]["completions"]), (&json!(3), &json!(6)));
}

#[test]
fn chat_answers_each_line_and_remembers() {
    let model = tiny();
    let call = ["chat", &model, "--dtype", "f32", "--max-tokens", "15", "--temperature", "1", "--seed", "3"];
    let output = ask(&[&call[..], &["--json"]].concat(), "Hello\n\n/reset\nHello\nAnd now?\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let all = lines(&output);
    assert_eq!(all.len(), 4);
    let turns: Vec<_> = all[..3].iter().map(|line| line["turn"].as_u64().unwrap()).collect();
    assert_eq!(turns, [0, 1, 2]);
    let counts: u64 = all[..3].iter().map(|line| line["tokens"].as_u64().unwrap()).sum();
    assert_eq!((&all[3]["turns"], &all[3]["tokens"]), (&json!(3), &json!(counts)));
    assert!(all[..3].iter().all(|line| (1..=15).contains(&line["tokens"].as_u64().unwrap())));
    assert_eq!(ask(&[&call[..], &["--json"]].concat(), "Hello\n\n/reset\nHello\nAnd now?\n").stdout, output.stdout);
    // As text: what was said, and a remark where it was cut off.
    let plain = ask(&call, "Hello\n");
    let (said, text) = (stdout(&plain), all[0]["text"].as_str().unwrap());
    assert!(said.starts_with(text), "{said:?} and {text:?}");
    assert_eq!(said[text.len()..].contains("cut off"), all[0]["finish"] == "length", "{said:?}");
    // What does not fit the context ends with its reason.
    let long = ask(&call, &"many words ".repeat(200));
    assert_eq!(long.status.code(), Some(1));
    assert!(stderr(&long).contains("the context holds 256"), "{}", stderr(&long));
}

#[test]
fn eval_counts_what_a_model_says() {
    let (model, out) = (tiny(), tempfile::tempdir().unwrap());
    let folder = out.path().join("results");
    let call = ["eval", &model, "--dtype", "f32", "--task", "arithmetic", "--limit", "6", "--samples", "2"];
    let more = ["--temperature", "1", "--max-tokens", "10", "--json", "--out", folder.to_str().unwrap()];
    let output = relign(&[&call[..], &more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let all = lines(&output);
    let (summary, items) = all.split_last().unwrap();
    assert_eq!((items.len(), &summary["samples"], &summary["n"]), (6, &json!(12), &json!(6)));
    let tokens: u64 =
        items.iter().flat_map(|item| item["samples"].as_array().unwrap()).map(|s| s["tokens"].as_u64().unwrap()).sum();
    assert_eq!(summary["tokens"], json!(tokens));
    assert!((0.0..=1.0).contains(&summary["accuracy"].as_f64().unwrap()));
    assert!(folder.join("summary.json").is_file() && folder.join("trees.jsonl.zst").is_file());
    // The same seed gives the same answers.
    assert_eq!(lines(&relign(&[&call[..], &more].concat()))[..6], all[..6]);
}

#[test]
fn smollm2_calculates_and_talks() {
    let Some(model) = smollm2() else { return };
    let prompt = "What is 2 + 3? Reply with just the number.";
    let call = ["generate", "--model", &model, "--prompt", prompt, "--max-tokens", "8"];
    let output = relign(&call);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains('5'), "{}", stdout(&output));
    let output = ask(&["chat", &model, "--max-tokens", "24", "--json"], "What is the capital of France?\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(lines(&output)[0]["text"].as_str().unwrap().contains("Paris"), "{}", stdout(&output));
}
