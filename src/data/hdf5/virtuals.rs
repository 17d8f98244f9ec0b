//! Virtual data sets: rows that lie in other data sets, often of other files.
//!
//! libhdf5 gives fill values where a source is missing, shorter, or open elsewhere, without a word. Here every source is
//! opened and checked like any data set, and all rows must have one.

use std::path::Path;

use hdf5::dataset::VirtualMapping;
use hdf5::{Selection, SliceOrIndex};

use super::links::beside;
use super::source::Source;
use super::table::{Data, Part, Table, Type};
use crate::data::DataError;

/// Sources of a data set.
const MOST: usize = 100_000;

/// Rows that a mapping takes: first and count, where it takes whole rows.
fn rows(selection: &Selection, shape: &[usize]) -> Option<(usize, usize)> {
    let whole = |slice: &SliceOrIndex, n: usize| {
        let range = span(slice, n)?;
        Some(range == (0, n))
    };
    match selection {
        Selection::All => Some((0, *shape.first()?)),
        Selection::Hyperslab(slab) => {
            if slab.len() != shape.len() {
                return None;
            }
            let mut others = slab.iter().zip(shape).skip(1);
            let all = others.all(|(s, n)| whole(s, *n) == Some(true));
            let first = span(slab.first()?, *shape.first()?)?;
            all.then_some(first)
        }
        Selection::Points(_) => None,
    }
}

/// First and count of a slice without gaps.
fn span(slice: &SliceOrIndex, n: usize) -> Option<(usize, usize)> {
    let (start, count) = match *slice {
        SliceOrIndex::Index(at) => (at, 1),
        SliceOrIndex::SliceTo {
            start,
            step,
            end,
            block,
        } => {
            let steps = end.checked_sub(start)?.div_ceil(step.max(1));
            blocks(start, step, steps, block)?
        }
        SliceOrIndex::SliceCount {
            start,
            step,
            count,
            block,
        } => blocks(start, step, count, block)?,
        SliceOrIndex::Unlimited { .. } => return None,
    };
    (start.checked_add(count)? <= n).then_some((start, count))
}

fn blocks(start: usize, step: usize, count: usize, block: usize) -> Option<(usize, usize)> {
    let touching = step == block || count <= 1;
    touching.then_some((start, count.checked_mul(block)?))
}

/// The rows of `table`, an opened virtual data set of `source`'s, with its mappings.
///
/// # Errors
/// A source that is missing or does not pass its checks, rows without a source, and mappings that are not of whole rows.
pub(super) fn parts(
    source: &Source,
    name: &str,
    shape: &[usize],
    kind: &Type,
    mappings: Vec<VirtualMapping>,
) -> Result<(Data, u64), DataError> {
    let gather = "write it as a data set of its own, with h5repack -l CONTI for example where no source is missing, or name \
                  its source files instead";
    let refuse = |why: String| source.fail(name, why, gather);
    if mappings.len() > MOST {
        return Err(refuse(format!("it has {} sources", mappings.len())));
    }
    let mut parts = Vec::new();
    let mut bytes = 0u64;
    // Mappings often share a source.
    let mut last = None;
    for mapping in mappings {
        let (file, inside) = (&mapping.src_filename, &mapping.src_dataset);
        if file.contains('%') || inside.contains('%') {
            return Err(refuse(format!(
                "its sources are named by a pattern, '{file}' '{inside}'"
            )));
        }
        let path = match file.as_str() {
            "." => source.path.clone(),
            _ => beside(&source.path, file).ok_or_else(|| missing(source, name, file))?,
        };
        if path == source.path && inside.trim_matches('/') == name.trim_matches('/') {
            return Err(refuse("it is its own source".into()));
        }
        if last.as_ref().is_none_or(|t: &Table| !t.is(&path, inside)) {
            let table = Source::open_nested(&path, source.depth + 1)?.table(inside)?;
            if matches!(table.data, Data::Parts(_)) {
                return Err(refuse(format!(
                    "its source '{inside}' of '{}' is virtual as well",
                    path.display()
                )));
            }
            if last.as_ref().is_none_or(|t| t.path != table.path) {
                bytes = bytes.saturating_add(table.bytes);
            }
            last = Some(table);
        }
        let Some(table) = &last else { continue };
        // A source without the axis of the rows is one row.
        let one = table.shape.len() + 1 == shape.len();
        let to = rows(&mapping.vds_selection, shape);
        let from = rows(&mapping.src_selection, &table.shape);
        let (Some((to, count)), Some((from, taken))) = (to, from) else {
            return Err(refuse("its sources are not runs of whole rows".into()));
        };
        let (of_row, per_row) = match one {
            true => (
                table.shape.as_slice(),
                table.shape.first().copied().unwrap_or(1),
            ),
            false => (table.shape.get(1..).unwrap_or_default(), 1),
        };
        if taken != count * per_row || Some(of_row) != shape.get(1..) {
            return Err(refuse(format!(
                "its {count} rows of {:?} come from {taken} of {:?}, '{inside}' of '{}'",
                shape.get(1..).unwrap_or_default(),
                table.shape,
                path.display()
            )));
        }
        if !alike(&table.kind, kind) {
            return Err(refuse(format!(
                "it holds {} and its source '{inside}' of '{}' {}",
                kind.name,
                path.display(),
                table.kind.name
            )));
        }
        if count > 0 {
            parts.push(Part {
                path,
                name: inside.clone(),
                to,
                from,
                count,
                per_row,
            });
        }
    }
    parts.sort_by_key(|p| p.to);
    let mut end = 0;
    for part in &parts {
        if part.to != end {
            let why = match part.to > end {
                true => format!("rows {end} to {} have no source", part.to - 1),
                false => format!("row {} has two sources", part.to),
            };
            return Err(refuse(why));
        }
        end += part.count;
    }
    let all = shape.first().copied().unwrap_or(0);
    if end != all {
        return Err(refuse(format!(
            "rows {end} to {} have no source",
            all.saturating_sub(1)
        )));
    }
    Ok((Data::Parts(parts), bytes))
}

/// Whether values of a source are what the virtual data set says, after its own conversion.
fn alike(source: &Type, own: &Type) -> bool {
    let float = |t: &Type| {
        t.plain
            .filter(|e| e.kind == crate::data::element::Kind::Float)
    };
    match (source.plain, own.plain) {
        (Some(a), Some(b)) => {
            (a.kind, a.bytes) == (b.kind, b.bytes)
                || matches!((float(source), float(own)), (Some(_), Some(f)) if f.bytes >= 4)
        }
        _ => source.name == own.name,
    }
}

fn missing(source: &Source, name: &str, file: &str) -> DataError {
    source.fail(
        name,
        format!("its source '{file}' is not there"),
        "put that file beside this one, or name the files that are there instead",
    )
}

/// A line about the sources.
pub(super) fn described(parts: &[Part], path: &Path) -> String {
    let name = |p: &Part| match p.path == path {
        true => format!("'{}'", p.name),
        false => format!("'{}' of '{}'", p.name, p.path.display()),
    };
    match parts {
        [] => "virtual, without sources".into(),
        [one] => format!("virtual, rows of {}", name(one)),
        [first, .., last] => format!(
            "virtual, rows of {} to {} ({})",
            name(first),
            name(last),
            parts.len()
        ),
    }
}
