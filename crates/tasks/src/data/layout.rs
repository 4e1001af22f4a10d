//! Which files of a data set's folder hold the rows that are wanted, by their paths and by its README.md.

use std::collections::{BTreeMap, BTreeSet};

use super::front_matter::{Config, configs};
use super::place::ALL;
use super::table::{is_data, kinds};

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

/// A chosen file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Its path in the data set.
    pub(super) name: String,
    /// What it is for, if something says so.
    pub(super) role: Option<Role>,
}

/// Files of these names describe a data set, and are none of its own.
const ABOUT: [&str; 4] = ["config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"];

/// Missing parts that an error names.
const NAMED: usize = 5;

/// Whether a path is one of a file of rows: not hidden, nor in a hidden folder, nor about the data set.
pub(super) fn is_rows(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    is_data(name) && !name.split('/').any(|part| part.starts_with('.')) && !ABOUT.contains(&file)
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

/// The files of a data set that hold the rows of a configuration, in the order of their names: those that the front matter of
/// its README.md names, else those that their paths tell.
///
/// # Errors
/// If there are none, if several configurations are there and none is named, or if parts are missing.
pub(super) fn choose(names: &[String], config: Option<&str>, readme: Option<&str>) -> Result<Vec<Chosen>, String> {
    let configs = readme.map_or(Ok(Vec::new()), configs)?;
    let by_name = |name: String| Chosen { role: role(&name), name };
    let mut chosen = match wanted(&configs, config) {
        _ if configs.is_empty() => by_path(names, config)?.into_iter().map(by_name).collect(),
        Ok(wanted) => named(names, &wanted)?,
        // A folder can be named where README.md has no such configuration.
        Err(error) if config.is_some() => by_path(names, config).map_err(|_| error)?.into_iter().map(by_name).collect(),
        Err(error) => return Err(error),
    };
    chosen.sort_by(|a: &Chosen, b: &Chosen| a.name.cmp(&b.name));
    chosen.dedup_by(|a, b| a.name == b.name);
    whole(chosen.iter().map(|chosen| chosen.name.as_str()))?;
    Ok(chosen)
}

/// The configurations that are meant.
fn wanted<'a>(configs: &'a [Config], config: Option<&str>) -> Result<Vec<&'a Config>, String> {
    let list = || configs.iter().map(|config| config.name.as_str()).collect::<Vec<_>>().join(", ");
    match config {
        Some(ALL) => Ok(configs.iter().collect()),
        Some(name) => {
            let found = configs.iter().find(|config| config.name == name);
            found
                .map(|config| vec![config])
                .ok_or_else(|| format!("no configuration `{name}`, README.md has: {}", list()))
        }
        None => {
            let default = configs.iter().find(|config| config.is_default).or_else(|| configs.first());
            let default = default.filter(|config| config.is_default || configs.len() == 1);
            default
                .map(|config| vec![config])
                .ok_or_else(|| format!("expected :config behind its name, README.md has several: {}", list()))
        }
    }
}

/// The files that configurations name.
fn named(names: &[String], configs: &[&Config]) -> Result<Vec<Chosen>, String> {
    let mut chosen = Vec::new();
    for config in configs {
        if config.files.is_empty() {
            let folder = config.folder();
            let within =
                |name: &&String| folder.is_empty() || name.strip_prefix(folder).is_some_and(|n| n.starts_with('/'));
            let inside: Vec<String> = names.iter().filter(within).cloned().collect();
            let files = if folder.is_empty() { by_path(&inside, None)? } else { by_path(&inside, Some(ALL))? };
            chosen.extend(files.into_iter().map(|name| Chosen { role: role(&name), name }));
        }
        for (split, pattern) in &config.files {
            let path = config.pattern(pattern)?;
            let matching: Vec<&String> = names.iter().filter(|name| path.is_match(name)).collect();
            let rows = |name: &&&String| is_data(name) && !name.rsplit('/').next().unwrap_or_default().starts_with('.');
            let files: Vec<&&String> = matching.iter().filter(rows).collect();
            if files.is_empty() {
                let got = matching.first().map_or("none", |name| name.as_str());
                return Err(format!(
                    "README.md names `{pattern}` for `{}`: expected files of {} there, got {got}",
                    config.name,
                    kinds().join(", ")
                ));
            }
            let role = |name: &str| split.as_deref().map_or_else(|| role(name), role);
            chosen.extend(files.into_iter().map(|name| Chosen { role: role(name), name: (*name).clone() }));
        }
    }
    Ok(chosen)
}

/// The files of a configuration as their paths tell them: those in the folder of its name, or whose name begins with it.
/// Without one, the files of the only folder there is.
fn by_path(names: &[String], config: Option<&str>) -> Result<Vec<String>, String> {
    let data: Vec<&String> = names.iter().filter(|name| is_rows(name)).collect();
    let mut folders: Vec<&str> = data.iter().map(|name| name.split_once('/').map_or("", |(first, _)| first)).collect();
    folders.sort_unstable();
    folders.dedup();
    let there = || {
        let list = if data.is_empty() { names.iter().take(20).map(String::as_str).collect() } else { folders.clone() };
        list.into_iter()
            .map(|name| if name.is_empty() { "(files beside the folders)" } else { name })
            .collect::<Vec<_>>()
            .join(", ")
    };
    if data.is_empty() {
        return Err(format!(
            "expected files of {}, got {}. On the hub, the revision @refs/convert/parquet often has them",
            kinds().join(", "),
            if names.is_empty() { "none".to_owned() } else { there() }
        ));
    }
    // `data` is where the hub's own tools put files that have no configuration; splits have folders, too.
    let of_splits = |folder: &&str| ["", "data"].contains(folder) || role(folder).is_some();
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
        None if folders.len() == 1 || folders.iter().all(of_splits) => {
            data.iter().map(|name| (*name).clone()).collect()
        }
        None => return Err(format!("expected :config behind its name, there are several: {}", there())),
    };
    if chosen.is_empty() {
        return Err(format!("no configuration `{}`, there are: {}", config.unwrap_or_default(), there()));
    }
    Ok(chosen)
}

/// A file that is one of several parts: what stands before its number, the number, how many there are, as written, and what
/// stands behind.
fn part(name: &str) -> Option<(&str, u64, &str, &str)> {
    let (before, behind) = name.rsplit_once("-of-")?;
    let (stem, number) = before.split_at(before.rfind(['-', '_', '/']).map_or(0, |at| at + 1));
    let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
    let (count, behind) = behind.split_at(digits);
    count.parse::<u64>().ok()?;
    Some((stem, number.parse().ok()?, count, behind))
}

/// Files called `NAME-00000-of-00003` come together or not at all.
fn whole<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut sets: BTreeMap<(&str, &str), (BTreeSet<u64>, &str)> = BTreeMap::new();
    for name in names {
        let Some((stem, number, count, behind)) = part(name) else { continue };
        sets.entry((stem, count)).or_insert((BTreeSet::new(), behind)).0.insert(number);
    }
    for ((stem, count), (have, behind)) in sets {
        let number: u64 = count.parse().unwrap_or_default();
        let missing = number.saturating_sub(have.range(..number).count() as u64);
        if missing == 0 {
            continue;
        }
        // What is behind may be a hash of each file's own.
        let ending = behind.find('.').map_or("", |dot| &behind[dot..]);
        let name = |n: u64| format!("{stem}{n:0>width$}-of-{count}{ending}", width = count.len());
        let mut named: Vec<String> = (0..number).filter(|n| !have.contains(n)).take(NAMED).map(name).collect();
        let more = missing - named.len() as u64;
        named.extend((more > 0).then(|| format!("{more} more")));
        let stem = stem.trim_end_matches(['-', '_', '/']);
        return Err(format!(
            "expected the {number} parts of {stem}, got {}; missing: {}",
            have.len(),
            named.join(", ")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_configuration() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let choose = |names: &[String], config| {
            super::choose(names, config, None).map(|chosen| chosen.into_iter().map(|c| c.name).collect::<Vec<_>>())
        };
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
        assert_eq!(choose(&prefixed, Some("en")).unwrap(), ["en_test.jsonl.gz", "en_train.jsonl.gz"]);
        assert!(choose(&names(&["script.py"]), None).unwrap_err().contains("refs/convert/parquet"));
        let by_split = names(&["test/0.parquet", "train/0.parquet", "train/.0.parquet.swp", "._x.json", "a/.b/c.json"]);
        assert_eq!(choose(&by_split, None).unwrap(), by_split[..2]);
        let about = names(&["data/train.json", "dataset_infos.json", "data/dataset_info.json"]);
        assert_eq!(choose(&about, None).unwrap(), about[..1]);
    }

    #[test]
    fn parts_come_together() {
        for (have, why) in [
            (
                &["train-00000-of-00002.parquet"][..],
                "the 2 parts of train, got 1; missing: train-00001-of-00002.parquet",
            ),
            (&["data/train-00001-of-00002-5ed0ee6b.parquet"], "missing: data/train-00000-of-00002.parquet"),
            (
                &["a-00000-of-00001.csv", "b/00001-of-00002.csv"],
                "the 2 parts of b, got 1; missing: b/00000-of-00002.csv",
            ),
            (
                &["x-00001-of-00003.csv", "x-00002-of-00004.csv"],
                "the 3 parts of x, got 1; missing: x-00000-of-00003.csv, ",
            ),
            (&["x-3-of-4000000000000.csv"], "x-0000000000000-of-4000000000000.csv, "),
            (&["x-3-of-4000000000000.csv"], "3999999999994 more"),
        ] {
            let error = whole(have.iter().copied()).unwrap_err();
            assert!(error.contains(why), "{have:?}: {error}");
        }
        for have in [
            &["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"][..],
            &["2-of-a-kind.csv", "one-of-2x.csv", "of.csv"],
        ] {
            assert_eq!(whole(have.iter().copied()), Ok(()), "{have:?}");
        }
    }

    #[test]
    fn a_readme_says_which_files_are_which_split() {
        let names = ["README.md", "a/one-0.csv", "a/two-0.csv", "b/one-0.csv", "notes.csv"].map(str::to_owned);
        let readme = "---\nconfigs:\n- config_name: a\n  data_files:\n  - {split: train, path: a/one-*}\n  - {split: test, path: a/two-*}\n\
                      - config_name: b\n  data_dir: b\n---\n";
        let choose = |config| {
            let chosen = super::choose(&names, config, Some(readme));
            chosen.map(|chosen| chosen.into_iter().map(|c| (c.name, c.role)).collect::<Vec<_>>())
        };
        let a = [("a/one-0.csv".to_owned(), Some(Role::Train)), ("a/two-0.csv".to_owned(), Some(Role::Test))];
        assert_eq!(choose(Some("a")).unwrap(), a);
        assert_eq!(choose(Some("b")).unwrap(), [("b/one-0.csv".to_owned(), None)]);
        assert_eq!(choose(Some("*")).unwrap().len(), 3);
        let other = super::choose(&["c/train.csv", "a/one-0.csv"].map(str::to_owned), Some("c"), Some(readme)).unwrap();
        assert_eq!(other, [Chosen { name: "c/train.csv".to_owned(), role: Some(Role::Train) }]);
        assert!(choose(None).unwrap_err().contains("expected :config behind its name, README.md has several: a, b"));
        assert!(choose(Some("c")).unwrap_err().contains("no configuration `c`, README.md has: a, b"));
        let error = super::choose(&names[..2], Some("a"), Some(readme)).unwrap_err();
        assert!(error.contains("README.md names `a/two-*` for `a`: expected files of"), "{error}");
        let default = readme.replace("data_dir: b", "data_dir: b\n  default: true");
        assert_eq!(super::choose(&names, None, Some(&default)).unwrap()[0].name, "b/one-0.csv");
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
