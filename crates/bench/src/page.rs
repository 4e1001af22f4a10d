//! Pages that need nothing but themselves: no script, style or picture from elsewhere.

use std::fmt::Write;

/// Text as HTML shows it, in elements and in quoted attributes. Texts come from models and from data sets,
/// so nothing reaches a page but through here.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = include_str!("page.css");
const SORT: &str = include_str!("page.js");

/// A whole page around `body`, which is HTML already.
pub(crate) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n<script>\n{SORT}</script>\n</body>\n</html>\n"
    )
}

/// A list of texts.
pub(crate) fn list(texts: &[String]) -> String {
    let items: String = texts.iter().map(|text| format!("<li>{}</li>", escape(text))).collect();
    format!("<ul>{items}</ul>\n")
}

/// A table; cells are HTML already. With a key beside it, a cell is sorted by that.
pub(crate) fn table(head: &[&str], rows: &[Vec<(String, Option<f64>)>]) -> String {
    let mut out = "<div class=\"wide\"><table class=\"sortable\">\n<thead><tr>".to_owned();
    for (column, name) in head.iter().enumerate() {
        let numbers = rows.iter().any(|row| row[column].1.is_some());
        let class = if numbers { " class=\"number\"" } else { "" };
        let _ = write!(out, "<th scope=\"col\"{class}><button type=\"button\">{}</button></th>", escape(name));
    }
    out += "</tr></thead>\n<tbody>\n";
    for row in rows {
        out += "<tr>";
        for (cell, key) in row {
            let _ = match key {
                Some(key) if key.is_finite() => write!(out, "<td class=\"number\" data-key=\"{key}\">{cell}</td>"),
                Some(_) => write!(out, "<td class=\"number\">{cell}</td>"),
                None => write!(out, "<td>{cell}</td>"),
            };
        }
        out += "</tr>\n";
    }
    out + "</tbody>\n</table></div>\n"
}

/// A figure with its interval, for a plot.
pub(crate) struct Mark {
    /// What it is of, as it stands beside it; nothing where the one above says it.
    pub(crate) label: String,
    /// The same in full, shown where one points at it.
    pub(crate) title: String,
    /// The figure.
    pub(crate) value: f64,
    /// The interval.
    pub(crate) ends: (f64, f64),
    /// The class that colours it: `up`, `down`, `even`, `base` or `tuned`.
    pub(crate) class: &'static str,
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 230.0;
const RIGHT: f64 = 24.0;
const LINE: f64 = 26.0;

/// Intervals under each other on one axis, which holds `hold` in any case, as SVG. `zero` draws a line there.
pub(crate) fn intervals(title: &str, marks: &[Mark], hold: (f64, f64), zero: bool, say: fn(f64) -> String) -> String {
    let ends = marks.iter().flat_map(|mark| [mark.ends.0, mark.ends.1, mark.value]).filter(|end| end.is_finite());
    let (low, high) = ends.fold(hold, |(low, high), end| (low.min(end), high.max(end)));
    let step = step(high - low);
    let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
    let x = |value: f64| LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let height = LINE * marks.len() as f64 + 46.0;
    let bottom = height - 34.0;
    let title = escape(title);
    let mut out = format!(
        "<div class=\"wide\"><svg class=\"plot\" role=\"img\" aria-label=\"{title}\" viewBox=\"0 0 {WIDTH} {height}\" xmlns=\"http://www.w3.org/2000/svg\">\n<title>{title}</title>\n"
    );
    for tick in 0..=((high - low) / step).round() as u32 {
        let value = low + step * f64::from(tick);
        let at = x(value);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"6\" x2=\"{at:.1}\" y2=\"{bottom}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 20.0,
            escape(&say(value))
        );
    }
    if zero {
        let at = x(0.0);
        let _ = writeln!(out, "<line class=\"zero\" x1=\"{at:.1}\" y1=\"2\" x2=\"{at:.1}\" y2=\"{bottom}\"/>");
    }
    for (place, mark) in marks.iter().enumerate() {
        let y = 6.0 + LINE * (place as f64 + 0.5);
        let (from, to, at) = (x(mark.ends.0.max(low)), x(mark.ends.1.min(high)), x(mark.value.clamp(low, high)));
        let (label, class) = (escape(&crate::words::clip(&mark.label, 32)), mark.class);
        let _ = writeln!(
            out,
            "<g class=\"{class}\"><title>{}: {} ({} to {})</title><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\
             <line x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{to:.1}\" y2=\"{y:.1}\"/><circle cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"5\"/></g>",
            escape(&mark.title),
            escape(&say(mark.value)),
            escape(&say(mark.ends.0)),
            escape(&say(mark.ends.1)),
            LEFT - 12.0,
            y + 4.5,
        );
    }
    out + "</svg></div>\n"
}

/// One figure with its interval on an axis from 0 to `top`, small enough for a table's cell.
pub(crate) fn bar(value: f64, ends: (f64, f64), top: f64) -> String {
    let x = |value: f64| 6.0 + (value / top).clamp(0.0, 1.0) * 178.0;
    let (from, to, at) = (x(ends.0), x(ends.1), x(value));
    format!(
        "<svg class=\"bar\" aria-hidden=\"true\" viewBox=\"0 0 190 18\" xmlns=\"http://www.w3.org/2000/svg\"><line class=\"grid\" \
         x1=\"6\" y1=\"9\" x2=\"184\" y2=\"9\"/><g class=\"tuned\"><line x1=\"{from:.1}\" y1=\"9\" x2=\"{to:.1}\" y2=\"9\"/><circle \
         cx=\"{at:.1}\" cy=\"9\" r=\"4.5\"/></g></svg>"
    )
}

/// The end of an axis from 0 that holds `high`: a round share.
pub(crate) fn top(high: f64) -> f64 {
    let step = step(high.max(0.05));
    (high.max(0.05) / step).ceil() * step
}

/// A round distance between ticks, of which some six fit into `span`.
fn step(span: f64) -> f64 {
    let rough = (span / 6.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|round| round * power >= rough * 0.999);
    round.unwrap_or(10.0) * power
}
