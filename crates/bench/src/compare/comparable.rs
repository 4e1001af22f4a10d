//! What two results must have in common before their figures may be set side by side.

use std::collections::{BTreeMap, BTreeSet};

use crate::results::{Header, Results};

/// What differs between two results besides the model.
pub(super) struct Found {
    /// What makes figures incomparable.
    pub(super) grave: Vec<String>,
    /// What a reader may want to know.
    pub(super) harmless: Vec<String>,
}

/// What differs between `base` and `tuned` besides the model.
pub(super) fn differences(base: &Results, tuned: &Results) -> Found {
    let (a, b) = (&base.header, &tuned.header);
    let name = &a.benchmark.name;
    let (mut grave, mut harmless) = (Vec::new(), Vec::new());
    for result in [base, tuned].into_iter().filter(|result| !result.complete) {
        let missing = result.samples.iter().flatten().filter(|sample| sample.is_none()).count();
        grave.push(format!("{name}: {} is not complete, {missing} samples are missing", result.path.display()));
    }
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            grave.push(format!("{name}: {what} differs: {} and {}", short(a), short(b)));
        }
    };
    for (what, ours, theirs) in definition(a, b) {
        differ(&format!("benchmark definition: {what}"), &ours, &theirs);
    }
    let limit = |header: &Header| header.limit.map_or_else(|| "all items".to_owned(), |limit| format!("{limit} items"));
    differ("--limit", &limit(a), &limit(b));
    differ("data", &a.data_sha256, &b.data_sha256);
    differ("chat template", &a.template_sha256, &b.template_sha256);
    differ("grader", &a.grader, &b.grader);
    let settings: BTreeSet<&String> = a.engine.keys().chain(b.engine.keys()).collect();
    for setting in settings {
        let of = |header: &Header| header.engine.get(setting).cloned().unwrap_or_else(|| "not set".to_owned());
        differ(&format!("engine: {setting}"), &of(a), &of(b));
    }
    if a.seed != b.seed {
        harmless.push(format!("{name}: other seeds: {} and {}", a.seed, b.seed));
    }
    if a.relign != b.relign {
        harmless.push(format!("{name}: other versions of RELIGN: {} and {}", a.relign, b.relign));
    }
    if a.model_sha256 == b.model_sha256 {
        harmless.push(format!("{name}: both results are of the same weights"));
    }
    Found { grave, harmless }
}

/// The settings that two definitions differ in.
fn definition(a: &Header, b: &Header) -> Vec<(String, String, String)> {
    if a.benchmark_hash == b.benchmark_hash {
        return Vec::new();
    }
    let fields = |header: &Header| match serde_json::to_value(&header.benchmark) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let (ours, theirs) = (fields(a), fields(b));
    let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).filter(|key| *key != "about").collect();
    let say = |map: &serde_json::Map<String, serde_json::Value>, key: &str| {
        map.get(key).map_or_else(|| "not set".to_owned(), ToString::to_string)
    };
    let differing = keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key));
    differing.map(|key| (key.clone(), say(&ours, key), say(&theirs, key))).collect()
}

/// Hashes are told by their beginning.
fn short(text: &str) -> &str {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) { &text[..12] } else { text }
}

/// Where two results' scores come from.
pub(super) fn provenance(base: &Results, tuned: &Results) -> BTreeMap<String, [String; 2]> {
    let engine = |header: &Header| {
        header.engine.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    };
    let of = |header: &Header| {
        [
            ("benchmark", header.benchmark_hash.clone()),
            ("data", header.data_sha256.clone()),
            ("template", header.template_sha256.clone()),
            ("grader", header.grader.clone()),
            ("engine", engine(header)),
            ("seed", header.seed.to_string()),
            ("model", header.model_sha256.clone()),
            ("relign", header.relign.clone()),
        ]
    };
    let pairs = of(&base.header).into_iter().zip(of(&tuned.header));
    pairs.map(|((name, ours), (_, theirs))| (name.to_owned(), [ours, theirs])).collect()
}
