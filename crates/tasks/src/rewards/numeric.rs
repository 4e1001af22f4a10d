//! A number with a unit, to the precision that it is given with.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero, pow};
use relign_core::{ConfigError, Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::label::Label;
use super::said;
use super::stated::Stated;
use super::units::{Quantity, Unit};
use crate::number::{self, numbers, plain};

/// Pays 1 if the answer's number is the task's, to the precision that it is given with.
///
/// Read is what the answer says it comes to: within `<answer>...</answer>`, in `\boxed{}`, behind `####`,
/// behind "answer is" (there the number after the last `=`, or else the first); else the text's last
/// number. It may be
///
/// - rounded: any number of at least `digits` significant digits that the task's rounds to (0.60306: 0.603
///   and 0.60, not 0.61), within half a unit of the last digit;
/// - a percentage: `60.3 %` is 0.603 or, where `percent` says so, 60.3;
/// - in thousands, millions or billions, said behind it: read with that word and without it, because a
///   question may ask "in millions";
/// - in another unit of length, mass, time or volume, where both have one. Where one has none, it is
///   taken to be the other's.
///
/// With `tolerance` whatever is that near is right too, in parts of the task's number. Where the task's
/// answer is yes or no, the answer is judged by the `label` reward. The defaults are FinQA's: percentages
/// either way, rounded results.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Numeric {
    /// Significant digits from which on a rounded number counts; 0: never, every digit must be there.
    pub digits: u32,
    /// The largest difference in parts of the task's number, for example 0.01; 0 for none.
    pub tolerance: f64,
    /// What a percent sign in the answer means.
    pub percent: Percent,
    /// Only answers that the model ended by itself count.
    pub finished: bool,
}

/// What a percent sign means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Percent {
    /// `5 %` is 0.05 or 5.
    #[default]
    Either,
    /// `5 %` is 0.05.
    Hundredth,
    /// `5 %` is 5.
    Ignored,
}

impl Default for Numeric {
    fn default() -> Self {
        Self { digits: 3, tolerance: 0.0, percent: Percent::Either, finished: false }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "numeric",
    schema: schema_of::<Numeric>,
    build: |settings| {
        let numeric: Numeric = parse(settings)?;
        if !(0.0..1.0).contains(&numeric.tolerance) {
            return Err(ConfigError::at(
                "tolerance",
                format!("expected a number from 0 to below 1, got {}", numeric.tolerance),
            ));
        }
        Ok(Box::new(numeric))
    },
};

/// A number of an answer.
struct Given {
    value: BigRational,
    /// Half a unit of its last digit; none for what has no decimals to be rounded to, such as a fraction.
    half: BigRational,
    /// Its significant digits.
    digits: u32,
    percent: bool,
    unit: Option<Unit>,
}

impl Reward for Numeric {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        if ["yes", "no"].contains(&task.answer.trim().to_lowercase().as_str()) {
            return Label { finished: self.finished, ..Label::default() }.score(task, transcript);
        }
        let Some(gold) = last(&plain(&task.answer)) else {
            return Score::failed(format!("task {}: expected a number as its answer, got `{}`", task.id, task.answer));
        };
        if self.finished && !transcript.finished {
            return Score::unparsed("cut off before its end");
        }
        let text = plain(&said(task, transcript));
        let stated = Stated::of(&text, transcript.finished);
        let statement = stated.parts.last().filter(|_| stated.marked).copied();
        let found = match statement {
            Some(statement) => first(statement),
            None => last(&text),
        };
        let Some(given) = found else { return Score::unparsed("no number where the answer should be") };
        // A digit at the very end of a text that was cut may have others behind it.
        if stated.open && text.trim_end().ends_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Score::unparsed("cut off where its number may go on");
        }
        let shown = format!("{}{}", given.value, if given.percent { " %" } else { "" });
        let score = match self.fits(&given, &gold) {
            Ok(true) => Score::correct(format!("got {shown}")),
            Ok(false) => Score::wrong(format!("got {shown}, expected {}", task.answer)),
            Err(why) => Score::wrong(why),
        };
        score.answering(statement.unwrap_or(&shown).trim())
    }

    /// Whether each is near enough to the other.
    fn same(&self, _: &Task, a: &str, b: &str) -> bool {
        let fits = |a: &Given, b: &Given| self.fits(a, b).unwrap_or(false);
        a == b || first(a).zip(first(b)).is_some_and(|(a, b)| fits(&a, &b) && fits(&b, &a))
    }
}

impl Numeric {
    /// Whether one of the meanings of `given` is `gold`.
    fn fits(&self, given: &Given, gold: &Given) -> Result<bool, String> {
        let hundred = BigRational::from(BigInt::from(100));
        let mut factors = vec![BigRational::one()];
        if given.percent && !gold.percent {
            factors = match self.percent {
                Percent::Either => vec![BigRational::one(), hundred.recip()],
                Percent::Hundredth => vec![hundred.recip()],
                Percent::Ignored => vec![BigRational::one()],
            };
        }
        if let (Some(from), Some(to)) = (&given.unit, &gold.unit) {
            let factor = from.factor_to(to).ok_or_else(|| format!("{} is no amount of {}", from.name(), to.name()))?;
            factors = factors.into_iter().map(|f| f * &factor).collect();
        } else if let Some(Unit { quantity: Quantity::Count, size, .. }) = &given.unit {
            // "In millions" may be the question's word or the answer's.
            factors.extend(factors.clone().into_iter().map(|f| f * size));
        } else if let Some(Unit { quantity: Quantity::Count, size, .. }) = &gold.unit {
            factors.extend(factors.clone().into_iter().map(|f| f / size));
        }
        Ok(factors.into_iter().any(|factor| self.near(given, &factor, &gold.value)))
    }

    fn near(&self, given: &Given, factor: &BigRational, gold: &BigRational) -> bool {
        let value = &given.value * factor;
        let off = (&value - gold).abs();
        if off.is_zero() {
            return true;
        }
        // Zeros in front are no digits, so that 0.00 is not what 0.004 rounds to.
        let rounded = self.digits > 0 && given.digits >= self.digits && off <= &given.half * factor;
        let tolerance = BigRational::from_float(self.tolerance).unwrap_or_else(BigRational::zero);
        rounded || off <= tolerance * gold.abs()
    }
}

/// The number that a statement comes to: the one after its last `=`, or else its first.
fn first(statement: &str) -> Option<Given> {
    let from = statement.rfind('=').map_or(0, |at| at + 1);
    let found =
        |from: usize| numbers(&statement[from..]).into_iter().next().map(|found| read(&statement[from..], found));
    found(from).or_else(|| found(0))
}

/// The last number of a text.
fn last(text: &str) -> Option<Given> {
    numbers(text).pop().map(|found| read(text, found))
}

fn read(text: &str, found: number::Found) -> Given {
    let spelling = &text[found.start..found.end];
    let behind = text[found.end..].trim_start();
    let percent = spelling.ends_with('%') || behind.starts_with('%') || behind.to_lowercase().starts_with("percent");
    let digits: String = spelling.chars().filter(char::is_ascii_digit).collect();
    let decimals = spelling.split_once('.').map_or(0, |(_, d)| d.chars().take_while(char::is_ascii_digit).count());
    // Only plain decimals are rounded; `1/3` and `6e-1` are meant as they stand.
    let plain = !spelling.contains(['/', 'e', 'E']);
    let unit = if spelling.ends_with(['k', 'K']) { 1000 } else { 1 };
    let half = BigRational::new(BigInt::from(unit), BigInt::from(2) * pow(BigInt::from(10), decimals));
    Given {
        value: found.value,
        half: if plain { half } else { BigRational::zero() },
        digits: u32::try_from(digits.trim_start_matches('0').len()).unwrap_or(u32::MAX),
        percent,
        unit: if percent { None } else { Unit::at(behind) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::Verdict;

    fn judge(settings: serde_json::Value, gold: &str, answer: &str) -> Verdict {
        let reward = (ENTRY.build)(settings).unwrap();
        let task = Task { answer: gold.to_owned(), ..Task::default() };
        reward.score(&task, &Transcript::of(answer, true)).verdict
    }

    #[test]
    fn rounding_and_percent() {
        for (gold, answer, expected) in [
            ("0.60306", "The answer is 0.60306", Verdict::Correct),
            ("0.60306", "The answer is 60.3%", Verdict::Correct),
            ("0.60306", "about 60.31 percent", Verdict::Correct),
            ("0.60306", "60.3 %", Verdict::Correct),
            ("0.60306", "0.603", Verdict::Correct),
            ("0.60306", "60%", Verdict::Wrong),
            ("0.60306", "60.4%", Verdict::Wrong),
            ("0.60306", "60.306", Verdict::Wrong),
            ("24.69136", "The answer is 24.7%", Verdict::Correct),
            ("127.4", "$127", Verdict::Correct),
            ("127.4", "128", Verdict::Wrong),
            ("0.004", "0.00", Verdict::Wrong),
            ("688.0", "The answer is 688 million dollars.", Verdict::Correct),
            ("688.0", "The answer is 0.688 billion", Verdict::Wrong),
            ("688000000", "The answer is $688 million", Verdict::Correct),
            ("-35.2", "35.2", Verdict::Wrong),
            ("-35.2", "#### -35.2", Verdict::Correct),
            ("0.2", "10 / 50 = 0.2", Verdict::Correct),
            ("0.2", "none", Verdict::Unparsed),
            ("0.2", "", Verdict::Unparsed),
            ("yes", "The answer is yes.", Verdict::Correct),
            ("no", "The answer is yes.", Verdict::Wrong),
            ("many", "5", Verdict::Failed),
        ] {
            assert_eq!(judge(serde_json::json!({}), gold, answer), expected, "{gold}: {answer}");
        }
    }

    #[test]
    fn units_and_tolerance() {
        for (gold, answer, expected) in [
            ("12 km", "12000 m", Verdict::Correct),
            ("12 km", "The answer is 12", Verdict::Correct),
            ("12 km", "The answer is 12 kg", Verdict::Wrong),
            ("12 km", "12 m", Verdict::Wrong),
            ("1.5 hours", "It takes 90 minutes", Verdict::Correct),
            ("2.54 cm", "1 inch", Verdict::Correct),
            ("12", "12 bananas", Verdict::Correct),
            ("5 million", "5,000,000", Verdict::Correct),
            ("5 million", "5", Verdict::Correct),
        ] {
            assert_eq!(judge(serde_json::json!({}), gold, answer), expected, "{gold}: {answer}");
        }
        let loose = serde_json::json!({"tolerance": 0.05, "digits": 0});
        assert_eq!(judge(loose.clone(), "100", "96"), Verdict::Correct);
        assert_eq!(judge(loose, "100", "94"), Verdict::Wrong);
        assert_eq!(judge(serde_json::json!({"digits": 0}), "0.60306", "0.603"), Verdict::Wrong);
        assert_eq!(judge(serde_json::json!({"percent": "ignored"}), "0.05", "5%"), Verdict::Wrong);
        assert!((ENTRY.build)(serde_json::json!({"tolerance": 1})).is_err());
    }
}
