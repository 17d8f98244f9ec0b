//! One sample on a grid: how many values and which weight lie in each cell.

use super::super::spread::Spread;
use super::super::weights::{WeightSummary, weight};
use super::{Grid, Values};

/// One sample on the grid.
pub(super) struct Part<'a> {
    pub(super) grid: Grid,
    pub(super) values: &'a Values,
    pub(super) members: &'a [usize],
    pub(super) weights: Option<&'a [f32]>,
    /// Values in each cell, and the sums of their weights.
    pub(super) counts: Vec<u64>,
    pub(super) sums: Vec<f64>,
}

impl<'a> Part<'a> {
    pub(super) fn new(
        grid: Grid,
        values: &'a Values,
        members: &'a [usize],
        weights: Option<&'a [f32]>,
    ) -> Self {
        let mut part = Self {
            grid,
            values,
            members,
            weights,
            counts: vec![0; grid.cells],
            sums: vec![0.0; grid.cells],
        };
        for (place, member) in members.iter().enumerate() {
            let weight = weight(weights, place);
            for cell in values.of(*member) {
                part.counts[usize::from(*cell)] += 1;
                part.sums[usize::from(*cell)] += weight;
            }
        }
        part
    }

    pub(super) fn images(&self) -> impl Iterator<Item = (f64, &[u16])> {
        (self.members.iter().enumerate())
            .map(|(place, member)| (weight(self.weights, place), self.values.of(*member)))
    }

    pub(super) fn summary(&self) -> WeightSummary {
        (self.weights).map_or(WeightSummary::ones(self.members.len()), WeightSummary::of)
    }

    pub(super) fn effective(&self) -> f64 {
        self.summary().effective
    }

    /// The cell of a value below which a fraction `q` lies; `None` of nothing.
    pub(super) fn quantile(&self, q: f64) -> Option<usize> {
        let all: u64 = self.counts.iter().sum();
        let place = ((all as f64 - 1.0) * q).round().max(0.0) as u64;
        let mut below = 0;
        self.counts.iter().position(|count| {
            below += count;
            below > place
        })
    }

    /// Mean and width of the values; errors are those of independent images.
    pub(super) fn spread(&self) -> Spread {
        let all = match self.sums.iter().sum::<f64>() {
            all if all > 0.0 => all,
            _ => 1.0,
        };
        let moment = |of: &dyn Fn(f64) -> f64| -> f64 {
            let each = self.sums.iter().enumerate();
            each.map(|(cell, sum)| sum * of(self.grid.value(cell)))
                .sum::<f64>()
                / all
        };
        let mean = moment(&|x| x);
        let variance = moment(&|x| (x - mean).powi(2));
        let (mut first, mut second) = (0.0, 0.0);
        for (weight, cells) in self.images() {
            let (mut a, mut b) = (0.0, 0.0);
            for cell in cells {
                let apart = self.grid.value(usize::from(*cell)) - mean;
                a += apart;
                b += apart * apart - variance;
            }
            first += (weight * a).powi(2);
            second += (weight * b).powi(2);
        }
        let std = (variance >= 0.0).then(|| variance.sqrt());
        Spread {
            mean,
            mean_error: first.sqrt() / all,
            std,
            std_error: std.map(|std| match std > 0.0 {
                true => second.sqrt() / all / (2.0 * std),
                false => 0.0,
            }),
        }
    }
}
