//! Files of lines that grow while they are used, survive being cut off, and tell what was changed in them since.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use relign_bench::results::chain;
use relign_core::files;
use serde::Serialize;

/// A file that JSON objects are added to, each a line in one write, [chained](chain) to the line before.
pub(crate) struct Lines {
    file: File,
    chain: String,
}

impl Lines {
    /// Opens the file at `path`, or begins it, and hands over its lines without their chains. What a crash left of a last line
    /// is cut off.
    ///
    /// # Errors
    /// If it cannot be read or written, or a line is not what it was when it was written.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<String>)> {
        files::expect_plain(path)?;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let changed = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let text = std::str::from_utf8(&bytes[..whole]).map_err(|error| changed(error.to_string()))?;
        let (mut last, mut lines) = (chain::START.to_owned(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            let (body, chain) =
                chain::unseal(line, &last).map_err(|what| changed(format!("line {}: {what}", at + 1)))?;
            lines.push(body);
            last = chain;
        }
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
        }
        Ok((Self { file, chain: last }, lines))
    }

    /// Adds a JSON object.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn add(&mut self, value: &impl Serialize) -> io::Result<()> {
        let (line, chain) = chain::seal(&self.chain, &serde_json::to_string(value)?);
        self.file.write_all(line.as_bytes())?;
        self.chain = chain;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_that_was_cut_off_is_gone_and_the_next_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let (mut lines, found) = Lines::open(&path).unwrap();
        assert!(found.is_empty());
        lines.add(&json!({"n": 1})).unwrap();
        lines.add(&json!({"n": 2})).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"n\": 3,")).unwrap();
        let (mut lines, found) = Lines::open(&path).unwrap();
        assert_eq!(found, ["{\"n\":1}", "{\"n\":2}"]);
        lines.add(&json!({"n": 4})).unwrap();
        assert_eq!(Lines::open(&path).unwrap().1, ["{\"n\":1}", "{\"n\":2}", "{\"n\":4}"]);

        let text = std::fs::read_to_string(&path).unwrap();
        let removed: String = text.split_inclusive('\n').skip(1).collect();
        for (changed, line) in
            [(text.replace("\"n\":2", "\"n\":9"), 2), (removed, 1), (text.replace(",\"chain\"", ",\"c\""), 1)]
        {
            std::fs::write(&path, &changed).unwrap();
            let error = Lines::open(&path).err().unwrap().to_string();
            assert!(error.starts_with(&format!("line {line}: ")) && error.contains("chain"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), changed, "left as it lies");
        }
    }
}
