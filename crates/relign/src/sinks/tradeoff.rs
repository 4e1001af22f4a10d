//! Accuracy against the tokens spent.

use std::path::Path;

use plotters::prelude::*;
use relign_bench::tradeoff::Row;

use super::plot::{Area, Drawn, FAINT, FONT, GREY, INK, SIZE, letters, whole};

/// Colours that can be told apart, also by those who see fewer of them (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 60),
    RGBColor(60, 60, 60),
];

/// Draws `compare.svg` and `compare.png` into `folder`. Equal rows get equal pictures.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn draw(folder: &Path, title: &str, rows: &[Row]) -> anyhow::Result<()> {
    letters();
    whole(&folder.join("compare.svg"), &|path| {
        figure(&SVGBackend::new(path, SIZE).into_drawing_area(), title, rows).map_err(|e| e.to_string())
    })?;
    whole(&folder.join("compare.png"), &|path| {
        figure(&BitMapBackend::new(path, SIZE).into_drawing_area(), title, rows).map_err(|e| e.to_string())
    })
}

/// The rows of each strategy, in the order of first appearance.
fn series(rows: &[Row]) -> Vec<(&str, Vec<&Row>)> {
    let mut series: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in rows {
        match series.iter_mut().find(|(name, _)| *name == row.strategy) {
            Some((_, own)) => own.push(row),
            None => series.push((&row.strategy, vec![row])),
        }
    }
    for (_, own) in &mut series {
        own.sort_by(|a, b| a.tokens.total_cmp(&b.tokens));
    }
    series
}

fn figure<B: DrawingBackend>(area: &Area<B>, title: &str, rows: &[Row]) -> Drawn<B> {
    area.fill(&WHITE)?;
    let (head, body) = area.split_vertically(92);
    head.draw(&Text::new(title.to_owned(), (36, 24), (FONT, 30).into_font().color(&INK)))?;
    let n = rows.iter().map(|row| row.accuracy.n).max().unwrap_or(0);
    let said = format!("accuracy against tokens spent, {n} tasks, 95 % intervals; hollow: any answer right");
    head.draw(&Text::new(said, (36, 62), (FONT, 20).into_font().color(&GREY)))?;
    let (body, legend) = body.split_horizontally(880);
    // A server that counts nothing leaves 0, which has no place on this axis.
    let spent = |row: &Row| row.tokens.max(1.0);
    let low = rows.iter().map(spent).fold(f64::INFINITY, f64::min).min(1e9) / 1.35;
    let high = rows.iter().map(spent).fold(low, f64::max) * 1.35;
    let top = rows.iter().map(|row| 100.0 * row.ceiling.accuracy.max(row.accuracy.high)).fold(10.0, f64::max);
    let top = (top * 1.06).min(102.0);
    let mut chart = ChartBuilder::on(&body)
        .margin_right(20)
        .margin_left(20)
        .margin_bottom(14)
        .x_label_area_size(54)
        .y_label_area_size(76)
        .build_cartesian_2d((low..high).log_scale().base(2.0), 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("tokens generated for a task (mean, logarithmic)")
        .x_labels(9)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_desc("right (%)")
        .y_labels(8)
        .y_label_formatter(&|y| format!("{y:.0}"))
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(GREY)
        .label_style((FONT, 18).into_font().color(&INK))
        .axis_desc_style((FONT, 20).into_font().color(&INK))
        .draw()?;
    let cap = 1.012;
    for (at, (name, own)) in series(rows).into_iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let ceilings = own.iter().filter(|row| row.ceiling.accuracy > row.accuracy.accuracy);
        let ceilings: Vec<(f64, f64)> = ceilings.map(|row| (spent(row), 100.0 * row.ceiling.accuracy)).collect();
        chart.draw_series(ceilings.iter().map(|&point| Circle::new(point, 5, colour.mix(0.7).stroke_width(2))))?;
        let points: Vec<(f64, f64)> = own.iter().map(|row| (spent(row), 100.0 * row.accuracy.accuracy)).collect();
        chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(3)))?;
        for row in &own {
            let (x, low, high) = (spent(row), 100.0 * row.accuracy.low, (100.0 * row.accuracy.high).min(top));
            let bars = [[(x, low), (x, high)], [(x / cap, low), (x * cap, low)], [(x / cap, high), (x * cap, high)]];
            chart.draw_series(bars.map(|bar| PathElement::new(bar, colour.mix(0.6).stroke_width(2))))?;
        }
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 7, colour.filled())))?;
        let y = 30 + 30 * i32::try_from(at).unwrap_or(0);
        legend.draw(&Circle::new((16, y), 7, colour.filled()))?;
        for (line, part) in wrapped(name, 30).into_iter().take(1).enumerate() {
            let place = (32, y - 9 + 20 * i32::try_from(line).unwrap_or(0));
            legend.draw(&Text::new(part, place, (FONT, 18).into_font().color(&INK)))?;
        }
    }
    area.present()
}

/// The name, cut where it has no room.
fn wrapped(name: &str, most: usize) -> Vec<String> {
    match name.char_indices().nth(most) {
        Some((at, _)) => vec![format!("{}…", &name[..at])],
        None => vec![name.to_owned()],
    }
}
