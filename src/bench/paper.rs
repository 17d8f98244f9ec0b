//! The paper's four configurations with what it measured on them, and what an image of each costs.

use serde::Serialize;

use crate::conditions::{ConditionedImages, Conditions};
use crate::data::ImageSize;
use crate::families::sarm::config::LikelihoodConfig;
use crate::families::sarm::{Config, Sarm, StageTensor};
use crate::family::ConfigError;
use crate::family::EngineError;
use crate::synthetic;

/// One of the paper's networks, with what the paper measured on it.
#[derive(Debug, Clone)]
pub struct PaperConfig {
    /// Name, as of the file in configs/.
    pub name: &'static str,
    toml: &'static str,
    size: ImageSize,
    /// Fraction of nonzero pixels in the paper's images.
    pub occupancy: f64,
    /// images/s of the paper's SARM-2 on 4 TITAN X (tables 2 and 4).
    pub paper_images_per_second: f64,
}

const JETS: ImageSize = ImageSize {
    height: 25,
    width: 25,
};
const MUONS: ImageSize = ImageSize {
    height: 32,
    width: 32,
};

/// Tables 2 (jets) and 4 (muons) of Lu et al., arXiv:2009.14017.
pub const PAPER: [PaperConfig; 4] = [
    PaperConfig {
        name: "jets-dc",
        toml: include_str!("../../configs/paper/jets-dc.toml"),
        size: JETS,
        occupancy: 0.1,
        paper_images_per_second: 2480.0,
    },
    PaperConfig {
        name: "jets-dd",
        toml: include_str!("../../configs/paper/jets-dd.toml"),
        size: JETS,
        occupancy: 0.1,
        paper_images_per_second: 1612.0,
    },
    PaperConfig {
        name: "muons-dc",
        toml: include_str!("../../configs/paper/muons-dc.toml"),
        size: MUONS,
        occupancy: 0.02,
        paper_images_per_second: 1136.0,
    },
    PaperConfig {
        name: "muons-dd",
        toml: include_str!("../../configs/paper/muons-dd.toml"),
        size: MUONS,
        occupancy: 0.02,
        paper_images_per_second: 625.0,
    },
];

/// Of images that nothing takes long with.
const SMALL: ImageSize = ImageSize {
    height: 9,
    width: 9,
};

impl PaperConfig {
    /// The same for images of 9 x 9 pixels, to see that it runs.
    pub fn small(&self) -> Self {
        Self {
            size: SMALL,
            ..self.clone()
        }
    }

    /// The model with random weights of the paper's sparsity.
    ///
    /// # Errors
    /// Text or a size that makes no SARM; those of [`PAPER`] do.
    pub fn model(&self) -> Result<Sarm, ConfigError> {
        let mut config = Config::parse(self.toml)?.resolve(self.size)?;
        if let LikelihoodConfig::Dd { maximum, .. } = &mut config.likelihood {
            maximum.get_or_insert(285.0);
        }
        let mut model = Sarm::new(config)?;
        synthetic::randomise(&mut model, 1, self.occupancy);
        Ok(model)
    }

    /// `count` random images of the paper's sparsity.
    ///
    /// # Errors
    /// [`EngineError::Mismatch`] where the size is of no image: zero, or above [`MAX_PIXELS`](crate::data::MAX_PIXELS).
    pub fn images(&self, count: usize) -> Result<ConditionedImages, EngineError> {
        let ImageSize { height, width } = self.size;
        Ok(ConditionedImages {
            images: synthetic::images(height, width, count, 3, self.occupancy)
                .ok_or_else(|| EngineError::Mismatch("images of this size".into()))?,
            conditions: Conditions::none(),
        })
    }
}

/// Unmasked weights: of the hidden layers and gates, and of the values, those of what is left among them.
pub fn unmasked_weights(model: &Sarm) -> [f64; 2] {
    let (mut always, mut values) = (0.0, 0.0);
    for t in model.tensors.iter().filter(|t| t.is_weight()) {
        match t.tensor {
            StageTensor::ValueWeight => values += t.unmasked() as f64,
            StageTensor::LevelsWeight => {}
            // A row of each pixel's is its gate's.
            StageTensor::LeftWeight => {
                let of_gates = (t.stage.pixels * t.stage.left) as f64;
                always += of_gates;
                values += t.unmasked() as f64 - of_gates;
            }
            _ => always += t.unmasked() as f64,
        }
    }
    [always, values]
}

/// Multiply-adds of one image, drawn incrementally.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MultiplyAdds {
    /// Unmasked weights of the hidden layers and gates: needed for every image.
    pub always: f64,
    /// Those of the values (and D+D's shared map), times the nonzero pixels.
    pub where_nonzero: f64,
}

impl MultiplyAdds {
    /// For a model whose images have `occupancy` of their pixels nonzero.
    pub fn of(model: &Sarm, occupancy: f64) -> Self {
        let [always, values] = unmasked_weights(model);
        let mut where_nonzero = occupancy * values;
        for stage in &model.stages {
            where_nonzero += occupancy * (stage.pixels * stage.levels * stage.values) as f64;
        }
        Self {
            always,
            where_nonzero,
        }
    }

    /// Multiply-adds of one image drawn naively: all weights of a stage, masked ones too, once for each of its pixels.
    pub fn naive(model: &Sarm) -> f64 {
        let weights = model.tensors.iter().filter(|t| t.is_weight());
        weights
            .map(|t| match t.tensor {
                StageTensor::LevelsWeight => 0.0,
                // Of the pixel that is drawn alone.
                StageTensor::LeftWeight => t.size() as f64,
                _ => t.stage.pixels as f64 * t.size() as f64,
            })
            .sum()
    }

    /// Multiply-adds in all.
    pub fn total(&self) -> f64 {
        self.always + self.where_nonzero
    }
}
