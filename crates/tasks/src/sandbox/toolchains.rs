//! Interpreters and compilers: which there are, and what they need to see.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Unavailable;
use super::plan::Bind;

/// A language that programs are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Python 3.
    Python,
    /// Rust, by `rustc`.
    Rust,
    /// JavaScript, by Node.
    JavaScript,
    /// C, by the system's compiler.
    C,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Python, Self::Rust, Self::JavaScript, Self::C];

    /// The language of a name (`python`, `py`, `rust`, `rs`, `javascript`, `js`, `node`, `c`), in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "python" | "python3" | "py" => Some(Self::Python),
            "rust" | "rs" => Some(Self::Rust),
            "javascript" | "js" | "node" | "mjs" => Some(Self::JavaScript),
            "c" => Some(Self::C),
            _ => None,
        }
    }

    /// How a file of it ends.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Python => "py",
            Self::Rust => "rs",
            Self::JavaScript => "js",
            Self::C => "c",
        }
    }
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Python => "python",
            Self::Rust => "rust",
            Self::JavaScript => "javascript",
            Self::C => "c",
        })
    }
}

/// A program that runs or builds others.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    pub(super) program: PathBuf,
    /// What it needs beside the system's own folders.
    pub(super) binds: Vec<Bind>,
    /// What it says of itself: builds by another version are others.
    pub(super) version: String,
}

/// Looks for a language's tool; `python` names or leads to the interpreter.
pub(super) fn find(language: Language, python: &str) -> Result<Tool, Unavailable> {
    let missing = |why: String| Unavailable::Toolchain { language, why };
    match language {
        Language::Python => find_python(python).map_err(missing),
        Language::Rust => {
            let sysroot = said(Command::new("rustc").args(["--print", "sysroot"])).map_err(missing)?;
            let sysroot = PathBuf::from(sysroot.trim());
            // The linker is the system's.
            system_compiler().map_err(missing)?;
            let program = sysroot.join("bin/rustc");
            let version = said(Command::new(&program).arg("--version")).map_err(missing)?;
            Ok(Tool { program, binds: narrow(&[sysroot]).map_err(missing)?, version })
        }
        Language::JavaScript => {
            let path = said(Command::new("node").args(["-p", "process.execPath"])).map_err(missing)?;
            let program = PathBuf::from(path.trim());
            let home = program.parent().and_then(Path::parent).unwrap_or(Path::new("/usr")).to_owned();
            let version = said(Command::new(&program).arg("--version")).map_err(missing)?;
            Ok(Tool { program, binds: narrow(&[home]).map_err(missing)?, version })
        }
        Language::C => {
            let program = system_compiler().map_err(missing)?;
            let version = said(Command::new(&program).arg("--version")).map_err(missing)?;
            Ok(Tool { program, binds: Vec::new(), version })
        }
    }
}

fn system_compiler() -> Result<PathBuf, String> {
    ["/usr/bin/cc", "/usr/bin/gcc", "/usr/bin/clang", "/usr/local/bin/cc"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| "expected a C compiler at /usr/bin/cc, gcc or clang, found none".to_owned())
}

fn find_python(python: &str) -> Result<Tool, String> {
    const ASK: &str = "import sys, os, ctypes\n\
        print(sys.executable, os.path.realpath(sys.executable), sys.prefix, sys.base_prefix, sep='\\n')\n\
        print(*sys.version_info[:3], sep='.')";
    let answer = said(Command::new(python).args(["-I", "-c", ASK]))?;
    let lines: Vec<&str> = answer.lines().collect();
    let [program, real, prefix, base, version] = lines[..] else {
        return Err(format!("expected `{python}` to say where it is, got `{}`", answer.trim()));
    };
    let minor = version.strip_prefix("3.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 10) {
        return Err(format!("expected Python 3.10 or newer, `{python}` is {version}"));
    }
    let mut seen = vec![PathBuf::from(prefix), PathBuf::from(base)];
    // An interpreter outside of its prefix (a link into another installation) comes along with its folder.
    for path in [program, real] {
        if !seen.iter().any(|folder| Path::new(path).starts_with(folder)) {
            seen.extend(Path::new(path).parent().map(Path::to_owned));
        }
    }
    Ok(Tool { program: program.into(), binds: narrow(&seen)?, version: format!("Python {version}") })
}

/// Folders to be seen, none of which may be the home folder or all of the system.
fn narrow(folders: &[PathBuf]) -> Result<Vec<Bind>, String> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let own = |folder: &&PathBuf| !folder.starts_with("/usr") && folder.as_path() != Path::new("/");
    for folder in folders.iter().filter(own) {
        if home.as_ref().is_some_and(|home| home.starts_with(folder)) {
            return Err(format!("it is installed in {}, which programs must not see", folder.display()));
        }
    }
    Ok(folders.iter().filter(own).map(Bind::same).collect())
}

/// What a command prints, within ten seconds.
fn said(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("expected `{name}` to run: {error}"))?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < Duration::from_secs(10) => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("`{name}` did not answer within 10 seconds"));
            }
        }
    };
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut text).map_err(|error| format!("`{name}`: {error}"))?;
    }
    if status.success() { Ok(text) } else { Err(format!("`{name}` ended with {status}")) }
}
