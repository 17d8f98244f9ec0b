//! Truth and generated in one histogram, their ratio in a panel below.

use super::axis::{Axis, Frame};
use super::canvas::{Canvas, FAINT, Figure, GENERATED, INK, TRUTH, TRUTH_FILL, Tie};
use crate::evaluate::histogram::Comparison;
use crate::evaluate::report::text::thousands;

/// What to write around a histogram.
#[derive(Debug, Clone, Default)]
pub struct HistogramPlot<'a> {
    /// Above the frame, in bold.
    pub title: &'a str,
    /// Below the ratio.
    pub x_title: &'a str,
    /// Beside the histogram.
    pub y_title: &'a str,
    /// Lines under the legend.
    pub notes: Vec<String>,
    /// Logarithmic axes.
    pub log_x: bool,
    /// Logarithmic axes.
    pub log_y: bool,
}

const WIDTH: f64 = 580.0;
const HEIGHT: f64 = 500.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 562.0;
const TOP: f64 = 34.0;
const SPLIT: f64 = 338.0;
const RATIO_TOP: f64 = 348.0;
const BOTTOM: f64 = 450.0;

/// Draw a comparison: filled steps for the truth, a line with error bars for the generated
/// sample; below, generated over truth with the truth's own error as a band around 1.
pub fn histogram_page(comparison: &Comparison, plot: &HistogramPlot<'_>) -> Figure {
    let (truth, generated) = (&comparison.truth, &comparison.generated);
    let edges = &truth.edges;
    let bins = truth.counts.len();
    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    let (first, last) = (
        edges.first().copied().unwrap_or(0.0),
        edges.last().copied().unwrap_or(1.0),
    );
    let x = if plot.log_x {
        Axis::log(first, last, LEFT, RIGHT)
    } else {
        Axis::linear(first, last, LEFT, RIGHT)
    };
    let y = vertical(comparison, plot.log_y);
    let frame = Frame {
        x: &x,
        y: &y,
        x_title: None,
        y_title: plot.y_title,
        grid: true,
    };
    frame.draw_grid(&mut canvas);

    // Truth: filled steps with error bars.
    let mut steps = vec![(x.at(first), SPLIT)];
    let mut boxes = Vec::new();
    for i in 0..bins {
        let top = y.at(truth.density(i).0);
        let (a, b) = (x.at(edges[i]), x.at(edges[i + 1]));
        steps.extend([(a, top), (b, top)]);
        if top < SPLIT {
            boxes.push(((a, top), (b, SPLIT), TRUTH_FILL));
        }
    }
    steps.push((x.at(last), SPLIT));
    canvas.cells(&boxes);
    canvas.polyline(&steps, TRUTH, 1.6);
    let middle = |i: usize| 0.5 * (x.at(edges[i]) + x.at(edges[i + 1]));
    for i in 0..bins {
        let (value, error) = truth.density(i);
        bar(&mut canvas, middle(i) - 1.5, &y, value, error, TRUTH);
    }
    // Generated: points with error bars.
    for i in 0..bins {
        let (value, error) = generated.density(i);
        if value > 0.0 {
            bar(&mut canvas, middle(i) + 1.5, &y, value, error, GENERATED);
            if y.holds(value) {
                canvas.dot((middle(i) + 1.5, y.at(value)), 2.4, GENERATED);
            }
        }
    }
    frame.draw(&mut canvas);
    legend(&mut canvas, comparison, plot);
    ratio_panel(&mut canvas, comparison, &x, plot.x_title);
    canvas.bold((LEFT, TOP - 12.0), Tie::Start, 15, plot.title);
    canvas.finish()
}

fn bar(canvas: &mut Canvas, x: f64, y: &Axis, value: f64, error: f64, colour: [u8; 3]) {
    let (low, high) = (y.at(value - error), y.at(value + error));
    if error > 0.0 && low != high {
        canvas.line((x, low), (x, high), colour, 1.3);
    }
}

/// The upper panel's axis: head room for the legend above the highest bin.
fn vertical(comparison: &Comparison, log: bool) -> Axis {
    let sides = [&comparison.truth, &comparison.generated];
    let values = || {
        sides
            .iter()
            .flat_map(|h| (0..h.counts.len()).map(|i| h.density(i).0))
    };
    let high = values().fold(0.0, f64::max);
    if !log {
        return Axis::linear(0.0, if high > 0.0 { 1.5 * high } else { 1.0 }, SPLIT, TOP);
    }
    let low = values().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
    let low = 0.5 * low;
    Axis::log(low, high * (high / low).powf(0.38), SPLIT, TOP)
}

fn legend(canvas: &mut Canvas, comparison: &Comparison, plot: &HistogramPlot<'_>) {
    let x = RIGHT - 268.0;
    canvas.fill((x, TOP + 12.0), (x + 26.0, TOP + 24.0), TRUTH_FILL);
    canvas.outline((x, TOP + 12.0), (x + 26.0, TOP + 24.0), TRUTH, 1.4);
    let truth = format!("Truth ({} images)", thousands(comparison.truth.events));
    canvas.text((x + 34.0, TOP + 23.0), Tie::Start, 13, &truth);
    canvas.line(
        (x + 13.0, TOP + 31.0),
        (x + 13.0, TOP + 45.0),
        GENERATED,
        1.4,
    );
    canvas.dot((x + 13.0, TOP + 38.0), 2.8, GENERATED);
    let generated = format!(
        "Generated ({} images)",
        thousands(comparison.generated.events)
    );
    canvas.text((x + 34.0, TOP + 43.0), Tie::Start, 13, &generated);
    for (k, note) in plot.notes.iter().enumerate() {
        let y = TOP + 62.0 + 17.0 * k as f64;
        canvas.text((x, y), Tie::Start, 12, note);
    }
}

fn ratio_panel(canvas: &mut Canvas, comparison: &Comparison, x: &Axis, x_title: &str) {
    let edges = &comparison.truth.edges;
    let ratios: Vec<_> = (0..comparison.truth.counts.len())
        .map(|i| comparison.ratio(i))
        .collect();
    // Wide enough for the well-measured bins; the others leave arrows at the rim.
    let farthest = (ratios.iter().flatten())
        .filter(|r| r.error() < 0.2 * r.value.max(0.5))
        .map(|r| (r.value - 1.0).abs() + r.error())
        .fold(0.0, f64::max);
    let half = [0.1, 0.25, 0.5].into_iter().find(|h| *h >= farthest);
    let y = match half {
        Some(half) => Axis::linear(1.0 - 1.1 * half, 1.0 + 1.1 * half, BOTTOM, RATIO_TOP),
        None => Axis::linear(0.0, (1.0 + farthest).clamp(1.9, 4.8), BOTTOM, RATIO_TOP),
    };
    let frame = Frame {
        x,
        y: &y,
        x_title: Some(x_title),
        y_title: "Gen. / truth",
        grid: false,
    };
    let bands: Vec<_> = (ratios.iter().enumerate())
        .filter_map(|(i, ratio)| {
            let error = ratio.as_ref()?.truth_error;
            let (low, high) = (y.at(1.0 - error), y.at(1.0 + error));
            Some((
                (x.at(edges[i]), low),
                (x.at(edges[i + 1]), high),
                TRUTH_FILL,
            ))
        })
        .collect();
    canvas.cells(&bands);
    for (value, text) in y.ticks() {
        if !text.is_empty() {
            canvas.line((LEFT, y.at(value)), (RIGHT, y.at(value)), FAINT, 0.8);
        }
    }
    canvas.line((LEFT, y.at(1.0)), (RIGHT, y.at(1.0)), TRUTH, 1.2);
    for (i, ratio) in ratios.iter().enumerate() {
        let Some(ratio) = ratio else { continue };
        let middle = 0.5 * (x.at(edges[i]) + x.at(edges[i + 1]));
        let (error, at) = (ratio.generated_error, y.at(ratio.value));
        if y.holds(ratio.value) {
            bar(canvas, middle, &y, ratio.value, error, GENERATED);
            canvas.dot((middle, at), 2.4, GENERATED);
        } else {
            // An arrow at the rim: the point lies outside.
            let inwards = if ratio.value > 1.0 { 7.0 } else { -7.0 };
            let tip = [
                (middle - 3.0, at + inwards),
                (middle, at),
                (middle + 3.0, at + inwards),
            ];
            canvas.polyline(&tip, GENERATED, 1.4);
        }
    }
    frame.draw(canvas);
    canvas.line((LEFT, BOTTOM), (RIGHT, BOTTOM), INK, 1.2);
}
