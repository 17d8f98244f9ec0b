//! A sample in bins of whole cells, and the chi-square of two of them.

use super::super::histogram::{Histogram, TAIL, bins_of_whole};
use super::super::{Sides, Unavailable};
use super::Grid;
use super::part::Part;

/// Fewest values of both samples in a bin of a chi-square.
const LEAST: u64 = 20;

/// Bins of whole cells that hold all but the outermost 0.2 % of either sample on either side.
pub(super) struct Bins {
    pub(super) edges: Vec<f64>,
    /// Of each cell: 0 below the first edge, the number of edges above the last.
    pub(super) of: Vec<u8>,
}

impl Bins {
    pub(super) fn new(sides: &Sides<Part<'_>>, grid: Grid) -> Self {
        let ends = |q| [&sides.truth, &sides.generated].map(|part| part.quantile(q));
        let low = ends(TAIL).into_iter().flatten().min().unwrap_or(0);
        let high = ends(1.0 - TAIL).into_iter().flatten().max();
        let high = high.unwrap_or(grid.cells - 1);
        let (count, width) = bins_of_whole((high - low + 1) as f64);
        let width = width as usize;
        let edges = (0..=count).map(|i| grid.low + (low + i * width) as f64 * grid.step);
        let of = (0..grid.cells).map(|cell| match cell.checked_sub(low) {
            None => 0,
            Some(above) => (above / width + 1).min(count + 1) as u8,
        });
        Self {
            edges: edges.collect(),
            of: of.collect(),
        }
    }
}

/// One sample in [`Bins`], those below and above the edges included.
pub(super) struct Binned {
    pub(super) histogram: Histogram,
    pub(super) counts: Vec<u64>,
    /// Sums over images of `w n`, `w^2 n`, `w^2 n^2`: n values of an image of weight w in the bin.
    pub(super) sums: Vec<f64>,
    pub(super) single: Vec<f64>,
    pub(super) joint: Vec<f64>,
    /// Sum of the images' weights, and of their squares.
    pub(super) total: f64,
    pub(super) squares: f64,
}

impl Part<'_> {
    /// The sample in `bins`.
    pub(super) fn binned(&self, bins: &Bins) -> Binned {
        let wide = bins.edges.len() + 1;
        let (mut counts, mut sums) = (vec![0u64; wide], vec![0.0; wide]);
        for (cell, bin) in bins.of.iter().enumerate() {
            counts[usize::from(*bin)] += self.counts[cell];
            sums[usize::from(*bin)] += self.sums[cell];
        }
        let (mut single, mut joint) = (vec![0.0; wide], vec![0.0; wide]);
        let mut here = vec![0u32; wide];
        for (weight, cells) in self.images() {
            let square = weight * weight;
            for cell in cells {
                here[usize::from(bins.of[usize::from(*cell)])] += 1;
            }
            for (bin, n) in here.iter_mut().enumerate() {
                let n = f64::from(std::mem::take(n));
                single[bin] += square * n;
                joint[bin] += square * n * n;
            }
        }
        let summary = self.summary();
        let squares = match summary.effective > 0.0 {
            true => summary.sum * summary.sum / summary.effective,
            false => 0.0,
        };
        let last = wide - 1;
        let histogram = Histogram {
            edges: bins.edges.clone(),
            counts: counts[1..last].to_vec(),
            sums: sums[1..last].to_vec(),
            squares: joint[1..last].to_vec(),
            outside: [counts[0], counts[last]],
            outside_sums: [sums[0], sums[last]],
            events: counts.iter().sum::<u64>() as usize,
            total: sums.iter().sum(),
        };
        Binned {
            histogram,
            counts,
            sums,
            single,
            joint,
            total: summary.sum,
            squares,
        }
    }
}

impl Binned {
    /// Values of an image in a bin on average, and the variance of that.
    fn mean(&self, bin: usize) -> (f64, f64) {
        let mean = self.sums[bin] / self.total;
        let spread = self.joint[bin] - 2.0 * mean * self.single[bin] + mean * mean * self.squares;
        (mean, spread.max(0.0) / (self.total * self.total))
    }
}

/// Mean over the bins of the squared difference of the values per image, in units of its variance: of images that vary
/// independently, whatever their values have to do with each other. 1 is expected of truth.
pub(super) fn chi2(a: &Binned, b: &Binned) -> Result<f64, Unavailable> {
    if !(a.total > 0.0 && b.total > 0.0) {
        return Err(Unavailable::Cancelled);
    }
    let (mut sum, mut bins) = (0.0, 0);
    for bin in (0..a.sums.len()).filter(|bin| a.counts[*bin] + b.counts[*bin] >= LEAST) {
        let ((x, v), (y, w)) = (a.mean(bin), b.mean(bin));
        if v + w > 0.0 {
            sum += (x - y).powi(2) / (v + w);
            bins += 1;
        }
    }
    match bins {
        0 => Err(Unavailable::Unvaried { least: LEAST }),
        bins => Ok(sum / f64::from(bins)),
    }
}
