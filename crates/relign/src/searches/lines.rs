//! Files of lines that grow while they are used, and survive being cut off.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use relign_core::files;

use serde::Serialize;

/// A file that lines are added to, each in one write.
pub(crate) struct Lines {
    file: File,
}

impl Lines {
    /// Opens the file at `path`, or begins it, and hands over its lines. What a crash left of a last line is cut off.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<String>)> {
        files::expect_plain(path)?;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
            bytes.truncate(whole);
        }
        let text = String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok((Self { file }, text.lines().map(str::to_owned).collect()))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn add(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_is_gone_and_the_next_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "1\n2\n[3,").unwrap();
        let (mut lines, found) = Lines::open(&path).unwrap();
        assert_eq!(found, ["1", "2"]);
        lines.add(&vec![4]).unwrap();
        assert_eq!(Lines::open(&path).unwrap().1, ["1", "2", "[4]"]);
    }
}
