//! Where rows lie: a file, a folder, or a data set on the hub.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use relign_core::files;

use super::layout::{Chosen, Role, choose, is_rows, role};
use super::table::kinds;

/// A data set on the hub: `hf:org/name`, with `@revision` and `:config` behind it where they matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// `org/name`.
    pub name: String,
    /// A branch, a tag or a commit; left out, the main branch.
    pub revision: Option<String>,
    /// One of its configurations, `*` for all of them.
    pub config: Option<String>,
}

/// All configurations of a data set.
pub(super) const ALL: &str = "*";

/// The file that describes a data set.
const README: &str = "README.md";

impl HubId {
    /// What a place on the hub begins with.
    const SCHEME: &'static str = "hf:";

    /// Reads `hf:org/name[@revision][:config]`; `None` where the text does not begin with `hf:`.
    ///
    /// # Errors
    /// If what follows has another form.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix(Self::SCHEME)?;
        let (rest, config) = rest.split_once(':').map_or((rest, None), |(rest, config)| (rest, Some(config)));
        let (name, revision) = rest.split_once('@').map_or((rest, None), |(name, revision)| (name, Some(revision)));
        let word = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let sound = name.split_once('/').is_some_and(|(org, name)| word(org) && word(name))
            && revision.is_none_or(|revision| revision.split('/').all(word))
            && config.is_none_or(|config| config == ALL || word(config));
        Some(if sound {
            Ok(Self { name: name.to_owned(), revision: revision.map(str::to_owned), config: config.map(str::to_owned) })
        } else {
            Err(format!("expected hf:org/name, hf:org/name@revision or hf:org/name:config, got `{text}`"))
        })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::SCHEME, self.name)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
        self.config.iter().try_for_each(|config| write!(f, ":{config}"))
    }
}

/// What was fetched of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The commit it was fetched at.
    pub commit: String,
    /// The files, by their paths in the data set, and where they lie now.
    pub files: Vec<(String, PathBuf)>,
}

/// Fetches from the hub: given a data set and a choice among the paths of its files, it brings the
/// chosen ones onto this machine.
pub type Hub =
    dyn Fn(&HubId, &dyn Fn(&[String]) -> Result<Vec<String>, String>) -> Result<Fetched, String> + Send + Sync;

static HUB: OnceLock<Box<Hub>> = OnceLock::new();

/// Sets who fetches data sets; this crate knows no network. Only the first call counts.
pub fn set_hub(hub: Box<Hub>) {
    let _ = HUB.set(hub);
}

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// What a run's record calls it.
    pub(crate) name: String,
    /// What its name says it is for.
    pub(crate) role: Option<Role>,
}

/// Files that a place stands for.
pub(crate) struct Files;

impl Files {
    /// The files of rows at `place`, in the order of their names.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn at(place: &str) -> Result<Vec<Found>, String> {
        match HubId::parse(place) {
            Some(id) => on_hub(&id?),
            None => local(Path::new(place)),
        }
    }
}

/// The files of rows at a path: itself, or those in the folder, which may be followed by `:config`.
pub(crate) fn local(path: &Path) -> Result<Vec<Found>, String> {
    if path.is_dir() {
        return in_folder(path, None);
    }
    if !path.exists() {
        let text = path.display().to_string();
        let configured = text.rsplit_once(':').filter(|(folder, _)| Path::new(folder).is_dir());
        if let Some((folder, config)) = configured {
            return in_folder(Path::new(folder), Some(config));
        }
        return Err(format!(
            "{}: expected a file of {}, a folder of such files or hf:org/name, got nothing there",
            path.display(),
            kinds().join(", ")
        ));
    }
    // Rows are read by their places, which no pipe has.
    files::expect_plain(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let role = role(&path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default());
    Ok(vec![Found { name: path.display().to_string(), role, path: path.to_owned() }])
}

/// The files of a configuration in a folder, chosen as from a repository of the hub.
pub(crate) fn in_folder(folder: &Path, config: Option<&str>) -> Result<Vec<Found>, String> {
    let wrong = |error: &dyn fmt::Display| format!("{}: {error}", folder.display());
    let mut names = Vec::new();
    list(folder, "", &mut names).map_err(|error| wrong(&error))?;
    names.sort();
    let readme = match files::read(&folder.join(README)) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(wrong(&error)),
    };
    if config.is_none() && readme.as_deref().is_none_or(|text| !text.contains("configs")) {
        // What somebody collects in a folder: what lies below has nothing to do with it.
        let beside = |name: &String| !name.contains('/') && is_rows(name);
        if names.iter().any(beside) && !names.iter().any(|name| name.starts_with("data/") && is_rows(name)) {
            names.retain(|name| !name.contains('/'));
        }
    }
    let found = |Chosen { name, role }| {
        let path = folder.join(&name);
        Found { name: path.display().to_string(), role, path }
    };
    let chosen = choose(&names, config, readme.as_deref()).map_err(|error| wrong(&error))?;
    Ok(chosen.into_iter().map(found).collect())
}

/// The paths of all files under a folder that are not hidden.
fn list(folder: &Path, below: &str, names: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{below}{name}");
        // Links to folders are not followed: they may lead back here.
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{path}/"), names)?;
        } else if entry.path().is_file() {
            names.push(path);
        }
    }
    Ok(())
}

fn on_hub(id: &HubId) -> Result<Vec<Found>, String> {
    let hub = HUB.get().ok_or_else(|| format!("{id}: nobody fetches from the hub here; give a file or a folder"))?;
    let wrong = |error: String| format!("{id}: {error}");
    // Which files make a configuration may stand in the README.md.
    let of_readme = |names: &[String]| Ok(names.iter().filter(|name| *name == README).cloned().collect());
    let readme = hub(id, &of_readme).map_err(wrong)?;
    let text = match readme.files.first() {
        Some((_, path)) => Some(std::fs::read(path).map_err(|error| wrong(format!("{README}: {error}")))?),
        None => None,
    };
    let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let chosen = std::cell::RefCell::new(Vec::new());
    let fetched = hub(id, &|names| {
        let mut chosen = chosen.borrow_mut();
        *chosen = choose(names, id.config.as_deref(), text.as_deref())?;
        Ok(chosen.iter().map(|chosen| chosen.name.clone()).collect())
    })
    .map_err(wrong)?;
    if fetched.commit != readme.commit {
        return Err(wrong(format!("expected commit {} throughout, got {}", readme.commit, fetched.commit)));
    }
    let chosen = chosen.into_inner();
    let role = |name: &str| chosen.iter().find(|chosen| chosen.name == name).and_then(|chosen| chosen.role);
    let found = |(name, path): (String, PathBuf)| Found {
        path,
        role: role(&name),
        name: format!("hf:{}@{}/{name}", id.name, fetched.commit),
    };
    let mut files: Vec<Found> = fetched.files.into_iter().map(found).collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_hub() {
        let parse = |text: &str| HubId::parse(text).map(|id| id.map(|id| id.to_string()));
        for good in ["hf:a/b", "hf:a/b@v1", "hf:a/b:main", "hf:openai/gsm8k@refs/convert/parquet:main"] {
            assert_eq!(parse(good), Some(Ok(good.to_owned())));
        }
        for bad in ["hf:", "hf:a", "hf:a/b/c", "hf:a/b@", "hf:a/b:", "hf:a/../b", "hf:a/b@../c", "hf:a/b:x/y"] {
            assert!(parse(bad).unwrap().is_err(), "{bad}");
        }
        assert_eq!(parse("a/b"), None);
    }
}
