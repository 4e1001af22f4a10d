//! The report as one HTML page.

use std::fmt::Write;

use super::text::cells;
use super::{Answer, Comparison, Flip, Report, Row};
use crate::page::{Mark, escape, intervals, list, page, table};
use crate::words::{interval, points, share};

/// The report as a page that needs nothing but itself.
#[must_use]
pub fn html(report: &Report) -> String {
    let names: Vec<&str> = report.comparisons.iter().map(|c| c.model.as_str()).collect();
    let title = format!("{} against {}", names.join(", "), report.base);
    let made = escape(&report.relign);
    let mut out =
        format!("<h1>{}</h1>\n<p class=\"soft\">Compared by RELIGN {made}, item by item</p>\n", escape(&title));
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
            that there is no difference: \u{201c}would have shown\u{201d} says how large one would have had to be to be found \
            with a chance of 80 %.</p>\n";
    page(&title, &out)
}

fn section(out: &mut String, report: &Report, comparison: &Comparison) {
    if report.comparisons.len() > 1 {
        let _ = writeln!(out, "<h2>{}</h2>", escape(&comparison.model));
    }
    let _ = writeln!(out, "<p class=\"lead\">{}</p>", escape(&lead(&comparison.rows)));
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
        let (ends, name) = ((difference.low, difference.high), row.benchmark.clone());
        Mark { label: name.clone(), title: name, value: difference.difference, ends, class: class(row) }
    };
    let marks: Vec<Mark> = comparison.rows.iter().map(mark).collect();
    *out += &intervals("Difference with 95 % intervals", &marks, (-0.02, 0.02), true, points);
    *out += "<h3>Both models</h3>\n<p class=\"small\"><b class=\"base\">\u{25cf} base</b> &nbsp; <b class=\"tuned\">\u{25cf} tuned</b></p>\n";
    let both = |row: &Row| {
        let mark = |who: &'static str, label: &str, estimate: relign_core::Estimate| Mark {
            label: label.to_owned(),
            title: format!("{} {who}", row.benchmark),
            value: estimate.accuracy,
            ends: (estimate.low, estimate.high),
            class: who,
        };
        [mark("base", &row.benchmark, row.base), mark("tuned", "", row.tuned)]
    };
    let marks: Vec<Mark> = comparison.rows.iter().flat_map(both).collect();
    *out += &intervals("Both models with 95 % intervals", &marks, (0.0, 0.1), false, share);
    behind(out, comparison);
    *out += "<h3>Items that flipped</h3>\n";
    let all: usize = comparison.rows.iter().map(|row| row.gained.len() + row.missed.len()).sum();
    if all == 0 {
        *out += "<p>None.</p>\n";
    }
    for row in &comparison.rows {
        for (what, flips, of) in [("won", &row.gained, row.won), ("lost", &row.missed, row.lost)] {
            if !flips.is_empty() {
                let (open, name) = (if all <= FEW { " open" } else { "" }, escape(&row.benchmark));
                let shown =
                    if flips.len() as u64 == of { String::new() } else { format!(", {} of them here", flips.len()) };
                let class = if what == "won" { "up" } else { "down" };
                let _ = writeln!(
                    out,
                    "<details{open}><summary>{name}: <b class=\"{class}\">{of} {what}</b>{shown}</summary><div>"
                );
                flips.iter().for_each(|item| flip(out, item));
                *out += "</div></details>\n";
            }
        }
    }
    *out += "<h3>Provenance</h3>\n";
    let provenance: Vec<Vec<_>> = comparison
        .rows
        .iter()
        .flat_map(|row| {
            row.provenance.iter().map(|(what, [ours, theirs])| {
                let hash = |text: &String| format!("<code class=\"hash\">{}</code>", escape(text));
                [escape(&row.benchmark), escape(what), hash(ours), hash(theirs)].map(|cell| (cell, None)).to_vec()
            })
        })
        .collect();
    let _ = writeln!(
        out,
        "<details><summary>hashes, settings and versions</summary><div>{}</div></details>",
        table(&["benchmark", "what", "base", "tuned"], &provenance)
    );
}

/// At most this many flips are shown without a click.
const FEW: usize = 6;

/// What the rows come to, in a sentence.
fn lead(rows: &[Row]) -> String {
    let count = |verdict: &str| rows.iter().filter(|row| row.verdict() == verdict).count();
    let (better, worse, open) = (count("better"), count("worse"), count("not shown"));
    if let [row] = rows {
        let change = points(row.difference.difference);
        return match row.verdict() {
            "not shown" => format!("No difference is shown on {}: {change} points, within chance.", row.benchmark),
            verdict => format!(
                "{} on {}: {change} points.",
                if verdict == "better" { "Better" } else { "Worse" },
                row.benchmark
            ),
        };
    }
    let worse = if worse == 0 { "none".to_owned() } else { worse.to_string() };
    let open = if open == 0 { String::new() } else { format!("; on {open} no difference is shown") };
    format!("Better on {better} of {} benchmarks, worse on {worse}{open}.", rows.len())
}

/// What the figures rest on, and what became of the samples.
fn behind(out: &mut String, comparison: &Comparison) {
    *out +=
        "<h3>Behind the figures</h3>\n<p class=\"small soft\">Pairs are the base model's and the tuned model's.</p>\n";
    let lenient = comparison.rows.iter().any(|row| row.base_lenient.is_some());
    let failed = comparison.rows.iter().any(|row| row.base_shares.failed + row.tuned_shares.failed > 0.0);
    let cost = comparison.rows.iter().any(|row| row.base_shares.cost + row.tuned_shares.cost > 0.0);
    let mut head = vec!["benchmark", "items won", "lost", "left out", "would have shown", "items needed"];
    head.extend(lenient.then_some("lenient"));
    head.extend(["no answer", "cut off"]);
    head.extend(failed.then_some("not judged"));
    head.extend(["tokens", "seconds"]);
    head.extend(cost.then_some("cost"));
    let rows: Vec<Vec<(String, Option<f64>)>> = comparison
        .rows
        .iter()
        .map(|row| {
            let count = |n: u64| (n.to_string(), Some(n as f64));
            let (a, b) = (&row.base_shares, &row.tuned_shares);
            let pair = |ours: f64, theirs: f64, say: fn(f64) -> String| {
                (format!("{}, {}", say(ours), say(theirs)), Some(theirs - ours))
            };
            let whole: fn(f64) -> String = |value| format!("{value:.0}");
            let visible = row.detectable.map_or_else(String::new, |it| points(it).trim_start_matches('+').to_owned());
            let needed = row.needed.map_or_else(|| (String::new(), Some(f64::NAN)), count);
            let mut cells = vec![(escape(&row.benchmark), None), count(row.won), count(row.lost), count(row.left_out)];
            cells.extend([(visible, Some(row.detectable.unwrap_or(f64::NAN))), needed]);
            if lenient {
                cells.push(match (row.base_lenient, row.tuned_lenient) {
                    (Some(base), Some(tuned)) => pair(base.accuracy, tuned.accuracy, share),
                    _ => (String::new(), Some(f64::NAN)),
                });
            }
            cells.extend([pair(a.unparsed, b.unparsed, share), pair(a.truncated, b.truncated, share)]);
            cells.extend(failed.then(|| pair(a.failed, b.failed, share)));
            cells.push(if a.counted > 0 && b.counted > 0 {
                pair(a.length, b.length, whole)
            } else {
                ("not told".to_owned(), Some(f64::NAN))
            });
            cells.push(pair(a.seconds, b.seconds, whole));
            cells.extend(cost.then(|| pair(a.cost, b.cost, |value| format!("{value:.4}"))));
            cells
        })
        .collect();
    *out += &table(&head, &rows);
}

fn flip(out: &mut String, flip: &Flip) {
    let first = flip.question.lines().next().unwrap_or_default();
    let said = |who: &str, answer: &Answer| {
        let verdict = format!("{:?}", answer.verdict).to_lowercase();
        let reason = escape(&answer.reason);
        format!(
            "<div><b>{who}: <span class=\"{}\">{verdict}</span></b> <span class=\"soft\">{reason}</span><pre>{}</pre></div>",
            if answer.verdict == relign_core::Verdict::Correct { "up" } else { "down" },
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
