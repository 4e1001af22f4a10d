//! Full disks and closed pipes behind stdout and stderr.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn recipe(folder: &Path) -> PathBuf {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama.gguf");
    let file = folder.join("tiny.toml");
    let text = format!(
        "seed = 3\nmodel = {{ path = '{}', dtype = 'f32' }}\nenvironment = {{ name = 'arithmetic' }}\n\
         rewards = [{{ name = 'length', limit = 60 }}]\nstrategy = {{ name = 'sample', n = 4 }}\n\
         sampling = {{ max_tokens = 8 }}\nalgorithm = {{ name = 'grpo' }}\nrun = {{ steps = 6, tasks = 2 }}\n\
         eval = {{ items = 2 }}\ncheckpoint = {{ every = 4 }}\n",
        model.display()
    );
    fs::write(&file, text).unwrap();
    file
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// The writing end of a pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn relign(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relign"));
    command.args(args).env("OMP_NUM_THREADS", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn steps(out: &Path) -> usize {
    fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default().lines().count()
}

#[test]
fn a_run_ends_whole_where_stderr_cannot_be_written() {
    for (name, stderr) in [("full", full()), ("closed", closed())] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let recipe = recipe(folder.path());
        let mut command = relign(&["train", recipe.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        let status = command.stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(0), "{name}");
        assert_eq!(steps(&out), 6, "{name}");
        for file in ["summary.json", "curve.svg", "checkpoints/last/model.safetensors", "held-out/step-6.jsonl.zst"] {
            assert!(out.join(file).is_file(), "{name}: {file}");
        }
    }
}

/// `--json` on a pipe whose reader goes away, or on a full disk: the run is saved as far as it came, and goes on.
#[test]
fn a_run_loses_no_step_where_stdout_cannot_be_written() {
    for (name, stdout, code) in [("full", full(), 1), ("closed", closed(), 0)] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let recipe = recipe(folder.path());
        let args = ["train", recipe.to_str().unwrap(), "--out", out.to_str().unwrap(), "--json"];
        let child = relign(&args).stdout(stdout).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{name}: {errors}");
        assert_eq!(errors.contains("No space left"), code == 1, "{name}: {errors}");
        let trained = steps(&out);
        assert!(trained < 6, "{name}: it went on");
        let again = relign(&[&args[..], &["--resume"]].concat()).output().unwrap();
        assert!(again.status.success(), "{name}: {}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(steps(&out), 6, "{name}");
    }
}

#[test]
fn a_full_disk_behind_stdout_is_an_error_and_a_reader_that_left_is_none() {
    for args in [&["list"][..], &["list", "--json"], &["schema"], &["completions", "bash"], &["explain", "grpo"]] {
        let output = relign(args).stdout(full()).spawn().unwrap().wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
        assert!(errors.contains("stdout") && errors.contains("No space left"), "{args:?}: {errors}");
        let output = relign(args).stdout(closed()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(output.stderr, b"", "{args:?}");
    }
}

/// What went wrong is told by the exit status, too.
#[test]
fn a_wrong_call_keeps_its_status_where_stderr_cannot_be_written() {
    for stderr in [full(), closed()] {
        assert_eq!(relign(&["explain", "nothing-of-the-kind"]).stderr(stderr).status().unwrap().code(), Some(2));
    }
}

/// Somewhere between too little to start with and plenty, memory runs out while a model is at work: libtorch's panic and its
/// C++ trace reach nobody.
#[test]
fn memory_that_cannot_be_had_is_an_error_in_words() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama");
    let limited = |megabytes: u64| {
        let mut command = Command::new("bash");
        let script =
            format!("ulimit -v {}; exec \"$0\" generate --model \"$1\" --prompt a --max-tokens 4", megabytes << 10);
        command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_relign")).arg(&model).env("OMP_NUM_THREADS", "1");
        command.stdin(Stdio::null()).output().unwrap()
    };
    for megabytes in (1200..2400).step_by(100) {
        let output = limited(megabytes);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!errors.contains("DefaultCPUAllocator") && !errors.contains("frame #"), "{megabytes} MB: {errors}");
    }
    assert!(limited(16_000).status.success());
}
