//! Finding the images of a file: as they are named, by the names of the two layouts, or by their shape.

use super::shape::shaped;
use super::source::Source;
use super::table::Table;
use crate::data::{DataError, FileOptions, once};

/// Values in a row from which on a data set may be of flat images: fewer are quantities of an image.
const FEWEST_FLAT: usize = 16;

/// Where the images are.
pub(super) enum Found {
    /// In a data set of pixels.
    Dense(Box<Table>),
    /// In the three data sets of the sparse layout, which stand in the group of the images.
    Sparse,
}

/// Find the images, and say to `source` in which group they are.
///
/// # Errors
/// Nothing that could be images, or several things.
pub(super) fn images(source: &Source, options: &FileOptions) -> Result<Found, DataError> {
    // What is named with the file is meant for this file alone.
    // Generated images may be named otherwise than the true ones that the option is meant for.
    let there = |name: &&String| !options.where_present || source.has(name.trim_matches('/'));
    let option = options.images.as_ref().filter(there);
    if let Some(name) = source.named.as_ref().or(option) {
        let name = name.trim_matches('/');
        if !source.is_group(name) {
            let table = source.table(name)?;
            source.settle(name.rsplit_once('/').map_or("", |(group, _)| group));
            return Ok(Found::Dense(Box::new(table)));
        }
        source.settle(name);
        return match in_group(source, name)? {
            Some(found) => Ok(found),
            None => Err(source.fail(
                name,
                "it is a group without images",
                "name a data set with --images",
            )),
        };
    }
    if let Some(found) = in_group(source, "")? {
        return Ok(found);
    }
    by_shape(source, options)
}

/// Images in a group, by the names of the two layouts alone: an attribute may say something else and be wrong.
fn in_group(source: &Source, group: &str) -> Result<Option<Found>, DataError> {
    let full = |name: &str| match group {
        "" => name.to_string(),
        _ => format!("{group}/{name}"),
    };
    if source.has(&full("image")) {
        return Ok(Some(Found::Dense(Box::new(source.table(&full("image"))?))));
    }
    let csr = ["indptr", "index", "value"];
    Ok(csr
        .iter()
        .all(|n| source.has(&full(n)))
        .then_some(Found::Sparse))
}

/// The one data set that has the shape of images.
fn by_shape(source: &Source, options: &FileOptions) -> Result<Found, DataError> {
    let (mut images, mut flat, mut broken) = (Vec::<Table>::new(), Vec::<Table>::new(), Vec::new());
    for name in source.all() {
        let table = match source.table(&name) {
            Ok(table) if table.is_numeric() => table,
            Ok(_) => continue,
            Err(error) => {
                broken.push(error);
                continue;
            }
        };
        let same = |other: &Table| {
            let link = table.from.is_some() || other.from.is_some();
            link && other.path == table.path && other.shape == table.shape
        };
        if shaped(&table.shape, options.shape).is_ok() {
            // A link to what was found is not a second one.
            if !images.iter().any(same) {
                images.push(table);
            }
        } else if table.shape.len() == 2 && table.per_row() >= FEWEST_FLAT {
            flat.push(table);
        }
    }
    let listed = |tables: &[Table]| {
        let each = tables.iter().map(|t| format!("'{}' {:?}", t.name, t.shape));
        each.collect::<Vec<_>>().join(", ")
    };
    let fail = |why: String, suggestion: String| DataError::NotFound {
        path: source.path.clone(),
        why,
        suggestion,
    };
    match images.len() {
        1 => {}
        0 if !flat.is_empty() => {
            return Err(fail(
                format!(
                    "it has no data set 'image', but rows of values in {}",
                    listed(&flat)
                ),
                format!(
                    "name one and the size of its images, with --images {} --shape HEIGHTxWIDTH for example",
                    flat[0].name
                ),
            ));
        }
        // What cannot be read may be the images.
        0 => {
            return Err(broken
                .into_iter()
                .next()
                .unwrap_or_else(|| source.missing("image")));
        }
        _ => {
            return Err(fail(
                format!("any of {} could be them", listed(&images)),
                format!("name one, with --images {} for example", images[0].name),
            ));
        }
    }
    let Some(table) = images.pop() else {
        return Err(source.missing("image"));
    };
    once::warn(format!(
        "the images of '{}' are taken from data set '{}' (the only one of their shape, {:?}); another is named with --images",
        source.path.display(),
        table.name,
        table.shape
    ));
    let group = table.name.rsplit_once('/').map_or("", |(group, _)| group);
    source.settle(group);
    Ok(Found::Dense(Box::new(table)))
}
