//! Events that count more or less than once.

use serde::{Deserialize, Serialize};

use super::Unavailable;
use super::resample::{Random, Use};
use crate::data::Dataset;

/// What the weights of a sample are like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WeightSummary {
    /// Sum of all weights.
    pub sum: f64,
    /// Effective number of events, `(sum w)^2 / sum w^2`: so many events of equal weights would tell as much.
    pub effective: f64,
    /// Events whose weight is below 0.
    pub negative: usize,
}

impl WeightSummary {
    /// Of these weights; 0 effective events where all are 0.
    pub fn of(weights: &[f32]) -> Self {
        let each = || weights.iter().map(|w| f64::from(*w));
        let sum: f64 = each().sum();
        let squares: f64 = each().map(|w| w * w).sum();
        Self {
            sum,
            effective: if squares > 0.0 {
                sum * sum / squares
            } else {
                0.0
            },
            negative: weights.iter().filter(|w| **w < 0.0).count(),
        }
    }

    /// Of `count` events that count once each.
    pub fn ones(count: usize) -> Self {
        Self {
            sum: count as f64,
            effective: count as f64,
            negative: 0,
        }
    }
}

/// One quantity of the events of a sample, and their weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) values: &'a [f32],
    /// As many as values; `None` where all are 1.
    pub(super) weights: Option<&'a [f32]>,
}

impl<'a> From<&'a [f32]> for Sample<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self {
            values,
            weights: None,
        }
    }
}

impl Sample<'_> {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Effective number of events.
    pub(super) fn effective(&self) -> f64 {
        self.weights
            .map_or(self.len() as f64, |w| WeightSummary::of(w).effective)
    }

    /// Values with their weights.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        (self.values.iter().enumerate())
            .map(|(i, value)| (f64::from(*value), weight(self.weights, i)))
    }
}

/// Weight of event `i`.
pub(super) fn weight(weights: Option<&[f32]>, i: usize) -> f64 {
    weights.map_or(1.0, |w| f64::from(w[i]))
}

/// Weights of these events, `None` where the data has none. Equal positive ones say nothing: `None` as well.
pub(super) fn of_members(data: &Dataset, members: &[usize]) -> Option<Vec<f32>> {
    let weights = data.weights.as_ref()?;
    let found: Vec<f32> = members.iter().map(|m| weights[*m]).collect();
    let first = *found.first()?;
    (first <= 0.0 || found.iter().any(|w| *w != first)).then_some(found)
}

/// The weights at these places.
pub(super) fn at(weights: Option<&[f32]>, places: &[usize]) -> Option<Vec<f32>> {
    weights.map(|w| places.iter().map(|p| w[*p]).collect())
}

/// Draws of events in proportion to their weights.
pub(super) enum Draws {
    /// All alike: so many.
    Even(usize),
    /// Running sums of the weights.
    Weighted(Vec<f64>),
}

impl Draws {
    /// # Errors
    /// Weights below 0, and none above: nothing can be drawn in proportion to them.
    pub(super) fn new(count: usize, weights: Option<&[f32]>) -> Result<Self, Unavailable> {
        let Some(weights) = weights else {
            return Ok(Self::Even(count));
        };
        positive(weights)?;
        let sums = weights.iter().scan(0.0, |sum, w| {
            *sum += f64::from(*w);
            Some(*sum)
        });
        Ok(Self::Weighted(sums.collect()))
    }

    /// The place of an event.
    #[inline]
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        match self {
            Self::Even(count) => random.below(*count),
            Self::Weighted(sums) => {
                let all = sums.last().copied().unwrap_or(0.0);
                let at = all * random.fraction();
                sums.partition_point(|s| *s <= at).min(sums.len() - 1)
            }
        }
    }
}

/// # Errors
/// A weight below 0, or none above.
fn positive(weights: &[f32]) -> Result<f32, Unavailable> {
    let negative = weights.iter().filter(|w| **w < 0.0).count();
    let most = weights.iter().fold(0.0, |most: f32, w| most.max(*w));
    if negative > 0 || most <= 0.0 {
        return Err(Unavailable::Negative { negative });
    }
    Ok(most)
}

/// Places of events that stand for the weighted sample with a weight of 1 each: an event stays with the chance of its weight
/// over the largest one. All of them where there are no weights.
///
/// # Errors
/// Weights below 0: no choice of events stands for them.
pub(super) fn kept(
    count: usize,
    weights: Option<&[f32]>,
    seed: u64,
    stream: u32,
    which: usize,
) -> Result<Vec<usize>, Unavailable> {
    let Some(weights) = weights else {
        return Ok((0..count).collect());
    };
    let most = f64::from(positive(weights)?);
    let mut random = Random::new(seed, stream, Use::Unweight, which);
    Ok((weights.iter().enumerate())
        .filter(|(_, w)| random.fraction() * most < f64::from(**w))
        .map(|(i, _)| i)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_events_are_those_of_the_formula() {
        let found = WeightSummary::of(&[1.0, 1.0, 2.0, -1.0]);
        assert_eq!(
            (found.sum, found.effective, found.negative),
            (3.0, 9.0 / 7.0, 1)
        );
        assert_eq!(WeightSummary::of(&[3.0; 8]).effective, 8.0);
        assert_eq!(WeightSummary::of(&[0.0; 8]).effective, 0.0);
    }

    #[test]
    fn draws_and_choices_follow_the_weights() {
        let weights: Vec<f32> = (0..4000).map(|i| [0.0, 1.0, 3.0, 4.0][i % 4]).collect();
        let shares = |places: &[usize]| -> [f64; 4] {
            [0, 1, 2, 3].map(|k| {
                let hits = places.iter().filter(|p| **p % 4 == k).count();
                hits as f64 / places.len() as f64
            })
        };
        let draws = Draws::new(4000, Some(&weights)).unwrap();
        let mut random = Random::new(5, 1, Use::Error, 0);
        let drawn: Vec<usize> = (0..20_000).map(|_| draws.draw(&mut random)).collect();
        let kept = kept(4000, Some(&weights), 5, 1, 0).unwrap();
        // A fraction of 0.5 of 2 000 choices has an error of 0.011: below 4.5 of them.
        for found in [shares(&drawn), shares(&kept)] {
            for (share, wanted) in found.iter().zip([0.0, 0.125, 0.375, 0.5]) {
                assert!((share - wanted).abs() < 0.05, "{found:?}");
            }
        }
        let negative = Draws::new(3, Some(&[1.0, -0.5, 2.0])).err().unwrap();
        assert!(
            negative.to_string().contains("1 weight is below 0"),
            "{negative}"
        );
    }
}
