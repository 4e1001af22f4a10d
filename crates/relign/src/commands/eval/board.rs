//! How far each benchmark has come, shown while they run.

use std::cell::RefCell;
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar};
use relign_core::Verdict;
use relign_search::Progress;

use crate::commands::sampling::bar;
use crate::console::visible;
use crate::sinks::terminal::estimate;

/// A line for each benchmark under way, with its score so far and that score's interval, and where there are several one
/// for all of them. Keeps the clock, too.
pub(super) struct Board {
    state: RefCell<State>,
}

struct State {
    lines: MultiProgress,
    rows: Vec<Row>,
    whole: Option<ProgressBar>,
    /// When something came back last.
    last: Instant,
}

#[derive(Default)]
struct Row {
    name: String,
    items: usize,
    ended: usize,
    /// Nothing before its first answer.
    bar: Option<ProgressBar>,
    right: u64,
    judged: u64,
    seconds: f64,
}

impl Board {
    /// For benchmarks with a name and a number of items each.
    pub(super) fn new(sizes: &[(String, usize)]) -> Self {
        let lines = MultiProgress::new();
        let row = |(name, items): &(String, usize)| Row { name: name.clone(), items: *items, ..Row::default() };
        let whole = (sizes.len() > 1).then(|| lines.add(bar(sizes.iter().map(|(_, items)| items).sum())));
        if let Some(whole) = &whole {
            whole.set_message("items of all benchmarks");
        }
        Self {
            state: RefCell::new(State { lines, rows: sizes.iter().map(row).collect(), whole, last: Instant::now() }),
        }
    }

    /// What a driver calls when completions came back.
    pub(super) fn listener(&self, number: usize) -> impl FnMut(Progress) + '_ {
        move |progress| {
            let mut state = self.state.borrow_mut();
            state.tick(number);
            let State { lines, rows, .. } = &mut *state;
            let row = &mut rows[number];
            let bar = row.bar.get_or_insert_with(|| lines.insert(0, bar(progress.total)));
            bar.set_position(progress.done as u64);
            let sofar =
                if row.judged == 0 { String::new() } else { estimate(&relign_bench::wilson(row.right, row.judged)) };
            bar.set_message(format!("{} {sofar}", visible(&row.name)));
        }
    }

    /// Counts a verdict.
    pub(super) fn judged(&self, number: usize, verdict: Verdict) {
        let row = &mut self.state.borrow_mut().rows[number];
        row.right += u64::from(verdict == Verdict::Correct);
        row.judged += u64::from(verdict != Verdict::Failed);
    }

    /// The seconds in which a benchmark's answers came: every moment counts for the one that something came back for
    /// next, so that the seconds of all of them add up to the whole.
    pub(super) fn seconds(&self, number: usize) -> f64 {
        let mut state = self.state.borrow_mut();
        state.tick(number);
        state.rows[number].seconds
    }

    /// Counts an item that is done.
    pub(super) fn done(&self, number: usize) {
        let mut state = self.state.borrow_mut();
        state.tick(number);
        if let Some(whole) = &state.whole {
            whole.inc(1);
        }
        let row = &mut state.rows[number];
        row.ended += 1;
        if row.ended == row.items
            && let Some(bar) = row.bar.take()
        {
            bar.finish_and_clear();
        }
    }

    /// Runs `work`, which writes lines of its own.
    pub(super) fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        let lines = self.state.borrow().lines.clone();
        lines.suspend(work)
    }

    /// Takes everything off the screen.
    pub(super) fn end(&self) {
        let state = self.state.borrow();
        state
            .rows
            .iter()
            .filter_map(|row| row.bar.as_ref())
            .chain(&state.whole)
            .for_each(ProgressBar::finish_and_clear);
    }
}

impl State {
    fn tick(&mut self, number: usize) {
        let now = Instant::now();
        self.rows[number].seconds += (now - self.last).as_secs_f64();
        self.last = now;
    }
}
