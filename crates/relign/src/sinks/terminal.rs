//! The run before the user's eyes, on stderr.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use relign_core::{Estimate, Event, Sink, StepMetrics, StepTimings};

use crate::console::{note, visible};

/// Steps whose durations the time left is estimated from.
const RECENT: usize = 10;
/// Rewards in the sparkline.
const WIDTH: usize = 32;
/// Lines between two headings.
const PAGE: u64 = 25;

/// A line for each step and, on a terminal, a live one below.
pub(crate) struct Terminal {
    bar: Option<ProgressBar>,
    step: u64,
    steps: u64,
    printed: u64,
    seconds: VecDeque<f64>,
    rewards: VecDeque<f64>,
}

impl Terminal {
    /// Live if stderr is a terminal, plain lines otherwise.
    pub(crate) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner:.cyan} {msg}");
            let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let (seconds, rewards) = (VecDeque::new(), VecDeque::new());
        Self { bar, step: 0, steps: 0, printed: 0, seconds, rewards }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note!("{line}")),
            None => note!("{line}"),
        }
    }

    fn live(&self, what: &str) {
        let Some(bar) = &self.bar else { return };
        let mut parts = vec![format!("step {}/{}", (self.step + 1).min(self.steps), self.steps)];
        parts.push(what.to_owned());
        if !self.rewards.is_empty() {
            parts.push(format!("reward {}", sparkline(&self.rewards.iter().copied().collect::<Vec<_>>())));
        }
        if let Some(left) = self.left() {
            parts.push(format!("{} left", duration(left)));
        }
        bar.set_message(visible(&parts.join("  ")).into_owned());
    }

    /// Seconds until the last step, from the median of the recent ones: one slow step moves it little.
    fn left(&self) -> Option<f64> {
        let mut recent: Vec<f64> = self.seconds.iter().copied().collect();
        recent.sort_by(f64::total_cmp);
        let median = recent.get(recent.len() / 2)?;
        Some(median * self.steps.saturating_sub(self.step) as f64)
    }

    fn step(&mut self, metrics: &StepMetrics, timings: &StepTimings) {
        self.step = metrics.step;
        keep(&mut self.seconds, timings.seconds, RECENT);
        keep(&mut self.rewards, metrics.rollouts.reward, WIDTH);
        if self.printed.is_multiple_of(PAGE) {
            self.say(&heading());
        }
        self.printed += 1;
        self.say(&line(metrics, timings, self.steps, self.left().unwrap_or_default()));
        self.live("sampling");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Sink for Terminal {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::Started { step, steps } => {
                (self.step, self.steps) = (*step, *steps);
                if *step > 0 {
                    self.say(&format!("going on after step {step} of {steps}"));
                }
                self.live("starting");
            }
            Event::Progress { what, done, total } => self.live(&format!("{what} {done}/{total}")),
            Event::Step { metrics, timings } => self.step(metrics, timings),
            Event::Evaluated { step, accuracy } => {
                let when = if *step == 0 { "before training".to_owned() } else { format!("after step {step}") };
                self.say(&format!("held-out accuracy {when}: {}", estimate(accuracy)));
            }
            Event::Saved { step, path } => {
                if self.bar.is_some() {
                    self.live(&format!("saved step {step}"));
                } else {
                    self.say(&format!("saved step {step} in {}", path.display()));
                }
            }
            Event::Warning(text) => self.say(&format!("warning: {text}")),
            Event::Tree(_) => {}
        }
        Ok(())
    }
}

fn keep(queue: &mut VecDeque<f64>, value: f64, most: usize) {
    queue.push_back(value);
    if queue.len() > most {
        queue.pop_front();
    }
}

fn heading() -> String {
    format!(
        "{:>9} {:>7} {:>8} {:>7} {:>8} {:>8} {:>9} {:>7} {:>9}",
        "step", "reward", "accuracy", "length", "entropy", "KL", "tokens/s", "step s", "time left"
    )
}

fn line(metrics: &StepMetrics, timings: &StepTimings, steps: u64, left: f64) -> String {
    let (rollouts, update) = (&metrics.rollouts, &metrics.update);
    let mut line = format!(
        "{:>9} {:>7.3} {:>6.1} % {:>7.1} {:>8.3} {:>8.4} {:>9.0} {:>7.1} {:>9}",
        format!("{}/{steps}", metrics.step),
        rollouts.reward,
        100.0 * rollouts.accuracy,
        rollouts.length,
        update.entropy,
        if update.kl == 0.0 { update.kl_old } else { update.kl },
        timings.rollout_tokens_per_second,
        timings.seconds,
        duration(left),
    );
    if rollouts.failed > 0 {
        line += &format!("  {} of {} rewards failed", rollouts.failed, rollouts.samples);
    }
    line
}

/// `21.5 % (17.2 to 26.4, n = 256)`.
pub(crate) fn estimate(estimate: &Estimate) -> String {
    let Estimate { accuracy, low, high, n } = estimate;
    format!("{:.1} % ({:.1} to {:.1}, n = {n})", 100.0 * accuracy, 100.0 * low, 100.0 * high)
}

/// `48s`, `3m12s`, `1h04m`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The values as blocks of eight heights between their least and greatest.
fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let height = |value: f64| {
        if !value.is_finite() {
            return ' ';
        }
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        BLOCKS[((share * 7.0).round() as usize).min(7)]
    };
    values.iter().map(|&value| height(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!([0.4, 59.6, 192.0, 3840.0].map(duration), ["0s", "1m00s", "3m12s", "1h04m"]);
    }

    #[test]
    fn sparklines_span_their_values() {
        assert_eq!(sparkline(&[0.0, 0.5, 1.0]), "▁▅█");
        assert_eq!(sparkline(&[2.0, 2.0]), "▁▁");
        assert_eq!(sparkline(&[0.0, f64::NAN, 1.0]), "▁ █");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn the_heading_stands_over_its_columns() {
        let mut metrics = StepMetrics { step: 12, ..StepMetrics::default() };
        metrics.rollouts.accuracy = 0.383;
        let line = line(&metrics, &StepTimings::default(), 60, 192.0);
        assert_eq!(line.chars().count(), heading().chars().count(), "{line}");
        assert!(line.contains("12/60") && line.contains("38.3 %") && line.ends_with("3m12s"), "{line}");
    }

    #[test]
    fn time_left_follows_the_recent_steps() {
        let mut terminal = Terminal::new();
        terminal.bar = None;
        terminal.event(&Event::Started { step: 0, steps: 100 }).unwrap();
        for step in 1..=20 {
            let timings = StepTimings { step, seconds: if step == 20 { 500.0 } else { 2.0 }, ..Default::default() };
            terminal
                .event(&Event::Step { metrics: &StepMetrics { step, ..Default::default() }, timings: &timings })
                .unwrap();
        }
        assert_eq!(terminal.left(), Some(160.0));
    }
}
