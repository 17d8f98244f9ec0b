//! Reading the rows of a data set, wherever they are.

use hdf5::types::{FixedAscii, FixedUnicode, H5Type, VarLenAscii, VarLenUnicode};
use hdf5::{Hyperslab, SliceOrIndex};
use ndarray::IxDyn;

use super::reason;
use super::source::Source;
use super::table::{Data, Part, Table};
use crate::data::DataError;
use crate::data::element::Number;

/// Longest text that is read, bytes: what is longer is no name.
pub(super) const LONGEST: usize = 256;

const COMPLETE: &str = "check that the file is complete, with h5dump for example";

impl Table {
    /// The numbers of rows `start .. start + count`, row after row, each row-major.
    pub fn rows<T: Number>(&self, start: usize, count: usize) -> Result<Vec<T>, DataError> {
        match &self.data {
            Data::Chunks(chunks) => chunks.rows(start, count).map_err(|why| self.fail(why)),
            Data::Flat(flat) => (flat.rows(start, count)).map_err(|e| self.fail(e.to_string())),
            Data::Library(set) => self.read(set, start, count),
            Data::Parts(parts) => self.of_parts(parts, start, count, Table::rows),
        }
    }

    /// The texts of rows `start .. start + count`, as far as they are UTF-8.
    pub fn texts(&self, start: usize, count: usize) -> Result<Vec<String>, DataError> {
        let Some(kind) = self.kind.text else {
            return Err(self.fail(format!("it holds {}", self.kind.name)));
        };
        // Bytes come from the file unchecked.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !kind.variable && self.element > LONGEST {
            return Err(self.too_long(self.element));
        }
        match (&self.data, kind.variable, kind.unicode) {
            (Data::Parts(parts), ..) => self.of_parts(parts, start, count, Table::texts),
            (Data::Chunks(chunks), ..) => {
                let bytes = (chunks.rows::<u8>(start, count)).map_err(|why| self.fail(why))?;
                let whole = bytes.chunks_exact(self.element).map(|one| {
                    let one = one.split(|b| *b == 0).next().unwrap_or_default();
                    let end = one.iter().rposition(|b| !(kind.spaces && *b == b' '));
                    text(&one[..end.map_or(0, |last| last + 1)])
                });
                Ok(whole.collect())
            }
            (Data::Library(set), false, false) => {
                let block = self.read::<FixedAscii<LONGEST>>(set, start, count)?;
                Ok(block.iter().map(|t| text(t.as_bytes())).collect())
            }
            (Data::Library(set), false, true) => {
                let block = self.read::<FixedUnicode<LONGEST>>(set, start, count)?;
                Ok(block.iter().map(|t| text(t.as_bytes())).collect())
            }
            // A damaged heap may make libhdf5 hang.
            (Data::Library(_), true, _) if !self.heaps.sound() => {
                Err(self.fail("the file's strings are damaged".into()))
            }
            (Data::Library(set), true, false) => {
                let block = self.read::<VarLenAscii>(set, start, count)?;
                self.short(block.iter().map(|t| t.as_bytes()))
            }
            (Data::Library(set), true, true) => {
                let block = self.read::<VarLenUnicode>(set, start, count)?;
                self.short(block.iter().map(|t| t.as_bytes()))
            }
            // Raw data in other files and numpy's arrays are numbers.
            (Data::Flat(_), ..) => Err(self.fail(format!("it holds {}", self.kind.name))),
        }
    }

    /// Texts as long as they are, where none is too long for a name.
    fn short<'a>(&self, texts: impl Iterator<Item = &'a [u8]>) -> Result<Vec<String>, DataError> {
        texts
            .map(|bytes| match bytes.len() <= LONGEST {
                true => Ok(String::from_utf8_lossy(bytes).into_owned()),
                false => Err(self.too_long(bytes.len())),
            })
            .collect()
    }

    /// What libhdf5 reads of some rows.
    fn read<T: H5Type>(
        &self,
        set: &hdf5::Dataset,
        start: usize,
        count: usize,
    ) -> Result<Vec<T>, DataError> {
        let rows = SliceOrIndex::from(start..start + count);
        let others = self.shape.iter().skip(1).map(|n| SliceOrIndex::from(0..*n));
        let all: Vec<SliceOrIndex> = std::iter::once(rows).chain(others).collect();
        let block = set
            .read_slice::<T, _, IxDyn>(Hyperslab::from(all))
            .map_err(|e| self.fail(reason(&e)))?;
        Ok(block.into_raw_vec_and_offset().0)
    }

    /// Rows that lie in other data sets, each read by `read`.
    fn of_parts<T>(
        &self,
        parts: &[Part],
        start: usize,
        count: usize,
        read: impl Fn(&Table, usize, usize) -> Result<Vec<T>, DataError>,
    ) -> Result<Vec<T>, DataError> {
        let per_row = self.per_row();
        let mut out = Vec::with_capacity(count * per_row);
        let mut opened: Option<(&Part, Table)> = None;
        // They ascend and leave nothing out: checked when the data set was opened.
        for part in parts {
            let first = start.max(part.to);
            let last = (start + count).min(part.to + part.count);
            if first < last {
                let (_, table) = match opened.take().filter(|(p, _)| p.same_source(part)) {
                    Some(opened) => opened,
                    None => (part, part.open()?),
                };
                let from = part.from + (first - part.to) * part.per_row;
                let count = (last - first) * part.per_row;
                if from + count > table.shape.first().copied().unwrap_or(0) {
                    return Err(self.fail("its sources changed while they were read".into()));
                }
                out.extend(read(&table, from, count)?);
                opened = Some((part, table));
            }
        }
        match out.len() == count * per_row {
            true => Ok(out),
            false => Err(self.fail("its sources changed while they were read".into())),
        }
    }

    fn too_long(&self, bytes: usize) -> DataError {
        self.error(
            format!("it holds {bytes}-byte texts"),
            "store names of at most 256 bytes",
        )
    }

    /// A failure on this data set's values.
    fn fail(&self, why: String) -> DataError {
        self.error(why, COMPLETE)
    }

    fn error(&self, why: String, suggestion: &'static str) -> DataError {
        DataError::DataSet {
            path: self.path.clone(),
            name: self.name.clone(),
            why,
            suggestion: suggestion.into(),
        }
    }
}

impl Part {
    /// The data set that its rows are in.
    pub fn open(&self) -> Result<Table, DataError> {
        Source::open(&self.path)?.table(&self.name)
    }

    /// Whether the rows of `other` are in the same data set.
    pub fn same_source(&self, other: &Part) -> bool {
        self.path == other.path && self.name == other.name
    }
}
