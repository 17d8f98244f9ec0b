//! Values as numbers of bins that hold equally many training events.

use rayon::prelude::*;

/// The most bins of a column: their numbers are bytes.
pub(super) const BINS: usize = 256;

/// Where the bins of each column end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bins {
    /// `[columns]`, ascending; a value belongs to bin k if k of them lie below it.
    edges: Vec<Vec<f32>>,
}

/// Events as numbers of bins, `[columns][events]`.
pub(super) type Binned = Vec<Vec<u8>>;

impl Bins {
    /// By the values of `columns` `[columns][events]`, which are finite: between neighbouring values where they are few,
    /// else at quantiles.
    pub fn of(columns: &[Vec<f32>]) -> Self {
        let edges = columns.par_iter().map(|column| edges(column)).collect();
        Self { edges }
    }

    /// Bins of column `k`.
    pub fn count(&self, k: usize) -> usize {
        self.edges[k].len() + 1
    }

    /// Whether no column has two values.
    pub fn constant(&self) -> bool {
        self.edges.iter().all(Vec::is_empty)
    }

    /// The bins of these values.
    pub fn apply(&self, columns: &[Vec<f32>]) -> Binned {
        (columns.par_iter().zip(&self.edges))
            .map(|(column, edges)| {
                let bin = |value: &f32| edges.partition_point(|edge| edge < value) as u8;
                column.iter().map(bin).collect()
            })
            .collect()
    }
}

fn edges(column: &[f32]) -> Vec<f32> {
    let mut sorted = column.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let mut different = sorted.clone();
    different.dedup();
    if different.len() <= BINS {
        return different.windows(2).map(|w| between(w[0], w[1])).collect();
    }
    let mut edges: Vec<f32> = (1..BINS)
        .filter_map(|k| {
            let place = k * sorted.len() / BINS;
            let (below, above) = (sorted[place - 1], sorted[place]);
            // Inside a run of equal values there is nothing to part: the run ends the bin.
            let above = match below == above {
                true => *different.get(different.partition_point(|v| *v <= below))?,
                false => above,
            };
            Some(between(below, above))
        })
        .collect();
    edges.dedup();
    edges
}

/// A number from `a` to below `b`, of `a < b`.
fn between(a: f32, b: f32) -> f32 {
    let middle = a + 0.5 * (b - a);
    if middle < b { middle } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_have_a_bin_each() {
        let column = vec![3.0, 1.0, 1.0, 2.0, 3.0];
        let bins = Bins::of(std::slice::from_ref(&column));
        assert_eq!(bins.count(0), 3);
        assert_eq!(bins.apply(&[column]), [[2, 0, 0, 1, 2]]);
        // Values that were not there go to the nearest bin.
        assert_eq!(bins.apply(&[vec![-9.0, 1.4, 1.6, 99.0]]), [[0, 0, 1, 2]]);
    }

    #[test]
    fn many_values_share_bins_evenly() {
        let column: Vec<f32> = (0..10_000).map(|i| ((i * 7919) % 10_000) as f32).collect();
        let bins = Bins::of(std::slice::from_ref(&column));
        assert_eq!(bins.count(0), BINS);
        let mut counts = [0; BINS];
        for bin in &bins.apply(&[column])[0] {
            counts[usize::from(*bin)] += 1;
        }
        assert!(counts.iter().all(|c| (39..=40).contains(c)), "{counts:?}");
    }

    #[test]
    fn a_value_that_most_events_have_is_parted_from_its_neighbours() {
        let mut column = vec![0.0; 9_000];
        column.extend((1..=1_000).map(|i| i as f32));
        column.extend((1..=100).map(|i| -(i as f32)));
        let bins = Bins::of(std::slice::from_ref(&column));
        let [a, b, c] = [-1.0, 0.0, 1.0].map(|v| bins.apply(&[vec![v]])[0][0]);
        assert!(b < c, "{a} {b} {c}");
        assert!(bins.count(0) > 20);
    }

    #[test]
    fn a_constant_column_has_one_bin() {
        let bins = Bins::of(&[vec![2.5; 1000]]);
        assert!(bins.constant());
        assert_eq!(bins.apply(&[vec![1.0, 2.5, 7.0]]), [[0, 0, 0]]);
        // Neighbouring numbers and the ends of the range.
        let near = f32::from_bits(1.0f32.to_bits() + 1);
        for column in [vec![1.0, near], vec![f32::MIN, f32::MAX]] {
            let bins = Bins::of(std::slice::from_ref(&column));
            assert_eq!(bins.apply(&[column]), [[0, 1]]);
        }
    }
}
