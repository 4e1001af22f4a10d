//! The real binary, as a user or a script meets it.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

use std::process::{Command, Output};

use serde_json::Value;

fn relign(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relign")).args(args).env_remove("MIMALLOC_PURGE_DELAY").output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_wrong_call_is_2_and_a_failure_is_1() {
    assert_eq!(relign(&["--version"]).status.code(), Some(0));
    assert_eq!(relign(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(relign(&["explain", "nothing-of-that-name"]).status.code(), Some(2));
    assert_eq!(relign(&["pull", "no-such-model"]).status.code(), Some(2));
    let unreachable = Command::new(env!("CARGO_BIN_EXE_relign"))
        .args(["pull", "some/model"])
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .env("HF_HUB_CACHE", std::env::temp_dir().join("relign-no-models"))
        .env_remove("HF_HUB_OFFLINE")
        .output()
        .unwrap();
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(stderr(&unreachable).contains("cannot be reached"), "{}", stderr(&unreachable));
}

#[test]
fn sandbox_runs_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.py", "print(sum(int(line) for line in open(0)))");
    let bad = file("bad.txt", "import sys\nprint('so')\nsys.exit(3)");
    let long = file("long.py", "while True: pass");
    let mut child = Command::new(env!("CARGO_BIN_EXE_relign"))
        .args(["sandbox", &good, "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"1\n41\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let row = &lines(&output)[0];
    assert_eq!(row["stdout"], "42\n");
    assert_eq!(row["verdict"], "passed");
    assert_eq!(row["status"], 0);
    assert!(row["cpu_seconds"].as_f64().unwrap() > 0.0 && row["peak_memory_mb"].as_f64().unwrap() > 1.0, "{row}");
    let output = relign(&["sandbox", &bad, "--lang", "python"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"so\n".as_slice()));
    assert!(stderr(&output).contains("exit status 3"), "{}", stderr(&output));
    let output = relign(&["sandbox", &long, "--cpu-seconds", "0.2", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(lines(&output)[0]["verdict"], "stopped");
    for wrong in [vec!["sandbox", &bad], vec!["sandbox", &good, "--memory-mb", "0"]] {
        assert_eq!(relign(&wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn list_names_everything_and_every_name_has_a_manual() {
    let output = relign(&["list", "--json"]);
    let lines = lines(&output);
    let (summary, rows) = lines.split_last().unwrap();
    assert_eq!(summary["count"], rows.len());
    for (kind, name) in
        [("environment", "arithmetic"), ("environment", "countdown"), ("environment", "gsm8k"), ("model", "smollm2")]
    {
        assert!(rows.iter().any(|row| row["kind"] == kind && row["name"] == name), "{kind} {name}");
    }
    for row in rows.iter().filter(|row| row["kind"] != "model") {
        assert!(row["summary"].as_str().unwrap().len() > 10, "{row}");
        let name = format!("{}:{}", row["kind"].as_str().unwrap(), row["name"].as_str().unwrap());
        assert_eq!(relign(&["explain", &name]).status.code(), Some(0), "{name}");
    }
}

#[test]
fn doctor_finds_the_allocator_at_work_in_libtorch() {
    let output = relign(&["doctor", "--json"]);
    let lines = lines(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(lines.last().unwrap()["ok"], true);
    let find = |what: &str| lines.iter().find(|line| line["what"] == what).unwrap();
    assert_eq!(find("allocator")["found"], "mimalloc serves libtorch too and keeps its memory");
    assert!(find("libtorch")["found"].as_str().unwrap().starts_with("2.11."));
    for what in ["cpu", "dtype", "threads", "memory", "disk", "huge pages", "devices", "python"] {
        assert!(!find(what)["found"].as_str().unwrap().is_empty());
    }
}

#[test]
fn the_purge_delay_is_the_option_that_is_set() {
    let output = Command::new(env!("CARGO_BIN_EXE_relign"))
        .args(["doctor", "--json"])
        .env("MIMALLOC_PURGE_DELAY", "77")
        .output()
        .unwrap();
    let lines = lines(&output);
    let allocator = lines.iter().find(|line| line["what"] == "allocator").unwrap();
    assert_eq!(allocator["found"], "mimalloc hands memory back");
}

/// Threads that wait spin briefly, however the program was started; a user's choice stays.
#[test]
fn threads_spin_briefly_unless_told_otherwise() {
    let variables = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];
    for (choice, expected) in [
        (None, "spin 1000 rounds"),
        (Some((variables[0], "77")), "spin 77 rounds"),
        (Some((variables[1], "passive")), "OMP_WAIT_POLICY=passive"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relign"));
        command.args(["doctor", "--json"]);
        for name in variables {
            command.env_remove(name);
        }
        command.envs(choice);
        let lines = lines(&command.output().unwrap());
        let threads = lines.iter().find(|line| line["what"] == "threads").unwrap();
        assert!(threads["found"].as_str().unwrap().contains(expected), "{choice:?}: {threads}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let script = format!("{} list | head -1; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_relign"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.ends_with("\n0\n") && output.stderr.is_empty(), "{text}{}", stderr(&output));
}

#[test]
fn completions_know_the_commands_and_the_schema_the_sections() {
    for shell in ["bash", "zsh", "fish"] {
        let script = relign(&["completions", shell]).stdout;
        assert!(String::from_utf8_lossy(&script).contains("doctor"), "{shell}");
    }
    let schema: Value = serde_json::from_slice(&relign(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["optimizer"].is_object());
}

#[test]
fn a_wrong_recipe_is_2_with_its_place_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("wrong.toml");
    let text =
        "[model]\npath = \"smollm2\"\n[environment]\nname = \"arithmetic\"\nlevle = 3\n[algorithm]\nname = \"grop\"\n";
    std::fs::write(&recipe, text).unwrap();
    let out = folder.path().join("run");
    let output = relign(&["train", recipe.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    for part in ["wrong.toml:5:1", "levle = 3\n", "did you mean `level`?", "wrong.toml:7:1", "did you mean `grpo`?"] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    assert!(output.stdout.is_empty() && !out.exists());
    assert_eq!(relign(&["train", "/nowhere/recipe.toml"]).status.code(), Some(2));
}

#[test]
fn calls_that_make_no_sense_are_2_before_a_model_is_loaded() {
    for (call, said) in [
        (&["generate", "--model", "smollm2"][..], "--prompt"),
        (&["generate", "--model", "smollm2", "--file", "/nowhere.jsonl"], "/nowhere.jsonl"),
        (&["generate", "--model", "smollm2", "--prompt", "x", "--temperature=-1"], "from 0 up"),
        (&["eval", "smollm2"], "--task NAME"),
        (&["eval", "smollm2", "--task", "arithmatic"], "did you mean `arithmetic`?"),
        (&["eval", "smollm2", "--task", "arithmetic", "--set", "levle=1"], "did you mean `level`?"),
        (&["eval", "smollm2", "--task", "arithmetic", "--samples", "4"], "--temperature"),
    ] {
        let output = relign(call);
        assert_eq!(output.status.code(), Some(2), "{call:?}");
        assert!(stderr(&output).contains(said), "{call:?}: {}", stderr(&output));
    }
}

#[test]
fn a_model_is_converted_there_and_back_and_nothing_is_overwritten() {
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let model = fixture.join("tiny-llama").to_str().unwrap().to_owned();
    let output = relign(&["convert", &model, "--out", &path("m.gguf"), "--type", "q8_0", "--json"]);
    let said = lines(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!((&said[0]["type"], &said[0]["from"], &said[0]["tensors"]), (&"Q8_0".into(), &"BF16".into(), &21.into()));
    assert_eq!(said[0]["bytes"], std::fs::metadata(path("m.gguf")).unwrap().len());
    assert_eq!(relign(&["convert", &path("m.gguf"), "--out", &path("back")]).status.code(), Some(0));
    let config: Value = serde_json::from_slice(&std::fs::read(path("back/config.json")).unwrap()).unwrap();
    assert_eq!((&config["torch_dtype"], &config["vocab_size"]), (&"float16".into(), &128.into()));
    let adapter = fixture.join("tiny-lora").to_str().unwrap().to_owned();
    let merged = relign(&["convert", &adapter, "--base", &path("back"), "--out", &path("merged.gguf")]);
    assert_eq!(merged.status.code(), Some(0), "{}", stderr(&merged));
    for (call, said) in [
        (&["convert", &model, "--out", &path("m.gguf")][..], "exists already"),
        (&["convert", &model, "--out", &path("x"), "--type", "q4_0"], "ends in .gguf"),
        (&["convert", &model, "--out", &path("x.gguf"), "--type", "q5_k"], "possible values"),
    ] {
        let output = relign(call);
        assert_eq!(output.status.code(), Some(2), "{call:?}");
        assert!(stderr(&output).contains(said), "{call:?}: {}", stderr(&output));
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 3, "no parts are left behind");
}

#[test]
fn one_kind_can_be_listed() {
    let kinds = |kind: &str| {
        let output = relign(&["list", kind, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut rows = lines(&output);
        rows.pop();
        rows.iter().map(|row| row["kind"].as_str().unwrap().to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(kinds("tasks"), ["environment".to_owned()].into());
    assert_eq!(kinds("rewards"), ["reward".to_owned()].into());
    assert_eq!(kinds("models"), ["model".to_owned()].into());
    let wrong = relign(&["list", "taskz"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("did you mean `tasks`?"), "{}", stderr(&wrong));
}

#[test]
fn tasks_are_shown_with_their_solutions() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    let rows: String = (0..40).map(|n| format!("{{\"text\": \"Say {n}.\", \"answer\": \"{n}\"}}\n")).collect();
    std::fs::write(&file, rows).unwrap();
    let path = format!("path={}", file.display());
    let show = |more: &[&str]| {
        let mut args = vec!["tasks", "show", "dataset", "-n", "5", "--set", &path, "--set", "prompt={{ text }}"];
        args.extend(more);
        relign(&args)
    };
    let output = show(&["--split", "train", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = lines(&output);
    let (summary, tasks) = lines.split_last().unwrap();
    assert_eq!(tasks.len(), 5);
    for shown in tasks {
        let answer = shown["task"]["answer"].as_str().unwrap();
        assert_eq!(shown["task"]["messages"][0]["content"], format!("Say {answer}."));
        assert_eq!((&shown["score"]["verdict"], &shown["score"]["value"]), (&"correct".into(), &1.0.into()));
    }
    assert_eq!((&summary["oracle_correct"], &summary["data"][0]["rows"]), (&5.into(), &40.into()));
    assert_eq!(summary["data"][0]["sha256"].as_str().unwrap().len(), 64);
    let text = String::from_utf8(show(&["--split", "train"]).stdout).unwrap();
    assert!(text.contains("[gold answer]") && text.contains("1 (correct"), "{text}");
    assert_eq!(show(&["--from", "1000"]).status.code(), Some(2));
    assert_eq!(relign(&["tasks", "show", "dataset"]).status.code(), Some(2));
    std::fs::write(&file, "{}\n").unwrap();
    let broken = show(&[]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(stderr(&broken).contains("rows.jsonl:1: "), "{}", stderr(&broken));
}

#[test]
fn verify_judges_an_answer_and_a_file() {
    let one = lines(&relign(&["verify", r"\frac{1}{2}", "-0.5", "--json"]));
    assert_eq!((one[0]["verdict"].as_str(), one[0]["extracted"].as_str()), (Some("wrong"), Some("-0.5")));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.tsv");
    let file = path.to_str().unwrap();
    std::fs::write(&path, "\u{feff}gold\tid\tpred\n7\t1\tIt is $7$.\n7\t2\t8\n7\t3\tno idea\n").unwrap();
    let rows = lines(&relign(&["verify", "--file", file, "--json"]));
    let verdicts: Vec<_> = rows[..3].iter().map(|row| row["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["correct", "wrong", "unparsed"]);
    assert_eq!((rows[3]["count"].as_u64(), rows[3]["correct"].as_u64()), (Some(3), Some(1)));
    std::fs::write(&path, "gold\tanswer\n1\t2\n").unwrap();
    let wrong = relign(&["verify", "--file", file]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("expected a column named pred, got: gold, answer"), "{}", stderr(&wrong));
    assert_eq!(relign(&["verify", "7", "7", "--policy", "latx"]).status.code(), Some(2));
    assert_eq!(relign(&["verify"]).status.code(), Some(2));
}
