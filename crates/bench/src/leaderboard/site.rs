//! The board as files that any web server, or none, can show.

use std::fmt::Write;
use std::path::Path;

use relign_core::{Estimate, Finish, Role, Verdict, files};

use super::{Board, Domain, Row, Table};
use crate::page::{bar, escape, list, page, table, top};
use crate::results::{ResultError, Results, Sample, summary};
use crate::words::{clip, share};

/// Writes `index.html`, `data.json` and a page of items for every row into `folder`.
///
/// # Errors
/// If a file cannot be written.
pub fn write(board: &Board, folder: &Path) -> Result<(), ResultError> {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        files::write(&path, text).map_err(|error| ResultError::Io { path, error })
    };
    let items = folder.join("items");
    std::fs::create_dir_all(&items).map_err(|error| ResultError::Io { path: items, error })?;
    let data = serde_json::to_string_pretty(board).unwrap_or_default();
    put("data.json", &(data + "\n"))?;
    put("index.html", &index(board))?;
    for row in board.domains.iter().flat_map(|domain| &domain.boards).flat_map(|table| &table.rows) {
        put(&row.page, &detail(&board.results[row.place], row))?;
    }
    Ok(())
}

fn index(board: &Board) -> String {
    let rows = || board.domains.iter().flat_map(|domain| &domain.boards).flat_map(|table| &table.rows);
    let models: std::collections::BTreeSet<&str> = rows().map(|row| row.model_sha256.as_str()).collect();
    let benchmarks: usize = board.domains.iter().map(|domain| domain.boards.len()).sum();
    let mut out = format!(
        "<h1>Leaderboard</h1>\n<p class=\"soft\">{} on {}; made by RELIGN {}; all of it as <a href=\"data.json\">data.json</a></p>\n",
        counted(models.len(), "model"),
        counted(benchmarks, "benchmark"),
        board.relign
    );
    if board.domains.len() > 1 {
        out += "<nav>";
        for (place, domain) in board.domains.iter().enumerate() {
            let _ = write!(out, "<a href=\"#domain-{place}\">{}</a>", escape(&domain.name));
        }
        out += "</nav>\n";
    }
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
    board.domains.iter().enumerate().for_each(|(place, domain)| section(&mut out, place, domain));
    page("Leaderboard", &out)
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn section(out: &mut String, place: usize, domain: &Domain) {
    let _ = writeln!(out, "<h2 id=\"domain-{place}\">{}</h2>", escape(&domain.name));
    if !domain.means.is_empty() {
        let _ = writeln!(out, "<h3>mean of {} benchmarks, each counting once</h3>", domain.boards.len());
        let top = top(domain.means.iter().map(|mean| mean.figure.high).fold(0.0, f64::max));
        let row = |mean: &super::Mean| {
            let rank = number(mean.rank.to_string(), mean.rank as f64);
            vec![rank, (escape(&mean.model), None), figure(&mean.figure), drawn(&mean.figure, top)]
        };
        let rows: Vec<_> = domain.means.iter().map(row).collect();
        *out += &table(&["rank", "model", "mean (95 %)", &axis(top)], &rows);
    }
    domain.boards.iter().for_each(|board| benchmark(out, board));
}

/// The heading over drawn intervals.
fn axis(top: f64) -> String {
    format!("0 to {:.0} %", 100.0 * top)
}

fn drawn(figure: &Estimate, top: f64) -> (String, Option<f64>) {
    (bar(figure.accuracy, (figure.low, figure.high), top), None)
}

fn benchmark(out: &mut String, board: &Table) {
    let _ = writeln!(
        out,
        "<h3>{} <span class=\"soft\">{}</span></h3>\n<p>{} <span class=\"soft small\">definition {}, data {}, grader {}</span></p>",
        escape(&board.benchmark),
        escape(&board.metric),
        escape(&board.about),
        &board.benchmark_hash[..12],
        &board.data_sha256[..12],
        escape(&board.grader)
    );
    let any = |has: fn(&Row) -> bool| board.rows.iter().any(has);
    let (lenient, failed, cost) =
        (any(|row| row.lenient.is_some()), any(|row| row.shares.failed > 0.0), any(|row| row.shares.cost > 0.0));
    let top = top(board.rows.iter().map(|row| row.figure.high).fold(0.0, f64::max));
    let axis = axis(top);
    let mut head = vec!["rank", "model", "figure (95 %)", axis.as_str(), "items"];
    head.extend(lenient.then_some("lenient"));
    head.extend(["no answer", "cut off"]);
    head.extend(failed.then_some("not judged"));
    head.extend(["tokens", "seconds"]);
    head.extend(cost.then_some("cost"));
    head.push("engine");
    let row = |row: &Row| {
        let share = |value: f64| number(share(value), value);
        let whole = |value: f64| number(format!("{value:.0}"), value);
        let name = format!(
            "<a href=\"{}\">{}</a> <span class=\"soft small\">{}</span>",
            row.page,
            escape(&row.model),
            escape(&clip(&row.model_sha256, 8))
        );
        let mut cells = vec![number(row.rank.to_string(), row.rank as f64), (name, None), figure(&row.figure)];
        cells.extend([drawn(&row.figure, top), number(row.figure.n.to_string(), row.figure.n as f64)]);
        if lenient {
            cells.push(row.lenient.map_or_else(|| (String::new(), Some(f64::NAN)), |lenient| share(lenient.accuracy)));
        }
        cells.extend([share(row.shares.unparsed), share(row.shares.truncated)]);
        cells.extend(failed.then(|| share(row.shares.failed)));
        let told = row.shares.counted > 0;
        cells.push(if told { whole(row.shares.length) } else { number("not told".to_owned(), f64::NAN) });
        cells.push(whole(row.shares.seconds));
        cells.extend(cost.then(|| number(format!("{:.4}", row.shares.cost), row.shares.cost)));
        cells.push((format!("<span class=\"soft small\">{}</span>", escape(&engine(&row.engine))), None));
        cells
    };
    let rows: Vec<_> = board.rows.iter().map(row).collect();
    *out += &table(&head, &rows);
}

/// An engine in a few words: what it is, its numbers, and what is not as usual.
fn engine(settings: &std::collections::BTreeMap<String, String>) -> String {
    let plain = ["name", "dtype"].iter().filter_map(|key| settings.get(*key).cloned());
    let rest = settings.iter().filter(|(key, value)| !["name", "dtype"].contains(&key.as_str()) && *value != "full");
    plain.chain(rest.map(|(key, value)| format!("{key} {value}"))).collect::<Vec<_>>().join(", ")
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
        "<p><a href=\"../index.html\">Leaderboard</a></p>\n<h1>{}</h1>\n<p class=\"lead\">{} {}, rank {}</p>\n",
        escape(&title),
        escape(&header.benchmark.metric().to_string()),
        escape(&figure(&row.figure).0),
        row.rank
    );
    out += &figures(results);
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
        provenance.iter().map(|(what, value)| vec![((*what).to_owned(), None), (hash(value), None)]).collect();
    let _ = writeln!(
        out,
        "<details><summary>provenance</summary><div>{}</div></details>",
        table(&["what", "value"], &provenance)
    );
    out += "<h2>Items</h2>\n<div class=\"filters\" hidden>";
    let kinds = [
        ("", "all"),
        ("right", "right"),
        ("wrong", "wrong"),
        ("silent", "no answer"),
        ("cut", "cut off"),
        ("failed", "not judged"),
    ];
    for (only, name) in kinds {
        let _ = write!(
            out,
            "<button type=\"button\" data-only=\"{only}\" aria-pressed=\"{}\">{name}</button>",
            only.is_empty()
        );
    }
    out +=
        "<input type=\"search\" placeholder=\"search\" aria-label=\"search\"><output class=\"soft\"></output></div>\n";
    for (item, samples) in results.items.iter().zip(&results.samples) {
        let judged = || samples.iter().flatten();
        let right = judged().filter(|sample| sample.score.verdict == Verdict::Correct).count();
        let class = if right > 0 { "up" } else { "down" };
        let question = item.task.messages.last().map_or("", |message| message.content.as_str());
        let first = clip(question.lines().next().unwrap_or_default(), 90);
        let _ = writeln!(
            out,
            "<details data-is=\"{}\"><summary><b class=\"{class}\">{right}/{}</b> {} <span class=\"soft\">{}</span></summary><div>",
            kinds_of(samples).join(" "),
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
            let class = if sample.score.verdict == Verdict::Correct { "up" } else { "down" };
            let mut said = vec![escape(&sample.score.reason)];
            said.extend(sample.lenient.as_ref().map(|score| format!("leniently {:?}", score.verdict).to_lowercase()));
            said.extend(sample.tokens.map(|tokens| format!("{tokens} tokens")));
            said.extend((sample.finish == Some(Finish::Length)).then(|| "cut off".to_owned()));
            let _ = writeln!(
                out,
                "<b class=\"{class}\">{verdict}</b> <span class=\"soft\">{}</span><pre>{}</pre>",
                said.join("; "),
                escape(&sample.text)
            );
        }
        out += "</div></details>\n";
    }
    page(&title, &out)
}

fn hash(text: &str) -> String {
    format!("<code class=\"hash\">{}</code>", escape(text))
}

/// What a reader may look for among items: one that has several samples can be several things.
fn kinds_of(samples: &[Option<Sample>]) -> Vec<&'static str> {
    let any = |is: &dyn Fn(&Sample) -> bool| samples.iter().flatten().any(is);
    let verdict = |wanted: Verdict| any(&|sample: &Sample| sample.score.verdict == wanted);
    let mut kinds = Vec::new();
    kinds.extend(verdict(Verdict::Correct).then_some("right"));
    kinds.extend(verdict(Verdict::Wrong).then_some("wrong"));
    kinds.extend(verdict(Verdict::Unparsed).then_some("silent"));
    kinds.extend(verdict(Verdict::Failed).then_some("failed"));
    kinds.extend(any(&|sample| sample.finish == Some(Finish::Length)).then_some("cut"));
    kinds
}

/// Every figure of a result, and what became of its samples.
fn figures(results: &Results) -> String {
    let found = summary(results);
    let mut rows: Vec<(String, String)> =
        found.metrics.iter().map(|(name, estimate)| (name.clone(), figure(estimate).0)).collect();
    rows.extend(found.lenient.map(|estimate| ("judged leniently".to_owned(), figure(&estimate).0)));
    let shares = &found.shares;
    for (name, value) in [
        ("right", shares.correct),
        ("wrong", shares.wrong),
        ("no answer", shares.unparsed),
        ("not judged", shares.failed),
        ("cut off", shares.truncated),
    ] {
        rows.push((format!("samples: {name}"), share(value)));
    }
    rows.push(("samples".to_owned(), shares.samples.to_string()));
    rows.push((
        "tokens".to_owned(),
        format!("{}, {:.0} a sample (std {:.0})", shares.tokens, shares.length, shares.length_std),
    ));
    rows.push(("seconds".to_owned(), format!("{:.1}", shares.seconds)));
    if shares.cost > 0.0 {
        rows.push(("cost".to_owned(), format!("{:.4}", shares.cost)));
    }
    let rows: Vec<_> =
        rows.into_iter().map(|(name, value)| vec![(escape(&name), None), (escape(&value), None)]).collect();
    format!("<details><summary>all figures</summary><div>{}</div></details>\n", table(&["what", "value"], &rows))
}
