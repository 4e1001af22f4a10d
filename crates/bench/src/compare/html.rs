//! The report as one HTML page.

use std::fmt::Write;

use super::text::{cells, sentence};
use super::{Answer, Comparison, Flip, Report, Row};
use crate::page::{Mark, escape, intervals, list, page, table};
use crate::words::{interval, points, share};

/// The report as a page that needs nothing but itself.
#[must_use]
pub fn html(report: &Report) -> String {
    let names: Vec<&str> = report.comparisons.iter().map(|c| c.model.as_str()).collect();
    let title = format!("{} against {}", names.join(", "), report.base);
    let mut out = format!("<h1>{}</h1>\n<p class=\"soft\">RELIGN {}</p>\n", escape(&title), report.relign);
    if !report.warnings.is_empty() {
        out +=
            "<div class=\"warn\"><b>These results are not comparable.</b> They were compared because it was asked for.";
        out += &list(&report.warnings);
        out += "</div>\n";
    }
    report.comparisons.iter().for_each(|comparison| section(&mut out, report, comparison));
    if !report.notes.is_empty() {
        out += "<h2>Notes</h2>\n";
        out += &list(&report.notes);
    }
    out += "<h2>How to read this</h2>\n<p>Differences are paired: both models answered the same items. Intervals are 95 %. p is \
            McNemar's exact test for one sample of each item, Student's on clustered errors else, corrected over all tests on \
            this page (Holm). The relative uplift's interval is a cluster bootstrap (BCa). \u{201c}Not shown\u{201d} does not mean \
            that there is no difference: the sentence below each table says how large one would have had to be.</p>\n";
    page(&title, &out)
}

fn section(out: &mut String, report: &Report, comparison: &Comparison) {
    if report.comparisons.len() > 1 {
        let _ = writeln!(out, "<h2>{}</h2>", escape(&comparison.model));
    }
    let class = |row: &Row| match row.verdict() {
        "better" => "up",
        "worse" => "down",
        _ => "even",
    };
    let head =
        ["benchmark", "metric", "n", "base", "tuned", "difference (95 %)", "relative (95 %)", "p (Holm)", "shown"];
    let row = |row: &Row| {
        let keys = [
            None,
            None,
            Some(row.difference.n as f64),
            Some(row.base.accuracy),
            Some(row.tuned.accuracy),
            Some(row.difference.difference),
            Some(row.uplift.value),
            Some(row.p_holm),
        ];
        let mut all: Vec<_> = cells(row).iter().zip(keys).map(|(cell, key)| (escape(cell), key)).collect();
        all.push((format!("<b class=\"{}\">{}</b>", class(row), row.verdict()), None));
        all
    };
    let rows: Vec<_> = comparison.rows.iter().map(row).collect();
    *out += &table(&head, &rows);
    if let Some(mean) = comparison.overall {
        let count = comparison.rows.len();
        let _ =
            writeln!(out, "<p>Mean of {count} benchmarks, each counting once: {} points.</p>", interval(&mean, points));
    }
    *out += "<h3>Difference in percentage points</h3>\n";
    let mark = |row: &Row| {
        let difference = &row.difference;
        let ends = (difference.low, difference.high);
        Mark { label: row.benchmark.clone(), value: difference.difference, ends, class: class(row) }
    };
    let marks: Vec<Mark> = comparison.rows.iter().map(mark).collect();
    *out += &intervals("Difference with 95 % intervals", &marks, (-0.02, 0.02), true, points);
    *out += "<h3>Base and tuned</h3>\n";
    let both = |row: &Row| {
        let mark = |who: &str, estimate: relign_core::Estimate, class| Mark {
            label: format!("{} {who}", row.benchmark),
            value: estimate.accuracy,
            ends: (estimate.low, estimate.high),
            class,
        };
        [mark("base", row.base, "base"), mark("tuned", row.tuned, "tuned")]
    };
    let marks: Vec<Mark> = comparison.rows.iter().flat_map(both).collect();
    *out += &intervals("Both models with 95 % intervals", &marks, (0.0, 0.1), false, share);
    *out += &list(&comparison.rows.iter().map(|row| sentence(row) + ".").collect::<Vec<_>>());
    for row in &comparison.rows {
        for (what, flips, all) in [("won", &row.gained, row.won), ("lost", &row.missed, row.lost)] {
            if !flips.is_empty() {
                let shown = flips.len();
                let _ = writeln!(out, "<h3>{}: items {what}, {shown} of {all}</h3>", escape(&row.benchmark));
                flips.iter().for_each(|item| flip(out, item));
            }
        }
    }
    *out += "<h3>Provenance</h3>\n";
    let provenance: Vec<Vec<_>> = comparison
        .rows
        .iter()
        .flat_map(|row| {
            row.provenance.iter().map(|(what, [ours, theirs])| {
                [&row.benchmark, what, ours, theirs].map(|text| (escape(text), None)).to_vec()
            })
        })
        .collect();
    let _ = writeln!(
        out,
        "<details><summary>hashes, settings and versions</summary><div>{}</div></details>",
        table(&["benchmark", "what", "base", "tuned"], &provenance)
    );
}

fn flip(out: &mut String, flip: &Flip) {
    let first = flip.question.lines().next().unwrap_or_default();
    let said = |who: &str, answer: &Answer| {
        let verdict = format!("{:?}", answer.verdict).to_lowercase();
        let reason = escape(&answer.reason);
        format!(
            "<div><b>{who}: {verdict}</b> <span class=\"soft\">{reason}</span><pre>{}</pre></div>",
            escape(&answer.text)
        )
    };
    let _ = writeln!(
        out,
        "<details><summary>{} <span class=\"soft\">{}</span></summary><div><p>Asked:</p><pre>{}</pre><p>Expected: <code>{}</code></p><div class=\"pair\">{}{}</div></div></details>",
        escape(&flip.item),
        escape(&crate::words::clip(first, 90)),
        escape(&flip.question),
        escape(&flip.expected),
        said("base", &flip.base),
        said("tuned", &flip.tuned)
    );
}
