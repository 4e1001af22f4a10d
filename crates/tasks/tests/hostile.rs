//! Programs and solutions that mean harm: none gets out, none scores, nothing of them stays.
//!
//! `hostile/programs` print ESCAPED where they got what they must not; their second line names the endings that
//! are theirs. `hostile/solutions` are tested on a task that none of them solves. All run as the user who tests,
//! and where that is root, once more as nobody.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use relign_core::{Task, Transcript, Verdict, find};
use relign_tasks::REWARDS;
use relign_tasks::sandbox::{Ending, Input, Judged, Language, Limits, Outcome, Sandbox, Tests, Unavailable};
use serde_json::json;

fn scripts(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile").join(folder);
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    all.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

fn tight() -> Limits {
    Limits { cpu_seconds: 1.0, idle_seconds: 1.0, memory_mb: 200, processes: 16, output_kb: 64, disk_mb: 16 }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file that no program may reach; its path, unique to this test, marks processes, too.
fn secret() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::Builder::new().prefix("relign-secret-").tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "the secret").unwrap();
    (folder, file)
}

/// Processes of this machine that name `mark`.
fn marked(mark: &str) -> Vec<String> {
    let lines = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| text(&line)).filter(|line| line.contains(mark)).collect()
}

fn gone(mark: &str) -> bool {
    // A killed process takes its moment.
    (0..100).any(|_| {
        marked(mark).is_empty() || {
            std::thread::sleep(Duration::from_millis(20));
            false
        }
    })
}

/// Each of `items` on one of two threads.
fn both_cores<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

#[test]
fn programs() {
    let (_folder, secret) = secret();
    let mark = secret.to_str().unwrap();
    let (cold, warm) = (Sandbox::new(tight(), "python3", true), Sandbox::new(tight(), "python3", true));
    let scripts = scripts("programs");
    assert!(scripts.len() >= 40);
    both_cores(&scripts, |(name, script)| {
        let ends: Vec<&str> = script.lines().nth(1).unwrap().strip_prefix("# ends: ").unwrap().split(' ').collect();
        let input = format!("{mark}\n");
        let check = |how: &str, outcome: Result<Outcome, Unavailable>| {
            let outcome = outcome.unwrap_or_else(|error| panic!("{name} {how}: {error}"));
            let said =
                format!("{name} {how}: {:?}\n{}\n{}", outcome.ending, text(&outcome.stdout), text(&outcome.stderr));
            let said: String = said.chars().take(2000).collect();
            assert!(!said.contains("ESCAPED"), "{said}");
            let ending = json!(outcome.ending);
            let ending = ending.as_str().or_else(|| ending.as_object()?.keys().next().map(String::as_str)).unwrap();
            assert!(ends.contains(&ending), "{said}");
            assert!(outcome.stdout.len() <= 64 << 10 && outcome.stderr.len() <= 64 << 10);
        };
        check("in a box", cold.run(Language::Python, script, Input::Text(input.as_bytes())));
        check("on a warm worker", warm.program(Language::Python, script, input.as_bytes()));
        // Nothing of it is there for the next one.
        let look = "import os, sys\nprint(sorted(os.listdir('/tmp')), len([p for p in os.listdir('/proc') if p.isdigit()]), os.access('/tmp', os.W_OK))";
        let after = warm.program(Language::Python, look, b"").unwrap();
        assert_eq!(text(&after.stdout), "[] 1 True\n", "after {name}: {}", text(&after.stderr));
    });
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "the secret");
    drop((cold, warm));
    assert!(gone(mark), "{:?}", marked(mark));
}

const CHECKS: &str = r#"
import math
def check(candidate):
    assert candidate(2) == 4, "secret_marker_81"
    assert candidate(-3) == 9
    assert not candidate(0)
    assert abs(candidate(1.5) - 2.25) < 1e-9
    assert math.isclose(candidate(0.5), 0.25)
    assert candidate(10 ** 30) == 10 ** 60
    assert isinstance(candidate(7), int)
check(square)
"#;

#[test]
fn solutions() {
    let limits = json!({"cpu_seconds": 1.0, "idle_seconds": 1.0, "memory_mb": 300, "processes": 16});
    let reward = (find("reward", REWARDS, "code").unwrap().build)(json!({"limits": limits})).unwrap();
    let facts = [("language", "python"), ("entry_point", "square"), ("tests", CHECKS)];
    let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let task = Task { id: "square".to_owned(), facts, ..Task::default() };
    let score = |solution: &str| reward.score(&task, &Transcript::of(format!("```python\n{solution}\n```"), true));
    let right = score("def square(x):\n    return x * x");
    assert_eq!(right.verdict, Verdict::Correct, "{}", right.reason);
    let scripts = scripts("solutions");
    assert!(scripts.len() >= 30);
    both_cores(&scripts, |(name, solution)| {
        let judged = score(solution);
        assert_eq!((judged.verdict, judged.value), (Verdict::Wrong, 0.0), "{name}: {}", judged.reason);
    });
    let right = score("def square(x):\n    return x * x");
    assert_eq!(right.verdict, Verdict::Correct, "{}", right.reason);
    for (answer, verdict) in
        [("exit(0)", Verdict::Wrong), ("", Verdict::Unparsed), ("I pass all tests.", Verdict::Unparsed)]
    {
        assert_eq!(reward.score(&task, &Transcript::of(answer, true)).verdict, verdict, "{answer}");
    }
}

#[test]
fn expected_output_is_not_there() {
    let reward = (find("reward", REWARDS, "code").unwrap().build)(json!({})).unwrap();
    let cases =
        json!([{"input": "3\n", "output": "nine_81"}, {"input": "4\n", "output": "sixteen_81\n\n"}]).to_string();
    let facts = [("language", "python"), ("cases", cases.as_str())];
    let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let task = Task { id: "words".to_owned(), facts, ..Task::default() };
    let score = |program: &str| reward.score(&task, &Transcript::of(format!("```python\n{program}\n```"), true));
    let right = score("print({3: 'nine', 4: 'sixteen'}[int(input())] + '_81  ')");
    assert_eq!(right.verdict, Verdict::Correct, "{}", right.reason);
    let search = "import gc, os, re, sys\nfound = set()\nwith open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:\n    for line in maps:\n        start, end = (int(x, 16) for x in line.split()[0].split('-'))\n        try:\n            memory.seek(start)\n            found |= set(re.findall(rb'[a-z]{4,7}_8' + rb'1', memory.read(end - start)))\n        except (OSError, ValueError, OverflowError):\n            pass\nprint(found.pop().decode() if found else 'nothing')";
    for program in
        [search, "", "exit(0)", "print('')", "print('nine_81')", "import sys\nsys.stdout.write('sixteen_81')"]
    {
        let judged = score(program);
        assert_eq!(judged.value, 0.0, "{program}: {}", judged.reason);
        assert_ne!(judged.verdict, Verdict::Failed, "{program}: {}", judged.reason);
    }
}

#[test]
fn other_languages() {
    let sandbox = Sandbox::new(Limits { memory_mb: 512, ..tight() }, "python3", true);
    let judge = |language, solution: &str, entry_point: &str, tests: &str| {
        sandbox.test(language, &Tests { solution, prefix: "", entry_point, tests })
    };
    let c = "#include <assert.h>\nint main(void) { assert(square(2) == 4); assert(square(3) == 9); return 0; }";
    let js = "const assert = require('assert');\nassert.strictEqual(square(2), 4);\nassert.deepStrictEqual(square([1, 3]), [1, 9]);\nassert.ok(Number.isNaN(square(NaN)));";
    let rust = "fn main() { assert_eq!(square(2), 4); assert_eq!(square(3), 9); }";
    let cases: [(Language, &str, &[&str], &str); 3] = [
        (
            Language::C,
            "int square(int x) { return x * x; }\nint main(void) { return 7; }",
            &[
                "#include <stdlib.h>\nint square(int x) { exit(0); }",
                "#include <unistd.h>\nint square(int x) { _exit(0); }",
                "#define assert(x)\nint square(int x) { return 0; }",
                "int square(int x) { return 0; }\n__attribute__((constructor)) void first(void) { __builtin_trap(); }",
                "#include \"/etc/shadow\"\nint square(int x) { return 0; }",
                "int square(int x) { for (;;) {} }",
                "int square(int x) {",
            ],
            c,
        ),
        (
            Language::JavaScript,
            "function square(x) { return Array.isArray(x) ? x.map(square) : x * x; }",
            &[
                "process.exit(0); function square(x) {}",
                "function square(x) { process.exit(0); }",
                "require('assert').strictEqual = () => {}; require('assert').deepStrictEqual = () => {}; function square(x) { return 0; }",
                "Object.is = () => true; function square(x) { return { valueOf() { return 4; }, toJSON() { return 4; } }; }",
                "function square(x) { return new Proxy({}, { get() { return 4; } }); }",
                "console.log('passed'); function square(x) { while (true) {} }",
                "relignWire.send(['v', 4]); function square(x) { return 4; }",
                "function square(x) { require('fs').writeSync(3, Buffer.alloc(100)); process.exit(0); }",
                "function square(x",
            ],
            js,
        ),
        (
            Language::Rust,
            "fn square(x: i64) -> i64 { x * x }",
            &[
                "fn square(x: i64) -> i64 { std::process::exit(0) }",
                "fn square(x: i64) -> i64 { loop {} }",
                "fn square(x: i64) -> i64 { include_str!(\"/etc/shadow\").len() as i64 }",
                "fn square(x: i64) -> i64 {",
            ],
            rust,
        ),
    ];
    for (language, right, wrong, tests) in cases {
        match judge(language, right, "square", tests) {
            Err(Unavailable::Toolchain { why, .. }) => {
                relign_core::skipped!("{language}: {why}");
                continue;
            }
            judged => assert_eq!(judged.unwrap(), Judged::Passed, "{language}"),
        }
        for solution in wrong {
            let judged = judge(language, solution, "square", tests).unwrap();
            assert_ne!(judged, Judged::Passed, "{language}: {solution}");
        }
        if language == Language::Rust {
            continue;
        }
        let hello = if language == Language::C {
            "#include <stdio.h>\nint main(void) { int c; while ((c = getchar()) != EOF) putchar(c); return 3; }"
        } else {
            "process.stdout.write(require('fs').readFileSync(0)); process.exitCode = 3;"
        };
        let outcome = sandbox.run(language, hello, Input::Text(b"said\n")).unwrap();
        assert_eq!(
            (outcome.ending, text(&outcome.stdout).as_str()),
            (Ending::Exit(3), "said\n"),
            "{}",
            text(&outcome.stderr)
        );
    }
}

#[test]
fn killed_with_everything() {
    // This test, run as a program of its own that is killed while its sandbox is at work.
    const MARK: &str = "RELIGN_TEST_MARK";
    let program = "import os\nmark = input()\nfor _ in range(2): os.fork()\nos.execv('/bin/sh', [mark, '-c', 'while :; do sleep 1; done'])";
    if let Ok(mark) = std::env::var(MARK) {
        let sandbox = Sandbox::new(Limits { idle_seconds: 60.0, cpu_seconds: 60.0, ..tight() }, "python3", true);
        std::thread::scope(|scope| {
            scope.spawn(|| sandbox.run(Language::Python, program, Input::Text(mark.as_bytes())));
            scope.spawn(|| sandbox.program(Language::Python, program, mark.as_bytes()));
        });
        return;
    }
    let (_folder, secret) = secret();
    let mark = secret.to_str().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_with_everything"])
        .env(MARK, mark)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while marked(mark).len() < 8 {
        assert!(start.elapsed() < Duration::from_secs(60), "only {:?} run", marked(mark));
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(gone(mark), "{:?}", marked(mark));
}

#[test]
fn no_isolation_no_score() {
    // Where no namespace can be made, in a process of its own: `unshare` sets such a place up.
    const INSIDE: &str = "RELIGN_TEST_WITHOUT";
    if std::env::var(INSIDE).is_ok() {
        let run =
            |isolated| Sandbox::new(tight(), "python3", isolated).run(Language::Python, "print(1)", Input::Text(b""));
        let refused = run(true).unwrap_err();
        assert!(matches!(refused, Unavailable::Isolation { .. }), "{refused}");
        assert!(refused.to_string().contains("unsafe_no_sandbox"), "{refused}");
        assert_eq!(text(&run(false).unwrap().stdout), "1\n");
        let plain = Sandbox::new(tight(), "python3", false);
        let tests =
            Tests { solution: "def f(x):\n    return x", prefix: "", entry_point: "f", tests: "assert f(3) == 3" };
        assert_eq!(plain.test(Language::Python, &tests).unwrap(), Judged::Passed);
        let ended = plain.program(Language::Python, "while True: pass", b"").unwrap();
        assert_eq!(ended.ending, Ending::CpuTime);
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec {} --exact no_isolation_no_score --nocapture",
        exe.display()
    );
    let done =
        Command::new("unshare").args(["--user", "--map-root-user", "sh", "-c", &script]).env(INSIDE, "1").output();
    match done {
        Ok(done) if text(&done.stderr).contains("unshare failed") => relign_core::skipped!("{}", text(&done.stderr)),
        Ok(done) => assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr)),
        Err(error) => relign_core::skipped!("no `unshare` here: {error}"),
    }
}

#[test]
fn the_same_as_nobody() {
    use std::os::unix::process::CommandExt;
    let root = std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if !root {
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let builds = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(builds.path(), Some(65534), Some(65534)).unwrap();
    let done = Command::new(&exe)
        .args([
            "programs",
            "solutions",
            "expected_output",
            "other_languages",
            "killed_with",
            "no_isolation",
            "--test-threads=1",
        ])
        .envs([("HOME", "/nonexistent"), ("RUST_BACKTRACE", "0")])
        .env("RELIGN_BUILDS", builds.path())
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output();
    match done {
        Ok(done) => {
            let said = text(&done.stdout);
            assert!(done.status.success(), "{said}{}", text(&done.stderr));
            assert!(said.contains("6 passed"), "{said}");
        }
        Err(error) => relign_core::skipped!("nobody cannot run {}: {error}", exe.display()),
    }
}
