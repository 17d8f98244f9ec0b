//! What compares images as vectors of features: Frechet and kernel distances, neighbours.

use serde::{Deserialize, Serialize};

use super::features::Points;
use super::frechet::{Fpd, fpd};
use super::kernel::{Kpd, kpd};
use super::neighbours;
use super::neighbours::{Neighbours, neighbours};
use super::resample::{Use, shuffled};
use super::{Halves, Reasons, Sides, Unavailable, value_or_reason};

/// The distances of one pair of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureDistances {
    /// Frechet physics distance.
    pub fpd: Option<Fpd>,
    /// Kernel physics distance.
    pub kpd: Option<Kpd>,
    /// Precision, recall, density, coverage.
    pub neighbours: Option<Neighbours>,
    /// Why one of them is absent.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// Seed and stream of a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) seed: u64,
    pub(super) stream: u32,
}

/// The distances of generated from truth, and those of the truth's halves.
pub(super) fn feature_distances(
    points: &Sides<Points>,
    halves: &[Vec<usize>; 2],
    source: Source,
) -> (FeatureDistances, Halves<FeatureDistances>) {
    let split = [0, 1].map(|k| points.truth.gather(halves[k].iter().copied()));
    let (whole, half) = rayon::join(
        || {
            let uses = [Use::Frechet, Use::Kernel];
            distances([&points.truth, &points.generated], uses, source, 1)
        },
        || {
            let uses = [Use::FrechetHalves, Use::KernelHalves];
            distances([&split[0], &split[1]], uses, source, 3)
        },
    );
    let half = Halves {
        sizes: [0, 1].map(|k| halves[k].len()),
        found: half,
    };
    (whole, half)
}

/// `which`, and the number after it: the orders of the class's stream to choose neighbours by.
fn distances(sides: [&Points; 2], uses: [Use; 2], source: Source, which: u32) -> FeatureDistances {
    let [a, b] = sides;
    let Source { seed, stream } = source;
    let mut reasons = Reasons::new();
    let count = a.len().min(b.len()).min(neighbours::EVENTS);
    let chosen = |side: &Points, which: u32| {
        let order = shuffled(seed, stream, which, side.len());
        side.gather(order.into_iter().take(count).map(|i| i as usize))
    };
    let ((f, k), near) = rayon::join(
        || {
            (
                fpd(a, b, seed, stream, uses[0]),
                kpd(a, b, seed, stream, uses[1]),
            )
        },
        || {
            if count < neighbours::MIN_EVENTS {
                let wants = neighbours::MIN_EVENTS;
                return Err(Unavailable::few(wants, a.len(), b.len()));
            }
            neighbours(&chosen(a, which), &chosen(b, which + 1))
        },
    );
    FeatureDistances {
        fpd: value_or_reason(&mut reasons, "fpd", f),
        kpd: value_or_reason(&mut reasons, "kpd", k),
        neighbours: value_or_reason(&mut reasons, "neighbours", near),
        reasons,
    }
}
