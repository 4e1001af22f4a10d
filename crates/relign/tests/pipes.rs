//! Pipes, sockets and devices that lie in folders under the names of files: none is waited for.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod binary;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use binary::{relign, stderr, tiny};

/// Puts something that never ends to read in the place of `path`.
fn pipe(path: &Path) {
    let _ = fs::remove_file(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// What the binary says within a minute; a pipe that is waited for never answers.
fn within_a_minute(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relign"));
    command.args(args).env("OMP_NUM_THREADS", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{args:?} waits");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn results_beside_a_pipe_a_socket_and_a_device_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let there = results.to_str().unwrap();
    let evaluated = relign(&["eval", &tiny(), "--benchmark", "arithmetic/1", "--limit", "2", "--out", there]);
    assert!(evaluated.status.success(), "{}", stderr(&evaluated));
    pipe(&results.join("pipe.jsonl"));
    pipe(&results.join("below/pipe.jsonl"));
    std::os::unix::fs::symlink("/dev/zero", results.join("zero.jsonl")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(results.join("socket.jsonl")).unwrap();
    let (site, report) = (folder.path().join("site"), folder.path().join("report"));
    for args in [
        &["leaderboard", there, "--out", site.to_str().unwrap()][..],
        &["compare", there, there, "--out", report.to_str().unwrap()],
    ] {
        let output = within_a_minute(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_pipe_in_the_place_of_a_runs_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("tiny.toml");
    let text = format!(
        "model = {{ path = '{}', dtype = 'f32' }}\nenvironment = {{ name = 'arithmetic' }}\n\
         rewards = [{{ name = 'length', limit = 60 }}]\nstrategy = {{ name = 'sample', n = 4 }}\n\
         sampling = {{ max_tokens = 4 }}\nalgorithm = {{ name = 'grpo' }}\nrun = {{ steps = 1, tasks = 2 }}\n\
         eval = {{ items = 2 }}\n",
        tiny()
    );
    fs::write(&recipe, text).unwrap();
    let out = folder.path().join("run");
    let (recipe, there) = (recipe.to_str().unwrap(), out.to_str().unwrap());
    let trained = relign(&["train", recipe, "--out", there]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    let export = folder.path().join("export");
    for name in ["metrics.jsonl", "evals.jsonl", "recipe.toml", ".lock", "checkpoints/last/trainer.json"] {
        let path = out.join(name);
        let kept = fs::read(&path).unwrap();
        pipe(&path);
        let output = within_a_minute(&["train", recipe, "--out", there, "--resume", "--set", "run.steps=2"]);
        assert!(!output.status.success(), "{name}");
        assert!(stderr(&output).contains("expected a file, got a pipe"), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains(name), "{name}: {}", stderr(&output));
        within_a_minute(&["export", there, export.to_str().unwrap(), "--unfinished"]);
        fs::remove_file(&path).unwrap();
        fs::write(&path, kept).unwrap();
    }
}

#[test]
fn data_beside_a_pipe_is_read_and_a_pipe_as_data_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "{\"q\": \"1+1?\", \"a\": \"2\"}\n{\"q\": \"2+2?\", \"a\": \"4\"}\n";
    fs::write(folder.path().join("train.jsonl"), rows).unwrap();
    pipe(&folder.path().join("more.jsonl"));
    let path = |path: &Path| format!("path={}", path.display());
    let show = |place: &str| {
        within_a_minute(&[
            "tasks",
            "show",
            "dataset",
            "--split",
            "train",
            "--set",
            place,
            "--set",
            "prompt={{ q }}",
            "--set",
            "answer=a",
        ])
    };
    let output = show(&path(folder.path()));
    assert!(output.status.success(), "{}", stderr(&output));
    let output = show(&path(&folder.path().join("more.jsonl")));
    assert!(!output.status.success());
    assert!(stderr(&output).contains("expected a file, got a pipe"), "{}", stderr(&output));
}
