//! Rows on disk, by where they begin.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::documents::documents;
use super::formats::{Each, MARK, csv_header, csv_record, csvs, lines};
use super::json::{self, Decimals};
use super::parquets::parquets;
use super::{Row, place, seen};

/// The endings of files that hold rows; `.gz` may follow.
const ENDINGS: [&str; 5] = ["jsonl", "ndjson", "json", "csv", "parquet"];

/// The longest line that is read, in bytes.
pub(super) const LONGEST_LINE: u64 = 64 << 20;

/// Whether a file of this name holds rows.
pub(crate) fn is_data(name: &str) -> bool {
    ending(name).is_some()
}

/// The ending that says how a file is read, and whether it is behind gzip.
fn ending(name: &str) -> Option<(&str, bool)> {
    let lower = name.rsplit('/').next().unwrap_or(name);
    let (bare, zipped) = lower.strip_suffix(".gz").map_or((lower, false), |bare| (bare, true));
    let end = bare.rsplit_once('.')?.1;
    ENDINGS.iter().copied().find(|known| known.eq_ignore_ascii_case(end)).map(|end| (end, zipped))
}

/// How the rows of an open file are read.
enum Form {
    /// JSON, one object a line.
    Lines(Decimals),
    /// CSV, with these column names.
    Csv(Vec<String>),
}

/// Several files' rows.
#[derive(Default)]
pub(crate) struct Rows {
    files: Vec<(String, Form, Mutex<File>)>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.files.iter().map(|(name, ..)| name)).finish()
    }
}

/// Where a row begins: the file's number above, the bytes before it below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At(u64);

const OFFSET_BITS: u32 = 46;

impl Rows {
    /// Reads the file at `path` through once and hands every row, or what is wrong with it, to `each`.
    /// Returns the SHA-256 of the file.
    ///
    /// # Errors
    /// If the file cannot be read at all, or is broken from some place on.
    pub(crate) fn add(
        &mut self,
        path: &Path,
        each: &mut dyn FnMut(At, &str, Result<Row, String>),
    ) -> Result<String, String> {
        let name = path.display().to_string();
        let number = self.files.len() as u64;
        if number >> (64 - OFFSET_BITS) != 0 {
            return Err(format!("{name}: expected fewer than {} files", 1_u64 << (64 - OFFSET_BITS)));
        }
        let wrong = |error: &dyn std::fmt::Display| format!("{name}: {error}");
        let open = || {
            File::open(path)
                .map_err(|error| wrong(&format_args!("expected a file of {}, got: {error}", kinds().join(", "))))
        };
        let (end, zipped) = ending(&name).ok_or_else(|| {
            wrong(&format_args!("expected a name that ends in {} (.gz may follow)", kinds().join(", ")))
        })?;
        let mut file = open()?;
        let sha256 = hash(&mut file).map_err(|e| wrong(&e))?;
        let mut at = |offset: u64, place: String, row| {
            each(At(number << OFFSET_BITS | offset), &format!("{name}:{place}"), row);
        };
        let mut plain = file;
        if zipped && end != "parquet" {
            let mut spool = spool().map_err(|e| wrong(&e))?;
            std::io::copy(&mut MultiGzDecoder::new(open()?), &mut spool).map_err(|e| wrong(&e))?;
            plain = spool;
        }
        readable(&mut plain).map_err(|e| wrong(&e))?;
        let form = match end {
            "csv" => {
                let columns = csv_header(&mut plain).map_err(|e| wrong(&e))?;
                csvs(&mut plain, &columns, &mut at).map_err(|e| wrong(&e))?;
                Form::Csv(columns)
            }
            "parquet" => {
                if zipped {
                    return Err(wrong(&"expected a Parquet file, which is compressed inside, got one behind gzip"));
                }
                plain = spooled(&mut at, |each| parquets(plain, each)).map_err(|e| wrong(&e))?;
                Form::Lines(Decimals::Exact)
            }
            "json" if !holds_lines(&mut plain).map_err(|e| wrong(&e))? => {
                plain = spooled(&mut at, |take| documents(&mut plain, take)).map_err(|e| wrong(&e))?;
                Form::Lines(Decimals::Exact)
            }
            _ => {
                lines(&mut plain, &mut at).map_err(|e| wrong(&e))?;
                Form::Lines(Decimals::Floats)
            }
        };
        self.files.push((name.clone(), form, Mutex::new(plain)));
        Ok(sha256)
    }

    /// The row at a place that [`add`](Self::add) has given.
    ///
    /// # Errors
    /// If the file has changed since.
    pub(crate) fn get(&self, at: At) -> Result<Row, String> {
        let number = usize::try_from(at.0 >> OFFSET_BITS).unwrap_or(usize::MAX);
        let offset = at.0 & ((1 << OFFSET_BITS) - 1);
        let (name, form, file) = self.files.get(number).ok_or("a row of no file")?;
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |file: &mut File| {
            file.seek(SeekFrom::Start(offset)).map_err(|e| e.to_string())?;
            match form {
                Form::Lines(decimals) => {
                    let mut line = Vec::new();
                    BufReader::new(file.take(LONGEST_LINE)).read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
                    json::row(&line, *decimals)
                }
                Form::Csv(columns) => csv_record(file, columns),
            }
        };
        read(&mut file).map_err(|error| format!("{name}: expected the row that was at byte {offset}, got: {error}"))
    }
}

/// The kinds of files in words.
pub(super) fn kinds() -> [&'static str; 4] {
    ["JSON Lines (.jsonl)", "JSON (.json)", "CSV (.csv)", "Parquet (.parquet)"]
}

/// A temporary file without a name, where caches lie: /tmp may be memory.
fn spool() -> std::io::Result<File> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).map(|c| c.join("relign"));
    let there = cache.and_then(|cache| {
        std::fs::create_dir_all(&cache).ok()?;
        tempfile::tempfile_in(cache).ok()
    });
    there.map_or_else(tempfile::tempfile, Ok)
}

/// Writes rows as lines into a temporary file, and tells `at` where each went.
fn spooled(
    at: &mut Each<'_>,
    read: impl FnOnce(&mut dyn FnMut(String, Result<Row, String>) -> Result<(), String>) -> Result<(), String>,
) -> Result<File, String> {
    let mut out = BufWriter::new(spool().map_err(|error| error.to_string())?);
    let mut offset = 0;
    read(&mut |place, row| {
        let begin = offset;
        if let Ok(row) = &row {
            let line = json::write(&seen(row)) + "\n";
            out.write_all(line.as_bytes()).map_err(|error| format!("the temporary file: {error}"))?;
            offset += line.len() as u64;
        }
        at(begin, place, row);
        Ok(())
    })?;
    out.into_inner().map_err(|error| format!("the temporary file: {error}"))
}

/// Whether a `.json` file holds JSON Lines: a first line that is a whole object, and more behind it.
fn holds_lines(file: &mut File) -> std::io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(&mut *file);
    let mut first = Vec::new();
    reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut first)?;
    let first = first.strip_prefix(MARK).unwrap_or(&first);
    let whole = serde_json::from_slice::<serde::de::IgnoredAny>(first).is_ok()
        && first.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let mut next = [0];
    let mut more = false;
    while whole && !more && reader.read(&mut next)? == 1 {
        more = !next[0].is_ascii_whitespace();
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(whole && more)
}

/// Refuses what only looks like a file of rows: text in UTF-16, and what stands in a repository for a file that Git LFS has
/// not fetched.
fn readable(file: &mut File) -> Result<(), String> {
    const POINTER: &[u8] = b"version https://git-lfs";
    let mut first = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
    file.take(POINTER.len() as u64).read_to_end(&mut first).map_err(|error| error.to_string())?;
    file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
    if first.starts_with(POINTER) {
        return Err("expected rows, got a pointer of Git LFS to them (`git lfs pull` fetches the file)".to_owned());
    }
    if first.starts_with(b"\xff\xfe") || first.starts_with(b"\xfe\xff") {
        return Err("expected UTF-8, got UTF-16 (`iconv -f UTF-16 -t UTF-8` converts it)".to_owned());
    }
    Ok(())
}

/// The SHA-256 of a file, which is read from its beginning and left there.
fn hash(file: &mut File) -> std::io::Result<String> {
    let mut sum = Sha256::new();
    std::io::copy(file, &mut sum)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(place::hex(&sum.finalize()))
}
