//! Soft pixels: how large the nonzero pixels are, and how many of an image are small.

use rayon::prelude::*;

use super::Sides;
use super::distance::Resampling;
use super::grid::{CELLS, Class, Found, Grid, Values};
use super::observable::Label;
use super::resample::class_stream;
use crate::data::{SparseImages, Unit};

/// Pixels below these are counted where the images are such as jets have, GeV.
const THRESHOLDS: [f64; 4] = [0.01, 0.1, 0.3, 1.0];
/// Images are such as jets have where this part of their nonzero pixels lies below the largest threshold.
const SOFT: std::ops::RangeInclusive<f64> = 0.05..=0.95;
/// Of other images: parts of the truth's nonzero pixels that lie below a threshold, before it is rounded.
const PARTS: [f64; 4] = [0.01, 0.05, 0.2, 0.5];

/// The first stream of random numbers: between those of observables and of classes.
const STREAMS: u32 = 1 << 15;
/// Quantities that have streams of their own.
const PLACES: u32 = 8;

/// The quantities of all images.
pub(super) struct Soft {
    quantities: Vec<Quantity>,
}

struct Quantity {
    label: Label,
    grid: Grid,
    values: Sides<Values>,
}

impl Soft {
    pub(super) fn new(images: &Sides<&SparseImages>, unit: &Unit) -> Self {
        let thresholds = thresholds(images.truth, unit);
        let counts = (thresholds.into_par_iter()).map(|t| count_below(images, t, unit));
        let mut quantities = vec![logarithm(images)];
        quantities.par_extend(counts);
        Self { quantities }
    }

    /// All of one class, the logarithm of the pixels first.
    pub(super) fn of_class(
        &self,
        number: u32,
        members: &Sides<Vec<usize>>,
        weights: &Sides<Option<Vec<f32>>>,
        halves: &[Vec<usize>; 2],
        resampling: Resampling,
    ) -> Vec<(Label, Found)> {
        (self.quantities.par_iter().zip(0..PLACES))
            .map(|(quantity, place)| {
                let class = Class {
                    grid: quantity.grid,
                    values: &quantity.values,
                    members,
                    weights,
                    halves,
                    resampling,
                    streams: [class_stream(number), STREAMS + number * PLACES + place],
                };
                (quantity.label.clone(), class.compare())
            })
            .collect()
    }
}

fn logarithm(images: &Sides<&SparseImages>) -> Quantity {
    let ends = images.map(|side| {
        let values = || side.iter().flat_map(|(_, values)| values.iter().copied());
        (
            values().fold(f32::INFINITY, f32::min),
            values().fold(0.0, f32::max),
        )
    });
    let low = f64::from(ends.truth.0.min(ends.generated.0)).ln();
    let high = f64::from(ends.truth.1.max(ends.generated.1)).ln();
    let (low, high) = match (low.is_finite() && high.is_finite(), high > low) {
        (true, true) => (low, high),
        (true, false) => (low - 0.5, low + 0.5),
        // No pixel at all: any range will do.
        _ => (0.0, 1.0),
    };
    let grid = Grid {
        low,
        step: (high - low) / CELLS as f64,
        cells: CELLS,
    };
    let cell = |value: &f32| {
        let place = (f64::from(*value).ln() - grid.low) / grid.step;
        place.clamp(0.0, (CELLS - 1) as f64) as u16
    };
    let values = images.map(|side| {
        let lengths = side.iter().map(|(_, values)| values.len());
        let images = (0..side.len()).into_par_iter();
        let cells = images.flat_map_iter(|i| side.image(i).1.iter().map(cell));
        Values::several(lengths, cells.collect())
    });
    Quantity {
        label: Label::ln_pixel_intensity(),
        grid,
        values,
    }
}

fn count_below(images: &Sides<&SparseImages>, threshold: f64, unit: &Unit) -> Quantity {
    let count = |(_, values): (&[u16], &[f32])| {
        let below = values.iter().filter(|v| f64::from(**v) < threshold);
        below.count().min(CELLS - 1) as u16
    };
    let values = images.map(|side| side.iter().map(count).collect::<Vec<u16>>());
    let most = (values.truth.iter().chain(&values.generated)).max();
    let grid = Grid {
        low: -0.5,
        step: 1.0,
        cells: usize::from(most.copied().unwrap_or(0)) + 1,
    };
    let Sides { truth, generated } = values;
    Quantity {
        label: Label::count_below(threshold, unit.as_str()),
        grid,
        values: Sides {
            truth: Values::single(truth),
            generated: Values::single(generated),
        },
    }
}

/// What pixels are counted below, ascending: those of jets or, where these say nothing of the truth, by its own pixels.
fn thresholds(truth: &SparseImages, unit: &Unit) -> Vec<f64> {
    let mut values: Vec<f32> = truth.iter().flat_map(|(_, v)| v.iter().copied()).collect();
    let below = values.iter().filter(|v| f64::from(**v) < 1.0).count();
    let part = below as f64 / values.len() as f64;
    if values.is_empty() || (unit.is_gev() && SOFT.contains(&part)) {
        return THRESHOLDS.to_vec();
    }
    let mut found: Vec<f64> = (PARTS.iter())
        .map(|part| {
            let place = (values.len() as f64 * part) as usize;
            let place = place.min(values.len() - 1);
            let (_, value, _) = values.select_nth_unstable_by(place, f32::total_cmp);
            one_digit(f64::from(*value))
        })
        .collect();
    found.dedup();
    found
}

/// The nearest number with one significant digit, to the last bit that text has.
fn one_digit(value: f64) -> f64 {
    format!("{value:.0e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(values: impl IntoIterator<Item = f32>) -> SparseImages {
        let mut images = SparseImages::new(3, 3).unwrap();
        for value in values {
            images.push([(4, value)]);
        }
        images
    }

    #[test]
    fn thresholds_fit_the_truth() {
        let energies = |scale: f32| images((0..1000).map(|i| scale * 1.01f32.powi(i)));
        let gev = Unit::default();
        // From 1e-3 to 21 GeV.
        assert_eq!(thresholds(&energies(1e-3), &gev), THRESHOLDS);
        let empty = SparseImages::new(3, 3).unwrap();
        assert_eq!(thresholds(&empty, &gev), THRESHOLDS);
        // From 1e-7 GeV to 2e-3, and up to 2 in units that say nothing of a jet.
        assert_eq!(thresholds(&energies(1e-7), &gev), [1e-7, 2e-7, 7e-7, 1e-5]);
        let (adc, _) = Unit::parse("ADC").unwrap();
        assert_eq!(thresholds(&energies(1e-3), &adc), [1e-3, 2e-3, 7e-3, 0.1]);
        assert_eq!(thresholds(&images([5.0; 9]), &adc), [5.0]);
        let label = Label::count_below(2e-7, "GeV");
        assert_eq!(label.name, "count_below_0.0000002");
    }

    #[test]
    fn any_pixels_have_a_place_on_the_grid() {
        let cases: [&[f32]; 5] = [
            &[],
            &[1.0],
            &[3.0, 3.0],
            &[f32::MIN_POSITIVE, f32::MAX],
            &[1e-45],
        ];
        for a in cases {
            for b in cases {
                let (a, b) = (images(a.iter().copied()), images(b.iter().copied()));
                let found = logarithm(&Sides {
                    truth: &a,
                    generated: &b,
                });
                assert!(found.grid.low.is_finite() && found.grid.step > 0.0);
            }
        }
        let found = logarithm(&Sides {
            truth: &images([1.0, 100.0]),
            generated: &images([10.0]),
        });
        let cells = (found.grid.low, found.grid.step * CELLS as f64);
        assert!(cells.0 == 0.0 && (cells.1 - 100f64.ln()).abs() < 1e-12);
    }
}
