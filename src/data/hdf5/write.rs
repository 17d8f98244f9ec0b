//! Writing data files: under a temporary name first, under their own only when complete.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::growing::Growing;
use super::showers;
use super::source::unlocked;
use super::{attributes, reason};
use crate::data::calochallenge::{INCIDENT, SHOWERS};
use crate::data::{DataError, Layout, Provenance, SparseImages, Unit, WriteOptions};

/// Version of both layouts, the root attribute `format_version`.
pub const FORMAT_VERSION: u64 = 1;
/// The root attribute `axes`.
fn axes(unit: &Unit) -> String {
    format!(
        "image[n, row, column]; eta grows with the column, phi falls with the row; a pixel is \
         the transverse momentum of its cell in {unit}; sparse: pixel index = row * width + column"
    )
}

/// A file of images that grows block by block.
///
/// Nothing appears under its name before [`finish`](Self::finish); dropped earlier it leaves nothing.
/// What is written does not depend on how the images were cut into blocks.
pub struct ImageWriter {
    output: Output,
    height: usize,
    width: usize,
    count: u64,
    pixels: Pixels,
    columns: Option<BTreeMap<String, Growing<f32>>>,
}

enum Pixels {
    Dense(Growing<f32>),
    /// In MeV.
    Showers(Growing<f32>),
    Sparse {
        indptr: Growing<u64>,
        index: Growing<u16>,
        value: Growing<f32>,
        nonzeros: u64,
    },
}

impl ImageWriter {
    /// Start a file that will be called `path`.
    ///
    /// # Errors
    ///
    /// [`DataError::Exists`] without `force`; anything that stops the temporary file from being written.
    pub fn create(path: &Path, options: &WriteOptions) -> Result<Self, DataError> {
        let (height, width) = (options.height, options.width);
        let size = SparseImages::new(height, width).ok_or_else(|| DataError::Append {
            path: path.to_path_buf(),
            why: format!("images of {height} x {width} pixels, between 1 and 65536 are allowed"),
        })?;
        let output = Output::create(path, options.force, options.temporary.clone())?;
        let wrap = |e: hdf5::Error| output.fail(&e);
        let pixels = match options.layout {
            Layout::Dense => Pixels::Dense(
                Growing::images(&output.file, height, width, size.pixels()).map_err(wrap)?,
            ),
            Layout::CaloChallenge => {
                Pixels::Showers(showers::table(&output.file, SHOWERS, size.pixels()).map_err(wrap)?)
            }
            Layout::Sparse => {
                let mut indptr = Growing::vector(&output.file, "indptr", false).map_err(wrap)?;
                indptr.append(&[0]).map_err(wrap)?;
                Pixels::Sparse {
                    indptr,
                    index: Growing::vector(&output.file, "index", false).map_err(wrap)?,
                    value: Growing::vector(&output.file, "value", false).map_err(wrap)?,
                    nonzeros: 0,
                }
            }
        };
        let provenance = options
            .provenance
            .clone()
            .with("layout", options.layout.to_string())
            .with("height", height as u64)
            .with("width", width as u64)
            .with("units", showers::units(options.layout, &options.unit))
            .with(
                "axes",
                showers::axes(options.layout).map_or_else(|| axes(&options.unit), String::from),
            );
        let provenance = options.names.iter().fold(provenance, |all, (name, names)| {
            let names = serde_json::to_string(names).unwrap_or_default();
            all.with(attributes::names_attribute(name), names)
        });
        output.describe(provenance)?;
        Ok(Self {
            output,
            height,
            width,
            count: 0,
            pixels,
            columns: None,
        })
    }

    /// Images appended so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Append images and their per-row quantities, each as long as `images`.
    ///
    /// Every block must bring the same quantities.
    ///
    /// # Errors
    ///
    /// [`DataError::Append`] for sizes, lengths or names that do not fit and for quantities that are
    /// not finite; [`DataError::Write`] for a full disk.
    pub fn append(
        &mut self,
        images: &SparseImages,
        columns: &BTreeMap<String, Vec<f32>>,
    ) -> Result<(), DataError> {
        if images.is_empty() {
            return Ok(());
        }
        self.check(images, columns)?;
        let output = &self.output;
        let wrap = |e: hdf5::Error| output.fail(&e);
        if self.columns.is_none() {
            let mut created = BTreeMap::new();
            for name in columns.keys() {
                let column = match self.pixels {
                    Pixels::Showers(_) if name == INCIDENT => {
                        showers::table(&output.file, name, 1).map_err(wrap)?
                    }
                    _ => Growing::vector(&output.file, name, true).map_err(wrap)?,
                };
                created.insert(name.clone(), column);
            }
            self.columns = Some(created);
        }
        match &mut self.pixels {
            Pixels::Dense(dense) => {
                for i in 0..images.len() {
                    dense
                        .append_with(|row| images.dense_into(i, row))
                        .map_err(wrap)?;
                }
            }
            Pixels::Showers(table) => {
                for i in 0..images.len() {
                    table
                        .append_with(|row| {
                            images.dense_into(i, row);
                            showers::to_mev(row);
                        })
                        .map_err(wrap)?;
                }
            }
            Pixels::Sparse {
                indptr,
                index,
                value,
                nonzeros,
            } => {
                let (ends, indices, values) = images.csr();
                let ends: Vec<u64> = ends.iter().skip(1).map(|e| *nonzeros + e).collect();
                *nonzeros += indices.len() as u64;
                indptr.append(&ends).map_err(wrap)?;
                index.append(indices).map_err(wrap)?;
                value.append(values).map_err(wrap)?;
            }
        }
        for (name, column) in self.columns.iter_mut().flatten() {
            let values = columns.get(name).map(Vec::as_slice).unwrap_or_default();
            match self.pixels {
                Pixels::Showers(_) if name == INCIDENT => {
                    let mut values = values.to_vec();
                    showers::to_mev(&mut values);
                    column.append(&values).map_err(wrap)?;
                }
                _ => column.append(values).map_err(wrap)?,
            }
        }
        self.count += images.len() as u64;
        Ok(())
    }

    fn check(
        &self,
        images: &SparseImages,
        columns: &BTreeMap<String, Vec<f32>>,
    ) -> Result<(), DataError> {
        let fail = |why: String| {
            Err(DataError::Append {
                path: self.output.path.clone(),
                why,
            })
        };
        let (height, width) = (images.height(), images.width());
        if (height, width) != (self.height, self.width) {
            return fail(format!(
                "a block of {height} x {width} pixels in a file of {} x {}",
                self.height, self.width
            ));
        }
        if let Some(before) = &self.columns
            && !before.keys().eq(columns.keys())
        {
            return fail("a block brings other quantities than the first one".into());
        }
        for (name, values) in columns {
            let reserved = ["image", "indptr", "index", "value", SHOWERS];
            if reserved.contains(&name.as_str()) || name.is_empty() || name.contains(['/', '\0']) {
                return fail(format!("'{name}' cannot name a quantity"));
            }
            if values.len() != images.len() {
                return fail(format!(
                    "{} values of '{name}' for {} images",
                    values.len(),
                    images.len()
                ));
            }
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                let row = self.count + at as u64;
                return fail(format!("'{name}' is {} in row {row}", values[at]));
            }
        }
        Ok(())
    }

    /// Complete the file and give it its name.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] when the rest does not fit on the disk, [`DataError::Exists`] when a file
    /// of that name appeared meanwhile; either way nothing is left behind.
    pub fn finish(mut self) -> Result<(), DataError> {
        let output = &self.output;
        let wrap = |e: hdf5::Error| output.fail(&e);
        match &mut self.pixels {
            Pixels::Dense(table) | Pixels::Showers(table) => table.flush().map_err(wrap)?,
            Pixels::Sparse {
                indptr,
                index,
                value,
                ..
            } => {
                indptr.flush().map_err(wrap)?;
                index.flush().map_err(wrap)?;
                value.flush().map_err(wrap)?;
            }
        }
        for column in self.columns.iter_mut().flatten() {
            column.1.flush().map_err(wrap)?;
        }
        output.flush()?;
        match self.pixels {
            Pixels::Dense(table) | Pixels::Showers(table) => table.close(),
            Pixels::Sparse {
                indptr,
                index,
                value,
                ..
            } => {
                indptr.close();
                index.close();
                value.close();
            }
        }
        for (_, column) in self.columns.into_iter().flatten() {
            column.close();
        }
        self.output.finish()
    }
}

/// Write `images` and their columns to `path` in one go.
///
/// # Errors
///
/// As [`ImageWriter`].
pub fn write(
    path: &Path,
    images: &SparseImages,
    columns: &BTreeMap<String, Vec<f32>>,
    options: &WriteOptions,
) -> Result<(), DataError> {
    let mut writer = ImageWriter::create(path, options)?;
    writer.append(images, columns)?;
    writer.finish()
}

/// Write a file of per-row quantities without images: one float64 data set each.
///
/// # Errors
///
/// As [`ImageWriter`]; values need not be finite.
pub fn write_columns(
    path: &Path,
    columns: &BTreeMap<String, Vec<f64>>,
    provenance: &Provenance,
    force: bool,
) -> Result<(), DataError> {
    let output = Output::create(path, force, None)?;
    let wrap = |e: hdf5::Error| output.fail(&e);
    let mut written = Vec::new();
    for (name, values) in columns {
        let mut column = Growing::vector(&output.file, name, true).map_err(wrap)?;
        column.append(values).map_err(wrap)?;
        column.flush().map_err(wrap)?;
        written.push(column);
    }
    output.describe(provenance.clone())?;
    output.flush()?;
    written.into_iter().for_each(Growing::close);
    output.finish()
}

/// Bytes that `images` take in the dense layout, by packing them in memory: the chunks alone, not what a file has besides.
///
/// # Errors
/// [`DataError::Write`] where HDF5 has too little memory.
pub fn packed_bytes(images: &SparseImages) -> Result<u64, DataError> {
    // Several may be measured at a time, and libhdf5 knows files in memory by their names.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("memory-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = Path::new(&name);
    let measure = || -> hdf5::Result<u64> {
        let mut options = hdf5::File::with_options();
        options.with_fapl(|access| access.file_locking(false).core_filebacked(false));
        let file = options.create(path)?;
        let (height, width) = (images.height(), images.width());
        let mut dense = Growing::<f32>::images(&file, height, width, height * width)?;
        for i in 0..images.len() {
            dense.append_with(|row| images.dense_into(i, row))?;
        }
        dense.flush()?;
        file.flush()?;
        let bytes = dense.bytes();
        dense.close();
        Ok(bytes)
    };
    measure().map_err(|e| DataError::Write {
        path: path.into(),
        why: reason(&e),
    })
}

/// An HDF5 file under a temporary name, removed unless finished.
///
/// Its handles, and those of its data sets, are closed only after a flush that succeeded. On a full
/// disk libhdf5 (2.2 and before) fails to close a data set that has something left to write, keeps
/// its identifier without an object, and crashes on it later: an unfinished file is therefore
/// abandoned with its handles open.
struct Output {
    path: PathBuf,
    temporary: Temporary,
    force: bool,
    file: ManuallyDrop<hdf5::File>,
}

impl Output {
    fn create(path: &Path, force: bool, temporary: Option<PathBuf>) -> Result<Self, DataError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        check_free(path, force)?;
        let temporary = temporary.unwrap_or_else(|| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            path.with_file_name(format!(".{name}.{}-{serial}.tmp", std::process::id()))
        });
        // The standard library explains what is wrong with a directory better than HDF5 does.
        std::fs::File::create(&temporary).map_err(|e| DataError::io("create", path, e))?;
        let temporary = Temporary(temporary);
        let file = unlocked()
            .create(&temporary.0)
            .map_err(|e| DataError::Write {
                path: path.to_path_buf(),
                why: reason(&e),
            })?;
        Ok(Self {
            path: path.to_path_buf(),
            temporary,
            force,
            file: ManuallyDrop::new(file),
        })
    }

    /// Write out all that HDF5 holds back, so that closing cannot fail.
    fn flush(&self) -> Result<(), DataError> {
        self.file.flush().map_err(|e| self.fail(&e))
    }

    fn fail(&self, error: &hdf5::Error) -> DataError {
        DataError::Write {
            path: self.path.clone(),
            why: reason(error),
        }
    }

    fn describe(&self, provenance: Provenance) -> Result<(), DataError> {
        let provenance = provenance
            .with("format_version", FORMAT_VERSION)
            .with("program", env!("CARGO_PKG_NAME"))
            .with("version", env!("CARGO_PKG_VERSION"));
        for (name, value) in &provenance.attributes {
            attributes::write(&self.file, name, value).map_err(|e| self.fail(&e))?;
        }
        Ok(())
    }

    /// Close the flushed file and give it its name.
    fn finish(self) -> Result<(), DataError> {
        let Self {
            path,
            temporary,
            force,
            file,
        } = self;
        let fail = |e: hdf5::Error| DataError::Write {
            path: path.clone(),
            why: reason(&e),
        };
        ManuallyDrop::into_inner(file).close().map_err(fail)?;
        let io = |e| DataError::io("write", &path, e);
        std::fs::File::open(&temporary.0)
            .and_then(|f| f.sync_all())
            .map_err(io)?;
        check_free(&path, force)?;
        std::fs::rename(&temporary.0, &path).map_err(io)?;
        std::mem::forget(temporary);
        // The new name survives a power cut only once the directory is on the disk too.
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Ok(directory) = std::fs::File::open(directory.unwrap_or(Path::new("."))) {
            directory.sync_all().ok();
        }
        Ok(())
    }
}

fn check_free(path: &Path, force: bool) -> Result<(), DataError> {
    match path.symlink_metadata() {
        // Only files are replaced: a rename would take the place of a device, too.
        Ok(meta) if !force || !(meta.is_file() || meta.is_symlink()) => Err(DataError::Exists {
            path: path.to_path_buf(),
        }),
        _ => Ok(()),
    }
}

/// A file that goes away with this value.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Abandoned handles would keep the space of a removed file.
        std::fs::File::create(&self.0).ok();
        std::fs::remove_file(&self.0).ok();
    }
}
