//! The language of an answer.

use relign_core::{ConfigError, Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;
use whatlang::{Detector, Lang};

/// Pays for thinking in one language: the share of the answer's sentences that are in it.
///
/// DeepSeek-R1 (2501.12948) pays the share of words in the target language against mixed thoughts; here
/// sentences are told apart by their letters (trigrams, the crate whatlang) and weighted by their number
/// of letters. Code between triple backquotes and formulas between dollars are not read. A sentence of fewer than
/// `shortest` letters counts by its script alone, because a few words do not tell a language.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Language {
    /// The language, by its ISO 639-3 code: `eng`, `deu`, `fra`, `spa`, `cmn`, `jpn`, `rus`, ...
    pub code: String,
    /// Letters that a sentence needs for its language to be told.
    pub shortest: usize,
}

impl Default for Language {
    fn default() -> Self {
        Self { code: "eng".to_owned(), shortest: 40 }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "language",
    schema: schema_of::<Language>,
    build: |settings| {
        let language: Language = parse(settings)?;
        let Some(wanted) = Lang::from_code(&language.code) else {
            let known: Vec<&str> = Lang::all().iter().map(Lang::code).collect();
            let message = format!("unknown language `{}`, expected one of: {}", language.code, known.join(", "));
            return Err(ConfigError::at("code", message));
        };
        Ok(Box::new(Speaker { wanted, shortest: language.shortest }))
    },
};

/// A [`Language`] that was looked up.
struct Speaker {
    wanted: Lang,
    shortest: usize,
}

impl Reward for Speaker {
    fn score(&self, _task: &Task, transcript: &Transcript) -> Score {
        let text = prose(transcript.last());
        let detector = Detector::new();
        let (mut all, mut right) = (0_usize, 0_usize);
        for sentence in text.split(['.', '!', '?', '\n', '。', '！', '？']) {
            let letters = sentence.chars().filter(|c| c.is_alphabetic()).count();
            let Some(found) = detector.detect(sentence).filter(|_| letters > 0) else { continue };
            let script = self.wanted_script(found.script());
            let told = letters >= self.shortest;
            all += letters;
            if (told && found.lang() == self.wanted) || (!told && script) {
                right += letters;
            }
        }
        if all == 0 {
            return Score::unparsed("no words to tell a language by");
        }
        let value = right as f64 / all as f64;
        let reason = format!("{right} of {all} letters in {}", self.wanted.eng_name());
        Score { value, ..if right == all { Score::correct(reason) } else { Score::wrong(reason) } }
    }
}

impl Speaker {
    fn wanted_script(&self, script: whatlang::Script) -> bool {
        script.langs().contains(&self.wanted)
    }
}

/// A text without code and formulas.
fn prose(text: &str) -> String {
    let outside = |text: &str, mark: &str| text.split(mark).step_by(2).collect::<Vec<_>>().join(" ");
    outside(&outside(&outside(text, "```"), "$$"), "$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_thoughts_are_worth_less() {
        let value = |code: &str, text: &str| {
            (ENTRY.build)(serde_json::json!({"code": code}))
                .unwrap()
                .score(&Task::default(), &Transcript::of(text, true))
                .value
        };
        let english = "First we add both numbers together, and then we divide the result by four.";
        let german = "Zuerst addieren wir die beiden Zahlen, und danach teilen wir das Ergebnis durch vier.";
        let chinese = "首先我们把两个数相加，然后把结果除以四。";
        assert_eq!(value("eng", english), 1.0);
        assert_eq!(value("deu", german), 1.0);
        assert_eq!(value("cmn", chinese), 1.0);
        assert_eq!(value("eng", german), 0.0);
        assert_eq!(value("eng", chinese), 0.0);
        assert_eq!(value("eng", "So it is 5."), 1.0);
        assert_eq!(value("eng", "```\nlet x\n``` $x_y$ 5"), 0.0);
        let mixed = value("eng", &format!("{english} {chinese}"));
        assert!(mixed > 0.5 && mixed < 1.0, "{mixed}");
        assert!((ENTRY.build)(serde_json::json!({"code": "en"})).is_err());
    }
}
