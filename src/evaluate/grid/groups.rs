//! Histograms of groups of images: what is resampled in place of images.

use super::super::weights::weight;
use super::part::Part;

/// Histograms of groups of images.
pub(super) struct Groups {
    /// Images in all of them.
    pub(super) images: usize,
    pub(super) count: usize,
    /// Sums of weights, `[count * cells]`.
    sums: Vec<f64>,
    cells: usize,
}

impl Groups {
    pub(super) fn new(part: &Part<'_>, order: &[u32], most: usize) -> Self {
        let shift = part.grid.shift();
        let cells = ((part.grid.cells - 1) >> shift) + 1;
        let count = part.members.len().min(most);
        let mut sums = vec![0.0; count * cells];
        for (rank, place) in order.iter().enumerate() {
            let place = *place as usize;
            let weight = weight(part.weights, place);
            let from = rank % count * cells;
            for cell in part.values.of(part.members[place]) {
                sums[from + (usize::from(*cell) >> shift)] += weight;
            }
        }
        Self {
            images: part.members.len(),
            count,
            sums,
            cells,
        }
    }

    /// Both side by side.
    pub(super) fn with(&self, other: &Self) -> Self {
        Self {
            images: self.images + other.images,
            count: self.count + other.count,
            sums: [self.sums.as_slice(), &other.sums].concat(),
            cells: self.cells,
        }
    }

    /// All values, those of a group as often as it counts.
    pub(super) fn sum(&self, counts: &[u32]) -> Vec<f64> {
        let mut out = vec![0.0; self.cells];
        for (group, count) in self.sums.chunks_exact(self.cells).zip(counts) {
            if *count > 0 {
                let count = f64::from(*count);
                for (sum, value) in out.iter_mut().zip(group) {
                    *sum += count * value;
                }
            }
        }
        out
    }
}
