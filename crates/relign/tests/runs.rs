//! Runs of the real binary: killed, interrupted and resumed, and given what cannot work.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures").join(name)
}

/// A recipe for a model of two small layers, which trains in a second.
fn recipe(folder: &Path) -> PathBuf {
    let file = folder.join("tiny.toml");
    let text = format!(
        r#"name = "tiny"
seed = 3

[model]
path = "{}"
dtype = "f32"

[environment]
name = "arithmetic"

[[rewards]]
name = "length"
limit = 60

[strategy]
name = "sample"
n = 4

[sampling]
max_tokens = 12

[algorithm]
name = "grpo"
kl = 0.05

[optimizer]
lr = 1e-3

[run]
steps = 30
tasks = 2
minibatches = 2

[eval]
items = 3
every = 10

[checkpoint]
every = 4
"#,
        fixture("tiny-llama.gguf").display()
    );
    fs::write(&file, text).unwrap();
    file
}

fn train(recipe: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relign"));
    command.arg("train").arg(recipe).arg("--out").arg(out).args(more);
    command.env("OMP_NUM_THREADS", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn done(mut command: Command) -> Output {
    command.output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn finish(recipe: &Path, out: &Path, more: &[&str]) {
    let output = done(train(recipe, out, more));
    assert!(output.status.success(), "{}", errors(&output));
}

/// What equal runs have equal, byte for byte.
fn bytes(out: &Path) -> Vec<(&'static str, Vec<u8>)> {
    [
        "metrics.jsonl",
        "evals.jsonl",
        "trees.jsonl.zst",
        "checkpoints/last/model.safetensors",
        "checkpoints/last/optimizer.safetensors",
    ]
    .map(|name| (name, fs::read(out.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))))
    .to_vec()
}

fn same(a: &Path, b: &Path) {
    for ((name, a), (_, b)) in bytes(a).into_iter().zip(bytes(b)) {
        assert!(a == b, "{name} differs ({} and {} bytes)", a.len(), b.len());
    }
}

fn wait_until(child: &mut Child, what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(120), "the run got stuck");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn lines(file: &Path) -> usize {
    fs::read(file).map(|text| text.iter().filter(|&&b| b == b'\n').count()).unwrap_or(0)
}

#[test]
fn killed_at_any_moment_a_run_resumes_to_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let recipe = recipe(root.path());
    let whole = root.path().join("whole");
    finish(&recipe, &whole, &[]);
    assert_eq!(lines(&whole.join("metrics.jsonl")), 30);
    for name in ["recipe.toml", "summary.json", "curve.svg", "curve.png", "timings.jsonl"] {
        assert!(whole.join(name).is_file(), "{name} is missing");
    }

    let broken = root.path().join("broken");
    let metrics = broken.join("metrics.jsonl");
    let writing = broken.join("checkpoints/last.writing");
    let mut arguments: &[&str] = &[];
    // After the start, between steps, inside a checkpoint's write, right after a step.
    for moment in 0..5 {
        let mut child = train(&recipe, &broken, arguments).spawn().unwrap();
        wait_until(&mut child, || match moment {
            0 => broken.join("recipe.toml").exists(),
            1 => lines(&metrics) >= 3,
            2 => lines(&metrics) >= 7 && writing.exists(),
            3 => lines(&metrics) >= 15,
            _ => lines(&metrics) >= 18 && writing.join("model.safetensors").exists(),
        });
        child.kill().unwrap();
        child.wait().unwrap();
        if moment == 3 {
            // As if the kill had torn the last lines.
            for name in ["metrics.jsonl", "evals.jsonl", "trees.jsonl.zst"] {
                let mut text = fs::read(broken.join(name)).unwrap_or_default();
                text.extend_from_slice(b"{\"step\":");
                fs::write(broken.join(name), text).unwrap();
            }
        }
        arguments = &["--resume"];
    }
    finish(&recipe, &broken, &["--resume"]);
    same(&whole, &broken);
}

#[test]
fn an_interrupted_run_saves_and_resumes_to_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let recipe = recipe(root.path());
    let (whole, broken) = (root.path().join("whole"), root.path().join("broken"));
    finish(&recipe, &whole, &[]);
    for (signal, least) in [("-INT", 5), ("-TERM", 13)] {
        let more: &[&str] = if least == 5 { &[] } else { &["--resume"] };
        let mut child = train(&recipe, &broken, more).spawn().unwrap();
        wait_until(&mut child, || lines(&broken.join("metrics.jsonl")) >= least);
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
        assert!(errors(&output).contains("--resume"), "{}", errors(&output));
        assert!(broken.join("checkpoints/last/trainer.json").exists());
    }
    finish(&recipe, &broken, &["--resume"]);
    same(&whole, &broken);
}

#[test]
fn a_finished_run_goes_on_to_more_steps_with_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let recipe = recipe(root.path());
    let (whole, longer) = (root.path().join("whole"), root.path().join("longer"));
    finish(&recipe, &whole, &[]);
    finish(&recipe, &longer, &["--set", "run.steps=10"]);
    // Fewer steps than were to be, and another setting beside the steps, are refused.
    refused(2, &["recipe differs", "steps"], train(&recipe, &longer, &["--resume", "--set", "run.steps=9"]));
    refused(2, &["recipe differs"], train(&recipe, &longer, &["--resume", "--set", "optimizer.lr=1e-4"]));
    let output = done(train(&recipe, &longer, &["--resume"]));
    assert!(output.status.success() && errors(&output).contains("30 steps instead of 10"), "{}", errors(&output));
    same(&whole, &longer);
    assert_eq!(fs::read(whole.join("recipe.toml")).unwrap(), fs::read(longer.join("recipe.toml")).unwrap());
}

/// Runs what cannot work; the exit status and every word must be in its error.
fn refused(status: i32, words: &[&str], command: Command) {
    let output = done(command);
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(status), "{text}");
    for word in words {
        assert!(text.contains(word), "expected `{word}` in: {text}");
    }
}

#[test]
fn what_is_wrong_with_a_recipe_is_shown_where_it_stands() {
    let root = tempfile::tempdir().unwrap();
    let file = recipe(root.path());
    let out = root.path().join("run");
    let changed = |from: &str, to: &str| {
        let path = root.path().join("changed.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
        path
    };
    refused(2, &["changed.toml:30", "stepz", "steps"], train(&changed("steps = 30", "stepz = 30"), &out, &[]));
    refused(2, &["changed.toml:24", "kll", "`kl`"], train(&changed("kl = 0.05", "kll = 0.05"), &out, &[]));
    refused(2, &["changed.toml:30", "steps"], train(&changed("steps = 30", "steps = \"many\""), &out, &[]));
    refused(2, &["grpo"], train(&changed("name = \"grpo\"", "name = \"gpro\""), &out, &[]));
    // A search's tree is no group of independent samples.
    let searched = changed("name = \"sample\"", "name = \"best_of_n\"");
    for more in [&[][..], &["--dry-run"]] {
        refused(2, &["strategy.name: grpo", "expected `sample`, got `best_of_n`"], train(&searched, &out, more));
    }
    refused(2, &["--set", "temperature"], train(&file, &out, &["--set", "sampling.temperature=-1"]));
    refused(2, &["none.toml"], train(Path::new("none.toml"), &out, &[]));
    assert!(!out.exists(), "a refused recipe leaves nothing behind");
}

#[test]
fn what_cannot_work_says_so_and_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let file = recipe(root.path());
    let folder = |name: &str| root.path().join(name);

    // A folder that already holds a run, and one that cannot be made.
    finish(&file, &folder("run"), &["--set", "run.steps=2"]);
    refused(2, &["--resume", "--out"], train(&file, &folder("run"), &[]));
    refused(2, &["recipe differs", "steps"], train(&file, &folder("run"), &["--resume", "--set", "run.steps=1"]));
    fs::write(folder("file"), "").unwrap();
    refused(1, &["file/run"], train(&file, &folder("file/run"), &[]));

    // A model that is not there, and one with a missing shard.
    refused(2, &["nothing-here"], train(&file, &folder("a"), &["--set", "model.path=nothing-here"]));
    let sharded = folder("sharded");
    fs::create_dir(&sharded).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        let _ = fs::copy(fixture("tiny-llama").join(name), sharded.join(name));
    }
    let index = r#"{"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}"#;
    fs::write(sharded.join("model.safetensors.index.json"), index).unwrap();
    let set = format!("model.path=\"{}\"", sharded.display());
    refused(1, &["model-00002-of-00002.safetensors"], train(&file, &folder("b"), &["--set", &set]));

    // A dataset without items.
    let empty = folder("empty");
    fs::create_dir(&empty).unwrap();
    for name in ["train.jsonl", "test.jsonl"] {
        fs::write(empty.join(name), "").unwrap();
    }
    let set = format!("environment={{name=\"gsm8k\", path=\"{}\"}}", empty.display());
    let output = done(train(&file, &folder("c"), &["--set", &set]));
    assert!(!output.status.success() && errors(&output).contains("test.jsonl"), "{}", errors(&output));

    // A prompt that leaves no room in the context.
    refused(1, &["context", "16"], train(&file, &folder("d"), &["--set", "run.context=16"]));

    // A loss that is no number: the weights saved before stay.
    let wild = [
        "--set",
        "optimizer.lr=1e30",
        "--set",
        "optimizer.clip_norm=0",
        "--set",
        "checkpoint.every=1",
        "--set",
        "run.minibatches=1",
    ];
    let output = done(train(&file, &folder("e"), &wild));
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("finite"), "{}", errors(&output));
    assert!(folder("e").join("checkpoints/last/trainer.json").exists());
}

#[test]
fn a_full_disk_stops_a_run_and_keeps_its_last_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let file = recipe(root.path());
    let out = root.path().join("run");
    finish(&file, &out, &["--set", "run.steps=4", "--set", "eval.items=0"]);
    let before = fs::read(out.join("checkpoints/last/model.safetensors")).unwrap();
    // A limit on a file's size makes writes fail the way a full disk does, without one.
    let script = "trap '' XFSZ; ulimit -f 40; exec \"$@\"";
    let resumed = root.path().join("resumed.toml");
    fs::write(
        &resumed,
        fs::read_to_string(&file).unwrap().replace("steps = 30", "steps = 8").replace("items = 3", "items = 0"),
    )
    .unwrap();
    let recorded = out.join("recipe.toml");
    fs::write(&recorded, fs::read_to_string(&recorded).unwrap().replace("steps = 4", "steps = 8")).unwrap();
    let mut command = Command::new("bash");
    command.args(["-c", script, "-", env!("CARGO_BIN_EXE_relign"), "train"]);
    command.arg(&resumed).arg("--out").arg(&out).arg("--resume");
    let output = done(command);
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("checkpoints/last.writing"), "{}", errors(&output));
    assert_eq!(fs::read(out.join("checkpoints/last/model.safetensors")).unwrap(), before);
    assert!(!out.join("checkpoints/last.writing").exists());
    finish(&resumed, &out, &["--resume"]);
    assert_eq!(lines(&out.join("metrics.jsonl")), 8);
}

#[test]
fn a_dry_run_says_what_it_needs_and_touches_nothing() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    let output = done(train(&recipe(root.path()), &out, &["--dry-run", "--json"]));
    assert!(output.status.success(), "{}", errors(&output));
    let last = String::from_utf8(output.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(last.trim().lines().last().unwrap()).unwrap();
    assert!(summary["memory_needed_bytes"].as_u64().unwrap() > 0);
    assert!(!out.exists());
}

#[test]
fn what_a_run_is_measured_on_is_looked_for_among_its_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let question = |n: usize| {
        let name = ["Ada", "Ben", "Cy", "Dora", "Eve", "Finn"][n];
        format!("{name} keeps {n} brown hens and sells each of their eggs at the market of town {n}.")
    };
    let rows = |from: usize, to: usize| -> String {
        (from..to).map(|n| format!("{{\"question\": \"{}\", \"answer\": \"{n}\"}}\n", question(n))).collect()
    };
    fs::write(folder.path().join("train.jsonl"), rows(0, 6)).unwrap();
    // Two of the tasks, with other spaces and marks, and one of its own.
    fs::write(
        folder.path().join("test.jsonl"),
        format!(
            "{}\n{}\n{{\"question\": \"Whose hat is this?\"}}\n",
            serde_json::json!({"question": question(2).to_uppercase()}),
            serde_json::json!({"question": question(4).replace(' ', "  ")})
        ),
    )
    .unwrap();
    let file = folder.path().join("own.toml");
    let text = fs::read_to_string(recipe(folder.path())).unwrap();
    let path = folder.path().join("train.jsonl");
    let own = format!(
        "name = \"dataset\"\npath = \"{}\"\nprompt = \"{{{{ question }}}}\"\nanswer = \"answer\"\n\
                       instruction = \"Think step by step about this and end with #### and the number.\"",
        path.display()
    );
    let text = text.replace("name = \"arithmetic\"", &own).replace("steps = 30", "steps = 1");
    let against = format!("items = 2\nagainst = [\"{}\"]", folder.path().join("test.jsonl").display());
    fs::write(&file, text.replace("items = 3", &against)).unwrap();
    let out = folder.path().join("run");
    let output = done(train(&file, &out, &[]));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(errors(&output).contains("of 3 items of test.jsonl 2 stand in the"), "{}", errors(&output));
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    let found = &summary["contamination"]["benchmarks"];
    assert_eq!((&found["test.jsonl"]["exact"], &found["test.jsonl"]["items"]), (&2.into(), &3.into()), "{found}");
    assert_eq!(found["held-out"]["exact"], 0, "the tasks themselves are disjoint: {found}");
    let card = folder.path().join("card");
    let mut export = Command::new(env!("CARGO_BIN_EXE_relign"));
    export.arg("export").arg(&out).arg(&card);
    let export = done(export);
    assert_eq!(export.status.code(), Some(0), "{}", errors(&export));
    let card = fs::read_to_string(card.join("README.md")).unwrap();
    assert!(card.contains("| test.jsonl | 3 | 2 | 0 | 0 | 0 |"), "{card}");
    let lines = fs::read_to_string(out.join("contamination.jsonl")).unwrap();
    assert!(lines.lines().count() >= 2 && lines.contains("CY KEEPS 2 BROWN HENS"), "{lines}");
    // A benchmark that there is not is said before anything is written.
    let text = fs::read_to_string(&file).unwrap().replace("test.jsonl", "tset");
    fs::write(&file, text).unwrap();
    let output = done(train(&file, &folder.path().join("other"), &[]));
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
    assert!(errors(&output).contains("eval.against") && !folder.path().join("other").exists());
}

#[test]
fn the_command_that_is_printed_goes_on_with_the_run_in_a_shell() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("it's a $HOME `x` & <y>");
    fs::create_dir(&folder).unwrap();
    let recipe = recipe(&folder);
    let out = folder.join("out \"1\"");
    let sets = ["run.steps=200", "sampling.stop=[\"a b\", \"it's\"]", "sampling.temperature = 0.9", "name=a; b"];
    let mut child = train(&recipe, &out, &sets.map(|set| ["--set", set]).concat()).spawn().unwrap();
    wait_until(&mut child, || lines(&out.join("metrics.jsonl")) >= 2);
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = errors(&output);
    let command = said.lines().find_map(|line| line.strip_prefix("go on with: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(command.starts_with("relign train '") && command.matches("--set").count() == sets.len(), "{command}");
    let path = Path::new(env!("CARGO_BIN_EXE_relign")).parent().unwrap().display().to_string();
    let path = format!("{path}:{}", std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).env("PATH", path).env("OMP_NUM_THREADS", "1").current_dir(root.path());
    let output = shell.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command}\n{}", errors(&output));
    assert_eq!(lines(&out.join("metrics.jsonl")), 200);
    // So do the commands that are suggested next.
    let next = String::from_utf8_lossy(&output.stdout).into_owned();
    let train = next.lines().map(str::trim).find(|line| line.starts_with("relign train ")).unwrap();
    assert!(train.contains("--set 'sampling.stop=[\"a b\"") && train.ends_with("--set seed=4"), "{train}");
}
