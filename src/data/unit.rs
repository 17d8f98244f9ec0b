//! Units of pixels and conditions.

use serde::{Deserialize, Serialize};

/// Energies, and how many GeV each is. Factors `1 / n` are divided by, so that they round once.
const ENERGIES: [(&str, f64); 6] = [
    ("ev", 1e-9),
    ("kev", 1e-6),
    ("mev", 1e-3),
    ("gev", 1.0),
    ("tev", 1e3),
    ("pev", 1e6),
];
/// Longer texts are sentences.
const LONGEST: usize = 24;

/// The unit of a data set's pixels: GeV, or what a file calls a unit that is no energy (`ADC`, `photons`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unit(String);

impl Default for Unit {
    fn default() -> Self {
        Self("GeV".into())
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl Unit {
    /// What a file's attribute `units` says: the unit that values have once they were multiplied by the factor.
    ///
    /// eV, keV, MeV, TeV and PeV become GeV, in capitals or not, also with the `/c` or `/c^2` of momenta and masses. Any
    /// other word stays as it is. `None` for an empty text and for a sentence, which name no unit.
    pub fn parse(text: &str) -> Option<(Self, f64)> {
        let text = text.trim();
        let plain = text.to_ascii_lowercase();
        let energy = plain.split('/').next().unwrap_or_default().trim();
        let over_light = ["", "c", "c^2", "c2", "c**2"];
        let rest = plain.split_once('/').map_or("", |(_, rest)| rest.trim());
        if let Some((_, factor)) = ENERGIES.iter().find(|(name, _)| *name == energy)
            && over_light.contains(&rest)
        {
            return Some((Self::default(), *factor));
        }
        let word = !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
        word.then(|| (Self(text.into()), 1.0))
    }

    /// As text: `GeV`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is GeV.
    pub fn is_gev(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energies_become_gev() {
        for (text, factor) in [
            ("GeV", 1.0),
            (" MeV ", 1e-3),
            ("mev", 1e-3),
            ("keV", 1e-6),
            ("eV", 1e-9),
            ("TeV", 1e3),
            ("MeV/c", 1e-3),
            ("GeV/c^2", 1.0),
        ] {
            assert_eq!(Unit::parse(text), Some((Unit::default(), factor)), "{text}");
        }
        for text in ["ADC", "photons", "p.e.", "MeV/mm", "arb. units"] {
            let (unit, factor) = Unit::parse(text).unwrap();
            assert_eq!((unit.as_str(), factor), (text, 1.0));
            assert!(!unit.is_gev());
        }
        for text in [
            "",
            "  ",
            "log_likelihood in nats per image, densities per GeV",
        ] {
            assert_eq!(Unit::parse(text), None, "{text}");
        }
    }
}
