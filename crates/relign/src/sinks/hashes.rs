//! `hashes.jsonl`: what a run's logs held after each step and each measurement, so that what was changed, cut or lost since
//! is known when the run goes on or is exported.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use relign_core::files;
use relign_train::{FileHash, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The file's name.
pub(crate) const FILE: &str = "hashes.jsonl";

/// Everything in the logs up to a moment of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Steps done.
    step: u64,
    /// The beginnings of the logs, by name.
    logs: BTreeMap<String, FileHash>,
    /// The held-out answers of a measurement after the step; left out of a step's own line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    measured: Option<FileHash>,
}

/// The hash of a log so far.
#[derive(Clone, Default)]
struct Running {
    bytes: u64,
    hasher: Sha256,
}

impl Running {
    fn now(&self) -> FileHash {
        FileHash { bytes: self.bytes, sha256: hex(&self.hasher.clone().finalize()) }
    }
}

/// Writes `hashes.jsonl` while the logs grow.
pub(crate) struct Hashes {
    file: File,
    logs: BTreeMap<String, Running>,
}

impl Hashes {
    /// Begins anew in `folder`, with `logs` that are empty.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(crate) fn begin(folder: &Path, logs: &[&str]) -> io::Result<Self> {
        files::expect_plain(&folder.join(FILE)).map_err(|error| about(folder, FILE, &error))?;
        let file = File::create(folder.join(FILE)).map_err(|error| about(folder, FILE, &error))?;
        Ok(Self { file, logs: logs.iter().map(|&name| (name.to_owned(), Running::default())).collect() })
    }

    /// Goes on after `step`, and cuts what a measurement left behind half-written: it is taken again. Returns the lengths of
    /// the logs.
    ///
    /// # Errors
    /// If a log is not what it was after that step: which, and since which step.
    pub(crate) fn resume(folder: &Path, step: u64, logs: &[&str]) -> io::Result<(Self, BTreeMap<String, u64>)> {
        let lines = read(folder, step)?;
        let own = lines.iter().position(|(line, _)| line.step == step && line.measured.is_none());
        let own = own.ok_or_else(|| missing(folder, step, lines.last().map(|(line, _)| line.step)))?;
        let (mut kept, mut running) = (own + 1, check(folder, &lines[..=own], logs)?);
        if let Ok(whole) = check(folder, &lines, logs) {
            (kept, running) = (lines.len(), whole);
        }
        let mut file = OpenOptions::new().read(true).write(true).open(folder.join(FILE))?;
        file.set_len(lines[kept - 1].1)?;
        file.seek(SeekFrom::End(0))?;
        let lengths = running.iter().map(|(name, running)| (name.clone(), running.bytes)).collect();
        Ok((Self { file, logs: running }, lengths))
    }

    /// Takes down what was written to a log.
    pub(crate) fn wrote(&mut self, log: &str, bytes: &[u8]) {
        if let Some(running) = self.logs.get_mut(log) {
            running.bytes += bytes.len() as u64;
            running.hasher.update(bytes);
        }
    }

    /// Writes the line of a step, or of a `measured` one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn note(&mut self, folder: &Path, step: u64, measured: bool) -> io::Result<()> {
        let logs = self.logs.iter().map(|(name, running)| (name.clone(), running.now())).collect();
        let name = held_out(step);
        let path = folder.join(&name);
        // Runs may keep no answers.
        let hash = if measured && path.is_file() {
            FileHash::of(&path)
        } else {
            Ok(FileHash { bytes: 0, sha256: String::new() })
        };
        let hash = hash.map_err(|error| about(folder, &name, &error))?;
        let mut text = serde_json::to_vec(&Line { step, logs, measured: measured.then_some(hash) })?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|error| about(folder, FILE, &error))
    }
}

/// Holds the logs of a run whose checkpoint is of `step` against their hashes.
///
/// # Errors
/// If one is not what it was: which, and since which step.
pub(crate) fn verify(folder: &Path, step: u64) -> io::Result<()> {
    let lines = read(folder, step)?;
    let names: Vec<&str> =
        lines.last().into_iter().flat_map(|(line, _)| line.logs.keys()).map(String::as_str).collect();
    if step > 0 && !lines.iter().any(|(line, _)| line.step == step && line.measured.is_none()) {
        return Err(missing(folder, step, lines.last().map(|(line, _)| line.step)));
    }
    check(folder, &lines, &names)?;
    // Measurements are what cards show: none may stand behind the last hash.
    let (name, all) = (super::jsonl::EVALS, read(folder, u64::MAX)?);
    let hashed = all.last().and_then(|(line, _)| line.logs.get(name)).map_or(0, |hash| hash.bytes);
    let length = std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    let whole = std::fs::metadata(folder.join(FILE)).map_or(0, |file| file.len());
    let read = all.last().map_or(0, |(_, end)| *end);
    if length != hashed || whole != read {
        let got = if whole == read { format!("{length} bytes of {name}") } else { "a line that is none".to_owned() };
        let what = format!(
            "expected the hash of every measurement, {hashed} bytes of {name}, got {got}; --resume measures again what a kill cut off"
        );
        return Err(about(folder, FILE, &io::Error::new(io::ErrorKind::InvalidData, what)));
    }
    Ok(())
}

/// The last step that was hashed in `folder`, if any was.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn last_step(folder: &Path) -> io::Result<Option<u64>> {
    Ok(read(folder, u64::MAX)?.iter().filter(|(line, _)| line.measured.is_none()).map(|(line, _)| line.step).max())
}

/// The whole lines of the steps up to `step`, each with where it ends.
fn read(folder: &Path, step: u64) -> io::Result<Vec<(Line, u64)>> {
    let path = folder.join(FILE);
    let text = match files::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|error| about(folder, FILE, &error))?,
    };
    let mut end = 0;
    let lines = text.split_inclusive('\n').map_while(|text| {
        end += text.len() as u64;
        let line: Line = serde_json::from_str(text).ok().filter(|_| text.ends_with('\n'))?;
        (line.step <= step).then_some((line, end))
    });
    Ok(lines.collect())
}

fn missing(folder: &Path, step: u64, last: Option<u64>) -> io::Error {
    let got = last.map_or_else(|| "none".to_owned(), |last| format!("lines up to step {last}"));
    let what = format!("expected what the logs held after step {step}, which the checkpoint is of, got {got}");
    about(folder, FILE, &io::Error::new(io::ErrorKind::InvalidData, what))
}

/// Holds `logs` against every line; what they hold up to the last one.
fn check(folder: &Path, lines: &[(Line, u64)], logs: &[&str]) -> io::Result<BTreeMap<String, Running>> {
    let changed = |name: &str, what: String| about(folder, name, &io::Error::new(io::ErrorKind::InvalidData, what));
    let mut all = BTreeMap::new();
    for &name in logs {
        let path = folder.join(name);
        let mut file = match files::expect_plain(&path).and_then(|()| File::open(&path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file.map_err(|error| about(folder, name, &error))?),
        };
        let mut running = Running::default();
        for (line, _) in lines {
            let step = line.step;
            let Some(expected) = line.logs.get(name) else {
                return Err(changed(FILE, format!("step {step}: expected the hash of {name}, got none")));
            };
            let more = expected.bytes.checked_sub(running.bytes);
            let more =
                more.ok_or_else(|| changed(FILE, format!("step {step}: expected lengths that grow, got less")))?;
            if let Some(file) = &mut file {
                let mut part = file.take(more);
                let mut block = [0; 1 << 16];
                loop {
                    match part.read(&mut block).map_err(|error| about(folder, name, &error))? {
                        0 => break,
                        read => {
                            running.hasher.update(&block[..read]);
                            running.bytes += read as u64;
                        }
                    }
                }
            }
            if running.bytes < expected.bytes {
                let what = format!(
                    "was cut: expected at least {} bytes, which it had after step {step}, got {}",
                    expected.bytes, running.bytes
                );
                return Err(changed(name, what));
            }
            if running.now() != *expected {
                return Err(changed(
                    name,
                    format!("changed since it was written, in what was added by step {step}; or {FILE} was"),
                ));
            }
        }
        all.insert(name.to_owned(), running);
    }
    for (line, _) in lines {
        let name = held_out(line.step);
        let Some(expected) = line.measured.as_ref().filter(|hash| !hash.sha256.is_empty()) else { continue };
        let got = FileHash::of(&folder.join(&name)).map_err(|error| about(folder, &name, &error))?;
        if got != *expected {
            return Err(changed(&name, "changed since it was written".to_owned()));
        }
    }
    Ok(all)
}

/// The file of the answers to held-out tasks after a step, seen from the run's folder.
pub(crate) fn held_out(step: u64) -> String {
    format!("held-out/step-{step}.jsonl.zst")
}

fn about(folder: &Path, name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", folder.join(name).display()))
}
