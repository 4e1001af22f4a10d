//! Strategies as a call names them: `best_of_n(n=16, scorer=certainty)`.

use relign_core::{Sampling, Section, bounds, find, parse};
use relign_search::{STRATEGIES, StrategyFactory};
use serde_json::{Map, Value};

use crate::recipe_file;
use crate::usage::Usage;

/// Settings of sampling that a strategy can be given beside its own.
const SAMPLING: [&str; 5] = ["temperature", "top_k", "top_p", "min_p", "max_tokens"];

/// A strategy with its settings, as it was asked for.
pub(crate) struct Variant {
    /// What it is called in tables and plots.
    pub(crate) label: String,
    /// Its name and settings.
    pub(crate) section: Section,
    /// How it samples, where that is another way than the call's.
    pub(crate) sampling: Map<String, Value>,
    /// Its own budget, where it has one: tokens, or none at all.
    pub(crate) budget: Option<Option<u64>>,
    /// Starts it.
    pub(crate) factory: Box<dyn StrategyFactory>,
}

impl std::fmt::Debug for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label)
    }
}

impl Variant {
    /// Reads `NAME` or `NAME(key=value, ...)`. Keys are the strategy's settings, dotted within tables, and besides:
    /// `temperature`, `top_k`, `top_p`, `min_p`, `max_tokens` for its sampling, `budget` in tokens or `none`, and `label`.
    /// `scorer=NAME` is short for `scorer.name=NAME`; `greedy` for one sample at temperature 0, without a budget.
    ///
    /// # Errors
    /// [`Usage`] with what does not fit.
    pub(crate) fn read(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        let wrong = |what: String| Usage::error(format!("strategy {text}: {what}"));
        let (name, inner) = match text.split_once('(') {
            None => (text, ""),
            Some((name, rest)) => match rest.trim_end().strip_suffix(')') {
                Some(inner) => (name.trim_end(), inner),
                None => return Err(wrong("expected `)` at the end".to_owned())),
            },
        };
        let mut variant = Given::default();
        let called = name;
        let mut told = Vec::new();
        let name = if name == "greedy" {
            variant.sets.push("n=1".to_owned());
            variant.sampling.insert("temperature".to_owned(), 0.into());
            variant.budget = Some(None);
            "sample"
        } else {
            name
        };
        let entry = find("strategy", STRATEGIES, name).map_err(|error| {
            let known = STRATEGIES.iter().map(|entry| entry.name).chain(["greedy"]);
            let advice = recipe_file::nearest(name, known).map(|near| format!("\n  help: did you mean `{near}`?"));
            wrong(error.message + &advice.unwrap_or_default())
        })?;
        let schema = (entry.schema)();
        for set in split(inner).map_err(wrong)? {
            let (key, value) = set
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()))
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| wrong(format!("expected KEY=VALUE, got `{set}`")))?;
            if !matches!(key, "label" | "budget") {
                told.push(format!("{key}={value}"));
            }
            let own = schema.pointer(&format!("/properties/{key}")).is_some();
            match key {
                "scorer" if own && !value.starts_with('{') => variant.sets.push(format!("scorer.name={value}")),
                "label" if !own => variant.label = value.trim_matches('"').to_owned(),
                "budget" if !own => {
                    variant.budget = Some(budget(value).map_err(|what| wrong(format!("budget: {what}")))?)
                }
                _ if !own && SAMPLING.contains(&key) => {
                    let mut one = Value::Object(Map::new());
                    recipe_file::apply_sets(&mut one, &[format!("{key}={value}")]).map_err(Usage::error)?;
                    variant.sampling.insert(key.to_owned(), one[key].clone());
                }
                _ => variant.sets.push(format!("{key}={value}")),
            }
        }
        if variant.label.is_empty() {
            variant.label = if told.is_empty() { called.to_owned() } else { format!("{called}({})", told.join(", ")) };
        }
        variant.build(name)
    }

    /// Reads strategies with commas between them, or those of a TOML file: `[[strategies]]` with a `name`, its settings and
    /// the keys above.
    ///
    /// # Errors
    /// [`Usage`] with what does not fit, or if two are called the same.
    pub(crate) fn read_all(text: &str) -> anyhow::Result<Vec<Self>> {
        let wrong = |what: String| Usage::error(format!("--strategies: {what}"));
        let variants: Vec<Self> = match text.trim().ends_with(".toml") {
            true => Self::read_file(text.trim())?,
            false => split(text).map_err(wrong)?.into_iter().map(Self::read).collect::<anyhow::Result<_>>()?,
        };
        if variants.is_empty() {
            return Err(wrong("expected at least one, got none".to_owned()));
        }
        for (at, variant) in variants.iter().enumerate() {
            if variants[..at].iter().any(|other| other.label == variant.label) {
                return Err(wrong(format!(
                    "expected different ones, got `{}` twice; label=TEXT tells them apart",
                    variant.label
                )));
            }
        }
        Ok(variants)
    }

    fn read_file(path: &str) -> anyhow::Result<Vec<Self>> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            strategies: Vec<Section>,
        }
        let wrong = |what: &dyn std::fmt::Display| Usage::error(format!("{path}: {what}"));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let file: File = toml::from_str(&text)
            .map_err(|error| wrong(&relign_core::settings::plain(error.to_string().trim_end())))?;
        let one = |Section { name, mut settings }: Section| {
            let taken = |settings: &mut Map<String, Value>, key: &str| settings.remove(key);
            let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let label = taken(&mut settings, "label").map_or_else(|| name.clone(), |label| word(&label));
            let mut given = Given { label, ..Given::default() };
            if let Some(own) = taken(&mut settings, "budget") {
                given.budget = Some(budget(&word(&own)).map_err(|what| wrong(&format!("budget: {what}")))?);
            }
            for key in SAMPLING {
                if let Some(value) = taken(&mut settings, key) {
                    given.sampling.insert(key.to_owned(), value);
                }
            }
            if let Some(scorer) = settings.get("scorer").and_then(Value::as_str) {
                let scorer = serde_json::json!({"name": scorer});
                settings.insert("scorer".to_owned(), scorer);
            }
            given.settings = settings;
            given.build(&name)
        };
        file.strategies.into_iter().map(one).collect()
    }

    /// How it samples, where the call says `sampling`.
    ///
    /// # Errors
    /// [`Usage`] with the setting that makes no sense.
    pub(crate) fn sampling(&self, sampling: &Sampling) -> anyhow::Result<Sampling> {
        let wrong = |what: String| Usage::error(format!("strategy {}: {what}", self.label));
        let mut value = serde_json::to_value(sampling)?;
        for (key, own) in &self.sampling {
            value[key] = own.clone();
        }
        let sampling: Sampling = parse(value).map_err(|error| wrong(error.to_string()))?;
        sampling.check().map_err(|error| wrong(error.to_string()))?;
        Ok(sampling)
    }
}

/// What a call says of a strategy.
#[derive(Default)]
struct Given {
    label: String,
    settings: Map<String, Value>,
    sets: Vec<String>,
    sampling: Map<String, Value>,
    budget: Option<Option<u64>>,
}

impl Given {
    fn build(self, name: &str) -> anyhow::Result<Variant> {
        let Self { label, settings, sets, sampling, budget } = self;
        let section = recipe_file::section("strategy", name, Some(&settings), &sets)
            .map_err(|error| Usage::error(format!("strategy {label}: {}", error.to_string().replace("--set ", ""))))?;
        let factory = relign_search::strategy(&section)?;
        let variant = Variant { label, section, sampling, budget, factory };
        variant.sampling(&Sampling::default())?;
        Ok(variant)
    }
}

/// A budget as a call gives it: tokens, or `none`.
///
/// # Errors
/// If it is neither, or 0.
pub(crate) fn budget(text: &str) -> Result<Option<u64>, String> {
    if text == "none" {
        return Ok(None);
    }
    let most = bounds::most("budget").unwrap_or(u64::MAX);
    let tokens = text.replace('_', "").parse().ok().filter(|tokens: &u64| (1..=most).contains(tokens));
    tokens.map(Some).ok_or_else(|| format!("expected 1 to {most} tokens or `none`, got {text}"))
}

/// The parts between commas that stand in no brackets and no quotes.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut open, mut quoted, mut start) = (Vec::new(), Vec::new(), None, 0);
    for (at, c) in text.char_indices() {
        match (quoted, c) {
            (Some(quote), _) => quoted = Some(quote).filter(|&quote| quote != c),
            (None, '"' | '\'') => quoted = Some(c),
            (None, '(') => open.push(')'),
            (None, '[') => open.push(']'),
            (None, '{') => open.push('}'),
            (None, ')' | ']' | '}') if open.pop() != Some(c) => {
                return Err(format!("`{c}` closes nothing in `{text}`"));
            }
            (None, ',') if open.is_empty() => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if let Some(missing) = quoted.or_else(|| open.pop()) {
        return Err(format!("expected `{missing}` before the end of `{text}`"));
    }
    parts.push(&text[start..]);
    Ok(parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_strategies_with_their_settings() {
        let all = Variant::read_all(
            "greedy, self_consistency(n=4), best_of_n(n=16, scorer=certainty,label=sure), \
             mcts(steps.border=line, simulations=8, max_tokens=99, budget=none)",
        )
        .unwrap();
        let sections: Vec<Value> = all.iter().map(|one| serde_json::to_value(&one.section).unwrap()).collect();
        assert_eq!(
            sections,
            [
                json!({"name": "sample", "n": 1}),
                json!({"name": "self_consistency", "n": 4}),
                json!({"name": "best_of_n", "n": 16, "scorer": {"name": "certainty"}}),
                json!({"name": "mcts", "steps": {"border": "line"}, "simulations": 8}),
            ]
        );
        let labels: Vec<&str> = all.iter().map(|one| one.label.as_str()).collect();
        assert_eq!(labels[..3], ["greedy", "self_consistency(n=4)", "sure"]);
        assert_eq!(all.iter().map(|one| one.budget).collect::<Vec<_>>(), [Some(None), None, None, Some(None)]);
        let sampling = Sampling { temperature: 0.7, max_tokens: 10, ..Sampling::default() };
        assert_eq!(all[0].sampling(&sampling).unwrap().temperature, 0.0);
        assert_eq!(all[1].sampling(&sampling).unwrap(), sampling);
        assert_eq!(all[3].sampling(&sampling).unwrap().max_tokens, 99);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, said) in [
            ("mtcs", "unknown strategy `mtcs`, expected one of: ab_mcts, "),
            ("mtcs", "did you mean `mcts`?"),
            ("sample(n=0)", "strategy sample(n=0): n=0: "),
            ("sample(k=3)", "unknown key `k`"),
            ("sample(n=3", "expected `)` before the end"),
            ("sample n=3)", "`)` closes nothing"),
            ("sample(3)", "expected KEY=VALUE, got `3`"),
            ("best_of_n(scorer=nobody)", "unknown scorer `nobody`"),
            ("beam(budget=0)", "budget: expected 1 to 16777216 tokens or `none`, got 0"),
            ("beam(temperature=-1)", "temperature: expected 0 or more, got -1"),
            ("beam,beam", "got `beam` twice"),
            (" , ", "expected at least one"),
        ] {
            let error = Variant::read_all(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
