//! Whether what a run is measured on stands among the tasks that it learns from.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use relign_bench::contamination::{Counts, Index, Options, Overlap, Report, Text};
use relign_core::{Environment, Recipe, Split, Task, files};
use serde::Serialize;

use crate::commands::contamination::against;
use crate::{held_out, recipe_file};

/// What was found, as a run's summary has it. The overlaps themselves stand in `contamination.jsonl`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    /// Training tasks looked through.
    texts: u64,
    /// Training tasks that the run may come to. Of more than are looked through, those are spread evenly.
    tasks: u64,
    /// Words in them.
    words: u64,
    /// Words of a run that is shared.
    run: usize,
    /// By what was held against them: `held-out`, and the recipe's `eval.against`.
    benchmarks: BTreeMap<String, Counts>,
    #[serde(skip)]
    overlaps: Vec<Overlap>,
}

/// The most training tasks that are looked through, and the most held-out tasks that are looked for.
const MOST: u64 = 1_000_000;

/// What the run's own held-out tasks are called.
const HELD_OUT: &str = "held-out";

impl Found {
    /// Holds the training tasks against the held-out tasks that the recipe measures on and against the benchmarks that it
    /// names. Of an environment without end only the tasks that the run comes to are looked through.
    ///
    /// # Errors
    /// If a task cannot be made, or there is no such benchmark.
    pub(crate) fn of(recipe: &Recipe, environment: &dyn Environment) -> anyhow::Result<Self> {
        Self::within(recipe, environment, MOST)
    }

    /// Like [`of`](Self::of), looking through `most` training tasks and for `most` held-out tasks at most.
    fn within(recipe: &Recipe, environment: &dyn Environment, most: u64) -> anyhow::Result<Self> {
        let read = |split, index| environment.task(split, index).map(asked).map_err(anyhow::Error::msg);
        let mut sought: Vec<(String, Vec<Text>)> = Vec::new();
        if recipe.eval.items > 0 {
            let items = held_out::tasks(environment, recipe.eval.items, "eval.items");
            let items = items.take(usize::try_from(most).unwrap_or(usize::MAX)).map(|task| task.map(asked));
            sought.push((HELD_OUT.to_owned(), items.collect::<anyhow::Result<_>>()?));
        }
        for name in &recipe.eval.against {
            sought.extend(against(name).map_err(|error| recipe_file::blame(error, "eval.against"))?);
        }
        if sought.iter().all(|(_, items)| items.is_empty()) {
            return Ok(Self::default());
        }
        sought.iter_mut().for_each(|(_, items)| bare(items));
        let mut index = Index::new(sought, Options::default());
        let tasks = recipe.run.steps.saturating_mul(recipe.run.tasks as u64);
        let tasks = environment.len(Split::Train).unwrap_or(tasks);
        let looked = tasks.min(most);
        // Each task is made twice rather than kept: there may be more of them than memory holds.
        let spread = |place: u64| (u128::from(place) * u128::from(tasks) / u128::from(looked)) as u64;
        let texts = || (0..looked).map(|place| read(Split::Train, spread(place)));
        let mut frame = Frame::default();
        texts().try_for_each(|text| text.map(|text| frame.add(&text.text)))?;
        texts().try_for_each(|text| {
            let Text { id, text } = text?;
            index.scan(&Text { id, text: frame.inner(&text) });
            anyhow::Ok(())
        })?;
        let Report { texts, words, benchmarks, overlaps } = index.report();
        Ok(Self { texts, tasks, words, run: Options::default().run, benchmarks, overlaps })
    }

    /// A line for everything that was held against the tasks.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.benchmarks.iter().map(|(name, counts)| {
            let Counts { items, short, exact, near, shared } = counts;
            let short = if *short > 0 { format!("; {short} more are too short to tell") } else { String::new() };
            let of = if self.texts < self.tasks { format!(" looked through of {}", self.tasks) } else { String::new() };
            format!(
                "contamination: of {items} items of {name} {exact} stand in the {} training tasks{of}, {near} nearly, \
                 {shared} share a run of {} words{short}",
                self.texts, self.run
            )
        })
    }

    /// Writes what `relign contamination --json` says: every overlap with both texts, and the counts; nothing where
    /// nothing was held against the tasks.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        if self.benchmarks.is_empty() {
            return Ok(());
        }
        let file = folder.join("contamination.jsonl");
        let mut lines = self.overlaps.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        lines.push(serde_json::to_string(self)?);
        files::write(&file, lines.join("\n") + "\n").with_context(|| file.display().to_string())
    }
}

/// What a task asks.
fn asked(task: Task) -> Text {
    Text { text: task.messages.last().map(|message| message.content.clone()).unwrap_or_default(), id: task.id }
}

/// Takes away the words that all texts begin or end with: how an environment asks stands in every task, and says
/// nothing about any.
fn bare(texts: &mut [Text]) {
    let mut frame = Frame::default();
    texts.iter().for_each(|text| frame.add(&text.text));
    texts.iter_mut().for_each(|text| text.text = frame.inner(&text.text));
}

/// The words that all texts begin and end with, found one text after the other.
#[derive(Default)]
struct Frame {
    first: Vec<String>,
    texts: u64,
    front: usize,
    back: usize,
    least: usize,
}

impl Frame {
    fn add(&mut self, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        if self.texts == 0 {
            self.first = words.iter().map(|&word| word.to_owned()).collect();
            (self.front, self.back, self.least) = (words.len(), words.len(), words.len());
        }
        self.texts += 1;
        let same = |(own, first): &(&&str, &String)| **own == first.as_str();
        self.front = words.iter().zip(&self.first).take(self.front).take_while(same).count();
        self.back = words.iter().rev().zip(self.first.iter().rev()).take(self.back).take_while(same).count();
        self.least = self.least.min(words.len());
    }

    /// What stands between them in a text. A single text is its own.
    fn inner(&self, text: &str) -> String {
        if self.texts < 2 {
            return text.to_owned();
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        // In a text that is all frame a word may not count for both ends.
        let back = self.back.min(self.least - self.front.min(self.least));
        words.get(self.front..words.len().saturating_sub(back)).unwrap_or_default().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<Text> {
        all.iter().map(|text| Text { id: String::new(), text: (*text).to_owned() }).collect()
    }

    #[test]
    fn what_every_text_says_is_taken_away() {
        for (given, kept) in [
            (&["What is 1 + 2? Be short.", "What is 3? Be short."][..], &["1 + 2?", "3?"][..]),
            (&["a b c", "a b c"], &["", ""]),
            (&["a b a", "a a"], &["b", ""]),
            (&["alone as it is"], &["alone as it is"]),
            (&["", "a"], &["", "a"]),
            (&[], &[]),
        ] {
            let mut own = texts(given);
            bare(&mut own);
            assert_eq!(own, texts(kept), "{given:?}");
        }
    }

    /// Tasks without end: the training task of index 0 asks what the held-out task of index 1 asks.
    #[derive(Default)]
    struct Endless {
        made: std::sync::atomic::AtomicU64,
    }

    impl Environment for Endless {
        fn len(&self, _: Split) -> Option<u64> {
            None
        }

        fn task(&self, split: Split, index: u64) -> Result<Task, String> {
            self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let number = if split == Split::Eval { index } else { index + 1 };
            let words: Vec<String> = (0..9).map(|place| format!("w{number}x{place}")).collect();
            let messages = vec![relign_core::Message::user(format!("What is {}", words.join(" ")))];
            Ok(Task { id: format!("{}/{index}", split.name()), messages, ..Task::default() })
        }

        fn score(&self, _: &Task, _: &relign_core::Transcript) -> relign_core::Score {
            relign_core::Score::wrong("")
        }

        fn oracle(&self, _: &Task) -> relign_core::Transcript {
            relign_core::Transcript::default()
        }
    }

    #[test]
    fn tasks_without_end_are_looked_through_within_bounds() {
        let text = "model = { path = 'm' }\nenvironment = { name = 'arithmetic' }\nalgorithm = { name = 'grpo' }\n\
                    run = { steps = 10000000, tasks = 65536 }\neval = { items = 1000000 }\n";
        let recipe = crate::recipe_file::read("recipe", text, &[]).unwrap();
        let environment = Endless::default();
        let found = Found::within(&recipe, &environment, 500).unwrap();
        let made = environment.made.load(std::sync::atomic::Ordering::Relaxed);
        assert!(made <= 3 * 500, "{made} tasks were made");
        assert_eq!((found.texts, found.tasks), (500, 10_000_000 * 65_536));
        assert_eq!((found.benchmarks[HELD_OUT].items, found.benchmarks[HELD_OUT].exact), (500, 1));
        let line = found.lines().next().unwrap();
        assert!(line.contains("the 500 training tasks looked through of 655360000000"), "{line}");
    }
}
