//! Checking that a configuration makes sense: every mistake is named with its key.

use super::{InputConfig, LikelihoodConfig, MOST_CHANNELS, ModelConfig, SpaceName};
use crate::data::{ImageSize, MAX_PIXELS};
use crate::families::sarm::{Left, StageShape, TensorSpec};
use crate::family::{ConfigError, Mistakes, check_conditions, factor, impossible, within};

/// The most units a layer may have and the most outputs a network may have for a pixel: far above any
/// use, low enough to catch a typing error.
const MOST: usize = 1 << 16;
/// The most parameters of a model, 16 GiB of f32.
const MOST_PARAMETERS: u64 = 1 << 32;

impl ModelConfig {
    /// Check every value.
    ///
    /// # Errors
    /// Those that make no sense, named with their keys.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut found = Mistakes::default();
        let ImageSize { height, width } = self.image;
        let sized = found.note(within("image.height", height, 1, MAX_PIXELS))
            && found.note(within("image.width", width, 1, MAX_PIXELS / height));
        let staged = sized && found.note(self.check_stages());
        let likely = found.note(self.likelihood.check());
        // Sizes that make no sense have no number of parameters.
        if staged && likely {
            found.note(self.check_parameters());
        }
        found.note(self.input.check());
        found.note(check_conditions(&self.condition));
        found.note(self.check_total());
        found.end()
    }

    fn check_parameters(&self) -> Result<(), ConfigError> {
        let parameters = self.parameters();
        if parameters > MOST_PARAMETERS {
            impossible(
                "model",
                format!("{parameters} parameters"),
                "it must be below 2^32, so units_per_pixel, layers or latents must be lower",
            )?;
        }
        Ok(())
    }

    /// The stages: squares that grow, pixels for each, sizes of their layers.
    fn check_stages(&self) -> Result<(), ConfigError> {
        let mut found = Mistakes::default();
        let (mut inside, mut pixels_before) = (0, 0);
        if !found.note(within(
            "number of [[stage]] tables",
            self.stage.len(),
            1,
            64,
        )) {
            return found.end();
        }
        for (i, stage) in self.stage.iter().enumerate() {
            let key = |name: &str| format!("stage[{i}].{name}");
            let units_fit = found.note(within(
                &key("units_per_pixel"),
                stage.units_per_pixel,
                1,
                1024,
            ));
            found.note(within(&key("layers"), stage.layers, 0, 64));
            let after = match self.pixels_up_to(i, inside) {
                Ok(after) => after,
                // The squares of the stages after it have nothing to be compared with.
                Err(mistake) => {
                    found.add(mistake);
                    break;
                }
            };
            inside = stage.square.unwrap_or(inside);
            let pixels = after - pixels_before;
            if pixels == 0 {
                found.note(impossible(
                    key("square"),
                    inside,
                    "no pixel is left for this stage",
                ));
            } else if units_fit {
                let units = pixels * stage.units_per_pixel;
                found.note(within(&format!("width of stage[{i}]"), units, 1, MOST));
            }
            pixels_before = after;
        }
        found.end()
    }

    /// Pixels of stages `0 ..= i`; the square before stage `i` has the side `inside`.
    fn pixels_up_to(&self, i: usize, inside: usize) -> Result<usize, ConfigError> {
        let ImageSize { height, width } = self.image;
        let last = i + 1 == self.stage.len();
        let wrong = |value: &dyn ToString, why: String| {
            impossible(format!("stage[{i}].square"), value.to_string(), why)
        };
        match self.stage[i].square {
            Some(square) if !last || square > 0 => {
                let largest = height.min(width);
                if square <= inside || square > largest {
                    wrong(
                        &square,
                        format!(
                            "squares must grow from stage to stage, up to the image's {largest}"
                        ),
                    )?;
                }
                if last && square * square != height * width {
                    wrong(
                        &square,
                        "the last stage takes all pixels that are left and needs no 'square'"
                            .into(),
                    )?;
                }
                Ok(square * square)
            }
            None if last => Ok(height * width),
            _ => {
                wrong(
                    &"missing",
                    "every stage but the last needs the side of its square".into(),
                )?;
                Ok(0)
            }
        }
    }

    /// A total is shared out by a mixture whose first component takes all that is left.
    fn check_total(&self) -> Result<(), ConfigError> {
        let several =
            matches!(self.likelihood, LikelihoodConfig::Dc { components, .. } if components > 1);
        let c = &self.condition;
        match &c.total {
            Some(total) if !several => impossible(
                "condition.total",
                total,
                "it wants likelihood.kind = \"dc\" with 2 components or more, the first for all that is left",
            ),
            None if self.input.left > 0 => impossible(
                "input.left",
                self.input.left,
                "it shows what is left of the total, so it wants condition.total",
            ),
            Some(total) if self.input.left > 0 => {
                // Measured later, where it is not there.
                let i = c.names.iter().position(|name| name == total);
                let mean = i.and_then(|i| c.mean.get(i)).copied().unwrap_or(1.0);
                match mean >= 1e-15 {
                    true => Ok(()),
                    false => impossible(
                        "condition.mean",
                        mean,
                        format!(
                            "what is left of '{total}' is shown as a part of its mean (input.left), which must be positive"
                        ),
                    ),
                }
            }
            _ => Ok(()),
        }
    }
}

impl InputConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let mut found = Mistakes::default();
        found.note(within(
            "number of [[input.also]]",
            self.also.len(),
            0,
            MOST_CHANNELS - 1,
        ));
        found.note(factor("input.unit", self.unit));
        found.note(within("input.left", self.left, 0, Left::MOST));
        for (i, channel) in self.also.iter().enumerate() {
            found.note(factor(&format!("input.also[{i}].unit"), channel.unit));
            found.note(factor(&format!("input.also[{i}].scale"), channel.scale));
        }
        found.end()
    }
}

impl ModelConfig {
    /// Check that what training fills in is there: the grid's maximum, the conditions' statistics.
    ///
    /// # Errors
    /// The first that is missing, named with its key.
    pub fn check_complete(&self) -> Result<(), ConfigError> {
        if let LikelihoodConfig::Dd { maximum: None, .. } = self.likelihood {
            impossible("likelihood.maximum", "missing", "a trained model has one")?;
        }
        if let LikelihoodConfig::Dc {
            space: SpaceName::Log,
            lower: None,
            ..
        } = self.likelihood
        {
            impossible("likelihood.lower", "missing", "a trained model has one")?;
        }
        let c = &self.condition;
        if c.mean.len() != c.names.len() || c.scale.len() != c.names.len() {
            impossible(
                "condition",
                "incomplete",
                "a trained model has a mean and a scale for every name",
            )?;
        }
        Ok(())
    }

    /// Pixels of each stage. Squares grow and fit, as [`check`](Self::check) sees to.
    pub(in crate::families::sarm) fn stage_pixels(&self) -> Vec<usize> {
        let mut before = 0;
        let stages = self.stage.iter().map(|stage| {
            let all = self.image.height * self.image.width;
            let after = stage.square.map_or(all, |square| square * square);
            after - std::mem::replace(&mut before, after)
        });
        stages.collect()
    }

    /// Numbers in all tensors, masked ones included. The configuration has passed [`check`](Self::check).
    pub fn parameters(&self) -> u64 {
        let stages = StageShape::all(self, &self.stage_pixels());
        let tensors = TensorSpec::all(&stages);
        tensors.iter().map(|tensor| tensor.size() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::families::sarm::Config;

    #[test]
    fn empty_file_is_the_default() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("[train]\nbatches = 3", "batches"),
            ("colour = 1", "colour"),
            ("[likelihood]\nkind = 'dx'", "dx"),
            ("[likelihood]\nkind = 'dc'\nlatents = 3", "latents"),
            ("[train]\nbatch = 0", "train.batch"),
            ("[train]\nlearning_rate = -1.0", "learning_rate"),
            ("[train]\nweight_decay = -0.1", "weight_decay"),
            (
                "[train]\nlearning_rate = 0.5\nweight_decay = 2.0",
                "weight_decay",
            ),
            ("[train]\nvalidation = 1.5", "validation"),
            ("[[stage]]\nsquare = 3\n[[stage]]\nsquare = 3", "square"),
            ("[[stage]]\n[[stage]]", "square"),
            ("[[stage]]\nunits_per_pixel = 0", "units_per_pixel"),
            ("[condition]\nnames = ['a', 'a']", "twice"),
            ("[likelihood]\nkind = 'dd'\nlevels = 0", "levels"),
            ("[input]\nunit = 0.0", "input.unit"),
            ("[input]\nalso = [{unit = -1.0}]", "input.also[0].unit"),
            ("[input]\nalso = [{}, {scale = 0.0}]", "input.also[1].scale"),
            ("[input]\nalso = [{}, {}, {}, {}]", "[[input.also]]"),
            ("[train]\nrunning_sums = -1.0", "train.running_sums"),
            ("[image]\nheight = 0\nwidth = 3", "height"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
