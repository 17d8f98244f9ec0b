//! Training and validation loss over epochs.

use super::axis::{Axis, Frame};
use super::canvas::{Canvas, Figure, GENERATED, TRUTH, Tie};
use crate::evaluate::report::TrainingCurve;

/// Negative log-likelihood per image against the epoch; points that are not finite are left out.
pub fn training_curve(curve: &TrainingCurve) -> Figure {
    let (left, right, top, bottom) = (86.0, 562.0, 34.0, 330.0);
    let mut canvas = Canvas::new(580.0, 380.0);
    let lines = [
        ("Training", &curve.train, TRUTH),
        ("Validation", &curve.validation, GENERATED),
    ];
    let points = |values: &[f64]| -> Vec<(f64, f64)> {
        (curve.epoch.iter().copied().zip(values.iter().copied()))
            .filter(|(e, v)| e.is_finite() && v.is_finite())
            .collect()
    };
    let all: Vec<_> = lines.iter().flat_map(|l| points(l.1)).collect();
    let extent = |pick: fn(&(f64, f64)) -> f64| {
        let values = || all.iter().map(pick);
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    };
    let ((first, last), (low, high)) = (extent(|p| p.0), extent(|p| p.1));
    let margin = 0.08 * (high - low);
    let x = Axis::linear(first, last, left, right);
    let y = Axis::linear(low - margin, high + 3.0 * margin, bottom, top);
    let frame = Frame {
        x: &x,
        y: &y,
        x_title: Some("Epoch"),
        y_title: "NLL per image [nats]",
        grid: true,
    };
    frame.draw_grid(&mut canvas);
    for (k, (name, values, colour)) in lines.into_iter().enumerate() {
        let at: Vec<_> = (points(values).into_iter())
            .map(|(e, v)| (x.at(e), y.at(v)))
            .collect();
        canvas.polyline(&at, colour, 1.8);
        if at.len() <= 60 {
            for point in &at {
                canvas.dot(*point, 2.4, colour);
            }
        }
        let line = top + 18.0 + 20.0 * k as f64;
        canvas.line((right - 130.0, line), (right - 104.0, line), colour, 2.0);
        canvas.text((right - 96.0, line + 4.0), Tie::Start, 13, name);
    }
    frame.draw(&mut canvas);
    canvas.bold((left, top - 12.0), Tie::Start, 15, "Training");
    canvas.finish()
}
