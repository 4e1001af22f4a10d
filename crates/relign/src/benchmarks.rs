//! Benchmarks, by file or by name, and the items that they ask.

use std::path::Path;
use std::sync::Arc;

use relign_bench::benchmark::{BUILTIN, Benchmark, Shot, all, named, subset};
use relign_bench::results::Item;
use relign_core::{Environment, Split};
use relign_search::StrategyFactory;

use crate::recipe_file;
use crate::usage::Usage;

/// The strategy of benchmarks whose samples are independent answers.
pub(crate) const SAMPLE: &str = "sample";

/// The benchmarks that `name` means: a TOML file, or a built-in one and its variants.
///
/// # Errors
/// [`Usage`] if there are none or the file does not fit.
pub(crate) fn find(name: &str) -> anyhow::Result<Vec<Benchmark>> {
    let path = Path::new(name);
    let found = if path.extension().is_some_and(|end| end == "toml") || path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|error| Usage(format!("benchmark {name}: {error}")))?;
        Benchmark::read(name, &text)
    } else {
        named(name)
    };
    let found = found.map_err(|error| Usage(format!("{error}{}", near(name))))?;
    found.iter().try_for_each(check)?;
    Ok(found)
}

/// The built-in benchmark whose name is nearest to one that is none.
fn near(name: &str) -> String {
    let all = all().unwrap_or_default();
    let known = BUILTIN.iter().map(|(name, _)| *name).chain(all.iter().map(|benchmark| benchmark.name.as_str()));
    let near = recipe_file::nearest(name, known).filter(|_| !name.ends_with(".toml") && !Path::new(name).is_file());
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// What no type says, but the tables know: names and their settings.
pub(crate) fn check(benchmark: &Benchmark) -> anyhow::Result<()> {
    let wrong = |error: anyhow::Error| Usage::error(format!("benchmark {}: {error}", benchmark.name));
    let section = |kind: &str, name: &str, settings| recipe_file::section(kind, name, Some(settings), &[]).map(drop);
    section("environment", &benchmark.environment.name, &benchmark.environment.settings).map_err(wrong)?;
    for reward in benchmark.rewards.iter().chain(&benchmark.lenient).filter(|reward| reward.name != "environment") {
        section("reward", &reward.name, &reward.settings).map_err(wrong)?;
    }
    section("strategy", &benchmark.strategy.name, &benchmark.strategy.settings).map_err(wrong)?;
    let Benchmark { strategy: own, samples, sampling, .. } = benchmark;
    if own.name == SAMPLE {
        if own.settings.is_empty() {
            return Ok(());
        }
        let got = serde_json::Value::from(own.settings.clone());
        let message = "strategy: expected `sample` without settings (`samples` says how many), got";
        return Err(wrong(anyhow::anyhow!("{message} {got}")));
    }
    if *samples != 1 {
        let message = "samples: expected 1 where a strategy chooses the answer";
        return Err(wrong(anyhow::anyhow!("{message} (`{}` has settings of its own), got {samples}", own.name)));
    }
    if sampling.temperature == 0.0 && !strategy(benchmark)?.linear() {
        let message =
            "sampling.temperature: expected more than 0, got 0: all that the strategy asks for would be the same";
        return Err(wrong(anyhow::anyhow!(message)));
    }
    Ok(())
}

/// What grows a tree for each item.
///
/// # Errors
/// [`Usage`] if its settings do not fit.
pub(crate) fn strategy(benchmark: &Benchmark) -> anyhow::Result<Box<dyn StrategyFactory>> {
    let mut section = benchmark.strategy.clone();
    if section.name == SAMPLE {
        section.settings.insert("n".to_owned(), benchmark.samples.into());
    }
    relign_search::strategy(&section).map_err(|error| Usage::error(format!("benchmark {}: {error}", benchmark.name)))
}

/// How many requests an item may have under way at once, about.
pub(crate) fn width(benchmark: &Benchmark) -> usize {
    strategy(benchmark).map_or(1, |strategy| strategy.samples().max(1))
}

/// The environment of a benchmark and the items that are asked, all of them or the subset that `limit` leaves.
///
/// # Errors
/// If the environment cannot make a task, or makes them without end and the benchmark does not say how many.
pub(crate) fn items(benchmark: &Benchmark, limit: Option<u64>) -> anyhow::Result<(Arc<dyn Environment>, Vec<Item>)> {
    let name = &benchmark.name;
    let environment: Arc<dyn Environment> =
        Arc::from(relign_tasks::environment(&benchmark.environment).map_err(|error| Usage(error.to_string()))?);
    let split = Split::from(benchmark.split);
    let length = environment.len(split);
    let count = match (length, benchmark.items) {
        (Some(length), items) => length.min(items.unwrap_or(length)),
        (None, Some(items)) => items,
        (None, None) => {
            let what = "its environment makes tasks without end; expected `items`, got none";
            return Err(Usage::error(format!("benchmark {name}: {what}")));
        }
    };
    let task =
        |split, index| environment.task(split, index).map_err(|what| anyhow::anyhow!("benchmark {name}: {what}"));
    // Tasks made without end are drawn already: the first ones are as good a part as any.
    let first = if length.is_none() { count.min(limit.unwrap_or(count)) } else { count };
    let mut tasks = (0..first).map(|index| task(split, index)).collect::<anyhow::Result<Vec<_>>>()?;
    anyhow::ensure!(!tasks.is_empty(), "benchmark {name}: expected tasks, its environment has none");
    if let Some(limit) = limit.filter(|_| length.is_some()) {
        let asked = |task: &relign_core::Task| task.messages.last().map(|m| m.content.clone()).unwrap_or_default();
        let keys: Vec<String> = tasks.iter().map(asked).collect();
        let kept = subset(&keys, usize::try_from(limit).unwrap_or(usize::MAX));
        tasks = kept.into_iter().map(|place| tasks[place].clone()).collect();
    }
    let other = if split == Split::Eval { Split::Train } else { Split::Eval };
    let mut shots = benchmark.prompt.shots.clone();
    for index in 0..benchmark.prompt.examples {
        let example = task(other, index)?;
        let user = example.messages.last().map(|message| message.content.clone()).unwrap_or_default();
        shots.push(Shot { user, assistant: environment.oracle(&example).last().to_owned() });
    }
    let items = tasks.into_iter().map(|mut task| {
        task.messages = benchmark.prompt.apply(&task.messages, &shots);
        let cluster = task.facts.get("cluster").cloned();
        Item { task, cluster }
    });
    Ok((Arc::clone(&environment), items.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_tasks::ENVIRONMENTS;

    /// Built-in benchmarks whose environment is in the table must build and ask something where their data is; a new
    /// environment is covered as soon as its line stands there.
    #[test]
    fn builtins_name_environments_that_fit() {
        let known = |benchmark: &Benchmark| ENVIRONMENTS.iter().any(|entry| entry.name == benchmark.environment.name);
        let (here, missing): (Vec<_>, Vec<_>) = all().unwrap().into_iter().partition(known);
        for benchmark in &here {
            check(benchmark).unwrap();
        }
        for name in ["arithmetic/1", "arithmetic/8", "countdown/3", "gsm8k"] {
            assert!(here.iter().any(|benchmark| benchmark.name == name), "{name}");
        }
        let names: std::collections::BTreeSet<_> = missing.iter().map(|b| b.environment.name.as_str()).collect();
        if !names.is_empty() {
            relign_core::skipped!("no environment of that name: {names:?}");
        }
    }

    #[test]
    fn a_limit_and_examples_do_what_they_say() {
        let text = "name = \"c\"\nversion = 1\ndomain = \"d\"\nitems = 40\n[environment]\nname = \"arithmetic\"\n[prompt]\nexamples = 2\n";
        let benchmark = Benchmark::read("c.toml", text).unwrap().remove(0);
        let (environment, all) = items(&benchmark, None).unwrap();
        let (_, few) = items(&benchmark, Some(7)).unwrap();
        assert_eq!((all.len(), few.len()), (40, 7));
        assert_eq!(few[..], all[..7]);
        let own = environment.task(Split::Eval, 3).unwrap();
        let asked = &all[3].task;
        assert_eq!((asked.messages.len(), asked.messages.last(), &asked.answer), (5, own.messages.last(), &own.answer));
        let shown = environment.task(Split::Train, 0).unwrap();
        assert_eq!(
            (&asked.messages[0], &asked.messages[1].content),
            (&shown.messages[0], &environment.oracle(&shown).messages[0].content)
        );
    }

    #[test]
    fn what_does_not_fit_is_said_before_a_model_is_read() {
        let read = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("b.toml");
            std::fs::write(&path, text).unwrap();
            find(path.to_str().unwrap()).map(drop).map_err(|error| error.to_string())
        };
        let base = "name = \"b\"\nversion = 1\ndomain = \"d\"\n[environment]\nname = \"arithmetic\"\n";
        read(base).unwrap();
        for (text, said) in [
            (base.replace("arithmetic", "arithmatic"), "did you mean `arithmetic`?"),
            (format!("{base}levle = 2\n"), "did you mean `level`?"),
            (format!("{base}[[rewards]]\nname = \"final_nummer\"\n"), "did you mean `final_number`?"),
            (format!("{base}[[lenient]]\nname = \"format\"\npatern = \"x\"\n"), "did you mean `pattern`?"),
            (format!("{base}[strategy]\nname = \"sample\"\nn = 3\n"), "expected `sample` without settings"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(said), "{said}: {error}");
        }
        assert!(find("gsm9k").unwrap_err().to_string().contains("expected a TOML file or one of"));
        let endless = Benchmark::read("b.toml", base).unwrap().remove(0);
        let error = items(&endless, None).map(drop).unwrap_err();
        assert!(error.to_string().contains("expected `items`"), "{error}");
    }
}
