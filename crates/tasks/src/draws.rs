//! Procedural tasks whose splits cannot meet.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use relign_core::{Seed, Split};

/// Decides the split of every problem, whatever settings drew it. Never change it: what was held out
/// yesterday would be trained on tomorrow.
const SPLITS: Seed = Seed(0x5e1f_5a3c_91d7_24b6);

/// One problem in so many is held out.
const HELD_OUT: u64 = 4;

/// Draws without a fitting one, after which a source is taken to have no more.
const PATIENCE: u64 = 20_000;

/// The split that a problem belongs to: a hash of its canonical spelling decides.
pub(crate) fn split_of(problem: &str) -> Split {
    if SPLITS.child(problem).0.is_multiple_of(HELD_OUT) { Split::Eval } else { Split::Train }
}

/// A problem that was drawn.
#[derive(Clone, Debug)]
pub(crate) struct Drawn<T> {
    /// What it is told by; problems of equal spelling are one.
    pub(crate) canonical: String,
    pub(crate) problem: T,
}

/// Tasks at random, by index. Items of the held-out split are distinct among themselves.
#[derive(Debug)]
pub(crate) struct Draws<T> {
    held_out: Mutex<HeldOut<T>>,
}

#[derive(Debug)]
struct HeldOut<T> {
    seen: HashSet<String>,
    items: Vec<T>,
    /// Draws made so far.
    drawn: u64,
}

impl<T> Default for Draws<T> {
    fn default() -> Self {
        Self { held_out: Mutex::new(HeldOut { seen: HashSet::new(), items: Vec::new(), drawn: 0 }) }
    }
}

impl<T: Clone> Draws<T> {
    /// The problem at `index` of `split`, drawn by `draw`, which gives none for a draw to be thrown
    /// away.
    ///
    /// # Errors
    /// If `draw` has too few distinct problems.
    pub(crate) fn get(
        &self,
        seed: Seed,
        split: Split,
        index: u64,
        draw: impl Fn(Seed) -> Option<Drawn<T>>,
    ) -> Result<T, String> {
        match split {
            Split::Train => {
                let seed = seed.child("train").index(index);
                (0..PATIENCE)
                    .filter_map(|attempt| draw(seed.index(attempt)))
                    .find(|drawn| split_of(&drawn.canonical) == Split::Train)
                    .map(|drawn| drawn.problem)
                    .ok_or_else(|| format!("expected settings that allow a problem, got none in {PATIENCE} draws"))
            }
            Split::Eval => {
                let seed = seed.child("eval");
                // Held-out items are few and follow from those before them, so they are kept.
                let mut held_out = self.held_out.lock().unwrap_or_else(PoisonError::into_inner);
                let HeldOut { seen, items, drawn } = &mut *held_out;
                let mut failures = 0;
                while items.len() as u64 <= index {
                    if failures == PATIENCE {
                        return Err(format!(
                            "expected settings with at least {} distinct held-out problems, got {}",
                            index.saturating_add(1),
                            items.len()
                        ));
                    }
                    *drawn += 1;
                    failures += 1;
                    if let Some(Drawn { canonical, problem }) = draw(seed.index(*drawn))
                        && split_of(&canonical) == Split::Eval
                        && seen.insert(canonical)
                    {
                        items.push(problem);
                        failures = 0;
                    }
                }
                Ok(items[usize::try_from(index).map_err(|error| error.to_string())?].clone())
            }
        }
    }
}
