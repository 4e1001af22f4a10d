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
fn text_ends_before_a_stop_string_and_is_shown_as_it_comes() {
    let call = ["--prompt", "Tell me more.", "--max-tokens", "60", "--temperature", "1.5", "--seed", "4"];
    let whole = lines(&generate(&[&call[..], &["--json"]].concat())).remove(0);
    let text = whole["text"].as_str().unwrap();
    let stop: String = text.chars().skip(text.chars().count() / 2).take(3).collect();
    let cut = &text[..text.find(&stop).unwrap()];
    let stopped =
        lines(&generate(&[&call[..], &["--json", "--stop", "never there", "--stop", &stop]].concat())).remove(0);
    assert_eq!((stopped["text"].as_str().unwrap(), &stopped["finish"]), (cut, &json!("stop_string")));
    assert_eq!(stdout(&generate(&[&call[..], &["--stop", &stop]].concat())), format!("{}\n", cut.trim_end()));
    // Several completions are shown in their order, each under its place.
    let several = [&call[..], &["-n", "3"]].concat();
    let all = lines(&generate(&[&several[..], &["--json"]].concat()));
    let expected: String = (0..3)
        .map(|at| format!("--- prompt 1, sample {}\n{}\n", at + 1, all[at]["text"].as_str().unwrap().trim_end()))
        .collect();
    assert_eq!(stdout(&generate(&several)), expected);
}

#[test]
fn chat_goes_on_across_tokens_as_generate_does() {
    // The same conversation, seed and settings say the same, however the text is handed out.
    let model = tiny();
    let more =
        ["--dtype", "f32", "--temperature", "1.2", "--max-tokens", "40", "--repetition-penalty", "1.3", "--json"];
    let said = |stop: &[&str]| {
        let output = ask(&[&["chat", &model], &more[..], stop].concat(), "Go on.\n");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        lines(&output).remove(0)
    };
    let whole = said(&[]);
    let text = whole["text"].as_str().unwrap();
    let stop: String = text.chars().skip(text.chars().count() / 2).take(4).collect();
    let stopped = said(&["--stop", &stop]);
    assert_eq!(stopped["text"].as_str().unwrap(), &text[..text.find(&stop).unwrap()]);
    assert_eq!(stopped["finish"], "stop_string");
}

#[test]
fn settings_change_what_is_said_and_are_told_from_one_another() {
    let call = ["--prompt", "hi", "-n", "6", "--temperature", "1.5", "--max-tokens", "25", "--json"];
    let texts = |more: &[&str]| -> Vec<Value> {
        let mut all = lines(&generate(&[&call[..], more].concat()));
        all.pop();
        all
    };
    let plain = texts(&[]);
    for more in [
        &["--top-k", "4"][..],
        &["--top-p", "0.5"],
        &["--min-p", "0.2"],
        &["--repetition-penalty", "1.8"],
        &["--presence-penalty", "2"],
        &["--frequency-penalty=-1.5"],
        &["--logit-bias", "a=5", "--logit-bias", "18=-3.5"],
        &["--regex", "[a-z ]*"],
    ] {
        let some = texts(more);
        assert_ne!(plain, some, "{more:?}");
        assert_eq!(some, texts(more), "{more:?}: the same seed");
    }
    // What leaves the distribution whole leaves every bit.
    assert_eq!(plain, texts(&["--top-k", "0", "--top-p", "1", "--min-p", "0", "--repetition-penalty", "1"]));
    assert_eq!(texts(&["--top-k", "1"]), texts(&["--top-k", "1", "--seed", "9"]));
    // A token may be named: forbidden, the end is never said.
    let endless = texts(&["--logit-bias", "<|im_end|>=-100"]);
    assert!(endless.iter().all(|line| line["finish"] == "length"), "{endless:?}");
}

#[test]
fn odds_are_told_under_both_distributions() {
    let call = ["--prompt", "hi", "--temperature", "0.5", "--top-k", "2", "--max-tokens", "8", "--json"];
    let line = lines(&generate(&[&call[..], &["--logprobs", "3", "--prompt-logprobs"]].concat())).remove(0);
    let (tokens, odds) = (line["tokens"].as_array().unwrap(), line["top_logprobs"].as_array().unwrap());
    assert_eq!(tokens.len(), odds.len());
    for ((token, logprob), odds) in tokens.iter().zip(line["logprobs"].as_array().unwrap()).zip(odds) {
        let sampler = odds["sampler"].as_array().unwrap();
        assert_eq!((odds["model"].as_array().unwrap().len(), sampler.len()), (3, 2));
        assert_eq!(&sampler.iter().find(|other| &other["token"] == token).unwrap()["logprob"], logprob);
        let total: f64 = sampler.iter().map(|other| other["logprob"].as_f64().unwrap().exp()).sum();
        assert!((total - 1.0).abs() < 1e-5, "{total}");
        // At half the temperature the distance is twice as wide.
        let apart = |list: &Value| list[0]["logprob"].as_f64().unwrap() - list[1]["logprob"].as_f64().unwrap();
        assert!((apart(&odds["sampler"]) - 2.0 * apart(&odds["model"])).abs() < 1e-4, "{odds}");
        let rank = odds["rank"].as_u64().unwrap() as usize;
        assert_eq!((&odds["model"][rank - 1]["token"], &odds["model"][rank - 1]["logprob"]), (token, &odds["logprob"]));
        assert!(odds["model"].as_array().unwrap().iter().all(|other| other["text"].is_string()));
    }
    let (prompt, known) = (line["prompt_tokens"].as_array().unwrap(), line["prompt_logprobs"].as_array().unwrap());
    assert!(prompt.len() == known.len() && known[0].is_null() && known[1..].iter().all(|logprob| logprob.is_f64()));
    // Telling changes nothing, and is not for text.
    let silent = lines(&generate(&call)).remove(0);
    assert_eq!((&silent["tokens"], &silent["logprobs"]), (&line["tokens"], &line["logprobs"]));
    assert!(silent.get("top_logprobs").is_none());
}

#[test]
fn given_text_is_scored() {
    // What a model says greedily is what it says greedily, and as likely as it was.
    let said = lines(&generate(&["--prompt", "hi", "--max-tokens", "6", "--json"])).remove(0);
    let text = said["text"].as_str().unwrap();
    let score = |more: &[&str]| generate(&[&["--json"], more].concat());
    let line = lines(&score(&["--prompt", "hi", "--score", text, "--logprobs", "2"])).remove(0);
    if line["tokens"] == said["tokens"] {
        assert_eq!((&line["logprobs"], &line["is_greedy"]), (&said["logprobs"], &json!(true)));
    }
    let sum: f64 = line["logprobs"].as_array().unwrap().iter().map(|logprob| logprob.as_f64().unwrap()).sum();
    assert!((line["logprob"].as_f64().unwrap() - sum).abs() < 1e-6);
    assert_eq!(line["top_logprobs"].as_array().unwrap().len(), line["tokens"].as_array().unwrap().len());
    let other = lines(&score(&["--prompt", "hi", "--score", "zebra 77"])).remove(0);
    assert_eq!((&other["is_greedy"], &other["scored"]), (&json!(false), &json!("zebra 77")));
    // From its beginning on, in words; and from a file, beside what is sampled.
    let words = stdout(&generate(&["--score", "and the"]));
    assert!(words.starts_with("log-probability -") && words.contains("perplexity"), "{words}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.jsonl");
    let text =
        "{\"prompt\": \"hi\", \"score\": \"zebra 77\", \"id\": 1}\n{\"prompt\": \"hi\"}\n{\"score\": \"and the\"}\n";
    std::fs::write(&file, text).unwrap();
    let all = lines(&generate(&["--file", file.to_str().unwrap(), "--max-tokens", "6", "--json"]));
    assert_eq!((&all[0]["logprob"], &all[0]["id"]), (&other["logprob"], &json!(1)));
    assert_eq!(all[1]["tokens"], said["tokens"]);
    assert!(words.contains(&format!("{:.4}", all[2]["logprob"].as_f64().unwrap())), "{words} {}", all[2]);
    // transformers 5.23, float32: the sums of log_softmax at the answer's tokens, after the rendered conversation and
    // after the token that begins texts.
    for (line, expected, first) in [(&all[0], -47.11256, -4.8248), (&all[2], -12.60524, -7.409)] {
        let near = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 1e-3;
        assert!(near(&line["logprob"], expected) && near(&line["logprobs"][0], first), "{line}");
    }
}

#[test]
fn answers_are_json_where_they_must_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("person.json");
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["name", "age"], "properties": {
        "name": {"type": "string", "pattern": "^[a-z]{1,8}$"}, "age": {"type": "integer", "minimum": 0, "maximum": 150}}});
    std::fs::write(&file, schema.to_string()).unwrap();
    let call = ["--prompt", "A person.", "-n", "8", "--temperature", "1.5", "--max-tokens", "150", "--json"];
    let all = lines(&generate(&[&call[..], &["--json-schema", file.to_str().unwrap()]].concat()));
    let mut whole = 0;
    for line in all[..8].iter().filter(|line| line["finish"] == "stop") {
        let person: Value =
            serde_json::from_str(line["text"].as_str().unwrap()).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!((0..=150).contains(&person["age"].as_i64().unwrap()) && person["name"].is_string(), "{person}");
        whole += 1;
    }
    assert!(whole > 0, "{all:?}");
    // The same as text on the command line.
    let again = lines(&generate(&[&call[..], &["--json-schema", &schema.to_string()]].concat()));
    assert_eq!(all[..8], again[..8]);
    let regex = lines(&generate(&[&call[..], &["--regex", "(yes|no), [0-9]{2}"]].concat()));
    for line in &regex[..8] {
        let text = line["text"].as_str().unwrap();
        let (word, number) = text.split_once(", ").unwrap_or_else(|| panic!("{line}"));
        assert!(["yes", "no"].contains(&word) && number.len() == 2 && line["finish"] == "stop", "{line}");
    }
    // In chat and eval as well.
    let model = tiny();
    let output = ask(&["chat", &model, "--dtype", "f32", "--regex", "(yes|no)!", "--json"], "Well?\nSure?\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(lines(&output)[..2].iter().all(|line| ["yes!", "no!"].contains(&line["text"].as_str().unwrap())));
    let call =
        ["eval", &model, "--dtype", "f32", "--task", "arithmetic", "--limit", "4", "--json", "--regex", "-?[0-9]{1,3}"];
    let output = relign(&call);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let all = lines(&output);
    assert_eq!(all[4]["unparsed"], 0, "{}", all[4]);
    assert_eq!(all[4]["sampling"]["constraint"], json!({"regex": "-?[0-9]{1,3}"}));
}

#[test]
fn settings_that_make_no_sense_are_2() {
    let model = tiny();
    for (more, said) in [
        (&["--top-p", "0"][..], "--top-p: expected a share above 0, at most 1, got 0"),
        (&["--min-p", "2"], "--min-p: expected a share from 0 to 1"),
        (&["--repetition-penalty", "0"], "--repetition-penalty: expected a number above 0"),
        (&["--logit-bias", "5"], "--logit-bias: expected ID=BIAS"),
        (&["--logit-bias", "two words=1"], "--logit-bias two words=1: expected text that is one token, got"),
        (&["--logit-bias", "4000=1"], "expected ids below 128, got 4000"),
        (&["--json-schema", "/nowhere.json"], "--json-schema /nowhere.json: expected a file"),
        (&["--json-schema", "{nonsense"], "--json-schema: expected JSON"),
        (&["--json-schema", "{\"type\": \"banana\"}"], "constraint: expected a JSON schema"),
        (&["--regex", "a("], "constraint: expected a regular expression"),
        (&["--regex", "a", "--json-schema", "{}"], "cannot be used with"),
        (&["--stop", ""], "--stop: expected strings with text in them"),
        (&["--logprobs", "3"], "--logprobs: expected --json"),
        (&["--score", "x", "-n", "2"], "cannot be used with"),
        (&["--score", ""], "expected text to score, got none"),
    ] {
        let output = relign(&[&["generate", "--model", &model, "--dtype", "f32", "--prompt", "x"], more].concat());
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{more:?}: {}", stderr(&output));
    }
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
    // A schema that a person would write, greedily and not.
    let schema = r#"{"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["city", "people"], "additionalProperties": false}"#;
    let call = ["generate", "--model", &model, "--prompt", "A city, as JSON.", "--max-tokens", "100", "--json"];
    let output =
        relign(&[&call[..], &["-n", "4", "--temperature", "1", "--top-p", "0.9", "--json-schema", schema]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let whole = |line: &&Value| line["finish"] == "stop";
    let all = lines(&output);
    for line in all[..4].iter().filter(whole) {
        let city: Value =
            serde_json::from_str(line["text"].as_str().unwrap()).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(city["city"].is_string() && city["people"].is_i64(), "{city}");
    }
    assert!(all[..4].iter().any(|line| whole(&line)), "{all:?}");
    // Characters of several tokens come whole: as text, the bytes of JSON's text.
    let call = ["generate", "--model", &model, "--prompt", "Write emojis and Chinese.", "--max-tokens", "40"];
    let call = [&call[..], &["--temperature", "1.5", "--seed", "2"]].concat();
    let text = lines(&relign(&[&call[..], &["--json"]].concat())).remove(0)["text"].as_str().unwrap().to_owned();
    assert_eq!(stdout(&relign(&call)), format!("{}\n", text.trim_end()));
}

/// A model with LongRoPE is read for the context that is asked for, and for no more than it was made for.
#[test]
fn a_longer_context_reads_the_model_for_long_texts() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures");
    let folder = tempfile::tempdir().unwrap();
    for (from, file) in [
        ("tiny-phi3", "config.json"),
        ("tiny-phi3", "model.safetensors"),
        ("tiny-llama", "tokenizer.json"),
        ("tiny-llama", "tokenizer_config.json"),
    ] {
        std::fs::copy(fixtures.join(from).join(file), folder.path().join(file)).unwrap();
    }
    let model = folder.path().to_str().unwrap();
    let score = |text: &str, more: &[&str]| {
        relign(&[&["generate", "--model", model, "--dtype", "f32", "--score", text, "--json"], more].concat())
    };
    let logprob = |more: &[&str]| lines(&score("there is a text", more))[0]["logprob"].as_f64().unwrap();
    assert_eq!(logprob(&[]), logprob(&["--context", "32"]), "the context it was first trained on");
    assert_ne!(logprob(&[]), logprob(&["--context", "33"]));
    let long = "a text of more than its first context, which goes on and on";
    let refused = score(long, &[]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("the context holds 32"), "{}", stderr(&refused));
    assert_eq!(score(long, &["--context", "128"]).status.code(), Some(0));
    let refused = score(long, &["--context", "257"]);
    assert!(stderr(&refused).contains("expected at most the model's 256 tokens, got 257"), "{}", stderr(&refused));
}
