//! Writing a log, line by line, over as many stretches as it takes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use relign_core::files;

use super::chain::START;
use super::{End, Header, Item, Record, ResultError, Results, Sample, Spent, content, read};

/// A log that is being written. One process at a time.
#[derive(Debug)]
pub struct Log {
    file: File,
    results: Results,
}

impl Log {
    /// Opens the log at `path` to go on with it, or begins it; `header` is sealed here.
    ///
    /// # Errors
    /// If it cannot be read or written, is another measurement's, was tampered with, or another process
    /// writes it.
    pub fn open(path: &Path, header: Header, items: &[Item]) -> Result<Self, ResultError> {
        let io = |error| ResultError::Io { path: path.to_owned(), error };
        let header = header.sealed(items);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        files::expect_plain(path).map_err(io)?;
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io(std::io::Error::other("another process is writing these results")));
            }
            // A file system that knows no locks is no reason not to measure.
            Err(TryLockError::Error(_)) => {}
        }
        // A header is one write; what is shorter than a line was never begun.
        let text = std::fs::read(path).map_err(io)?;
        let results = if text.contains(&b'\n') { Some(read(path)?) } else { None };
        file.set_len(results.as_ref().map_or(0, |results| results.length)).map_err(io)?;
        let results = match results {
            Some(found) => {
                same(path, &header, &found.header)?;
                found
            }
            None => Results {
                path: path.to_owned(),
                header: header.clone(),
                items: Vec::new(),
                samples: Vec::new(),
                spent: Spent::default(),
                complete: false,
                chain: START.to_owned(),
                length: 0,
            },
        };
        let begun = results.length > 0;
        let mut log = Self { file, results };
        if !begun {
            log.write(&Record::Header(Box::new(header)))?;
        }
        for item in &items[log.results.items.len()..] {
            log.write(&Record::Item(item.clone()))?;
            log.results.samples.push(vec![None; log.results.header.benchmark.samples as usize]);
            log.results.items.push(item.clone());
        }
        Ok(log)
    }

    /// What is in the log so far.
    #[must_use]
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// The places of the items that still lack a sample.
    #[must_use]
    pub fn missing(&self) -> Vec<usize> {
        let lacks = |samples: &[Option<Sample>]| samples.iter().any(Option::is_none);
        (0..self.results.items.len()).filter(|&place| lacks(&self.results.samples[place])).collect()
    }

    /// Adds the sample of the item at `place`; one that is in the log already is left as it is, so that a
    /// sample is never counted twice.
    ///
    /// # Errors
    /// If it does not belong there or cannot be written.
    pub fn add(&mut self, place: usize, sample: Sample) -> Result<(), ResultError> {
        let slot = self.results.samples.get(place).and_then(|samples| samples.get(sample.sample as usize));
        let known = self.results.items.get(place).is_some_and(|item| item.task.id == sample.item);
        match slot {
            Some(Some(_)) => return Ok(()),
            Some(None) if known => {}
            _ => {
                let what = format!("sample {} of {}: not one that this benchmark asks for", sample.sample, sample.item);
                return Err(ResultError::Io { path: self.results.path.clone(), error: std::io::Error::other(what) });
            }
        }
        let number = sample.sample as usize;
        let record = Record::Sample(sample);
        self.write(&record)?;
        if let Record::Sample(sample) = record {
            self.results.samples[place][number] = Some(sample);
        }
        Ok(())
    }

    /// Notes what a stretch of work took.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn spend(&mut self, spent: Spent) -> Result<(), ResultError> {
        if self.results.complete {
            return Ok(());
        }
        self.write(&Record::Spent(spent))?;
        self.results.spent.seconds += spent.seconds;
        self.results.spent.tokens += spent.tokens;
        self.results.spent.cost += spent.cost;
        Ok(())
    }

    /// Ends the log, if nothing is missing, and has it written to the disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(&mut self) -> Result<(), ResultError> {
        if !self.results.complete && self.missing().is_empty() {
            let samples = self.results.samples.iter().map(Vec::len).sum::<usize>() as u64;
            let content = content(&self.results.items, &self.results.samples);
            self.write(&Record::End(End { samples, content }))?;
            self.results.complete = true;
        }
        self.file.sync_all().map_err(|error| ResultError::Io { path: self.results.path.clone(), error })
    }

    /// One line, one write: a kill leaves it whole, cut short or not at all.
    fn write(&mut self, record: &Record) -> Result<(), ResultError> {
        let io = |path: &PathBuf, error| ResultError::Io { path: path.clone(), error };
        let path = &self.results.path;
        let (line, chain) = record.line(&self.results.chain).map_err(|error| io(path, error.into()))?;
        self.file.write_all(line.as_bytes()).map_err(|error| io(path, error))?;
        self.results.chain = chain;
        self.results.length += line.len() as u64;
        Ok(())
    }
}

/// Whether a log is this measurement's.
fn same(path: &Path, ours: &Header, theirs: &Header) -> Result<(), ResultError> {
    for (what, expected, got) in [
        ("benchmark", &ours.benchmark_hash, &theirs.benchmark_hash),
        ("model", &ours.model_sha256, &theirs.model_sha256),
        ("data set", &ours.data_sha256, &theirs.data_sha256),
        ("configuration", &ours.config_hash, &theirs.config_hash),
    ] {
        if expected != got {
            let (expected, got) = (expected.clone(), got.clone());
            return Err(ResultError::Other { path: path.to_owned(), what, expected, got });
        }
    }
    Ok(())
}
