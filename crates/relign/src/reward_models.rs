//! Reward models as scorers: what a strategy's scorer `outcome` or `process` asks for.

mod text;

use std::sync::Mutex;

use anyhow::Context;
use relign_core::{Place, Scorer, Section, Tree};
use relign_model::{Asked, Checkpoint, Grader, Tokenizer, resolve_dtype};
use relign_search::Aggregate;
use relign_search::scorers::{Outcome, Process};
use serde_json::Value;

use crate::loaded::weights_hash;
use crate::models;
use crate::usage::Usage;
use text::{Format, conversation, steps};

/// What the scorer of a strategy asks for.
enum Wanted {
    Outcome(Outcome),
    Process(Process),
}

/// What the scorer of a `[strategy]` asks for; `None` where that is no reward model.
fn wanted(strategy: &Section) -> anyhow::Result<Option<Wanted>> {
    let Some(Value::Object(scorer)) = strategy.settings.get("scorer") else { return Ok(None) };
    let mut settings = scorer.clone();
    let Some(Value::String(name)) = settings.remove("name") else { return Ok(None) };
    let settings = Value::Object(settings);
    let fault = |error: relign_core::ConfigError| Usage::error(error.within("strategy.scorer").to_string());
    Ok(match name.as_str() {
        "outcome" => Some(Wanted::Outcome(Outcome::of(settings).map_err(fault)?)),
        "process" => Some(Wanted::Process(Process::of(settings).map_err(fault)?)),
        _ => None,
    })
}

/// The reward model that the scorer of a `[strategy]` asks for, read and ready; `None` where it asks for none.
///
/// # Errors
/// If there is no such model, it cannot be read, or it lacks the head or the tokens that the scorer needs.
pub(crate) fn of_strategy(strategy: &Section) -> anyhow::Result<Option<Box<dyn Scorer>>> {
    let scorer = match wanted(strategy)? {
        None => return Ok(None),
        Some(Wanted::Outcome(own)) => outcome(&own).context("strategy.scorer `outcome`"),
        Some(Wanted::Process(own)) => process(&own).context("strategy.scorer `process`"),
    };
    scorer.map(Some)
}

/// SHA-256 of the weights of the reward model that the scorer of a `[strategy]` asks for.
///
/// # Errors
/// If there is no such model, or it cannot be read.
pub(crate) fn sha256(strategy: &Section) -> anyhow::Result<Option<String>> {
    let model = match wanted(strategy)? {
        None => return Ok(None),
        Some(Wanted::Outcome(own)) => own.model,
        Some(Wanted::Process(own)) => own.model,
    };
    weights_hash(&models::open(&model, None)?.0).map(Some)
}

/// A model that judges, and how it is given what was said.
struct RewardModel {
    grader: Mutex<Grader>,
    tokenizer: Tokenizer,
    reading: Reading,
}

enum Reading {
    /// After the last token of the conversation.
    Outcome { system: Option<String>, raw: bool },
    /// After each step.
    Process { format: Format, aggregate: Aggregate, tokens: bool },
}

fn outcome(own: &Outcome) -> anyhow::Result<Box<dyn Scorer>> {
    let (path, checkpoint) = models::open(&own.model, None)?;
    let path = path.display();
    if !Grader::has_labels(&checkpoint) {
        return Err(Usage::error(format!(
            "model {path}: expected a head of labels (score.weight), as ForSequenceClassification has, got a model without"
        )));
    }
    let grader = Grader::with_labels(checkpoint.config(), &checkpoint, resolve_dtype(own.dtype))
        .with_context(|| format!("model {path}"))?;
    at_most_two(&grader, &path)?;
    if own.raw && grader.numbers() != 1 {
        return Err(Usage::error(format!("raw: expected a head of 1 label, got the {} of {path}", grader.numbers())));
    }
    let reading = Reading::Outcome { system: own.system.clone(), raw: own.raw };
    Ok(Box::new(RewardModel { grader: Mutex::new(grader), tokenizer: checkpoint.tokenizer()?, reading }))
}

fn process(own: &Process) -> anyhow::Result<Box<dyn Scorer>> {
    let (path, checkpoint) = models::open(&own.model, None)?;
    let path = path.display();
    let (tokenizer, kind) = (checkpoint.tokenizer()?, resolve_dtype(own.dtype));
    let labels = Grader::has_labels(&checkpoint);
    let grader = if labels {
        Grader::with_labels(checkpoint.config(), &checkpoint, kind)
    } else {
        let tokens = words(own, &checkpoint, &tokenizer)?;
        Grader::with_tokens(checkpoint.config(), &checkpoint, kind, &tokens)
    };
    let grader = grader.with_context(|| format!("model {path}"))?;
    at_most_two(&grader, &path)?;
    let format = Format::of(own, labels, &tokenizer);
    let reading = Reading::Process { format, aggregate: own.aggregate, tokens: !labels };
    Ok(Box::new(RewardModel { grader: Mutex::new(grader), tokenizer, reading }))
}

/// The tokens for a good and for a bad step.
fn words(own: &Process, checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> anyhow::Result<[u32; 2]> {
    let token = |name: &str, word: &str| {
        let ids = tokenizer.encode(word);
        // Some vocabularies begin every text with a blank, and have tokens for words with one.
        let known = ids.last().copied().filter(|&id| tokenizer.decode(&[id]).trim() == word.trim());
        known.filter(|&id| (id as usize) < checkpoint.config().vocab).ok_or_else(|| {
            let path = checkpoint.path().display();
            Usage::error(format!("{name}: expected a word that is one token of {path}, got `{word}`"))
        })
    };
    let (good, bad) = (token("good", &own.good)?, token("bad", &own.bad)?);
    if good == bad {
        return Err(Usage::error(format!("good and bad: expected two tokens, got `{}` twice", own.good)));
    }
    Ok([good, bad])
}

fn at_most_two(grader: &Grader, path: &dyn std::fmt::Display) -> anyhow::Result<()> {
    match grader.numbers() {
        1 | 2 => Ok(()),
        n => Err(Usage::error(format!("model {path}: expected a head of 1 label or 2, got {n}"))),
    }
}

impl RewardModel {
    /// What is to be read for a node.
    fn asked(&self, place: &Place<'_>, grader: &Grader) -> Result<Asked, String> {
        let Place { tree, node, .. } = *place;
        match &self.reading {
            Reading::Outcome { system, .. } => {
                let messages = messages(place, tree);
                let tokens = conversation(&self.tokenizer, &messages, system.as_deref())?;
                let places = vec![grader.last_place(&tokens)];
                Ok(Asked { tokens, places })
            }
            Reading::Process { format, .. } => {
                let mut messages = messages(place, tree);
                if messages.last().is_some_and(|message| message.role == relign_core::Role::Assistant) {
                    messages.pop();
                }
                format.tokens(&self.tokenizer, messages, &steps(tree, node))
            }
        }
    }

    /// What the model's numbers at the places of a text amount to.
    fn value(&self, numbers: &[Vec<f32>]) -> Result<f64, String> {
        match &self.reading {
            Reading::Outcome { raw: true, .. } => Ok(f64::from(numbers[0][0])),
            Reading::Outcome { .. } => Ok(share(&numbers[0], false)),
            Reading::Process { aggregate, tokens, .. } => {
                let values: Vec<f64> = numbers.iter().map(|numbers| share(numbers, *tokens)).collect();
                aggregate.of(&values).ok_or_else(|| "expected a step to judge, got none".to_owned())
            }
        }
    }
}

/// What was asked and said on the way to a node.
fn messages(place: &Place<'_>, tree: &Tree) -> Vec<relign_core::Message> {
    let said = tree.transcript(place.node).messages;
    place.task.messages.iter().cloned().chain(said).collect()
}

/// A logit's sigmoid; of two, the share of the second, or of the `first`.
fn share(numbers: &[f32], first: bool) -> f64 {
    let odds = match *numbers {
        [bad, good] if !first => f64::from(good) - f64::from(bad),
        [good, bad] => f64::from(good) - f64::from(bad),
        _ => f64::from(numbers[0]),
    };
    1.0 / (1.0 + (-odds).exp())
}

impl Scorer for RewardModel {
    fn values(&self, nodes: &[Place<'_>]) -> Vec<Result<f64, String>> {
        let grader = self.grader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let asked: Vec<Result<Asked, String>> = nodes.iter().map(|place| self.asked(place, &grader)).collect();
        let texts: Vec<Asked> = asked.iter().filter_map(|asked| asked.as_ref().ok().cloned()).collect();
        let mut answers = grader.read(&texts).into_iter();
        let value = |asked: Result<Asked, String>| {
            asked?;
            let numbers = answers.next().unwrap_or_else(|| Err("expected an answer for every text".to_owned()))?;
            self.value(&numbers)
        };
        asked.into_iter().map(value).map(|value| value.map_err(|what| format!("reward model: {what}"))).collect()
    }
}

#[cfg(test)]
mod tests;
