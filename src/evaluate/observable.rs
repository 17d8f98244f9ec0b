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

/// What is compared, in the order of tables.
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
