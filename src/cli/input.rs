//! Options that say which rows of a data file are read, and what the file does not say of itself.

use std::path::Path;

use anyhow::Context;

use crate::data::{FileOptions, ImageSize, Selection};
use crate::families;
use crate::family::{Configuration, Setting};

/// Which rows of a data file.
#[derive(clap::Args, Clone)]
pub(super) struct Select {
    /// Use only rows whose data set NAME equals VALUE or lies in LOW..HIGH (both ends included).
    ///
    /// May be repeated; a row must satisfy every selection. `row` is the row number in the file, from 0.
    #[arg(long, value_name = "NAME=VALUE|NAME=LOW..HIGH")]
    pub select: Vec<Selection>,
}

impl Select {
    pub fn typed(&self) -> Vec<String> {
        self.select.iter().map(ToString::to_string).collect()
    }
}

/// What the file does not say of itself.
#[derive(clap::Args, Clone)]
pub(super) struct FileArguments {
    /// Data set of the images, a path inside the file such as train/image [default: found by name and shape].
    #[arg(long, value_name = "NAME")]
    images: Option<String>,
    /// Size of images that are stored as flat rows: 45x144.
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = shape)]
    shape: Option<ImageSize>,
    /// Multiply pixels by this, to make them GeV [default: by the file's attribute `units`].
    #[arg(long, value_name = "FACTOR", value_parser = positive::<f64>)]
    scale: Option<f64>,
    /// Set pixels below this to zero, GeV.
    #[arg(long, value_name = "GEV", value_parser = positive::<f32>)]
    threshold: Option<f32>,
    /// Data set of the classes [default: signal].
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// Data set of event weights, which may be negative [default: every image counts once].
    #[arg(long, value_name = "NAME")]
    weights: Option<String>,
}

impl FileArguments {
    pub fn options(&self) -> FileOptions {
        FileOptions {
            images: self.images.clone(),
            shape: self.shape,
            scale: self.scale,
            threshold: self.threshold,
            class: self.class.clone(),
            weights: self.weights.clone(),
        }
    }
}

/// Changes of a configuration.
#[derive(clap::Args, Clone, Default)]
pub(super) struct Settings {
    /// Change one value of the configuration, in TOML: train.learning_rate=1e-3, stage.0.units_per_pixel=4. May be repeated;
    /// docs/configuration.md lists the keys.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<Setting>,
}

impl Settings {
    /// The configuration in `file`, or that of somebody who gives none, with the changes.
    pub fn configuration(&self, file: Option<&Path>) -> anyhow::Result<Box<dyn Configuration>> {
        match file {
            None => Ok(families::configuration_with("", &self.set)?),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read '{}'", path.display()))?;
                self.of(&text, path)
            }
        }
    }

    /// The configuration `text` of the file `path`, with the changes.
    pub fn of(&self, text: &str, path: &Path) -> anyhow::Result<Box<dyn Configuration>> {
        families::configuration_with(text, &self.set)
            .with_context(|| format!("in '{}'", path.display()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

fn shape(text: &str) -> Result<ImageSize, String> {
    let sides = text.split_once('x').and_then(|(height, width)| {
        Some(ImageSize {
            height: height.trim().parse().ok()?,
            width: width.trim().parse().ok()?,
        })
    });
    sides.ok_or_else(|| "give rows and columns of pixels: 45x144".into())
}

fn positive<T: std::str::FromStr + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    let number = text.parse::<T>().ok();
    number
        .filter(|v| (*v).into() > 0.0 && (*v).into().is_finite())
        .ok_or_else(|| "it must be a positive number".into())
}
