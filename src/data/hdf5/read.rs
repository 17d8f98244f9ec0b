//! Reading data files of either layout, in bounded blocks of rows, into sparse images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ndarray::{Array3, s};

use super::attributes;
use super::columns::{CLASS, class_of, is_row_number, open, select, stored};
use super::showers;
use super::source::{BLOCK, Source, Table};
use super::values;
use crate::data::calochallenge::{CaloBinning, INCIDENT, SHOWERS};
use crate::data::{
    About, DataError, Dataset, Layout, MAX_PIXELS, Origin, ReadOptions, SparseImages,
};

/// Most bytes of one block of pixels: larger chunks are refused rather than held in memory.
const MOST_BLOCK_BYTES: usize = 1 << 29;
/// Most nonzero pixels for one byte of file: an eighth of a bit each, far below what real images take.
const MOST_NONZEROS_PER_BYTE: u64 = 64;

/// Read images and per-row quantities of a data file in either layout.
///
/// [`Dataset::columns`] holds the columns asked for, the total if one is, those selected by, and `signal` where the file
/// has it, as float32. Memory beyond the result is a few MiB (more when the file's chunks are larger).
///
/// Pixels are checked in the rows that are read: zero or positive and finite. Values below the
/// smallest float32 become zero.
///
/// # Errors
///
/// Whatever does not hold is named with file, data set, row and value: see [`DataError`].
pub fn read(path: &Path, options: &ReadOptions) -> Result<Dataset, DataError> {
    let source = Source::open(path)?;
    let mut images = ImageTables::open(&source)?;
    let binning = images.shape_showers(&source, options)?;
    if let Some((height, width)) = options.size
        && (images.height, images.width) != (height, width)
    {
        return Err(DataError::Size {
            path: path.to_path_buf(),
            found_height: images.height,
            found_width: images.width,
            height,
            width,
        });
    }
    let rows = select(&source, images.count, options)?;

    let mut wanted: BTreeSet<&str> = options.columns.iter().map(String::as_str).collect();
    wanted.extend(
        (options.selections.iter().map(|s| s.name.as_str()))
            .filter(|name| !is_row_number(&source, name)),
    );
    let mut about = About::default();
    if class_of(&source, options).is_some() {
        wanted.insert(CLASS);
    } else if !wanted.contains(CLASS) && source.has(CLASS) {
        // Not asked for, so a strange one is no reason to stop.
        match open(&source, CLASS, images.count, options) {
            Ok(_) => {
                wanted.insert(CLASS);
            }
            Err(error) => about
                .warnings
                .push(format!("classes are left out: {error}")),
        }
    }
    if binning.is_some() && source.has(INCIDENT) {
        wanted.insert(INCIDENT);
    }
    let mut columns = BTreeMap::new();
    for name in wanted {
        let asked = options.columns.iter().any(|c| c == name);
        let given = format!("given_{name}");
        let (name, stored) = if asked && options.prefer_given && source.has(&given) {
            (name, given.as_str())
        } else {
            (name, stored(&source, name, options))
        };
        let column = match stored == given {
            true => open(&source, &given, images.count, options)?,
            false => open(&source, name, images.count, options)?,
        };
        values::describe(&source, name, &column, &mut about);
        let values = column.gather(&source, &rows)?;
        let bad = values.iter().position(|v| !v.is_finite());
        if let Some(at) = bad.filter(|_| asked) {
            return Err(DataError::Value {
                path: path.to_path_buf(),
                name: stored.to_string(),
                row: rows[at],
                value: values[at],
            });
        }
        columns.insert(name.to_string(), values);
    }
    let weights = values::weights(&source, images.count, options, &rows, &mut about)?;
    let run = values::run(&source, images.count);
    let unwritten = values::unwritten(images.set(), images.count);
    let pixels = values::pixels(&source, images.set(), options, &mut about);
    let images = pixels.of(&source, images.read(&source, &rows)?, &mut about)?;
    if let Some(name) = &options.total {
        if source.has(name) {
            log::warn!(
                "data set '{name}' of '{}' is not read (it is the model's total, the sum of each image's pixels)",
                path.display()
            );
        }
        columns.insert(name.clone(), images.totals());
    }
    Ok(Dataset {
        binning,
        origins: vec![Origin {
            path: path.to_path_buf(),
            images: images.len(),
            run,
            unwritten,
        }],
        images,
        columns,
        rows,
        weights,
        about,
    })
}

/// The data sets that hold the images, and what they declare.
pub(super) struct ImageTables {
    pub layout: Layout,
    pub count: usize,
    pub height: usize,
    pub width: usize,
    kind: Kind,
}

enum Kind {
    Dense(Table),
    Sparse {
        indptr: Table,
        index: Table,
        value: Table,
    },
}

impl ImageTables {
    /// Find the layout and check that its data sets fit together.
    pub fn open(source: &Source) -> Result<Self, DataError> {
        // By its data sets alone: an attribute may say something else and be wrong.
        if showers::recognised(source) {
            return Self::open_showers(source);
        }
        let csr = ["indptr", "index", "value"].iter().all(|n| source.has(n));
        if csr && !source.has("image") {
            Self::open_sparse(source)
        } else {
            Self::open_dense(source)
        }
    }

    fn open_dense(source: &Source) -> Result<Self, DataError> {
        let table = source.table("image")?;
        let &[count, height, width] = table.shape.as_slice() else {
            return Err(source.fail(
                "image",
                format!(
                    "its shape {:?} has {} dimensions",
                    table.shape,
                    table.shape.len()
                ),
                "store images as (images, rows, columns)",
            ));
        };
        check_size(source, "image", height, width)?;
        if !table.is_numeric() {
            return Err(source.fail(
                "image",
                format!("it holds {}", table.type_name()),
                "store pixels as floats of up to 64 bits",
            ));
        }
        Ok(Self {
            layout: Layout::Dense,
            count,
            height,
            width,
            kind: Kind::Dense(table),
        })
    }

    /// Showers are one row of pixels until it is known how they are cut.
    fn open_showers(source: &Source) -> Result<Self, DataError> {
        let (table, count, voxels) = showers::open(source)?;
        check_size(source, SHOWERS, 1, voxels)?;
        Ok(Self {
            layout: Layout::CaloChallenge,
            count,
            height: 1,
            width: voxels,
            kind: Kind::Dense(table),
        })
    }

    /// Give showers the shape that a binning file or `options` say; the binning, where there is one.
    fn shape_showers(
        &mut self,
        source: &Source,
        options: &ReadOptions,
    ) -> Result<Option<CaloBinning>, DataError> {
        let binning = options.file.read_binning()?;
        if self.layout == Layout::CaloChallenge {
            let size = showers::size(source, self.width, binning.as_ref(), options)?;
            (self.height, self.width) = (size.height, size.width);
        }
        Ok(binning)
    }

    fn open_sparse(source: &Source) -> Result<Self, DataError> {
        let side = |name| attributes::read_size(source, name);
        let (Some(height), Some(width)) = (side("height"), side("width")) else {
            return Err(source.fail(
                "indptr",
                "the file has no integer root attributes 'height' and 'width'",
                "write them, since the data sets do not hold the size of the images",
            ));
        };
        check_size(source, "indptr", height, width)?;
        let vector = |name: &str| {
            let table = source.table(name)?;
            if table.shape.len() != 1 || !table.is_numeric() {
                let why = format!("it holds {} of shape {:?}", table.type_name(), table.shape);
                return Err(source.fail(name, why, "it must be one-dimensional and numeric"));
            }
            Ok(table)
        };
        let (indptr, index, value) = (vector("indptr")?, vector("index")?, vector("value")?);
        if index.shape != value.shape {
            return Err(source.fail(
                "index",
                format!(
                    "it has {} entries, 'value' {}",
                    index.shape[0], value.shape[0]
                ),
                "each nonzero pixel has one of both",
            ));
        }
        let Some(count) = indptr.shape[0].checked_sub(1) else {
            return Err(source.fail(
                "indptr",
                "it is empty",
                "it has one more entry than there are images",
            ));
        };
        Ok(Self {
            layout: Layout::Sparse,
            count,
            height,
            width,
            kind: Kind::Sparse {
                indptr,
                index,
                value,
            },
        })
    }

    /// The data set that holds the pixels.
    pub fn set(&self) -> &hdf5::Dataset {
        match &self.kind {
            Kind::Dense(table) => &table.set,
            Kind::Sparse { value, .. } => &value.set,
        }
    }

    /// Images in `rows`, which ascend and lie below `count`.
    pub fn read(&self, source: &Source, rows: &[u64]) -> Result<SparseImages, DataError> {
        let mut images = SparseImages::new(self.height, self.width)
            .ok_or_else(|| bad_size(source, "image", self.height, self.width))?;
        let pixels = images.pixels();
        let step = match &self.kind {
            Kind::Dense(table) => table.block_rows(pixels, BLOCK),
            Kind::Sparse { .. } => (4 * BLOCK / pixels).max(1),
        };
        if step.min(self.count).saturating_mul(pixels * 4) > MOST_BLOCK_BYTES {
            return Err(source.fail(
                "image",
                format!("its chunks hold {step} images each"),
                "rewrite it with chunks of 1024 images, with h5repack for example",
            ));
        }
        let most = source.bytes.saturating_mul(MOST_NONZEROS_PER_BYTE) + (1 << 20);
        let mut rest = rows;
        while let Some(&first) = rest.first() {
            // Blocks start on multiples of the step, so that no chunk is unpacked twice.
            let end = (first as usize / step + 1).saturating_mul(step) as u64;
            let (block, later) = rest.split_at(rest.partition_point(|r| *r < end));
            rest = later;
            match &self.kind {
                Kind::Dense(table) => {
                    self.read_dense(source, table, block, &mut images)?;
                }
                Kind::Sparse {
                    indptr,
                    index,
                    value,
                } => self.read_sparse(source, [indptr, index, value], block, &mut images)?,
            }
            if images.nonzeros() as u64 > most {
                return Err(source.fail(
                    "image",
                    format!(
                        "it unpacks to over {most} nonzero pixels from a file of {} bytes",
                        source.bytes
                    ),
                    "check where the file comes from",
                ));
            }
        }
        images.shrink_to_fit();
        Ok(images)
    }

    fn read_dense(
        &self,
        source: &Source,
        table: &Table,
        rows: &[u64],
        images: &mut SparseImages,
    ) -> Result<(), DataError> {
        let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let rows_of = first as usize..last as usize + 1;
        let all = match self.layout {
            Layout::CaloChallenge => showers::block(source, table, rows_of)?,
            _ => {
                let block: Array3<f32> = table
                    .set
                    .read_slice(s![rows_of, .., ..])
                    .map_err(|e| source.broken(&table.name, &e))?;
                block.into_raw_vec_and_offset().0
            }
        };
        let pixels = self.height * self.width;
        let mut nonzero = Vec::with_capacity(pixels);
        for &row in rows {
            let start = (row - first) as usize * pixels;
            nonzero.clear();
            for (p, v) in all[start..start + pixels].iter().enumerate() {
                // One comparison of bits: positive finite numbers are those between +0 and +infinity.
                let bits = v.to_bits();
                if bits.wrapping_sub(1) < f32::INFINITY.to_bits() - 1 {
                    nonzero.push((p as u16, *v));
                } else if *v != 0.0 {
                    return Err(self.bad_pixel(source, &table.name, row, p, *v));
                }
            }
            images.push(nonzero.iter().copied());
        }
        Ok(())
    }

    fn read_sparse(
        &self,
        source: &Source,
        [indptr, index, value]: [&Table; 3],
        rows: &[u64],
        images: &mut SparseImages,
    ) -> Result<(), DataError> {
        let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let (pixels, stored) = ((self.height * self.width) as u64, index.shape[0] as u64);
        let ends = indptr
            .set
            .read_slice_1d::<u64, _>(first as usize..last as usize + 2)
            .map_err(|e| source.broken("indptr", &e))?;
        let ends = ends.as_slice().unwrap_or_default();
        for (at, pair) in ends.windows(2).enumerate() {
            if pair[0] > pair[1] || pair[1] > stored || pair[1] - pair[0] > pixels {
                return Err(source.fail(
                    "indptr",
                    format!(
                        "row {} runs from {} to {} of {stored} stored pixels, {pixels} pixels an image",
                        first + at as u64,
                        pair[0],
                        pair[1]
                    ),
                    "it must ascend from 0 to the number of stored pixels",
                ));
            }
        }
        let (Some(&from), Some(&to)) = (ends.first(), ends.last()) else {
            return Ok(());
        };
        let wrong_end =
            (first == 0 && from != 0) || (last + 1 == self.count as u64 && to != stored);
        if wrong_end {
            return Err(source.fail(
                "indptr",
                format!("rows {first} to {last} run from {from} to {to} of {stored} stored pixels"),
                "it must ascend from 0 to the number of stored pixels",
            ));
        }
        let span = from as usize..to as usize;
        let indices = index
            .set
            .read_slice_1d::<u32, _>(span.clone())
            .map_err(|e| source.broken("index", &e))?;
        let values = value
            .set
            .read_slice_1d::<f32, _>(span)
            .map_err(|e| source.broken("value", &e))?;
        let indices = indices.as_slice().unwrap_or_default();
        let values = values.as_slice().unwrap_or_default();
        let mut nonzero = Vec::new();
        for &row in rows {
            let at = (row - first) as usize;
            let range = (ends[at] - from) as usize..(ends[at + 1] - from) as usize;
            nonzero.clear();
            let mut next = 0;
            for (p, v) in indices[range.clone()].iter().zip(&values[range]) {
                if (*p as u64) < next || *p as u64 >= pixels {
                    return Err(source.fail(
                        "index",
                        format!("image {row}: pixel {p} is out of order or not below {pixels}"),
                        "indices must ascend within an image",
                    ));
                }
                next = *p as u64 + 1;
                if *v > 0.0 && v.is_finite() {
                    nonzero.push((*p as u16, *v));
                } else if *v != 0.0 {
                    return Err(self.bad_pixel(source, "value", row, *p as usize, *v));
                }
            }
            images.push(nonzero.iter().copied());
        }
        Ok(())
    }

    fn bad_pixel(
        &self,
        source: &Source,
        name: &str,
        image: u64,
        at: usize,
        value: f32,
    ) -> DataError {
        DataError::Pixel {
            path: source.path.clone(),
            name: name.to_string(),
            image,
            row: at / self.width,
            column: at % self.width,
            value,
        }
    }
}

fn bad_size(source: &Source, name: &str, height: usize, width: usize) -> DataError {
    source.fail(
        name,
        format!("images of {height} x {width} pixels"),
        "an image has between 1 and 65536 pixels",
    )
}

fn check_size(source: &Source, name: &str, height: usize, width: usize) -> Result<(), DataError> {
    match height.checked_mul(width) {
        Some(1..=MAX_PIXELS) => Ok(()),
        _ => Err(bad_size(source, name, height, width)),
    }
}
