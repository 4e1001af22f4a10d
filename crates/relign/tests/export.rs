//! A run written for others to use: whole, honest, and read by those it is for.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

mod binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use binary::{lines, relign, stderr, tiny};
use serde_json::Value;

/// A run of three steps on a model of two layers, with the report of a comparison with its base.
struct Trained {
    folder: tempfile::TempDir,
}

impl Trained {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn export(&self, more: &[&str]) -> std::process::Output {
        relign(&[&["export", &self.path("run")], more].concat())
    }
}

#[track_caller]
fn done(call: &[&str]) -> std::process::Output {
    let output = relign(call);
    assert_eq!(output.status.code(), Some(0), "{call:?}: {}", stderr(&output));
    output
}

fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let made = Trained { folder: tempfile::tempdir().unwrap() };
        let recipe = format!(
            "name = \"tiny\"\n[model]\npath = \"{}\"\ndtype = \"f32\"\n[environment]\nname = \"arithmetic\"\n[[rewards]]\nname = \
             \"length\"\nlimit = 60\n[strategy]\nname = \"sample\"\nn = 4\n[sampling]\nmax_tokens = 12\n[algorithm]\nname = \
             \"grpo\"\n[optimizer]\nlr = 1e-3\n[run]\nsteps = 3\ntasks = 2\n[eval]\nitems = 8\n",
            tiny()
        );
        fs::write(made.path("recipe.toml"), recipe).unwrap();
        let benchmark = "name = \"my-sums\"\nversion = 1\ndomain = \"procedural\"\nitems = 12\n[environment]\nname = \
                         \"arithmetic\"\n[sampling]\nmax_tokens = 8\n";
        fs::write(made.path("mine.toml"), benchmark).unwrap();
        done(&["train", &made.path("recipe.toml"), "--out", &made.path("run")]);
        for (model, out) in [(tiny(), "base"), (made.path("run"), "tuned")] {
            done(&["eval", &model, "--benchmark", &made.path("mine.toml"), "--dtype", "f32", "--out", &made.path(out)]);
        }
        done(&["compare", &made.path("base"), &made.path("tuned"), "--out", &made.path("report")]);
        made
    })
}

/// A new place to write to.
fn place() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("my-model").to_str().unwrap().to_owned();
    (folder, out)
}

/// What a model holds to be likely after a prompt, to the last bit that JSON tells.
fn odds(model: &str) -> Vec<Value> {
    let call = ["generate", "--model", model, "--dtype", "f32", "--prompt", "What is 3 + 4?", "--json"];
    let said = |more: &[&str]| lines(&done(&[&call[..], more].concat())).remove(0);
    vec![said(&["--max-tokens", "9", "--logprobs", "20"]), said(&["--score", "Seven, I think."])]
}

#[test]
fn what_is_read_back_thinks_the_same() {
    let (_kept, out) = place();
    let output = trained().export(&[&out, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (run, base) = (odds(&trained().path("run")), odds(&tiny()));
    assert_eq!(odds(&out), run);
    assert_ne!(run, base, "the run must have learned something, or this shows nothing");
    // As f32 the weights are the run's own bytes, so that measurements of the one are of the other.
    let weights = |folder: &str| fs::read(Path::new(folder).join("model.safetensors")).unwrap();
    assert!(weights(&out) == weights(&trained().path("run/checkpoints/last")));
    let summary = lines(&output).remove(0);
    let files: Vec<&str> = summary["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    let expected = [
        "README.md",
        "config.json",
        "curve.png",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(files, expected);
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        let read = |folder: &str| fs::read_to_string(Path::new(folder).join(name)).unwrap();
        assert_eq!(read(&out), read(&trained().path("run/checkpoints/last")), "{name}");
    }
    // Fewer bits are another file and nearly the same model.
    let (_kept, half) = place();
    assert_eq!(trained().export(&[&half, "--type", "bf16"]).status.code(), Some(0));
    assert!(weights(&half).len() < weights(&out).len() * 6 / 10);
    let logprob = |answers: &[Value]| answers[1]["logprob"].as_f64().unwrap();
    assert!((logprob(&odds(&half)) - logprob(&run)).abs() < 0.5);
}

#[test]
fn the_card_says_what_was_done_and_what_came_of_it() {
    let (_kept, out) = place();
    let found = "{\"summary\":true,\"texts\":5,\"words\":90,\"benchmarks\":{\"gsm8k\":{\"items\":1319,\"short\":2,\"exact\":3,\
                 \"near\":4,\"shared\":5}},\"run\":8,\"near\":0.7,\"seconds\":0.1}\n";
    fs::write(trained().path("found.jsonl"), found).unwrap();
    let (report, found) = (trained().path("report"), trained().path("found.jsonl"));
    let more = ["--report", &report, "--contamination", &found, "--base-model", "org/base", "--license", "mit"];
    let output = trained().export(&[&[out.as_str()], &more[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let card = fs::read_to_string(Path::new(&out).join("README.md")).unwrap();
    // Where things lay on this machine is nobody's business.
    assert!(!card.contains("= \"/") && !card.contains(&trained().path("")), "{card}");
    let summary: Value = serde_json::from_slice(&fs::read(trained().path("run/summary.json")).unwrap()).unwrap();
    let compared: Value = serde_json::from_slice(&fs::read(trained().path("report/compare.json")).unwrap()).unwrap();
    let tuned = compared["comparisons"][0]["model_sha256"].as_str().unwrap();
    let percent = |share: &Value| format!("{:.1} %", 100.0 * share.as_f64().unwrap());
    for said in [
        "base_model: org/base\n",
        "license: mit\n",
        "\n# my-model\n",
        "[org/base](https://huggingface.co/org/base) after 3 steps of GRPO on the task `arithmetic`",
        &format!("| accuracy | {}", percent(&summary["base"]["accuracy"])),
        "(curve.png)",
        "| my-sums | accuracy | 12 |",
        "- my-sums: ",
        "max_new_tokens=12",
        "length x 1",
        &format!("SHA-256 `{}`", summary["model_sha256"].as_str().unwrap()),
        &format!("SHA-256 `{tuned}` as trained"),
        "lr = 0.001",
        "| gsm8k | 1319 | 3 | 4 | 5 | 2 |",
        "No difference from its base model was shown on my-sums.",
        "## Limits",
    ] {
        assert!(card.contains(said), "expected {said:?} in:\n{card}");
    }
    // Nobody's folders are published.
    assert!(!card.contains(trained().folder.path().to_str().unwrap()), "{card}");
    // Without all that, it says what is not known.
    let (_kept, plain) = place();
    let output = trained().export(&[&plain]);
    assert!(stderr(&output).contains("--license") && stderr(&output).contains("--base-model"), "{}", stderr(&output));
    let card = fs::read_to_string(Path::new(&plain).join("README.md")).unwrap();
    assert!(
        card.contains("The licence of the base model is not recorded here") && !card.contains("license:"),
        "{card}"
    );
    assert!(card.contains("| held-out | 0 | 0 | 0 | 0 | 8 |"), "what the run itself looked for:\n{card}");
    // A run from before that was looked for.
    let (kept, old) = place();
    let run = kept.path().join("run");
    assert!(Command::new("cp").args(["-r", &trained().path("run")]).arg(&run).status().unwrap().success());
    fs::remove_file(run.join("contamination.jsonl")).unwrap();
    done(&["export", run.to_str().unwrap(), &old]);
    let card = fs::read_to_string(Path::new(&old).join("README.md")).unwrap();
    assert!(card.contains("Nobody recorded whether benchmark items stand in the training data"), "{card}");
}

#[test]
fn what_must_not_be_written_is_not() {
    let (kept, out) = place();
    let refused = |call: &[&str], words: &[&str]| {
        let output = relign(&[&["export"], call].concat());
        assert_eq!(output.status.code(), Some(2), "{call:?}: {}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "{call:?}: expected {word:?} in {}", stderr(&output));
        }
        assert!(!Path::new(&out).join("README.md").exists());
    };
    let run = trained().path("run");
    refused(&[&tiny(), &out], &["expected a run's folder", "relign convert"]);
    refused(&[&trained().path("nothing"), &out], &["expected a run's folder"]);
    refused(&[&run, &run], &["apart from the run's"]);
    refused(&[&run, &format!("{run}/deep/model")], &["apart from the run's"]);
    refused(&[&run, &tiny()], &["new or an empty folder", "--force"]);
    refused(&[&run, &trained().path("recipe.toml")], &["got a file"]);
    refused(&[&run, &out, "--report", &trained().path("base")], &["compare.json", "expected a report"]);
    refused(&[&run, &out, "--contamination", &trained().path("recipe.toml")], &["recipe.toml", "contamination TRAIN"]);
    let swapped = kept.path().join("swapped").to_str().unwrap().to_owned();
    done(&["compare", &trained().path("tuned"), &trained().path("base"), "--out", &swapped]);
    refused(&[&run, &out, "--report", &swapped], &["expected a comparison of this run's weights"]);

    // A run that has not come to its end: refused, or exported with a word about it.
    let half = kept.path().join("half");
    copy(Path::new(&run), &half);
    let recipe = half.join("recipe.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    assert!(text.contains("steps = 3"));
    fs::write(&recipe, text.replace("steps = 3", "steps = 4")).unwrap();
    fs::remove_file(half.join("summary.json")).unwrap();
    let half = half.to_str().unwrap();
    refused(&[half, &out], &["not finished", "step 3", "asks for 4", "--resume", "--unfinished"]);
    done(&["export", half, &out, "--unfinished"]);
    let card = fs::read_to_string(Path::new(&out).join("README.md")).unwrap();
    assert!(card.contains("**Not finished:** exported after step 3 of 4"), "{card}");
    let left: Vec<_> = fs::read_dir(kept.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".part")), "{left:?}");
}

#[test]
fn force_replaces_the_model_and_nothing_else() {
    let (_kept, out) = place();
    let file = |name: &str| Path::new(&out).join(name);
    fs::create_dir_all(file(".git")).unwrap();
    for (name, text) in [
        (".git/config", "mine"),
        ("notes.txt", "mine"),
        ("README.md", "old"),
        ("model-00001-of-00002.safetensors", "old"),
        ("model.safetensors.index.json", "{}"),
    ] {
        fs::write(file(name), text).unwrap();
    }
    assert_eq!(trained().export(&[&out]).status.code(), Some(2));
    assert_eq!(fs::read_to_string(file("README.md")).unwrap(), "old");
    let output = trained().export(&[&out, "--force"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for name in [".git/config", "notes.txt"] {
        assert_eq!(fs::read_to_string(file(name)).unwrap(), "mine", "{name}");
    }
    assert!(!file("model-00001-of-00002.safetensors").exists() && !file("model.safetensors.index.json").exists());
    assert_eq!(odds(&out), odds(&trained().path("run")));
}

/// transformers and the hub's own library read the folder: the same probabilities, the same text, and a card whose
/// first lines are what the hub takes.
#[test]
fn transformers_loads_it() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.x/peers/bin/python");
    let able = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", "import torch, transformers, huggingface_hub"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(python) = [python, "python3".into()].into_iter().find(able) else {
        relign_core::skipped!("no Python with transformers in .x/peers (./x peers) or on the path");
        return;
    };
    let (_kept, out) = place();
    let report = trained().path("report");
    let output = trained().export(&[&out, "--report", &report, "--license", "mit", "--base-model", "org/base"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = "What is 3 + 4?";
    let scored =
        lines(&done(&["generate", "--model", &out, "--dtype", "f32", "--prompt", text, "--score", "abc 12", "--json"]));
    let script = r#"
import json, sys
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, text, answer = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(folder)
model, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
prompt = tokenizer(text)["input_ids"]
if tokenizer.chat_template:
    messages = [{"role": "user", "content": text}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
logprobs = torch.log_softmax(logits, -1)[range(len(answer)), answer]
card = ModelCard.load(folder + "/README.md")
results = card.data.eval_results
print(json.dumps({
    "logprobs": logprobs.tolist(),
    "missing": sorted(loading["missing_keys"]) + sorted(loading["unexpected_keys"]),
    "end": model.generation_config.eos_token_id is not None,
    "card": {key: card.data.get(key) for key in ["base_model", "license", "library_name", "pipeline_tag", "tags"]},
    "results": [[r.dataset_name, r.dataset_type, r.metric_type, r.metric_value, r.metric_args] for r in results],
}))
"#;
    let answer = scored[0]["tokens"].to_string();
    let output = Command::new(python)
        .args(["-c", script, &out, text, &answer])
        .env("HF_HUB_OFFLINE", "1")
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Value = serde_json::from_str(said.trim().lines().last().unwrap()).unwrap();
    let numbers =
        |value: &Value| -> Vec<f64> { value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
    let (theirs, ours) = (numbers(&said["logprobs"]), numbers(&scored[0]["logprobs"]));
    assert_eq!(theirs.len(), ours.len());
    assert!(theirs.iter().zip(&ours).all(|(a, b)| (a - b).abs() < 1e-4), "{theirs:?} there, {ours:?} here");
    assert_eq!((&said["missing"], &said["end"]), (&serde_json::json!([]), &true.into()));
    assert_eq!(said["card"]["base_model"], "org/base");
    assert_eq!((&said["card"]["license"], &said["card"]["library_name"]), (&"mit".into(), &"transformers".into()));
    let results = said["results"].as_array().unwrap();
    assert_eq!(results.len(), 2, "{results:?}");
    assert_eq!((&results[0][0], &results[0][2]), (&"arithmetic, held-out items".into(), &"accuracy".into()));
    assert_eq!((&results[1][0], &results[1][4]["items"]), (&"my-sums".into(), &12.into()));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn nothing_in_a_name_is_live_in_a_card() {
    for evil in [
        "x\r\r<script>alert(1)</script>",
        "x\u{2028}\n\n# h\n<b>y",
        "`|</details><img src=x>|` [a](javascript:b)",
        "\u{1b}[2J\u{85}<i>z",
    ] {
        let (_kept, out) = place();
        let report = trained().path("report");
        let more = ["--report", &report, "--name", evil, "--base-model", evil, "--license", evil];
        let output = trained().export(&[&[out.as_str()], &more[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(!stderr(&output).contains('\u{1b}'), "{}", stderr(&output));
        let card = fs::read_to_string(Path::new(&out).join("README.md")).unwrap();
        assert!(!card.contains(|c: char| relign_core::is_control(c) && c != '\n'), "{card:?}");
        // In the block of code the name is Python's text.
        let (front, body) = card[4..].split_once("---\n").unwrap();
        let live: String = body.split("```").step_by(2).collect();
        for tag in ["<script", "<b>", "<img", "<i>", "[a](javascript", "\n# h"] {
            assert!(!live.contains(tag), "{tag} in {card}");
        }
        assert_eq!(live.matches("</details>").count(), 1, "{card}");
        assert_eq!(front.matches("\nlicense: ").count(), 1, "{front}");
    }
}
