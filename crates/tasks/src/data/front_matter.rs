//! The configurations of a data set, as the front matter of its README.md names them for the hub.

use regex::Regex;
use saphyr::{LoadableYamlNode, Yaml};

/// A configuration and its files.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) name: String,
    /// Whether it is meant where none is named.
    pub(super) is_default: bool,
    /// The folder that its files lie in.
    folder: String,
    /// Splits, where they are named, and patterns of paths.
    pub(super) files: Vec<(Option<String>, String)>,
}

/// The configurations in the front matter of `readme`; none where it names none.
///
/// # Errors
/// If the front matter is no YAML or names files in another form than the hub knows.
pub(super) fn configs(readme: &str) -> Result<Vec<Config>, String> {
    let text = readme.trim_start_matches('\u{feff}').trim_start();
    let mut lines = text.lines();
    if lines.next().is_none_or(|line| line.trim_end() != "---") {
        return Ok(Vec::new());
    }
    let front: Vec<&str> = lines.take_while(|line| line.trim_end() != "---").collect();
    let wrong = |what: &str| format!("README.md: configs: {what}");
    if !front.iter().any(|line| line.trim_start_matches(['{', ' ', '"']).starts_with("configs")) {
        return Ok(Vec::new());
    }
    let documents =
        Yaml::load_from_str(&front.join("\n")).map_err(|error| format!("README.md: expected YAML, got: {error}"))?;
    let Some(configs) = documents.first().and_then(|front| front.as_mapping_get("configs")) else {
        return Ok(Vec::new());
    };
    let configs = configs.as_sequence().ok_or_else(|| wrong("expected a list"))?;
    configs.iter().map(config).collect::<Result<_, _>>().map_err(|what| wrong(&what))
}

fn config(config: &Yaml<'_>) -> Result<Config, String> {
    let name = config.as_mapping_get("config_name").and_then(Yaml::as_str);
    let name = name.ok_or("expected a `config_name` for each")?.to_owned();
    let is_default = config.as_mapping_get("default").and_then(Yaml::as_bool).unwrap_or(false) || name == "default";
    let folder = config.as_mapping_get("data_dir").and_then(Yaml::as_str).unwrap_or_default().to_owned();
    let mut files = Vec::new();
    match config.as_mapping_get("data_files") {
        None => {}
        Some(named) => paths(named, None, &mut files).map_err(|what| format!("{name}: data_files: {what}"))?,
    }
    Ok(Config { name, is_default, folder, files })
}

/// Paths: one, a list of them, a list of tables with `split` and `path`, or a table of paths by split.
fn paths(named: &Yaml<'_>, split: Option<&str>, files: &mut Vec<(Option<String>, String)>) -> Result<(), String> {
    if let Some(path) = named.as_str() {
        files.push((split.map(str::to_owned), path.to_owned()));
        return Ok(());
    }
    if let Some(list) = named.as_sequence() {
        return list.iter().try_for_each(|named| paths(named, split, files));
    }
    if let Some(path) = named.as_mapping_get("path") {
        return paths(path, named.as_mapping_get("split").and_then(Yaml::as_str).or(split), files);
    }
    let by_split = named.as_mapping().ok_or("expected paths, or tables with `split` and `path`")?;
    by_split.iter().try_for_each(|(split, path)| paths(path, split.as_str(), files))
}

impl Config {
    /// Whether a path of this data set is one of `pattern`'s.
    ///
    /// # Errors
    /// If the pattern cannot be read.
    pub(super) fn pattern(&self, pattern: &str) -> Result<Regex, String> {
        let folder = self.folder.trim_matches('/').trim_start_matches("./");
        let pattern = pattern.trim_start_matches("./").trim_start_matches('/');
        let path = if folder.is_empty() { pattern.to_owned() } else { format!("{folder}/{pattern}") };
        let wrong = |_| format!("README.md: configs: {}: expected a pattern of paths, got `{pattern}`", self.name);
        Regex::new(&expression(&path)).map_err(wrong)
    }

    /// The folder in which all files are meant, where none are named.
    pub(super) fn folder(&self) -> &str {
        self.folder.trim_matches('/').trim_start_matches("./")
    }
}

/// A pattern of paths as a regular expression: `*` within a name, `**` across folders, `?` and `[...]`.
fn expression(pattern: &str) -> String {
    let mut out = String::from("^");
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let class = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        if let Some(after) = rest.strip_prefix("**/") {
            out.push_str("(?:.*/)?");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("**") {
            out.push_str(".*");
            rest = after;
        } else if let Some((class, after)) = class {
            let (not, class) = class.strip_prefix('!').map_or(("", class), |class| ("^", class));
            out.push_str(&format!("[{not}{}]", class.replace('\\', r"\\").replace('[', r"\[")));
            rest = after;
        } else {
            match first {
                '*' => out.push_str("[^/]*"),
                '?' => out.push_str("[^/]"),
                other => out.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    out + "$"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_of_all_forms() {
        let files = |readme: &str| {
            let configs = configs(readme).unwrap();
            let one = |config: Config| (config.name.clone(), config.is_default, config.files);
            configs.into_iter().map(one).collect::<Vec<_>>()
        };
        let some = |split: &str, path: &str| (Some(split.to_owned()), path.to_owned());
        for data_files in [
            "\n  - split: train\n    path: data/train-*\n  - split: test\n    path: data/test-*",
            " [{split: train, path: \"data/train-*\"}, {split: test, path: [data/test-*]}]",
            "\n    train: data/train-*\n    test: data/test-*",
        ] {
            let readme = format!(
                "\u{feff}---\r\nlicense: mit\nconfigs:\n- config_name: default\n  data_files:{data_files}\n---\n# x\n"
            );
            let expected = vec![some("train", "data/train-*"), some("test", "data/test-*")];
            assert_eq!(files(&readme), [("default".to_owned(), true, expected)], "{readme}");
        }
        for (readme, none) in [("# x\n", true), ("---\n---\n", true), ("---\nlicense: mit\n---\n", true), ("", true)] {
            assert_eq!(files(readme).is_empty(), none, "{readme}");
        }
        let readme = "---\nconfigs:\n- config_name: en\n  data_dir: en\n- config_name: de\n  data_files: de/*.csv\n  default: true\n---\n";
        let expected = [("en".to_owned(), false, vec![]), ("de".to_owned(), true, vec![(None, "de/*.csv".to_owned())])];
        assert_eq!(files(readme), expected);
        for (readme, why) in [
            ("---\nconfigs: [\n---\n", "expected YAML"),
            ("---\nconfigs: x\n---\n", "configs: expected a list"),
            ("---\nconfigs:\n- data_files: x\n---\n", "expected a `config_name`"),
            ("---\nconfigs:\n- config_name: a\n  data_files: 5\n---\n", "a: data_files: expected paths"),
        ] {
            assert!(configs(readme).unwrap_err().contains(why), "{readme}: {:?}", configs(readme));
        }
    }

    #[test]
    fn patterns_of_paths() {
        for (pattern, path, expected) in [
            ("data/train-*", "data/train-00000-of-00001.parquet", true),
            ("data/train-*", "data/more/train-0.parquet", false),
            ("*.json", "a.json", true),
            ("*.json", "b/a.json", false),
            ("**/*.json", "a.json", true),
            ("**/*.json", "b/c/a.json", true),
            ("**", "b/c/a.json", true),
            ("t?st-[0-9]*.csv", "test-1.csv", true),
            ("t?st-[!0-9]*.csv", "test-1.csv", false),
            ("a+b(1).csv", "a+b(1).csv", true),
        ] {
            let config = Config { name: String::new(), is_default: false, folder: String::new(), files: Vec::new() };
            assert_eq!(config.pattern(pattern).unwrap().is_match(path), expected, "{pattern} {path}");
        }
        let config = Config { name: String::new(), is_default: false, folder: "./en/".to_owned(), files: Vec::new() };
        assert!(config.pattern("./train.csv").unwrap().is_match("en/train.csv"));
    }
}
