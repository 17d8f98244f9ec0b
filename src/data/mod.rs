//! Images on disk and in memory: reading and writing HDF5, selections, and the sparse block that all code works on.

mod about;
mod attributes;
pub mod calochallenge;
#[cfg(feature = "hdf5")]
mod element;
mod error;
mod files;
#[cfg(feature = "hdf5")]
mod flat;
#[cfg_attr(not(feature = "hdf5"), path = "no_hdf5.rs")]
mod hdf5;
mod image_size;
mod images;
mod inspect;
mod layout;
mod names;
#[cfg(feature = "hdf5")]
mod numpy;
mod once;
mod options;
mod overview;
mod select;
mod summary;
mod twice;
mod unit;

pub use self::hdf5::{
    ImageWriter, describe, describe_with, packed_bytes, read, read_attributes, read_column,
    read_column_with, read_columns, write, write_columns,
};
pub use about::About;
#[cfg(feature = "hdf5")]
use about::numbered;
pub use attributes::{Attribute, Provenance};
pub use calochallenge::{BinningError, CaloBinning};
pub use error::DataError;
pub(crate) use files::joined;
#[cfg(any(feature = "hdf5", feature = "cli"))]
pub(crate) use files::split;
pub use files::{Origin, Run, matching, read_all};
pub use image_size::ImageSize;
pub use images::{MAX_PIXELS, SparseImages};
pub use inspect::{Inspection, PixelRange, RowRange, Rows};
pub use layout::{Layout, WriteOptions};
pub(crate) use names::slip;
pub use options::{FileOptions, ReadOptions};
pub use overview::Overview;
pub use select::{Selection, SelectionError};
pub use summary::{DatasetSummary, FileSummary};
pub use twice::{Known, Twice};
pub use unit::Unit;

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
    /// Weight of each image, where one was asked for; it may be negative.
    pub weights: Option<Vec<f32>>,
    /// How the images are cut from a calorimeter's showers, where a binning file said so.
    pub binning: Option<CaloBinning>,
    /// The files that the images come from, in order; none for images made in memory.
    pub origins: Vec<Origin>,
    /// What the files say of these numbers.
    pub about: About,
}

impl Dataset {
    /// Put the images of `other`, which must have the same size, behind these. Columns that one of the two does not have
    /// are dropped: their names.
    ///
    /// # Panics
    /// Where the sizes of the images differ.
    pub fn extend(&mut self, other: Dataset) -> Vec<String> {
        let mut dropped: Vec<String> = (other.columns.keys())
            .filter(|name| !self.columns.contains_key(*name))
            .cloned()
            .collect();
        self.images.extend(&other.images);
        self.rows.extend(other.rows);
        self.origins.extend(other.origins);
        self.about.extend(other.about);
        self.weights = match (self.weights.take(), other.weights) {
            (Some(mut weights), Some(more)) => {
                weights.extend(more);
                Some(weights)
            }
            (None, None) => None,
            _ => {
                dropped.push("weights".into());
                None
            }
        };
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

/// `12 345 678`: groups of three, as physicists print counts.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}
