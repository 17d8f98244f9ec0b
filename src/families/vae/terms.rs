//! The terms of a VAE's loss.

use super::{LossConfig, Vae};

/// The terms of an image's loss, without their weights.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Terms {
    pub perceptual: f64,
    pub divergence: f64,
    /// Of a sparse decoder -ln p of its pixels.
    pub bernoulli: f64,
}

impl Terms {
    /// Each of them, times its weight: perceptual, divergence, Bernoulli.
    pub fn weighted(&self, weights: &LossConfig) -> [f64; 3] {
        [
            weights.perceptual * self.perceptual,
            weights.divergence * self.divergence,
            weights.bernoulli * self.bernoulli,
        ]
    }

    /// Their sum, weighted.
    pub fn loss(&self, weights: &LossConfig) -> f64 {
        self.weighted(weights).iter().sum()
    }

    /// Their names, in the order of [`weighted`](Self::weighted); none of a term that the model has not.
    pub fn names(model: &Vae) -> [Option<&'static str>; 3] {
        let perceptual = model.config.compares_features().then_some("perceptual");
        let pixels = match model.mixture {
            Some(_) => "pixels",
            None => "bernoulli",
        };
        [perceptual, Some("divergence"), Some(pixels)]
    }
}

/// Sums of weighted terms over images that were judged, each counted as often as its weight says, and how often in all.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Judged {
    sums: [f64; 3],
    images: f64,
}

impl Judged {
    /// Take in the terms of some more, and the weight of each.
    pub fn add(&mut self, terms: &[[f64; 3]], weights: impl Iterator<Item = f64>) {
        for (terms, weight) in terms.iter().zip(weights) {
            self.images += weight;
            self.sums
                .iter_mut()
                .zip(terms)
                .for_each(|(sum, term)| *sum += weight * term);
        }
    }

    /// Means, by name; none without images.
    pub fn means(self, names: [Option<&'static str>; 3]) -> Vec<(&'static str, f64)> {
        let means = self.sums.map(|sum| sum / self.images);
        let named = names.into_iter().zip(means);
        let named = named.filter_map(|(name, mean)| Some((name?, mean)));
        named.filter(|_| self.images != 0.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_terms_are_weighted() {
        let mut judged = Judged::default();
        judged.add(&[[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], [1.0, 3.0].into_iter());
        let named = judged.means([Some("a"), None, Some("c")]);
        assert_eq!(named, [("a", 2.5), ("c", 1.5)]);
        let none = Judged::default();
        assert!(none.means([Some("a"); 3]).is_empty());
    }
}
