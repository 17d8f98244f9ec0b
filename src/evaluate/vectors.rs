//! What compares images as vectors of features: Frechet and kernel distances, neighbours.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::features::Points;
use super::frechet::{Fpd, FpdJetnet, fpd};
use super::kernel::{Kpd, KpdUnbiased, kpd, kpd_unbiased};
use super::neighbours;
use super::neighbours::{Neighbours, neighbours};
use super::resample::{Use, shuffled};
use super::weights::kept;
use super::{Halves, Reasons, Sides, Unavailable, value_or_reason};

/// The distances of one pair of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureDistances {
    /// Frechet physics distance, by the line through its points.
    pub fpd: Option<Fpd>,
    /// What JetNet's fit makes of the same points.
    #[serde(default)]
    pub fpd_jetnet: Option<FpdJetnet>,
    /// Kernel physics distance as JetNet reports it: of batches drawn with replacement.
    pub kpd: Option<Kpd>,
    /// The same of all events, none drawn twice.
    #[serde(default)]
    pub kpd_unbiased: Option<KpdUnbiased>,
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
    let ((f, k, unbiased), near) = rayon::join(
        || {
            (
                fpd(a, b, seed, stream, uses[0]),
                kpd(a, b, seed, stream, uses[1]),
                kpd_unbiased(a, b, seed, stream, which),
            )
        },
        || {
            let [a, b] = [
                countable(a, source, which)?,
                countable(b, source, which + 1)?,
            ];
            let count = a.len().min(b.len()).min(neighbours::EVENTS);
            if count < neighbours::MIN_EVENTS {
                let wants = neighbours::MIN_EVENTS;
                return Err(Unavailable::few(wants, a.len(), b.len()));
            }
            let chosen = |side: &Points, which: u32| {
                let order = shuffled(seed, stream, which, side.len());
                side.gather(order.into_iter().take(count).map(|i| i as usize))
            };
            neighbours(&chosen(&a, which), &chosen(&b, which + 1))
        },
    );
    let jetnet = match &f {
        Ok(found) => found.jetnet(),
        Err(why) => Err(why.clone()),
    };
    FeatureDistances {
        fpd: value_or_reason(&mut reasons, "fpd", f),
        fpd_jetnet: value_or_reason(&mut reasons, "fpd_jetnet", jetnet),
        kpd: value_or_reason(&mut reasons, "kpd", k),
        kpd_unbiased: value_or_reason(&mut reasons, "kpd_unbiased", unbiased),
        neighbours: value_or_reason(&mut reasons, "neighbours", near),
        reasons,
    }
}

/// Points that count once each and stand for weighted ones: neighbours cannot be counted in parts.
fn countable(side: &Points, source: Source, which: u32) -> Result<Cow<'_, Points>, Unavailable> {
    let Some(weights) = side.weights() else {
        return Ok(Cow::Borrowed(side));
    };
    let places = kept(
        side.len(),
        Some(weights),
        source.seed,
        source.stream,
        which as usize,
    )?;
    Ok(Cow::Owned(side.gather(places).unweighted()))
}
