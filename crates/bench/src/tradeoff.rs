//! What ways of answering make of the tokens they spend.

use std::fmt::Write;

use relign_core::Estimate;
use serde::Serialize;

use crate::page::{escape, page, table};
use crate::words::share;

/// One way of answering within one budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it is called.
    pub strategy: String,
    /// Tokens it might spend on a task; `None` for no bound.
    pub budget: Option<u64>,
    /// The share of tasks that it answers rightly.
    pub accuracy: Estimate,
    /// The share of tasks of which any of its answers is right: what a perfect choice among them would reach.
    pub ceiling: Estimate,
    /// Tasks of which nothing could be judged; they are left out of the shares.
    pub failed: u64,
    /// Tokens generated for a task, on average.
    pub tokens: f64,
    /// Requests for a task, on average.
    pub requests: f64,
    /// The share of prompt tokens that came from the tree; `None` where it is not known.
    pub served: Option<f64>,
    /// Seconds of the engine that went into its tokens, whoever had them generated; for all tasks.
    pub seconds: f64,
    /// Seconds on the clock; for all tasks.
    pub measured: f64,
    /// The share of its tokens that another row had generated.
    pub reused: f64,
}

const HEAD: [&str; 10] = [
    "strategy",
    "budget",
    "n",
    "accuracy (95 %)",
    "any right (95 %)",
    "tokens",
    "from tree",
    "seconds",
    "on the clock",
    "reused",
];

/// What the columns mean.
const NOTE: &str = "Tokens are those generated for a task, on average; each strategy is charged all that it asked for. \
    \u{201c}Any right\u{201d} is the share of tasks of which any answer in the tree is right. \u{201c}From tree\u{201d} is the share of \
    prompt tokens whose keys and values were there already. Completions that another strategy had asked for are not \
    generated again: \u{201c}reused\u{201d} is their share of the tokens. \u{201c}Seconds\u{201d} are those of the engine that went into all of a \
    row's completions, reused ones included at what they took when they were generated; \u{201c}on the clock\u{201d} is what passed \
    while the row was run, without them.";

fn cells(row: &Row) -> [String; 10] {
    let interval = |e: &Estimate| format!("{} ({:.1} to {:.1})", share(e.accuracy), 100.0 * e.low, 100.0 * e.high);
    [
        row.strategy.clone(),
        row.budget.map_or_else(|| "none".to_owned(), |tokens| tokens.to_string()),
        row.accuracy.n.to_string(),
        interval(&row.accuracy),
        interval(&row.ceiling),
        format!("{:.0}", row.tokens),
        row.served.map_or_else(|| "-".to_owned(), share),
        format!("{:.1}", row.seconds),
        format!("{:.1}", row.measured),
        format!("{:.0} %", 100.0 * row.reused),
    ]
}

/// The rows for a terminal.
#[must_use]
pub fn text(rows: &[Row]) -> String {
    let head = HEAD.map(str::to_owned);
    let rows: Vec<Vec<String>> = rows.iter().map(|row| cells(row).to_vec()).collect();
    crate::words::table(&head, &rows)
}

/// The rows as a Markdown table with a note on its columns.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let mut out = format!("| {} |\n|{}\n", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    for row in rows {
        let cells = cells(row).map(|cell| crate::markdown::cell(&cell));
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out + "\n" + NOTE + "\n"
}

/// The rows as a page that needs nothing but itself, around a plot that is SVG already.
#[must_use]
pub fn html(title: &str, facts: &[(&str, String)], rows: &[Row], plot: &str) -> String {
    let mut out = format!("<h1>{}</h1>\n<p class=\"soft\">", escape(title));
    let said: Vec<String> = facts.iter().map(|(name, value)| format!("{name}: {}", escape(value))).collect();
    out += &said.join(" \u{b7} ");
    out += "</p>\n";
    // Only the element itself: a declaration before it has no place in a page.
    let plot = plot.find("<svg").map_or("", |at| &plot[at..]);
    let _ = writeln!(out, "<figure class=\"curve\">{plot}</figure>");
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let keys = [
                None,
                Some(row.budget.map_or(f64::MAX, |tokens| tokens as f64)),
                Some(row.accuracy.n as f64),
                Some(row.accuracy.accuracy),
                Some(row.ceiling.accuracy),
                Some(row.tokens),
                Some(row.served.unwrap_or(f64::NAN)),
                Some(row.seconds),
                Some(row.measured),
                Some(row.reused),
            ];
            cells(row).iter().zip(keys).map(|(cell, key)| (escape(cell), key)).collect::<Vec<_>>()
        })
        .collect();
    out += &table(&HEAD, &rows);
    let _ = writeln!(out, "<p class=\"soft\">{NOTE}</p>");
    page(title, &out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(strategy: &str) -> Row {
        let estimate = Estimate { accuracy: 0.25, low: 0.1, high: 0.5, n: 20 };
        Row {
            strategy: strategy.to_owned(),
            budget: Some(256),
            accuracy: estimate,
            ceiling: estimate,
            failed: 0,
            tokens: 199.6,
            requests: 4.0,
            served: None,
            seconds: 1.0,
            measured: 0.5,
            reused: 0.5,
        }
    }

    #[test]
    fn rows_are_told_alike_everywhere_and_no_name_breaks_out() {
        let rows = [row("a|b<script>"), row("plain")];
        assert!(text(&rows).contains("25.0 % (10.0 to 50.0)") && text(&rows).contains("  200  "));
        assert!(markdown(&rows).contains("| a\\|b&lt;script&gt; | 256 | 20 |"));
        let page = html("t", &[("model", "<x>".to_owned())], &rows, "<?xml?><svg></svg>");
        assert!(!page.contains("b<script>") && !page.contains("<?xml") && page.contains("&lt;x&gt;"));
    }
}
