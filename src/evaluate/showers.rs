//! Calorimeter showers against true ones, by the CaloChallenge's definitions (its `evaluate.py`, commit 9b41df7).

use serde::{Deserialize, Serialize};

use super::histogram::{Comparison, Histogram, logspace};
use super::resample::{class_stream, halves};
use super::{EvaluateError, Reasons, Sides};
use crate::data::calochallenge::INCIDENT;
use crate::data::{CaloBinning, Dataset, SparseImages};
use crate::physics::calorimeter::{LayerShower, Showers, Voxels, mev};

/// Showers compared; the key `calorimeter` of `metrics.json`, which `docs/metrics.md` defines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShowerEvaluation {
    /// The binning's particle.
    pub particle: String,
    /// Voxels below it count as empty, MeV.
    pub least_mev: f64,
    /// Energy of all voxels over that of the particle; absent where a side does not say the latter.
    pub energy_ratio: Option<ShowerMetrics>,
    /// The same of the particles of each energy, where the challenge does that: photons and pions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub energy_ratio_at: Vec<AtEnergy>,
    /// Energies of the voxels, all showers and layers together.
    pub voxels: ShowerMetrics,
    /// Of each layer.
    pub layers: Vec<LayerMetrics>,
    /// Why something is absent.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
    /// For figures: energy ratio and voxel energies.
    #[serde(skip)]
    pub histograms: ShowerHistograms,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ShowerHistograms {
    /// Of the energy ratio.
    pub energy_ratio: Option<Comparison>,
    /// Of the voxels' energies in MeV.
    pub voxels: Option<Comparison>,
}

/// One quantity of the showers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShowerMetrics {
    /// `MeV`, `mm`, or empty for a pure number.
    pub unit: String,
    /// Mean over the showers (of voxels: over those that are not empty).
    pub mean: Sides<f64>,
    /// Standard deviation, divided by n.
    pub std: Sides<f64>,
    /// Separation power of the challenge's histograms; absent where one of them is empty.
    pub separation: Option<f64>,
    /// The same of one half of the truth against the other.
    pub separation_halves: Option<f64>,
    /// Fraction of the entries that lie outside of the histogram, which the separation power does not see.
    pub outside: Sides<f64>,
}

/// The energy ratio of particles of one energy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AtEnergy {
    /// MeV: from here to twice as much.
    pub incident_mev: f64,
    /// What was found.
    #[serde(flatten)]
    pub metrics: ShowerMetrics,
}

/// The quantities of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/metrics.md defines each key")]
pub struct LayerMetrics {
    /// Its number in the detector.
    pub layer: usize,
    pub energy: ShowerMetrics,
    pub sparsity: ShowerMetrics,
    pub centre_r: ShowerMetrics,
    pub width_r: ShowerMetrics,
    pub centre_eta: Option<ShowerMetrics>,
    pub centre_phi: Option<ShowerMetrics>,
    pub width_eta: Option<ShowerMetrics>,
    pub width_phi: Option<ShowerMetrics>,
}

/// A quantity of a layer; absent where the layer has it not.
pub type LayerQuantity = fn(&LayerMetrics) -> Option<&ShowerMetrics>;

impl LayerMetrics {
    /// All quantities with their names for readers, in the order of tables.
    pub const QUANTITIES: [(&'static str, LayerQuantity); 8] = [
        ("layer energy", |l| Some(&l.energy)),
        ("sparsity", |l| Some(&l.sparsity)),
        ("centre in r", |l| Some(&l.centre_r)),
        ("width in r", |l| Some(&l.width_r)),
        ("centre in eta", |l| l.centre_eta.as_ref()),
        ("width in eta", |l| l.width_eta.as_ref()),
        ("centre in phi", |l| l.centre_phi.as_ref()),
        ("width in phi", |l| l.width_phi.as_ref()),
    ];
}

/// The challenge's choices for a data set, which its particle tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Photon,
    Pion,
    /// Data sets 2 and 3.
    Electron,
    Other,
}

impl Kind {
    fn of(binning: &CaloBinning) -> Self {
        match binning.particle.as_str() {
            "photon" => Self::Photon,
            "pion" => Self::Pion,
            "electron" => Self::Electron,
            _ => Self::Other,
        }
    }

    /// Half-width of histograms of centres in eta and phi, and the end of those of widths, mm.
    fn across(self, layer: usize, radius: f64) -> (f64, f64) {
        match (self, layer) {
            (Self::Electron, _) => (30.0, 30.0),
            (Self::Other, _) => (radius, radius),
            (_, 12 | 13) => (500.0, 400.0),
            _ => (100.0, 100.0),
        }
    }

    /// Ends of histograms of centres and widths in r, mm.
    fn radial(self, layer: usize, radius: f64) -> (f64, f64) {
        match (self, layer) {
            (Self::Electron, _) => (42.0, 20.0),
            (Self::Other, _) => (radius, radius),
            (_, 12..=14) => (1500.0, 1500.0),
            _ => (500.0, 500.0),
        }
    }
}

/// MeV below which the challenge's evaluation empties a voxel; nothing for particles that it has not.
pub fn readout_mev(binning: &CaloBinning) -> Option<f64> {
    match Kind::of(binning) {
        Kind::Photon | Kind::Pion => Some(1.0),
        Kind::Electron => Some(0.5e-3 / 0.033),
        Kind::Other => None,
    }
}

/// Compare showers, images of `binning`'s voxels in GeV.
///
/// Voxels below `least` MeV count as empty: [`readout_mev`] where it is `None`. `seed` is that of the truth's halves.
///
/// # Errors
/// Images of another number of pixels than the calorimeter has voxels, or none on a side.
pub fn evaluate_showers(
    truth: &Dataset,
    generated: &Dataset,
    binning: &CaloBinning,
    least: Option<f64>,
    seed: u64,
) -> Result<ShowerEvaluation, EvaluateError> {
    for (side, data) in [("truth", truth), ("generated", generated)] {
        let pixels = data.images.pixels();
        if pixels != binning.voxels() {
            return Err(EvaluateError::Voxels {
                side,
                pixels,
                voxels: binning.voxels(),
            });
        }
        if data.images.is_empty() {
            return Err(EvaluateError::TooFew { side, count: 0 });
        }
    }
    let data = Sides { truth, generated };
    let kind = Kind::of(binning);
    let least = least.or(readout_mev(binning)).unwrap_or(0.0);
    let voxels = Voxels::new(binning);
    let showers = data.map(|d| voxels.observe(&d.images, least));
    let halves = halves(seed, class_stream(0), truth.images.len());
    let of = Compared { halves: &halves };
    let mut reasons = Reasons::new();
    if truth.weights.is_some() || generated.weights.is_some() {
        let why = "not used: showers are compared without weights";
        log::warn!("the event weights are {why} in the section on the calorimeter");
        reasons.insert("weights".into(), why.into());
    }

    let radius = |place: usize| binning.layers[place].r_edges.last().copied().unwrap_or(1.0);
    let layers = (0..binning.layers.len())
        .map(|place| of.layer(&showers, place, kind, least, radius(place)))
        .collect();

    let incident = |d: &Dataset| -> Option<Vec<f64>> {
        let column = d.columns.get(INCIDENT)?;
        let whole = column.len() == d.images.len() && column.iter().all(|e| *e > 0.0);
        whole.then(|| column.iter().map(|e| mev(*e)).collect())
    };
    let mut histograms = ShowerHistograms::default();
    let mut energy_ratio_at = Vec::new();
    let energy_ratio = match (incident(truth), incident(generated)) {
        (Some(t), Some(g)) => {
            let incident = Sides {
                truth: t,
                generated: g,
            };
            let ratio = Sides {
                truth: ratios(&showers.truth, &incident.truth),
                generated: ratios(&showers.generated, &incident.generated),
            };
            if matches!(kind, Kind::Photon | Kind::Pion) {
                energy_ratio_at = at_energies(kind, &ratio, &incident, seed);
            }
            let (metrics, comparison) = of.compare(&ratio, &linear(0.5, 1.5, 100), "");
            histograms.energy_ratio = Some(comparison);
            Some(metrics)
        }
        _ => {
            let why = format!("a side has no '{INCIDENT}' above 0 for each shower");
            reasons.insert("energy_ratio".into(), why);
            None
        }
    };
    let (voxels, comparison) = voxel_energies(&data, least, &halves);
    histograms.voxels = Some(comparison);
    Ok(ShowerEvaluation {
        particle: binning.particle.clone(),
        least_mev: least,
        energy_ratio,
        energy_ratio_at,
        voxels,
        layers,
        reasons,
        histograms,
    })
}

/// Energy of all voxels over that of the particle.
fn ratios(showers: &Showers, incident: &[f64]) -> Vec<f64> {
    let pairs = showers.total.iter().zip(incident);
    pairs.map(|(sum, energy)| sum / energy).collect()
}

/// The energy ratio between each of the challenge's fifteen energies and twice it.
fn at_energies(
    kind: Kind,
    ratio: &Sides<Vec<f64>>,
    incident: &Sides<Vec<f64>>,
    seed: u64,
) -> Vec<AtEnergy> {
    (0..15)
        .filter_map(|i| {
            let energy = f64::from(1u32 << (8 + i));
            let edges = match kind == Kind::Photon && i > 3 {
                true => linear(0.9, 1.1, 20),
                false => linear(0.4, 1.4, 20),
            };
            // An energy in GeV, single precision, may be a rounding short of the round number.
            let inside = |e: &f64| *e * (1.0 + 1e-6) >= energy && *e * (1.0 + 1e-6) < 2.0 * energy;
            let chosen = |ratio: &[f64], incident: &[f64]| -> Vec<f64> {
                let pairs = ratio.iter().zip(incident);
                pairs.filter(|(_, e)| inside(e)).map(|(r, _)| *r).collect()
            };
            let chosen = Sides {
                truth: chosen(&ratio.truth, &incident.truth),
                generated: chosen(&ratio.generated, &incident.generated),
            };
            if chosen.truth.is_empty() || chosen.generated.is_empty() {
                return None;
            }
            let halves = halves(seed, class_stream(1 + i), chosen.truth.len());
            let of = Compared { halves: &halves };
            Some(AtEnergy {
                incident_mev: energy,
                metrics: of.compare(&chosen, &edges, "").0,
            })
        })
        .collect()
}

/// Energies of single voxels. Empty ones lie below the histogram, as in the challenge. They are far too many to be kept.
fn voxel_energies(
    data: &Sides<&Dataset>,
    least: f64,
    halves: &[Vec<usize>; 2],
) -> (ShowerMetrics, Comparison) {
    let edges = {
        let all = voxels_of(&data.truth.images, 0..data.truth.images.len(), least);
        logarithmic(least, ends(all), 49)
    };
    let histogram = |d: &Dataset, rows: &mut dyn Iterator<Item = usize>, events: usize| {
        Histogram::new(&edges, voxels_of(&d.images, rows, least), events)
    };
    let whole = |d: &Dataset| histogram(d, &mut (0..d.images.len()), d.images.len());
    let half = |k: usize| {
        let rows = &halves[k];
        histogram(data.truth, &mut rows.iter().copied(), rows.len())
    };
    let found = Comparison {
        truth: whole(data.truth),
        generated: whole(data.generated),
    };
    let of_halves = Comparison {
        truth: half(0),
        generated: half(1),
    };
    let spreads = data.map(|d| spread(|| voxels_of(&d.images, 0..d.images.len(), least)));
    let metrics = ShowerMetrics::new("MeV", spreads, &found, &of_halves);
    (metrics, found)
}

/// MeV of the voxels of `rows` that are not empty.
fn voxels_of(
    images: &SparseImages,
    rows: impl Iterator<Item = usize>,
    least: f64,
) -> impl Iterator<Item = f64> {
    rows.flat_map(|i| images.image(i).1.iter().map(|v| mev(*v)))
        .filter(move |e| *e >= least)
}

impl ShowerMetrics {
    fn new(
        unit: &str,
        spreads: Sides<(f64, f64)>,
        found: &Comparison,
        of_halves: &Comparison,
    ) -> Self {
        Self {
            unit: unit.into(),
            mean: spreads.map(|s| s.0),
            std: spreads.map(|s| s.1),
            separation: separation(found),
            separation_halves: separation(of_halves),
            outside: Sides {
                truth: outside(&found.truth),
                generated: outside(&found.generated),
            },
        }
    }
}

/// The rows that truth is compared with itself by.
struct Compared<'a> {
    halves: &'a [Vec<usize>; 2],
}

impl Compared<'_> {
    /// Mean, width, separation of values, one a shower.
    fn compare(
        &self,
        values: &Sides<Vec<f64>>,
        edges: &[f64],
        unit: &str,
    ) -> (ShowerMetrics, Comparison) {
        let histogram =
            |values: &[f64]| Histogram::new(edges, values.iter().copied(), values.len());
        let comparison = Comparison {
            truth: histogram(&values.truth),
            generated: histogram(&values.generated),
        };
        let half = |k: usize| -> Vec<f64> {
            let rows = self.halves[k].iter();
            rows.map(|row| values.truth[*row]).collect()
        };
        let of_halves = Comparison {
            truth: histogram(&half(0)),
            generated: histogram(&half(1)),
        };
        let spreads = values.map(|v| spread(|| v.iter().copied()));
        let metrics = ShowerMetrics::new(unit, spreads, &comparison, &of_halves);
        (metrics, comparison)
    }

    fn layer(
        &self,
        showers: &Sides<Showers>,
        place: usize,
        kind: Kind,
        least: f64,
        radius: f64,
    ) -> LayerMetrics {
        let (id, angles) = showers.truth.layers[place];
        let pick = |pick: &dyn Fn(&LayerShower) -> f64| {
            showers.map(|s| s.layer(place).map(pick).collect::<Vec<f64>>())
        };
        let plain = |f: &dyn Fn(&LayerShower) -> f64, edges: &[f64], unit: &str| {
            self.compare(&pick(f), edges, unit).0
        };
        let (across, across_width) = kind.across(id, radius);
        let (radial, radial_width) = kind.radial(id, radius);
        let direction = |k: usize, centre: bool| {
            angles.then(|| match centre {
                true => plain(&|s| s.centre[k], &linear(-across, across, 100), "mm"),
                false => plain(&|s| s.width[k], &linear(0.0, across_width, 100), "mm"),
            })
        };
        let energy = pick(&|s| s.energy);
        let edges = logarithmic(least, ends(energy.truth.iter().copied()), 39);
        LayerMetrics {
            layer: id,
            energy: self.compare(&energy, &edges, "MeV").0,
            sparsity: plain(&|s| s.sparsity, &linear(0.0, 1.0, 20), ""),
            centre_r: plain(&|s| s.centre[0], &linear(0.0, radial, 100), "mm"),
            width_r: plain(&|s| s.width[0], &linear(0.0, radial_width, 100), "mm"),
            centre_eta: direction(1, true),
            centre_phi: direction(2, true),
            width_eta: direction(1, false),
            width_phi: direction(2, false),
        }
    }
}

/// Edges of `bins` equal bins, in the last bit those of numpy's `linspace`: fractions of few voxels lie on edges.
fn linear(low: f64, high: f64, bins: usize) -> Vec<f64> {
    let step = (high - low) / bins as f64;
    (0..=bins)
        .map(|i| match i == bins {
            true => high,
            false => i as f64 * step + low,
        })
        .collect()
}

/// The smallest and the largest that are above 0.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let positive = values.filter(|v| *v > 0.0);
    positive.fold((f64::INFINITY, 0.0), |(low, high), v| {
        (low.min(v), high.max(v))
    })
}

/// Edges of `bins` bins, equal in the logarithm, from `least` to the largest energy of the truth; `ends` are its smallest
/// and largest above 0.
fn logarithmic(least: f64, ends: (f64, f64), bins: usize) -> Vec<f64> {
    let low = if least > 0.0 { least } else { ends.0 };
    match low.is_finite() {
        true if ends.1 > low => logspace(low, ends.1, bins + 1),
        // No energy above it, or one: a bin that holds it.
        true => vec![low, 2.0 * low],
        false => vec![0.0, 1.0],
    }
}

/// The challenge's separation power: of what lies within the edges, scaled to 1. `None` where one side has nothing there.
fn separation(of: &Comparison) -> Option<f64> {
    let sum = |h: &Histogram| h.counts.iter().sum::<u64>() as f64;
    let (n, m) = (sum(&of.truth), sum(&of.generated));
    if n == 0.0 || m == 0.0 {
        return None;
    }
    let pairs = of.truth.counts.iter().zip(&of.generated.counts);
    let sum: f64 = pairs
        .map(|(t, g)| (*t as f64 / n, *g as f64 / m))
        .map(|(t, g)| (t - g).powi(2) / (t + g + 1e-16))
        .sum();
    Some(0.5 * sum)
}

/// Fraction of the entries that lie outside of the edges.
fn outside(of: &Histogram) -> f64 {
    let beyond: u64 = of.outside.iter().sum();
    let inside: u64 = of.counts.iter().sum();
    beyond as f64 / (beyond + inside).max(1) as f64
}

/// Mean and standard deviation, divided by n; 0 of nothing.
fn spread<I: Iterator<Item = f64>>(values: impl Fn() -> I) -> (f64, f64) {
    let (n, sum) = values().fold((0u64, 0.0), |(n, sum), v| (n + 1, sum + v));
    let n = n.max(1) as f64;
    let mean = sum / n;
    let squares: f64 = values().map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / n).sqrt())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    fn golden() -> Vec<Value> {
        serde_json::from_str(include_str!("../../tests/golden/calorimeter.json")).unwrap()
    }

    fn binning(particle: &str) -> CaloBinning {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/calorimeter.xml");
        CaloBinning::read(Path::new(path), Some(particle)).unwrap()
    }

    fn list(value: &Value) -> Vec<f64> {
        serde_json::from_value(value.clone()).unwrap()
    }

    /// Showers of a side, in GeV.
    fn data(case: &Value, side: usize, binning: &CaloBinning) -> Dataset {
        let gev = |mev: f64| (mev / 1000.0) as f32;
        let size = binning.image();
        let mut images = SparseImages::new(size.height, size.width).unwrap();
        for shower in case["showers"][side].as_array().unwrap() {
            let pixels: Vec<f32> = list(shower).into_iter().map(gev).collect();
            images.push_dense(&pixels);
        }
        let incident = list(&case["incident_energies"][side]);
        Dataset {
            images,
            columns: BTreeMap::from([(
                INCIDENT.to_string(),
                incident.into_iter().map(gev).collect(),
            )]),
            ..Dataset::default()
        }
    }

    /// Rounding MeV to GeV and back moves an energy by 1e-7 of it.
    const ENERGY: f64 = 1e-6;

    #[test]
    fn observables_are_the_challenges() {
        for case in golden() {
            let particle = case["particle"].as_str().unwrap();
            let binning = binning(particle);
            let showers = data(&case, 0, &binning).images;
            let found = Voxels::new(&binning).observe(&showers, 0.0);
            let close = |got: f64, want: f64, tolerance: f64, what: &str| {
                assert!(
                    (got - want).abs() <= tolerance,
                    "{particle}, {what}: {got}, golden {want}"
                );
            };
            let total = list(&case["features"]["total"]);
            assert!(total[2] == 0.0 && total[1] > 0.0);
            for (got, want) in found.total.iter().zip(&total) {
                close(*got, *want, ENERGY * want, "total");
            }
            for (place, layer) in binning.layers.iter().enumerate() {
                let golden = &case["features"][layer.id.to_string()];
                let radius = layer.r_edges.last().unwrap();
                let column = |name: &str, pick: &dyn Fn(&LayerShower) -> f64, exact: bool| {
                    let want = list(&golden[name]);
                    for (got, want) in found.layer(place).map(pick).zip(want) {
                        let tolerance = if exact { 0.0 } else { ENERGY * radius };
                        close(got, want, tolerance, name);
                    }
                };
                column("sparsity", &|s| s.sparsity, true);
                for (k, name) in ["r", "eta", "phi"].into_iter().enumerate() {
                    if k == 0 || layer.angles > 1 {
                        column(&format!("centre_{name}"), &|s| s.centre[k], false);
                        column(&format!("width_{name}"), &|s| s.width[k], false);
                    }
                }
                let want = list(&golden["energy"]);
                for (got, want) in found.layer(place).zip(want) {
                    close(got.energy, want, ENERGY * want, "energy");
                }
            }
        }
    }

    #[test]
    fn separation_powers_are_the_challenges() {
        for case in golden() {
            let particle = case["particle"].as_str().unwrap();
            let binning = binning(particle);
            let (truth, generated) = (data(&case, 0, &binning), data(&case, 1, &binning));
            let found = evaluate_showers(&truth, &generated, &binning, None, 7).unwrap();
            let want = &case["separation"];
            let close = |found: &ShowerMetrics, want: &Value, what: &str| {
                let (got, want) = (found.separation.unwrap(), want.as_f64().unwrap());
                assert!(
                    (got - want).abs() < 1e-9,
                    "{particle}, {what}: {got}, golden {want}"
                );
            };
            close(&found.voxels, &want["voxels"], "voxels");
            let ratio = found.energy_ratio.as_ref().unwrap();
            close(ratio, &want["energy_ratio"], "energy ratio");
            for layer in &found.layers {
                let want = &want[layer.layer.to_string()];
                let all = [
                    ("energy", Some(&layer.energy)),
                    ("sparsity", Some(&layer.sparsity)),
                    ("centre_r", Some(&layer.centre_r)),
                    ("width_r", Some(&layer.width_r)),
                    ("centre_eta", layer.centre_eta.as_ref()),
                    ("centre_phi", layer.centre_phi.as_ref()),
                    ("width_eta", layer.width_eta.as_ref()),
                    ("width_phi", layer.width_phi.as_ref()),
                ];
                for (name, metrics) in all {
                    assert_eq!(metrics.is_some(), want.get(name).is_some(), "{name}");
                    if let Some(metrics) = metrics {
                        close(metrics, &want[name], name);
                    }
                }
            }
            // Each energy by itself, as the challenge does for photons.
            let energies: Vec<f64> = (found.energy_ratio_at.iter())
                .map(|a| a.incident_mev)
                .collect();
            match particle {
                "photon" => assert_eq!(energies, [256.0, 512.0, 1024.0, 2048.0, 4096.0]),
                _ => assert!(energies.is_empty()),
            }
            // Empty showers lie below the energies' histogram, and are said to.
            assert!(found.layers[0].energy.outside.truth >= 2.0 / 25.0);
            // Truth against itself: nothing apart.
            let same = evaluate_showers(&truth, &truth, &binning, None, 7).unwrap();
            assert_eq!(same.layers[0].energy.separation, Some(0.0));
            assert!(same.layers[0].energy.separation_halves.unwrap() > 0.0);
            // Without a cut other voxels count.
            let uncut = evaluate_showers(&truth, &generated, &binning, Some(0.0), 7).unwrap();
            assert!(uncut.layers[0].sparsity.mean.truth < found.layers[0].sparsity.mean.truth);
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let case = &golden()[0];
        let binning = binning("photon");
        let truth = data(case, 0, &binning);
        let mut generated = data(case, 1, &binning);
        generated.columns.clear();
        let found = evaluate_showers(&truth, &generated, &binning, None, 0).unwrap();
        assert!(found.energy_ratio.is_none() && found.energy_ratio_at.is_empty());
        assert!(found.reasons["energy_ratio"].contains(INCIDENT));
        // Showers that are all empty: no separation, and numbers all the same.
        let mut empty = Dataset {
            images: SparseImages::new(1, binning.voxels()).unwrap(),
            ..Dataset::default()
        };
        empty.images.push_dense(&vec![0.0; binning.voxels()]);
        for (a, b) in [(&truth, &empty), (&empty, &truth), (&empty, &empty)] {
            let found = evaluate_showers(a, b, &binning, None, 0).unwrap();
            assert_eq!(found.layers[0].energy.separation, None);
            assert_eq!(found.voxels.separation, None);
            let text = serde_json::to_string(&found).unwrap();
            let back: ShowerEvaluation = serde_json::from_str(&text).unwrap();
            assert_eq!(back.layers, found.layers);
        }
        let other = Dataset {
            images: SparseImages::new(1, 7).unwrap(),
            ..Dataset::default()
        };
        let error = evaluate_showers(&other, &truth, &binning, None, 0).unwrap_err();
        assert!(error.to_string().contains("7 pixels"), "{error}");
    }

    #[test]
    fn edges_are_numpys() {
        // linspace(0, 1, 21)[3] is 3 times its step, and not 3 / 20.
        assert_eq!(linear(0.0, 1.0, 20)[3], 0.15000000000000002);
        assert_eq!(linear(0.0, 1.0, 20)[20], 1.0);
    }
}
