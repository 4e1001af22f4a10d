//! Builds, in a box of their own, and kept: the same text is built once on a machine.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::plan::{Bind, Kind, MemoryLimit, Start};
use super::pool::readable;
use super::run::{Input, run};
use super::toolchains::Tool;
use super::{Ending, Language, Limits, Outcome, Unavailable};

/// Builds that were not used for this long may go.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// And the oldest go where there are more than this.
const MOST: usize = 4000;

/// What to build.
pub(super) struct Build<'a> {
    language: Language,
    /// Files by name; the first is what the compiler is given.
    files: Vec<(&'static str, &'a str)>,
    args: &'static [&'static str],
}

const RUST: &[&str] = &[
    "--edition=2021",
    "-Copt-level=1",
    "-Cdebuginfo=0",
    "-Cstrip=symbols",
    "-Ccodegen-units=1",
    "-Awarnings",
    "-Cpanic=unwind",
];
const C: &[&str] = &["-O1", "-std=gnu17", "-w"];

impl<'a> Build<'a> {
    /// A program of one file.
    pub(super) fn of(language: Language, text: &'a str) -> Self {
        let (name, args) = if language == Language::Rust { ("main.rs", RUST) } else { ("main.c", C) };
        Self { language, files: vec![(name, text)], args }
    }

    /// With a further file beside the first.
    pub(super) fn with(mut self, name: &'static str, text: &'a str) -> Self {
        self.files.push((name, text));
        self
    }

    fn key(&self, tool: &Tool) -> String {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        part(&tool.version);
        self.args.iter().for_each(|arg| part(arg));
        for (name, text) in &self.files {
            part(name);
            part(text);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The folder that holds `program`, or how the compiler refused.
    pub(super) fn made(&self, tool: &Tool, isolated: bool) -> Result<Result<PathBuf, Outcome>, Unavailable> {
        let home = home()?;
        let kept = home.join(self.key(tool));
        if kept.join("program").exists() {
            // The time of its last use.
            let _ = std::fs::File::open(&kept).and_then(|folder| folder.set_modified(SystemTime::now()));
            return Ok(Ok(kept));
        }
        let folder = tempfile::Builder::new().prefix(".build").tempdir_in(&home)?;
        for (name, text) in &self.files {
            readable(folder.path(), name, text)?;
        }
        let out = folder.path().join("out");
        std::fs::create_dir(&out)?;
        // A box of root's is nobody, to whom this belongs for the moment.
        own(&out, isolated, true)?;
        let outcome = run(self.start(tool, isolated, folder.path()), Input::Text(b""))?;
        let program = out.join("program");
        let plain = std::fs::symlink_metadata(&program).is_ok_and(|kind| kind.is_file());
        if outcome.ending != Ending::Exit(0) || !plain {
            return Ok(Err(outcome));
        }
        for made in [&program, &out] {
            own(made, isolated, false)?;
            std::fs::set_permissions(made, std::fs::Permissions::from_mode(0o755))?;
        }
        // Two that build the same text make the same program: whoever comes second uses the first's.
        if std::fs::rename(&out, &kept).is_err() && !kept.join("program").exists() {
            return Err(Unavailable::Broken(format!("cannot keep a build in {}", home.display())));
        }
        tidy(&home);
        Ok(Ok(kept))
    }

    fn start<'b>(&self, tool: &'b Tool, isolated: bool, folder: &Path) -> Start<'b> {
        // Compilers are ours; what they are given is not. They get what they need, within bounds.
        static BOUNDS: std::sync::OnceLock<Limits> = std::sync::OnceLock::new();
        let bounds = BOUNDS.get_or_init(|| Limits {
            cpu_seconds: 30.0,
            idle_seconds: 10.0,
            memory_mb: 2048,
            processes: 64,
            output_kb: 256,
            disk_mb: 256,
        });
        let source = if isolated { PathBuf::from("/source") } else { folder.to_owned() };
        let out = if isolated { PathBuf::from("/out") } else { folder.join("out") };
        let mut binds = tool.binds.clone();
        binds.push(Bind { from: folder.to_owned(), to: "/source".into(), writable: false });
        binds.push(Bind { from: folder.join("out"), to: "/out".into(), writable: true });
        let mut args: Vec<OsString> = self.args.iter().map(Into::into).collect();
        args.push(source.join(self.files[0].0).into());
        args.push("-o".into());
        args.push(out.join("program").into());
        if self.language == Language::C {
            args.push("-lm".into());
        }
        Start {
            program: &tool.program,
            args,
            env: Vec::new(),
            binds,
            folder: "/tmp",
            limits: bounds,
            memory: MemoryLimit::Data,
            own_limits: true,
            fds: Vec::new(),
            kind: Kind::Watched,
            isolated,
        }
    }
}

/// Gives a folder to who writes in it, or takes it back. Only root has somebody to give it to.
fn own(path: &Path, isolated: bool, theirs: bool) -> std::io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    if user != 0 || !isolated || !super::plan::may_do_all() {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(if theirs { super::plan::NOBODY } else { user }), None)
}

/// Where builds are kept: `RELIGN_BUILDS`, or the user's cache.
fn home() -> Result<PathBuf, Unavailable> {
    let folder = std::env::var_os("RELIGN_BUILDS").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        cache
            .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))
            .map(|cache| cache.join("relign/builds"))
    });
    let folder = folder.unwrap_or_else(|| std::env::temp_dir().join("relign-builds"));
    std::fs::create_dir_all(&folder)
        .map_err(|error| Unavailable::Broken(format!("cannot keep builds in {}: {error}", folder.display())))?;
    Ok(folder)
}

/// Old builds go, so that a long run of many programs does not fill the disk.
fn tidy(home: &Path) {
    let Ok(entries) = std::fs::read_dir(home) else { return };
    let used = |entry: &std::fs::DirEntry| entry.metadata().and_then(|data| data.modified()).ok();
    let mut all: Vec<(SystemTime, PathBuf)> =
        entries.flatten().filter_map(|entry| Some((used(&entry)?, entry.path()))).collect();
    all.sort();
    let many = all.len().saturating_sub(MOST);
    let old = |time: &SystemTime| time.elapsed().is_ok_and(|age| age > KEPT);
    for (_, path) in all.iter().enumerate().filter(|(at, (time, _))| *at < many || old(time)).map(|(_, entry)| entry) {
        let _ = std::fs::remove_dir_all(path);
    }
}
