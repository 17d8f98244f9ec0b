//! Reading a configuration and checking that it makes sense: every mistake is named with its key.

use super::{Config, LikelihoodConfig, MOST_CHANNELS, ModelConfig, StageConfig};
use crate::conditions::ConditionConfig;
use crate::data::{ImageSize, MAX_PIXELS, SparseImages};
use crate::families::sarm::likelihood::Grid;
use crate::families::sarm::likelihood::mixture::MOST_COMPONENTS;
use crate::families::sarm::{Sarm, StageShape, Statistics, TensorSpec};
use crate::family::{ConfigError, factor, impossible, within};

/// The most units a layer may have and the most numbers a network may give a pixel: far above any
/// use, low enough that a typing error is told from a wish.
const MOST: usize = 1 << 16;
/// The most parameters of a model, 16 GiB of f32.
const MOST_PARAMETERS: u64 = 1 << 32;

impl Config {
    /// Read TOML and check every value.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|e| ConfigError::syntax(text, &e))?;
        config.train.check()?;
        if let Some(size) = config.image {
            config.resolve(size)?.check()?;
        } else {
            // Sizes come with the data; anything large enough shows the other mistakes now.
            let side = config.stage.iter().filter_map(|s| s.square).max();
            let side = side.unwrap_or(1).clamp(1, 254) + 1;
            config
                .resolve(ImageSize {
                    height: side,
                    width: side,
                })?
                .check()?;
        }
        Ok(config)
    }

    /// The model's part, for images of `size`.
    pub fn resolve(&self, size: ImageSize) -> Result<ModelConfig, ConfigError> {
        if let Some(wanted) = self.image
            && wanted != size
        {
            impossible(
                "image",
                format!("{} x {}", wanted.height, wanted.width),
                format!("the data have {} x {}", size.height, size.width),
            )?;
        }
        let mut stage = self.stage.clone();
        if stage.is_empty() {
            stage.push(StageConfig {
                square: None,
                units_per_pixel: 1,
                layers: 5,
            });
        }
        Ok(ModelConfig {
            image: size,
            order: self.order.clone(),
            stage,
            likelihood: self.likelihood.clone(),
            input: self.input.clone(),
            condition: self.condition.clone(),
        })
    }
}

impl Config {
    /// The model for these images, what the data say filled in, all parameters 0; see [`Configuration::complete`].
    ///
    /// # Errors
    /// A value that does not go with the images.
    ///
    /// [`Configuration::complete`]: crate::family::Configuration::complete
    pub fn model(
        &self,
        images: &SparseImages,
        conditions: ConditionConfig,
    ) -> Result<Sarm, ConfigError> {
        let mut model = self.resolve(ImageSize {
            height: images.height(),
            width: images.width(),
        })?;
        if let LikelihoodConfig::Dd { maximum, .. } = &mut model.likelihood {
            maximum.get_or_insert(f64::from(Statistics::largest_of(images)).max(1e-3));
        }
        model.condition = conditions;
        model.check()?;
        model.check_complete()?;
        Sarm::new(model)
    }
}

impl ModelConfig {
    /// Check every value.
    pub fn check(&self) -> Result<(), ConfigError> {
        let ImageSize { height, width } = self.image;
        within("image.height", height, 1, MAX_PIXELS)?;
        within("image.width", width, 1, MAX_PIXELS / height)?;
        within("number of [[stage]] tables", self.stage.len(), 1, 64)?;
        let mut inside = 0;
        let mut pixels_before = 0;
        for (i, stage) in self.stage.iter().enumerate() {
            let last = i + 1 == self.stage.len();
            let key = |name: &str| format!("stage[{i}].{name}");
            let after = match stage.square {
                Some(square) if !last || square > 0 => {
                    let largest = height.min(width);
                    if square <= inside || square > largest {
                        impossible(
                            key("square"),
                            square,
                            format!(
                                "squares must grow from stage to stage, up to the image's {largest}"
                            ),
                        )?;
                    }
                    if last && square * square != height * width {
                        impossible(
                            key("square"),
                            square,
                            "the last stage takes all pixels that are left and needs no 'square'",
                        )?;
                    }
                    inside = square;
                    square * square
                }
                None if last => height * width,
                _ => {
                    return impossible(
                        key("square"),
                        "missing",
                        "every stage but the last needs the side of its square",
                    );
                }
            };
            let pixels = after - pixels_before;
            if pixels == 0 {
                impossible(key("square"), inside, "no pixel is left for this stage")?;
            }
            within(&key("units_per_pixel"), stage.units_per_pixel, 1, 1024)?;
            within(&key("layers"), stage.layers, 0, 64)?;
            let units = pixels * stage.units_per_pixel;
            within(&format!("width of stage[{i}]"), units, 1, MOST)?;
            pixels_before = after;
        }
        match &self.likelihood {
            LikelihoodConfig::Dc {
                components,
                unit,
                upper,
            } => {
                within("likelihood.components", *components, 1, MOST_COMPONENTS)?;
                factor("likelihood.unit", *unit)?;
                if let Some(upper) = upper {
                    factor("likelihood.upper", *upper)?;
                }
            }
            LikelihoodConfig::Dd {
                latents,
                levels,
                power,
                maximum,
            } => {
                within("likelihood.latents", *latents, 1, 1024)?;
                within("likelihood.levels", *levels, 1, MOST)?;
                if !(power.is_finite() && (0.1..=10.0).contains(power)) {
                    impossible("likelihood.power", power, "it must be 0.1 to 10")?;
                }
                if let Some(maximum) = maximum {
                    factor("likelihood.maximum", *maximum)?;
                    let lowest = Grid::new(*levels, *power, *maximum).value(0);
                    if !lowest.is_normal() {
                        impossible(
                            "likelihood.power",
                            power,
                            "the lowest level is 0 in single precision, so it or levels must be lower",
                        )?;
                    };
                }
            }
        }
        let parameters = self.parameters();
        if parameters > MOST_PARAMETERS {
            impossible(
                "model",
                format!("{parameters} parameters"),
                "it must be below 2^32, so units_per_pixel, layers or latents must be lower",
            )?;
        }
        within(
            "number of [[input.also]]",
            self.input.also.len(),
            0,
            MOST_CHANNELS - 1,
        )?;
        factor("input.unit", self.input.unit)?;
        for (i, channel) in self.input.also.iter().enumerate() {
            factor(&format!("input.also[{i}].unit"), channel.unit)?;
            factor(&format!("input.also[{i}].scale"), channel.scale)?;
        }
        let c = &self.condition;
        within("number of conditions", c.names.len(), 0, 256)?;
        for (i, name) in c.names.iter().enumerate() {
            if c.names[..i].contains(name) {
                impossible("condition.names", name, "it stands there twice")?;
            }
            // Generated files hold the conditions under their names.
            let pixels = ["image", "indptr", "index", "value"];
            if name.is_empty() || name.contains(['/', '\0']) || pixels.contains(&name.as_str()) {
                let shown = format!("'{}'", name.replace('\0', "\\0"));
                impossible(
                    "condition.names",
                    shown,
                    "it cannot name a per-row data set",
                )?;
            }
        }
        if let Some(total) = &c.total {
            if !c.names.contains(total) {
                impossible(
                    "condition.total",
                    total,
                    "it must be one of condition.names",
                )?;
            }
            let several = matches!(self.likelihood, LikelihoodConfig::Dc { components, .. } if components > 1);
            if !several {
                impossible(
                    "condition.total",
                    total,
                    "it wants likelihood.kind = \"dc\" with 2 components or more, the first for all that is left",
                )?;
            }
        }
        for (key, list) in [("condition.mean", &c.mean), ("condition.scale", &c.scale)] {
            if !list.is_empty() && list.len() != c.names.len() {
                impossible(
                    key,
                    format!("{} numbers", list.len()),
                    format!("there are {} names", c.names.len()),
                )?;
            }
            if let Some(bad) = list.iter().find(|v| !v.is_finite()) {
                impossible(key, bad, "it must be finite")?;
            }
        }
        for scale in &c.scale {
            factor("condition.scale", *scale)?;
        }
        Ok(())
    }
}

impl ModelConfig {
    /// Check that what training fills in is there: the grid's maximum, the conditions' statistics.
    pub fn check_complete(&self) -> Result<(), ConfigError> {
        if let LikelihoodConfig::Dd { maximum: None, .. } = self.likelihood {
            impossible("likelihood.maximum", "missing", "a trained model has one")?;
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
    fn stage_pixels(&self) -> Vec<usize> {
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
    use super::*;

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
