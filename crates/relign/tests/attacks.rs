//! Runs whose folder, model or data was changed since: what was changed, and what must be said of it.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use binary::{relign, stderr, tiny};

/// A model, data and a run that stopped in the middle, in a folder of their own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Trains with more `arguments`: what it says, and its exit status.
    fn train(&self, arguments: &[&str]) -> (Option<i32>, String) {
        // Paths are seen from the folder, so that a copy of it is as the original.
        let mut command = Command::new(env!("CARGO_BIN_EXE_relign"));
        command.current_dir(self.folder.path()).env("OMP_NUM_THREADS", "1");
        let output = command.args(["train", "recipe.toml", "--out", "run"]).args(arguments).output().unwrap();
        (output.status.code(), stderr(&output))
    }

    fn export(&self) -> (Option<i32>, String) {
        let (run, out) = (self.path("run"), self.path("exported"));
        let output = relign(&["export", run.to_str().unwrap(), out.to_str().unwrap(), "--unfinished"]);
        (output.status.code(), stderr(&output))
    }

    /// Every file below `name` with its bytes.
    fn bytes(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut all, mut folders) = (Vec::new(), vec![self.path(name)]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = fs::read(&path).unwrap();
                    all.push((path.strip_prefix(self.folder.path()).unwrap().to_owned(), bytes));
                }
            }
        }
        all.sort();
        all
    }

    fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = format!("{}/.", self.folder.path().display());
        assert!(Command::new("cp").arg("-r").arg(from).arg(folder.path()).status().unwrap().success());
        Self { folder }
    }
}

/// A run of three steps of four.
fn stopped() -> Place {
    stopped_from(&[("tiny-llama", "model")])
}

/// The same from fixtures that are copied under other names; what is called `model` is trained.
fn stopped_from(models: &[(&str, &str)]) -> Place {
    let place = Place { folder: tempfile::tempdir().unwrap() };
    for (fixture, name) in models {
        fs::create_dir(place.path(name)).unwrap();
        for file in fs::read_dir(Path::new(&tiny()).with_file_name(fixture)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), place.path(name).join(file.file_name())).unwrap();
        }
    }
    for (name, first) in [("train.jsonl", 10), ("eval.jsonl", 50)] {
        let row = |number: u32| format!("{{\"question\": \"{number} + 1?\", \"answer\": \"{}\"}}\n", number + 1);
        fs::write(place.path(name), (first..first + 8).map(row).collect::<String>()).unwrap();
    }
    let program = "def even(completions, **kwargs):\n    return [len(c[0]['content']) % 2 for c in completions]\n";
    fs::write(place.path("reward.py"), program).unwrap();
    let recipe = r#"name = "tiny"
seed = 3
[model]
path = "model"
dtype = "f32"
[environment]
name = "dataset"
path = "train.jsonl"
eval_path = "eval.jsonl"
prompt = "{{ question }}"
answer = "answer"
reward = { name = "final_number" }
[[rewards]]
name = "length"
limit = 60
[[rewards]]
name = "python:reward.py:even"
weight = 0.5
[strategy]
name = "sample"
n = 4
[sampling]
max_tokens = 6
[algorithm]
name = "grpo"
[run]
steps = 3
tasks = 2
[eval]
items = 2
every = 1
[checkpoint]
every = 1
"#;
    fs::write(place.path("recipe.toml"), recipe).unwrap();
    let (status, said) = place.train(&[]);
    assert_eq!(status, Some(0), "{said}");
    fs::write(place.path("recipe.toml"), recipe.replace("steps = 3", "steps = 4")).unwrap();
    place
}

/// Changes one byte in the middle.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Replaces a text that must be there.
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} in {text}", from);
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Removes the last lines.
fn cut(path: &Path, lines: usize) {
    let text = fs::read_to_string(path).unwrap();
    let kept = text.lines().count() - lines;
    fs::write(path, text.lines().take(kept).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// Makes the manifest of the checkpoint say of a file what it is now.
fn fit_manifest(place: &Place, name: &str) {
    let last = place.path("run/checkpoints/last");
    let sum = Command::new("sha256sum").arg(last.join(name)).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap().split(' ').next().unwrap().to_owned();
    let text = fs::read_to_string(last.join("manifest.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let length = fs::metadata(last.join(name)).unwrap().len();
    manifest["files"][name] = serde_json::json!({"bytes": length, "sha256": sum});
    fs::write(last.join("manifest.json"), manifest.to_string()).unwrap();
}

/// Changes the run's summary.
fn summary(place: &Place, change: impl Fn(&mut serde_json::Value)) {
    let file = place.path("run/summary.json");
    let mut summary = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    change(&mut summary);
    fs::write(file, summary.to_string()).unwrap();
}

/// Sets the accuracy of the last measurement.
fn ninety_five(place: &Place) {
    let file = place.path("run/evals.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let (kept, last) = text.trim_end().rsplit_once('\n').unwrap();
    let mut last: serde_json::Value = serde_json::from_str(last).unwrap();
    last["accuracy"] = 0.95.into();
    fs::write(file, format!("{kept}\n{last}\n")).unwrap();
    summary(place, |summary| summary["final"]["accuracy"] = 0.95.into());
}

type Attack = (&'static str, fn(&Place), &'static str);

/// What is changed in a run that is gone on with, and what must be said.
const RESUMED: [Attack; 41] = [
    ("weights", |p| flip(&p.path("model/model.safetensors")), "SHA-256 of the model's weights: expected "),
    (
        "tokenizer",
        |p| edit(&p.path("model/tokenizer.json"), "\n", "\n\n"),
        "SHA-256 of the model's tokenizer.json: expected ",
    ),
    (
        "template",
        |p| edit(&p.path("model/chat_template.jinja"), "message", " message"),
        "the model's chat_template.jinja: expected ",
    ),
    (
        "a template more",
        |p| fs::write(p.path("model/chat_template.json"), "{}").unwrap(),
        "chat_template.json: expected none, got ",
    ),
    ("a row", |p| edit(&p.path("train.jsonl"), "10 + 1", "11 + 0"), "SHA-256 of the data file "),
    (
        "rows in another order",
        |p| {
            let text = fs::read_to_string(p.path("train.jsonl")).unwrap();
            fs::write(p.path("train.jsonl"), text.lines().rev().map(|line| format!("{line}\n")).collect::<String>())
                .unwrap();
        },
        "SHA-256 of the data file ",
    ),
    ("a held-out row", |p| edit(&p.path("eval.jsonl"), "50 + 1", "49 + 2"), "eval.jsonl: expected "),
    (
        "another version",
        |p| edit(&p.path("run/began.json"), env!("CARGO_PKG_VERSION"), "9.9.9"),
        "relign's version: expected 9.9.9",
    ),
    (
        "no beginning",
        |p| fs::remove_file(p.path("run/began.json")).unwrap(),
        "began.json: expected what the run began from",
    ),
    (
        "a torn beginning",
        |p| fs::write(p.path("run/began.json"), "{\"rel").unwrap(),
        "began.json: expected what the run began from",
    ),
    (
        "metrics edited",
        |p| edit(&p.path("run/metrics.jsonl"), "\"step\":2", "\"step\": 2"),
        "metrics.jsonl: changed since it was written, in what was added by step 2",
    ),
    ("metrics cut", |p| cut(&p.path("run/metrics.jsonl"), 1), "metrics.jsonl: was cut: expected at least "),
    (
        "metrics torn",
        |p| {
            let text = fs::read_to_string(p.path("run/metrics.jsonl")).unwrap();
            fs::write(p.path("run/metrics.jsonl"), &text[..text.len() - 9]).unwrap();
        },
        "metrics.jsonl: was cut: ",
    ),
    ("no metrics", |p| fs::remove_file(p.path("run/metrics.jsonl")).unwrap(), "metrics.jsonl: was cut: "),
    (
        "evals edited",
        |p| edit(&p.path("run/evals.jsonl"), "\"step\":0", "\"step\": 0"),
        "evals.jsonl: changed since it was written",
    ),
    ("no evals", |p| fs::remove_file(p.path("run/evals.jsonl")).unwrap(), "evals.jsonl: was cut: "),
    ("trees edited", |p| flip(&p.path("run/trees.jsonl.zst")), "trees.jsonl.zst: changed since it was written"),
    ("no trees", |p| fs::remove_file(p.path("run/trees.jsonl.zst")).unwrap(), "trees.jsonl.zst: was cut: "),
    (
        "held-out edited",
        |p| flip(&p.path("run/held-out/step-0.jsonl.zst")),
        "step-0.jsonl.zst: changed since it was written",
    ),
    ("no held-out", |p| fs::remove_file(p.path("run/held-out/step-1.jsonl.zst")).unwrap(), "step-1.jsonl.zst: "),
    (
        "no hashes",
        |p| fs::remove_file(p.path("run/hashes.jsonl")).unwrap(),
        "hashes.jsonl: expected what the logs held after step 3, which the checkpoint is of, got none",
    ),
    (
        "hashes cut",
        |p| cut(&p.path("run/hashes.jsonl"), 2),
        "hashes.jsonl: expected what the logs held after step 3, which the checkpoint is of, got lines up to step 2",
    ),
    (
        "hashes edited",
        |p| edit(&p.path("run/hashes.jsonl"), "\"bytes\":", "\"bytes\":1"),
        "evals.jsonl: changed since it was written, in what was added by step 0; or hashes.jsonl was",
    ),
    (
        "an enormous step",
        |p| edit(&p.path("run/checkpoints/last/trainer.json"), "\"step\": 3", "\"step\": 1000000000000000000"),
        "trainer.json: expected the ",
    ),
    (
        "another step",
        |p| edit(&p.path("run/checkpoints/last/trainer.json"), "\"step\": 3", "\"step\": 2"),
        "trainer.json: changed since it was written",
    ),
    (
        "a step that is none",
        |p| edit(&p.path("run/checkpoints/last/trainer.json"), "\"step\": 3", "\"step\": -1"),
        "trainer.json: expected the ",
    ),
    ("no state", |p| fs::remove_file(p.path("run/checkpoints/last/trainer.json")).unwrap(), "trainer.json: is missing"),
    (
        "no manifest",
        |p| fs::remove_file(p.path("run/checkpoints/last/manifest.json")).unwrap(),
        "manifest.json: expected the hashes",
    ),
    (
        "a bit of the checkpoint's weights",
        |p| flip(&p.path("run/checkpoints/last/model.safetensors")),
        "model.safetensors: changed since it was written",
    ),
    (
        "a bit of its optimizer",
        |p| flip(&p.path("run/checkpoints/last/optimizer.safetensors")),
        "optimizer.safetensors: changed since it was written",
    ),
    (
        "a bit of its tokenizer",
        |p| flip(&p.path("run/checkpoints/last/tokenizer.json")),
        "tokenizer.json: changed since it was written",
    ),
    ("the Python reward's file", |p| edit(&p.path("reward.py"), "% 2", "% 3"), "SHA-256 of reward.py: expected "),
    (
        "the recipe, alike in both places",
        |p| {
            edit(&p.path("recipe.toml"), "limit = 60", "limit = 61");
            edit(&p.path("run/recipe.toml"), "limit = 60", "limit = 61");
        },
        "SHA-256 of the recipe: expected ",
    ),
    (
        "the checkpoints removed",
        |p| fs::remove_dir_all(p.path("run/checkpoints")).unwrap(),
        "expected the checkpoint of step 1 or a later one, found none, though the logs go to step 3",
    ),
    (
        "a template more in the checkpoint",
        |p| fs::write(p.path("run/checkpoints/last/chat_template.json"), "{}").unwrap(),
        "chat_template.json: was not written with the others",
    ),
    (
        "the checkpoint's configuration",
        |p| flip(&p.path("run/checkpoints/last/config.json")),
        "config.json: changed since it was written",
    ),
    (
        "a step of another type",
        |p| edit(&p.path("run/checkpoints/last/trainer.json"), "\"step\": 3", "\"step\": \"3\""),
        "trainer.json: expected the ",
    ),
    (
        "a step that is no number",
        |p| edit(&p.path("run/checkpoints/last/trainer.json"), "\"step\": 3", "\"step\": NaN"),
        "trainer.json: expected the ",
    ),
    (
        "an enormous step and a manifest that fits",
        |p| {
            edit(&p.path("run/checkpoints/last/trainer.json"), "\"step\": 3", "\"step\": 1000000000000000000");
            fit_manifest(p, "trainer.json");
        },
        "step: expected at most the recipe's run.steps, 4, got 1000000000000000000",
    ),
    (
        "trees torn",
        |p| {
            let bytes = fs::read(p.path("run/trees.jsonl.zst")).unwrap();
            fs::write(p.path("run/trees.jsonl.zst"), &bytes[..bytes.len() - 3]).unwrap();
        },
        "trees.jsonl.zst: was cut: ",
    ),
    (
        "held-out answers torn",
        |p| {
            let bytes = fs::read(p.path("run/held-out/step-1.jsonl.zst")).unwrap();
            fs::write(p.path("run/held-out/step-1.jsonl.zst"), &bytes[..bytes.len() - 3]).unwrap();
        },
        "step-1.jsonl.zst: changed since it was written",
    ),
];

#[test]
fn a_run_does_not_go_on_from_anything_else() {
    let source = stopped();
    for (what, attack, expected) in RESUMED {
        let place = source.copy();
        attack(&place);
        let before = place.bytes("run");
        let (status, said) = place.train(&["--resume"]);
        assert!(matches!(status, Some(1 | 2)), "{what}: {said}");
        assert!(said.contains(expected), "{what}: expected {expected:?} in {said}");
        // What is refused is left as it lies, but for a lock and what is found in every run.
        let kept = place.bytes("run");
        let changed = before.iter().filter(|file| !kept.contains(file)).map(|(path, _)| path.display().to_string());
        let changed: Vec<String> =
            changed.filter(|path| !path.contains("tfevents") && !path.ends_with(".lock")).collect();
        assert!(changed.is_empty(), "{what}: {changed:?}");
    }
    // Unharmed it goes on, and has the bytes of one that never stopped.
    let (resumed, whole) = (source.copy(), source.copy());
    assert_eq!(resumed.train(&["--resume"]).0, Some(0));
    fs::remove_dir_all(whole.path("run")).unwrap();
    assert_eq!(whole.train(&[]).0, Some(0));
    for name in [
        "metrics.jsonl",
        "evals.jsonl",
        "trees.jsonl.zst",
        "hashes.jsonl",
        "began.json",
        "checkpoints/last/model.safetensors",
    ] {
        let name = format!("run/{name}");
        assert!(fs::read(resumed.path(&name)).unwrap() == fs::read(whole.path(&name)).unwrap(), "{name}");
    }
}

/// What is changed in a run that is exported or asked, and what must be said.
const READ: [Attack; 17] = [
    (
        "the summary's accuracy",
        |p| {
            let text = fs::read_to_string(p.path("run/summary.json")).unwrap();
            let mut summary: serde_json::Value = serde_json::from_str(&text).unwrap();
            summary["final"]["accuracy"] = 0.95.into();
            fs::write(p.path("run/summary.json"), summary.to_string()).unwrap();
        },
        "summary.json: final: expected what evals.jsonl has, ",
    ),
    (
        "the summary's model",
        |p| {
            let text = fs::read_to_string(p.path("run/summary.json")).unwrap();
            let mut summary: serde_json::Value = serde_json::from_str(&text).unwrap();
            summary["model_sha256"] = "0".repeat(64).into();
            fs::write(p.path("run/summary.json"), summary.to_string()).unwrap();
        },
        "summary.json: model_sha256: expected what began.json has, ",
    ),
    (
        "the last measurement",
        |p| {
            let text = fs::read_to_string(p.path("run/evals.jsonl")).unwrap();
            let last = text.lines().last().unwrap().replace("\"accuracy\":", "\"accuracy\":9");
            cut(&p.path("run/evals.jsonl"), 1);
            let kept = fs::read_to_string(p.path("run/evals.jsonl")).unwrap();
            fs::write(p.path("run/evals.jsonl"), format!("{kept}{last}\n")).unwrap();
        },
        "evals.jsonl: ",
    ),
    (
        "metrics",
        |p| edit(&p.path("run/metrics.jsonl"), "\"step\":1", "\"step\": 1"),
        "metrics.jsonl: changed since it was written",
    ),
    ("trees", |p| flip(&p.path("run/trees.jsonl.zst")), "trees.jsonl.zst: changed since it was written"),
    (
        "held-out answers",
        |p| flip(&p.path("run/held-out/step-3.jsonl.zst")),
        "step-3.jsonl.zst: changed since it was written",
    ),
    (
        "weights",
        |p| flip(&p.path("run/checkpoints/last/model.safetensors")),
        "model.safetensors: changed since it was written",
    ),
    (
        "the checkpoint's configuration",
        |p| flip(&p.path("run/checkpoints/last/config.json")),
        "config.json: changed since it was written",
    ),
    (
        "the summary's p",
        |p| summary(p, |s| s["p_value"] = 1e-9.into()),
        "summary.json: p_value: expected what held-out has, ",
    ),
    (
        "the summary's bounds",
        |p| summary(p, |s| s["final"]["low"] = 0.9.into()),
        "summary.json: final: expected what evals.jsonl has, ",
    ),
    (
        "the summary's data",
        |p| summary(p, |s| s["data"] = serde_json::json!([])),
        "summary.json: data: expected what began.json has, ",
    ),
    (
        "the summary's version",
        |p| summary(p, |s| s["relign"] = "9.9.9".into()),
        "summary.json: relign: expected what began.json has, ",
    ),
    (
        "no model in the summary",
        |p| summary(p, |s| drop(s.as_object_mut().unwrap().remove("model_sha256"))),
        "summary.json: model_sha256: expected what began.json has, ",
    ),
    (
        "the run's recipe",
        |p| edit(&p.path("run/recipe.toml"), "limit = 60", "limit = 61"),
        "recipe.toml: expected the recipe that the run began with",
    ),
    (
        "95 % and its hash cut",
        |p| {
            cut(&p.path("run/hashes.jsonl"), 1);
            ninety_five(p);
        },
        "hashes.jsonl: expected the hash of every measurement",
    ),
    (
        "95 % and its hash torn",
        |p| {
            let text = fs::read_to_string(p.path("run/hashes.jsonl")).unwrap();
            fs::write(p.path("run/hashes.jsonl"), &text[..text.len() - 5]).unwrap();
            ninety_five(p);
        },
        "hashes.jsonl: expected the hash of every measurement",
    ),
    (
        "a bit, and the manifest removed",
        |p| {
            fs::remove_file(p.path("run/checkpoints/last/manifest.json")).unwrap();
            flip(&p.path("run/checkpoints/last/model.safetensors"));
        },
        "manifest.json: expected the hashes",
    ),
];

#[test]
fn a_changed_run_is_not_exported() {
    let source = stopped();
    for (what, attack, expected) in READ {
        let place = source.copy();
        attack(&place);
        let (status, said) = place.export();
        assert!(matches!(status, Some(1 | 2)), "{what}: {said}");
        assert!(said.contains(expected), "{what}: expected {expected:?} in {said}");
        assert!(!place.path("exported/README.md").exists(), "{what}");
    }
    let (status, said) = source.export();
    assert_eq!(status, Some(0), "{said}");
}

/// What is changed in a checkpoint that is asked, and what must be said.
const ASKED: [Attack; 4] = [
    (
        "weights",
        |p| flip(&p.path("run/checkpoints/last/model.safetensors")),
        "model.safetensors: changed since it was written",
    ),
    (
        "tokenizer",
        |p| flip(&p.path("run/checkpoints/last/tokenizer.json")),
        "tokenizer.json: changed since it was written",
    ),
    (
        "a template more",
        |p| fs::write(p.path("run/checkpoints/last/chat_template.json"), "{}").unwrap(),
        "chat_template.json: was not written with the others",
    ),
    ("nothing", |_| (), ""),
];

#[test]
fn a_changed_checkpoint_is_not_asked() {
    let source = stopped();
    for (what, attack, expected) in ASKED {
        let place = source.copy();
        attack(&place);
        for model in ["run", "run/checkpoints/last"] {
            let model = place.path(model);
            let call = ["generate", "--model", model.to_str().unwrap(), "--prompt", "hi", "--max-tokens", "2"];
            let output = relign(&call);
            assert_eq!(output.status.success(), expected.is_empty(), "{what}: {}", stderr(&output));
            assert!(stderr(&output).contains(expected), "{what}: {}", stderr(&output));
        }
    }
}

/// The base model that an adapter names is part of what a run began from.
#[test]
fn an_adapters_base_model_counts() {
    let place = stopped_from(&[("tiny-lora", "model"), ("tiny-llama", "tiny-llama")]);
    let unharmed = place.copy();
    flip(&place.path("tiny-llama/model.safetensors"));
    let (status, said) = place.train(&["--resume"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("SHA-256 of the base model's weights: expected "), "{said}");
    let (status, said) = unharmed.train(&["--resume"]);
    assert_eq!(status, Some(0), "{said}");
}
