//! Where rows lie: a file, a folder, or a data set on the hub.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::table::{is_data, kinds};

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
const ALL: &str = "*";

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

/// What a file's name says it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Training.
    Train,
    /// Measuring while training goes on: held out where there is nothing for testing.
    Validation,
    /// Testing.
    Test,
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

/// The files of rows at a path: itself, or those in the folder.
pub(crate) fn local(path: &Path) -> Result<Vec<Found>, String> {
    let found = |path: PathBuf| Found {
        name: path.display().to_string(),
        role: role(&path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default()),
        path,
    };
    if !path.is_dir() {
        if !path.exists() {
            return Err(format!(
                "{}: expected a file of {}, a folder of such files or hf:org/name, got nothing there",
                path.display(),
                kinds().join(", ")
            ));
        }
        return Ok(vec![found(path.to_owned())]);
    }
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(wrong)? {
        let file = entry.map_err(wrong)?.path();
        if file.is_file() && file.file_name().is_some_and(|name| is_data(&name.to_string_lossy())) {
            files.push(found(file));
        }
    }
    if files.is_empty() {
        return Err(format!("{}: expected files of {}, got none", path.display(), kinds().join(", ")));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn on_hub(id: &HubId) -> Result<Vec<Found>, String> {
    let hub = HUB.get().ok_or_else(|| format!("{id}: nobody fetches from the hub here; give a file or a folder"))?;
    let fetched = hub(id, &|names| choose(names, id.config.as_deref())).map_err(|error| format!("{id}: {error}"))?;
    let mut files: Vec<Found> = fetched
        .files
        .into_iter()
        .map(|(name, path)| Found {
            path,
            role: role(&name),
            name: format!("hf:{}@{}/{name}", id.name, fetched.commit),
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The part of a file's path that says what it is for: the last of its words that is the name of a split.
pub(crate) fn role(name: &str) -> Option<Role> {
    name.rsplit('/').find_map(|part| {
        part.split(|c: char| !c.is_ascii_alphanumeric()).find_map(|word| match word.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Role::Train),
            "test" | "testing" | "eval" | "evaluation" => Some(Role::Test),
            "valid" | "validation" | "val" | "dev" => Some(Role::Validation),
            _ => None,
        })
    })
}

/// The files of a data set that hold the rows of a configuration: those in the folder of its name, or
/// whose name begins with it. Without one, the files of the only folder there is.
fn choose(names: &[String], config: Option<&str>) -> Result<Vec<String>, String> {
    let data: Vec<&String> = names.iter().filter(|name| is_data(name) && !name.starts_with('.')).collect();
    let folders: Vec<&str> = {
        let mut folders: Vec<&str> =
            data.iter().map(|name| name.split_once('/').map_or("", |(first, _)| first)).collect();
        folders.sort_unstable();
        folders.dedup();
        folders
    };
    let there = || {
        let listed =
            if data.is_empty() { names.iter().take(20).map(String::as_str).collect() } else { folders.clone() };
        listed.join(", ")
    };
    if data.is_empty() {
        return Err(format!(
            "expected files of {}, the hub has: {}. The revision @refs/convert/parquet often has them",
            kinds().join(", "),
            there()
        ));
    }
    let chosen: Vec<String> = match config {
        Some(config) if config != ALL => {
            let within = |name: &str| name.split('/').rev().skip(1).any(|folder| folder == config);
            let named = |name: &str| {
                let file = name.rsplit('/').next().unwrap_or_default();
                file.strip_prefix(config).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
            };
            let of = |test: &dyn Fn(&str) -> bool| data.iter().filter(|n| test(n)).map(|n| (*n).clone()).collect();
            let inside: Vec<String> = of(&within);
            if inside.is_empty() { of(&named) } else { inside }
        }
        Some(_) => data.iter().map(|name| (*name).clone()).collect(),
        // `data` is where the hub's own tools put files that have no configuration.
        None if folders.len() == 1 || folders.iter().all(|folder| ["", "data"].contains(folder)) => {
            data.iter().map(|name| (*name).clone()).collect()
        }
        None => {
            return Err(format!("expected :config behind its name, the hub has several: {}", there()));
        }
    };
    if chosen.is_empty() {
        return Err(format!("no configuration `{}`, the hub has: {}", config.unwrap_or_default(), there()));
    }
    whole(&chosen)?;
    Ok(chosen)
}

/// Files called `NAME-00000-of-00003` come together or not at all.
fn whole(names: &[String]) -> Result<(), String> {
    for name in names {
        let Some((before, count)) = name.rsplit_once("-of-") else { continue };
        let digits: String = count.chars().take_while(char::is_ascii_digit).collect();
        let Some((stem, _)) = before.rsplit_once('-') else { continue };
        let Ok(count) = digits.parse::<usize>() else { continue };
        let have = names.iter().filter(|n| n.starts_with(&format!("{stem}-")) && n.contains(&digits)).count();
        if have < count {
            return Err(format!("expected the {count} parts of {stem}, got {have}"));
        }
    }
    Ok(())
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

    #[test]
    fn files_of_a_configuration() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let gsm8k = names(&[
            "README.md",
            "main/test-00000-of-00001.parquet",
            "main/train-00000-of-00001.parquet",
            "socratic/train-00000-of-00001.parquet",
        ]);
        assert_eq!(choose(&gsm8k, Some("main")).unwrap(), gsm8k[1..3]);
        assert!(choose(&gsm8k, None).unwrap_err().contains("main, socratic"));
        assert!(choose(&gsm8k, Some("mains")).unwrap_err().contains("no configuration `mains`"));
        let flat = names(&["README.md", "test.jsonl"]);
        assert_eq!(choose(&flat, None).unwrap(), ["test.jsonl"]);
        let prefixed = names(&["en_train.jsonl.gz", "en_test.jsonl.gz", "english_test.jsonl.gz", "de_test.jsonl.gz"]);
        assert_eq!(choose(&prefixed, Some("en")).unwrap(), prefixed[..2]);
        let parts = names(&["data/train-00000-of-00002.parquet"]);
        assert!(choose(&parts, None).unwrap_err().contains("expected the 2 parts of data/train, got 1"));
        assert!(choose(&names(&["script.py"]), None).unwrap_err().contains("refs/convert/parquet"));
    }

    #[test]
    fn names_say_what_files_are_for() {
        for (name, expected) in [
            ("main/train-00000-of-00001.parquet", Some(Role::Train)),
            ("main/test/0000.parquet", Some(Role::Test)),
            ("phrases_no_exclude_test.jsonl", Some(Role::Test)),
            ("valid.jsonl", Some(Role::Validation)),
            ("train/dev.jsonl", Some(Role::Validation)),
            ("contest.jsonl", None),
            ("trainer.jsonl", None),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
    }
}
