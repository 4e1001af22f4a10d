//! Invariants of the house: who may depend on whom, and under which licences.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every package reachable from each of ours without dev-dependencies, by name.
fn reach(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let name_of: HashMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let edges: HashMap<&str, Vec<&str>> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let dependencies = node["deps"].as_array().unwrap().iter();
            let real =
                dependencies.filter(|dep| dep["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"] != "dev"));
            (node["id"].as_str().unwrap(), real.map(|dep| dep["pkg"].as_str().unwrap()).collect())
        })
        .collect();
    let mut reach = BTreeMap::new();
    for (id, name) in name_of.iter().filter(|(_, name)| name.starts_with("relign")) {
        let (mut seen, mut open) = (BTreeSet::new(), vec![*id]);
        while let Some(id) = open.pop() {
            for next in &edges[id] {
                if seen.insert(name_of[next].to_owned()) {
                    open.push(next);
                }
            }
        }
        reach.insert((*name).to_owned(), seen);
    }
    reach
}

#[test]
fn rooms_know_only_the_rooms_they_may() {
    let reach = reach(&metadata());
    let rooms: [(&str, &[&str]); 9] = [
        ("relign-core", &[]),
        ("relign-model", &["relign-core"]),
        ("relign-http", &["relign-core"]),
        ("relign-engine", &["relign-core", "relign-http", "relign-model"]),
        ("relign-train", &["relign-core", "relign-model"]),
        ("relign-search", &["relign-core"]),
        ("relign-tasks", &["relign-core", "relign-http"]),
        ("relign-bench", &["relign-core"]),
        (
            "relign",
            &[
                "relign-bench",
                "relign-core",
                "relign-engine",
                "relign-http",
                "relign-model",
                "relign-search",
                "relign-tasks",
                "relign-train",
            ],
        ),
    ];
    assert_eq!(reach.len(), rooms.len(), "a new room needs its line here: {:?}", reach.keys());
    for (room, allowed) in rooms {
        let ours: Vec<&str> =
            reach[room].iter().map(String::as_str).filter(|name| name.starts_with("relign")).collect();
        assert!(ours.iter().all(|name| allowed.contains(name)), "{room} may know {allowed:?}, it knows {ours:?}");
    }
}

#[test]
fn only_the_model_room_knows_the_tensor_backend() {
    for (room, packages) in reach(&metadata()) {
        if !packages.contains("relign-model") && room != "relign-model" {
            for backend in ["tch", "torch-sys", "safetensors"] {
                assert!(!packages.contains(backend), "{room} reaches {backend}");
            }
        }
    }
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let direct = package["dependencies"].as_array().unwrap().iter().any(|dependency| dependency["name"] == "tch");
        assert!(!direct || name == "relign-model", "{name} names tch; only relign-model may");
    }
}

#[test]
fn core_stays_free_of_network_and_async() {
    let reach = reach(&metadata());
    for package in ["tokio", "ureq", "reqwest", "rayon", "hyper"] {
        assert!(!reach["relign-core"].contains(package), "relign-core reaches {package}");
    }
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let deny: toml::Table = std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let allowed: BTreeSet<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().map(|licence| licence.as_str().unwrap()).collect();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let refused: Vec<String> = packages
        .iter()
        .filter_map(|package| {
            let licence = package["license"].as_str().unwrap_or_default();
            (!allows(licence, &allowed)).then(|| format!("{} ({licence})", package["name"]))
        })
        .collect();
    assert!(refused.is_empty(), "not in deny.toml's list: {refused:?}");
    for package in packages {
        let source = package["source"].as_str().unwrap_or("registry+https://github.com/rust-lang/crates.io-index");
        assert!(source.contains("rust-lang/crates.io-index"), "{} comes from {source}", package["name"]);
    }
}

/// Whether an SPDX expression can be satisfied with `allowed`: some alternative of every part. A slash is
/// the `OR` of old manifests; parentheses do not nest in practice.
fn allows(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut depth = 0;
    let flat: String = expression
        .chars()
        .map(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth > 0 && c == ' ' { '\u{a0}' } else { c }
        })
        .collect();
    let term = |term: &str| {
        let inner = term.trim().trim_matches(['(', ')']).replace('\u{a0}', " ");
        inner.split(" OR ").any(|name| allowed.contains(name.trim()))
    };
    if flat.contains(" AND ") { flat.split(" AND ").all(term) } else { flat.split(" OR ").any(term) }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND ISC",
        "Apache-2.0 WITH LLVM-exception OR X",
    ] {
        assert!(allows(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR X) AND ISC"] {
        assert!(!allows(bad, &allowed), "{bad}");
    }
}

/// The files people wrote: sources and pages.
fn files(folder: PathBuf, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap_or_default());
        if path.is_dir() && !name.starts_with('.') && !["target", "runs", "fixtures"].contains(&name.as_str()) {
            files(path, into);
        } else if ["rs", "toml", "py", "cpp", "h"].iter().any(|end| name.ends_with(&format!(".{end}"))) {
            into.push(path);
        }
    }
}

#[test]
fn no_source_has_open_ends() {
    let mut sources = Vec::new();
    files(root().join("crates"), &mut sources);
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        for mark in marks {
            assert!(!text.contains(mark), "{} holds {mark}", path.display());
        }
    }
}
