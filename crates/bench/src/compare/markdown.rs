//! The report as Markdown.

use std::fmt::Write;

use super::text::{cells, sentence};
use super::{Comparison, Flip, Report};
use crate::markdown::{cell, code, quoted, text};
use crate::words::{clip, interval, points};

/// Characters of a text shown in Markdown; the HTML report and the results hold all of it.
const SHOWN: usize = 400;

/// The report as Markdown, as GitHub shows it.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    for warning in &report.warnings {
        let _ = writeln!(out, "> **Not comparable:** {}\n", text(warning));
    }
    for comparison in &report.comparisons {
        let _ = writeln!(out, "## {} against {}\n", text(&comparison.model), text(&report.base));
        out += &uplift(comparison);
        for row in &comparison.rows {
            for (what, flips) in [("won", &row.gained), ("lost", &row.missed)] {
                if !flips.is_empty() {
                    let _ = writeln!(out, "\n### {}: items {what} ({} shown)\n", text(&row.benchmark), flips.len());
                    flips.iter().for_each(|item| flip(&mut out, item));
                }
            }
        }
        out += "\n### Provenance\n\n| benchmark | what | base | tuned |\n|---|---|---|---|\n";
        for row in &comparison.rows {
            for (what, [ours, theirs]) in &row.provenance {
                let what = cell(what);
                let _ = writeln!(out, "| {} | {what} | {} | {} |", cell(&row.benchmark), cell(ours), cell(theirs));
            }
        }
        out.push('\n');
    }
    for note in &report.notes {
        let _ = writeln!(out, "- Note: {}.", text(note));
    }
    let _ = writeln!(
        out,
        "\nIntervals are 95 %. Differences are paired by item; `p` is McNemar's exact test for one sample of each item, \
         Student's on clustered errors else, corrected over all tests above. Relative uplift: cluster bootstrap (BCa). \
         RELIGN {}.",
        cell(&report.relign)
    );
    out
}

/// One model's table against the base, and what each row can and cannot show.
#[must_use]
pub fn uplift(comparison: &Comparison) -> String {
    let mut out = String::new();
    out +=
        "| benchmark | metric | n | base | tuned | difference (95 %) | relative (95 %) | p (Holm) | p (BH) | shown |\n";
    out += "|---|---|---|---|---|---|---|---|---|---|\n";
    for row in &comparison.rows {
        let mut cells = cells(row);
        cells.insert(8, crate::words::p(row.p_bh));
        let _ = writeln!(out, "| {} |", cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(" | "));
    }
    if let Some(mean) = comparison.overall {
        let count = comparison.rows.len();
        let _ = writeln!(out, "\nMean of {count} benchmarks, each counting once: {}.", interval(&mean, points));
    }
    out.push('\n');
    for row in &comparison.rows {
        let _ = writeln!(out, "- {}.", text(&sentence(row)));
    }
    out
}

fn flip(out: &mut String, flip: &Flip) {
    let _ = writeln!(out, "**{}**, expected {}\n", text(&flip.item), code(&clip(&flip.expected, 80)));
    for (who, said) in [("asked", &flip.question), ("base", &flip.base.text), ("tuned", &flip.tuned.text)] {
        let _ = writeln!(out, "> {who}:\n>\n{}", quoted(&clip(said, SHOWN)));
    }
}
