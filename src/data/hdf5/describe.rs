//! What is in a data file, for people and scripts.

use std::collections::BTreeMap;
use std::path::Path;

use super::attributes;
use super::columns::{CLASS, Column};
use super::read::ImageTables;
use super::source::{Source, Table};
use crate::data::{Attribute, DataError, DatasetSummary, FileSummary};

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
    let source = Source::open(path)?;
    let datasets = source
        .names()
        .filter_map(|name| source.table(name).ok())
        .map(|table| summary(&table))
        .collect();
    let mut out = FileSummary {
        path: path.to_path_buf(),
        bytes: source.bytes,
        layout: None,
        problem: None,
        images: None,
        height: None,
        width: None,
        zero_fraction: None,
        sampled: 0,
        classes: None,
        datasets,
        attributes: attributes::read_all(&source),
    };
    let images = match ImageTables::open(&source) {
        Ok(images) => images,
        Err(DataError::Missing { .. }) => return Ok(out),
        Err(error) => {
            out.problem = Some(error.to_string());
            return Ok(out);
        }
    };
    out.layout = Some(images.layout);
    out.images = Some(images.count);
    out.height = Some(images.height);
    out.width = Some(images.width);
    let first: Vec<u64> = (0..images.count.min(SAMPLE) as u64).collect();
    match images.read(&source, &first) {
        Ok(block) if !block.is_empty() => {
            let all = block.len() * block.pixels();
            out.zero_fraction = Some(1.0 - block.nonzeros() as f64 / all as f64);
            out.sampled = block.len();
        }
        Ok(_) => {}
        Err(error) => out.problem = Some(error.to_string()),
    }
    out.classes = count_classes(&source, images.count);
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
    let source = Source::open(path)?;
    let images = ImageTables::open(&source)?;
    Column::open(&source, name, images.count, name == CLASS)?.all(&source)
}

fn summary(table: &Table) -> DatasetSummary {
    use hdf5::filters::Filter;
    let filters = table.set.filters();
    DatasetSummary {
        name: table.name.clone(),
        kind: table.type_name(),
        shape: table.shape.clone(),
        chunk: table.chunk.clone(),
        filters: filters
            .iter()
            .map(|filter| match filter {
                Filter::Deflate(level) => format!("gzip {level}"),
                Filter::Shuffle => "shuffle".into(),
                Filter::Fletcher32 => "fletcher32".into(),
                other => format!("{other:?}").to_lowercase(),
            })
            .collect(),
        stored: table.set.storage_size(),
    }
}

/// How many images each class has; its name in the file, where it has names.
fn count_classes(source: &Source, images: usize) -> Option<BTreeMap<String, u64>> {
    const MOST: usize = 16;
    let column = Column::open(source, CLASS, images, true).ok()?;
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
