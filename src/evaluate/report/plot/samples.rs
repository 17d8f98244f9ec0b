//! A page of images, truth beside generated.

use super::axis::Axis;
use super::canvas::{Canvas, Figure, INK, Rgb, Tie};
use super::colour::{INFERNO, pick};
use crate::data::SparseImages;

const DARK: Rgb = [17, 13, 30];
const CELL: f64 = 125.0;
const GAP: f64 = 6.0;
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
    let values = || {
        (sides.iter()).flat_map(|(images, _, _)| {
            (0..images.len().min(shown)).flat_map(|i| images.image(i).1.iter().copied())
        })
    };
    let high = f64::from(values().fold(0.0, f32::max));
    let least = f64::from(values().fold(f32::INFINITY, f32::min));
    // Five decades at most: fainter pixels take the faintest colour.
    let low = least.max(high * 1e-5);
    let axis = Axis::log(
        low,
        if high > low { high } else { 10.0 * low },
        top + height,
        top,
    );
    let part = |value: f64| (top + height - axis.at(value)) / height;
    for (images, left, name) in sides {
        canvas.bold((left, top - 14.0), Tie::Start, 17, name);
        let mut cells = Vec::new();
        for i in 0..images.len().min(shown) {
            let x = left + (i % COLUMNS) as f64 * (CELL + GAP);
            let y = top + (i / COLUMNS) as f64 * (CELL + GAP);
            cells.push(((x, y), (x + CELL, y + CELL), DARK));
            let (wide, high) = (CELL / images.width() as f64, CELL / images.height() as f64);
            let (index, value) = images.image(i);
            for (pixel, value) in index.iter().zip(value) {
                let (row, column) = (
                    *pixel as usize / images.width(),
                    *pixel as usize % images.width(),
                );
                let corner = (x + column as f64 * wide, y + row as f64 * high);
                let colour = pick(&INFERNO, part(f64::from(*value)));
                cells.push((corner, (corner.0 + wide, corner.1 + high), colour));
            }
        }
        canvas.cells(&cells);
    }
    let slices: Vec<_> = (0..100)
        .map(|k| {
            // Each slice reaches up to the end, under the next ones: no seams.
            let y = top + height - height * f64::from(k) / 100.0;
            let colour = pick(&INFERNO, (f64::from(k) + 0.5) / 100.0);
            ((bar, y), (bar + 16.0, top), colour)
        })
        .collect();
    canvas.cells(&slices);
    canvas.outline((bar, top), (bar + 16.0, top + height), INK, 1.0);
    for (value, text) in axis.ticks() {
        let (y, length) = (axis.at(value), if text.is_empty() { 3.0 } else { 6.0 });
        canvas.line((bar + 16.0, y), (bar + 16.0 + length, y), INK, 1.0);
        canvas.text((bar + 25.0, y + 4.0), Tie::Start, 12, &text);
    }
    canvas.upwards(
        (bar + 70.0, top),
        Tie::End,
        14,
        &format!("Pixel pT [{unit}]"),
    );
    canvas.finish()
}
