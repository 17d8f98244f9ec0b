//! `[condition]` of a configuration.

use serde::{Deserialize, Serialize};

use crate::numeric;

/// `[condition]`: per-row data sets, standardised to `(value - mean) / scale`; of those in `log`, their logarithms are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditionConfig {
    /// Names of the data sets.
    pub names: Vec<String>,
    /// The one of them that is the sum of an image's pixels. It is not read but computed; no pixel is ever larger than what
    /// is left of it, and once nothing is left all pixels are zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// Those of them whose logarithm the network is shown: positive quantities that span orders of magnitude.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// Their means; measured on the training data when absent. Of a quantity in `log`, the mean of its logarithm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f64>,
    /// Their standard deviations; measured when absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scale: Vec<f64>,
}

impl ConditionConfig {
    /// Input of a network for condition number `i` with this `value`.
    ///
    /// # Panics
    /// Where condition `i` has no mean or no scale.
    pub fn standardise(&self, i: usize, value: f32) -> f32 {
        ((self.shown(i, value) - self.mean[i]) / self.scale[i]) as f32
    }

    /// What is standardised of condition number `i`: its `value` or, if it is in [`log`](Self::log), the logarithm, the same
    /// bits on every machine. No value is low enough to have none: what is not positive counts as the smallest that is, and
    /// whoever reads or gives values refuses them first ([`without_log`](Self::without_log)).
    ///
    /// # Panics
    /// Where there is no condition `i`.
    pub fn shown(&self, i: usize, value: f32) -> f64 {
        match self.is_log(i) {
            true => f64::from(numeric::ln(value.max(f32::MIN_POSITIVE))),
            false => f64::from(value),
        }
    }

    /// The first of `values` of condition number `i` that is not positive, where its logarithm is wanted.
    ///
    /// # Panics
    /// Where there is no condition `i`.
    pub fn without_log(&self, i: usize, values: &[f32]) -> Option<usize> {
        // Smaller ones than the smallest normal number are nothing that was measured.
        let has_none = |v: &f32| *v < f32::MIN_POSITIVE;
        (self.is_log(i)).then(|| values.iter().position(has_none))?
    }

    fn is_log(&self, i: usize) -> bool {
        !self.log.is_empty() && self.log.contains(&self.names[i])
    }

    /// Those of [`log`](Self::log) that are among `names`.
    pub fn log_among(&self, names: &[String]) -> Vec<String> {
        let inside = self.log.iter().filter(|name| names.contains(name));
        inside.cloned().collect()
    }

    /// Those that are read from a file.
    pub fn read(&self) -> impl Iterator<Item = &String> {
        let total = self.total.as_ref();
        self.names.iter().filter(move |name| Some(*name) != total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_standardised() {
        let config = ConditionConfig {
            names: vec!["signal".into(), "energy".into()],
            log: vec!["energy".into()],
            mean: vec![0.5, 2.0],
            scale: vec![0.5, 4.0],
            ..ConditionConfig::default()
        };
        assert_eq!(config.standardise(0, 1.0), 1.0);
        for energy in [1e-30f32, 0.256, 1.0, 65.536, 4194.304] {
            let want = (f64::from(energy).ln() - 2.0) / 4.0;
            let got = f64::from(config.standardise(1, energy));
            assert!(
                (got - want).abs() < 1e-6 * want.abs().max(1.0),
                "{got} {want}"
            );
        }
        assert_eq!(config.without_log(1, &[1.0, 1e-3, 0.0, -1.0]), Some(2));
        assert_eq!(config.without_log(1, &[1.0, f32::MIN_POSITIVE]), None);
        assert_eq!(config.without_log(1, &[2.0, 1e-40]), Some(1));
        assert_eq!(config.without_log(0, &[-1.0, 0.0]), None);
        // A number all the same, whoever asks for it.
        assert!(config.standardise(1, -1.0).is_finite());
        assert_eq!(config.log_among(&["signal".into()]), [""; 0]);
        assert_eq!(config.log_among(&config.names), ["energy"]);
    }
}
