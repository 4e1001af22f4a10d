//! How far the searches have come, on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Total;
use crate::console::{note, visible};
use crate::sinks::terminal::estimate;

/// Time between two lines where stderr is no terminal.
const PAUSE: Duration = Duration::from_secs(30);

/// A live line on a terminal, and one now and then elsewhere.
pub(crate) struct Live {
    bar: Option<ProgressBar>,
    what: String,
    accuracy: String,
    /// How many tasks there are, how many are done, and how many of these were found done.
    tasks: (usize, usize),
    began: Instant,
    /// Tokens generated since.
    made: u64,
    said: Instant,
}

impl Live {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg}\n{bar:40.cyan/dim} {pos}/{len} searches  {eta} left");
            let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let now = Instant::now();
        let (what, accuracy) = (String::new(), String::new());
        Self { bar, what, accuracy, tasks: (0, 0), began: now, made: 0, said: now }
    }

    pub(super) fn begin(&mut self, label: &str, budget: Option<u64>, tasks: usize, found: &Total) {
        let budget = budget.map(|tokens| format!(" within {tokens} tokens")).unwrap_or_default();
        self.what = format!("{label}{budget}");
        (self.began, self.made, self.said) = (Instant::now(), 0, Instant::now());
        self.tasks = (tasks, 0);
        self.accuracy = String::new();
        if let Some(bar) = &self.bar {
            bar.set_length(tasks as u64);
            bar.set_position(found.outcomes.len() as u64);
            bar.reset_eta();
        }
        self.ended(found);
    }

    pub(super) fn made(&mut self, tokens: u64) {
        self.made = tokens;
        self.show();
    }

    pub(super) fn ended(&mut self, total: &Total) {
        self.tasks.1 = total.outcomes.len();
        if !total.outcomes.is_empty() {
            self.accuracy = format!("  accuracy {}", estimate(&total.accuracy()));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.tasks.1 as u64);
        }
        self.show();
    }

    fn show(&mut self) {
        let rate = self.made as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        let line = format!("{}  {rate:.0} tokens/s{}", self.what, self.accuracy);
        match &self.bar {
            Some(bar) => bar.set_message(visible(&line).into_owned()),
            None if self.said.elapsed() > PAUSE => {
                self.said = Instant::now();
                note!("{}/{} searches  {line}", self.tasks.1, self.tasks.0);
            }
            None => {}
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
