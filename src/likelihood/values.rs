//! The distribution of positive pixels that a configuration says.

use super::{Grid, LikelihoodConfig, Mixture, Rest, Space, SpaceName, Support};
use crate::conditions::Budget;
use crate::data::SparseImages;
use crate::family::{Beyond, End};

/// The distribution of positive pixels, ready to evaluate.
#[derive(Debug, Clone)]
pub enum Values {
    /// D+C
    Mixture(Mixture),
    /// D+D
    Levels(Grid),
}

impl Values {
    /// Of a configuration.
    pub fn new(config: &LikelihoodConfig) -> Self {
        match *config {
            LikelihoodConfig::Dc {
                components,
                space,
                unit,
                lower,
                upper,
            } => Values::Mixture(Mixture {
                components,
                support: Support {
                    unit,
                    upper: upper.unwrap_or(f64::INFINITY),
                    space: match space {
                        SpaceName::Linear => Space::Linear,
                        SpaceName::Log => Space::log(unit, lower.unwrap_or(unit)),
                    },
                },
                rest: Rest::Free,
            }),
            LikelihoodConfig::Dd {
                levels,
                power,
                maximum,
                ..
            } => Values::Levels(Grid::new(levels, power, maximum.unwrap_or(1.0))),
        }
    }

    /// What an image may spend at first of the total that its conditions say, where they say one.
    #[inline]
    pub fn first(&self, total: Option<Budget>) -> Option<Budget> {
        match self {
            Values::Mixture(mixture) => mixture.support.first(total),
            Values::Levels(_) => total,
        }
    }

    /// Where the range ends, GeV.
    pub fn end(&self, side: End) -> f64 {
        match (self, side) {
            (Values::Levels(grid), End::Upper) => grid.end(),
            (Values::Mixture(mixture), End::Upper) => mixture.support.upper,
            (Values::Mixture(mixture), End::Lower) => mixture.support.lower(),
            (Values::Levels(_), End::Lower) => 0.0,
        }
    }

    /// The end of the range that a positive pixel of `x` GeV lies beyond, where it lies beyond one.
    #[inline]
    pub fn excludes(&self, x: f32) -> Option<End> {
        // What was drawn at the very end may stand a rounding beyond it.
        const ROUNDING: f32 = 4.0 * f32::EPSILON;
        let (above, below) = match self {
            // Rounding at the grid's very end is the grid's own affair; a power a pixel costs too much.
            Values::Levels(grid) => (
                f64::from(x) > 0.999 * grid.end() && grid.level(x).is_none(),
                false,
            ),
            Values::Mixture(mixture) => (
                x > mixture.support.upper as f32 * (1.0 + ROUNDING),
                x < mixture.support.lower() as f32 * (1.0 - ROUNDING),
            ),
        };
        match (above, below) {
            (true, _) => Some(End::Upper),
            (_, true) => Some(End::Lower),
            _ => None,
        }
    }

    /// Pixels of `images` beyond the range: above it, then below it.
    pub fn beyond(&self, images: &SparseImages) -> Vec<Beyond> {
        let mut found: [Option<Beyond>; 2] = [None, None];
        let mut seen_in = [None, None];
        for (image, (pixels, values)) in images.iter().enumerate() {
            for (pixel, x) in pixels.iter().zip(values) {
                let Some(side) = self.excludes(*x) else {
                    continue;
                };
                let place = usize::from(side == End::Lower);
                let so_far = found[place].get_or_insert(Beyond {
                    count: 0,
                    images: 0,
                    side,
                    end: self.end(side),
                    what: match (self, side) {
                        (Values::Levels(_), _) => "the grid's end",
                        (_, End::Upper) => "likelihood.upper",
                        (_, End::Lower) => "likelihood.lower",
                    },
                    key: match (self, side) {
                        (Values::Levels(_), _) => "likelihood.maximum",
                        (_, End::Upper) => "likelihood.upper",
                        (_, End::Lower) => "likelihood.lower",
                    },
                    farthest: *x,
                    image,
                    pixel: usize::from(*pixel),
                });
                so_far.count += 1;
                so_far.images += usize::from(seen_in[place].replace(image) != Some(image));
                let farther = match side {
                    End::Upper => *x > so_far.farthest,
                    End::Lower => *x < so_far.farthest,
                };
                if farther {
                    (so_far.farthest, so_far.image) = (*x, image);
                    so_far.pixel = usize::from(*pixel);
                }
            }
        }
        found.into_iter().flatten().collect()
    }

    /// `images` with each pixel at its level, those beyond the grid as they are; `None` without a grid.
    pub fn on_levels(&self, images: &SparseImages) -> Option<SparseImages> {
        let Values::Levels(grid) = self else {
            return None;
        };
        let mut all = SparseImages::new(images.height(), images.width())?;
        let at = |x: f32| grid.level(x).map_or(x, |level| grid.value(level));
        for (index, value) in images.iter() {
            let pixels = index.iter().zip(value);
            all.push(pixels.map(|(pixel, x)| (*pixel, at(*x))));
        }
        Some(all)
    }
}
