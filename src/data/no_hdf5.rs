//! A program without the feature `hdf5`: images come from memory, and files are refused.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use super::{
    Attribute, DataError, Dataset, FileOptions, FileSummary, Provenance, ReadOptions, SparseImages,
    WriteOptions,
};

fn refuse<T>(action: &'static str, path: &Path) -> Result<T, DataError> {
    Err(DataError::NotBuilt {
        action,
        path: path.into(),
    })
}

/// Refused.
///
/// # Errors
/// [`DataError::NotBuilt`].
pub fn read(path: &Path, _: &ReadOptions) -> Result<Dataset, DataError> {
    refuse("read", path)
}

/// Refused.
///
/// # Errors
/// [`DataError::NotBuilt`].
pub fn describe(path: &Path) -> Result<FileSummary, DataError> {
    refuse("read", path)
}

/// Refused.
///
/// # Errors
/// [`DataError::NotBuilt`].
pub fn describe_with(path: &Path, _: &FileOptions) -> Result<FileSummary, DataError> {
    refuse("read", path)
}

/// Refused.
///
/// # Errors
/// [`DataError::NotBuilt`].
pub fn read_attributes(path: &Path) -> Result<BTreeMap<String, Attribute>, DataError> {
    refuse("read", path)
}

/// Refused.
///
/// # Errors
/// [`DataError::NotBuilt`].
pub fn read_column(path: &Path, _: &str) -> Result<Vec<f32>, DataError> {
    refuse("read", path)
}

/// Refused.
///
/// # Errors
/// [`DataError::NotBuilt`].
pub fn read_column_with(path: &Path, _: &str, _: &FileOptions) -> Result<Vec<f32>, DataError> {
    refuse("read", path)
}

/// Refused.
///
/// # Errors
/// [`DataError::NotBuilt`].
pub fn read_columns(path: &Path, _: &[String]) -> Result<Vec<Vec<f32>>, DataError> {
    refuse("read", path)
}

/// Refused.
///
/// # Errors
/// [`DataError::NotBuilt`].
pub fn write(
    path: &Path,
    _: &SparseImages,
    _: &BTreeMap<String, Vec<f32>>,
    _: &WriteOptions,
) -> Result<(), DataError> {
    refuse("write", path)
}

/// Refused.
///
/// # Errors
/// [`DataError::NotBuilt`].
pub fn write_columns(
    path: &Path,
    _: &BTreeMap<String, Vec<f64>>,
    _: &Provenance,
    _: bool,
) -> Result<(), DataError> {
    refuse("write", path)
}

/// Refused.
///
/// # Errors
/// [`DataError::NotBuilt`].
pub fn packed_bytes(_: &SparseImages) -> Result<u64, DataError> {
    refuse("write", Path::new("memory"))
}

/// A file of images that grows block by block: there is none.
pub struct ImageWriter(Infallible);

impl ImageWriter {
    /// Refused.
    ///
    /// # Errors
    /// [`DataError::NotBuilt`].
    pub fn create(path: &Path, _: &WriteOptions) -> Result<Self, DataError> {
        refuse("write", path)
    }

    /// Images written.
    pub fn count(&self) -> u64 {
        match self.0 {}
    }

    /// Append images.
    ///
    /// # Errors
    /// None: there is no file to append to.
    pub fn append(
        &mut self,
        _: &SparseImages,
        _: &BTreeMap<String, Vec<f32>>,
    ) -> Result<(), DataError> {
        match self.0 {}
    }

    /// Complete the file.
    ///
    /// # Errors
    /// None: there is no file to complete.
    pub fn finish(self) -> Result<(), DataError> {
        match self.0 {}
    }
}
