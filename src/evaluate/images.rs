//! Pixel by pixel: average images, how often a pixel is zero, the spectrum of intensities.

use rayon::prelude::*;

use super::Sides;
use super::histogram::{Comparison, Histogram, linspace, logspace};
use crate::data::SparseImages;

/// What the images of one class look like on average.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageEvaluation {
    /// Average image, `[pixels]`, row-major, GeV.
    pub mean: Sides<Vec<f64>>,
    /// Fraction of images in which a pixel is zero, `[pixels]`.
    pub zeros: Sides<Vec<f64>>,
    /// Fraction of zeros among all pixels of all images.
    pub sparsity: Sides<f64>,
    /// Largest absolute difference of the average images, GeV, and the pixel it is at.
    pub mean_max_difference: (f64, usize),
    /// Nonzero pixels per image and GeV, equal bins of intensity from 0.
    pub spectrum: Comparison,
    /// Nonzero pixels per image and GeV, bins equal in the logarithm of the intensity.
    pub log_spectrum: Comparison,
}

/// Images that one task sums: the split does not depend on the number of threads.
const CHUNK: usize = 4096;

impl ImageEvaluation {
    /// Of the images named by `members`.
    pub(super) fn new(images: &Sides<&SparseImages>, members: &Sides<Vec<usize>>) -> Self {
        let truth = Sums::new(images.truth, &members.truth);
        let generated = Sums::new(images.generated, &members.generated);
        let low = f64::from(truth.least.min(generated.least));
        let high = f64::from(truth.most.max(generated.most));
        // With no pixel at all, or one value only, any range will do.
        let (low, high) = match (low > 0.0 && low.is_finite(), high > low) {
            (true, true) => (low, high),
            (true, false) => (low / 2.0, low * 2.0),
            _ => (1e-3, 1.0),
        };
        let fill = |edges: &[f64]| {
            let side = |images: &SparseImages, members: &[usize]| {
                let values = (members.iter()).flat_map(|m| images.image(*m).1.iter().copied());
                Histogram::new(edges, values, members.len())
            };
            Comparison {
                truth: side(images.truth, &members.truth),
                generated: side(images.generated, &members.generated),
            }
        };
        let sides = Sides { truth, generated };
        let mean = sides.map(|s| s.mean());
        Self {
            zeros: sides.map(|s| s.zeros()),
            sparsity: sides.map(|s| s.sparsity()),
            mean_max_difference: (mean.truth.iter().zip(&mean.generated).enumerate())
                .map(|(pixel, (t, g))| ((g - t).abs(), pixel))
                .fold(
                    (0.0, 0),
                    |best, next| if next.0 > best.0 { next } else { best },
                ),
            mean,
            spectrum: fill(&linspace(0.0, high, 51)),
            log_spectrum: fill(&logspace(low, high, 51)),
        }
    }
}

/// Sums over images.
struct Sums {
    images: usize,
    /// `[pixels]`: sum of intensities and number of nonzero ones.
    sum: Vec<f64>,
    nonzero: Vec<u64>,
    least: f32,
    most: f32,
}

impl Sums {
    fn new(images: &SparseImages, members: &[usize]) -> Self {
        let empty = || Self {
            images: 0,
            sum: vec![0.0; images.pixels()],
            nonzero: vec![0; images.pixels()],
            least: f32::INFINITY,
            most: 0.0,
        };
        let parts: Vec<Self> = (members.par_chunks(CHUNK))
            .map(|members| {
                let mut part = empty();
                part.images = members.len();
                for member in members {
                    let (index, value) = images.image(*member);
                    for (pixel, value) in index.iter().zip(value) {
                        part.sum[*pixel as usize] += f64::from(*value);
                        part.nonzero[*pixel as usize] += 1;
                        part.least = part.least.min(*value);
                        part.most = part.most.max(*value);
                    }
                }
                part
            })
            .collect();
        parts.into_iter().fold(empty(), |mut all, part| {
            all.images += part.images;
            for pixel in 0..all.sum.len() {
                all.sum[pixel] += part.sum[pixel];
                all.nonzero[pixel] += part.nonzero[pixel];
            }
            all.least = all.least.min(part.least);
            all.most = all.most.max(part.most);
            all
        })
    }

    fn mean(&self) -> Vec<f64> {
        let n = self.images.max(1) as f64;
        self.sum.iter().map(|s| s / n).collect()
    }

    fn zeros(&self) -> Vec<f64> {
        let n = self.images.max(1) as f64;
        self.nonzero.iter().map(|c| 1.0 - *c as f64 / n).collect()
    }

    fn sparsity(&self) -> f64 {
        let pixels = (self.images.max(1) * self.sum.len().max(1)) as f64;
        1.0 - self.nonzero.iter().sum::<u64>() as f64 / pixels
    }
}
