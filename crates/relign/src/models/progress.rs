//! What a command says while a model is fetched or read: a bar on a terminal, a line elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::{note, visible};

/// A bar of bytes, `have` of which are there. Off a terminal it is one line that says what is fetched.
pub(super) fn bytes(what: &str, total: Option<u64>, have: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        let size = total.map(|total| format!(" ({:.1} MB)", total as f64 / 1e6)).unwrap_or_default();
        note!("fetching {what}{size}");
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let form = "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
    bar.set_style(style(form));
    bar.set_message(format!("fetching {}", visible(what)));
    bar.set_position(have);
    bar.reset_eta();
    bar
}

/// A bar of a model's weights by number; nothing off a terminal.
pub(crate) fn numbers(what: &str, total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    bar.set_style(style("{msg} [{bar:30}] {percent} % of {human_len} weights {eta}"));
    bar.set_message(what.to_owned());
    bar
}

fn style(form: &str) -> ProgressStyle {
    ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
