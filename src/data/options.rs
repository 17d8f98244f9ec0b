//! What to read of a data file, and what the file does not say of itself.

use std::path::PathBuf;

use super::{BinningError, CaloBinning, ImageSize, Selection};

/// What to read of a data file.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Only rows that all of these take.
    pub selections: Vec<Selection>,
    /// Per-row data sets that must be read too; their values must be finite in the rows read.
    pub columns: Vec<String>,
    /// Take column NAME from `given_NAME` where the file has it: of generated images, what they were
    /// conditioned on, and not what was computed from them.
    pub prefer_given: bool,
    /// Compute a column of this name instead: the sum of each image's pixels.
    pub total: Option<String>,
    /// At most so many images: the first ones that are selected.
    pub limit: Option<usize>,
    /// Height and width that the images must have.
    pub size: Option<(usize, usize)>,
    /// What the file does not say of itself.
    pub file: FileOptions,
}

/// What a file does not say of itself: where its images are, how they are shaped, in which unit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileOptions {
    /// Data set of the images, a path inside the file (`train/image`); found by name and shape where it is `None`.
    pub images: Option<String>,
    /// Size of images that are stored as flat rows.
    pub shape: Option<ImageSize>,
    /// Pixels are multiplied by this to be GeV; by what the file says of its unit where it is `None`.
    pub scale: Option<f64>,
    /// Pixels below it are set to zero, GeV, after scaling.
    pub threshold: Option<f32>,
    /// Per-row data set of the classes; `signal` where it is `None`.
    pub class: Option<String>,
    /// Binning file of a calorimeter, XML: how its showers become images, see [`CaloBinning`](super::CaloBinning).
    pub binning: Option<PathBuf>,
    /// Particle of the binning file, where it has several.
    pub particle: Option<String>,
    /// Per-row data set of event weights; all are 1 where it is `None`.
    pub weights: Option<String>,
    /// Images, classes and weights are read where the file has such data sets; elsewhere images are found by name and shape,
    /// `signal` is read, and no weights.
    pub where_present: bool,
}

impl FileOptions {
    /// The binning, where a file is named.
    ///
    /// # Errors
    /// A binning file that cannot be used.
    pub fn read_binning(&self) -> Result<Option<CaloBinning>, BinningError> {
        let read = |path: &PathBuf| CaloBinning::read(path, self.particle.as_deref());
        self.binning.as_ref().map(read).transpose()
    }
}
