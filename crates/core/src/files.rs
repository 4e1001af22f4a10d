//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `text` to `path`: to a new file beside it first, which takes its place once it is whole. Where that fails, what
/// was there before is there still, and nothing else.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, text: impl AsRef<[u8]>) -> io::Result<()> {
    write_with(path, |file| file.write_all(text.as_ref()))
}

/// Like [`write()`], with whatever `make` writes to the file.
///
/// # Errors
/// Those of `make`, and if a file cannot be made or renamed.
pub fn write_with(path: &Path, make: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    // A device, such as /dev/stdout, is written to as it is.
    if path.starts_with("/dev") && fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return make(&mut fs::OpenOptions::new().write(true).open(path)?);
    }
    expect_plain(path)?;
    // A link stays a link, to a new file.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = folder.join(format!(".{name}.{}.part", std::process::id()));
    let whole = || {
        let mut file = File::create(&part)?;
        make(&mut file)?;
        if let Ok(there) = fs::metadata(&path) {
            file.set_permissions(there.permissions())?;
        }
        // A rename that outlives the file's contents would leave an empty file behind.
        file.sync_all()?;
        fs::rename(&part, &path)
    };
    whole().inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}

/// Refuses what is there and no file, nor a link to one: opening a pipe, or reading a device, may never end.
///
/// # Errors
/// With what it is. That nothing is there is no error.
pub fn expect_plain(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(kind) = fs::metadata(path).map(|there| there.file_type()) else { return Ok(()) };
    let got = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("expected a file, got {got}")))
}

/// Like [`fs::read`], of a file alone: for what lies in a folder under a name that anything may have.
///
/// # Errors
/// If it cannot be read, or is no file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    expect_plain(path)?;
    fs::read(path)
}

/// Like [`fs::read_to_string`], of a file alone.
///
/// # Errors
/// If it cannot be read, is no file or no UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    expect_plain(path)?;
    fs::read_to_string(path)
}

/// Like [`File::open`], of a file alone.
///
/// # Errors
/// If it cannot be read, or is no file.
pub fn open(path: &Path) -> io::Result<File> {
    expect_plain(path)?;
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_that_cannot_be_written_whole_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        let broken = |file: &mut File| {
            file.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        assert!(write_with(&path, broken).is_err());
        assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
        write(&path, "whole").unwrap();
        assert!(write_with(&path, broken).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(names(folder.path()), ["page.html"]);
    }

    #[test]
    fn a_new_file_has_the_permissions_of_any_and_an_old_one_keeps_its_own() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        fs::write(folder.path().join("plain"), "").unwrap();
        write(&folder.path().join("own"), "").unwrap();
        assert_eq!(mode("own"), mode("plain"));
        fs::set_permissions(folder.path().join("own"), fs::Permissions::from_mode(0o640)).unwrap();
        write(&folder.path().join("own"), "new").unwrap();
        assert_eq!(mode("own"), 0o640);
        write(Path::new("/dev/null"), "gone").unwrap();
        std::os::unix::fs::symlink("own", folder.path().join("link")).unwrap();
        write(&folder.path().join("link"), "through").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("own")).unwrap(), "through");
    }
}
