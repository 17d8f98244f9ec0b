//! A distance at several sample sizes and the line through it.

use super::axis::{Axis, Frame};
use super::canvas::{Canvas, Figure, GENERATED, INK, TRUTH, Tie};
use crate::evaluate::Fpd;

const LEFT: f64 = 86.0;
const RIGHT: f64 = 562.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 330.0;

/// Frechet distances against 1/size, each with its fitted line down to 0 and the intercept there;
/// generated against truth, and one half of the truth against the other.
pub fn extrapolation(generated: Option<&Fpd>, halves: Option<&Fpd>, title: &str) -> Figure {
    let mut canvas = Canvas::new(580.0, 380.0);
    // In thousands of events and thousandths of a distance: numbers that can be read.
    let inverse = |size: usize| 1e3 / size.max(1) as f64;
    let lines = [
        ("Generated", generated, GENERATED),
        ("Truth against truth", halves, TRUTH),
    ];
    let found = || lines.iter().filter_map(|(_, f, _)| *f);
    let last = (found().flat_map(|f| &f.sizes)).fold(0.0, |m: f64, n| m.max(inverse(*n)));
    let high = (found().flat_map(|f| &f.distances)).fold(0.0, |m: f64, d| m.max(1e3 * d));
    let x = Axis::linear(0.0, 1.05 * last, LEFT, RIGHT);
    let y = Axis::linear(-0.08 * high, 1.3 * high, BOTTOM, TOP);
    let frame = Frame {
        x: &x,
        y: &y,
        x_title: Some("1 / sample size [10⁻³]"),
        y_title: "Fréchet distance · 10³",
        grid: true,
    };
    frame.draw_grid(&mut canvas);
    for (k, (name, fpd, colour)) in lines.into_iter().enumerate() {
        let Some(fpd) = fpd else { continue };
        let at = |inverse: f64, value: f64| (x.at(inverse), y.at(1e3 * value));
        let furthest = fpd.sizes.first().map_or(0.0, |n| inverse(*n));
        let end = at(furthest, fpd.value + fpd.slope * furthest / 1e3);
        canvas.line(at(0.0, fpd.value), end, colour, 1.6);
        canvas.line(
            at(0.0, fpd.value - fpd.error),
            at(0.0, fpd.value + fpd.error),
            colour,
            4.0,
        );
        for (size, distance) in fpd.sizes.iter().zip(&fpd.distances) {
            canvas.dot(at(inverse(*size), *distance), 2.8, colour);
        }
        let row = TOP + 18.0 + 20.0 * k as f64;
        canvas.line((LEFT + 16.0, row), (LEFT + 42.0, row), colour, 2.0);
        canvas.text((LEFT + 50.0, row + 4.0), Tie::Start, 13, name);
    }
    frame.draw(&mut canvas);
    canvas.line((x.at(0.0), BOTTOM), (x.at(0.0), TOP), INK, 1.2);
    canvas.bold((LEFT, TOP - 12.0), Tie::Start, 15, title);
    canvas.finish()
}
