//! Data sets in chunks: each chunk is read from the file, unpacked and put where it belongs.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::rc::Rc;

use super::filters::{self, Filter};
use crate::data::element::{Element, Number};
use crate::data::flat::Part;

/// Numbers converted at once.
const TOGETHER: usize = 4096;

/// A chunked data set.
pub(super) struct Chunks {
    pub file: Rc<File>,
    pub shape: Vec<usize>,
    pub chunk: Vec<usize>,
    pub element: Element,
    pub filters: Vec<Filter>,
    /// The value of what was never written, as it is stored: a number, or of texts all bytes of one.
    pub fill: Vec<u8>,
    /// By place in the grid of chunks, row-major, ascending.
    pub index: Vec<Stored>,
    /// The chunk that was unpacked last: vectors are read in spans that share chunks.
    pub last: RefCell<Option<(u64, Rc<Vec<u8>>)>>,
}

/// A chunk in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    /// Place in the grid.
    pub place: u64,
    pub start: u64,
    pub size: u64,
    /// Filters that were left out.
    pub mask: u32,
}

/// A run of neighbouring numbers in a row of a chunk.
struct Line {
    /// Where it starts in the chunk's row, and in the data set's.
    from: usize,
    to: usize,
    length: usize,
}

impl Chunks {
    /// Rows that a chunk takes.
    pub fn rows_of_chunk(&self) -> usize {
        self.chunk.first().copied().unwrap_or(1)
    }

    /// Of each run of rows that chunks share, whether one of them was written.
    pub fn written(&self) -> Vec<bool> {
        let across = self.grid().iter().product::<usize>().max(1) as u64;
        let rows = self.shape.first().copied().unwrap_or(0);
        let mut written = vec![false; rows.div_ceil(self.rows_of_chunk())];
        for chunk in &self.index {
            if let Some(written) = written.get_mut((chunk.place / across) as usize) {
                *written = true;
            }
        }
        written
    }

    /// Bytes of an unpacked chunk.
    fn bytes(&self) -> usize {
        self.chunk.iter().product::<usize>() * self.element.bytes
    }

    /// Chunks in each dimension after the first.
    fn grid(&self) -> Vec<usize> {
        let pairs = self.shape.iter().zip(&self.chunk).skip(1);
        pairs.map(|(n, c)| n.div_ceil(*c)).collect()
    }

    /// The numbers of rows `start .. start + count`, row after row.
    pub fn rows<T: Number>(&self, start: usize, count: usize) -> Result<Vec<T>, String> {
        let per_row: usize = self.shape.iter().skip(1).product();
        let mut fill = vec![T::default(); self.fill.len() / self.element.bytes];
        self.element.convert(&self.fill, &mut fill);
        let mut out: Vec<T> = match fill.as_slice() {
            [one] => vec![*one; count * per_row],
            all => (all.iter().copied().cycle())
                .take(count * per_row)
                .collect(),
        };
        // Chunks of whole rows: several rows in one go.
        let whole = self.chunk.get(1..) == self.shape.get(1..);
        self.visit(start..start + count, whole, |row, to, numbers: &[T]| {
            let at = (row - start) * per_row + to;
            out[at..at + numbers.len()].copy_from_slice(numbers);
        })?;
        Ok(out)
    }

    /// The numbers in `rows` that are not zero, as (row, place in the row, number), in the order of the chunks; `taken` says
    /// of a row whether it is wanted. Takes memory for one chunk and what it finds; `most` bounds the latter.
    pub fn nonzeros(
        &self,
        rows: Range<usize>,
        taken: impl Fn(usize) -> bool,
        most: usize,
    ) -> Result<Vec<(u32, u16, f32)>, String> {
        let first = rows.start;
        let mut fill = [0f32];
        self.element.convert(&self.fill, &mut fill);
        let mut found = Vec::new();
        let mut add = |row: usize, to: usize, numbers: &[f32]| {
            if found.len() <= most && taken(row) {
                let nonzero = numbers.iter().enumerate().filter(|(_, v)| **v != 0.0);
                found.extend(nonzero.map(|(i, v)| ((row - first) as u32, (to + i) as u16, *v)));
            }
        };
        if fill[0] != 0.0 {
            // What was never written is not zero: such files are rare, and their rows are all full.
            return Err("its unwritten pixels are not zero".into());
        }
        self.visit(rows, false, &mut add)?;
        match found.len() <= most {
            true => Ok(found),
            false => Err(format!("it unpacks to over {most} nonzero pixels")),
        }
    }

    /// Call `visitor` with row, place in the row and numbers of every run of numbers in `rows` that was written; with
    /// `several`, which wants chunks of whole rows, a run goes over several rows.
    fn visit<T: Number>(
        &self,
        rows: Range<usize>,
        several: bool,
        mut visitor: impl FnMut(usize, usize, &[T]),
    ) -> Result<(), String> {
        if rows.is_empty() || self.shape.contains(&0) {
            return Ok(());
        }
        let (high, row_numbers) = (
            self.rows_of_chunk(),
            self.chunk.iter().skip(1).product::<usize>(),
        );
        let grid = self.grid();
        let across = grid.iter().product::<usize>() as u64;
        let together = (TOGETHER / row_numbers).clamp(1, high);
        let mut numbers = vec![T::default(); together * row_numbers];
        for band in rows.start / high..=(rows.end - 1) / high {
            let (from, to) = (band as u64 * across, (band as u64 + 1) * across);
            let begin = self.index.partition_point(|c| c.place < from);
            let stored = self.index[begin..].iter().take_while(|c| c.place < to);
            let wanted = rows.start.max(band * high)..rows.end.min((band + 1) * high);
            for chunk in stored {
                let bytes = self.unpacked(chunk)?;
                let lines = self.lines(&grid, (chunk.place - from) as usize);
                for first in wanted.clone().step_by(together) {
                    let n = together.min(wanted.end - first);
                    let size = row_numbers * self.element.bytes;
                    let at = (first - band * high) * size;
                    let numbers = &mut numbers[..n * row_numbers];
                    self.element.convert(&bytes[at..at + n * size], numbers);
                    if several {
                        visitor(first, 0, numbers);
                        continue;
                    }
                    for (i, row) in numbers.chunks_exact(row_numbers).enumerate() {
                        for line in &lines {
                            visitor(first + i, line.to, &row[line.from..line.from + line.length]);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The runs of a row of the chunk at `place` among those beside each other, in the dimensions after the first.
    fn lines(&self, grid: &[usize], place: usize) -> Vec<Line> {
        let (shape, chunk) = (&self.shape[1..], &self.chunk[1..]);
        let mut lines = vec![Line {
            from: 0,
            to: 0,
            length: 1,
        }];
        let mut rest = place;
        let mut across: usize = grid.iter().product();
        for (axis, ((n, c), g)) in shape.iter().zip(chunk).zip(grid).enumerate() {
            across /= g;
            let start = rest / across * c;
            rest %= across;
            let inside = *c.min(&(n - start));
            let last = axis + 1 == shape.len();
            let (steps, length) = match last {
                true => (1, inside),
                false => (inside, 1),
            };
            lines = (lines.iter())
                .flat_map(|line| {
                    (0..steps).map(move |i| Line {
                        from: line.from * c + i,
                        to: line.to * n + start + i,
                        length,
                    })
                })
                .collect();
        }
        lines
    }

    fn unpacked(&self, chunk: &Stored) -> Result<Rc<Vec<u8>>, String> {
        if let Some((place, bytes)) = &*self.last.borrow()
            && *place == chunk.place
        {
            return Ok(bytes.clone());
        }
        let fail = |why: String| format!("chunk at byte {}: {why}", chunk.start);
        let mut stored = vec![0; chunk.size as usize];
        Part::new(self.file.clone(), chunk.start, chunk.size)
            .read_exact(&mut stored)
            .map_err(|e| fail(e.to_string()))?;
        let bytes =
            filters::decode(&self.filters, chunk.mask, stored, self.bytes()).map_err(fail)?;
        let bytes = Rc::new(bytes);
        *self.last.borrow_mut() = Some((chunk.place, bytes.clone()));
        Ok(bytes)
    }
}
