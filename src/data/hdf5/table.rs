//! One data set that passed the checks, wherever its values are.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::chunks::Chunks;
use super::filters::Filter;
use super::heap::Heaps;
use crate::data::element::{Element, Kind};
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
    /// The heaps of the file that holds it.
    pub heaps: Rc<Heaps>,
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
    /// How they are stored, where they are texts.
    pub text: Option<Text>,
}

/// How texts are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text {
    /// In a heap, each as long as it is; else in the elements, all of one length.
    pub variable: bool,
    /// As UTF-8, else as ASCII: libhdf5 converts none to the other.
    pub unicode: bool,
    /// Filled up with spaces and not with zeros.
    pub spaces: bool,
}

/// Where the values are, and how they are read.
pub(super) enum Data {
    /// libhdf5 reads them.
    Library(hdf5::Dataset),
    /// Of texts the bytes, with an axis more.
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
            text: None,
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
        let others = self.shape.iter().skip(1);
        others.fold(1, |a, n| a.saturating_mul(*n))
    }

    /// Rows to read at once: whole chunks, and about `target` elements of `per_row` each.
    pub fn block_rows(&self, per_row: usize, target: usize) -> usize {
        let wanted = (target / per_row.max(1)).max(1);
        match self.chunk.as_ref().and_then(|c| c.first()) {
            Some(&rows) => wanted.div_ceil(rows).max(1).saturating_mul(rows),
            None => wanted,
        }
    }

    /// Whether it is what `name` of the file `path` means.
    pub fn is(&self, path: &Path, name: &str) -> bool {
        self.path == path && self.name.trim_matches('/') == name.trim_matches('/')
    }
}
