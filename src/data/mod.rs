//! Images on disk and in memory: reading and writing HDF5, selections, and the sparse block that all code works on.

mod attributes;
mod columns;
mod describe;
mod error;
mod growing;
mod heap;
mod image_size;
mod images;
mod read;
mod select;
mod source;
mod write;

pub use attributes::{Attribute, Provenance};
pub use describe::{DatasetSummary, FileSummary, describe, read_attributes, read_column};
pub use error::DataError;
pub use image_size::ImageSize;
pub use images::{MAX_PIXELS, SparseImages};
pub use read::read;
pub use select::{ReadOptions, Selection, SelectionError};
pub use write::{ImageWriter, WriteOptions, write, write_columns};

use std::collections::BTreeMap;

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
