//! Answers that were paid for, kept on disk.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use relign_core::files;

use serde::{Deserialize, Serialize};

/// SHA-256 of a question, in hexadecimal digits.
pub(super) type Key = String;

/// Answers by the hash of what was asked: JSON Lines, one answer a line, each written by one append, so that a kill
/// costs at most the line being written and several processes may share the file. A line cut short is skipped.
///
/// A question that is on its way already is waited for, not asked again.
#[derive(Debug)]
pub(super) struct Cache {
    /// The file and where it is; `None` keeps answers in memory alone.
    file: Option<(Mutex<File>, PathBuf)>,
    entries: Mutex<HashMap<Key, Entry>>,
    arrived: Condvar,
}

#[derive(Debug)]
enum Entry {
    Asked,
    Known(String),
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: Key,
    answer: String,
}

impl Cache {
    /// The cache in the file at `path`, made with its folders where it does not exist; in memory without one.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, String> {
        let mut entries = HashMap::new();
        let file = match path {
            None => None,
            Some(path) => {
                let broken = |error: std::io::Error| format!("cache {}: {error}", path.display());
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).map_err(broken)?;
                }
                files::expect_plain(path).map_err(broken)?;
                let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(broken)?;
                if !read(&file, &mut entries).map_err(broken)? {
                    // The next line must not continue one that was cut short.
                    file.write_all(b"\n").map_err(broken)?;
                }
                Some((Mutex::new(file), path.to_owned()))
            }
        };
        Ok(Self { file, entries: Mutex::new(entries), arrived: Condvar::new() })
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to the question `key`, and whether it was known; `ask` is called where it was not. What fails is
    /// not kept: whoever waited for it asks again.
    pub(super) fn answer(
        &self,
        key: &Key,
        ask: impl FnOnce() -> Result<String, String>,
    ) -> Result<(String, bool), String> {
        let mut entries = self.entries();
        loop {
            match entries.get(key) {
                Some(Entry::Known(answer)) => return Ok((answer.clone(), true)),
                Some(Entry::Asked) => entries = self.arrived.wait(entries).unwrap_or_else(PoisonError::into_inner),
                None => break,
            }
        }
        entries.insert(key.clone(), Entry::Asked);
        drop(entries);
        let asked = Asked { cache: self, key };
        let answer = ask()?;
        let kept = self.keep(key, &answer);
        self.entries().insert(key.clone(), Entry::Known(answer.clone()));
        drop(asked);
        kept.map(|()| (answer, false))
    }

    fn keep(&self, key: &Key, answer: &str) -> Result<(), String> {
        let Some((file, path)) = &self.file else { return Ok(()) };
        let line = Line { key: key.clone(), answer: answer.to_owned() };
        let line = serde_json::to_string(&line).map_err(|error| error.to_string())? + "\n";
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).map_err(|error| format!("cache {}: {error}", path.display()))
    }
}

/// Takes the mark off a question that came to nothing, also where asking it panicked.
struct Asked<'a> {
    cache: &'a Cache,
    key: &'a Key,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut entries = self.cache.entries();
        if matches!(entries.get(self.key), Some(Entry::Asked)) {
            entries.remove(self.key);
        }
        drop(entries);
        self.cache.arrived.notify_all();
    }
}

/// Reads what is there; whether it ends with a whole line.
fn read(file: &File, entries: &mut HashMap<Key, Entry>) -> std::io::Result<bool> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut whole = true;
    while reader.read_until(b'\n', &mut line)? > 0 {
        whole = line.ends_with(b"\n");
        if let Ok(Line { key, answer }) = serde_json::from_slice(&line) {
            entries.insert(key, Entry::Known(answer));
        }
        line.clear();
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn known(cache: &Cache, key: &str) -> Option<String> {
        cache.answer(&key.to_owned(), || Err("unknown".to_owned())).ok().map(|(answer, _)| answer)
    }

    #[test]
    fn cut_off_at_any_byte_no_other_answer_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/cache.jsonl");
        let cache = Cache::open(Some(&path)).unwrap();
        for key in ["a", "b"] {
            assert!(!cache.answer(&key.to_owned(), || Ok(format!("{key}\n\u{e9}"))).unwrap().1);
        }
        let bytes = std::fs::read(&path).unwrap();
        let first = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
        for end in first..bytes.len() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let cache = Cache::open(Some(&path)).unwrap();
            assert_eq!(known(&cache, "a").unwrap(), "a\n\u{e9}");
            assert!(cache.answer(&"c".to_owned(), || Ok("c".to_owned())).is_ok());
            drop(cache);
            let again = Cache::open(Some(&path)).unwrap();
            assert_eq!(
                (known(&again, "a").is_some(), known(&again, "c").as_deref()),
                (true, Some("c")),
                "cut at {end}"
            );
            // Only the line break is missing: the answer is whole.
            assert_eq!(known(&again, "b").is_some(), end == bytes.len() - 1);
        }
    }

    #[test]
    fn what_is_on_its_way_is_waited_for_and_what_failed_is_asked_again() {
        let cache = Cache::open(None).unwrap();
        let asked = AtomicUsize::new(0);
        let ask = || {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(20));
            if number == 0 { Err("no".to_owned()) } else { Ok("yes".to_owned()) }
        };
        let answers: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| cache.answer(&"k".to_owned(), ask))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok((_, true)))).count(), 6);
    }
}
