//! Options that say which rows of a data file are read, and what the file does not say of itself.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Global;
use crate::data::{
    BinningError, CaloBinning, Dataset, FileOptions, ImageSize, Inspection, Selection,
};
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
    #[command(flatten)]
    pub binning: BinningArguments,
}

impl FileArguments {
    pub fn options(&self) -> FileOptions {
        FileOptions {
            images: self.images.clone(),
            shape: self.shape,
            scale: self.scale,
            threshold: self.threshold,
            class: self.class.clone(),
            binning: self.binning.binning.clone(),
            particle: self.binning.particle.clone(),
            ..FileOptions::default()
        }
    }

    /// The first of those given that say how rows are read, which a binning says beside that.
    pub fn first_of_rows(&self) -> Option<&'static str> {
        let given = [
            ("--images", self.images.is_some()),
            ("--shape", self.shape.is_some()),
            ("--scale", self.scale.is_some()),
            ("--threshold", self.threshold.is_some()),
            ("--class", self.class.is_some()),
        ];
        given.into_iter().find_map(|(name, is)| is.then_some(name))
    }
}

/// The same for a verb that counts each image by its weight.
#[derive(clap::Args, Clone)]
pub(super) struct WeightedFileArguments {
    #[command(flatten)]
    file: FileArguments,
    /// Data set of event weights, which may be negative [default: every image counts once].
    #[arg(long, value_name = "NAME")]
    weights: Option<String>,
}

impl WeightedFileArguments {
    /// Whether images count by a weight each.
    pub fn are_weighted(&self) -> bool {
        self.weights.is_some()
    }

    pub fn options(&self) -> FileOptions {
        FileOptions {
            weights: self.weights.clone(),
            ..self.file.options()
        }
    }

    /// The same for files of generated images, which say their unit and need have neither classes of that name nor weights.
    pub fn of_generated(&self, scale: Option<f64>) -> FileOptions {
        FileOptions {
            scale,
            where_present: true,
            ..self.options()
        }
    }
}

/// Changes of a configuration.
#[derive(clap::Args, Clone, Default)]
pub(super) struct Settings {
    /// Change one value of the configuration, in TOML: train.learning_rate=1e-3.
    ///
    /// A number in a key counts from 0 in a list: stage.0.units_per_pixel=4. May be repeated; docs/configuration.md lists the
    /// keys.
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

/// How a calorimeter is cut into voxels.
#[derive(clap::Args, Clone)]
pub(super) struct BinningArguments {
    /// Binning file of the CaloChallenge (XML).
    ///
    /// Its showers become images of layers x voxels or, where the layers differ, of one row.
    #[arg(long, value_name = "FILE")]
    pub binning: Option<PathBuf>,
    /// Particle of the binning file, where it has several: photon, pion, electron.
    #[arg(long, value_name = "NAME", requires = "binning")]
    pub particle: Option<String>,
}

impl BinningArguments {
    /// These alone.
    pub fn options(&self) -> FileOptions {
        FileOptions {
            binning: self.binning.clone(),
            particle: self.particle.clone(),
            ..FileOptions::default()
        }
    }

    /// The binning, where a file is named.
    pub fn read(&self) -> Result<Option<CaloBinning>, BinningError> {
        self.options().read_binning()
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

pub(super) fn positive<T: std::str::FromStr + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    let number = text.parse::<T>().ok();
    number
        .filter(|v| (*v).into() > 0.0 && (*v).into().is_finite())
        .ok_or_else(|| "it must be a positive number".into())
}

/// Whether a verb works on files that hold the same images.
#[derive(clap::Args, Clone)]
pub(super) struct Duplicates {
    /// Go on where files hold the same images: overlapping runs of one model and seed, one file named twice, copies.
    #[arg(long)]
    allow_duplicates: bool,
}

impl Duplicates {
    /// Look at whether training images and true ones are different ones.
    ///
    /// # Errors
    /// Images of the truth among the training images, unless that is allowed.
    pub fn apart(&self, training: &Dataset, truth: &Dataset) -> anyhow::Result<()> {
        let Some(twice) = training.in_common(truth) else {
            return Ok(());
        };
        if !self.allow_duplicates {
            anyhow::bail!(
                "{twice}, so that a model of the training images has seen the truth; select other rows with --select and --select-training, or pass --allow-duplicates"
            );
        }
        log::warn!("{twice}, so that a model of the training images has seen the truth");
        Ok(())
    }

    /// Look at `dataset` before work on it starts.
    ///
    /// # Errors
    /// Files that hold the same images, unless that is allowed.
    pub fn inspect(&self, dataset: &Dataset) -> anyhow::Result<Inspected> {
        let began = std::time::Instant::now();
        let found = dataset.inspect();
        log::info!(
            "looked at {} images in {:.3} s",
            found.images,
            began.elapsed().as_secs_f64()
        );
        if found.images > 0 && found.empty.count == found.images {
            anyhow::bail!(
                "all {} images are empty (no pixel is above 0); check that the file was written to the end, with sarm info",
                crate::data::grouped(found.images as u64)
            );
        }
        let mut warnings = dataset.about.warnings.clone();
        warnings.extend(dataset.about.unused_weights.clone());
        if let Some(first) = found.twice.first() {
            let more = match found.twice.len() - 1 {
                0 => String::new(),
                1 => ", and another pair of files holds the same images, too".into(),
                n => format!(", and {n} more pairs of files hold the same images, too"),
            };
            if !self.allow_duplicates {
                anyhow::bail!(
                    "{first}{more}; give each run of one seed its own images with --first, name each file once, or pass --allow-duplicates"
                );
            }
            warnings.push(format!("{first}{more}, so that errors come out too small"));
        }
        warnings.extend(dataset.remarks(&found));
        Ok(Inspected {
            found,
            remarks: dataset.about.remarks.clone(),
            warnings,
        })
    }
}

/// What a look at a data set found, to be said when work begins: what is refused before is refused in one line.
pub(super) struct Inspected {
    pub found: Inspection,
    /// What was read in another way than it stands in the files.
    remarks: Vec<String>,
    pub warnings: Vec<String>,
}

impl Inspected {
    pub fn tell(&self, global: &Global) {
        for remark in &self.remarks {
            global.say(remark);
        }
        for warning in &self.warnings {
            log::warn!("{warning}");
        }
    }
}
