//! A quantity against a condition: mean and width of both sides in bins.

use super::axis::{Axis, Frame};
use super::canvas::{Canvas, FAINT, Figure, GENERATED, TRUTH, TRUTH_FILL, Tie};
use crate::evaluate::{Given, Spread};

const LEFT: f64 = 86.0;
const RIGHT: f64 = 562.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 330.0;

/// Truth: a line at the mean of each bin, a band of its width (mean plus and minus standard deviation). Generated: a point at
/// the mean, a thin bar of its width, a thick one of the mean's error.
pub fn profile(given: &Given, edges: &[f64], title: &str, x_title: &str, y_title: &str) -> Figure {
    let mut canvas = Canvas::new(580.0, 380.0);
    let ends = |spread: &Spread| {
        let width = spread.std.unwrap_or(spread.mean_error);
        [spread.mean - width, spread.mean + width]
    };
    let spreads = || (given.bins.iter()).flat_map(|b| [b.spread.truth, b.spread.generated]);
    let values = || spreads().flatten().flat_map(|s| ends(&s));
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    let margin = 0.06 * (high - low);
    let (first, last) = (
        edges.first().copied().unwrap_or(0.0),
        edges.last().copied().unwrap_or(1.0),
    );
    let x = Axis::linear(first, last, LEFT, RIGHT);
    // Room for the legend above.
    let y = Axis::linear(low - margin, high + 4.0 * margin, BOTTOM, TOP);
    let frame = Frame {
        x: &x,
        y: &y,
        x_title: Some(x_title),
        y_title,
        grid: true,
    };
    frame.draw_grid(&mut canvas);
    let bins = || given.bins.iter().zip(edges.windows(2));
    let bands: Vec<_> = bins()
        .filter_map(|(bin, edge)| {
            let [low, high] = ends(&bin.spread.truth?);
            Some((
                (x.at(edge[0]), y.at(high)),
                (x.at(edge[1]), y.at(low)),
                TRUTH_FILL,
            ))
        })
        .collect();
    canvas.cells(&bands);
    for edge in edges.iter().skip(1).take(edges.len().saturating_sub(2)) {
        canvas.line((x.at(*edge), BOTTOM), (x.at(*edge), TOP), FAINT, 0.8);
    }
    for (bin, edge) in bins() {
        if let Some(truth) = bin.spread.truth {
            let at = y.at(truth.mean);
            canvas.line((x.at(edge[0]), at), (x.at(edge[1]), at), TRUTH, 2.0);
        }
        if let Some(generated) = bin.spread.generated {
            let middle = 0.5 * (x.at(edge[0]) + x.at(edge[1]));
            let [low, high] = ends(&generated);
            canvas.line((middle, y.at(low)), (middle, y.at(high)), GENERATED, 1.3);
            let (mean, error) = (generated.mean, generated.mean_error);
            canvas.line(
                (middle, y.at(mean - error)),
                (middle, y.at(mean + error)),
                GENERATED,
                4.0,
            );
            canvas.dot((middle, y.at(mean)), 3.2, GENERATED);
        }
    }
    let row = TOP + 18.0;
    canvas.fill(
        (LEFT + 16.0, row - 6.0),
        (LEFT + 42.0, row + 6.0),
        TRUTH_FILL,
    );
    canvas.line((LEFT + 16.0, row), (LEFT + 42.0, row), TRUTH, 2.0);
    canvas.text(
        (LEFT + 50.0, row + 4.0),
        Tie::Start,
        13,
        "Truth: mean and width",
    );
    let at = LEFT + 250.0;
    canvas.line(
        (at + 13.0, row - 8.0),
        (at + 13.0, row + 8.0),
        GENERATED,
        1.3,
    );
    canvas.dot((at + 13.0, row), 3.2, GENERATED);
    canvas.text((at + 34.0, row + 4.0), Tie::Start, 13, "Generated");
    frame.draw(&mut canvas);
    canvas.bold((LEFT, TOP - 12.0), Tie::Start, 15, title);
    canvas.finish()
}
