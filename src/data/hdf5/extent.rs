//! Whether a file can hold what its data sets declare.

use hdf5::dataset::Layout as Storage;

use super::chunks::Stored;
use super::filters::{self, Filter};
use super::source::Source;
use super::table::Table;
use crate::data::DataError;

/// Added to every bound so that small files are never refused.
const SLACK: u64 = 1 << 20;
/// Largest chunk in memory, bytes.
const MOST_CHUNK: u64 = 1 << 29;

impl Source {
    /// Refuse extents that the file is too small to hold, before memory or time is spent on them.
    pub(super) fn check_extent(&self, table: &Table, storage: Storage) -> Result<(), DataError> {
        let volume = |shape: &[usize]| {
            shape
                .iter()
                .try_fold(table.element as u64, |a, n| a.checked_mul(*n as u64))
        };
        let implausible = |what: String| {
            self.fail(
                &table.name,
                format!(
                    "it declares {what}, more than a file of {} bytes holds",
                    self.bytes
                ),
                "check that the file is complete and was written to the end",
            )
        };
        let expansion = table.filters.iter().map(Filter::most_expansion).max();
        let most = match storage {
            Storage::Chunked => (self.bytes)
                .saturating_mul(expansion.unwrap_or(1100))
                .saturating_add(SLACK),
            _ => self.bytes,
        };
        if volume(&table.shape).is_none_or(|bytes| bytes > most) {
            return Err(implausible(format!("shape {:?}", table.shape)));
        }
        if let Some(chunk) = &table.chunk {
            if chunk.len() != table.shape.len() || chunk.contains(&0) {
                return Err(self.fail(&table.name, "its chunks make no sense", "write it again"));
            }
            let bytes = volume(chunk).filter(|bytes| *bytes <= most);
            let Some(bytes) = bytes else {
                return Err(implausible(format!("chunks of {chunk:?}")));
            };
            if bytes > MOST_CHUNK {
                return Err(self.fail(
                    &table.name,
                    format!("its chunks of {chunk:?} have {bytes} bytes each"),
                    "write it again with smaller chunks, of 1024 rows for example",
                ));
            }
            // A stored chunk takes at least 8 bytes of index: more chunks only slow the reading down.
            let chunks = table
                .shape
                .iter()
                .zip(chunk)
                .try_fold(1u64, |a, (n, c)| a.checked_mul(n.div_ceil(*c) as u64));
            if chunks.is_none_or(|n| n > self.bytes / 8 + 1024) {
                return Err(implausible(format!("too many chunks of {chunk:?}")));
            }
        }
        Ok(())
    }

    /// The chunks that were written, which must lie in the file, and whose filters must be known.
    pub(super) fn chunk_index(
        &self,
        table: &Table,
        set: &hdf5::Dataset,
        chunk: &[usize],
    ) -> Result<Vec<Stored>, DataError> {
        if let Some(filter) = table.filters.iter().find(|f| !f.is_known()) {
            return Err(self.fail(
                &table.name,
                format!("it is packed with {}, which is not read here", filter.name()),
                "write it again with gzip: in Python, import h5py and hdf5plugin, read the data set and write it with create_dataset(.., compression='gzip')",
            ));
        }
        // Where libhdf5 reads chunks itself: a checksum is only right where it comes last, and chunks shorter than one make
        // libhdf5 (2.2 and before) read before their start.
        let checksum = table
            .filters
            .iter()
            .position(|f| f.id == filters::FLETCHER32);
        if table.kind.plain.is_none() && checksum.is_some_and(|at| at + 1 < table.filters.len()) {
            let why = format!("its filters are {}", named(&table.filters));
            return Err(self.fail(&table.name, why, "write it again with gzip alone"));
        }
        let least = if checksum.is_some() { 4 } else { 1 };
        let grid: Vec<u64> = (table.shape.iter().zip(chunk))
            .map(|(n, c)| n.div_ceil(*c) as u64)
            .collect();
        let (mut bad, mut index) = (None, Vec::new());
        set.chunks_visit(|info| {
            let end = info.addr.checked_add(info.size);
            if info.size < least || end.is_none_or(|end| end > self.bytes) {
                bad = Some((info.size, info.addr));
                return 1;
            }
            let mut place = Some(0u64);
            for ((offset, c), n) in info.offset.iter().zip(chunk).zip(&grid) {
                let at = Some(offset / *c as u64).filter(|at| at < n);
                place = place.and_then(|p| p.checked_mul(*n)?.checked_add(at?));
            }
            // Chunks beyond the extent were left when it shrank.
            index.extend(place.map(|place| Stored {
                place,
                start: info.addr,
                size: info.size,
                mask: info.filter_mask,
            }));
            0
        })
        .map_err(|e| self.broken(&table.name, &e))?;
        if let Some((size, at)) = bad {
            return Err(self.fail(
                &table.name,
                format!("a chunk of {size} bytes at byte {at}"),
                "check that the file is complete",
            ));
        }
        index.sort_unstable_by_key(|c: &Stored| c.place);
        Ok(index)
    }
}

/// Names of filters in a line.
pub(super) fn named(filters: &[Filter]) -> String {
    let names: Vec<_> = filters.iter().map(Filter::name).collect();
    names.join(", ")
}
