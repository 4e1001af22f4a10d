//! The folders of Python's `huggingface_hub`: files by their hash in `blobs`, links to them by commit
//! and name in `snapshots`, and the commits of branches and tags in `refs`.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use super::Kind;

use crate::console::note;

/// The longest to wait for another process that fetches the same file.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// One repository in the cache.
pub(super) struct Repo {
    folder: PathBuf,
    locks: PathBuf,
}

impl Repo {
    /// The repository `name` (`org/name`).
    pub(super) fn new(cache: &Path, kind: Kind, name: &str) -> Self {
        let name = format!("{}--{}", kind.plural(), name.replace('/', "--"));
        Self { folder: cache.join(&name), locks: cache.join(".locks").join(&name) }
    }

    /// The folder of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The commit that a branch or tag was at when it was last fetched. A commit is itself.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) && self.snapshot(revision).is_dir() {
            return Some(revision.to_owned());
        }
        let commit = std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        is_commit(commit.trim()).then(|| commit.trim().to_owned())
    }

    /// Notes the commit of a branch or tag.
    pub(super) fn set_ref(&self, revision: &str, commit: &str) -> anyhow::Result<()> {
        let file = self.folder.join("refs").join(revision);
        if std::fs::read_to_string(&file).is_ok_and(|old| old == commit) {
            return Ok(());
        }
        make_parent(&file)?;
        let part = file.with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&part, commit)
            .and_then(|()| std::fs::rename(&part, &file))
            .with_context(|| file.display().to_string())
    }

    /// Where the bytes of a file with this hash lie.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where the bytes lie that have come so far.
    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Makes the file `name` of a commit a link to the blob, and returns its path.
    pub(super) fn link(&self, commit: &str, name: &str, etag: &str) -> anyhow::Result<PathBuf> {
        let path = self.snapshot(commit).join(name);
        if path.is_file() {
            return Ok(path);
        }
        make_parent(&path)?;
        let _ = std::fs::remove_file(&path); // a link to nothing
        let up = "../".repeat(Path::new(name).components().count() + 1);
        let target = format!("{up}blobs/{etag}");
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(target, &path);
        #[cfg(not(unix))]
        let linked = Err::<(), _>(io::Error::other(target));
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // A file system without links.
            Err(_) => drop(std::fs::copy(self.blob(etag), &path).with_context(|| path.display().to_string())?),
        }
        Ok(path)
    }

    /// Holds the lock under which Python, too, fetches this blob, until the file is dropped.
    pub(super) fn lock(&self, etag: &str) -> anyhow::Result<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        let file = File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
        let start = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    if !told {
                        note!("another process fetches the same file; waiting for it");
                        told = true;
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(TryLockError::WouldBlock) => {
                    bail!("{}: held for {} s by another process", path.display(), PATIENCE.as_secs())
                }
                // A file system without locks: each process still replaces whole files only.
                Err(TryLockError::Error(_)) => return Ok(file),
            }
        }
    }
}

/// Makes the folder that a file will lie in.
pub(super) fn make_parent(file: &Path) -> anyhow::Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

/// Whether a name may stand in a folder of ours: relative, and nowhere upwards.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a text is a commit's hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Holds a large file against its hash, which is a SHA-256; small files go by a hash of git's.
pub(super) fn check(path: &Path, etag: &str) -> anyhow::Result<()> {
    if etag.len() != 64 || !etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).with_context(|| path.display().to_string())? {
            0 => break,
            count => sum.update(&buffer[..count]),
        }
    }
    let got: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(got == etag, "its SHA-256 is {got}, the hub's is {etag}");
    Ok(())
}
