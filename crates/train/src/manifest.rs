//! Sizes and hashes of a folder's files, which tell whether they are as they were written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use relign_core::files;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::TrainError;

/// What a file held when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileHash {
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, as hexadecimal digits.
    pub sha256: String,
}

impl FileHash {
    /// The hash of the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, or is no file.
    pub fn of(path: &Path) -> io::Result<Self> {
        files::expect_plain(path)?;
        let (mut file, mut hasher, mut block) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
        let mut bytes = 0;
        loop {
            match file.read(&mut block)? {
                0 => return Ok(Self { bytes, sha256: hex(&hasher.finalize()) }),
                read => {
                    hasher.update(&block[..read]);
                    bytes += read as u64;
                }
            }
        }
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of a checkpoint; its file `manifest.json`, which is written last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// By name.
    pub files: BTreeMap<String, FileHash>,
}

impl Manifest {
    /// Its name in a folder.
    pub const FILE: &'static str = "manifest.json";

    /// The manifest of all files that lie in `folder`, itself aside.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn of(folder: &Path) -> Result<Self, TrainError> {
        let entries = fs::read_dir(folder).map_err(TrainError::io(folder))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> = names.collect::<io::Result<_>>().map_err(TrainError::io(folder))?;
        names.retain(|name| name != Self::FILE && folder.join(name).is_file());
        let hashes = hashes(folder, &names);
        let files = names.into_iter().zip(hashes);
        let files = files.map(|(name, hash)| Ok((name.clone(), hash.map_err(TrainError::io(&folder.join(name)))?)));
        Ok(Self { files: files.collect::<Result<_, TrainError>>()? })
    }

    /// The manifest that lies in `folder`, if one does.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub fn read(folder: &Path) -> Result<Option<Self>, TrainError> {
        let path = folder.join(Self::FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_to_string(&path).map_err(TrainError::io(&path))?;
        let manifest = serde_json::from_str(&text);
        manifest.map(Some).map_err(|error| TrainError::Checkpoint {
            path,
            what: format!("expected the hashes of its files, got {error}"),
        })
    }

    /// The manifest of a checkpoint, which must lie in `folder`.
    ///
    /// # Errors
    /// If it is missing, or cannot be read or understood.
    pub fn required(folder: &Path) -> Result<Self, TrainError> {
        Self::read(folder)?.ok_or_else(|| TrainError::Checkpoint {
            path: folder.join(Self::FILE),
            what: "expected the hashes of a checkpoint's files, found none: this is no checkpoint of a run".to_owned(),
        })
    }

    /// Holds the files of `folder` that are `wanted` against what they were when they were written. Hidden files aside, there
    /// may be no others: a template or an index beside the rest would be read with it.
    ///
    /// # Errors
    /// The first that is not the same, or new.
    pub fn verify(&self, folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), TrainError> {
        let names: Vec<String> = self.files.keys().filter(|name| wanted(name)).cloned().collect();
        for (name, got) in names.iter().zip(hashes(folder, &names)) {
            let (path, expected) = (folder.join(name), &self.files[name]);
            let changed = |path: PathBuf, what: String| Err(TrainError::Checkpoint { path, what });
            match got {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return changed(path, "is missing, though it was written with the others".to_owned());
                }
                Err(error) => return Err(TrainError::io(&path)(error)),
                Ok(got) if got.bytes != expected.bytes => {
                    let what = format!("expected the {} bytes that were written, got {}", expected.bytes, got.bytes);
                    return changed(path, what);
                }
                Ok(got) if got.sha256 != expected.sha256 => {
                    let what = format!(
                        "changed since it was written: expected SHA-256 {}, got {}",
                        expected.sha256, got.sha256
                    );
                    return changed(path, what);
                }
                Ok(_) => {}
            }
        }
        for entry in fs::read_dir(folder).map_err(TrainError::io(folder))? {
            let name = entry.map_err(TrainError::io(folder))?.file_name().to_string_lossy().into_owned();
            let known = name == Self::FILE || name.starts_with('.') || self.files.contains_key(&name);
            if !known && wanted(&name) {
                let what = "was not written with the others; remove it".to_owned();
                return Err(TrainError::Checkpoint { path: folder.join(name), what });
            }
        }
        Ok(())
    }
}

/// The hashes of files, a thread for each: they are few.
fn hashes(folder: &Path, names: &[String]) -> Vec<io::Result<FileHash>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(move || FileHash::of(&folder.join(name)))).collect();
        let lost = || Err(io::Error::other("a thread was lost"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "one").expect("writes");
        fs::write(path("b"), "two").expect("writes");
        let manifest = Manifest::of(folder.path()).expect("reads");
        assert_eq!(manifest.files["a"].sha256, "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
        manifest.verify(folder.path(), |_| true).expect("unchanged");
        fs::write(path(".hidden"), "new").expect("writes");
        manifest.verify(folder.path(), |_| true).expect("hidden files are no matter");
        fs::write(path("c"), "new").expect("writes");
        let error = manifest.verify(folder.path(), |_| true).expect_err("a file more").to_string();
        assert!(error.contains("c: was not written with the others"), "{error}");
        fs::remove_file(path("c")).expect("removes");
        for (name, text, expected) in [
            ("a", Some("onE"), "a: changed since it was written: expected SHA-256 7692"),
            ("b", Some("tw"), "b: expected the 3 bytes that were written, got 2"),
            ("b", None, "b: is missing"),
        ] {
            let before = fs::read(path(name)).expect("reads");
            match text {
                Some(text) => fs::write(path(name), text).expect("writes"),
                None => fs::remove_file(path(name)).expect("removes"),
            }
            let error = manifest.verify(folder.path(), |_| true).expect_err(name).to_string();
            assert!(error.contains(expected), "{error}");
            manifest.verify(folder.path(), |other| other != name).expect("not asked for");
            fs::write(path(name), before).expect("writes");
        }
    }
}
