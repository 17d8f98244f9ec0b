//! High-level features of images: the vectors that the many-dimensional distances compare.

use super::Unavailable;
use super::weights::{self, WeightSummary};
use crate::physics::ImageObservables;

/// A feature's key in files and how it is read.
pub type Feature = (&'static str, fn(&ImageObservables) -> f32);

/// The features of one image.
///
/// Left out: `tau_2` and `tau_3`, which the ratios hold, and `intensity`, which follows `jet_pt`
/// too closely (correlation 0.99 on jets).
pub const FEATURES: [Feature; 9] = [
    ("jet_pt", |o| o.jet_pt),
    ("jet_eta", |o| o.jet_eta),
    ("jet_phi", |o| o.jet_phi),
    ("jet_mass", |o| o.jet_mass),
    ("tau_1", |o| o.tau_1),
    ("tau_21", |o| o.tau_21),
    ("tau_32", |o| o.tau_32),
    ("jet_delta_R", |o| o.delta_r),
    ("multiplicity", |o| o.multiplicity),
];

/// Points of a space, one row each.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    /// `[points * dimensions]`, row-major.
    values: Vec<f64>,
    dimensions: usize,
    /// Of each point; `None` where all are 1.
    weights: Option<Vec<f32>>,
}

impl Points {
    /// From rows; `None` where their length is not a multiple of `dimensions` or a number is not
    /// finite.
    pub fn new(values: Vec<f64>, dimensions: usize) -> Option<Self> {
        let fits = dimensions > 0 && values.len().is_multiple_of(dimensions);
        (fits && values.iter().all(|v| v.is_finite())).then_some(Self {
            values,
            dimensions,
            weights: None,
        })
    }

    /// The [`FEATURES`] of the images named by `members`, with their weights.
    pub(super) fn features(
        rows: &[ImageObservables],
        members: &[usize],
        weights: Option<&[f32]>,
    ) -> Self {
        let values = (members.iter())
            .flat_map(|m| FEATURES.map(|(_, pick)| f64::from(pick(&rows[*m]))))
            .collect();
        Self {
            values,
            dimensions: FEATURES.len(),
            weights: weights.map(<[f32]>::to_vec),
        }
    }

    /// The same points with weights, one each.
    #[cfg(test)]
    pub(super) fn with_weights(self, weights: Vec<f32>) -> Self {
        Self {
            weights: Some(weights),
            ..self
        }
    }

    /// The same points, which count once each.
    pub(super) fn unweighted(self) -> Self {
        Self {
            weights: None,
            ..self
        }
    }

    /// Weights of the points, where they have some.
    pub(super) fn weights(&self) -> Option<&[f32]> {
        self.weights.as_deref()
    }

    /// Effective number of points.
    pub(super) fn effective(&self) -> f64 {
        self.weights()
            .map_or(self.len() as f64, |w| WeightSummary::of(w).effective)
    }

    /// The points at these places.
    pub(super) fn gather(&self, places: impl IntoIterator<Item = usize>) -> Self {
        let places: Vec<usize> = places.into_iter().collect();
        let values = (places.iter())
            .flat_map(|place| self.row(*place).iter().copied())
            .collect();
        Self {
            values,
            dimensions: self.dimensions,
            weights: weights::at(self.weights(), &places),
        }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimensions
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers of a point.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// One point.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.dimensions..(i + 1) * self.dimensions]
    }

    /// One number of all points.
    fn column(&self, k: usize) -> impl Iterator<Item = f64> {
        self.values.iter().skip(k).step_by(self.dimensions).copied()
    }

    fn varies(&self, k: usize) -> bool {
        let mut column = self.column(k);
        let first = column.next();
        column.any(|v| Some(v) != first)
    }

    /// Each dimension moved and stretched: `(x - centre) / scale`.
    fn scaled(&self, rule: &[(f64, f64)]) -> Self {
        let values = (self.values.iter().enumerate())
            .map(|(i, v)| {
                let (centre, scale) = rule[i % self.dimensions];
                (v - centre) / scale
            })
            .collect();
        Self {
            values,
            dimensions: self.dimensions,
            weights: self.weights.clone(),
        }
    }

    /// What divides each dimension as in JetNet: its largest absolute value, 1 where that is 0.
    ///
    /// # Errors
    /// No points, or all of them equal: then no scale means anything.
    pub(super) fn jetnet_scale(&self) -> Result<Vec<(f64, f64)>, Unavailable> {
        self.scale(|column| {
            let most = column.fold(0.0, |most: f64, v| most.max(v.abs()));
            (0.0, most)
        })
    }

    /// What makes each dimension's mean 0 and its standard deviation 1; a constant one is moved
    /// only.
    ///
    /// # Errors
    /// As [`jetnet_scale`](Self::jetnet_scale).
    pub(super) fn standard_scale(&self) -> Result<Vec<(f64, f64)>, Unavailable> {
        let n = self.len() as f64;
        let rule = self.scale(|column| {
            let values: Vec<f64> = column.collect();
            let mean = values.iter().sum::<f64>() / n;
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            (mean, (squares / n).sqrt())
        })?;
        // Rounding of the mean gives a constant dimension a width that is none.
        Ok((rule.into_iter().enumerate())
            .map(|(k, (mean, std))| (mean, if self.varies(k) { std } else { 1.0 }))
            .collect())
    }

    fn scale(
        &self,
        of: impl Fn(&mut dyn Iterator<Item = f64>) -> (f64, f64),
    ) -> Result<Vec<(f64, f64)>, Unavailable> {
        if !(0..self.dimensions).any(|k| self.varies(k)) {
            return Err(Unavailable::Constant);
        }
        Ok((0..self.dimensions)
            .map(|k| {
                let (centre, scale) = of(&mut self.column(k));
                (centre, if scale > 0.0 { scale } else { 1.0 })
            })
            .collect())
    }

    /// Both samples by the rule of the first.
    pub(super) fn rescaled(&self, other: &Self, rule: &[(f64, f64)]) -> [Self; 2] {
        [self.scaled(rule), other.scaled(rule)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales() {
        let p = Points::new(vec![1.0, -4.0, 7.0, 3.0, 2.0, 7.0], 3).unwrap();
        assert_eq!(
            p.jetnet_scale().unwrap(),
            [(0.0, 3.0), (0.0, 4.0), (0.0, 7.0)]
        );
        assert_eq!(
            p.standard_scale().unwrap(),
            [(2.0, 1.0), (-1.0, 3.0), (7.0, 1.0)]
        );
        let flat = Points::new(vec![0.1; 9], 3).unwrap();
        assert_eq!(flat.standard_scale(), Err(Unavailable::Constant));
        assert_eq!(Points::new(vec![1.0; 5], 3), None);
        assert_eq!(Points::new(vec![f64::NAN], 1), None);
    }
}
