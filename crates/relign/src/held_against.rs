//! Whether what a run is measured on stands among the tasks that it learns from.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use relign_bench::contamination::{Counts, Index, Options, Overlap, Report, Text};
use relign_core::{Environment, Recipe, Split, Task, files};
use serde::Serialize;

use crate::commands::contamination::against;

/// What was found, as a run's summary has it. The overlaps themselves stand in `contamination.jsonl`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    /// Training tasks looked through.
    texts: u64,
    /// Words in them.
    words: u64,
    /// Words of a run that is shared.
    run: usize,
    /// By what was held against them: `held-out`, and the recipe's `eval.against`.
    benchmarks: BTreeMap<String, Counts>,
    #[serde(skip)]
    overlaps: Vec<Overlap>,
}

/// What the run's own held-out tasks are called.
const HELD_OUT: &str = "held-out";

impl Found {
    /// Holds the training tasks against the held-out tasks that the recipe measures on and against the benchmarks that it
    /// names. Of an environment without end only the tasks that the run comes to are looked through.
    ///
    /// # Errors
    /// If a task cannot be made, or there is no such benchmark.
    pub(crate) fn of(recipe: &Recipe, environment: &dyn Environment) -> anyhow::Result<Self> {
        let read = |split, count: u64| {
            let count = environment.len(split).map_or(count, |n| if split == Split::Train { n } else { n.min(count) });
            (0..count).map(move |index| environment.task(split, index).map(asked).map_err(anyhow::Error::msg))
        };
        let mut sought: Vec<(String, Vec<Text>)> = Vec::new();
        if recipe.eval.items > 0 {
            sought.push((HELD_OUT.to_owned(), read(Split::Eval, recipe.eval.items).collect::<anyhow::Result<_>>()?));
        }
        for name in &recipe.eval.against {
            sought.extend(against(name).with_context(|| format!("eval.against: {name}"))?);
        }
        if sought.iter().all(|(_, items)| items.is_empty()) {
            return Ok(Self::default());
        }
        sought.iter_mut().for_each(|(_, items)| bare(items));
        let mut index = Index::new(sought, Options::default());
        let mut texts =
            read(Split::Train, recipe.run.steps * recipe.run.tasks as u64).collect::<anyhow::Result<Vec<_>>>()?;
        bare(&mut texts);
        texts.iter().for_each(|text| index.scan(text));
        let Report { texts, words, benchmarks, overlaps } = index.report();
        Ok(Self { texts, words, run: Options::default().run, benchmarks, overlaps })
    }

    /// A line for everything that was held against the tasks.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.benchmarks.iter().map(|(name, counts)| {
            let Counts { items, short, exact, near, shared } = counts;
            let short = if *short > 0 { format!("; {short} more are too short to tell") } else { String::new() };
            format!(
                "contamination: of {items} items of {name} {exact} stand in the {} training tasks, {near} nearly, {shared} \
                 share a run of {} words{short}",
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
    let words: Vec<Vec<&str>> = texts.iter().map(|text| text.text.split_whitespace().collect()).collect();
    let (Some(first), true) = (words.first(), words.len() > 1) else { return };
    let least = words.iter().map(Vec::len).min().unwrap_or(0);
    let front = (0..least).take_while(|&at| words.iter().all(|own| own[at] == first[at])).count();
    let back = (1..=least - front)
        .take_while(|&at| words.iter().all(|own| own[own.len() - at] == first[first.len() - at]))
        .count();
    let kept: Vec<String> = words.iter().map(|own| own[front..own.len() - back].join(" ")).collect();
    texts.iter_mut().zip(kept).for_each(|(text, kept)| text.text = kept);
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
}
