//! Sums over what lies at listed places of images, sixteen outputs side by side.
//!
//! Each sum adds its terms one after the other, rounded once each: the bits depend neither on the instruction set nor on how many
//! images are given at once.

use std::ops::Range;

use super::Activation;
use crate::numeric::{Isa, Kernel, LANES, Vector};

/// Weights `[rows, columns]` in panels of [`LANES`] columns, the last one filled up with zeros.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Panels {
    rows: usize,
    values: Vec<f32>,
}

impl Panels {
    /// `weight(row, column)` of each.
    pub fn new(rows: usize, columns: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut values = vec![0.0; rows * columns.next_multiple_of(LANES)];
        for (panel, of_panel) in values.chunks_exact_mut(rows * LANES).enumerate() {
            let first = panel * LANES;
            for (row, of_row) in of_panel.chunks_exact_mut(LANES).enumerate() {
                let columns = first..columns.min(first + LANES);
                for (to, column) in of_row.iter_mut().zip(columns) {
                    *to = weight(row, column);
                }
            }
        }
        Self { rows, values }
    }
}

/// A piece of a sum: `count` numbers from `start` numbers after a place on, by as many rows of weights from `row` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub start: usize,
    pub row: usize,
    pub count: usize,
}

/// Outputs whose sums have the same pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The place that the pieces start from in an input image, and the first of the output's numbers in an output image.
    pub places: Vec<[u32; 2]>,
    pub runs: Vec<Run>,
}

impl Group {
    /// Whether the places lie in images of so many numbers, with `columns` numbers of an output, and the pieces in so many rows.
    fn fits(&self, columns: usize, [from, to, rows]: [usize; 3]) -> bool {
        let furthest = |i: usize| self.places.iter().map(|place| place[i] as usize).max();
        let last = |end: fn(&Run) -> usize| self.runs.iter().map(end).max().unwrap_or(0);
        let within = |place: Option<usize>, numbers: usize, all: usize| {
            place.is_none_or(|place| place.checked_add(numbers).is_some_and(|end| end <= all))
        };
        within(furthest(0), last(|run| run.start + run.count), from)
            && within(furthest(1), columns, to)
            && last(|run| run.row + run.count) <= rows
    }
}

/// `y = activation(bias + sum of x weights)`.
pub(super) struct Forward<'a> {
    pub groups: &'a [Group],
    /// Input images, of so many numbers each.
    pub x: (&'a [f32], usize),
    /// Output images.
    pub y: (&'a mut [f32], usize),
    pub weights: &'a Panels,
    /// One a column.
    pub bias: &'a [f32],
    pub activation: Activation,
}

/// Places whose derivatives stay in a cache while all rows of weights pass over them.
const PLACES: usize = 256;

/// `gradients [rows, columns] += sum of x dy`, the sum over places and images.
pub(super) struct Weights<'a> {
    pub groups: &'a [Group],
    pub x: (&'a [f32], usize),
    pub dy: (&'a [f32], usize),
    pub gradients: &'a mut [f32],
    pub columns: usize,
}

impl Forward<'_> {
    pub fn work(self) {
        self.work_on(Isa::best());
    }

    /// Any instruction set: the bits are the same.
    fn work_on(self, isa: Isa) {
        let (columns, rows) = (self.bias.len(), self.weights.rows);
        let (x, y) = (self.x.1, self.y.1);
        assert!(x > 0 && y > 0 && columns > 0);
        assert!(
            self.groups
                .iter()
                .all(|group| group.fits(columns, [x, y, rows]))
        );
        assert!(self.weights.values.len() == rows * columns.next_multiple_of(LANES));
        assert!(self.x.0.len() / x == self.y.0.len() / y);
        isa.dispatch(self);
    }
}

impl Weights<'_> {
    pub fn work(self) {
        self.work_on(Isa::best());
    }

    /// Any instruction set: the bits are the same.
    fn work_on(self, isa: Isa) {
        let (x, y) = (self.x.1, self.dy.1);
        assert!(x > 0 && y > 0 && self.columns > 0);
        let rows = self.gradients.len() / self.columns;
        assert!((self.groups.iter()).all(|group| group.fits(self.columns, [x, y, rows])));
        assert!(self.x.0.len() / x == self.dy.0.len() / y);
        isa.dispatch(self);
    }
}

/// The first of `LANES` numbers at `from`, the others 0 where there are only `count`.
///
/// # Safety
/// `from` is valid for reading `count` numbers.
#[inline(always)]
unsafe fn load<V: Vector>(from: *const f32, count: usize) -> V {
    // SAFETY: whole vectors where the caller vouches for them, a copy of what there is where not.
    unsafe {
        if count >= LANES {
            return V::load(from);
        }
        let mut all = [0.0; LANES];
        all.as_mut_ptr().copy_from_nonoverlapping(from, count);
        V::load(all.as_ptr())
    }
}

/// The transpose of [`load`].
///
/// # Safety
/// `to` is valid for writing `count` numbers.
#[inline(always)]
unsafe fn store<V: Vector>(values: V, to: *mut f32, count: usize) {
    // SAFETY: as in `load`.
    unsafe {
        if count >= LANES {
            return values.store(to);
        }
        to.copy_from_nonoverlapping(values.to_array().as_ptr(), count);
    }
}

/// Sums of `M` outputs, from `start` on.
///
/// # Safety
/// `x` are places for which all `runs` lie in an image, and in the rows of `panel`.
#[inline(always)]
unsafe fn sums<V: Vector, const M: usize>(
    x: [*const f32; M],
    runs: &[Run],
    panel: *const f32,
    start: V,
) -> [V; M] {
    let mut sums = [start; M];
    for run in runs {
        // SAFETY: passed on.
        unsafe {
            let weights = panel.add(run.row * LANES);
            let x = x.map(|x| x.add(run.start));
            for i in 0..run.count {
                let weights = V::load(weights.add(i * LANES));
                for m in 0..M {
                    sums[m] = V::splat(*x[m].add(i)).fma(weights, sums[m]);
                }
            }
        }
    }
    sums
}

/// Number of a `count` that is left to do which are done at once: the largest of the sizes there is code for.
#[inline(always)]
fn at_once<V: Vector>(left: usize) -> usize {
    let sizes = [12, 6, 4, 2, 1];
    let fits = |size: &usize| *size <= left && *size <= V::TILE_ROWS;
    sizes.into_iter().find(fits).unwrap_or(1)
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let columns = self.bias.len();
        let panel_numbers = self.weights.rows * LANES;
        for first in (0..columns).step_by(LANES) {
            let panel = &self.weights.values[first / LANES * panel_numbers..][..panel_numbers];
            for group in self.groups.iter().filter(|group| !group.places.is_empty()) {
                let count = (self.x.0.len() / self.x.1) * group.places.len();
                let mut place = 0;
                while place < count {
                    let size = at_once::<V>(count - place);
                    let at = (first, columns - first);
                    // SAFETY: `work` has checked that all places and pieces lie in the images and rows, and there are as many
                    // output images as input images; `y` is borrowed alone.
                    unsafe {
                        match size {
                            12 if V::TILE_ROWS >= 12 => {
                                self.outputs::<V, 12>(group, panel, place, at)
                            }
                            6 if V::TILE_ROWS >= 6 => self.outputs::<V, 6>(group, panel, place, at),
                            4 => self.outputs::<V, 4>(group, panel, place, at),
                            2 => self.outputs::<V, 2>(group, panel, place, at),
                            _ => self.outputs::<V, 1>(group, panel, place, at),
                        }
                    }
                    place += size;
                }
            }
        }
    }
}

impl Forward<'_> {
    /// Columns from number `column` on, `count` of them at the most, of `M` outputs from number `first` on, counted over the images.
    ///
    /// # Safety
    /// As [`work`](Self::work) checks; there are so many outputs.
    #[inline(always)]
    unsafe fn outputs<V: Vector, const M: usize>(
        &mut self,
        group: &Group,
        panel: &[f32],
        first: usize,
        (column, count): (usize, usize),
    ) {
        let mut from = [self.x.0.as_ptr(); M];
        let mut to = [self.y.0.as_mut_ptr(); M];
        let (mut image, mut place) = (first / group.places.len(), first % group.places.len());
        for m in 0..M {
            // SAFETY: the caller vouches for the places.
            unsafe {
                let [x, y] = *group.places.get_unchecked(place);
                from[m] = from[m].add(image * self.x.1 + x as usize);
                to[m] = to[m].add(image * self.y.1 + y as usize + column);
            }
            place += 1;
            if place == group.places.len() {
                (image, place) = (image + 1, 0);
            }
        }
        // SAFETY: the caller vouches for the pieces, the bias has a number a column.
        unsafe {
            let bias = load::<V>(self.bias.as_ptr().add(column), count);
            let sums = sums::<V, M>(from, &group.runs, panel.as_ptr(), bias);
            for m in 0..M {
                store(self.activation.of(sums[m]), to[m], count);
            }
        }
    }
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let images = self.x.0.len() / self.x.1;
        for group in self.groups.iter().filter(|group| !group.places.is_empty()) {
            let together = (PLACES / group.places.len()).max(1);
            for first in (0..images).step_by(together) {
                let images = first..images.min(first + together);
                for column in (0..self.columns).step_by(LANES) {
                    for run in &group.runs {
                        let mut row = 0;
                        while row < run.count {
                            let size = at_once::<V>(run.count - row);
                            let at = (run.start + row, run.row + row, column);
                            // SAFETY: `work` has checked that all places and pieces lie in the images and rows.
                            unsafe {
                                match size {
                                    12 if V::TILE_ROWS >= 12 => {
                                        self.rows::<V, 12>(group, &images, at);
                                    }
                                    6 if V::TILE_ROWS >= 6 => {
                                        self.rows::<V, 6>(group, &images, at);
                                    }
                                    4 => self.rows::<V, 4>(group, &images, at),
                                    2 => self.rows::<V, 2>(group, &images, at),
                                    _ => self.rows::<V, 1>(group, &images, at),
                                }
                            }
                            row += size;
                        }
                    }
                }
            }
        }
    }
}

impl Weights<'_> {
    /// `M` rows from `row` on, columns from `column` on, by the numbers from `start` on after the places.
    ///
    /// # Safety
    /// As [`work`](Self::work) checks.
    #[inline(always)]
    unsafe fn rows<V: Vector, const M: usize>(
        &mut self,
        group: &Group,
        images: &Range<usize>,
        (start, row, column): (usize, usize, usize),
    ) {
        let count = self.columns - column;
        // SAFETY: the caller vouches for rows and places.
        unsafe {
            let to = (self.gradients.as_mut_ptr()).add(row * self.columns + column);
            let mut sums = [V::splat(0.0); M];
            for (m, sum) in sums.iter_mut().enumerate() {
                *sum = load(to.add(m * self.columns), count);
            }
            for image in images.clone() {
                let x = self.x.0.as_ptr().add(image * self.x.1 + start);
                let dy = self.dy.0.as_ptr().add(image * self.dy.1 + column);
                for [from, by] in &group.places {
                    let (x, dy) = (
                        x.add(*from as usize),
                        load::<V>(dy.add(*by as usize), count),
                    );
                    for (m, sum) in sums.iter_mut().enumerate() {
                        *sum = V::splat(*x.add(m)).fma(dy, *sum);
                    }
                }
            }
            for (m, sum) in sums.into_iter().enumerate() {
                store(sum, to.add(m * self.columns), count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, salt: usize) -> Vec<f32> {
        let number = |i| ((i * 7919 + salt * 104_729) % 1009) as f32 / 1009.0 - 0.5;
        (0..count).map(number).collect()
    }

    /// Two groups, pieces of several lengths, more columns than a vector has and not a multiple of it.
    fn groups() -> Vec<Group> {
        let run = |start, row, count| Run { start, row, count };
        let group = |from: u32, to: u32, count: u32, runs: Vec<Run>| Group {
            places: (0..count).map(|i| [from + 2 * i, to + 19 * i]).collect(),
            runs,
        };
        vec![
            group(0, 0, 7, vec![run(0, 0, 13), run(20, 13, 3)]),
            group(1, 7 * 19, 5, vec![run(5, 16, 8)]),
            group(0, 0, 0, vec![run(0, 0, 24)]),
        ]
    }

    #[test]
    fn every_instruction_set_finds_the_same_bits() {
        let (groups, columns, images, of_x, of_y) = (groups(), 19, 3, 40, 12 * 19);
        let weights = numbers(24 * columns, 1);
        let panels = Panels::new(24, columns, |row, column| weights[row * columns + column]);
        let (x, dy, bias) = (
            numbers(images * of_x, 2),
            numbers(images * of_y, 3),
            numbers(columns, 4),
        );
        let mut found = Vec::new();
        for isa in Isa::available() {
            let mut y = vec![0.0; images * of_y];
            Forward {
                groups: &groups,
                x: (&x, of_x),
                y: (&mut y, of_y),
                weights: &panels,
                bias: &bias,
                activation: Activation::Leaky(0.3),
            }
            .work_on(isa);
            let mut gradients = numbers(24 * columns, 5);
            Weights {
                groups: &groups,
                x: (&x, of_x),
                dy: (&dy, of_y),
                gradients: &mut gradients,
                columns,
            }
            .work_on(isa);
            found.push((y, gradients));
        }
        // From the definition.
        let (mut y, mut gradients) = (vec![0.0f64; images * of_y], vec![0.0f64; 24 * columns]);
        for image in 0..images {
            for group in &groups {
                for [from, to] in &group.places {
                    for (column, bias) in bias.iter().enumerate() {
                        let out = image * of_y + *to as usize + column;
                        let mut sum = f64::from(*bias);
                        for run in &group.runs {
                            for i in 0..run.count {
                                let x = f64::from(x[image * of_x + *from as usize + run.start + i]);
                                let w = (run.row + i) * columns + column;
                                sum += x * f64::from(weights[w]);
                                gradients[w] += x * f64::from(dy[out]);
                            }
                        }
                        y[out] = if sum > 0.0 { sum } else { 0.3 * sum };
                    }
                }
            }
        }
        let before = numbers(24 * columns, 5);
        for (found_y, found_gradients) in &found {
            assert_eq!((found_y, found_gradients), (&found[0].0, &found[0].1));
            for (found, want) in found_y.iter().zip(&y) {
                assert!((f64::from(*found) - want).abs() < 1e-5, "{found} {want}");
            }
            for ((found, want), before) in found_gradients.iter().zip(&gradients).zip(&before) {
                let want = want + f64::from(*before);
                assert!((f64::from(*found) - want).abs() < 1e-5, "{found} {want}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "group.fits")]
    fn pieces_beyond_the_rows_are_refused() {
        let mut gradients = vec![0.0; 23 * 19];
        Weights {
            groups: &groups()[2..],
            x: (&[0.0; 40], 40),
            dy: (&[0.0; 228], 228),
            gradients: &mut gradients,
            columns: 19,
        }
        .work();
    }
}
