//! Errors of reading and writing data files.
//!
//! Every message reads `problem (why); suggestion` and names the file, the data set, the row
//! and the value where there is one, because it is all that a user of a batch job gets to see.

use std::borrow::Cow;
use std::path::PathBuf;

/// Why a data file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot {action} '{path}' ({source}); {suggestion}", path = path.display())]
    Io {
        /// What was tried: `open`, `write` ..
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
        /// What to do about it.
        suggestion: &'static str,
    },
    /// A program that was built without HDF5.
    #[error("cannot {action} '{path}' (this program was built without HDF5); build it with the feature 'hdf5'", path = path.display())]
    NotBuilt {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Not an HDF5 file, or one that is truncated or damaged.
    #[error("cannot read '{path}' ({why}); check that the file is complete and is HDF5", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What HDF5 says.
        why: String,
    },
    /// A file that is being written, or that a writer left behind.
    #[error("cannot read '{path}' ({why}); {suggestion}", path = path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// How that is known.
        why: &'static str,
        /// What to do about it.
        suggestion: &'static str,
    },
    /// A pattern that no file matches.
    #[error("no file is named like '{pattern}' ({why}); check the path")]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// What was looked at.
        why: String,
    },
    /// A file whose images cannot be told.
    #[error("cannot find the images of '{path}' ({why}); {suggestion}", path = path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        why: String,
        /// What to do about it.
        suggestion: String,
    },
    /// A data set that cannot be read though the file opened.
    #[error("cannot read data set '{name}' of '{path}' ({why}); {suggestion}", path = path.display())]
    DataSet {
        /// The file.
        path: PathBuf,
        /// The data set.
        name: String,
        /// What does not hold.
        why: String,
        /// What to do about it.
        suggestion: Cow<'static, str>,
    },
    /// A data set that the file does not have.
    #[error("'{path}' has no data set '{name}' (it holds {present}); {suggestion}", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The data set asked for.
        name: String,
        /// Names that the file has.
        present: String,
        /// What to do about it: names that are near.
        suggestion: String,
    },
    /// A pixel that no detector image has.
    #[error(
        "'{path}': data set '{name}', image {image}, row {row}, column {column}: {value} (pixels are zero or positive \
         and finite); cut such values to zero or leave the image out; images, rows and columns count from 0",
        path = path.display()
    )]
    Pixel {
        /// The file.
        path: PathBuf,
        /// The data set.
        name: String,
        /// Image, counted from 0 in file order.
        image: u64,
        /// Row of pixels.
        row: usize,
        /// Column of pixels.
        column: usize,
        /// What the file holds there; above the range of float32 it reads as infinity.
        value: f32,
    },
    /// A per-row quantity that is needed and is not a finite number.
    #[error(
        "'{path}': data set '{name}', row {row}: {value} (the quantity must be a finite number); leave the row out, \
         with a selection for example; rows count from 0",
        path = path.display()
    )]
    Value {
        /// The file.
        path: PathBuf,
        /// The data set.
        name: String,
        /// Row, counted from 0.
        row: u64,
        /// What it holds.
        value: f32,
    },
    /// Images of another size than wanted.
    #[error(
        "'{path}' holds images of {found_height} x {found_width} pixels ({height} x {width} are needed); use a file or a \
         model of the other size",
        path = path.display()
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Rows of pixels in the file.
        found_height: usize,
        /// Columns of pixels in the file.
        found_width: usize,
        /// Rows of pixels needed.
        height: usize,
        /// Columns of pixels needed.
        width: usize,
    },
    /// A binning file.
    #[error(transparent)]
    Binning(#[from] super::BinningError),
    /// A selection that leaves no image.
    #[error("no image of '{path}' is selected by {selection} ({why}); choose another range", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The selections, as given.
        selection: String,
        /// The ranges that the quantities have.
        why: String,
    },
    /// Files of different units.
    #[error("'{path}' has pixels in {unit} (those of the files before it are in {others}); give --scale to make all of them GeV", path = path.display())]
    Units {
        /// The file.
        path: PathBuf,
        /// Its unit.
        unit: String,
        /// That of the files before it.
        others: String,
    },
    /// Weights that no average can be taken with.
    #[error(
        "the weights '{name}' of {files} sum to {sum} (the sum must be positive); choose other rows or another data set"
    )]
    Weights {
        /// The files, quoted.
        files: String,
        /// The data set.
        name: String,
        /// Sum over the rows that were read.
        sum: f64,
    },
    /// A name that stands for no class.
    #[error(
        "'{found}' is no name of '{column}' here (known are {known}); leave these rows out with a selection"
    )]
    Name {
        /// The column.
        column: String,
        /// The name found.
        found: String,
        /// The names known.
        known: String,
    },
    /// A column of names beside one of numbers.
    #[error(
        "'{column}' holds names in one file ({names}) and numbers in another; store it alike in both, or name another data set with --class"
    )]
    NamesAndNumbers {
        /// The column.
        column: String,
        /// The names.
        names: String,
    },
    /// A number that means other names in other files.
    #[error("'{path}' numbers other names than the files before it ({found}; {others}), so that {selection} means another class there; select by name, as NAME=TEXT", path = path.display())]
    SelectedNumber {
        /// The file.
        path: PathBuf,
        /// The selection, as given.
        selection: String,
        /// Names of this file.
        found: String,
        /// Names of the others.
        others: String,
    },
    /// The output is there already.
    #[error("'{path}' exists (nothing is overwritten unasked); choose another name or pass --force", path = path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// Writing HDF5 failed.
    #[error(
        "cannot write '{path}' ({why}); free some space or choose another place; no file was left under that name",
        path = path.display()
    )]
    Write {
        /// The output.
        path: PathBuf,
        /// What HDF5 or the operating system says.
        why: String,
    },
    /// What was handed over to be written does not fit together.
    #[error("cannot write '{path}' ({why}); this is a mistake of the calling program", path = path.display())]
    Append {
        /// The output.
        path: PathBuf,
        /// What does not hold.
        why: String,
    },
}

impl DataError {
    /// An operating system's error in doing `action` to `path`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> Self {
        use std::io::ErrorKind as Kind;
        let suggestion = match source.kind() {
            Kind::NotFound => "check the path",
            Kind::PermissionDenied => "check its permissions",
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
                "free some space or choose another place"
            }
            _ => "check the path and the disk",
        };
        DataError::Io {
            action,
            path: path.into(),
            source,
            suggestion,
        }
    }
}
