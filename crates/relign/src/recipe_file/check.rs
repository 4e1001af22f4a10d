//! What a recipe must be beyond its types.

use relign_core::{ConfigError, Recipe, Sampling, Score, bounds, is_control, schema_of};
use serde_json::Value;

use super::{Fault, fault_of, nearest};
use crate::registry::{KINDS, Kind};

/// Everything in `recipe` that makes no sense, in the order of its sections.
pub(crate) fn check(recipe: &Recipe) -> Vec<Fault> {
    let mut faults = sampling(&recipe.sampling);
    faults.extend(settings(recipe));
    // Before anything is built with settings that are too large for it.
    let value = serde_json::to_value(recipe).unwrap_or_default();
    let beyond = bounds::beyond(&schema_of::<Recipe>(), &value).into_iter();
    faults.extend(beyond.map(|ConfigError { path, message }| Fault::at(path, message)));
    named(&mut faults, "environment", &recipe.environment.name, "environment", &recipe.environment.settings);
    for (index, reward) in recipe.rewards.iter().enumerate() {
        // The environment's own score may be a part; it is no entry of the table.
        if reward.name != "environment" {
            let section = format!("rewards.{index}");
            match relign_tasks::in_full(&reward.name, &reward.settings) {
                Ok((name, settings)) => named(&mut faults, "reward", name, &section, &settings),
                Err(ConfigError { path, message }) => faults.push(Fault::at(format!("{section}.{path}"), message)),
            }
        }
    }
    if let Some(complaint) = recipe.model.thought_markers.complaint() {
        faults.push(Fault::at("model.thought_markers", complaint));
    }
    if let Err(ConfigError { path, message }) = relign_tasks::check_sum(&recipe.rewards) {
        faults.push(Fault::at(path, message));
    }
    named(&mut faults, "strategy", &recipe.strategy.name, "strategy", &recipe.strategy.settings);
    named(&mut faults, "algorithm", &recipe.algorithm.name, "algorithm", &recipe.algorithm.settings);
    if faults.is_empty() {
        faults.extend(together(recipe).err().map(|ConfigError { path, message }| Fault::at(path, message)));
    }
    faults.dedup_by(|a, b| a.path == b.path);
    faults
}

/// Refuses a step or a measurement that has more samples than can grow at once.
fn together(recipe: &Recipe) -> Result<(), ConfigError> {
    let strategy = relign_search::strategy(&recipe.strategy)?;
    let each = format!("nodes of a task ({})", recipe.strategy.name);
    bounds::together(&[("run.tasks", recipe.run.tasks as u64), (&each, strategy.samples() as u64)])?;
    bounds::together(&[("eval.items", recipe.eval.items), ("eval.samples", recipe.eval.samples)])
}

/// Builds what a section names with its settings, for its errors alone.
fn named(faults: &mut Vec<Fault>, kind: &str, name: &str, section: &str, settings: &serde_json::Map<String, Value>) {
    let Some(kind) = KINDS.iter().find(|known| known.name == kind) else { return };
    if let Some(mut fault) = fault_in(kind, name, settings) {
        fault.path = if fault.path.is_empty() { section.to_owned() } else { format!("{section}.{}", fault.path) };
        faults.push(fault);
    }
}

/// What is wrong with `settings` of the thing of kind `kind` called `name`, if anything.
pub(super) fn fault(kind: &str, name: &str, settings: &serde_json::Map<String, Value>) -> Option<Fault> {
    KINDS.iter().find(|known| known.name == kind).and_then(|kind| fault_in(kind, name, settings))
}

fn fault_in(kind: &Kind, name: &str, settings: &serde_json::Map<String, Value>) -> Option<Fault> {
    let names = (kind.names)();
    if !names.contains(&name) {
        let mut fault =
            Fault::at("name", format!("unknown {} `{name}`, expected one of: {}", kind.name, names.join(", ")));
        fault.advice = nearest(name, names).map(|near| format!("did you mean `{near}`?"));
        return Some(fault);
    }
    let ConfigError { path, message } = (kind.build)(name, Value::Object(settings.clone())).err()?;
    let mut fault = fault_of(&path, &message);
    if fault.advice.is_none() {
        fault.advice = Some(format!("`relign explain {name}` shows its settings"));
    }
    Some(fault)
}

/// Settings that make no sense, or none where a policy is trained on what was sampled.
fn sampling(sampling: &Sampling) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Err(error) = sampling.check() {
        faults.push(error);
    }
    for departure in sampling.departures() {
        let ConfigError { path, message } = departure;
        let message = format!(
            "{message}: training differentiates the distribution that was sampled from, and its loss knows of no setting \
             that changes it but the temperature"
        );
        faults.push(ConfigError { path, message });
    }
    for (name, asked) in [("top_logprobs", sampling.top_logprobs), ("score_from", sampling.score_from)] {
        if let Some(asked) = asked {
            faults.push(ConfigError::at(name, format!("expected none, for nothing in a run reads them, got {asked}")));
        }
    }
    if sampling.certainty {
        let message = "expected false, for scorers that read it ask for it themselves, got true";
        faults.push(ConfigError::at("certainty", message));
    }
    faults.into_iter().map(|fault| fault.within("sampling")).map(|fault| Fault::at(fault.path, fault.message)).collect()
}

fn settings(recipe: &Recipe) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut want = |holds: bool, path: &str, expected: &str, got: &dyn std::fmt::Display| {
        if !holds {
            faults.push(Fault::at(path, format!("expected {expected}, got {got}")));
        }
    };
    let Recipe { name, model, sampling, optimizer, run, eval, rewards, .. } = recipe;
    // The run's folder is called so.
    let plain = !name.contains(['/', '\\']) && !name.chars().any(is_control) && name.len() <= 200;
    want(
        plain && ![".", ".."].contains(&name.as_str()),
        "name",
        "a name of at most 200 bytes without slashes and control characters",
        &format_args!("{name:?}"),
    );
    let from_zero = |x: f64| x.is_finite() && x >= 0.0;
    want(
        !model.path.trim().is_empty(),
        "model.path",
        "a model: a built-in name, a folder, a GGUF file or a hub id",
        &"nothing",
    );
    for (index, reward) in rewards.iter().enumerate() {
        let fits = reward.weight.abs() <= Score::MOST;
        want(fits, &format!("rewards.{index}.weight"), "a number from -1e9 to 1e9", &reward.weight);
    }
    want(from_zero(optimizer.lr), "optimizer.lr", "a number from 0 up", &optimizer.lr);
    for beta in [optimizer.betas.0, optimizer.betas.1] {
        want((0.0..1.0).contains(&beta), "optimizer.betas", "two numbers from 0 to below 1", &beta);
    }
    want(optimizer.eps.is_finite() && optimizer.eps > 0.0, "optimizer.eps", "a number above 0", &optimizer.eps);
    want(from_zero(optimizer.weight_decay), "optimizer.weight_decay", "a number from 0 up", &optimizer.weight_decay);
    want(from_zero(optimizer.clip_norm), "optimizer.clip_norm", "a number from 0 up", &optimizer.clip_norm);
    want(run.steps > 0, "run.steps", "at least 1", &run.steps);
    want(run.tasks > 0, "run.tasks", "at least 1", &run.tasks);
    want(run.minibatches > 0, "run.minibatches", "at least 1", &run.minibatches);
    want(
        run.minibatches <= run.tasks,
        "run.minibatches",
        "at most `run.tasks`, a group being the least a minibatch holds",
        &run.minibatches,
    );
    want(run.epochs > 0, "run.epochs", "at least 1", &run.epochs);
    want(run.batch_tokens > 0, "run.batch_tokens", "at least 1", &run.batch_tokens);
    want(run.sequences > 0, "run.sequences", "at least 1", &run.sequences);
    want(
        run.context == 0 || run.context > sampling.max_tokens,
        "run.context",
        &format!("0 or more than `sampling.max_tokens` ({}), a prompt needing room too", sampling.max_tokens),
        &run.context,
    );
    want(
        run.reward_seconds.is_finite() && run.reward_seconds > 0.0 && run.reward_seconds <= 86_400.0,
        "run.reward_seconds",
        "a number of seconds above 0, at most a day",
        &run.reward_seconds,
    );
    want(from_zero(eval.temperature.into()), "eval.temperature", "a number from 0 up", &eval.temperature);
    want(eval.samples > 0, "eval.samples", "at least 1", &eval.samples);
    want(
        eval.samples <= 1 || eval.temperature > 0.0,
        "eval.samples",
        "1 at `eval.temperature` 0, where all samples are the same",
        &eval.samples,
    );
    want(
        sampling.temperature > 0.0,
        "sampling.temperature",
        "a number above 0 to train with: greedy samples of a task are all the same",
        &sampling.temperature,
    );
    faults.dedup_by(|a, b| a.path == b.path);
    faults
}
