//! Losses over epochs.

use super::axis::{Axis, Frame};
use super::canvas::{Canvas, Figure, GENERATED, Rgb, TRUTH, Tie};
use crate::evaluate::report::TrainingCurve;

/// Colours of several runs.
const RUNS: [Rgb; 6] = [
    TRUTH,
    GENERATED,
    [46, 125, 50],
    [123, 67, 151],
    [191, 144, 0],
    [90, 90, 90],
];

/// Epoch and loss.
type Points = Vec<(f64, f64)>;

/// Loss per image against the epoch; points that are not finite are left out.
pub fn training_curve(curve: &TrainingCurve) -> Figure {
    let points = |values: &[f64]| -> Points {
        (curve.epoch.iter().copied().zip(values.iter().copied())).collect()
    };
    draw(
        "Training",
        &[
            ("Training", points(&curve.train), TRUTH),
            ("Validation", points(&curve.validation), GENERATED),
        ],
        &curve.title,
    )
}

/// The same of several runs: names, and the loss of each epoch.
pub fn loss_curves(runs: &[(&str, &[(f64, f64)])], title: &str) -> Figure {
    let colours = RUNS.iter().cycle();
    let lines: Vec<_> = (runs.iter().zip(colours))
        .map(|((name, points), colour)| (*name, points.to_vec(), *colour))
        .collect();
    draw("Loss of each run", &lines, title)
}

fn draw(title: &str, lines: &[(&str, Points, Rgb)], y_title: &str) -> Figure {
    let (left, right, top, bottom) = (86.0, 562.0, 34.0, 330.0);
    let mut canvas = Canvas::new(580.0, 380.0);
    let finite = |points: &Points| -> Points {
        (points.iter().copied())
            .filter(|(e, v)| e.is_finite() && v.is_finite())
            .collect()
    };
    let all: Points = lines.iter().flat_map(|l| finite(&l.1)).collect();
    let extent = |pick: fn(&(f64, f64)) -> f64| {
        let values = || all.iter().map(pick);
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    };
    let ((first, last), (low, high)) = (extent(|p| p.0), extent(|p| p.1));
    let margin = 0.08 * (high - low);
    let x = Axis::linear(first, last, left, right);
    // Head room for the legend.
    let room = (1.0 + lines.len() as f64) * margin;
    let y = Axis::linear(low - margin, high + room, bottom, top);
    let frame = Frame {
        x: &x,
        y: &y,
        x_title: Some("Epoch"),
        y_title,
        grid: true,
    };
    frame.draw_grid(&mut canvas);
    let longest = lines.iter().map(|l| l.0.chars().count()).max().unwrap_or(0);
    for (k, (name, points, colour)) in lines.iter().enumerate() {
        let at: Vec<_> = (finite(points).into_iter())
            .map(|(e, v)| (x.at(e), y.at(v)))
            .collect();
        canvas.polyline(&at, *colour, 1.8);
        if at.len() <= 60 {
            for point in &at {
                canvas.dot(*point, 2.4, *colour);
            }
        }
        let line = top + 18.0 + 20.0 * k as f64;
        let start = right - 54.0 - 7.6 * longest as f64;
        canvas.line((start, line), (start + 26.0, line), *colour, 2.0);
        canvas.text((start + 34.0, line + 4.0), Tie::Start, 13, name);
    }
    frame.draw(&mut canvas);
    canvas.bold((left, top - 12.0), Tie::Start, 15, title);
    canvas.finish()
}
