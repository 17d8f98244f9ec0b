//! Whether the units of a configuration suit the images.

use super::{Config, LikelihoodConfig};

/// Units further from the images than this factor are those of other images.
const FAR: f64 = 30.0;
/// The same where the likelihood has no unit to go by: the paper's networks take sums of 300 in a unit of 1.
const FAR_ALONE: f64 = 1e3;

impl Config {
    /// That the units are far from the images, where they are, and which would do.
    pub(in crate::families::sarm) fn units_far_from(
        &self,
        mean_sum: f64,
        mean_pixel: f64,
    ) -> Option<String> {
        let input = mean_sum / self.input.unit;
        let beyond = |ratio: f64, far: f64| !(1.0 / far..=far).contains(&ratio);
        let (far, pixel) = match self.likelihood {
            // Both: a model of sums in a unit of pixels is one of the paper's.
            LikelihoodConfig::Dc { unit, .. } => {
                let likelihood = mean_pixel / unit;
                let alike = (input > 1.0) == (likelihood > 1.0);
                let far = beyond(input, FAR) && beyond(likelihood, FAR) && alike;
                (far, Some(unit))
            }
            LikelihoodConfig::Dd { .. } => (beyond(input, FAR_ALONE), None),
        };
        let some = mean_sum.is_finite() && mean_sum > 0.0;
        if !(far && some) {
            return None;
        }
        let likelihood = pixel.map_or([String::new(), String::new()], |unit| {
            [
                format!(" and 'likelihood.unit' is {unit}"),
                format!(" and 'likelihood.unit' to {:e}", rounded(mean_pixel)),
            ]
        });
        let also = match self.input.also.is_empty() {
            true => "",
            false => ", and multiply each unit in 'input.also' likewise",
        };
        Some(format!(
            "images sum to {mean_sum:.4e} on average and their nonzero pixels are {mean_pixel:.4e}, far from the units of the model ('input.unit' is {}{}); give --scale if the file is not in GeV, or set 'input.unit' to {:e}{}{also}",
            self.input.unit,
            likelihood[0],
            rounded(mean_sum),
            likelihood[1],
        ))
    }
}

/// To one digit.
fn rounded(value: f64) -> f64 {
    format!("{value:.0e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str) -> Config {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("configs")
            .join(name);
        Config::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn shipped_configurations_suit_their_images() {
        // Of the shipped samples: jets and muons, GeV.
        let (jets, muons) = ([281.0, 10.3], [32.8, 1.72]);
        for (name, [sum, pixel]) in [
            ("demo.toml", jets),
            ("jets.toml", jets),
            ("paper/jets-dc.toml", jets),
            ("paper/jets-dd.toml", jets),
            ("muons.toml", muons),
            ("paper/muons-dc.toml", muons),
            ("paper/muons-dd.toml", muons),
        ] {
            let config = config(name);
            assert_eq!(config.units_far_from(sum, pixel), None, "{name}");
            // The same in MeV.
            let remark = config.units_far_from(sum * 1e3, pixel * 1e3);
            let remark = remark.unwrap_or_default();
            assert!(
                remark.contains("--scale") && remark.contains("'input.unit' to"),
                "{name}: {remark}"
            );
        }
        assert!(
            config("demo.toml").units_far_from(0.281, 0.0103).is_some(),
            "TeV"
        );
        assert_eq!(config("demo.toml").units_far_from(0.0, 0.0), None);
    }
}
