//! What is in a data file, for people and scripts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Attribute, Layout};

/// What an HDF5 file holds.
#[derive(Debug, Clone, serde::Serialize)]
pub struct FileSummary {
    /// The file.
    pub path: PathBuf,
    /// Its size on disk, bytes.
    pub bytes: u64,
    /// Layout of its images; `None` when it holds none that can be read.
    pub layout: Option<Layout>,
    /// Data set of the pixels.
    pub found_in: Option<String>,
    /// Why the images cannot be read, when they cannot.
    pub problem: Option<String>,
    /// Number of images.
    pub images: Option<usize>,
    /// Rows of pixels.
    pub height: Option<usize>,
    /// Columns of pixels.
    pub width: Option<usize>,
    /// Fraction of pixels that are zero, over the first [`sampled`](Self::sampled) images.
    pub zero_fraction: Option<f64>,
    /// Images that the fraction was taken over.
    pub sampled: usize,
    /// Images of each class, by the value of `signal`, when there are few classes.
    pub classes: Option<BTreeMap<String, u64>>,
    /// Data sets, those in groups and behind links too, by full name.
    pub datasets: Vec<DatasetSummary>,
    /// Data sets that cannot be read, and why.
    pub unreadable: BTreeMap<String, String>,
    /// Root attributes: provenance.
    pub attributes: BTreeMap<String, Attribute>,
}

/// One data set of a file.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DatasetSummary {
    /// Its name.
    pub name: String,
    /// Type of an element: `float32`, `uint8` ..
    pub kind: String,
    /// Extent in each dimension.
    pub shape: Vec<usize>,
    /// Chunk shape, when stored in chunks.
    pub chunk: Option<Vec<usize>>,
    /// Filters in the order of writing: `shuffle`, `gzip 4` ..
    pub filters: Vec<String>,
    /// Bytes stored.
    pub stored: u64,
    /// Where the values come from, of links and virtual data sets.
    pub from: Option<String>,
}
