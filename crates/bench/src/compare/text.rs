//! The report for a terminal.

use std::fmt::Write;

use super::{Report, Row};
use crate::words::{interval, percent, points, share, table};

/// The report as plain text, tables of at most some 120 columns.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for comparison in &report.comparisons {
        let _ = writeln!(out, "{} against {}\n", comparison.model, report.base);
        let head = ["benchmark", "metric", "n", "base", "tuned", "difference (95 %)", "relative (95 %)", "p Holm", ""];
        let rows: Vec<Vec<String>> = comparison.rows.iter().map(cells).collect();
        out += &table(&head.map(str::to_owned), &rows);
        if let Some(mean) = comparison.overall {
            let _ = writeln!(out, "mean of {} benchmarks: {}", comparison.rows.len(), interval(&mean, points));
        }
        out.push('\n');
        for row in &comparison.rows {
            let _ = writeln!(out, "{}", sentence(row));
        }
        out.push('\n');
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "NOT COMPARABLE: {warning}");
    }
    for note in &report.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

/// A row's cells, as all tables have them.
pub(super) fn cells(row: &Row) -> Vec<String> {
    let difference = &row.difference;
    vec![
        row.benchmark.clone(),
        row.metric.clone(),
        difference.n.to_string(),
        share(row.base.accuracy),
        share(row.tuned.accuracy),
        format!("{} ({} to {})", points(difference.difference), points(difference.low), points(difference.high)),
        interval(&row.uplift, percent),
        crate::words::p(row.p_holm),
        row.verdict().to_owned(),
    ]
}

/// What a row can and cannot show, in words.
pub(super) fn sentence(row: &Row) -> String {
    let difference = &row.difference;
    let mut said = format!(
        "{}: {} won, {} lost",
        row.benchmark,
        if row.won == 1 { "1 item".to_owned() } else { format!("{} items", row.won) },
        row.lost
    );
    match row.detectable {
        Some(visible) => {
            let visible = points(visible);
            let visible = visible.trim_start_matches('+');
            let n = difference.n;
            let _ = write!(said, "; with {n} items a difference of {visible} would have shown with a chance of 80 %");
        }
        None => said.push_str("; no item changed, so what would have shown is not known"),
    }
    if let Some(needed) = row.needed.filter(|_| row.verdict() == "not shown") {
        let _ = write!(said, ", this one needs {needed}");
    }
    if row.left_out > 0 {
        let _ = write!(said, "; {} items could not be judged in both and are left out", row.left_out);
    }
    if let (Some(base), Some(tuned)) = (row.base_lenient, row.tuned_lenient) {
        let _ = write!(said, "; judged leniently {} and {}", share(base.accuracy), share(tuned.accuracy));
    }
    let (a, b) = (&row.base_shares, &row.tuned_shares);
    let _ = write!(
        said,
        "; without an answer {} and {}, cut off {} and {}",
        share(a.unparsed),
        share(b.unparsed),
        share(a.truncated),
        share(b.truncated)
    );
    if a.counted > 0 && b.counted > 0 {
        let _ = write!(said, ", {:.0} and {:.0} tokens on average", a.length, b.length);
    }
    said
}
