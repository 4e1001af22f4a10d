//! The board as files that any web server, or none, can show.

use std::fmt::Write;
use std::path::Path;

use relign_core::{Estimate, Role, Verdict};

use super::{Board, Domain, Row, Table};
use crate::page::{Mark, escape, intervals, list, page, table};
use crate::results::{ResultError, Results};
use crate::words::{clip, share};

/// Writes `index.html`, `data.json` and a page of items for every row into `folder`.
///
/// # Errors
/// If a file cannot be written.
pub fn write(board: &Board, folder: &Path) -> Result<(), ResultError> {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|source| ResultError::Io { path, source })
    };
    let items = folder.join("items");
    std::fs::create_dir_all(&items).map_err(|source| ResultError::Io { path: items, source })?;
    let data = serde_json::to_string_pretty(board).unwrap_or_default();
    put("data.json", &(data + "\n"))?;
    put("index.html", &index(board))?;
    for row in board.domains.iter().flat_map(|domain| &domain.boards).flat_map(|table| &table.rows) {
        put(&row.page, &detail(&board.results[row.place], row))?;
    }
    Ok(())
}

fn index(board: &Board) -> String {
    let mut out = format!(
        "<h1>Leaderboard</h1>\n<p class=\"soft\">RELIGN {}; <a href=\"data.json\">data.json</a></p>\n",
        board.relign
    );
    out += "<p>A rank is 1 and the number of models that are better beyond chance on the same items: at 5 % over all pairs of a \
            table, corrected (Holm). Models that cannot be told apart share a rank. Intervals are 95 %.</p>\n";
    if !board.refused.is_empty() {
        out += "<div class=\"warn\"><b>Refused results</b>";
        out += &list(&board.refused);
        out += "</div>\n";
    }
    if board.domains.is_empty() {
        out += "<p>There are no results yet.</p>\n";
    }
    board.domains.iter().for_each(|domain| section(&mut out, domain));
    page("Leaderboard", &out)
}

fn section(out: &mut String, domain: &Domain) {
    let _ = writeln!(out, "<h2>{}</h2>", escape(&domain.name));
    if !domain.means.is_empty() {
        let _ = writeln!(out, "<h3>mean of {} benchmarks, each counting once</h3>", domain.boards.len());
        let rows: Vec<_> = domain
            .means
            .iter()
            .map(|mean| {
                vec![number(mean.rank.to_string(), mean.rank as f64), (escape(&mean.model), None), figure(&mean.figure)]
            })
            .collect();
        *out += &table(&["rank", "model", "mean (95 %)"], &rows);
    }
    domain.boards.iter().for_each(|board| benchmark(out, board));
}

fn benchmark(out: &mut String, board: &Table) {
    let _ = writeln!(
        out,
        "<h3>{} <span class=\"soft\">{}</span></h3>\n<p>{} <span class=\"soft\">definition {}, data {}, grader {}</span></p>",
        escape(&board.benchmark),
        escape(&board.metric),
        escape(&board.about),
        &board.benchmark_hash[..12],
        &board.data_sha256[..12],
        escape(&board.grader)
    );
    let head = ["rank", "model", "figure (95 %)", "items", "lenient", "no answer", "cut off", "tokens", "engine"];
    let row = |row: &Row| {
        let engine: Vec<String> = row.engine.values().cloned().collect();
        let share = |value: f64| number(share(value), value);
        vec![
            number(row.rank.to_string(), row.rank as f64),
            (
                format!(
                    "<a href=\"{}\">{}</a> <span class=\"soft\">{}</span>",
                    row.page,
                    escape(&row.model),
                    escape(&clip(&row.model_sha256, 8))
                ),
                None,
            ),
            figure(&row.figure),
            number(row.figure.n.to_string(), row.figure.n as f64),
            row.lenient.map_or_else(|| (String::new(), Some(f64::NAN)), |lenient| share(lenient.accuracy)),
            share(row.shares.unparsed),
            share(row.shares.truncated),
            number(format!("{:.0}", row.shares.length), row.shares.length),
            (escape(&engine.join(" ")), None),
        ]
    };
    let rows: Vec<_> = board.rows.iter().map(row).collect();
    *out += &table(&head, &rows);
    let mark = |row: &Row| Mark {
        label: format!("{}. {}", row.rank, row.model),
        value: row.figure.accuracy,
        ends: (row.figure.low, row.figure.high),
        class: "tuned",
    };
    let marks: Vec<Mark> = board.rows.iter().map(mark).collect();
    *out += &intervals(&format!("{} with 95 % intervals", board.benchmark), &marks, (0.0, 0.1), false, share);
}

fn number(text: String, key: f64) -> (String, Option<f64>) {
    (text, Some(key))
}

fn figure(estimate: &Estimate) -> (String, Option<f64>) {
    let Estimate { accuracy, low, high, .. } = *estimate;
    number(format!("{} ({} to {})", share(accuracy), share(low), share(high)), accuracy)
}

/// A row's items: what was asked, said and judged.
fn detail(results: &Results, row: &Row) -> String {
    let header = &results.header;
    let title = format!("{} on {}", header.model, header.benchmark.name);
    let mut out = format!(
        "<p><a href=\"../index.html\">Leaderboard</a></p>\n<h1>{}</h1>\n<p>{} {}, rank {}</p>\n",
        escape(&title),
        escape(&header.benchmark.metric().to_string()),
        escape(&figure(&row.figure).0),
        row.rank
    );
    let engine: Vec<String> = header.engine.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let provenance = [
        ("benchmark", header.benchmark_hash.clone()),
        ("data", header.data_sha256.clone()),
        ("template", header.template_sha256.clone()),
        ("grader", header.grader.clone()),
        ("engine", engine.join(", ")),
        ("seed", header.seed.to_string()),
        ("model", header.model_sha256.clone()),
        ("relign", header.relign.clone()),
    ];
    let provenance: Vec<_> =
        provenance.iter().map(|(what, value)| vec![((*what).to_owned(), None), (escape(value), None)]).collect();
    let _ = writeln!(
        out,
        "<details><summary>provenance</summary><div>{}</div></details>",
        table(&["what", "value"], &provenance)
    );
    out += "<h2>Items</h2>\n";
    for (item, samples) in results.items.iter().zip(&results.samples) {
        let judged = || samples.iter().flatten();
        let right = judged().filter(|sample| sample.score.verdict == Verdict::Correct).count();
        let class = if right > 0 { "up" } else { "down" };
        let question = item.task.messages.last().map_or("", |message| message.content.as_str());
        let first = clip(question.lines().next().unwrap_or_default(), 90);
        let _ = writeln!(
            out,
            "<details><summary><b class=\"{class}\">{right}/{}</b> {} <span class=\"soft\">{}</span></summary><div>",
            samples.len(),
            escape(&item.task.id),
            escape(&first)
        );
        for message in &item.task.messages {
            let who = if message.role == Role::Assistant { "shown as answered" } else { "asked" };
            let _ = writeln!(out, "<p class=\"soft\">{who}</p><pre>{}</pre>", escape(&message.content));
        }
        let _ = writeln!(out, "<p>expected <code>{}</code></p>", escape(&item.task.answer));
        for sample in judged() {
            let verdict = format!("{:?}", sample.score.verdict).to_lowercase();
            let _ = writeln!(
                out,
                "<b>{verdict}</b> <span class=\"soft\">{}</span><pre>{}</pre>",
                escape(&sample.score.reason),
                escape(&sample.text)
            );
        }
        out += "</div></details>\n";
    }
    page(&title, &out)
}
