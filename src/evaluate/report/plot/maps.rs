//! Images of pixels: truth, generated and their difference side by side, with colour bars.

use super::axis::{Axis, Frame, power_of_ten};
use super::canvas::{Canvas, FAINT, Figure, INK, Rgb, Tie};
use super::colour::{DIVERGING, VIRIDIS, pick};
use crate::evaluate::Sides;
use crate::physics::Geometry;

/// How values become colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// By the logarithm; zeros stay grey. The difference is logarithmic in its size, both signs
    /// apart, and linear near zero.
    Log,
    /// As they are.
    Linear,
}

const WIDTH: f64 = 1144.0;
const HEIGHT: f64 = 360.0;
pub(super) const TOP: f64 = 62.0;
pub(super) const SIDE: f64 = 240.0;
const EMPTY: Rgb = FAINT;
/// Characters of a bar's label that end before its title begins.
const ROOM: usize = 5;

/// Three maps of `[height * width]` values, row 0 at the top: truth, generated, and generated
/// minus truth. `quantity` names the values and their unit.
pub fn map_page(
    maps: &Sides<Vec<f64>>,
    geometry: &Geometry,
    scale: Scale,
    title: &str,
    quantity: &str,
) -> Figure {
    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    canvas.bold((72.0, 24.0), Tie::Start, 15, title);
    let both = || maps.truth.iter().chain(&maps.generated).copied();
    let high = both().fold(f64::NEG_INFINITY, f64::max);
    let low = both().fold(f64::INFINITY, f64::min);
    let least = both().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
    let colours = match scale {
        Scale::Log => Colours::log(least.max(high * 1e-7), high),
        Scale::Linear => Colours::linear(low, high),
    };
    let difference: Vec<f64> = (maps.truth.iter().zip(&maps.generated))
        .map(|(t, g)| g - t)
        .collect();
    let most = difference.iter().fold(0.0, |m: f64, d| m.max(d.abs()));
    let panels = [
        ("Truth", &maps.truth, colours.clone()),
        ("Generated", &maps.generated, colours),
        (
            "Generated − truth",
            &difference,
            Colours::signed(scale, most),
        ),
    ];
    for (k, (name, values, colours)) in panels.into_iter().enumerate() {
        let left = 72.0 + 370.0 * k as f64;
        panel(
            &mut canvas,
            left,
            name,
            values,
            geometry,
            &colours,
            quantity,
        );
    }
    canvas.finish()
}

/// One map of `[height * width]` signed values, row 0 at the top, blue below and red above zero.
pub fn signed_map(values: &[f64], geometry: &Geometry, title: &str, quantity: &str) -> Figure {
    let mut canvas = Canvas::new(WIDTH / 2.0, HEIGHT);
    canvas.bold((72.0, 24.0), Tie::Start, 15, title);
    let most = values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let colours = Colours::signed(Scale::Linear, most);
    panel(&mut canvas, 72.0, "", values, geometry, &colours, quantity);
    canvas.finish()
}

/// The pixels of an image of `height` rows and `width` columns as boxes, from `left` on, row 0 at the top.
pub(super) fn fill(
    canvas: &mut Canvas,
    left: f64,
    values: &[f64],
    (height, width): (usize, usize),
    colours: &Colours,
) {
    let place = |row: usize, column: usize| {
        (
            left + SIDE * column as f64 / width as f64,
            TOP + SIDE * row as f64 / height as f64,
        )
    };
    let cells: Vec<_> = (values.iter().enumerate())
        .map(|(pixel, value)| {
            let (row, column) = (pixel / width, pixel % width);
            (
                place(row, column),
                place(row + 1, column + 1),
                colours.of(*value),
            )
        })
        .collect();
    canvas.cells(&cells);
}

fn panel(
    canvas: &mut Canvas,
    left: f64,
    name: &str,
    values: &[f64],
    geometry: &Geometry,
    colours: &Colours,
    quantity: &str,
) {
    let (height, width, range) = (geometry.height(), geometry.width(), geometry.range());
    let x = Axis::linear(-range, range, left, left + SIDE);
    let y = Axis::linear(-range, range, TOP + SIDE, TOP);
    fill(canvas, left, values, (height, width), colours);
    let frame = Frame {
        x: &x,
        y: &y,
        x_title: Some("η"),
        y_title: if left < 100.0 { "φ [rad]" } else { "" },
        grid: false,
    };
    frame.draw(canvas);
    canvas.text((left + SIDE / 2.0, TOP - 10.0), Tie::Middle, 14, name);
    colours.bar(canvas, left + SIDE + 12.0, quantity);
}

/// From a value to a colour, with a bar that shows it.
#[derive(Debug, Clone)]
pub(super) enum Colours {
    Even {
        axis: Axis,
    },
    Difference {
        axis: Axis,
    },
    /// Signed logarithm: `asinh(value / threshold)`.
    SignedLog {
        most: f64,
        threshold: f64,
    },
}

impl Colours {
    pub(super) fn log(low: f64, high: f64) -> Self {
        let axis = Axis::log(low, high, TOP + SIDE, TOP);
        Self::Even { axis }
    }

    fn linear(low: f64, high: f64) -> Self {
        let axis = Axis::linear(low, high, TOP + SIDE, TOP);
        Self::Even { axis }
    }

    /// For differences of at most `most` in size.
    fn signed(scale: Scale, most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1e-3 };
        match scale {
            Scale::Log => Self::SignedLog {
                most,
                threshold: most / 1e3,
            },
            Scale::Linear => Self::Difference {
                axis: Axis::linear(-most, most, TOP + SIDE, TOP),
            },
        }
    }

    /// Place of a value on the bar, 0 at the bottom to 1.
    fn part(&self, value: f64) -> f64 {
        match self {
            Self::Even { axis } | Self::Difference { axis } => axis.part(value),
            Self::SignedLog { most, threshold } => {
                0.5 + 0.5 * (value / threshold).asinh() / (most / threshold).asinh()
            }
        }
    }

    pub(super) fn of(&self, value: f64) -> Rgb {
        match self {
            Self::Even { axis } if axis.is_log() && value <= 0.0 => EMPTY,
            Self::Even { .. } => pick(&VIRIDIS, self.part(value)),
            _ => pick(&DIVERGING, self.part(value)),
        }
    }

    pub(super) fn bar(&self, canvas: &mut Canvas, left: f64, quantity: &str) {
        let right = left + 14.0;
        let scale: &[Rgb] = match self {
            Self::Even { .. } => &VIRIDIS,
            _ => &DIVERGING,
        };
        let slices: Vec<_> = (0..80)
            .map(|k| {
                // Each slice reaches up to the end, under the next ones: no seams.
                let y = TOP + SIDE - SIDE * f64::from(k) / 80.0;
                let colour = pick(scale, (f64::from(k) + 0.5) / 80.0);
                ((left, y), (right, TOP), colour)
            })
            .collect();
        canvas.cells(&slices);
        canvas.outline((left, TOP), (right, TOP + SIDE), INK, 1.0);
        let (ticks, power) = self.ticks();
        for (value, text) in ticks {
            let y = TOP + SIDE * (1.0 - self.part(value));
            let length = if text.is_empty() { 3.0 } else { 5.0 };
            canvas.line((right, y), (right + length, y), INK, 1.0);
            canvas.text((right + 8.0, y + 4.0), Tie::Start, 11, &text);
        }
        let title = format!("{quantity}{power}");
        canvas.upwards((right + 56.0, TOP), Tie::End, 12, &title);
    }

    /// Marks, and the power of ten that belongs behind the title.
    fn ticks(&self) -> (Vec<(f64, String)>, String) {
        match self {
            Self::Even { axis } | Self::Difference { axis } => axis.short_ticks(ROOM),
            Self::SignedLog { most, threshold } => {
                let mut out = vec![(0.0, "0".to_string())];
                let (low, high) = (threshold.log10().ceil(), most.log10().floor());
                for decade in (low as i32)..=(high as i32) {
                    let value = 10f64.powi(decade);
                    let label = power_of_ten(decade);
                    out.push((value, label.clone()));
                    out.push((-value, format!("−{label}")));
                }
                (out, String::new())
            }
        }
    }
}
