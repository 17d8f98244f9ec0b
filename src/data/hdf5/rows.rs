//! Reading the rows of a data set, wherever they are.

use hdf5::{Hyperslab, SliceOrIndex};
use ndarray::IxDyn;

use super::reason;
use super::source::Source;
use super::table::{Data, Part, Table};
use crate::data::DataError;
use crate::data::element::Number;

impl Table {
    /// The numbers of rows `start .. start + count`, row after row, each row-major.
    pub fn rows<T: Number>(&self, start: usize, count: usize) -> Result<Vec<T>, DataError> {
        match &self.data {
            Data::Chunks(chunks) => chunks.rows(start, count).map_err(|why| self.fail(why)),
            Data::Flat(flat) => (flat.rows(start, count)).map_err(|e| self.fail(e.to_string())),
            Data::Library(set) => {
                let rows = SliceOrIndex::from(start..start + count);
                let others = self.shape.iter().skip(1).map(|n| SliceOrIndex::from(0..*n));
                let all: Vec<SliceOrIndex> = std::iter::once(rows).chain(others).collect();
                let block = set
                    .read_slice::<T, _, IxDyn>(Hyperslab::from(all))
                    .map_err(|e| self.fail(reason(&e)))?;
                Ok(block.into_raw_vec_and_offset().0)
            }
            Data::Parts(parts) => {
                let per_row = self.per_row();
                let mut out = Vec::with_capacity(count * per_row);
                let mut opened: Option<(&Part, Table)> = None;
                // They ascend and leave nothing out: checked when the data set was opened.
                for part in parts {
                    let first = start.max(part.to);
                    let last = (start + count).min(part.to + part.count);
                    if first < last {
                        let same =
                            |(p, _): &(&Part, Table)| p.path == part.path && p.name == part.name;
                        let (_, table) = match opened.take().filter(same) {
                            Some(opened) => opened,
                            None => (part, Source::open(&part.path)?.table(&part.name)?),
                        };
                        let from = part.from + (first - part.to) * part.per_row;
                        let count = (last - first) * part.per_row;
                        if from + count > table.shape.first().copied().unwrap_or(0) {
                            return Err(
                                self.fail("its sources changed while they were read".into())
                            );
                        }
                        out.extend(table.rows::<T>(from, count)?);
                        opened = Some((part, table));
                    }
                }
                match out.len() == count * per_row {
                    true => Ok(out),
                    false => Err(self.fail("its sources changed while they were read".into())),
                }
            }
        }
    }

    /// A failure on this data set's values.
    fn fail(&self, why: String) -> DataError {
        DataError::DataSet {
            path: self.path.clone(),
            name: self.name.clone(),
            why,
            suggestion: "check that the file is complete, with h5dump for example".into(),
        }
    }
}
