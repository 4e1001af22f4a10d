//! Grade-school word problems.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use relign_core::{Entry, Environment, Message, Reward, Score, Split, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::number;
use crate::rewards::FinalNumber;

/// GSM8K (2110.14168): grade-school word problems, from `train.jsonl` and `test.jsonl`.
///
/// A line is an object with `question` and `answer`; the answer's number stands after its last `####`.
/// The files are read when the first task is asked for. Training questions that stand in the
/// held-out file as well, spaces and case aside, are left out. Scored by the `final_number` reward
/// with its defaults.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gsm8k {
    /// The folder of both files. Left out: `$RELIGN_DATA/gsm8k`, then `../shared/data/gsm8k`.
    pub path: Option<PathBuf>,
    /// What follows the question.
    pub instruction: String,
    #[serde(skip)]
    #[schemars(skip)]
    items: OnceLock<Result<Items, String>>,
}

impl Default for Gsm8k {
    fn default() -> Self {
        Self {
            path: None,
            instruction: "Think step by step and end with #### and the number.".to_owned(),
            items: OnceLock::new(),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: "gsm8k", schema: schema_of::<Gsm8k>, build: |settings| Ok(Box::new(parse::<Gsm8k>(settings)?)) };

#[derive(Debug)]
struct Items {
    train: Vec<Item>,
    eval: Vec<Item>,
}

/// A line of a file.
#[derive(Debug, Deserialize)]
struct Item {
    question: String,
    answer: String,
}

impl Item {
    fn gold(&self) -> Option<&str> {
        let gold = self.answer.rsplit_once("####")?.1.trim();
        number::parse(gold).map(|_| gold)
    }
}

impl Gsm8k {
    fn items(&self) -> Result<&Items, String> {
        let items = self.items.get_or_init(|| {
            let folder = self.path.clone().unwrap_or_else(|| {
                std::env::var_os("RELIGN_DATA").map_or_else(|| "../shared/data".into(), PathBuf::from).join("gsm8k")
            });
            let eval = read(&folder.join("test.jsonl"))?;
            let mut train = read(&folder.join("train.jsonl"))?;
            let held_out: HashSet<String> = eval.iter().map(|item| bare(&item.question)).collect();
            train.retain(|item| !held_out.contains(&bare(&item.question)));
            Ok(Items { train, eval })
        });
        items.as_ref().map_err(Clone::clone)
    }

    fn part(&self, split: Split) -> Result<&[Item], String> {
        self.items().map(|items| match split {
            Split::Train => &items.train[..],
            Split::Eval => &items.eval[..],
        })
    }
}

/// A question without what typing may change.
fn bare(question: &str) -> String {
    question.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn read(path: &Path) -> Result<Vec<Item>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!(
            "{}: expected a JSON Lines file of GSM8K, got: {error}. Set `path` to the folder of train.jsonl and test.jsonl, or RELIGN_DATA to the one above it",
            path.display()
        )
    })?;
    let mut items = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |what: String| format!("{}:{}: {what}", path.display(), index + 1);
        let item: Item = serde_json::from_str(line)
            .map_err(|error| bad(format!("expected an object with `question` and `answer`, got: {error}")))?;
        if item.gold().is_none() {
            let end: String = item.answer.chars().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect();
            return Err(bad(format!("expected an answer that ends in #### and a number, got `{end}`")));
        }
        items.push(item);
    }
    if items.is_empty() {
        return Err(format!("{}: expected at least one problem, got an empty dataset", path.display()));
    }
    Ok(items)
}

impl Environment for Gsm8k {
    fn len(&self, split: Split) -> Option<u64> {
        // Where the files cannot be read, asking for a task says why.
        self.part(split).ok().map(|part| part.len() as u64)
    }

    fn task(&self, split: Split, index: u64) -> Result<Task, String> {
        let part = self.part(split)?;
        let id = format!("gsm8k/{}/{index}", split.name());
        let item = usize::try_from(index)
            .ok()
            .and_then(|index| part.get(index))
            .ok_or_else(|| format!("{id}: expected an index below {}, got {index}", part.len()))?;
        Ok(Task {
            id,
            messages: vec![Message::user(format!("{}\n\n{}", item.question, self.instruction).trim_end())],
            answer: item.gold().unwrap_or_default().to_owned(),
            facts: [("solution".to_owned(), item.answer.clone())].into(),
        })
    }

    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        FinalNumber::default().score(task, transcript)
    }

    fn oracle(&self, task: &Task) -> Transcript {
        Transcript::of(task.facts.get("solution").map_or("", String::as_str), true)
    }
}
