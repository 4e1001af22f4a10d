//! How figures are written, everywhere alike.

use std::fmt::Write;

use crate::statistics::Interval;

/// A share as a percentage.
pub(crate) fn share(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

/// A difference of shares in percentage points, with its sign.
pub(crate) fn points(value: f64) -> String {
    format!("{:+.1}", 100.0 * value)
}

/// A relative change, with its sign.
pub(crate) fn percent(value: f64) -> String {
    if value.is_finite() { format!("{:+.0} %", 100.0 * value) } else { "no base".to_owned() }
}

/// An interval, its ends written by `number`; an end that is infinite is open.
pub(crate) fn interval(interval: &Interval, number: fn(f64) -> String) -> String {
    let end = |value: f64| if value.is_finite() { number(value) } else { "open".to_owned() };
    if interval.value.is_finite() {
        format!("{} ({} to {})", number(interval.value), end(interval.low), end(interval.high))
    } else {
        number(interval.value)
    }
}

/// A p-value.
pub(crate) fn p(value: f64) -> String {
    if value < 0.001 { "< 0.001".to_owned() } else { format!("{value:.3}") }
}

/// The first `most` characters of a text, with a mark where there are more.
pub(crate) fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A table with aligned columns, the first to the left and the others to the right.
pub(crate) fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let all = std::iter::once(head).chain(rows.iter().map(Vec::as_slice));
        all.map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    for row in std::iter::once(head).chain(rows.iter().map(Vec::as_slice)) {
        let mut line = String::new();
        for (place, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[place] - cell.chars().count());
            let _ = if place == 0 { write!(line, "{cell}{pad}") } else { write!(line, "  {pad}{cell}") };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}
