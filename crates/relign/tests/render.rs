//! Prompts as the real binary renders them, and the template's arguments wherever a model is prompted.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod binary;

use std::fs;
use std::path::{Path, PathBuf};

use binary::{lines, relign, smollm2, stderr, tiny};
use serde_json::{Value, json};

/// A copy of the tiny model whose template writes its argument `word` before each message.
fn own_template(folder: &Path) -> PathBuf {
    let model = folder.join("model");
    fs::create_dir(&model).unwrap();
    for file in fs::read_dir(tiny()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), model.join(file.file_name())).unwrap();
    }
    let template =
        "{% for m in messages %}[{{ word }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}";
    fs::write(model.join("chat_template.jinja"), template).unwrap();
    model
}

fn json_of(args: &[&str]) -> Vec<Value> {
    let output = relign(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    lines(&output)
}

/// Real conversations as transformers renders and tokenises them.
#[test]
fn prompts_are_those_of_transformers() {
    let Some(model) = smollm2() else { return };
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/templates.json");
    let fixture: Value = serde_json::from_str(&fs::read_to_string(fixture).unwrap()).unwrap();
    let own = fixture["cases"].as_array().unwrap().iter().find(|case| case["name"] == "smollm2").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("messages.json");
    let name = file.to_str().unwrap();
    for (messages, expected) in
        fixture["conversations"].as_array().unwrap().iter().zip(own["outputs"].as_array().unwrap())
    {
        fs::write(&file, messages.to_string()).unwrap();
        let got = json_of(&["render", &model, "--messages", name, "--json"]).pop().unwrap();
        assert_eq!(got["prompt"], expected["text"]);
        // The texts of all special tokens stand in the prompt in their order.
        let mut rest = got["prompt"].as_str().unwrap();
        let specials = got["special_tokens"].as_array().unwrap();
        assert!(!specials.is_empty());
        for special in specials {
            let text = special["text"].as_str().unwrap();
            rest = &rest[rest.find(text).unwrap_or_else(|| panic!("{text} in {rest}")) + text.len()..];
            assert_eq!(got["tokens"][special["place"].as_u64().unwrap() as usize], special["id"]);
        }
    }
    let output = relign(&["render", &model, "--messages", name]);
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#"special tokens, by place: 0 "<|im_start|>", "#));
}

#[test]
fn template_arguments_reach_every_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let model = own_template(folder.path());
    let model = model.to_str().unwrap();
    let messages = folder.path().join("messages.json");
    fs::write(&messages, json!({"messages": [{"role": "user", "content": "hi"}]}).to_string()).unwrap();
    let messages = messages.to_str().unwrap();
    let word = r#"{"word": "zq"}"#;
    let with = ["--chat-template-kwargs", word];

    let got = json_of(&[&["render", model, "--messages", messages, "--json"], &with[..]].concat()).pop().unwrap();
    assert_eq!((&got["prompt"], &got["chat_template_kwargs"]), (&json!("[zq]hi>"), &json!({"word": "zq"})));
    let got = json_of(&["render", model, "--messages", messages, "--json", "--no-generation-prompt"]).pop().unwrap();
    assert_eq!(got["prompt"], "[]hi");

    let generate =
        ["generate", "--model", model, "--prompt", "hi", "--max-tokens", "4", "--temperature", "0", "--json"];
    let summary = json_of(&[&generate, &with[..]].concat()).pop().unwrap();
    assert_eq!(summary["chat_template_kwargs"], json!({"word": "zq"}));

    // A recipe's arguments stand in its run, and the run's model is asked as it was trained unless the call says otherwise.
    let recipe = folder.path().join("recipe.toml");
    let text = format!(
        "name = \"t\"\n[model]\npath = {model:?}\nchat_template_kwargs = {{ word = \"zq\" }}\n[environment]\nname = \"arithmetic\"\n\
         [strategy]\nname = \"sample\"\nn = 2\n[sampling]\nmax_tokens = 4\n[algorithm]\nname = \"grpo\"\n[run]\nsteps = 1\n\
         tasks = 1\n[eval]\nitems = 1\n"
    );
    fs::write(&recipe, text).unwrap();
    let run = folder.path().join("run");
    let run = run.to_str().unwrap();
    let output = relign(&["train", recipe.to_str().unwrap(), "--out", run]);
    assert!(output.status.success(), "{}", stderr(&output));
    let prompt = |more: &[&str]| {
        let out = folder.path().join("eval");
        let _ = fs::remove_dir_all(&out);
        let call = ["eval", run, "--limit", "1", "--max-tokens", "2", "--json", "--out", out.to_str().unwrap()];
        json_of(&[&call, more].concat());
        let trees = fs::File::open(out.join("trees.jsonl.zst")).unwrap();
        let tree: Value = serde_json::from_reader(zstd::Decoder::new(trees).unwrap()).unwrap();
        tree["nodes"][0]["tokens"].as_array().unwrap().len()
    };
    let (own, none, longer) = (
        prompt(&[]),
        prompt(&["--chat-template-kwargs", r#"{"word": ""}"#]),
        prompt(&["--chat-template-kwargs", r#"{"word": "zqzqzq"}"#]),
    );
    // A letter is a token.
    assert_eq!((own - none, longer - own), (2, 4));

    for wrong in ["[1]", "{", "/nowhere.json"] {
        let output = relign(&["render", model, "--messages", messages, "--chat-template-kwargs", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(stderr(&output).contains("--chat-template-kwargs: "), "{}", stderr(&output));
    }
}
