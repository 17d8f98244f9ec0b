//! ROC curves of a classifier of signal and background.

use super::axis::{Axis, Frame};
use super::canvas::{Canvas, Figure, GENERATED, INK, TRUTH, Tie};
use crate::classify::Transfer;

const LEFT: f64 = 86.0;
const RIGHT: f64 = 562.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 330.0;

/// Background rejection against signal efficiency, trained on generated images and on truth; both tested on truth.
/// Efficiencies that no background event passes have no point.
pub fn roc_curves(transfer: &Transfer) -> Figure {
    let mut canvas = Canvas::new(580.0, 380.0);
    let lines = [
        (
            "Trained on generated images",
            &transfer.generated,
            GENERATED,
        ),
        ("Trained on truth", &transfer.truth, TRUTH),
    ];
    let points = |roc: &[[f64; 2]]| -> Vec<(f64, f64)> {
        (roc.iter())
            .filter(|[signal, background]| signal.is_finite() && *background > 0.0)
            .map(|[signal, background]| (*signal, 1.0 / background))
            .collect()
    };
    let all = lines.iter().flat_map(|(_, found, _)| points(&found.roc));
    let high = all.fold(10.0, |m: f64, (_, rejection)| m.max(rejection));
    let x = Axis::linear(0.0, 1.0, LEFT, RIGHT);
    let y = Axis::log(1.0, 2.0 * high, BOTTOM, TOP);
    let frame = Frame {
        x: &x,
        y: &y,
        x_title: Some("Signal efficiency"),
        y_title: "Background rejection, 1 / efficiency",
        grid: true,
    };
    frame.draw_grid(&mut canvas);
    let guess: Vec<_> = (1..=100)
        .map(|k| f64::from(k) / 100.0)
        .map(|signal| (x.at(signal), y.at(1.0 / signal)))
        .collect();
    canvas.polyline(&guess, INK, 0.8);
    for (k, (name, found, colour)) in lines.into_iter().enumerate() {
        let at: Vec<_> = (points(&found.roc).into_iter())
            .map(|(signal, rejection)| (x.at(signal), y.at(rejection)))
            .collect();
        canvas.polyline(&at, colour, 1.8);
        let row = TOP + 18.0 + 20.0 * k as f64;
        canvas.line((RIGHT - 300.0, row), (RIGHT - 274.0, row), colour, 2.0);
        let text = format!("{name}: AUC {:.4}", found.auc);
        canvas.text((RIGHT - 266.0, row + 4.0), Tie::Start, 13, &text);
    }
    frame.draw(&mut canvas);
    canvas.bold(
        (LEFT, TOP - 12.0),
        Tie::Start,
        15,
        "Signal against background",
    );
    canvas.finish()
}
