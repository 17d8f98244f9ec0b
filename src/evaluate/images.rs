//! Pixel by pixel: average images, how often a pixel is zero, the spectrum of intensities.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::histogram::{Comparison, Histogram, linspace, logspace};
use super::separation::separation;
use super::ssim::ssim;
use super::weights::{WeightSummary, at, weight};
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
    /// Mean of the squared difference of the pixels per image in units of its variance, over logarithmic bins; 1 is expected
    /// of truth.
    #[serde(default)]
    pub pixel_spectrum_log_chi2: Option<f64>,
    /// Why one of them is absent.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// Images that one task sums: the split does not depend on the number of threads.
const CHUNK: usize = 4096;

impl ImageEvaluation {
    /// Of the images named by `members`, whose weights are `weights`; `halves` are those of the truth.
    pub(super) fn new(
        images: &Sides<&SparseImages>,
        members: &Sides<Vec<usize>>,
        weights: &Sides<Option<Vec<f32>>>,
        halves: &[Vec<usize>; 2],
    ) -> Self {
        let truth = Chosen::new(images.truth, &members.truth, weights.truth.as_deref());
        let generated = Chosen::new(
            images.generated,
            &members.generated,
            weights.generated.as_deref(),
        );
        let (truth, generated) = (
            (Sums::new(&truth), truth),
            (Sums::new(&generated), generated),
        );
        let low = f64::from(truth.0.least.min(generated.0.least));
        let high = f64::from(truth.0.most.max(generated.0.most));
        // With no pixel at all, or one value only, any range will do.
        let (low, high) = match (low > 0.0 && low.is_finite(), high > low) {
            (true, true) => (low, high),
            (true, false) => (low / 2.0, low * 2.0),
            _ => (1e-3, 1.0),
        };
        let edges = [linspace(0.0, high, 51), logspace(low, high, 51)];
        let fill = |(sums, of): (Sums, Chosen<'_>)| Filled {
            histograms: edges.each_ref().map(|edges| spectrum(&of, edges)),
            sums,
        };
        let halves = halves.each_ref().map(|half| {
            let members: Vec<usize> = half.iter().map(|k| members.truth[*k]).collect();
            let weights = at(weights.truth.as_deref(), half);
            let half = Chosen::new(images.truth, &members, weights.as_deref());
            fill((Sums::new(&half), half))
        });
        let sides = Sides {
            truth: fill(truth),
            generated: fill(generated),
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

    /// Put down the chi-square of the logarithmic spectra: generated from truth, and the truth's halves.
    pub(super) fn with_chi2(mut self, chi2: [Result<f64, Unavailable>; 2]) -> Self {
        let halves = self.halves.as_mut().map(|halves| &mut halves.found);
        let places = [Some(&mut self.distances), halves];
        for (place, chi2) in places.into_iter().zip(chi2) {
            if let Some(place) = place {
                let key = "pixel_spectrum_log_chi2";
                place.pixel_spectrum_log_chi2 = value_or_reason(&mut place.reasons, key, chi2);
            }
        }
        self
    }
}

/// Images and their weights.
struct Chosen<'a> {
    images: &'a SparseImages,
    members: &'a [usize],
    weights: Option<&'a [f32]>,
}

impl<'a> Chosen<'a> {
    fn new(images: &'a SparseImages, members: &'a [usize], weights: Option<&'a [f32]>) -> Self {
        Self {
            images,
            members,
            weights,
        }
    }

    /// Places of all of them in parts, whose split does not depend on the number of threads.
    fn parts(&self) -> impl IndexedParallelIterator<Item = std::ops::Range<usize>> {
        let count = self.members.len();
        (0..count.div_ceil(CHUNK))
            .into_par_iter()
            .map(move |part| part * CHUNK..count.min((part + 1) * CHUNK))
    }
}

/// Intensities of the nonzero pixels.
fn spectrum(of: &Chosen<'_>, edges: &[f64]) -> Histogram {
    let parts: Vec<Histogram> = of
        .parts()
        .map(|places| {
            let total = places.clone().map(|k| weight(of.weights, k)).sum();
            let entries = places.clone().flat_map(|k| {
                let weight = weight(of.weights, k);
                let values = of.images.image(of.members[k]).1;
                values.iter().map(move |v| (f64::from(*v), weight))
            });
            Histogram::weighted(edges, entries, places.len(), total)
        })
        .collect();
    (parts.iter()).fold(Histogram::new(edges, [0f64; 0], 0), |all, part| {
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
            let (a, b) = (&a.histograms[k], &b.histograms[k]);
            let why = match a.negative() || b.negative() {
                true => Unavailable::NegativeBin,
                false => Unavailable::NoPixels,
            };
            value_or_reason(&mut reasons, key, separation(a, b).ok_or(why))
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
            pixel_spectrum_log_chi2: None,
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
    /// Sum of the weights and its effective number of events; both are the number of images where all weigh 1.
    total: f64,
    effective: f64,
    /// `[pixels]`: sums of weighted intensities, and of the weights of images in which the pixel is not zero.
    sum: Vec<f64>,
    nonzero: Vec<f64>,
    least: f32,
    most: f32,
}

impl Sums {
    fn new(of: &Chosen<'_>) -> Self {
        let pixels = of.images.pixels();
        let summary = (of.weights).map_or(WeightSummary::ones(of.members.len()), WeightSummary::of);
        let empty = || Self {
            images: 0,
            total: summary.sum,
            effective: summary.effective,
            sum: vec![0.0; pixels],
            nonzero: vec![0.0; pixels],
            least: f32::INFINITY,
            most: 0.0,
        };
        let parts: Vec<Self> = of
            .parts()
            .map(|places| {
                let mut part = empty();
                part.images = places.len();
                for place in places {
                    let (index, value) = of.images.image(of.members[place]);
                    let weight = weight(of.weights, place);
                    for (pixel, value) in index.iter().zip(value) {
                        part.sum[*pixel as usize] += weight * f64::from(*value);
                        part.nonzero[*pixel as usize] += weight;
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

    /// What sums are divided by.
    fn norm(&self) -> f64 {
        if self.total > 0.0 { self.total } else { 1.0 }
    }

    fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|s| s / self.norm()).collect()
    }

    fn zeros(&self) -> Vec<f64> {
        self.nonzero.iter().map(|c| 1.0 - c / self.norm()).collect()
    }

    fn sparsity(&self) -> f64 {
        let pixels = self.norm() * self.sum.len().max(1) as f64;
        1.0 - self.nonzero.iter().sum::<f64>() / pixels
    }

    /// Differences of the zero fractions, `other` minus this, in units of their error: with p the
    /// fraction of both samples together, `sqrt(p (1 - p) (1/n + 1/m))`, n and m effective numbers of events.
    fn pulls(&self, other: &Self) -> Vec<f64> {
        let (n, m) = (self.effective.max(1.0), other.effective.max(1.0));
        // Weights as effective events: 1 where all weigh 1, so that counts stay whole.
        let (unit_a, unit_b) = (n / self.norm(), m / other.norm());
        (self.nonzero.iter().zip(&other.nonzero))
            .map(|(a, b)| {
                let (a, b) = (a * unit_a, b * unit_b);
                let variance = variance(a, b, n, m);
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
        let (n, m) = (self.effective.max(1.0), other.effective.max(1.0));
        let (unit_a, unit_b) = (n / self.norm(), m / other.norm());
        (self.nonzero.iter().zip(&other.nonzero))
            .filter(|(a, b)| variance(*a * unit_a, *b * unit_b, n, m) > 0.0)
            .count()
    }
}

/// Variance of the difference of `a / n` and `b / m`, fractions of one truth.
fn variance(a: f64, b: f64, n: f64, m: f64) -> f64 {
    let p = (a + b) / (n + m);
    p * (1.0 - p) * (1.0 / n + 1.0 / m)
}
