//! Tasks made of rows.

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use minijinja::Value;
use relign_core::{
    DataFile, Environment, JsonText, Message, Reward, RewardNeeds, Score, Seed, Split, Task, Transcript,
};

use super::json::{self, entries};
use super::table::At;
use super::{Found, Row, Rows, Templates, seen};

/// Decides which rows are held out where nothing else does. Never change it: what was held out yesterday
/// would be trained on tomorrow.
const SPLITS: Seed = Seed(0x1d84_77c0_5be9_a3f1);

/// How many bad rows an error shows.
const SHOWN: usize = 3;

/// What the rows of a file are for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Use {
    /// Training.
    Train,
    /// Measuring.
    Eval,
    /// Both: a hash of a row's content holds out this share of them.
    Hash(f64),
    /// What [`Spec::split`] says of each row.
    ByRow,
}

/// What is made of rows.
pub(crate) struct Spec {
    /// What the environment is called.
    pub(crate) name: String,
    /// Finds the files.
    pub(crate) files: Box<dyn Fn() -> Result<Vec<(Found, Use)>, String> + Send + Sync>,
    /// Fields that are added to a row, in order: names and expressions.
    pub(crate) fields: Vec<(String, String)>,
    /// Has the templates `prompt` and, where there is one, `system`.
    pub(crate) templates: Templates,
    /// Whether there is a template `system`.
    pub(crate) system: bool,
    /// What follows the prompt.
    pub(crate) instruction: String,
    /// The expression of the answer.
    pub(crate) answer: String,
    /// Facts of the task: names and expressions.
    pub(crate) facts: Vec<(String, String)>,
    /// The expression of what a row is told by; left out, its prompt.
    pub(crate) key: Option<String>,
    /// The expression that a row must meet.
    pub(crate) filter: Option<String>,
    /// The split that a row belongs to by its own words; none: neither.
    pub(crate) split: fn(&Row) -> Option<Split>,
    /// What is wrong with a task, if anything.
    pub(crate) check: fn(&Task) -> Result<(), String>,
    /// The order of rows, other than the files'.
    pub(crate) shuffle: Option<Seed>,
    /// Training rows at most.
    pub(crate) limit: Option<u64>,
    /// Bad rows that are put up with.
    pub(crate) bad_rows: u64,
    /// Who judges.
    pub(crate) reward: Box<dyn Reward>,
    /// What solves a task.
    pub(crate) oracle: fn(&Task) -> String,
}

/// An environment of rows.
pub(crate) struct Posed {
    spec: Spec,
    opened: OnceLock<Result<Opened, String>>,
}

#[derive(Debug, Default)]
struct Opened {
    rows: Rows,
    train: Vec<At>,
    eval: Vec<At>,
    files: Vec<DataFile>,
}

/// A row made into a task, and what it is told by.
struct Made {
    task: Task,
    key: u64,
    /// The row and what was added to it.
    fields: Value,
}

impl Posed {
    pub(crate) fn new(spec: Spec) -> Self {
        Self { spec, opened: OnceLock::new() }
    }

    fn opened(&self) -> Result<&Opened, String> {
        self.opened.get_or_init(|| self.spec.open()).as_ref().map_err(Clone::clone)
    }

    fn part(&self, split: Split) -> Result<(&Rows, &[At]), String> {
        self.opened().map(|opened| match split {
            Split::Train => (&opened.rows, &opened.train[..]),
            Split::Eval => (&opened.rows, &opened.eval[..]),
        })
    }
}

impl Spec {
    /// A row as a task; none where the filter leaves it out.
    fn make(&self, mut row: Row) -> Result<Option<Made>, String> {
        let mut context = seen(&row);
        for (name, expression) in &self.fields {
            let value = self.templates.value(expression, &context).map_err(|why| format!("field {name}: {why}"))?;
            row.insert(name.clone(), value);
            context = seen(&row);
        }
        if let Some(filter) = &self.filter
            && !self.templates.value(filter, &context)?.is_true()
        {
            return Ok(None);
        }
        let mut messages = Vec::new();
        if self.system {
            messages.push(Message::system(self.templates.render("system", &context)?));
        }
        let question = self.templates.render("prompt", &context)?;
        let key = match &self.key {
            Some(key) => self.templates.text(key, &context)?,
            None => question.clone(),
        };
        messages.push(Message::user(format!("{question}\n\n{}", self.instruction).trim_end()));
        let mut facts = BTreeMap::new();
        for (name, expression) in &self.facts {
            let fact = self.templates.text(expression, &context).map_err(|why| format!("fact {name}: {why}"))?;
            facts.insert(name.clone(), fact);
        }
        let answer = self.templates.text(&self.answer, &context).map_err(|why| format!("answer: {why}"))?;
        let task = Task { messages, answer, facts, ..Task::default() };
        (self.check)(&task)?;
        Ok(Some(Made { task, key: SPLITS.child(&bare(&key)).0, fields: context }))
    }

    /// The columns that rewards of other programs get: the row's own, the added fields, the facts and the answer.
    fn columns(&self, fields: &Value) -> Result<BTreeMap<String, JsonText>, String> {
        let own = entries(fields).map(|(name, value)| (name.to_string(), Ok(value)));
        let made = self.facts.iter().map(|(name, fact)| (name.as_str(), fact)).chain([("answer", &self.answer)]);
        let made = made.map(|(name, expression)| (name.to_owned(), self.templates.value(expression, fields)));
        let text = |value| JsonText::new(json::write(&value)).map_err(|error| error.to_string());
        own.chain(made).map(|(name, value)| Ok((name, text(value?)?))).collect()
    }

    fn open(&self) -> Result<Opened, String> {
        let mut opened = Opened::default();
        let mut keys = Vec::new();
        let mut held_out = HashSet::new();
        let mut bad = Bad::default();
        for (Found { path, name, .. }, usage) in (self.files)()? {
            let (mut rows, mut used) = (0, 0_u64);
            let before = bad.count;
            let Opened { rows: table, train, eval, .. } = &mut opened;
            let sha256 = table.add(&path, &mut |at, place, row| {
                rows += 1;
                let made = row.and_then(|row| {
                    let split = match usage {
                        Use::ByRow => match (self.split)(&row) {
                            Some(split) => Some(split),
                            None => return Ok(None),
                        },
                        _ => None,
                    };
                    Ok(self.make(row)?.map(|made| (made.key, split)))
                });
                match made {
                    Err(why) => bad.add(place, &why),
                    Ok(None) => {}
                    Ok(Some((key, split))) => {
                        used += 1;
                        let held = match usage {
                            Use::Train => false,
                            Use::Eval => true,
                            Use::Hash(share) => Seed(key).uniform(0) < share,
                            Use::ByRow => split == Some(Split::Eval),
                        };
                        if held {
                            held_out.insert(key);
                            eval.push(at);
                        } else {
                            keys.push(key);
                            train.push(at);
                        }
                    }
                }
            })?;
            // Where rows tell their split, those of a whole file may be of none: examples for prompts, say.
            let apart = usage == Use::ByRow && rows > 0;
            if used == 0 && bad.count == before && !apart {
                return Err(format!("{name}: expected at least one row{}, got none", self.filtered()));
            }
            opened.files.push(DataFile { name, sha256, rows, bad_rows: bad.count - before });
        }
        bad.judge(self.bad_rows)?;
        if opened.train.is_empty() && opened.eval.is_empty() {
            return Err(format!("{}: expected at least one row{}, got none", self.name, self.filtered()));
        }
        let mut keys = keys.into_iter();
        opened.train.retain(|_| keys.next().is_some_and(|key| !held_out.contains(&key)));
        if let Some(seed) = self.shuffle {
            shuffle(&mut opened.train, seed.child("train"));
            shuffle(&mut opened.eval, seed.child("eval"));
        }
        if let Some(limit) = self.limit {
            opened.train.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        opened.train.shrink_to_fit();
        opened.eval.shrink_to_fit();
        Ok(opened)
    }

    fn filtered(&self) -> String {
        self.filter.as_ref().map(|filter| format!(" that meets `{filter}`")).unwrap_or_default()
    }
}

/// Rows that could not be used.
#[derive(Default)]
struct Bad {
    count: u64,
    shown: Vec<String>,
}

impl Bad {
    fn add(&mut self, place: &str, why: &str) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(format!("{place}: {why}"));
        }
    }

    fn judge(&self, most: u64) -> Result<(), String> {
        if self.count <= most {
            return Ok(());
        }
        let shown = self.shown.join("\n");
        let more = self.count - self.shown.len() as u64;
        let more = if more == 0 { String::new() } else { format!("\nand {more} more bad rows") };
        Err(format!("{shown}{more}\n(`bad_rows = {}` goes on without them)", self.count))
    }
}

/// A text without what typing may change.
fn bare(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn shuffle(places: &mut [At], seed: Seed) {
    for i in (1..places.len()).rev() {
        places.swap(i, seed.below(i as u64, i as u64 + 1) as usize);
    }
}

impl Environment for Posed {
    fn len(&self, split: Split) -> Option<u64> {
        // Where the files cannot be read, asking for a task says why.
        self.part(split).ok().map(|(_, part)| part.len() as u64)
    }

    fn task(&self, split: Split, index: u64) -> Result<Task, String> {
        let id = format!("{}/{}/{index}", self.spec.name, split.name());
        let (rows, part) = self.part(split).map_err(|error| format!("{}: {error}", self.spec.name))?;
        let at = usize::try_from(index)
            .ok()
            .and_then(|index| part.get(index))
            .ok_or_else(|| format!("{id}: expected an index below {}, got {index}", part.len()))?;
        let made = rows.get(*at).and_then(|row| self.spec.make(row)).map_err(|error| format!("{id}: {error}"))?;
        let made = made.ok_or_else(|| format!("{id}: expected the row that was read before, got another"))?;
        let columns = self.spec.columns(&made.fields).map_err(|error| format!("{id}: {error}"))?;
        Ok(Task { id, columns, ..made.task })
    }

    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        self.spec.reward.score(task, transcript)
    }

    fn same(&self, task: &Task, a: &str, b: &str) -> bool {
        self.spec.reward.same(task, a, b)
    }

    fn needs(&self) -> RewardNeeds {
        self.spec.reward.needs()
    }

    fn oracle(&self, task: &Task) -> Transcript {
        let solution = (self.spec.oracle)(task);
        if solution.is_empty() { Transcript::default() } else { Transcript::of(solution, true) }
    }

    fn data(&self) -> Vec<DataFile> {
        self.opened().map(|opened| opened.files.clone()).unwrap_or_default()
    }
}
