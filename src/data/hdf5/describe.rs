//! What is in a data file, for people and scripts.

use std::collections::BTreeMap;
use std::path::Path;

use super::attributes;
use super::columns::{self, CLASS, Column};
use super::filters::Filter;
use super::read::ImageTables;
use super::source::Source;
use super::table::Table;
use super::values;
use crate::data::{
    About, Attribute, DataError, DatasetSummary, FileOptions, FileSummary, ReadOptions,
};

/// Images looked at for the fraction of zeros.
const SAMPLE: usize = 4096;

/// Describe an HDF5 file: layout, sizes, data sets, provenance.
///
/// A file without images is described too: only [`FileSummary::datasets`] and the attributes are filled.
///
/// # Errors
///
/// The file does not open as HDF5.
pub fn describe(path: &Path) -> Result<FileSummary, DataError> {
    describe_with(path, &FileOptions::default())
}

/// Describe a file as [`describe`] does, with what it does not say of itself.
///
/// # Errors
///
/// The file does not open.
pub fn describe_with(path: &Path, options: &FileOptions) -> Result<FileSummary, DataError> {
    let source = Source::open(path)?;
    let mut datasets = Vec::new();
    let mut unreadable = BTreeMap::new();
    for name in source.all() {
        match source.table(&name) {
            Ok(table) => datasets.push(summary(&table)),
            Err(error) => {
                unreadable.insert(name, error.to_string());
            }
        }
    }
    let mut out = FileSummary {
        path: source.path.clone(),
        bytes: source.bytes,
        layout: None,
        found_in: None,
        problem: None,
        images: None,
        height: None,
        width: None,
        zero_fraction: None,
        sampled: 0,
        classes: None,
        datasets,
        unreadable,
        attributes: attributes::read_all(&source),
    };
    let mut images = match ImageTables::open(&source, options) {
        Ok(images) => images,
        Err(DataError::Missing { .. }) if source.named.is_none() && options.images.is_none() => {
            return Ok(out);
        }
        Err(error) => {
            out.problem = Some(error.to_string());
            return Ok(out);
        }
    };
    // Showers that nothing gives a shape stay rows of voxels.
    if let Err(error) = images.shape_showers(&source, &read_options(options))
        && (options.shape.is_some() || options.binning.is_some())
    {
        options.read_binning()?;
        out.problem = Some(error.to_string());
        return Ok(out);
    }
    out.found_in = Some(images.table().name.clone());
    out.layout = Some(images.layout);
    out.images = Some(images.count);
    out.height = Some(images.height);
    out.width = Some(images.width);
    let first: Vec<u64> = (0..images.count.min(SAMPLE) as u64).collect();
    // As it is worked with: a threshold makes zeros.
    let as_read = |block| {
        let (options, mut about) = (
            ReadOptions {
                file: options.clone(),
                ..ReadOptions::default()
            },
            About::default(),
        );
        let pixels = values::pixels(&source, images.table(), &options, &mut about)?;
        pixels.of(&source, block, &mut about)
    };
    match images.read(&source, &first).and_then(as_read) {
        Ok(block) if !block.is_empty() => {
            let all = block.len() * block.pixels();
            out.zero_fraction = Some(1.0 - block.nonzeros() as f64 / all as f64);
            out.sampled = block.len();
        }
        Ok(_) => {}
        Err(error) => out.problem = Some(error.to_string()),
    }
    out.classes = count_classes(&source, images.count, options);
    Ok(out)
}

/// Provenance of a file: its root attributes.
///
/// # Errors
///
/// The file does not open as HDF5.
pub fn read_attributes(path: &Path) -> Result<BTreeMap<String, Attribute>, DataError> {
    Ok(attributes::read_all(&Source::open(path)?))
}

/// Values of one per-row data set of a file with images, all rows.
///
/// # Errors
///
/// As [`read`](super::read()), for this data set.
pub fn read_column(path: &Path, name: &str) -> Result<Vec<f32>, DataError> {
    read_column_with(path, name, &FileOptions::default())
}

/// Values of a per-row data set as [`read_column`] gives them, with what the file does not say of itself.
///
/// # Errors
///
/// As [`read`](super::read()), for this data set.
pub fn read_column_with(
    path: &Path,
    name: &str,
    options: &FileOptions,
) -> Result<Vec<f32>, DataError> {
    let source = Source::open(path)?;
    let images = ImageTables::open(&source, options)?;
    columns::open(&source, name, images.count, &read_options(options))?.all(&source)
}

/// Columns of a file without images, as [`write_columns`](super::write_columns) writes them, equally long.
///
/// # Errors
///
/// As [`read`](super::read()), for these data sets.
pub fn read_columns(path: &Path, names: &[String]) -> Result<Vec<Vec<f32>>, DataError> {
    let source = Source::open(path)?;
    let Some(first) = names.first() else {
        return Ok(Vec::new());
    };
    let rows = source.table(first)?.shape.first().copied().unwrap_or(0);
    (names.iter())
        .map(|name| Column::open(&source, name, rows, false)?.all(&source))
        .collect()
}

fn read_options(file: &FileOptions) -> ReadOptions {
    ReadOptions {
        file: file.clone(),
        ..ReadOptions::default()
    }
}

fn summary(table: &Table) -> DatasetSummary {
    DatasetSummary {
        name: table.name.clone(),
        kind: table.type_name(),
        shape: table.shape.clone(),
        chunk: table.chunk.clone(),
        filters: table.filters.iter().map(Filter::name).collect(),
        stored: table.stored,
        from: table.from.clone(),
    }
}

/// How many images each class has; its name in the file, where it has names.
fn count_classes(
    source: &Source,
    images: usize,
    options: &FileOptions,
) -> Option<BTreeMap<String, u64>> {
    const MOST: usize = 16;
    let column = columns::open(source, CLASS, images, &read_options(options)).ok()?;
    let mut classes = BTreeMap::new();
    for value in column.all(source).ok()? {
        let name = column.names().and_then(|n| n.get(value as usize));
        let name = name.map_or_else(|| value.to_string(), String::clone);
        *classes.entry(name).or_default() += 1;
        if classes.len() > MOST {
            return None;
        }
    }
    Some(classes)
}
