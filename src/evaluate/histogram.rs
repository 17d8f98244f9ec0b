//! Histograms of two samples in one binning, with their errors and their ratio.

use super::weights::Sample;

/// Counts in bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Bin edges, ascending, one more than bins.
    pub edges: Vec<f64>,
    /// Entries per bin; a bin holds its lower edge, the last one also its upper edge.
    pub counts: Vec<u64>,
    /// Sums of the entries' weights, which all are 1 unless said otherwise.
    pub sums: Vec<f64>,
    /// Sums of the squares of these weights: the variances of [`sums`](Self::sums).
    pub squares: Vec<f64>,
    /// Entries below the first and above the last edge.
    pub outside: [u64; 2],
    /// Sums of their weights.
    pub outside_sums: [f64; 2],
    /// Events: images, also where an entry is a pixel.
    pub events: usize,
    /// Sum of the events' weights, which the sums are divided by.
    pub total: f64,
}

impl Histogram {
    /// Fill `values` into bins between `edges` (at least two, ascending).
    pub fn new<V: Into<f64>>(
        edges: &[f64],
        values: impl IntoIterator<Item = V>,
        events: usize,
    ) -> Self {
        let entries = values.into_iter().map(|value| (value.into(), 1.0));
        Self::weighted(edges, entries, events, events as f64)
    }

    /// Fill values with weights; `total` is the sum of the weights of the `events`.
    pub(super) fn weighted(
        edges: &[f64],
        entries: impl IntoIterator<Item = (f64, f64)>,
        events: usize,
        total: f64,
    ) -> Self {
        let bins = edges.len().saturating_sub(1);
        let mut out = Self {
            edges: edges.to_vec(),
            counts: vec![0; bins],
            sums: vec![0.0; bins],
            squares: vec![0.0; bins],
            outside: [0; 2],
            outside_sums: [0.0; 2],
            events,
            total,
        };
        for (value, weight) in entries {
            let bin = match edges.partition_point(|e| *e <= value) {
                0 => Err(0),
                above if above <= bins => Ok(above - 1),
                _ if bins > 0 && value == edges[bins] => Ok(bins - 1),
                _ => Err(1),
            };
            match bin {
                Ok(bin) => {
                    out.counts[bin] += 1;
                    out.sums[bin] += weight;
                    out.squares[bin] += weight * weight;
                }
                Err(end) => {
                    out.outside[end] += 1;
                    out.outside_sums[end] += weight;
                }
            }
        }
        out
    }

    /// Both in one; `other` must have the same edges.
    pub(super) fn with(mut self, other: &Self) -> Self {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        for (count, more) in self.outside.iter_mut().zip(&other.outside) {
            *count += more;
        }
        let add = |sums: &mut [f64], more: &[f64]| {
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum += more;
            }
        };
        add(&mut self.sums, &other.sums);
        add(&mut self.squares, &other.squares);
        add(&mut self.outside_sums, &other.outside_sums);
        self.events += other.events;
        self.total += other.total;
        self
    }

    /// Whether negative weights outweigh the others in some bin.
    pub(super) fn negative(&self) -> bool {
        (self.sums.iter().chain(&self.outside_sums)).any(|sum| *sum < 0.0)
    }

    /// Entries per event and unit of x in bin `i`, and its error: that of Poisson's distribution where all weigh 1.
    pub fn density(&self, i: usize) -> (f64, f64) {
        let total = if self.total > 0.0 { self.total } else { 1.0 };
        let norm = total * (self.edges[i + 1] - self.edges[i]);
        (self.sums[i] / norm, self.squares[i].sqrt() / norm)
    }
}

/// The same histogram of both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Of the truth.
    pub truth: Histogram,
    /// Of the generated sample.
    pub generated: Histogram,
}

/// Generated over truth in one bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// `(g / G) / (t / T)` for `g` of `G` generated and `t` of `T` true events.
    pub value: f64,
    /// The part of the error that comes from the generated counts: `value / sqrt(g)`, and that of
    /// one event where `g = 0`.
    pub generated_error: f64,
    /// Relative error of the truth, `1 / sqrt(t)`: the half-width of the band around 1.
    pub truth_error: f64,
}

impl Ratio {
    /// Both parts together: `value sqrt(1/g + 1/t)` where all weigh 1.
    pub fn error(&self) -> f64 {
        self.generated_error.hypot(self.value * self.truth_error)
    }
}

impl Comparison {
    /// Fill both sides; `edges` as in [`Histogram::new`].
    pub fn new(edges: &[f64], truth: &[f32], generated: &[f32]) -> Self {
        Self::weighted(edges, truth.into(), generated.into())
    }

    pub(super) fn weighted(edges: &[f64], truth: Sample<'_>, generated: Sample<'_>) -> Self {
        let fill = |side: Sample<'_>| {
            let total = side.pairs().map(|(_, w)| w).sum();
            Histogram::weighted(edges, side.pairs(), side.len(), total)
        };
        Self {
            truth: fill(truth),
            generated: fill(generated),
        }
    }

    /// Whether negative weights outweigh the others in some bin.
    pub(super) fn negative(&self) -> bool {
        self.truth.negative() || self.generated.negative()
    }

    /// The ratio in bin `i`; `None` where the truth has no entries, or none that outweigh the negative ones.
    pub fn ratio(&self, i: usize) -> Option<Ratio> {
        let (t, g) = (self.truth.sums[i], self.generated.sums[i]);
        if t <= 0.0 || self.generated.total <= 0.0 {
            return None;
        }
        let unit = self.truth.total / (t * self.generated.total);
        // An empty bin has the error of one event of the usual weight.
        let one = (self.generated.total / self.generated.events.max(1) as f64).powi(2);
        let squares = match self.generated.squares[i] {
            0.0 => one,
            squares => squares,
        };
        Some(Ratio {
            value: g * unit,
            generated_error: squares.sqrt() * unit,
            truth_error: self.truth.squares[i].sqrt() / t,
        })
    }
}

/// How an observable is binned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Binning {
    /// `linspace(low, high, edges)` where at least 80 % of both samples lie inside, else as
    /// [`Quantiles`](Self::Quantiles).
    Fixed {
        /// First edge.
        low: f64,
        /// Last edge.
        high: f64,
        /// Number of edges.
        edges: usize,
    },
    /// 50 equal bins that hold all but the outermost 0.2 % of either sample on either side.
    Quantiles,
    /// As `Quantiles`, with bins of whole numbers centred on whole numbers.
    Whole,
}

const BINS: usize = 50;
pub(super) const TAIL: f64 = 0.002;

impl Binning {
    /// Edges for these samples; at least two, ascending and finite whatever the samples are.
    pub fn edges(self, truth: &[f32], generated: &[f32]) -> Vec<f64> {
        if let Self::Fixed { low, high, edges } = self {
            let inside = |side: &[f32]| {
                let hits = side
                    .iter()
                    .filter(|v| (low..=high).contains(&f64::from(**v)));
                hits.count() * 5 >= side.len() * 4
            };
            if inside(truth) && inside(generated) {
                return linspace(low, high, edges);
            }
        }
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for side in [truth, generated] {
            let (a, b) = (quantile(side, TAIL), quantile(side, 1.0 - TAIL));
            low = low.min(a.unwrap_or(low));
            high = high.max(b.unwrap_or(high));
        }
        if !(low.is_finite() && high.is_finite()) {
            (low, high) = (0.0, 1.0);
        }
        if self == Self::Whole {
            let (low, high) = (low.floor(), high.ceil());
            let (bins, step) = bins_of_whole(high - low + 1.0);
            return (0..=bins).map(|i| low - 0.5 + i as f64 * step).collect();
        }
        let spread = high - low;
        if spread <= 1e-9 * high.abs().max(low.abs()) || spread == 0.0 {
            let margin = 0.5 * high.abs().max(1.0);
            return linspace(low - margin, high + margin, BINS + 1);
        }
        linspace(low, high, BINS + 1)
    }
}

/// Bins for so many whole numbers in a row: how many, and how many numbers each holds.
pub(super) fn bins_of_whole(numbers: f64) -> (usize, f64) {
    let step = (numbers / BINS as f64).ceil().max(1.0);
    ((numbers / step).ceil() as usize, step)
}

/// `count` numbers from `low` to `high`, both included, equally far apart.
pub fn linspace(low: f64, high: f64, count: usize) -> Vec<f64> {
    let steps = count.saturating_sub(1).max(1) as f64;
    (0..count)
        .map(|i| low + (high - low) * i as f64 / steps)
        .collect()
}

/// `count` numbers from `low` to `high`, equally far apart in the logarithm; `0 < low < high`.
pub fn logspace(low: f64, high: f64, count: usize) -> Vec<f64> {
    let mut edges: Vec<f64> = linspace(low.ln(), high.ln(), count)
        .into_iter()
        .map(f64::exp)
        .collect();
    // Rounding must not push the extremes out.
    if let [first, .., last] = edges.as_mut_slice() {
        (*first, *last) = (low, high);
    }
    edges
}

/// The value below which a fraction `q` of the sample lies; `None` of nothing.
fn quantile(values: &[f32], q: f64) -> Option<f64> {
    let mut values = values.to_vec();
    let place = ((values.len() as f64 - 1.0) * q).round().max(0.0) as usize;
    if place >= values.len() {
        return None;
    }
    let (_, value, _) = values.select_nth_unstable_by(place, f32::total_cmp);
    Some(f64::from(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_land_in_their_bins() {
        let h = Histogram::new(&[0.0, 1.0, 3.0], [-0.1, 0.0, 0.5, 1.0, 3.0, 3.1], 6);
        assert_eq!(
            (h.counts.as_slice(), h.outside),
            ([2, 2].as_slice(), [1, 1])
        );
        assert_eq!(h.density(1), (2.0 / 12.0, 2f64.sqrt() / 12.0));
    }

    #[test]
    fn ratio_and_its_errors() {
        let edges = [0.0, 1.0, 2.0, 3.0];
        let truth = [vec![0.5; 16], vec![1.5; 4]].concat();
        let generated = [vec![0.5; 9], vec![2.5; 1]].concat();
        let c = Comparison::new(&edges, &truth, &generated);
        let r = c.ratio(0).unwrap();
        assert!((r.value - 0.9 / 0.8).abs() < 1e-12);
        let whole = r.value * (1.0f64 / 9.0 + 1.0 / 16.0).sqrt();
        assert!((r.error() - whole).abs() < 1e-12);
        let none = c.ratio(1).unwrap();
        assert_eq!((none.value, none.generated_error), (0.0, 0.1 / 0.2));
        assert_eq!(c.ratio(2), None);
    }

    #[test]
    fn published_binnings_where_the_data_are_there() {
        let mass = Binning::Fixed {
            low: 40.0,
            high: 120.0,
            edges: 50,
        };
        let edges = mass.edges(&[80.0; 10], &[79.0; 10]);
        assert_eq!((edges.len(), edges[0], edges[49]), (50, 40.0, 120.0));
        let far = mass.edges(&[800.0, 900.0], &[79.0; 10]);
        assert_eq!((far[0], far[50]), (79.0, 900.0));
    }

    #[test]
    fn any_sample_gets_ascending_edges() {
        let samples: [&[f32]; 6] = [&[], &[0.0], &[7.0; 5], &[-3.0, 2.5], &[f32::MAX], &[1e-30]];
        for a in samples {
            for b in samples {
                for binning in [Binning::Quantiles, Binning::Whole] {
                    let edges = binning.edges(a, b);
                    assert!(edges.len() >= 2 && edges.len() <= 60, "{a:?} {b:?}");
                    assert!(edges.iter().all(|e| e.is_finite()));
                    let up = edges.windows(2).all(|w| w[0] < w[1]);
                    assert!(up || a.contains(&f32::MAX) || b.contains(&f32::MAX));
                }
            }
        }
        let whole = Binning::Whole.edges(&[3.0, 5.0], &[4.0]);
        assert_eq!(whole, [2.5, 3.5, 4.5, 5.5]);
        let log = logspace(1e-3, 10.0, 5);
        assert!((log[1] - 1e-2).abs() < 1e-12 && log[4] == 10.0);
    }
}
