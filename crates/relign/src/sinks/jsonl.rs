//! A run's files: `metrics.jsonl`, `timings.jsonl`, `evals.jsonl`, `trees.jsonl.zst`, and their hashes.
//!
//! Every file but `timings.jsonl` is free of clocks: equal runs have equal bytes. A step's lines are
//! written at its end, its trees as one zstd frame, so a killed run leaves whole steps and at most one
//! torn line or frame. Resuming after step k cuts the files back to step k, whatever came later.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use relign_core::{Estimate, Event, Sink, StepMetrics, Tree, files};
use serde::{Deserialize, Serialize};

use super::hashes::Hashes;
use crate::console::{Out, json_line};

const METRICS: &str = "metrics.jsonl";
pub(super) const EVALS: &str = "evals.jsonl";
const TREES: &str = "trees.jsonl.zst";

/// The level trees are compressed at: zstd's default, about 1 ms a megabyte.
const LEVEL: i32 = 3;

/// One line of `evals.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    /// Steps done; 0 is the base model.
    pub(crate) step: u64,
    /// The figure.
    #[serde(flatten)]
    pub(crate) accuracy: Estimate,
}

/// Writes a run's files.
pub(crate) struct Files {
    metrics: File,
    timings: File,
    evals: File,
    /// Steps whose measurement stands in `evals.jsonl`: one that is taken again after a resume is the same.
    evaluated: Vec<u64>,
    trees: Option<File>,
    hashes: Hashes,
    /// This step's trees, as lines.
    pending: Vec<u8>,
    folder: PathBuf,
}

impl Files {
    /// Opens the files in `folder`, cut back to what `step` steps wrote; 0 empties them. Trees are kept
    /// only if `trees`.
    ///
    /// # Errors
    /// If a file cannot be opened or changed; the message names it.
    pub(crate) fn open(folder: &Path, step: u64, trees: bool) -> io::Result<Self> {
        let logs: &[&str] = if trees { &[METRICS, EVALS, TREES] } else { &[METRICS, EVALS] };
        // Before anything is cut: what is not as it was is refused as it lies.
        let known = if step > 0 { Some(Hashes::resume(folder, step, logs)?) } else { None };
        let lines = |name| named(&folder.join(name), |path| cut_lines(path, step));
        let (metrics, timings, mut evals) = (lines(METRICS)?, lines("timings.jsonl")?, lines(EVALS)?);
        if let Some(length) = known.as_ref().and_then(|(_, lengths)| lengths.get(EVALS)) {
            // A measurement without its hash is taken again.
            evals.set_len(*length)?;
            evals.seek(SeekFrom::End(0))?;
        }
        let evaluated = evaluations(folder)?.iter().map(|evaluation| evaluation.step).collect();
        let trees = trees.then(|| named(&folder.join(TREES), |path| cut_frames(path, step))).transpose()?;
        let hashes = known.map_or_else(|| Hashes::begin(folder, logs), |(hashes, _)| Ok(hashes))?;
        Ok(Self { metrics, timings, evals, evaluated, trees, hashes, pending: Vec::new(), folder: folder.to_owned() })
    }

    fn write_trees(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.trees else { return Ok(()) };
        if self.pending.is_empty() {
            return Ok(());
        }
        let frame = zstd::bulk::compress(&self.pending, LEVEL)?;
        file.write_all(&frame).map_err(|error| about(&self.folder.join(TREES), &error))?;
        self.hashes.wrote(TREES, &frame);
        self.pending.clear();
        Ok(())
    }
}

impl Sink for Files {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::Step { metrics, timings } => {
                // The metrics last: a step that has its line has everything else too.
                self.write_trees()?;
                line(&mut self.timings, &self.folder, "timings.jsonl", timings)?;
                let written = line(&mut self.metrics, &self.folder, METRICS, metrics)?;
                self.hashes.wrote(METRICS, &written);
                self.hashes.note(&self.folder, metrics.step, false)
            }
            Event::Evaluated { step, accuracy } if !self.evaluated.contains(step) => {
                self.evaluated.push(*step);
                let evaluation = Evaluation { step: *step, accuracy: **accuracy };
                let written = line(&mut self.evals, &self.folder, EVALS, &evaluation)?;
                self.hashes.wrote(EVALS, &written);
                self.hashes.note(&self.folder, *step, true)
            }
            Event::Tree(tree) if self.trees.is_some() => {
                serde_json::to_writer(&mut self.pending, tree)?;
                self.pending.push(b'\n');
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Writes a line, and returns it.
fn line(file: &mut File, folder: &Path, name: &str, value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    // One write: a kill tears at most this line.
    file.write_all(&bytes).map_err(|error| about(&folder.join(name), &error))?;
    Ok(bytes)
}

fn named(path: &Path, open: impl FnOnce(&Path) -> io::Result<File>) -> io::Result<File> {
    open(path).map_err(|error| about(path, &error))
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn open_for_append(path: &Path) -> io::Result<File> {
    files::expect_plain(path).map_err(|error| about(path, &error))?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// The step a line is about.
#[derive(Deserialize)]
struct Stamp {
    step: u64,
}

/// Keeps the whole lines of the steps up to `step`; with `step` 0 none (a run starts by measuring).
fn cut_lines(path: &Path, step: u64) -> io::Result<File> {
    let mut file = open_for_append(path)?;
    let mut keep = 0;
    let mut reader = BufReader::new(&mut file);
    let mut text = Vec::new();
    while step > 0 && reader.read_until(b'\n', &mut text)? > 0 {
        let whole = text.ends_with(b"\n");
        match serde_json::from_slice::<Stamp>(&text) {
            Ok(stamp) if whole && stamp.step <= step => keep += text.len() as u64,
            _ => break,
        }
        text.clear();
    }
    file.set_len(keep)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// Keeps the whole frames of the steps up to `step`.
fn cut_frames(path: &Path, step: u64) -> io::Result<File> {
    let mut file = open_for_append(path)?;
    let mut keep = 0;
    if step > 0 {
        let mut reader = BufReader::new(&mut file);
        while let Some(text) = frame(&mut reader) {
            let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            match serde_json::from_slice::<Stamp>(first) {
                Ok(stamp) if stamp.step <= step => keep = reader.stream_position()?,
                _ => break,
            }
        }
    }
    file.set_len(keep)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// The next whole frame's contents; `None` at the end or where the file is torn.
fn frame(reader: &mut BufReader<&mut File>) -> Option<Vec<u8>> {
    if reader.fill_buf().ok()?.is_empty() {
        return None;
    }
    let mut text = Vec::new();
    zstd::Decoder::with_buffer(reader).ok()?.single_frame().read_to_end(&mut text).ok()?;
    Some(text)
}

/// The whole lines of a run's `metrics.jsonl`; none where there is no such file.
pub(crate) fn metrics(folder: &Path) -> io::Result<Vec<StepMetrics>> {
    read_lines(&folder.join("metrics.jsonl"))
}

/// The whole lines of a run's `evals.jsonl`.
pub(crate) fn evaluations(folder: &Path) -> io::Result<Vec<Evaluation>> {
    read_lines(&folder.join("evals.jsonl"))
}

fn read_lines<T: for<'a> Deserialize<'a>>(path: &Path) -> io::Result<Vec<T>> {
    match files::read_to_string(path) {
        Ok(text) => Ok(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(about(path, &error)),
    }
}

/// Writes `trees` to a file of trees, as one frame.
pub(crate) fn write_trees(path: &Path, trees: &[Tree]) -> io::Result<()> {
    let encode = |file: &mut File| {
        let mut encoder = zstd::Encoder::new(BufWriter::new(file), LEVEL)?;
        for tree in trees {
            serde_json::to_writer(&mut encoder, tree)?;
            encoder.write_all(b"\n")?;
        }
        encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error).map(drop)
    };
    files::write_with(path, encode).map_err(|error| about(path, &error))
}

/// The trees in a file that [`write_trees`] or a run made.
pub(crate) fn read_trees(path: &Path) -> io::Result<Vec<Tree>> {
    let reader = BufReader::new(zstd::Decoder::new(files::open(path).map_err(|e| about(path, &e))?)?);
    reader.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

/// Events as JSON on stdout, for `--json`. Where it cannot be written to, the run is interrupted, so that it ends with all
/// of its steps saved.
pub(crate) struct Stdout {
    interrupt: Arc<AtomicBool>,
    failure: Rc<RefCell<Option<io::Error>>>,
}

impl Stdout {
    /// A sink that sets `interrupt` and leaves the first error in `failure`.
    pub(crate) fn new(interrupt: Arc<AtomicBool>, failure: Rc<RefCell<Option<io::Error>>>) -> Self {
        Self { interrupt, failure }
    }
}

impl Sink for Stdout {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let value = match event {
            Event::Step { metrics, timings } => {
                serde_json::json!({"event": "step", "metrics": metrics, "timings": timings})
            }
            Event::Evaluated { step, accuracy } => {
                serde_json::json!({"event": "evaluated", "step": step, "heldout": accuracy})
            }
            Event::Saved { step, path } => serde_json::json!({"event": "saved", "step": step, "path": path}),
            Event::Warning(text) => serde_json::json!({"event": "warning", "text": text}),
            Event::Started { .. } | Event::Progress { .. } | Event::Tree(_) => return Ok(()),
        };
        let mut failure = self.failure.borrow_mut();
        let written = || writeln!(Out, "{}", json_line(&value)?);
        if failure.is_none()
            && let Err(error) = written()
        {
            *failure = Some(error);
            self.interrupt.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::{StepTimings, Task};

    fn run(files: &mut Files, steps: std::ops::RangeInclusive<u64>) {
        for step in steps {
            if step % 2 == 1 {
                let accuracy = Estimate { accuracy: 0.1 * step as f64, low: 0.0, high: 1.0, n: 7 };
                files.event(&Event::Evaluated { step: step - 1, accuracy: &accuracy }).unwrap();
            }
            for name in ["a", "b"] {
                let mut tree = Tree::new(Task { id: format!("{name}{step}"), ..Task::default() }, vec![1, 2, 3]);
                tree.step = step;
                files.event(&Event::Tree(&tree)).unwrap();
            }
            let metrics = StepMetrics { step, tokens: step * 10, ..StepMetrics::default() };
            let timings = StepTimings { step, seconds: 1.5, ..StepTimings::default() };
            files.event(&Event::Step { metrics: &metrics, timings: &timings }).unwrap();
        }
    }

    const NAMES: [&str; 5] = ["metrics.jsonl", "timings.jsonl", "evals.jsonl", "trees.jsonl.zst", "hashes.jsonl"];

    fn bytes(folder: &Path) -> Vec<Vec<u8>> {
        NAMES.iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect()
    }

    #[test]
    fn a_run_torn_anywhere_and_resumed_has_the_bytes_of_an_unbroken_one() {
        let (whole, torn) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        run(&mut Files::open(whole.path(), 0, true).unwrap(), 1..=6);
        for checkpoint in 0..6 {
            for tear in [0, 1, 5, 40] {
                run(&mut Files::open(torn.path(), 0, true).unwrap(), 1..=checkpoint);
                let safe = bytes(torn.path());
                run(&mut Files::open(torn.path(), checkpoint, true).unwrap(), checkpoint + 1..=checkpoint + 2);
                for (name, safe) in NAMES.iter().zip(safe) {
                    let file = OpenOptions::new().write(true).open(torn.path().join(name)).unwrap();
                    let length = file.metadata().unwrap().len();
                    file.set_len(length.saturating_sub(tear).max(safe.len() as u64)).unwrap();
                }
                run(&mut Files::open(torn.path(), checkpoint, true).unwrap(), checkpoint + 1..=6);
                assert!(bytes(whole.path()) == bytes(torn.path()), "checkpoint {checkpoint}, torn by {tear}");
            }
        }
    }

    #[test]
    fn trees_can_be_read_back_as_one_stream() {
        let folder = tempfile::tempdir().unwrap();
        run(&mut Files::open(folder.path(), 0, true).unwrap(), 1..=3);
        let file = File::open(folder.path().join("trees.jsonl.zst")).unwrap();
        let text = std::io::read_to_string(zstd::Decoder::new(file).unwrap()).unwrap();
        let ids: Vec<String> = text.lines().map(|l| serde_json::from_str::<Tree>(l).unwrap().task.id).collect();
        assert_eq!(ids, ["a1", "b1", "a2", "b2", "a3", "b3"]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let error = Files::open(Path::new("/proc/nowhere"), 0, true).err().unwrap().to_string();
        assert!(error.starts_with("/proc/nowhere/metrics.jsonl: "), "{error}");
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::open(folder.path(), 0, false).unwrap();
        files.metrics = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let event = Event::Step { metrics: &StepMetrics::default(), timings: &StepTimings::default() };
        let error = files.event(&event).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl") && error.contains("No space left"), "{error}");
    }
}
