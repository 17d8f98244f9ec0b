//! Images on disk and in memory: reading and writing HDF5, selections, and the sparse block that all code works on.

mod attributes;
mod error;
#[cfg_attr(not(feature = "hdf5"), path = "no_files.rs")]
mod files;
mod image_size;
mod images;
mod select;
mod summary;

pub use attributes::{Attribute, Provenance};
pub use error::DataError;
pub use files::{ImageWriter, describe, read, read_attributes, read_column, write, write_columns};
pub use image_size::ImageSize;
pub use images::{MAX_PIXELS, SparseImages};
pub use select::{ReadOptions, Selection, SelectionError};
pub use summary::{DatasetSummary, FileSummary};

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Images with the per-row quantities that were read beside them.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// The images, in file order.
    pub images: SparseImages,
    /// Per-row data sets by name (`signal`, `jet_pt` ..), each as long as `images`.
    pub columns: BTreeMap<String, Vec<f32>>,
    /// Row of each image in its file, for messages that name it.
    pub rows: Vec<u64>,
}

impl Dataset {
    /// Put the images of `other`, which must have the same size, behind these. Columns that one of the two does not have
    /// are dropped: their names.
    pub fn extend(&mut self, other: Dataset) -> Vec<String> {
        let mut dropped: Vec<String> = (other.columns.keys())
            .filter(|name| !self.columns.contains_key(*name))
            .cloned()
            .collect();
        self.images.extend(&other.images);
        self.rows.extend(other.rows);
        self.columns.retain(|name, values| {
            let more = other.columns.get(name);
            match more {
                Some(more) => values.extend(more),
                None => dropped.push(name.clone()),
            }
            more.is_some()
        });
        dropped
    }
}

/// How images are laid out in a file; docs/formats.md has every data set of both.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// All pixels in `image` (images, rows, columns): what LAGAN published.
    #[default]
    Dense,
    /// Only nonzero pixels, as compressed sparse rows: `indptr`, `index`, `value`.
    Sparse,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Layout::Dense => "dense",
            Layout::Sparse => "sparse",
        })
    }
}

impl std::str::FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "dense" => Ok(Layout::Dense),
            "sparse" => Ok(Layout::Sparse),
            other => Err(format!(
                "unknown layout '{other}' (there are two); choose dense or sparse"
            )),
        }
    }
}

/// How to write a file of images.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Dense or sparse.
    pub layout: Layout,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Replace a file of the same name.
    pub force: bool,
    /// Root attributes.
    pub provenance: Provenance,
    /// Name to write under until the file is complete, in the same directory; replaced if it
    /// exists. A hidden name that nobody else uses by default.
    pub temporary: Option<PathBuf>,
}
