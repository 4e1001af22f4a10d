//! Reading logs, with all that is checked on entry.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use relign_core::files;

use super::chain::{self, START};
use super::{End, FORMAT, Header, Item, Record, ResultError, Sample, Spent, content, data_sha256};
use crate::benchmark::MOST_SAMPLES;

/// A log that was read and checked.
#[derive(Clone, Debug)]
pub struct Results {
    /// The file.
    pub path: PathBuf,
    /// What was measured.
    pub header: Header,
    /// What was asked, in order.
    pub items: Vec<Item>,
    /// The samples of each item; none where one is still missing.
    pub samples: Vec<Vec<Option<Sample>>>,
    /// What the work took, all stretches together that ended by themselves.
    pub spent: Spent,
    /// Whether nothing is missing.
    pub complete: bool,
    /// The chain of the last whole line.
    pub(super) chain: String,
    /// The bytes up to its end.
    pub(super) length: u64,
}

impl Results {
    /// The number of each item's cluster, counted from 0; items without one are clusters of their own.
    #[must_use]
    pub fn clusters(&self) -> Vec<usize> {
        let mut seen = HashMap::new();
        let mut next = 0;
        self.items
            .iter()
            .map(|item| {
                let mut fresh = || {
                    next += 1;
                    next - 1
                };
                match &item.cluster {
                    Some(name) => *seen.entry(name.as_str()).or_insert_with(fresh),
                    None => fresh(),
                }
            })
            .collect()
    }
}

/// Reads and checks the log at `path`; half a line at its end is left out.
///
/// # Errors
/// If it cannot be read, a line is not what it was when it was written, or what it holds does not fit
/// together.
pub fn read(path: &Path) -> Result<Results, ResultError> {
    let text = files::read(path).map_err(|error| ResultError::Io { path: path.to_owned(), error })?;
    let refused = |line: usize, what: String| ResultError::Refused { path: path.to_owned(), line, what };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let text = std::str::from_utf8(&text[..whole])
        .map_err(|error| refused(1, format!("expected UTF-8, got something else at byte {}", error.valid_up_to())))?;
    let mut reading = Reading::default();
    let mut previous = START.to_owned();
    for (number, line) in text.lines().enumerate() {
        let (record, next) = parse(line, &previous).map_err(|what| refused(number + 1, what))?;
        reading.take(record).map_err(|what| refused(number + 1, what))?;
        previous = next;
    }
    let lines = text.lines().count();
    let Some(header) = reading.header else {
        return Err(refused(lines.max(1), "expected a header, got an empty file".to_owned()));
    };
    Ok(Results {
        path: path.to_owned(),
        header,
        items: reading.items,
        samples: reading.samples,
        spent: reading.spent,
        complete: reading.ended,
        chain: previous,
        length: whole as u64,
    })
}

/// The record in `line` and its chain, if it follows on `previous`.
fn parse(line: &str, previous: &str) -> Result<(Record, String), String> {
    let (body, expected) = chain::unseal(line, previous)?;
    let record = serde_json::from_str(&body).map_err(|error| format!("not a record of this format: {error}"))?;
    Ok((record, expected))
}

#[derive(Default)]
struct Reading {
    header: Option<Header>,
    items: Vec<Item>,
    places: HashMap<String, usize>,
    samples: Vec<Vec<Option<Sample>>>,
    spent: Spent,
    ended: bool,
}

impl Reading {
    fn take(&mut self, record: Record) -> Result<(), String> {
        let Some(header) = &self.header else {
            let Record::Header(header) = record else { return Err("expected a header first".to_owned()) };
            check(&header)?;
            self.header = Some(*header);
            return Ok(());
        };
        if self.ended {
            return Err("expected nothing after the end".to_owned());
        }
        let asked = self.items.len() as u64 == header.items;
        match record {
            Record::Header(_) => Err("expected one header, got another".to_owned()),
            Record::Item(item) => {
                if asked {
                    return Err(format!("expected {} items, got more", header.items));
                }
                if self.places.insert(item.task.id.clone(), self.items.len()).is_some() {
                    return Err(format!("item {} stands here twice", item.task.id));
                }
                self.samples.push(vec![None; header.benchmark.samples as usize]);
                self.items.push(item);
                if self.items.len() as u64 == header.items {
                    let found = data_sha256(&self.items);
                    if found != header.data_sha256 {
                        return Err(format!("data: expected items with the hash {}, got {found}", header.data_sha256));
                    }
                }
                Ok(())
            }
            _ if !asked => Err(format!("expected {} items first, got {}", header.items, self.items.len())),
            Record::Sample(sample) => self.sample(sample),
            Record::Spent(spent) => {
                self.spent.seconds += spent.seconds;
                self.spent.tokens += spent.tokens;
                self.spent.cost += spent.cost;
                Ok(())
            }
            Record::End(End { samples, content: said }) => {
                let found = self.samples.iter().flatten().flatten().count() as u64;
                let all = header.items * header.benchmark.samples;
                if samples != all || found != all {
                    return Err(format!("end: expected {all} samples, got {found} and a claim of {samples}"));
                }
                let got = content(&self.items, &self.samples);
                if got != said {
                    return Err(format!("end: expected samples with the hash {said}, got {got}"));
                }
                self.ended = true;
                Ok(())
            }
        }
    }

    fn sample(&mut self, sample: Sample) -> Result<(), String> {
        let Sample { item, sample: number, .. } = &sample;
        let Some(&place) = self.places.get(item) else {
            return Err(format!("a sample of item {item}, which is not asked"));
        };
        let judged = [Some(&sample.score), sample.lenient.as_ref()];
        if let Some(score) = judged.into_iter().flatten().find(|score| !score.value.is_finite()) {
            return Err(format!("item {item}: expected a finite score, got {}", score.value));
        }
        let count = self.samples[place].len();
        let slot = self.samples[place].get_mut(*number as usize);
        let slot = slot.ok_or_else(|| format!("item {item}: expected samples below {count}, got number {number}"))?;
        if slot.is_some() {
            return Err(format!("sample {number} of item {item} stands here twice"));
        }
        *slot = Some(sample);
        Ok(())
    }
}

/// Whether a header is what it says it is.
fn check(header: &Header) -> Result<(), String> {
    if header.format != FORMAT {
        return Err(format!("format: expected {FORMAT}, got {}", header.format));
    }
    if header.items == 0 {
        return Err("header: expected at least one item, got none".to_owned());
    }
    let samples = header.benchmark.samples;
    if samples == 0 || samples > MOST_SAMPLES {
        return Err(format!("header: expected 1 to {MOST_SAMPLES} samples of an item, got {samples}"));
    }
    for (name, expected, got) in [
        ("benchmark_hash", header.benchmark.hash(), &header.benchmark_hash),
        ("config_hash", header.config(), &header.config_hash),
    ] {
        if expected != *got {
            return Err(format!("{name}: expected {expected}, got {got}"));
        }
    }
    Ok(())
}

/// The logs at `path`: the file itself, or every file in the folder and below whose name ends in `.jsonl`
/// and which begins as a log does, sorted.
///
/// # Errors
/// If the folder cannot be read.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, ResultError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    for entry in entries.map_err(|error| ResultError::Io { path: path.to_owned(), error })? {
        let inner = entry.path();
        if inner.is_dir() {
            found.extend(find(&inner)?);
        } else if inner.extension().is_some_and(|end| end == "jsonl") && begins_as_log(&inner) {
            found.push(inner);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file begins with a header, whatever became of the rest. Other tools' lines are left alone.
fn begins_as_log(path: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 18];
    // A pipe or a device of such a name is no log, and reading it may never end.
    files::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
        && start.starts_with(b"{\"kind\":\"header\"")
}
