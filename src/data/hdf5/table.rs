//! One data set that passed the checks, wherever its values are.

use std::path::{Path, PathBuf};

use hdf5::{Hyperslab, SliceOrIndex};
use ndarray::IxDyn;

use super::chunks::Chunks;
use super::filters::Filter;
use super::reason;
use super::source::Source;
use crate::data::DataError;
use crate::data::element::{Element, Kind, Number};
use crate::data::flat::Flat;

/// A data set that passed the checks.
pub(super) struct Table {
    /// As it was asked for.
    pub name: String,
    /// The file that holds it, another one than the source's behind a link.
    pub path: PathBuf,
    /// Bytes on disk of the files that hold its values.
    pub bytes: u64,
    pub shape: Vec<usize>,
    /// Chunk shape, when chunked.
    pub chunk: Option<Vec<usize>>,
    /// Bytes of one element as stored.
    pub element: usize,
    pub kind: Type,
    /// Filters in the order of writing.
    pub filters: Vec<Filter>,
    /// Bytes stored.
    pub stored: u64,
    /// Where its values come from, if it is a link or virtual, for people.
    pub from: Option<String>,
    /// The object in an HDF5 file. Values are read with [`rows`](Self::rows) and never from it: what it says of values that
    /// other files hold may be untrue.
    pub set: Option<hdf5::Dataset>,
    pub data: Data,
}

/// What the elements are.
pub(super) struct Type {
    pub name: String,
    /// Whether they are numbers that convert to floats.
    pub numeric: bool,
    /// Whether they are floats of 32 bits or fewer.
    pub single: bool,
    /// How they are stored, where that is one of the usual ways.
    pub plain: Option<Element>,
}

/// Where the values are, and how they are read.
pub(super) enum Data {
    /// libhdf5 reads them.
    Library(hdf5::Dataset),
    Chunks(Chunks),
    Flat(Flat),
    /// Rows of data sets in files.
    Parts(Vec<Part>),
}

/// Rows of a virtual data set.
pub(super) struct Part {
    /// Its file and data set there.
    pub path: PathBuf,
    pub name: String,
    /// The first row in the virtual data set, in the source, and how many.
    pub to: usize,
    pub from: usize,
    pub count: usize,
    /// Rows of the source that are one here.
    pub per_row: usize,
}

impl Type {
    /// Of a plain element.
    pub fn plain(element: Element) -> Self {
        Self {
            name: element.name(),
            numeric: true,
            single: element.kind == Kind::Float && element.bytes <= 4,
            plain: Some(element),
        }
    }
}

impl Table {
    /// The type's name: `float32`, `uint8` ..
    pub fn type_name(&self) -> String {
        self.kind.name.clone()
    }

    /// Whether the elements are numbers that convert to floats.
    pub fn is_numeric(&self) -> bool {
        self.kind.numeric
    }

    /// Whether the elements are floats of 32 bits or fewer.
    pub fn is_single(&self) -> bool {
        self.kind.single
    }

    /// Numbers in a row.
    pub fn per_row(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Rows to read at once: whole chunks, and about `target` elements of `per_row` each.
    pub fn block_rows(&self, per_row: usize, target: usize) -> usize {
        let wanted = (target / per_row.max(1)).max(1);
        match self.chunk.as_ref().and_then(|c| c.first()) {
            Some(&rows) => wanted.div_ceil(rows).max(1).saturating_mul(rows),
            None => wanted,
        }
    }

    /// The numbers of rows `start .. start + count`, row after row, each row-major.
    pub fn rows<T: Number>(&self, start: usize, count: usize) -> Result<Vec<T>, DataError> {
        match &self.data {
            Data::Chunks(chunks) => chunks.rows(start, count).map_err(|why| self.fail(why)),
            Data::Flat(flat) => (flat.rows(start, count)).map_err(|e| self.fail(e.to_string())),
            Data::Library(set) => {
                let rows = SliceOrIndex::from(start..start + count);
                let others = self.shape.iter().skip(1).map(|n| SliceOrIndex::from(0..*n));
                let all: Vec<SliceOrIndex> = std::iter::once(rows).chain(others).collect();
                let block = set
                    .read_slice::<T, _, IxDyn>(Hyperslab::from(all))
                    .map_err(|e| self.fail(reason(&e)))?;
                Ok(block.into_raw_vec_and_offset().0)
            }
            Data::Parts(parts) => {
                let per_row = self.per_row();
                let mut out = Vec::with_capacity(count * per_row);
                let mut opened: Option<(&Part, Table)> = None;
                // They ascend and leave nothing out: checked when the data set was opened.
                for part in parts {
                    let first = start.max(part.to);
                    let last = (start + count).min(part.to + part.count);
                    if first < last {
                        let same =
                            |(p, _): &(&Part, Table)| p.path == part.path && p.name == part.name;
                        let (_, table) = match opened.take().filter(same) {
                            Some(opened) => opened,
                            None => (part, Source::open(&part.path)?.table(&part.name)?),
                        };
                        let from = part.from + (first - part.to) * part.per_row;
                        let count = (last - first) * part.per_row;
                        if from + count > table.shape.first().copied().unwrap_or(0) {
                            return Err(
                                self.fail("its sources changed while they were read".into())
                            );
                        }
                        out.extend(table.rows::<T>(from, count)?);
                        opened = Some((part, table));
                    }
                }
                match out.len() == count * per_row {
                    true => Ok(out),
                    false => Err(self.fail("its sources changed while they were read".into())),
                }
            }
        }
    }

    /// A failure on this data set's values.
    fn fail(&self, why: String) -> DataError {
        DataError::DataSet {
            path: self.path.clone(),
            name: self.name.clone(),
            why,
            suggestion: "check that the file is complete, with h5dump for example".into(),
        }
    }

    /// Whether it is what `name` of the file `path` means.
    pub fn is(&self, path: &Path, name: &str) -> bool {
        self.path == path && self.name.trim_matches('/') == name.trim_matches('/')
    }
}
