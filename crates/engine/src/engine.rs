//! Admission, passes through the model, and what comes out.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use relign_core::{Completion, Constraint, Finish, Generate, GenerateError, KvCache, Request};
use relign_model::kv::{KvPool, PagedRow};
use relign_model::logits::{Drawn, certainty_of, draw};
use relign_model::ops::select;
use relign_model::{Config, Family, Kind, Tensor, no_grad_guard};

use crate::blocks::{Blocks, Found, common};
use crate::constraint::{Bound, Grammars};
use crate::scoring::{self, Scored};
use crate::sequence::Sequence;
use crate::{EngineStats, Vocabulary, memory};

const BLOCK: usize = KvPool::BLOCK;

/// Passes that one poll makes at most, so that its caller can look up now and then.
const PASSES: usize = 16;

/// The bounds an engine works in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Sequences that run at once.
    pub max_sequences: usize,
    /// Bytes for keys and values; `None` is a quarter of the memory this process may use, or of the GPU's.
    pub kv_bytes: Option<usize>,
    /// What keys and values are kept as.
    pub kv_cache: KvCache,
    /// The longest sequence in tokens; `None` is the model's context.
    pub context: Option<usize>,
    /// Prompt tokens read per forward pass, beside one token of each sequence that is past its prompt.
    pub prefill_tokens: usize,
    /// Whether requests that begin alike share what was computed; without it every one computes all
    /// of its tokens, which is there to measure what sharing is worth.
    pub share_prefixes: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_sequences: 128,
            kv_bytes: None,
            kv_cache: KvCache::Full,
            context: None,
            prefill_tokens: 512,
            share_prefixes: true,
        }
    }
}

/// Makes tokens with a [`Family`]; see the crate's page.
///
/// The weights may change in place while nothing is being polled; [`set_version`](Self::set_version)
/// must follow, for what was computed with the old ones is no prefix for the new.
pub struct Engine {
    family: Box<dyn Family>,
    vocabulary: Arc<dyn Vocabulary>,
    pool: KvPool,
    blocks: Blocks,
    /// Blocks the budget allows.
    limit: usize,
    vocab: usize,
    context: usize,
    max_sequences: usize,
    prefill_tokens: usize,
    share_prefixes: bool,
    version: u64,
    /// Oldest first.
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    done: Vec<Completion>,
    /// Requests given up on, and why.
    failed: VecDeque<(u64, String)>,
    /// Made when the first constraint comes.
    grammars: Option<Grammars>,
    /// The requests taken and not yet returned.
    ids: HashSet<u64>,
    stats: EngineStats,
}

impl Engine {
    /// An engine over `family`, which has the architecture `config`; keys and values are stored as
    /// `kind`, the type the family computes in.
    ///
    /// # Errors
    /// If the options leave no room to work in.
    pub fn new(
        family: Box<dyn Family>,
        config: &Config,
        kind: Kind,
        vocabulary: Arc<dyn Vocabulary>,
        options: &EngineOptions,
    ) -> Result<Self, GenerateError> {
        let device = family.head().weight().device();
        let pool = KvPool::new(config, kind, options.kv_cache).on(device);
        let bytes = options.kv_bytes.unwrap_or_else(|| memory::of(device) / 4);
        let limit = (bytes / pool.block_bytes()).min(u32::MAX as usize);
        let context = options.context.unwrap_or(config.context).min(config.context).min(limit * BLOCK);
        if context < 2 || options.max_sequences == 0 || options.prefill_tokens == 0 {
            return Err(GenerateError::Engine(format!(
                "options: expected room for at least 2 tokens ({} bytes for {BLOCK}), 1 sequence and 1 prompt token \
                 per pass, got {bytes} bytes, a context of {context} tokens, {} sequences, {} prompt tokens",
                pool.block_bytes(),
                options.max_sequences,
                options.prefill_tokens
            )));
        }
        Ok(Self {
            family,
            vocabulary,
            pool,
            blocks: Blocks::new(limit),
            limit,
            vocab: config.vocab,
            context,
            max_sequences: options.max_sequences,
            prefill_tokens: options.prefill_tokens,
            share_prefixes: options.share_prefixes,
            version: 0,
            running: Vec::new(),
            waiting: VecDeque::new(),
            done: Vec::new(),
            failed: VecDeque::new(),
            grammars: None,
            ids: HashSet::new(),
            stats: EngineStats::default(),
        })
    }

    /// Tells the engine that the weights are now those of `version`: cached prefixes are dropped, and
    /// sequences in flight are computed again from their tokens. A completion that spans versions
    /// bears the one that sampled its first token.
    pub fn set_version(&mut self, version: u64) {
        self.version = version;
        self.forget();
        self.waiting.iter_mut().for_each(Sequence::outdate);
    }

    /// Gives the memory of keys and values back until the next [`poll`](Generate::poll). Sequences in
    /// flight stay so, and are computed again from their tokens.
    pub fn release(&mut self) {
        self.forget();
        // Giving memory back asks for none.
        let _ = self.pool.resize(0);
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        EngineStats { peak_blocks: self.stats.peak_blocks.max(self.blocks.peak() as u64), ..self.stats }
    }

    /// The longest sequence, prompt and answer together, in tokens.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// Back to the accounts of a new engine; sequences wait again.
    fn forget(&mut self) {
        while let Some(mut sequence) = self.running.pop() {
            sequence.blocks.clear();
            sequence.computed = 0;
            self.waiting.push_front(sequence);
        }
        self.stats.peak_blocks = self.stats.peak_blocks.max(self.blocks.peak() as u64);
        self.blocks = Blocks::new(self.limit);
    }

    /// Lets waiting sequences in, in order, as far as there is room.
    fn admit(&mut self) -> Result<(), GenerateError> {
        let mut backlog: usize = self.running.iter().map(|s| s.pending() - 1).sum();
        let (mut index, mut passed_over) = (0, 0);
        while index < self.waiting.len()
            && self.running.len() < self.max_sequences
            && backlog < self.prefill_tokens
            && passed_over < self.max_sequences
        {
            let sequence = &self.waiting[index];
            let reach = sequence.reach();
            let found = if self.share_prefixes { self.blocks.find(reach) } else { Found::default() };
            if self.share_prefixes && self.is_coming(reach, found.tokens()) {
                (index, passed_over) = (index + 1, passed_over + 1);
                continue;
            }
            let need = sequence.tokens.len().div_ceil(BLOCK) - found.full.len();
            // A block to spare for each running sequence, lest it be given up at once.
            if !self.running.is_empty() && need + self.running.len() > self.blocks.available_beside(&found) {
                break;
            }
            let Some(mut sequence) = self.waiting.remove(index) else { break };
            if let Err(error) = self.enter(&mut sequence, found, need) {
                sequence.blocks.clear();
                sequence.computed = 0;
                self.waiting.push_front(sequence);
                return Err(error);
            }
            backlog += sequence.pending() - 1;
            self.running.push(sequence);
        }
        Ok(())
    }

    /// Whether a running sequence is about to compute more of the beginning of `tokens` than the
    /// `have` tokens that are there: waiting for it, no prefix is computed twice.
    fn is_coming(&self, tokens: &[u32], have: usize) -> bool {
        let mut reading = self.running.iter().filter(|s| s.pending() > 1);
        reading.any(|s| common(&s.tokens, tokens) > s.computed.max(have))
    }

    /// Gives a sequence its blocks: those found, and empty ones for the rest of its tokens.
    fn enter(&mut self, sequence: &mut Sequence, found: Found, mut need: usize) -> Result<(), GenerateError> {
        sequence.computed = found.full.len() * BLOCK;
        for &id in &found.full {
            self.blocks.hold(id);
        }
        sequence.blocks = found.full;
        if let Some((from, n)) = found.part {
            if self.blocks.can_continue(from, n) {
                self.blocks.hold(from);
                sequence.blocks.push(from);
                sequence.computed += n;
                need -= 1;
            } else if let Some(to) = self.copy(from, n)? {
                sequence.blocks.push(to);
                sequence.computed += n;
                need -= 1;
            }
        }
        for _ in 0..need {
            let id = self.blocks.take().expect("admission found room for the sequence, or nothing else is running");
            sequence.blocks.push(id);
        }
        if !sequence.entered {
            sequence.entered = true;
            self.stats.prompt_tokens += sequence.prompt as u64;
            self.stats.cached_tokens += sequence.computed as u64;
        }
        Ok(())
    }

    /// A new block with the first `n` positions of `from`; `None` where there is no room for both.
    fn copy(&mut self, from: u32, n: usize) -> Result<Option<u32>, GenerateError> {
        self.blocks.hold(from);
        let to = self.blocks.take();
        if let Some(to) = to {
            self.fit_pool()?;
            self.pool.copy(from, to);
            self.blocks.copied(from, to, n);
        }
        self.blocks.release(&[from]);
        Ok(to)
    }

    fn fit_pool(&mut self) -> Result<(), GenerateError> {
        if self.pool.blocks() < self.blocks.room() {
            self.pool.resize(self.blocks.room()).map_err(GenerateError::Engine)?;
        }
        Ok(())
    }

    /// How many tokens of each running sequence go through the model now. Makes room for them; the
    /// youngest sequences give theirs up where there is none.
    fn plan(&mut self) -> Vec<usize> {
        let mut budget = self.prefill_tokens;
        let mut counts = Vec::with_capacity(self.running.len());
        let mut index = 0;
        while index < self.running.len() {
            if self.running[index].blocks.len() * BLOCK < self.running[index].tokens.len() {
                if let Some(id) = self.blocks.take() {
                    self.running[index].blocks.push(id);
                } else if let Some(mut youngest) = self.running.pop() {
                    self.blocks.release(&youngest.blocks);
                    youngest.blocks.clear();
                    youngest.computed = 0;
                    self.waiting.push_front(youngest);
                    self.stats.preemptions += 1;
                }
                continue;
            }
            let pending = self.running[index].pending();
            let count = if pending == 1 { 1 } else { pending.min(budget) };
            budget -= if pending == 1 { 0 } else { count };
            counts.push(count);
            index += 1;
        }
        counts
    }

    /// One pass through the model.
    fn step(&mut self) -> Result<(), GenerateError> {
        self.admit()?;
        let counts = self.plan();
        self.fit_pool()?;
        let n = counts.iter().sum();
        let (mut tokens, mut positions, mut rows) =
            (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
        // Rows whose logits are needed, the sequences they belong to, and how to draw from them.
        let (mut last, mut sampled, mut draws) = (Vec::new(), Vec::new(), Vec::new());
        // Prompt tokens to be scored, and sequences that are there for that alone and at their end.
        let (mut scored, mut read) = (Vec::new(), Vec::new());
        for (index, (sequence, &count)) in self.running.iter().zip(&counts).enumerate() {
            for position in sequence.computed..sequence.computed + count {
                tokens.push(i64::from(sequence.tokens[position]));
                positions.push(position as i64);
                if sequence.unscored().is_some_and(|next| (next..sequence.prompt).contains(&(position + 1))) {
                    let (row, token) = (rows.len() as i64, sequence.tokens[position + 1]);
                    let top = sequence.sampling.top_logprobs.unwrap_or(0);
                    scored.push(Scored { row, sequence: index, token, top });
                }
                rows.push(PagedRow { blocks: &sequence.blocks, len: position + 1 });
            }
            if count == sequence.pending() && sequence.sampling.max_tokens == 0 {
                read.push(index);
            } else if count == sequence.pending() {
                last.push(rows.len() as i64 - 1);
                sampled.push(index);
                draws.push(sequence.draw());
            }
        }
        let mut hidden = self.family.forward(&Tensor::from_slice(&tokens), &positions, &mut self.pool.attention(&rows));
        drop(rows);
        let odds = scoring::odds(self.family.as_ref(), &hidden, &scored);
        let (mut drawn, mut certainty) = (Vec::new(), Vec::new());
        let asked: Vec<usize> = (0..sampled.len()).filter(|&at| self.running[sampled[at]].sampling.certainty).collect();
        if !last.is_empty() {
            if last.len() < n {
                hidden = select(&hidden, &last);
            }
            let logits = self.family.head().logits(&hidden);
            drawn = draw(&logits, &draws);
            certainty = certainty_of(&logits, &asked);
        }
        self.stats.forward_passes += 1;
        self.stats.computed_tokens += n as u64;
        self.note_computed(&counts);
        for (scored, odds) in scored.iter().zip(odds) {
            let sequence = &mut self.running[scored.sequence];
            finite(odds.logprob, sequence.id, "prompt")?;
            sequence.score(odds);
        }
        for (at, certainty) in asked.into_iter().zip(certainty) {
            self.running[sampled[at]].note_certainty(certainty);
        }
        self.take_drawn(&sampled, drawn, &read)
    }

    /// Enters what a pass computed into the accounts.
    fn note_computed(&mut self, counts: &[usize]) {
        for (sequence, &count) in self.running.iter_mut().zip(counts) {
            // Blocks of which no tokens are known are nobody's prefix, and free once they are let go.
            let known = if self.share_prefixes { count } else { 0 };
            for position in sequence.computed..sequence.computed + known {
                let index = position / BLOCK;
                let parent = index.checked_sub(1).map(|before| sequence.blocks[before]);
                sequence.blocks[index] =
                    self.blocks.computed(sequence.blocks[index], parent, sequence.tokens[position]);
            }
            sequence.computed += count;
        }
    }

    /// Appends drawn tokens; sequences that end with theirs leave, and so do those that were only to be `read`.
    fn take_drawn(&mut self, sampled: &[usize], drawn: Vec<Drawn>, read: &[usize]) -> Result<(), GenerateError> {
        let mut ended: Vec<_> = read.iter().map(|&index| (index, Ok(Finish::Length))).collect();
        for (&index, drawn) in sampled.iter().zip(drawn) {
            let sequence = &mut self.running[index];
            finite(drawn.logprob, sequence.id, "answer")?;
            self.stats.generated_tokens += 1;
            match sequence.push(drawn, self.version, self.context, self.vocabulary.as_ref()) {
                Ok(None) => {}
                Ok(Some(finish)) => ended.push((index, Ok(finish))),
                Err(what) => ended.push((index, Err(what))),
            }
        }
        ended.sort_unstable_by_key(|(index, _)| *index);
        for (index, outcome) in &ended {
            let sequence = &mut self.running[*index];
            self.blocks.release(&sequence.blocks);
            match outcome {
                Ok(finish) => self.done.push(sequence.complete(*finish, self.version)),
                Err(what) => self.failed.push_back((sequence.id, what.clone())),
            }
        }
        for &(index, _) in ended.iter().rev() {
            self.running.remove(index);
        }
        Ok(())
    }

    fn check(&self, request: &Request) -> Result<(), GenerateError> {
        let Request { id, prompt, sampling, .. } = request;
        let invalid = |what: String| Err(GenerateError::Invalid { id: *id, what });
        if self.ids.contains(id) {
            return invalid("expected an id of its own, got that of a request in flight".to_owned());
        }
        if prompt.is_empty() {
            return invalid("prompt: expected at least one token, got none".to_owned());
        }
        if let Some((place, token)) = prompt.iter().enumerate().find(|(_, t)| **t as usize >= self.vocab) {
            return invalid(format!("prompt token {place}: expected an id below {}, got {token}", self.vocab));
        }
        if let Err(error) = sampling.check() {
            return invalid(error.to_string());
        }
        if let Err(error) = sampling.check_ids(self.vocab) {
            return invalid(error.to_string());
        }
        if let Some(from) = sampling.score_from.filter(|&from| from > prompt.len()) {
            return invalid(format!("score_from: expected at most the prompt's length, {}, got {from}", prompt.len()));
        }
        // What is only read may fill the context.
        if prompt.len() + usize::from(sampling.max_tokens > 0) > self.context {
            return Err(GenerateError::TooLong { id: *id, tokens: prompt.len(), context: self.context });
        }
        Ok(())
    }

    /// The beginning of an answer under `constraint`.
    fn bind(&mut self, constraint: &Constraint) -> Result<Bound, String> {
        let grammars = match self.grammars.take() {
            Some(grammars) => grammars,
            None => Grammars::new(self.vocabulary.as_ref(), self.vocab)?,
        };
        self.grammars.insert(grammars).bind(constraint)
    }
}

/// Numbers that are none end the work.
fn finite(logprob: f32, id: u64, of: &str) -> Result<(), GenerateError> {
    if logprob.is_finite() {
        return Ok(());
    }
    Err(GenerateError::Engine(format!(
        "log-probability of a token of the {of} of request {id}: expected a finite number, got {logprob}; the weights \
         are probably not finite"
    )))
}

impl Generate for Engine {
    fn submit(&mut self, request: Request) -> Result<(), GenerateError> {
        self.check(&request)?;
        let id = request.id;
        let bound = request.sampling.constraint.as_ref().map(|constraint| self.bind(constraint)).transpose();
        let bound = bound.map_err(|what| GenerateError::Invalid { id, what })?;
        self.ids.insert(id);
        self.waiting.push_back(Sequence::new(request, bound));
        Ok(())
    }

    /// Makes passes until something ended, at most a few at a time, and one where a request is watched.
    ///
    /// # Errors
    /// [`GenerateError::Failed`] for one request whose constraint leaves nothing to go on with. Anything else if the
    /// backend failed (out of memory) or the weights give no finite numbers; then requests in flight stay so: they can
    /// be cancelled, or polled for again.
    fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
        let _no_grad = no_grad_guard();
        for _ in 0..PASSES {
            let ended = !self.done.is_empty() || !self.failed.is_empty();
            if ended || (self.running.is_empty() && self.waiting.is_empty()) {
                break;
            }
            // The tensor library reports failures by panicking.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.step())).unwrap_or_else(|panic| {
                Err(GenerateError::Engine(format!("forward pass: {}", relign_model::of_panic(panic.as_ref()))))
            });
            if let Err(error) = outcome {
                self.forget();
                return Err(error);
            }
            if self.running.iter().any(|sequence| sequence.watched) {
                break;
            }
        }
        if self.done.is_empty()
            && let Some((id, what)) = self.failed.pop_front()
        {
            self.ids.remove(&id);
            return Err(GenerateError::Failed { id, what });
        }
        for completion in &self.done {
            self.ids.remove(&completion.id);
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn in_flight(&self) -> usize {
        self.ids.len()
    }

    fn watch(&mut self, id: u64) -> bool {
        if let Some(sequence) = self.running.iter_mut().chain(&mut self.waiting).find(|sequence| sequence.id == id) {
            sequence.watched = true;
        }
        true
    }

    fn heard(&mut self) -> Vec<(u64, String)> {
        let watched = self.running.iter_mut().chain(&mut self.waiting).filter(|sequence| sequence.watched);
        watched.map(|sequence| (sequence.id, sequence.hear())).filter(|(_, text)| !text.is_empty()).collect()
    }

    fn cancel(&mut self, id: u64) {
        let mut sequence = if let Some(index) = self.running.iter().position(|s| s.id == id) {
            self.blocks.release(&self.running[index].blocks);
            self.running.remove(index)
        } else if let Some(index) = self.waiting.iter().position(|s| s.id == id) {
            let Some(sequence) = self.waiting.remove(index) else { return };
            sequence
        } else {
            return;
        };
        self.done.push(sequence.complete(Finish::Cancelled, self.version));
    }
}
