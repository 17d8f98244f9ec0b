//! What images are compared in.

use super::histogram::Binning;
use crate::physics::ImageObservables;

/// An observable that truth and generated are compared in.
#[derive(Debug, Clone, Copy)]
pub struct Observable {
    /// Its key in files.
    pub name: &'static str,
    /// For readers.
    pub title: &'static str,
    /// Symbol for axes.
    pub symbol: &'static str,
    /// "GeV", which stands for the unit of the pixels, or empty for a pure number.
    pub unit: &'static str,
    pub(super) binning: Binning,
    pub(super) pick: fn(&ImageObservables) -> f32,
}

/// What an observable is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its key in files.
    pub name: String,
    /// For readers.
    pub title: String,
    /// Symbol for axes.
    pub symbol: &'static str,
}

/// Key of the logarithm of the nonzero pixels.
const LN_PIXEL: &str = "ln_pixel_intensity";
/// How keys of counted soft pixels start; the threshold follows.
const COUNT_BELOW: &str = "count_below_";

impl From<&Observable> for Label {
    fn from(observable: &Observable) -> Self {
        Self {
            name: observable.name.to_string(),
            title: observable.title.to_string(),
            symbol: observable.symbol,
        }
    }
}

impl Label {
    pub(super) fn ln_pixel_intensity() -> Self {
        Self {
            name: LN_PIXEL.to_string(),
            title: "Nonzero pixels, logarithm".to_string(),
            symbol: "ln I",
        }
    }

    /// Of the number of nonzero pixels below a threshold in this unit.
    pub(super) fn count_below(threshold: f64, unit: &str) -> Self {
        Self {
            name: format!("{COUNT_BELOW}{threshold}"),
            title: format!("Nonzero pixels below {threshold} {unit}"),
            symbol: "n",
        }
    }

    /// Of these keys of a file those that are an observable's, in the order of tables.
    #[cfg(feature = "report")]
    pub(super) fn of_keys<'a>(
        keys: impl Iterator<Item = &'a str> + Clone,
        unit: &str,
    ) -> Vec<Self> {
        let known = |name: &str| keys.clone().any(|key| key == name);
        let mut labels: Vec<Self> = (OBSERVABLES.iter().map(Self::from))
            .chain([Self::ln_pixel_intensity()])
            .filter(|label| known(&label.name))
            .collect();
        let thresholds = keys.filter_map(|key| key.strip_prefix(COUNT_BELOW)?.parse().ok());
        let mut thresholds: Vec<f64> = thresholds.collect();
        thresholds.sort_by(f64::total_cmp);
        labels.extend(thresholds.iter().map(|t| Self::count_below(*t, unit)));
        labels
    }
}

/// What is compared of the quantities that an image has one of, in the order of tables.
pub const OBSERVABLES: [Observable; 7] = [
    Observable {
        name: "jet_pt",
        title: "Transverse momentum",
        symbol: "pT",
        unit: "GeV",
        binning: Binning::Fixed {
            low: 200.0,
            high: 340.0,
            edges: 50,
        },
        pick: |o| o.jet_pt,
    },
    Observable {
        name: "jet_mass",
        title: "Mass",
        symbol: "m",
        unit: "GeV",
        binning: Binning::Fixed {
            low: 40.0,
            high: 120.0,
            edges: 50,
        },
        pick: |o| o.jet_mass,
    },
    Observable {
        name: "tau_1",
        title: "1-subjettiness",
        symbol: "τ₁",
        unit: "",
        binning: Binning::Quantiles,
        pick: |o| o.tau_1,
    },
    Observable {
        name: "tau_2",
        title: "2-subjettiness",
        symbol: "τ₂",
        unit: "",
        binning: Binning::Quantiles,
        pick: |o| o.tau_2,
    },
    Observable {
        name: "tau_21",
        title: "Subjettiness ratio",
        symbol: "τ₂₁",
        unit: "",
        binning: Binning::Quantiles,
        pick: |o| o.tau_21,
    },
    Observable {
        name: "multiplicity",
        title: "Nonzero pixels",
        symbol: "n",
        unit: "",
        binning: Binning::Whole,
        pick: |o| o.multiplicity,
    },
    Observable {
        name: "intensity",
        title: "Sum of all pixels",
        symbol: "ΣI",
        unit: "GeV",
        binning: Binning::Quantiles,
        pick: |o| o.intensity,
    },
];
