//! Pixel by pixel: average images, how often a pixel is zero, the spectrum of intensities.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::histogram::{Comparison, Histogram, linspace, logspace};
use super::separation::separation;
use super::ssim::ssim;
use super::{Halves, Reasons, Sides, Unavailable, value_or_reason};
use crate::data::SparseImages;

/// What the images of one class look like on average.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageEvaluation {
    /// Average image, `[pixels]`, row-major, GeV.
    pub mean: Sides<Vec<f64>>,
    /// Fraction of images in which a pixel is zero, `[pixels]`.
    pub zeros: Sides<Vec<f64>>,
    /// Difference of the zero fractions, generated minus truth, in units of its error, `[pixels]`;
    /// 0 where the fraction is 0 or 1 on both sides.
    pub zero_pulls: Vec<f64>,
    /// Fraction of zeros among all pixels of all images.
    pub sparsity: Sides<f64>,
    /// Generated from truth.
    pub distances: ImageDistances,
    /// One half of the truth from the other; `None` of a single image.
    pub halves: Option<Halves<ImageDistances>>,
    /// Nonzero pixels per image and GeV, equal bins of intensity from 0.
    pub spectrum: Comparison,
    /// Nonzero pixels per image and GeV, bins equal in the logarithm of the intensity.
    pub log_spectrum: Comparison,
}

/// How far apart two samples are pixel by pixel; the keys of `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageDistances {
    /// Largest absolute difference of the average images, GeV.
    pub mean_image_max_abs_difference: f64,
    /// Row and column of the pixel it is at.
    pub mean_image_max_abs_difference_at: [usize; 2],
    /// Mean absolute difference of the average images, GeV.
    pub mean_image_mean_abs_difference: f64,
    /// Mean squared difference of the average images, GeV^2.
    pub mean_image_mse: f64,
    /// Structural similarity of the average images.
    pub mean_image_ssim: Option<f64>,
    /// Largest absolute difference of the fractions of images in which a pixel is zero.
    pub zero_fraction_max_abs_difference: f64,
    /// Row and column of the pixel it is at.
    pub zero_fraction_max_abs_difference_at: [usize; 2],
    /// Mean of it over the pixels.
    pub zero_fraction_mean_abs_difference: f64,
    /// Mean of its square in units of its variance, over the pixels that are zero in some images
    /// but not in all; 1 is expected of truth.
    pub zero_fraction_chi2: Option<f64>,
    /// Separation power of the pixel intensities, equal bins.
    pub pixel_spectrum_separation: Option<f64>,
    /// The same, bins equal in the logarithm.
    pub pixel_spectrum_log_separation: Option<f64>,
    /// Why one of them is absent.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// Images that one task sums: the split does not depend on the number of threads.
const CHUNK: usize = 4096;

impl ImageEvaluation {
    /// Of the images named by `members`; `halves` are those of the truth.
    pub(super) fn new(
        images: &Sides<&SparseImages>,
        members: &Sides<Vec<usize>>,
        halves: &[Vec<usize>; 2],
    ) -> Self {
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
        let edges = [linspace(0.0, high, 51), logspace(low, high, 51)];
        let fill = |sums: Sums, images: &SparseImages, members: &[usize]| Filled {
            histograms: edges
                .each_ref()
                .map(|edges| spectrum(images, members, edges)),
            sums,
        };
        let halves = halves.each_ref().map(|half| {
            let members: Vec<usize> = half.iter().map(|k| members.truth[*k]).collect();
            fill(Sums::new(images.truth, &members), images.truth, &members)
        });
        let sides = Sides {
            truth: fill(truth, images.truth, &members.truth),
            generated: fill(generated, images.generated, &members.generated),
        };
        let size = (images.truth.height(), images.truth.width());
        let [first, second] = &halves;
        let [spectrum, log_spectrum] = [0, 1].map(|k| Comparison {
            truth: sides.truth.histograms[k].clone(),
            generated: sides.generated.histograms[k].clone(),
        });
        Self {
            mean: sides.map(|s| s.sums.mean()),
            zeros: sides.map(|s| s.sums.zeros()),
            zero_pulls: sides.truth.sums.pulls(&sides.generated.sums),
            sparsity: sides.map(|s| s.sums.sparsity()),
            distances: ImageDistances::new(&sides.truth, &sides.generated, size),
            halves: (second.sums.images > 0).then(|| Halves {
                sizes: [first.sums.images, second.sums.images],
                found: ImageDistances::new(first, second, size),
            }),
            spectrum,
            log_spectrum,
        }
    }
}

/// Intensities of the nonzero pixels of the images named by `members`.
fn spectrum(images: &SparseImages, members: &[usize], edges: &[f64]) -> Histogram {
    let parts: Vec<Histogram> = (members.par_chunks(CHUNK))
        .map(|members| {
            let values = (members.iter()).flat_map(|m| images.image(*m).1.iter().copied());
            Histogram::new(edges, values, members.len())
        })
        .collect();
    (parts.iter()).fold(Histogram::new(edges, [0f32; 0], 0), |all, part| {
        all.with(part)
    })
}

/// All that is summed over one sample.
struct Filled {
    sums: Sums,
    /// Equal bins, logarithmic bins.
    histograms: [Histogram; 2],
}

impl ImageDistances {
    fn new(a: &Filled, b: &Filled, (height, width): (usize, usize)) -> Self {
        let mut reasons = Reasons::new();
        let (mean_a, mean_b) = (a.sums.mean(), b.sums.mean());
        let mean = Differences::new(&mean_a, &mean_b);
        let zeros = Differences::new(&a.sums.zeros(), &b.sums.zeros());
        let place = |pixel: usize| [pixel / width, pixel % width];
        let pulls = a.sums.pulls(&b.sums);
        let compared = a.sums.undecided(&b.sums);
        let mut spectrum = |k: usize, key: &str| {
            let found = separation(&a.histograms[k], &b.histograms[k]);
            value_or_reason(&mut reasons, key, found.ok_or(Unavailable::NoPixels))
        };
        let pixel_spectrum_separation = spectrum(0, "pixel_spectrum_separation");
        let pixel_spectrum_log_separation = spectrum(1, "pixel_spectrum_log_separation");
        let chi2 = pulls.iter().map(|p| p * p).sum::<f64>() / compared as f64;
        let chi2 = (compared > 0).then_some(chi2).ok_or(Unavailable::Decided);
        Self {
            mean_image_max_abs_difference: mean.most,
            mean_image_max_abs_difference_at: place(mean.at),
            mean_image_mean_abs_difference: mean.mean,
            mean_image_mse: mean.mean_square,
            mean_image_ssim: value_or_reason(
                &mut reasons,
                "mean_image_ssim",
                ssim(&mean_a, &mean_b, height, width),
            ),
            zero_fraction_max_abs_difference: zeros.most,
            zero_fraction_max_abs_difference_at: place(zeros.at),
            zero_fraction_mean_abs_difference: zeros.mean,
            zero_fraction_chi2: value_or_reason(&mut reasons, "zero_fraction_chi2", chi2),
            pixel_spectrum_separation,
            pixel_spectrum_log_separation,
            reasons,
        }
    }
}

/// Absolute differences of two maps.
struct Differences {
    most: f64,
    /// Pixel of the largest one, the first of equals.
    at: usize,
    mean: f64,
    mean_square: f64,
}

impl Differences {
    fn new(a: &[f64], b: &[f64]) -> Self {
        let n = a.len().max(1) as f64;
        let each = || a.iter().zip(b).map(|(a, b)| (b - a).abs());
        let (most, at) =
            (each().zip(0..)).fold(
                (0.0, 0),
                |best, next| {
                    if next.0 > best.0 { next } else { best }
                },
            );
        Self {
            most,
            at,
            mean: each().sum::<f64>() / n,
            mean_square: each().map(|d| d * d).sum::<f64>() / n,
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
    /// Differences of the zero fractions, `other` minus this, in units of their error: with p the
    /// fraction of both samples together, `sqrt(p (1 - p) (1/n + 1/m))`.
    fn pulls(&self, other: &Self) -> Vec<f64> {
        let (n, m) = (self.images.max(1) as f64, other.images.max(1) as f64);
        (self.nonzero.iter().zip(&other.nonzero))
            .map(|(a, b)| {
                let (a, b) = (*a as f64, *b as f64);
                let p = (a + b) / (n + m);
                let variance = p * (1.0 - p) * (1.0 / n + 1.0 / m);
                if variance > 0.0 {
                    (a / n - b / m) / variance.sqrt()
                } else {
                    0.0
                }
            })
            .collect()
    }

    /// Pixels that are zero in some images of either sample, but not in all.
    fn undecided(&self, other: &Self) -> usize {
        let all = (self.images + other.images) as u64;
        (self.nonzero.iter().zip(&other.nonzero))
            .filter(|(a, b)| (1..all).contains(&(*a + *b)))
            .count()
    }
}
