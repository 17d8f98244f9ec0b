//! Images as text: two pixels above each other a character where there are colours, two characters a pixel where there
//! are none, so that squares stay squares.

use crate::cli::grouped;
use crate::data::{Overview, SparseImages, Unit};
use crate::evaluate::report::brightness;

/// From nothing to full.
const SHADES: [&str; 10] = ["  ", "..", "::", "--", "==", "++", "**", "##", "%%", "@@"];
/// Most rows and columns of cells that a picture has.
const LARGEST: usize = 48;
/// Decades of brightness.
const DECADES: f64 = 5.0;
/// Characters of the longest bar of the spectrum.
const BAR: f64 = 40.0;
/// Columns between two pictures.
const GAP: &str = "  ";

/// Columns of the terminal that stdout is, 80 where it is none.
pub fn columns() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))
}

/// The page for a terminal of `columns` columns, of pixels in `unit`.
pub fn overview(sample: &Overview, unit: &Unit, columns: usize, colour: bool) -> String {
    let size = (sample.first.height(), sample.first.width());
    let mut text = format!(
        "{} images of {} x {}, {:.2} % of the pixels are zero\n",
        grouped(sample.images as u64),
        size.0,
        size.1,
        100.0 * sample.zero_fraction
    );
    if let Some(p) = &sample.pixels {
        text += &format!(
            "pixels {:.3e} to {:.4} {unit}, median {:.4}; mean sum {:.4} {unit}\n",
            p.smallest, p.largest, p.median, sample.mean_sum
        );
    }
    let average = Cells::new(size, &sample.mean);
    let width = average.characters(colour);
    let beside = ((columns.max(width) + GAP.len()) / (width + GAP.len())).max(1) - 1;
    let mut pictures = vec![("average".to_string(), average)];
    for i in 0..sample.first.len().min(beside) {
        pictures.push((format!("image {i}"), one(&sample.first, i)));
    }
    text += "\n";
    let titles: Vec<String> = pictures
        .iter()
        .map(|(t, _)| format!("{t:<width$.width$}"))
        .collect();
    text += &(titles.join(GAP).trim_end().to_string() + "\n");
    let pictures: Vec<Vec<String>> = pictures
        .iter()
        .map(|(_, cells)| cells.lines(colour))
        .collect();
    for line in 0..pictures.first().map_or(0, Vec::len) {
        let parts: Vec<&str> = pictures.iter().map(|p| p[line].as_str()).collect();
        text += &(parts.join(GAP).trim_end().to_string() + "\n");
    }
    text + "\n" + &spectrum(sample, unit)
}

/// Image `i` of `images`.
fn one(images: &SparseImages, i: usize) -> Cells {
    let mut pixels = vec![0.0; images.pixels()];
    let (index, value) = images.image(i);
    for (pixel, value) in index.iter().zip(value) {
        pixels[usize::from(*pixel)] = f64::from(*value);
    }
    Cells::new((images.height(), images.width()), &pixels)
}

/// An image in as many cells as fit, each with the largest of its pixels.
struct Cells {
    width: usize,
    values: Vec<f64>,
}

impl Cells {
    fn new((height, width): (usize, usize), pixels: &[f64]) -> Self {
        let step = height.max(width).div_ceil(LARGEST).max(1);
        let (rows, columns) = (height.div_ceil(step), width.div_ceil(step));
        let mut values = vec![0.0f64; rows * columns];
        for (pixel, value) in pixels.iter().enumerate() {
            let cell = &mut values[pixel / width / step * columns + pixel % width / step];
            *cell = cell.max(*value);
        }
        Self {
            width: columns,
            values,
        }
    }

    fn characters(&self, colour: bool) -> usize {
        if colour { self.width } else { 2 * self.width }
    }

    /// Brightness of each cell, 0 (nothing) to 1, by the logarithm.
    fn parts(&self) -> Vec<f64> {
        let high = self.values.iter().copied().fold(0.0, f64::max);
        let part = |v: f64| 1.0 + (v / high).log10() / DECADES;
        (self.values.iter())
            .map(|v| {
                if *v > 0.0 {
                    part(*v).clamp(0.01, 1.0)
                } else {
                    0.0
                }
            })
            .collect()
    }

    fn lines(&self, colour: bool) -> Vec<String> {
        let parts = self.parts();
        if !colour {
            let shade = |part: &f64| SHADES[(part * (SHADES.len() - 1) as f64).ceil() as usize];
            let lines = parts.chunks(self.width);
            return lines.map(|line| line.iter().map(shade).collect()).collect();
        }
        let rows: Vec<&[f64]> = parts.chunks(self.width).collect();
        (rows.chunks(2))
            .map(|pair| {
                let cells = (0..self.width).map(|column| {
                    let above = brightness(pair[0][column]);
                    let below = pair.get(1).map_or([0; 3], |row| brightness(row[column]));
                    let [a, b] = [above, below].map(|[r, g, b]| format!("{r};{g};{b}"));
                    format!("\x1b[38;2;{a};48;2;{b}m\u{2580}")
                });
                cells.collect::<String>() + "\x1b[0m"
            })
            .collect()
    }
}

/// The pixels' spectrum, a bar for each factor of ten, logarithmic.
fn spectrum(sample: &Overview, unit: &Unit) -> String {
    let mut decades: Vec<(i32, f64)> = Vec::new();
    for (edges, height) in sample.spectrum_edges.windows(2).zip(sample.spectrum()) {
        // The middle of a bin lies in one decade; its lower edge may miss it by rounding.
        let decade = (edges[0] * edges[1]).sqrt().log10().floor() as i32;
        // Bins count per factor of ten.
        let part = height * (edges[1] / edges[0]).log10();
        match decades.last_mut() {
            Some((last, sum)) if *last == decade => *sum += part,
            _ => decades.push((decade, part)),
        }
    }
    let heights = || decades.iter().map(|(_, n)| *n).filter(|n| *n > 0.0);
    let high = heights().fold(0.0, f64::max);
    let low = heights().fold(f64::INFINITY, f64::min).min(high / 10.0);
    let mut text = "pixels per image and factor of ten\n".to_string();
    for (decade, n) in &decades {
        let length = match *n > 0.0 {
            true => 1.0 + (BAR - 1.0) * (n / low).ln() / (high / low).ln(),
            false => 0.0,
        };
        let bar = "#".repeat(length.clamp(0.0, BAR).round() as usize);
        let line = format!("  from 1e{decade:<3} {unit}  {n:<10.4}  {bar}");
        text += line.trim_end();
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(height: usize, width: usize, columns: usize, colour: bool) -> String {
        let mut images = SparseImages::new(height, width).unwrap();
        images.push([(0, 2.0)]);
        images.push([(0, 1e-3), ((height * width - 1) as u16, 40.0)]);
        overview(
            &Overview::of(&images, 24),
            &Unit::default(),
            columns,
            colour,
        )
    }

    #[test]
    fn pictures_stand_side_by_side_as_far_as_they_fit() {
        let text = page(4, 4, 80, false);
        let titles = text.lines().nth(3).unwrap();
        assert_eq!(
            titles.split_whitespace().collect::<Vec<_>>().join(" "),
            "average image 0 image 1"
        );
        let first = text.lines().nth(4).unwrap();
        assert!(
            first.starts_with("##") || first.starts_with("@@"),
            "{first}"
        );
        assert!(text.lines().all(|l| l.chars().count() <= 80));
        // The last pixel of image 1, bottom right, is the brightest of all.
        assert!(text.lines().nth(7).unwrap().ends_with("@@"));
        assert!(!page(25, 25, 60, false).contains("image 0"));
        assert!(text.contains("from 1e-3"), "{text}");
    }

    #[test]
    fn any_size_fits() {
        for (height, width) in [(1, 1), (1, 368), (45, 900), (256, 256), (3, 1)] {
            for colour in [false, true] {
                let text = page(height, width, 80, colour);
                let plain: Vec<String> = text.lines().map(strip).collect();
                assert!(
                    plain.iter().all(|l| l.chars().count() <= 2 * LARGEST),
                    "{height} x {width}"
                );
            }
        }
    }

    /// A line without its colours.
    fn strip(line: &str) -> String {
        let mut parts = line.split('\x1b');
        let first = parts.next().unwrap_or_default().to_string();
        first
            + &parts
                .filter_map(|p| p.split_once('m'))
                .map(|p| p.1)
                .collect::<String>()
    }

    #[test]
    fn images_without_a_pixel_are_dark() {
        let mut images = SparseImages::new(3, 3).unwrap();
        images.push([]);
        let text = overview(&Overview::of(&images, 1), &Unit::default(), 80, false);
        assert!(text.contains("100.00 % of the pixels are zero"), "{text}");
    }
}
