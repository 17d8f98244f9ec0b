//! Per-row data sets: reading them and selecting rows by them.

use super::showers;
use super::source::{BLOCK, Source, Table};
use crate::data::calochallenge::MEV;
use crate::data::{DataError, ReadOptions, Selection};

/// A per-row numeric data set of `count` rows.
pub(super) fn column_table(source: &Source, name: &str, count: usize) -> Result<Table, DataError> {
    let table = source.table(name)?;
    let incident = showers::is_incident(source, name) && table.shape == [count, 1];
    if table.shape != [count] && !incident {
        return Err(source.fail(
            name,
            format!(
                "its shape is {:?} but the file has {count} images",
                table.shape
            ),
            "a per-row quantity has one value an image",
        ));
    }
    if !table.is_numeric() {
        return Err(source.fail(
            name,
            format!("it holds {}", table.type_name()),
            "store it as integers or as floats of up to 64 bits",
        ));
    }
    Ok(table)
}

/// Visit a column in blocks: first row and values.
fn visit(
    source: &Source,
    table: &Table,
    mut visitor: impl FnMut(usize, &[f64]),
) -> Result<(), DataError> {
    let count = table.shape[0];
    let step = table.block_rows(1, BLOCK);
    let mut start = 0;
    while start < count {
        let end = start.saturating_add(step).min(count);
        let read = match table.shape.len() {
            2 => (table.set)
                .read_slice_2d::<f64, _>(ndarray::s![start..end, ..])
                .map(|block| block.into_raw_vec_and_offset().0),
            _ => (table.set)
                .read_slice_1d::<f64, _>(start..end)
                .map(|block| block.into_raw_vec_and_offset().0),
        };
        let mut values = read.map_err(|e| source.broken(&table.name, &e))?;
        if showers::is_incident(source, &table.name) {
            values.iter_mut().for_each(|v| *v /= MEV);
        }
        visitor(start, &values);
        start = end;
    }
    Ok(())
}

/// Values of a column in `rows`, which ascend.
pub(super) fn gather(
    source: &Source,
    name: &str,
    count: usize,
    rows: &[u64],
) -> Result<Vec<f32>, DataError> {
    let table = column_table(source, name, count)?;
    let mut out = Vec::with_capacity(rows.len());
    visit(source, &table, |start, block| {
        let end = (start + block.len()) as u64;
        let last = out.len() + rows[out.len()..].partition_point(|r| *r < end);
        let chosen = out.len()..last;
        out.extend(
            rows[chosen]
                .iter()
                .map(|r| block[*r as usize - start] as f32),
        );
    })?;
    Ok(out)
}

/// All values of a column.
pub(super) fn column(source: &Source, name: &str, count: usize) -> Result<Vec<f32>, DataError> {
    let table = column_table(source, name, count)?;
    let mut out = Vec::with_capacity(count);
    visit(source, &table, |_, block| {
        out.extend(block.iter().map(|v| *v as f32))
    })?;
    Ok(out)
}

/// Whether a selection's name means the place in the file: `row`, unless a data set has that name.
pub(super) fn is_row_number(source: &Source, name: &str) -> bool {
    name == "row" && !source.has(name)
}

/// Rows that all selections take, ascending, at most `limit`.
pub(super) fn select(
    source: &Source,
    count: usize,
    options: &ReadOptions,
) -> Result<Vec<u64>, DataError> {
    let empty = |selection: String, why: String| DataError::Empty {
        path: source.path.clone(),
        selection,
        why,
    };
    let limit = options.limit.unwrap_or(usize::MAX);
    if options.selections.is_empty() {
        return match count.min(limit) {
            0 if count == 0 => Err(empty("anything".into(), "the file holds no images".into())),
            0 => Err(empty("a limit of 0".into(), "it allows none".into())),
            n => Ok((0..n as u64).collect()),
        };
    }
    let mut taken = vec![true; count];
    let mut ranges = Vec::new();
    for selection in &options.selections {
        if is_row_number(source, &selection.name) {
            for (row, taken) in taken.iter_mut().enumerate() {
                *taken &= selection.takes(row as f64, false);
            }
            ranges.push(format!("row runs from 0 to {}", count.saturating_sub(1)));
            continue;
        }
        let table = column_table(source, &selection.name, count)?;
        // MeV over 1000 in double precision is the number of GeV that somebody types.
        let single = table.is_single() && !showers::is_incident(source, &selection.name);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        visit(source, &table, |start, block| {
            for (taken, value) in taken[start..].iter_mut().zip(block) {
                low = low.min(*value);
                high = high.max(*value);
                *taken &= selection.takes(*value, single);
            }
        })?;
        ranges.push(if low <= high {
            format!("{} runs from {low} to {high}", selection.name)
        } else {
            format!("{} holds no number", selection.name)
        });
    }
    let rows: Vec<u64> = (0..count as u64)
        .filter(|r| taken[*r as usize])
        .take(limit)
        .collect();
    if rows.is_empty() {
        let names: Vec<_> = options
            .selections
            .iter()
            .map(Selection::to_string)
            .collect();
        let mut why = ranges.join(", ");
        if limit == 0 {
            why += ", and the limit is 0";
        }
        return Err(empty(names.join(" and "), why));
    }
    Ok(rows)
}
