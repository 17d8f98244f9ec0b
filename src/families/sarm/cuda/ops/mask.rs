//! Masks of weight matrices as the kernels know them; `kernels/sarm/mask.cuh` is the same in CUDA.

use bytemuck::{Pod, Zeroable};

/// Which columns a row of a weight matrix reads: those below `base + (row / rows) * columns`.
///
/// As units are sorted by degree, what a row reads is a prefix, it grows with the row, and that is the
/// whole mask ([`model::shape`](crate::families::sarm)). Weights beyond it are 0 in every copy and stay 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Mask {
    /// Columns that the first rows read.
    pub base: u32,
    /// Rows that read alike.
    pub rows: u32,
    /// Columns that the next rows read beyond them.
    pub columns: u32,
}

impl Mask {
    /// Every row reads all `columns`.
    pub const fn none(columns: u32) -> Self {
        Self {
            base: columns,
            rows: 1,
            columns: 0,
        }
    }

    /// The input layer: the context, then all channels of the pixels of a lower degree.
    pub const fn input(context: u32, units_per_pixel: u32, channels: u32) -> Self {
        Self {
            base: context,
            rows: units_per_pixel,
            columns: channels,
        }
    }

    /// A hidden layer: the units of up to the same degree.
    pub const fn hidden(units_per_pixel: u32) -> Self {
        Self::output(units_per_pixel, units_per_pixel)
    }

    /// The output layer: the numbers of a pixel, `rows_per_pixel` of them, read the units of up to its degree.
    pub const fn output(units_per_pixel: u32, rows_per_pixel: u32) -> Self {
        Self {
            base: units_per_pixel,
            rows: rows_per_pixel,
            columns: units_per_pixel,
        }
    }

    /// Columns that `row` reads, of `columns` in the matrix.
    pub fn read(self, row: u32, columns: u32) -> u32 {
        let read =
            u64::from(self.base) + u64::from(row / self.rows.max(1)) * u64::from(self.columns);
        read.min(u64::from(columns)) as u32
    }

    /// The first row that reads `column`; it and all later rows do. `rows` if none of the matrix does.
    pub fn first_reader(self, column: u32, rows: u32) -> u32 {
        if column < self.base {
            return 0;
        }
        match (column - self.base).checked_div(self.columns) {
            None => rows,
            Some(group) => {
                let row = (u64::from(group) + 1) * u64::from(self.rows);
                row.min(u64::from(rows)) as u32
            }
        }
    }

    /// Weights of a `rows` x `columns` matrix that are not masked.
    pub fn unmasked(self, rows: u32, columns: u32) -> u64 {
        let group = self.rows.max(1);
        (0..rows.div_ceil(group))
            .map(|i| {
                let first = i * group;
                u64::from(self.read(first, columns)) * u64::from(group.min(rows - first))
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::sarm::{StageShape, TensorSpec};

    #[test]
    fn readers_are_the_inverse_of_what_is_read() {
        let masks = [
            Mask::none(13),
            Mask::input(0, 3, 1),
            Mask::input(5, 1, 2),
            Mask::hidden(4),
            Mask::output(2, 7),
        ];
        for mask in masks {
            for (rows, columns) in [(1, 1), (9, 13), (40, 11), (23, 64)] {
                for column in 0..columns {
                    let first = (0..rows).find(|r| mask.read(*r, columns) > column);
                    assert_eq!(
                        mask.first_reader(column, rows),
                        first.unwrap_or(rows),
                        "{mask:?}: column {column} of {columns}, {rows} rows"
                    );
                }
                let sum: u64 = (0..rows).map(|r| u64::from(mask.read(r, columns))).sum();
                assert_eq!(mask.unmasked(rows, columns), sum);
            }
        }
    }

    #[test]
    fn masks_are_those_of_the_model() {
        let stage = StageShape {
            earlier: 4,
            pixels: 5,
            units_per_pixel: 3,
            layers: 1,
            conditions: 2,
            channels: 2,
            values: 7,
            levels: 0,
            left: 0,
        };
        let masks = [
            ("input.weight", Mask::input(10, 3, 2)),
            ("hidden.0.weight", Mask::hidden(3)),
            ("gate.weight", Mask::output(3, 1)),
            ("value.weight", Mask::output(3, 7)),
        ];
        let specs = TensorSpec::all(&[stage]);
        for (name, mask) in masks {
            let spec = specs.iter().find(|s| s.name.ends_with(name)).unwrap();
            for row in 0..spec.rows() {
                let read = mask.read(row as u32, spec.columns() as u32);
                assert_eq!(read as usize, spec.read(row), "{name}, row {row}");
            }
        }
    }
}
