//! Pages of images: truth beside generated, or the images of one file.

use super::axis::Axis;
use super::canvas::{Canvas, Figure, INK, Tie};
use super::colour::{DARK, INFERNO, pick};
use crate::data::SparseImages;

pub(super) const CELL: f64 = 125.0;
pub(super) const GAP: f64 = 6.0;
const COLUMNS: usize = 4;
const MOST_ROWS: usize = 6;

/// Up to 24 images of either side in two blocks under one logarithmic colour scale (GeV), row 0
/// of an image at the top; empty pixels are dark.
pub fn sample_page(truth: &SparseImages, generated: &SparseImages) -> Figure {
    sample_page_in("GeV", truth, generated)
}

/// [`sample_page`] of pixels in `unit`.
pub fn sample_page_in(unit: &str, truth: &SparseImages, generated: &SparseImages) -> Figure {
    let shown = truth.len().max(generated.len()).min(COLUMNS * MOST_ROWS);
    let rows = shown.div_ceil(COLUMNS).max(1);
    let block = COLUMNS as f64 * (CELL + GAP) - GAP;
    let (left, top) = (16.0, 40.0);
    let height = rows as f64 * (CELL + GAP) - GAP;
    let second = left + block + 34.0;
    let bar = second + block + 20.0;
    let mut canvas = Canvas::new(bar + 78.0, top + height + 16.0);

    let sides = [(truth, left, "Truth"), (generated, second, "Generated")];
    let axis = brightness(&[truth, generated], shown, top + height, top);
    for (images, left, name) in sides {
        canvas.bold((left, top - 14.0), Tie::Start, 17, name);
        image_block(&mut canvas, images, shown, COLUMNS, (left, top), &axis);
    }
    brightness_bar(
        &mut canvas,
        &axis,
        bar,
        (top, top + height),
        &format!("Pixel pT [{unit}]"),
    );
    canvas.finish()
}

/// The colour scale of the first `shown` images of all `sides`, from `bottom` to `top` of its bar.
pub(super) fn brightness(sides: &[&SparseImages], shown: usize, bottom: f64, top: f64) -> Axis {
    let values = || {
        sides.iter().flat_map(|images| {
            (0..images.len().min(shown)).flat_map(|i| images.image(i).1.iter().copied())
        })
    };
    let high = f64::from(values().fold(0.0, f32::max));
    let least = f64::from(values().fold(f32::INFINITY, f32::min));
    // Five decades at most: fainter pixels take the faintest colour.
    let low = least.max(high * 1e-5);
    Axis::log(low, if high > low { high } else { 10.0 * low }, bottom, top)
}

/// The first `shown` images in rows of `columns`, from the corner `(left, top)`.
pub(super) fn image_block(
    canvas: &mut Canvas,
    images: &SparseImages,
    shown: usize,
    columns: usize,
    (left, top): (f64, f64),
    axis: &Axis,
) {
    let mut cells = Vec::new();
    for i in 0..images.len().min(shown) {
        let x = left + (i % columns) as f64 * (CELL + GAP);
        let y = top + (i / columns) as f64 * (CELL + GAP);
        cells.push(((x, y), (x + CELL, y + CELL), DARK));
        let (wide, high) = (CELL / images.width() as f64, CELL / images.height() as f64);
        let (index, value) = images.image(i);
        for (pixel, value) in index.iter().zip(value) {
            let (row, column) = (
                *pixel as usize / images.width(),
                *pixel as usize % images.width(),
            );
            let corner = (x + column as f64 * wide, y + row as f64 * high);
            let colour = pick(&INFERNO, axis.part(f64::from(*value)));
            cells.push((corner, (corner.0 + wide, corner.1 + high), colour));
        }
    }
    canvas.cells(&cells);
}

/// What the colours of [`image_block`] mean: a bar at `bar`, from `top` to `bottom`.
pub(super) fn brightness_bar(
    canvas: &mut Canvas,
    axis: &Axis,
    bar: f64,
    (top, bottom): (f64, f64),
    quantity: &str,
) {
    let height = bottom - top;
    let slices: Vec<_> = (0..100)
        .map(|k| {
            // Each slice reaches up to the end, under the next ones: no seams.
            let y = bottom - height * f64::from(k) / 100.0;
            let colour = pick(&INFERNO, (f64::from(k) + 0.5) / 100.0);
            ((bar, y), (bar + 16.0, top), colour)
        })
        .collect();
    canvas.cells(&slices);
    canvas.outline((bar, top), (bar + 16.0, bottom), INK, 1.0);
    for (value, text) in axis.ticks() {
        let (y, length) = (axis.at(value), if text.is_empty() { 3.0 } else { 6.0 });
        canvas.line((bar + 16.0, y), (bar + 16.0 + length, y), INK, 1.0);
        canvas.text((bar + 25.0, y + 4.0), Tie::Start, 12, &text);
    }
    canvas.upwards((bar + 70.0, top), Tie::End, 14, quantity);
}
