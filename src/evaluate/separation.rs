//! Separation power of two histograms.

use super::histogram::Histogram;

/// `0.5 sum (a - b)^2 / (a + b)` of two histograms in one binning, each normalised to 1: 0 for
/// equal ones, 1 for such that share no bin (CaloChallenge, arXiv 2410.21611).
///
/// What lies outside the edges counts as two bins more, so that nothing is lost. `None` where a
/// histogram has no entries at all, the binnings differ, or negative weights leave a bin below 0.
pub fn separation(a: &Histogram, b: &Histogram) -> Option<f64> {
    let bins =
        |h: &Histogram| -> Vec<f64> { h.sums.iter().chain(&h.outside_sums).copied().collect() };
    let (a_bins, b_bins) = (bins(a), bins(b));
    let (n, m): (f64, f64) = (a_bins.iter().sum(), b_bins.iter().sum());
    if n <= 0.0 || m <= 0.0 || a.edges != b.edges || a.negative() || b.negative() {
        return None;
    }
    let sum: f64 = (a_bins.iter().zip(&b_bins))
        .map(|(x, y)| (x / n, y / m))
        .filter(|(x, y)| x + y > 0.0)
        .map(|(x, y)| (x - y).powi(2) / (x + y))
        .sum();
    Some(0.5 * sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_the_scale() {
        let edges = [0.0, 1.0, 2.0];
        let of = |values: &[f32]| Histogram::new(&edges, values.iter().copied(), values.len());
        let a = of(&[0.5, 0.5, 1.5, 7.0]);
        assert_eq!(separation(&a, &a), Some(0.0));
        // Scaled to 1, so twice the same is the same.
        let twice = of(&[0.5, 0.5, 1.5, 7.0, 0.5, 0.5, 1.5, 7.0]);
        assert_eq!(separation(&a, &twice), Some(0.0));
        assert_eq!(separation(&of(&[0.5]), &of(&[1.5])), Some(1.0));
        // Below and above are two different places.
        assert_eq!(separation(&of(&[-3.0]), &of(&[9.0])), Some(1.0));
        assert_eq!(separation(&of(&[]), &a), None);
    }
}
