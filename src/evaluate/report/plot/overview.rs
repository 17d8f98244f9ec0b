//! One sample of images at a glance, with nothing to compare it with: average, spectrum, sums, images.

use super::axis::{Axis, Frame};
use super::canvas::{Canvas, Figure, INK, TRUTH, TRUTH_FILL, Tie};
use super::maps::{Colours, SIDE, TOP, fill};
use super::samples::{CELL, GAP, brightness, brightness_bar, image_block};
use crate::data::Overview;
use crate::evaluate::report::text::thousands;

const COLUMNS: usize = 8;
/// Where the images begin.
const IMAGES: f64 = TOP + SIDE + 96.0;

/// A page of `sample`: its average image, the spectrum of its pixels, the sums of its images, and its first images. `unit`
/// is that of the pixels.
pub fn overview(sample: &Overview, title: &str, unit: &str) -> Figure {
    let shown = sample.first.len();
    let rows = shown.div_ceil(COLUMNS).max(1);
    let block = COLUMNS as f64 * (CELL + GAP) - GAP;
    let (left, bottom) = (24.0, IMAGES + rows as f64 * (CELL + GAP) - GAP);
    let bar = left + block + 20.0;
    let mut canvas = Canvas::new(bar + 84.0, bottom + 20.0);
    canvas.bold((left, 26.0), Tie::Start, 16, title);
    average(&mut canvas, left, sample, unit);
    histogram(
        &mut canvas,
        478.0,
        &Steps {
            edges: &sample.spectrum_edges,
            heights: &sample.spectrum(),
            log: true,
            x_title: &format!("Pixel [{unit}]"),
            y_title: "Pixels per image and decade",
        },
    );
    histogram(
        &mut canvas,
        854.0,
        &Steps {
            edges: &sample.sum_edges,
            heights: &sample.sums(),
            log: false,
            x_title: &format!("Sum of an image [{unit}]"),
            y_title: "Fraction of images",
        },
    );
    let axis = brightness(&[&sample.first], shown, bottom, IMAGES);
    let caption = format!(
        "The first {} images; empty pixels are dark",
        thousands(shown)
    );
    canvas.text((left, IMAGES - 12.0), Tie::Start, 13, &caption);
    image_block(
        &mut canvas,
        &sample.first,
        shown,
        COLUMNS,
        (left, IMAGES),
        &axis,
    );
    let quantity = format!("Pixel [{unit}]");
    brightness_bar(&mut canvas, &axis, bar, (IMAGES, bottom), &quantity);
    canvas.finish()
}

fn average(canvas: &mut Canvas, left: f64, sample: &Overview, unit: &str) {
    let (height, width) = (sample.first.height(), sample.first.width());
    let mean = &sample.mean;
    let high = mean.iter().copied().fold(0.0, f64::max);
    let least = (mean.iter().copied())
        .filter(|v| *v > 0.0)
        .fold(f64::INFINITY, f64::min);
    let colours = Colours::log(least.max(high * 1e-7), high);
    fill(canvas, left, mean, (height, width), &colours);
    canvas.outline((left, TOP), (left + SIDE, TOP + SIDE), INK, 1.2);
    let name = format!("Average of {} images", thousands(sample.images));
    canvas.text((left + SIDE / 2.0, TOP - 10.0), Tie::Middle, 14, &name);
    let size = format!("{height} rows x {width} columns, row 0 at the top");
    canvas.text(
        (left + SIDE / 2.0, TOP + SIDE + 18.0),
        Tie::Middle,
        12,
        &size,
    );
    colours.bar(
        canvas,
        left + SIDE + 12.0,
        &format!("Average pixel [{unit}]"),
    );
}

struct Steps<'a> {
    edges: &'a [f64],
    heights: &'a [f64],
    /// Both axes.
    log: bool,
    x_title: &'a str,
    y_title: &'a str,
}

fn histogram(canvas: &mut Canvas, left: f64, steps: &Steps<'_>) {
    let (right, bottom) = (left + SIDE + 20.0, TOP + SIDE);
    let (first, last) = match steps.edges {
        [first, .., last] => (*first, *last),
        _ => (0.0, 1.0),
    };
    let high = steps.heights.iter().copied().fold(0.0, f64::max);
    let low = (steps.heights.iter().copied())
        .filter(|v| *v > 0.0)
        .fold(f64::INFINITY, f64::min);
    let (x, y) = match steps.log {
        true => (
            Axis::log(first, last, left, right),
            Axis::log(0.5 * low, 2.0 * high, bottom, TOP),
        ),
        false => (
            Axis::linear(first, last, left, right),
            Axis::linear(0.0, 1.15 * high, bottom, TOP),
        ),
    };
    let frame = Frame {
        x: &x,
        y: &y,
        x_title: Some(steps.x_title),
        y_title: steps.y_title,
        grid: true,
    };
    frame.draw_grid(canvas);
    let mut line = vec![(x.at(first), bottom)];
    let mut boxes = Vec::new();
    for (edges, height) in steps.edges.windows(2).zip(steps.heights) {
        let top = if *height > 0.0 { y.at(*height) } else { bottom };
        let (a, b) = (x.at(edges[0]), x.at(edges[1]));
        line.extend([(a, top), (b, top)]);
        if top < bottom {
            boxes.push(((a, top), (b, bottom), TRUTH_FILL));
        }
    }
    line.push((x.at(last), bottom));
    canvas.cells(&boxes);
    canvas.polyline(&line, TRUTH, 1.6);
    frame.draw(canvas);
}
