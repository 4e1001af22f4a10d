//! The run's curve: accuracy over steps, held-out accuracy with its intervals, and the reward.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use relign_core::StepMetrics;

use super::jsonl::{Evaluation, evaluations, metrics};

pub(super) const SIZE: (u32, u32) = (1200, 800);
pub(super) const INK: RGBColor = RGBColor(38, 43, 51);
pub(super) const FAINT: RGBColor = RGBColor(226, 229, 234);
pub(super) const GREY: RGBColor = RGBColor(110, 117, 128);
const SAMPLED: RGBColor = RGBColor(58, 120, 194);
const HELD_OUT: RGBColor = RGBColor(214, 84, 40);
const REWARD: RGBColor = RGBColor(46, 139, 87);
pub(super) const FONT: &str = "sans-serif";

/// Draws `curve.svg` and `curve.png` into a run's folder, from its `metrics.jsonl` and `evals.jsonl`.
/// Equal runs get equal curves.
///
/// # Errors
/// If the files cannot be read or written.
pub(crate) fn draw(folder: &Path, title: &str) -> anyhow::Result<()> {
    let (steps, evals) = (metrics(folder)?, evaluations(folder)?);
    letters();
    whole(&folder.join("curve.svg"), &|path| {
        figure(&SVGBackend::new(path, SIZE).into_drawing_area(), title, &steps, &evals).map_err(|e| e.to_string())
    })?;
    whole(&folder.join("curve.png"), &|path| {
        figure(&BitMapBackend::new(path, SIZE).into_drawing_area(), title, &steps, &evals).map_err(|e| e.to_string())
    })
}

/// Draws a picture beside `path`, in a file of the same ending, which takes its place once it is whole.
pub(super) fn whole(path: &Path, draw: &dyn Fn(&Path) -> Result<(), String>) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".part-{}-{name}", std::process::id()));
    let drawn = draw(&part).and_then(|()| std::fs::rename(&part, path).map_err(|error| error.to_string()));
    drawn.map_err(|error| {
        let _ = std::fs::remove_file(&part);
        anyhow::anyhow!("{}: {error}", path.display())
    })
}

/// The PNG's letters; an SVG's are drawn by whoever shows it.
pub(super) fn letters() {
    let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    let _ = register_font(FONT, FontStyle::Bold, epaint_default_fonts::UBUNTU_LIGHT);
}

pub(super) type Area<B> = DrawingArea<B, plotters::coord::Shift>;
pub(super) type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

fn figure<B: DrawingBackend>(area: &Area<B>, title: &str, steps: &[StepMetrics], evals: &[Evaluation]) -> Drawn<B> {
    area.fill(&WHITE)?;
    let (head, body) = area.split_vertically(92);
    head.draw(&Text::new(title.to_owned(), (36, 24), (FONT, 30).into_font().color(&INK)))?;
    head.draw(&Text::new(subtitle(evals), (36, 62), (FONT, 20).into_font().color(&GREY)))?;
    let (upper, lower) = body.split_vertically(460);
    let last = steps.iter().map(|m| m.step).chain(evals.iter().map(|e| e.step)).max().unwrap_or(0).max(1) as f64;
    accuracy(&upper, last, steps, evals)?;
    let rewards: Vec<(f64, f64)> = steps.iter().map(|m| (m.step as f64, m.rollouts.reward)).collect();
    reward(&lower, last, &rewards)?;
    area.present()
}

fn subtitle(evals: &[Evaluation]) -> String {
    let say = |e: &Evaluation| {
        let a = e.accuracy;
        format!("{:.1} % ({:.1} to {:.1})", 100.0 * a.accuracy, 100.0 * a.low, 100.0 * a.high)
    };
    match evals {
        [] => "no held-out measurement".to_owned(),
        [only] => format!("held-out accuracy after step {}: {}", only.step, say(only)),
        [first, .., last] => {
            let n = last.accuracy.n;
            format!(
                "held-out accuracy {} at step {}, {} at step {}; n = {n}, 95 % intervals",
                say(first),
                first.step,
                say(last),
                last.step
            )
        }
    }
}

fn accuracy<B: DrawingBackend>(area: &Area<B>, last: f64, steps: &[StepMetrics], evals: &[Evaluation]) -> Drawn<B> {
    let points: Vec<(f64, f64)> = steps.iter().map(|m| (m.step as f64, 100.0 * m.rollouts.accuracy)).collect();
    let top = points.iter().map(|p| p.1).chain(evals.iter().map(|e| 100.0 * e.accuracy.high)).fold(0.0, f64::max);
    let top = (top * 1.12).clamp(10.0, 102.0);
    let edge = 0.02 * last; // room for the markers at both ends
    let mut chart = ChartBuilder::on(area)
        .margin_right(36)
        .margin_left(20)
        .x_label_area_size(34)
        .y_label_area_size(76)
        .build_cartesian_2d(-edge..last + edge, 0.0..top)?;
    mesh(&mut chart, "accuracy (%)", &|y| format!("{y:.0}"))?;
    let smoothed = smooth(&points);
    chart.draw_series(LineSeries::new(points, SAMPLED.mix(0.35).stroke_width(1)))?;
    chart
        .draw_series(LineSeries::new(smoothed, SAMPLED.stroke_width(3)))?
        .label("sampled while training (smoothed)")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 26, y)], SAMPLED.stroke_width(3)));
    let held = |e: &Evaluation| (e.step as f64, 100.0 * e.accuracy.accuracy);
    chart.draw_series(LineSeries::new(evals.iter().map(held), HELD_OUT.mix(0.6).stroke_width(2)))?;
    let cap = 0.006 * last;
    for e in evals {
        let (x, low, high) = (e.step as f64, 100.0 * e.accuracy.low, (100.0 * e.accuracy.high).min(top));
        let bars = [[(x, low), (x, high)], [(x - cap, low), (x + cap, low)], [(x - cap, high), (x + cap, high)]];
        chart.draw_series(bars.map(|bar| PathElement::new(bar, HELD_OUT.stroke_width(2))))?;
    }
    chart
        .draw_series(evals.iter().map(|e| Circle::new(held(e), 7, HELD_OUT.filled())))?
        .label("held-out tasks, 95 % interval")
        .legend(|(x, y)| Circle::new((x + 13, y), 7, HELD_OUT.filled()));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(FAINT)
        .label_font((FONT, 19).into_font().color(&INK))
        .margin(14)
        .legend_area_size(36)
        .draw()
}

fn reward<B: DrawingBackend>(area: &Area<B>, last: f64, points: &[(f64, f64)]) -> Drawn<B> {
    let finite = || points.iter().map(|p| p.1).filter(|y| y.is_finite());
    let (low, high) = (finite().fold(0.0, f64::min), finite().fold(0.05, f64::max));
    let edge = 0.02 * last;
    let mut chart = ChartBuilder::on(area)
        .margin_right(36)
        .margin_left(20)
        .margin_bottom(14)
        .x_label_area_size(54)
        .y_label_area_size(76)
        .build_cartesian_2d(-edge..last + edge, low * 1.1..high * 1.12)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("step").x_labels(11).x_label_formatter(&step_label);
    mesh.y_desc("reward").y_labels(5).y_label_formatter(&|y| format!("{y:.2}"));
    style(&mut mesh);
    mesh.draw()?;
    chart.draw_series(LineSeries::new(points.to_vec(), REWARD.mix(0.35).stroke_width(1)))?;
    chart.draw_series(LineSeries::new(smooth(points), REWARD.stroke_width(3)))?;
    Ok(())
}

type Chart<'a, 'b, B> =
    ChartContext<'a, B, Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>>;

fn mesh<B: DrawingBackend>(chart: &mut Chart<'_, '_, B>, name: &str, label: &dyn Fn(&f64) -> String) -> Drawn<B> {
    let mut mesh = chart.configure_mesh();
    mesh.x_labels(11).x_label_formatter(&step_label);
    mesh.y_desc(name).y_labels(7).y_label_formatter(label);
    style(&mut mesh);
    mesh.draw()
}

fn style<B: DrawingBackend>(
    mesh: &mut plotters::chart::MeshStyle<
        '_,
        '_,
        plotters::coord::types::RangedCoordf64,
        plotters::coord::types::RangedCoordf64,
        B,
    >,
) {
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).bold_line_style(FAINT).axis_style(GREY);
    mesh.label_style((FONT, 18).into_font().color(&INK)).axis_desc_style((FONT, 20).into_font().color(&INK));
}

/// Whole steps alone.
fn step_label(x: &f64) -> String {
    if (x - x.round()).abs() < 1e-9 && *x >= 0.0 { format!("{x:.0}") } else { String::new() }
}

/// A centred mean over about a twelfth of the points: it adds no delay, and its ends lean on less.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = (points.len() / 24).max(1);
    (0..points.len())
        .map(|i| {
            let near = &points[i.saturating_sub(reach)..(i + reach + 1).min(points.len())];
            (points[i].0, near.iter().map(|p| p.1).sum::<f64>() / near.len() as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::{Estimate, RolloutMetrics};

    fn write(folder: &Path, steps: u64) {
        let mut text = (String::new(), String::new());
        for step in 1..=steps {
            let wobble = ((step * 7919) % 13) as f64 / 13.0 - 0.5;
            let accuracy = 0.55 - 0.4 * (-(step as f64) / 25.0).exp() + 0.08 * wobble;
            let rollouts = RolloutMetrics { accuracy, reward: accuracy + 0.05, ..RolloutMetrics::default() };
            text.0 +=
                &format!("{}\n", serde_json::to_string(&StepMetrics { step, rollouts, ..Default::default() }).unwrap());
        }
        for (step, accuracy) in [(0, 0.17), (steps / 2, 0.41), (steps, 0.54)] {
            let accuracy = Estimate { accuracy, low: accuracy - 0.05, high: accuracy + 0.055, n: 256 };
            text.1 += &format!("{}\n", serde_json::to_string(&Evaluation { step, accuracy }).unwrap());
        }
        std::fs::write(folder.join("metrics.jsonl"), text.0).unwrap();
        std::fs::write(folder.join("evals.jsonl"), text.1).unwrap();
    }

    #[test]
    fn the_curve_is_drawn_and_equal_runs_look_equal() {
        let folder = tempfile::tempdir().unwrap();
        let folder = std::env::var_os("RELIGN_SHOW_CURVE").map_or(folder.path().to_owned(), Into::into);
        write(&folder, 80);
        draw(&folder, "quickstart: smollm2 on arithmetic").unwrap();
        let read = || {
            (
                std::fs::read(folder.join("curve.png")).unwrap(),
                std::fs::read_to_string(folder.join("curve.svg")).unwrap(),
            )
        };
        let (png, svg) = read();
        draw(&folder, "quickstart: smollm2 on arithmetic").unwrap();
        assert!(read() == (png.clone(), svg.clone()));
        assert!(png.starts_with(b"\x89PNG") && png.len() > 20_000, "{} bytes", png.len());
        for text in ["accuracy (%)", "reward", "held-out", "17.0 % (12.0 to 22.5) at step 0"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn a_run_without_a_step_still_has_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        draw(folder.path(), "nothing").unwrap();
        assert!(std::fs::read_to_string(folder.path().join("curve.svg")).unwrap().contains("no held-out measurement"));
    }
}
