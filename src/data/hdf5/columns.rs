//! Per-row data sets, whatever their shape and type: reading them as numbers and selecting rows by them.

use std::collections::BTreeSet;

use super::rows::LONGEST;
use super::showers;
use super::source::{BLOCK, Source};
use super::table::Table;
use super::units;
use crate::data::{DataError, ReadOptions, Selection, Unit};

/// The name of the classes, whatever their data set is called.
pub(super) const CLASS: &str = "signal";
/// Texts that are read at once.
const TEXTS: usize = 1 << 10;
/// Most different names in a column: more are no classes.
const MOST_NAMES: usize = 256;

/// A per-row quantity of a file: one number a row.
pub(super) struct Column {
    table: Table,
    /// Which axis counts the images; all others have extent 1, or hold the parts of a one-hot class.
    axis: usize,
    count: usize,
    kind: Kind,
    /// GeV of a value, where the data set says that it is an energy.
    pub factor: f64,
    /// Whether these are numbers whose unit nothing says.
    pub bare: bool,
}

enum Kind {
    Number,
    /// -1 and +1, which are read as 0 and 1.
    Sign,
    /// One column a class, 1 in that of the image's.
    OneHot(usize),
    /// Texts, read as their places among the names in order.
    Text(Vec<String>),
}

impl Column {
    /// Look at data set `name`, which must hold one value for each of `count` images; as a class if that is what it is.
    pub fn open(source: &Source, name: &str, count: usize, class: bool) -> Result<Self, DataError> {
        let table = source.table(name)?;
        let shape = || {
            format!(
                "its shape is {:?} but the file has {count} images",
                table.shape
            )
        };
        let wrong =
            |why: String| Err(source.fail(name, why, "a per-row quantity has one value an image"));
        // Where one image makes every axis fit, the first one counts.
        let Some(axis) = table.shape.iter().position(|n| *n == count) else {
            return wrong(shape());
        };
        let width = table.shape.iter().product::<usize>().checked_div(count);
        let hot = match width {
            Some(0 | 1) | None => false,
            // One axis of classes behind that of the images.
            Some(_) if axis == 0 && table.shape.iter().skip(1).filter(|n| **n > 1).count() == 1 => {
                true
            }
            Some(_) => return wrong(shape()),
        };
        let kind = match (table.is_numeric(), hot, table.kind.text) {
            (true, true, _) => Kind::OneHot(width.unwrap_or(1)),
            (true, false, _) => Kind::Number,
            // All of one row would be in memory at once.
            (false, false, Some(text)) if text.variable && axis > 0 => return wrong(shape()),
            (false, false, Some(_)) if table.element <= LONGEST => Kind::Text(Vec::new()),
            _ => {
                return Err(source.fail(
                    name,
                    format!("it holds {}", table.type_name()),
                    "store it as integers, as floats of up to 64 bits or, for classes, as names",
                ));
            }
        };
        let unit = match &kind {
            Kind::Number => units::of_data_set(&table)?
                .or_else(|| showers::unit(source, name).map(String::from)),
            _ => None,
        };
        let bare = matches!(kind, Kind::Number) && unit.is_none();
        let factor = (unit.and_then(|text| Unit::parse(&text))).map_or(1.0, |(_, factor)| factor);
        let mut column = Self {
            table,
            axis,
            count,
            kind,
            factor,
            bare,
        };
        column.look(source, class)?;
        Ok(column)
    }

    /// What only the values tell: names, and whether a class is -1 or +1.
    fn look(&mut self, source: &Source, class: bool) -> Result<(), DataError> {
        match &self.kind {
            Kind::Text(_) => self.kind = Kind::Text(self.distinct(source)?),
            Kind::Number if class => {
                let (mut signs, mut minus) = (true, false);
                self.visit(source, |_, block| {
                    signs &= block.iter().all(|v| v.abs() == 1.0);
                    minus |= block.contains(&-1.0);
                })?;
                if signs && minus {
                    self.kind = Kind::Sign;
                }
            }
            // One pass finds a row that has no one class.
            Kind::OneHot(_) => self.visit(source, |_, _| {})?,
            _ => {}
        }
        Ok(())
    }

    /// The names of a column of texts in the order of their numbers.
    pub fn names(&self) -> Option<&[String]> {
        match &self.kind {
            Kind::Text(names) => Some(names),
            _ => None,
        }
    }

    /// In which other way than it stands there a column is read.
    pub fn remark(&self, source: &Source) -> Option<String> {
        let read = match &self.kind {
            Kind::Number if self.factor != 1.0 => {
                format!("its values are multiplied by {} to be GeV", self.factor)
            }
            Kind::Number => return None,
            Kind::Sign => "-1 is read as class 0".into(),
            Kind::OneHot(width) => {
                format!("one-hot of {width} is read as classes 0 to {}", width - 1)
            }
            Kind::Text(names) => crate::data::numbered(names),
        };
        Some(format!(
            "'{}' of '{}': {read}",
            self.table.name,
            source.path.display()
        ))
    }

    /// Whether values were stored in 32 bits or fewer.
    fn is_single(&self) -> bool {
        matches!(self.kind, Kind::Number) && self.table.is_single()
    }

    /// First and number of the data set's rows that hold a block of images.
    fn stored(&self, images: &std::ops::Range<usize>) -> (usize, usize) {
        match self.axis {
            0 => (images.start, images.len()),
            // All axes before it have extent 1, and a block is all images.
            _ => (0, 1),
        }
    }

    /// Rows of each block.
    fn blocks(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let step = match (&self.kind, self.axis) {
            // Each may be as long as the file.
            (Kind::Text(_), 0) => TEXTS,
            (Kind::OneHot(width), 0) => self.table.block_rows(*width, BLOCK),
            (_, 0) => self.table.block_rows(1, BLOCK),
            _ => self.count.max(1),
        };
        let count = self.count;
        (0..count)
            .step_by(step)
            .map(move |start| start..start.saturating_add(step).min(count))
    }

    /// Visit the values in blocks: first row and values.
    fn visit(
        &self,
        source: &Source,
        mut visitor: impl FnMut(usize, &[f64]),
    ) -> Result<(), DataError> {
        for rows in self.blocks() {
            let start = rows.start;
            let (first, stored) = self.stored(&rows);
            let mut values = match &self.kind {
                Kind::Text(names) => (self.table.texts(first, stored)?.iter())
                    .map(|text| names.binary_search(text).map_or(f64::NAN, |i| i as f64))
                    .collect(),
                Kind::OneHot(width) => self.one_hot(source, rows, *width)?,
                Kind::Number | Kind::Sign => self.table.rows(first, stored)?,
            };
            match self.kind {
                Kind::Sign => values.iter_mut().for_each(|v| *v = v.max(0.0)),
                _ if self.factor != 1.0 => values.iter_mut().for_each(|v| *v *= self.factor),
                _ => {}
            }
            visitor(start, &values);
        }
        Ok(())
    }

    fn one_hot(
        &self,
        source: &Source,
        rows: std::ops::Range<usize>,
        width: usize,
    ) -> Result<Vec<f64>, DataError> {
        let start = rows.start;
        let flat = self.table.rows::<f64>(start, rows.len())?;
        let class = |(i, row): (usize, &[f64])| {
            let one = row.iter().position(|v| *v == 1.0);
            let rest = row.iter().filter(|v| **v == 0.0).count();
            match one {
                Some(class) if rest + 1 == width => Ok(class as f64),
                _ => Err(source.fail(
                    &self.table.name,
                    format!(
                        "its shape is {:?} and row {} is {row:?}, which is no one-hot class",
                        self.table.shape,
                        start + i
                    ),
                    "a per-row quantity has one value an image, or is 1 in the column of the image's class and 0 in all others",
                )),
            }
        };
        flat.chunks_exact(width).enumerate().map(class).collect()
    }

    /// The names that a column of texts holds, in order.
    fn distinct(&self, source: &Source) -> Result<Vec<String>, DataError> {
        let mut names = BTreeSet::new();
        for rows in self.blocks() {
            let (first, stored) = self.stored(&rows);
            names.extend(self.table.texts(first, stored)?);
            if names.len() > MOST_NAMES {
                return Err(source.fail(
                    &self.table.name,
                    format!("it holds over {MOST_NAMES} different texts"),
                    "a quantity that is read as a class has few names",
                ));
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Values in `rows`, which ascend.
    pub fn gather(&self, source: &Source, rows: &[u64]) -> Result<Vec<f32>, DataError> {
        let mut out = Vec::with_capacity(rows.len());
        self.visit(source, |start, block| {
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

    /// All values.
    pub fn all(&self, source: &Source) -> Result<Vec<f32>, DataError> {
        let mut out = Vec::with_capacity(self.count);
        self.visit(source, |_, block| {
            out.extend(block.iter().map(|v| *v as f32))
        })?;
        Ok(out)
    }

    /// Clear the rows of `taken` that `selection` does not take; what the column holds, for a message.
    fn select(
        &self,
        source: &Source,
        selection: &Selection,
        taken: &mut [bool],
    ) -> Result<String, DataError> {
        let name = &selection.name;
        let wanted = match (&selection.text, &self.kind) {
            (Some(text), Kind::Text(names)) => {
                let found = names.iter().position(|n| n == text);
                Some(found.map_or(f64::NAN, |i| i as f64))
            }
            (Some(text), _) => {
                return Err(source.fail(
                    &self.table.name,
                    format!("it holds numbers and '{text}' is none"),
                    "select by NAME=VALUE or NAME=LOW..HIGH",
                ));
            }
            (None, _) => None,
        };
        // What was multiplied is compared as it is used, in single precision.
        let single = self.is_single() || self.factor != 1.0;
        let sign = matches!(self.kind, Kind::Sign);
        // Who knows the file says -1, who knows the program says 0.
        let takes = |value: f64| match wanted {
            // What was multiplied to be GeV has more digits than were stored.
            None if single && self.factor != 1.0 => selection.takes(f64::from(value as f32), true),
            Some(wanted) => value == wanted,
            None => {
                let value = if single {
                    f64::from(value as f32)
                } else {
                    value
                };
                selection.takes(value, single)
                    || sign && value == 0.0 && selection.takes(-1.0, single)
            }
        };
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        self.visit(source, |start, block| {
            for (taken, value) in taken[start..].iter_mut().zip(block) {
                low = low.min(*value);
                high = high.max(*value);
                *taken &= takes(*value);
            }
        })?;
        Ok(match &self.kind {
            Kind::Text(names) => format!("{name} is one of {}", names.join(", ")),
            _ if low <= high => format!("{name} runs from {low} to {high}"),
            _ => format!("{name} holds no number"),
        })
    }
}

/// Whether a selection's name means the place in the file: `row`, unless a data set has that name.
pub(super) fn is_row_number(source: &Source, name: &str) -> bool {
    name == "row" && !source.has(name)
}

/// The data set that holds column `name`: that of the classes may be called otherwise.
pub(super) fn stored<'a>(source: &Source, name: &'a str, options: &'a ReadOptions) -> &'a str {
    match class_of(source, options) {
        Some(class) if name == CLASS => class,
        _ => name,
    }
}

/// The data set that was named as that of the classes.
pub(super) fn class_of<'a>(source: &Source, options: &'a ReadOptions) -> Option<&'a str> {
    let class = options.file.class.as_deref();
    class.filter(|class| !options.file.where_present || source.has(class))
}

/// Column `name` of a file of `count` images, as `options` say where it is.
pub(super) fn open(
    source: &Source,
    name: &str,
    count: usize,
    options: &ReadOptions,
) -> Result<Column, DataError> {
    let class = name == CLASS || options.file.class.as_deref() == Some(name);
    Column::open(source, stored(source, name, options), count, class)
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
        let column = open(source, &selection.name, count, options)?;
        ranges.push(column.select(source, selection, &mut taken)?);
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
