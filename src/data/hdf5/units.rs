//! Which unit a file says that its values are in.

use super::attributes::unit_text;
use super::source::Source;
use super::table::{Data, Part, Table};
use crate::data::DataError;

/// What a data set says of its unit; where it takes its rows from others and says nothing, what those say.
///
/// # Errors
/// Sources that say different things.
pub(super) fn of_data_set(table: &Table) -> Result<Option<String>, DataError> {
    let own = (table.set.as_ref()).and_then(|set| unit_text(set, &table.heaps));
    match (own, &table.data) {
        (None, Data::Parts(parts)) => of_sources(table, parts, &of_data_set),
        (own, _) => Ok(own),
    }
}

/// What a data set of pixels says of its unit, else its file, else the files that it takes its rows from, else the file that
/// was opened.
///
/// # Errors
/// As [`of_data_set`].
pub(super) fn of_pixels(source: &Source, table: &Table) -> Result<Option<String>, DataError> {
    let opened = (source.file.as_ref()).and_then(|file| unit_text(file, &source.heaps));
    Ok(of_pixels_there(table)?.or(opened))
}

fn of_pixels_there(table: &Table) -> Result<Option<String>, DataError> {
    let Some(set) = &table.set else {
        return Ok(None);
    };
    let own = || unit_text(set, &table.heaps);
    let file = || unit_text(&*set.file().ok()?, &table.heaps);
    match (own().or_else(file), &table.data) {
        (None, Data::Parts(parts)) => of_sources(table, parts, &of_pixels_there),
        (found, _) => Ok(found),
    }
}

fn of_sources(
    table: &Table,
    parts: &[Part],
    unit: &dyn Fn(&Table) -> Result<Option<String>, DataError>,
) -> Result<Option<String>, DataError> {
    let mut found: Option<Option<String>> = None;
    for parts in parts.chunk_by(Part::same_source) {
        let said = unit(&parts[0].open()?)?;
        let before = found.get_or_insert_with(|| said.clone());
        if *before != said {
            let name = |unit: &Option<String>| unit.clone().unwrap_or("none".into());
            return Err(DataError::DataSet {
                path: table.path.clone(),
                name: table.name.clone(),
                why: format!(
                    "its sources name different units, {} and {}",
                    name(before),
                    name(&said)
                ),
                suggestion:
                    "read each source with a --scale of its own and write them again in one unit"
                        .into(),
            });
        }
    }
    Ok(found.flatten())
}
