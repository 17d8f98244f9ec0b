//! Reading a configuration, and the model that it describes.

use super::{Config, ModelConfig, StageConfig};
use crate::conditions::ConditionConfig;
use crate::data::{ImageSize, SparseImages};
use crate::families::sarm::Sarm;
use crate::family::{ConfigError, Document, Mistakes, Source, impossible};

impl Config {
    /// Read TOML and check every value.
    ///
    /// # Errors
    /// The mistakes: unknown keys and wrong types with their lines, values that make no sense with their keys.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::read(&Document::parse(&Source::new(text, &[]))?)
    }

    /// The same of TOML that has been read.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn read(document: &Document) -> Result<Self, ConfigError> {
        document.read(Config::check)
    }

    /// With what follows from other keys said too, for a reader.
    pub(crate) fn filled_in(&self) -> Self {
        let mut config = self.clone();
        config.train.patience = Some(self.train.patience());
        config
    }

    /// Check every value.
    ///
    /// # Errors
    /// Those that make no sense, named with their keys.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut found = Mistakes::default();
        found.note(self.train.check());
        // Sizes come with the data; anything large enough shows the other mistakes now.
        let side = self.stage.iter().filter_map(|s| s.square).max();
        let side = side.unwrap_or(1).clamp(1, 254) + 1;
        let size = self.image.unwrap_or(ImageSize {
            height: side,
            width: side,
        });
        match self.resolve(size) {
            Ok(model) => found.note(model.check()),
            Err(mistake) => found.note(Err(mistake)),
        };
        found.end()
    }

    /// The model's part, for images of `size`.
    ///
    /// # Errors
    /// Where the configuration says another size.
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
            symmetry: self.symmetry,
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
        model.likelihood = model.likelihood.of(images);
        model.condition = conditions;
        model.check()?;
        model.check_complete()?;
        Sarm::new(model)
    }
}
