//! What a sample of images looks like, in numbers: for figures that show one sample.

use super::{PixelRange, SparseImages};

/// Bins of the pixels' spectrum for each factor of ten.
const BINS_PER_DECADE: f64 = 5.0;
/// Decades that the spectrum has at the most: fainter pixels are counted in its first bin.
const MOST_DECADES: f64 = 12.0;
/// Bins of the images' sums.
const SUM_BINS: usize = 40;

/// A sample of images at a glance.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Images in all.
    pub images: usize,
    /// Pixels in all that are zero, as a fraction.
    pub zero_fraction: f64,
    /// Mean of each pixel over all images, row-major.
    pub mean: Vec<f64>,
    /// How large the pixels are that are not zero; `None` where all are.
    pub pixels: Option<PixelRange>,
    /// Edges of the spectrum's bins, equal factors apart.
    pub spectrum_edges: Vec<f64>,
    spectrum: Vec<u64>,
    /// Edges of the bins of the images' sums.
    pub sum_edges: Vec<f64>,
    sums: Vec<u64>,
    /// Mean of the images' sums.
    pub mean_sum: f64,
    /// The first images.
    pub first: SparseImages,
}

impl Overview {
    /// Of `images`, keeping the first `first` of them to be shown.
    pub fn of(images: &SparseImages, first: usize) -> Self {
        let (_, index, value) = images.csr();
        let n = images.len().max(1) as f64;
        let mut mean = vec![0.0; images.pixels()];
        for (pixel, value) in index.iter().zip(value) {
            mean[usize::from(*pixel)] += f64::from(*value) / n;
        }
        let pixels = PixelRange::of(images);
        let [low, high] = pixels.map_or([1.0, 10.0], |p| [p.smallest, p.largest].map(f64::from));
        let spectrum_edges = factors(low.max(high * 10f64.powf(-MOST_DECADES)), high);
        let sums = images.totals();
        let most = sums.iter().copied().fold(0.0, f32::max);
        let least = sums.iter().copied().fold(f32::INFINITY, f32::min).min(most);
        let (from, to) = match least < most {
            true => (f64::from(least), f64::from(most)),
            false => (f64::from(most) - 0.5, f64::from(most) + 0.5),
        };
        let sum_edges: Vec<f64> = (0..=SUM_BINS)
            .map(|i| from + (to - from) * i as f64 / SUM_BINS as f64)
            .collect();
        Self {
            images: images.len(),
            zero_fraction: 1.0 - value.len() as f64 / (n * images.pixels() as f64),
            mean,
            pixels,
            spectrum: fill(&spectrum_edges, value),
            spectrum_edges,
            sums: fill(&sum_edges, &sums),
            sum_edges,
            mean_sum: sums.iter().map(|v| f64::from(*v)).sum::<f64>() / n,
            first: images.gather(0..images.len().min(first)),
        }
    }

    /// Pixels per image and factor of ten, a value a bin.
    pub fn spectrum(&self) -> Vec<f64> {
        let norm = BINS_PER_DECADE / self.images.max(1) as f64;
        self.spectrum.iter().map(|n| *n as f64 * norm).collect()
    }

    /// Fraction of the images in each bin of the sums.
    pub fn sums(&self) -> Vec<f64> {
        let norm = 1.0 / self.images.max(1) as f64;
        self.sums.iter().map(|n| *n as f64 * norm).collect()
    }
}

/// Edges from below `low` to above `high`, at whole parts of a decade.
fn factors(low: f64, high: f64) -> Vec<f64> {
    let first = (low.log10() * BINS_PER_DECADE).floor() as i32;
    let last = ((high.log10() * BINS_PER_DECADE).ceil() as i32).max(first + 1);
    (first..=last)
        .map(|i| 10f64.powf(f64::from(i) / BINS_PER_DECADE))
        .collect()
}

/// Counts between `edges`; what lies outside is counted in the nearer bin.
fn fill(edges: &[f64], values: &[f32]) -> Vec<u64> {
    let bins = edges.len().saturating_sub(1).max(1);
    let mut counts = vec![0; bins];
    for value in values {
        let above = edges.partition_point(|e| *e <= f64::from(*value));
        counts[above.clamp(1, bins) - 1] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_and_pixel_is_counted() {
        let mut images = SparseImages::new(2, 3).unwrap();
        images.push([(0, 1e-20), (4, 3.0)]);
        images.push([(4, 5.0)]);
        images.push([]);
        let seen = Overview::of(&images, 2);
        assert_eq!((seen.images, seen.first.len()), (3, 2));
        let pixels = seen.pixels.unwrap();
        assert_eq!((pixels.smallest, pixels.largest), (1e-20, 5.0));
        assert!((pixels.median / 3.0 - 1.0).abs() < 5e-3);
        assert!((seen.mean[4] - 8.0 / 3.0).abs() < 1e-12);
        assert!((seen.zero_fraction - 15.0 / 18.0).abs() < 1e-12);
        assert!((seen.spectrum().iter().sum::<f64>() - BINS_PER_DECADE).abs() < 1e-9);
        assert!((seen.sums().iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(seen.spectrum_edges.len() <= 2 + (MOST_DECADES * BINS_PER_DECADE) as usize);
    }

    #[test]
    fn nothing_at_all_can_be_looked_at() {
        let mut images = SparseImages::new(2, 2).unwrap();
        for _ in 0..2 {
            let seen = Overview::of(&images, 8);
            assert_eq!(seen.pixels, None);
            assert!(seen.mean.iter().all(|v| *v == 0.0));
            images.push([]);
        }
    }
}
