//! Reading data files of either layout, in bounded blocks of rows, into sparse images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::attributes;
use super::columns::{CLASS, class_of, is_row_number, open, select, stored};
use super::find::{self, Found};
use super::shape::{self, bad_size, check_size};
use super::showers;
use super::source::{BLOCK, Source};
use super::table::{Data, Table};
use super::values;
use crate::data::calochallenge::{CaloBinning, INCIDENT};
use crate::data::{
    About, DataError, Dataset, FileOptions, Layout, Origin, ReadOptions, SparseImages, once,
};

/// Most bytes of one block of pixels. Of larger chunks only the nonzero pixels are held in memory, chunk by chunk.
const MOST_BLOCK_BYTES: usize = 1 << 26;
/// Most nonzero pixels, and most images, for one byte of file: an eighth of a bit each, far below what real images take.
const MOST_PER_BYTE: u64 = 64;

/// Most nonzero pixels, or images, that are believed of a data set.
fn most(table: &Table) -> u64 {
    table
        .bytes
        .saturating_mul(MOST_PER_BYTE)
        .saturating_add(1 << 20)
}

/// Read images and per-row quantities of a data file in either layout.
///
/// [`Dataset::columns`] holds the columns asked for, the total if one is, those selected by, and `signal` where the file
/// has it, as float32. Memory beyond the result is a few MiB, more when the file's chunks are larger: one of them, up to 64 MiB
/// of pixels, and the nonzero pixels of all images that share chunks.
///
/// Pixels are checked in the rows that are read: zero or positive and finite. Values below the
/// smallest float32 become zero.
///
/// # Errors
///
/// Whatever does not hold is named with file, data set, row and value: see [`DataError`].
pub fn read(path: &Path, options: &ReadOptions) -> Result<Dataset, DataError> {
    let source = Source::open(path)?;
    let mut images = ImageTables::open(&source, &options.file)?;
    let binning = images.shape_showers(&source, options)?;
    if let Some((height, width)) = options.size
        && (images.height, images.width) != (height, width)
    {
        return Err(DataError::Size {
            path: source.path.clone(),
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
    let mut bare = Vec::new();
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
        if asked && name != CLASS && column.bare {
            bare.push(stored.to_string());
        }
        let values = column.gather(&source, &rows)?;
        let bad = values.iter().position(|v| !v.is_finite());
        if let Some(at) = bad.filter(|_| asked) {
            return Err(DataError::Value {
                path: source.path.clone(),
                name: stored.to_string(),
                row: rows[at],
                value: values[at],
            });
        }
        columns.insert(name.to_string(), values);
    }
    let weights = values::weights(&source, images.count, options, &rows, &mut about)?;
    let run = values::run(&source, images.count);
    let unwritten = images.unwritten()?;
    let pixels = values::pixels(&source, images.table(), options, &mut about)?;
    if pixels.factor != 1.0 {
        let path = source.path.display();
        (about.remarks).extend(bare.iter().map(|name| {
            format!("'{name}' of '{path}' names no unit: its values stay as they are, other than the pixels")
        }));
    }
    images.cut = pixels.threshold_as_stored();
    let images = pixels.of(&source, images.read(&source, &rows)?, &mut about)?;
    if let Some(name) = &options.total {
        if source.has(name) {
            once::warn(format!(
                "data set '{name}' of '{}' is not read (it is the model's total, the sum of each image's pixels)",
                source.path.display()
            ));
        }
        columns.insert(name.clone(), images.totals());
    }
    Ok(Dataset {
        binning,
        origins: vec![Origin {
            path: source.path.clone(),
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
    /// Negative pixels nearer to zero than this are zero, as stored: what rotating an image leaves behind has both signs.
    cut: f32,
    pub count: usize,
    pub height: usize,
    pub width: usize,
    kind: Kind,
}

enum Kind {
    Dense(Box<Table>),
    Sparse {
        indptr: Box<Table>,
        index: Box<Table>,
        value: Box<Table>,
    },
}

impl ImageTables {
    /// Find the images and check that their data sets fit together.
    pub fn open(source: &Source, options: &FileOptions) -> Result<Self, DataError> {
        let named = source.named.as_ref().or(options.images.as_ref());
        let images = match showers::find(source, named.map(String::as_str)) {
            Some(name) => Self::open_showers(source, &name)?,
            None => match find::images(source, options)? {
                Found::Sparse => Self::open_sparse(source)?,
                Found::Dense(table) => Self::open_dense(source, *table, options)?,
            },
        };
        // Lists of rows are made before the first pixel is read.
        let table = images.first();
        if images.count as u64 > most(table) {
            return Err(source.fail(
                &table.name,
                format!(
                    "it declares {} images in a file of {} bytes",
                    images.count, table.bytes
                ),
                "check where the file comes from",
            ));
        }
        Ok(images)
    }

    fn open_dense(source: &Source, table: Table, options: &FileOptions) -> Result<Self, DataError> {
        let shaped = shape::of(source, &table, options.shape)?;
        if !table.is_numeric() {
            return Err(source.fail(
                &table.name,
                format!("it holds {}", table.type_name()),
                "store pixels as floats of up to 64 bits",
            ));
        }
        Ok(Self {
            layout: Layout::Dense,
            cut: 0.0,
            count: shaped.count,
            height: shaped.size.height,
            width: shaped.size.width,
            kind: Kind::Dense(Box::new(table)),
        })
    }

    /// Showers are one row of pixels until it is known how they are cut.
    fn open_showers(source: &Source, name: &str) -> Result<Self, DataError> {
        let (table, count, voxels) = showers::open(source, name)?;
        check_size(source, name, 1, voxels)?;
        Ok(Self {
            layout: Layout::CaloChallenge,
            cut: 0.0,
            count,
            height: 1,
            width: voxels,
            kind: Kind::Dense(Box::new(table)),
        })
    }

    /// Give showers the shape that a binning file or `options` say; the binning, where there is one.
    pub fn shape_showers(
        &mut self,
        source: &Source,
        options: &ReadOptions,
    ) -> Result<Option<CaloBinning>, DataError> {
        let binning = options.file.read_binning()?;
        if self.layout == Layout::CaloChallenge {
            let name = &self.table().name;
            let size = showers::size(source, name, self.width, binning.as_ref(), options)?;
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
            cut: 0.0,
            count,
            height,
            width,
            kind: Kind::Sparse {
                indptr: Box::new(indptr),
                index: Box::new(index),
                value: Box::new(value),
            },
        })
    }

    /// The data set that says how many images there are.
    fn first(&self) -> &Table {
        match &self.kind {
            Kind::Dense(table) => table,
            Kind::Sparse { indptr, .. } => indptr,
        }
    }

    /// The data set of the pixels.
    pub fn table(&self) -> &Table {
        match &self.kind {
            Kind::Dense(table) => table,
            Kind::Sparse { value, .. } => value,
        }
    }

    /// Rows of images that were never written, first and last; none where rows of data sets are no images.
    fn unwritten(&self) -> Result<Vec<[u64; 2]>, DataError> {
        match &self.kind {
            Kind::Dense(table) => values::unwritten(table),
            Kind::Sparse { .. } => Ok(Vec::new()),
        }
    }

    /// Images in `rows`, which ascend and lie below `count`.
    pub fn read(&self, source: &Source, rows: &[u64]) -> Result<SparseImages, DataError> {
        let mut images = SparseImages::new(self.height, self.width)
            .ok_or_else(|| bad_size(source, "image", self.height, self.width))?;
        let pixels = images.pixels();
        let (table, step) = match &self.kind {
            Kind::Dense(table) => (table, table.block_rows(pixels, BLOCK)),
            Kind::Sparse { value, .. } => (value, (4 * BLOCK / pixels).max(1)),
        };
        let large = step.min(self.count).saturating_mul(pixels * 4) > MOST_BLOCK_BYTES;
        let step = match large {
            true => table.block_rows(pixels, 1),
            false => step,
        };
        if let (true, Data::Chunks(chunks)) = (large, &table.data)
            && chunks.chunk.get(1..) != table.shape.get(1..)
        {
            once::warn(format!(
                "data set '{}' of '{}' is read slowly (its chunks {:?} hold parts of {} images each); written again with chunks of 1024 whole images it is read faster",
                table.name,
                source.path.display(),
                chunks.chunk,
                chunks.rows_of_chunk()
            ));
        }
        let most = most(table);
        let mut rest = rows;
        while let Some(&first) = rest.first() {
            // Blocks start on multiples of the step, so that no chunk is unpacked twice.
            let end = (first as usize / step + 1).saturating_mul(step) as u64;
            let (block, later) = rest.split_at(rest.partition_point(|r| *r < end));
            rest = later;
            match &self.kind {
                Kind::Dense(table) if large => {
                    self.read_parts(source, table, block, &mut images, most)?
                }
                Kind::Dense(table) => self.read_dense(source, table, block, &mut images)?,
                Kind::Sparse {
                    indptr,
                    index,
                    value,
                } => self.read_sparse(source, [indptr, index, value], block, &mut images)?,
            }
            if images.nonzeros() as u64 > most {
                return Err(source.fail(
                    &table.name,
                    format!(
                        "it unpacks to over {most} nonzero pixels from a file of {} bytes",
                        table.bytes
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
        let all = table.rows::<f32>(first as usize, (last - first + 1) as usize)?;
        let pixels = self.height * self.width;
        for &row in rows {
            let start = (row - first) as usize * pixels;
            let image = all[start..start + pixels].iter().copied().enumerate();
            self.push(source, table, row, image, images)?;
        }
        Ok(())
    }

    /// Images whose chunks are too large to be held as pixels: chunks of parts of many images, as h5py makes them where it is
    /// not told how. Each is unpacked once, and its nonzero pixels are sorted into images afterwards.
    fn read_parts(
        &self,
        source: &Source,
        table: &Table,
        rows: &[u64],
        images: &mut SparseImages,
        most: u64,
    ) -> Result<(), DataError> {
        let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let suggestion = "write it again with chunks of 1024 images: in h5py create_dataset(.., chunks=(1024, ..))";
        let Data::Chunks(chunks) = &table.data else {
            let why = format!("its chunks hold {} images each", table.block_rows(1, 1));
            return Err(source.fail(&table.name, why, suggestion));
        };
        let mut taken = vec![false; (last - first + 1) as usize];
        for row in rows {
            taken[(row - first) as usize] = true;
        }
        let mut found = chunks
            .nonzeros(
                first as usize..last as usize + 1,
                |row| taken[row - first as usize],
                usize::try_from(most).unwrap_or(usize::MAX),
            )
            .map_err(|why| source.fail(&table.name, why, suggestion))?;
        found.sort_unstable_by_key(|(row, pixel, _)| (*row, *pixel));
        let mut rest = found.as_slice();
        for &row in rows {
            let (image, later) =
                rest.split_at(rest.partition_point(|(r, ..)| u64::from(*r) <= row - first));
            rest = later;
            let image = image.iter().map(|(_, pixel, v)| (usize::from(*pixel), *v));
            self.push(source, table, row, image, images)?;
        }
        Ok(())
    }

    /// Append an image of these pixels, which ascend; those that are left out are zero.
    fn push(
        &self,
        source: &Source,
        table: &Table,
        row: u64,
        image: impl Iterator<Item = (usize, f32)>,
        images: &mut SparseImages,
    ) -> Result<(), DataError> {
        let mut nonzero = Vec::with_capacity(64);
        for (p, v) in image {
            // One comparison of bits: positive finite numbers are those between +0 and +infinity.
            let bits = v.to_bits();
            if bits.wrapping_sub(1) < f32::INFINITY.to_bits() - 1 {
                nonzero.push((p as u16, v));
            } else if v != 0.0 && !self.is_residue(v) {
                return Err(self.bad_pixel(source, &table.name, row, p, v));
            }
        }
        images.push(nonzero.iter().copied());
        Ok(())
    }

    /// Whether a pixel that is not positive and finite is below the threshold that was asked for.
    fn is_residue(&self, value: f32) -> bool {
        -self.cut < value && value < 0.0
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
        let ends = indptr.rows::<u64>(first as usize, (last - first) as usize + 2)?;
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
        let (start, length) = (from as usize, (to - from) as usize);
        // Not as places: libhdf5 takes a negative number for 0, which is one.
        let indices = index.rows::<f64>(start, length)?;
        let values = value.rows::<f32>(start, length)?;
        let mut nonzero = Vec::new();
        for &row in rows {
            let at = (row - first) as usize;
            let range = (ends[at] - from) as usize..(ends[at + 1] - from) as usize;
            nonzero.clear();
            let mut next = 0.0;
            for (p, v) in indices[range.clone()].iter().zip(&values[range]) {
                let whole = p.fract() == 0.0;
                if !(whole && (next..pixels as f64).contains(p)) {
                    return Err(source.fail(
                        "index",
                        format!("image {row}: pixel {p} is out of order or not below {pixels}"),
                        "indices must ascend within an image",
                    ));
                }
                next = *p + 1.0;
                if *v > 0.0 && v.is_finite() {
                    nonzero.push((*p as u16, *v));
                } else if *v != 0.0 && !self.is_residue(*v) {
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
