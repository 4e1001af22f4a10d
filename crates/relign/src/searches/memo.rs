//! Completions that are kept, so that nothing is generated twice.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use relign_core::{Completion, Finish, Generate, GenerateError, Message, Request, Seed};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::lines::Lines;
use crate::generator::Source;

/// What was generated in this process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Made {
    /// Tokens.
    pub(crate) tokens: u64,
    /// Tokens of prompts that entered the engine; 0 for a server.
    pub(crate) prompts: u64,
    /// Those of them whose keys and values were there already.
    pub(crate) cached: u64,
}

/// What one request came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Its part of the time that the engine worked, whenever that was.
    pub(crate) seconds: f64,
    /// Its tokens.
    pub(crate) tokens: u64,
    /// Whether another search had it generated.
    pub(crate) reused: bool,
}

/// A line of the file.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// What was asked, but for the limit of tokens and what is to be told of them.
    key: String,
    /// The limit of tokens.
    most: usize,
    /// For which search it was generated.
    by: String,
    seconds: f64,
    completion: Completion,
}

impl Kept {
    /// Whether this is what comes of the same request with a limit of `most` tokens, told with certainties or without.
    fn fits(&self, most: usize, certainty: bool) -> bool {
        let Completion { finish, tokens, certainty: told, .. } = &self.completion;
        (self.most == most || (finish.is_natural() && tokens.len() <= most))
            && (!certainty || told.len() == tokens.len())
    }
}

/// All completions of a run, by what was asked: the prompt, how it is sampled, and the seed.
///
/// A completion is a function of these, since rows of the engine do not depend on what else is in flight; so one that is
/// there already is the one that would be generated. Of a server it is a sample as good as any other.
pub(crate) struct Memo {
    known: HashMap<String, Vec<Kept>>,
    file: Option<Lines>,
}

impl Memo {
    /// One that forgets all with the process.
    pub(crate) fn passing() -> Self {
        Self { known: HashMap::new(), file: None }
    }

    /// The one in the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read or is none.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let (file, lines) = Lines::open(path).with_context(|| path.display().to_string())?;
        let mut known: HashMap<String, Vec<Kept>> = HashMap::new();
        for (at, line) in lines.iter().enumerate() {
            let kept: Kept = serde_json::from_str(line)
                .with_context(|| format!("{}, line {}: expected a completion", path.display(), at + 1))?;
            known.entry(kept.key.clone()).or_default().push(kept);
        }
        Ok(Self { known, file: Some(file) })
    }
}

/// What is asked, in few letters.
fn key(request: &Request, messages: &[Message]) -> String {
    let mut sampling = serde_json::to_value(&request.sampling).unwrap_or_default();
    if let Some(fields) = sampling.as_object_mut() {
        fields.remove("max_tokens");
        // It is told of the tokens, and changes none.
        fields.remove("certainty");
    }
    // A prompt without tokens is rendered by a server, from the messages.
    let said = if request.prompt.is_empty() { messages } else { &[] };
    let asked = json!({"prompt": request.prompt, "messages": said, "sampling": sampling, "seed": request.seed});
    Sha256::digest(asked.to_string()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

struct Waiting {
    key: String,
    most: usize,
    seed: Seed,
}

/// An engine that asks the memo first.
pub(crate) struct Remembering<'a> {
    memo: &'a mut Memo,
    source: &'a mut Source,
    /// For which search it works.
    by: String,
    waiting: HashMap<u64, Waiting>,
    ready: BTreeMap<u64, Completion>,
    /// Time that the engine worked since a completion last came back.
    pending: Duration,
    made: Rc<Cell<Made>>,
    shares: Rc<std::cell::RefCell<HashMap<Seed, Share>>>,
}

/// What a search can look at while it has lent its engine away.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    /// What was generated.
    pub(crate) made: Rc<Cell<Made>>,
    /// What each request came to, by its seed.
    pub(crate) shares: Rc<std::cell::RefCell<HashMap<Seed, Share>>>,
}

impl<'a> Remembering<'a> {
    pub(crate) fn new(memo: &'a mut Memo, source: &'a mut Source, by: &str, tally: &Tally) -> Self {
        Self {
            memo,
            source,
            by: by.to_owned(),
            waiting: HashMap::new(),
            ready: BTreeMap::new(),
            pending: Duration::ZERO,
            made: Rc::clone(&tally.made),
            shares: Rc::clone(&tally.shares),
        }
    }

    /// Takes down what came back.
    fn keep(&mut self, completions: &[Completion]) -> Result<(), GenerateError> {
        let tokens: usize = completions.iter().map(|completion| completion.tokens.len()).sum();
        let pending = std::mem::take(&mut self.pending).as_secs_f64();
        for completion in completions {
            let Some(Waiting { key, most, seed }) = self.waiting.remove(&completion.id) else { continue };
            let own = completion.tokens.len() as f64;
            let part = if tokens > 0 { own / tokens as f64 } else { 1.0 / completions.len() as f64 };
            let seconds = pending * part;
            let share = Share { seconds, tokens: completion.tokens.len() as u64, reused: false };
            self.shares.borrow_mut().insert(seed, share);
            if matches!(completion.finish, Finish::Cancelled | Finish::Failed) {
                continue;
            }
            let kept = Kept { key, most, by: self.by.clone(), seconds, completion: completion.clone() };
            if let Some(file) = &mut self.memo.file {
                file.add(&kept).map_err(|error| GenerateError::Engine(format!("what was generated: {error}")))?;
                self.memo.known.entry(kept.key.clone()).or_default().push(kept);
            }
        }
        let mut made = self.made.get();
        made.tokens += tokens as u64;
        self.made.set(made);
        Ok(())
    }
}

impl Generate for Remembering<'_> {
    fn submit(&mut self, request: Request) -> Result<(), GenerateError> {
        self.submit_conversation(request, &[])
    }

    fn submit_conversation(&mut self, request: Request, messages: &[Message]) -> Result<(), GenerateError> {
        let (key, most, seed) = (key(&request, messages), request.sampling.max_tokens, request.seed);
        let certainty = request.sampling.certainty;
        let found = self.memo.known.get(&key).and_then(|all| all.iter().find(|kept| kept.fits(most, certainty)));
        if let Some(kept) = found {
            let tokens = kept.completion.tokens.len() as u64;
            let share = Share { seconds: kept.seconds, tokens, reused: kept.by != self.by };
            self.shares.borrow_mut().insert(seed, share);
            let mut completion = Completion { id: request.id, ..kept.completion.clone() };
            if !certainty {
                completion.certainty.clear();
            }
            self.ready.insert(completion.id, completion);
            return Ok(());
        }
        let id = request.id;
        self.source.submit_conversation(request, messages)?;
        self.waiting.insert(id, Waiting { key, most, seed });
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
        if !self.ready.is_empty() {
            return Ok(std::mem::take(&mut self.ready).into_values().collect());
        }
        let (began, before) = (Instant::now(), self.source.read());
        let polled = self.source.poll();
        self.pending += began.elapsed();
        let after = self.source.read();
        let mut made = self.made.get();
        made.prompts += after.0 - before.0;
        made.cached += after.1 - before.1;
        self.made.set(made);
        match &polled {
            Ok(completions) if !completions.is_empty() => self.keep(completions)?,
            Err(GenerateError::Failed { id, .. }) => drop(self.waiting.remove(id)),
            _ => {}
        }
        polled
    }

    fn in_flight(&self) -> usize {
        self.source.in_flight() + self.ready.len()
    }

    fn cancel(&mut self, id: u64) {
        match self.ready.get_mut(&id) {
            Some(ready) => ready.finish = Finish::Cancelled,
            None => self.source.cancel(id),
        }
    }
}
