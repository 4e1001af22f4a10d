//! What is asked and how answers are judged.
//!
//! [Environments](environments) pose tasks and hold their answers; [rewards](mod@rewards) judge what a model said.
//! Both are one file each and one line each in their table. Numbers are compared exactly, as
//! fractions of whole numbers of any size.

use std::sync::Arc;

use relign_core::{ConfigError, Environment, Reward, RewardSection, Section, find};
use serde_json::{Map, Value};

pub mod data;
mod draws;
pub mod environments;
mod expression;
pub mod number;
pub mod python;
pub mod rewards;
pub mod sandbox;
mod spelling;

pub use environments::ENVIRONMENTS;
pub use expression::{Expression, Operator};
pub use rewards::{REWARDS, Weighted};

/// The environment that a recipe's `environment` section asks for.
///
/// # Errors
/// If there is no environment of that name or a setting does not fit.
pub fn environment(section: &Section) -> Result<Box<dyn Environment>, ConfigError> {
    let build = || (find("environment", ENVIRONMENTS, &section.name)?.build)(Value::Object(section.settings.clone()));
    build().map_err(|error| error.within("environment"))
}

/// The reward that a recipe's `rewards` sections ask for: the weighted sum of the parts, or the
/// environment's own score where there are none. A part named `environment` is that own score too.
///
/// # Errors
/// If there is no reward of some name or a setting does not fit.
pub fn rewards(sections: &[RewardSection], environment: Arc<dyn Environment>) -> Result<Arc<dyn Reward>, ConfigError> {
    if sections.is_empty() {
        return Ok(Arc::new(rewards::Own(environment)));
    }
    let mut weighted = Weighted::default();
    for (index, section) in sections.iter().enumerate() {
        let mut build = || {
            let reward: Box<dyn Reward> = if section.name == rewards::Own::NAME {
                Box::new(rewards::Own(Arc::clone(&environment)))
            } else {
                let (name, settings) = in_full(&section.name, &section.settings)?;
                (find("reward", REWARDS, name)?.build)(Value::Object(settings))?
            };
            add(&mut weighted, section, reward)
        };
        build().map_err(|error| error.within(&format!("rewards.{index}")))?;
    }
    Ok(Arc::new(weighted))
}

/// Whether the sum that a recipe's `rewards` sections ask for can be built, whatever the parts are: weights, gates, and
/// the environment's own score, which has no settings.
///
/// # Errors
/// The first section that does not fit.
pub fn check_sum(sections: &[RewardSection]) -> Result<(), ConfigError> {
    let mut weighted = Weighted::default();
    sections.iter().enumerate().try_for_each(|(index, section)| {
        let mut add = || add(&mut weighted, section, Box::new(rewards::Length::default()));
        add().map_err(|error| error.within(&format!("rewards.{index}")))
    })
}

fn add(weighted: &mut Weighted, section: &RewardSection, reward: Box<dyn Reward>) -> Result<(), ConfigError> {
    let RewardSection { name, weight, when, settings } = section;
    if name == rewards::Own::NAME
        && let Some(key) = settings.keys().next()
    {
        return Err(ConfigError::at(key, "the environment's own score has no settings here"));
    }
    weighted.add(name, *weight, when.as_ref(), reward)
}

/// A reward's registry name and all its settings: `python:FILE.py:NAME` in a recipe is `python` with that `function`.
///
/// # Errors
/// If the settings name another.
pub fn in_full<'a>(name: &'a str, settings: &Map<String, Value>) -> Result<(&'a str, Map<String, Value>), ConfigError> {
    let mut settings = settings.clone();
    let Some(("python", function)) = name.split_once(':') else { return Ok((name, settings)) };
    if settings.insert("function".to_owned(), function.into()).is_some() {
        return Err(ConfigError::at("function", format!("expected it once, got another in the name `{name}`")));
    }
    Ok(("python", settings))
}

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
