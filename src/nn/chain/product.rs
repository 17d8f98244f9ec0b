//! Sums over what lies at listed places of images, sixteen outputs side by side.
//!
//! Each sum adds its terms one after the other, rounded once each: the bits depend neither on the instruction set nor on how many
//! images are given at once.

use std::mem::MaybeUninit;
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

/// All outputs of an image: each is in one group, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Groups {
    groups: Vec<Group>,
    /// Numbers of an output.
    columns: usize,
    /// Numbers of an output image.
    numbers: usize,
    /// Rows of weights.
    rows: usize,
    /// Numbers that an input image has at least.
    reach: usize,
}

impl Groups {
    /// Outputs of `columns` numbers each.
    ///
    /// # Panics
    /// Where they are not side by side, each there once, or the pieces do not have each row of weights once.
    pub fn new(groups: Vec<Group>, columns: usize) -> Self {
        let outputs: usize = groups.iter().map(|group| group.places.len()).sum();
        let mut is_there = vec![false; outputs];
        for [_, output] in groups.iter().flat_map(|group| &group.places) {
            let output = *output as usize;
            assert!(output.is_multiple_of(columns));
            assert!(!std::mem::replace(&mut is_there[output / columns], true));
        }
        let mut rows: Vec<Range<usize>> = (groups.iter().flat_map(|group| &group.runs))
            .map(|run| run.row..run.row + run.count)
            .collect();
        rows.sort_by_key(|rows| rows.start);
        let mut end = 0;
        for rows in rows {
            assert!(rows.start == std::mem::replace(&mut end, rows.end));
        }
        let reach = groups.iter().map(|group| {
            let ends = group.runs.iter().map(|run| run.start + run.count);
            let furthest = group.places.iter().map(|[from, _]| *from as usize).max();
            furthest.map_or(0, |furthest| furthest + ends.max().unwrap_or(0))
        });
        Self {
            reach: reach.max().unwrap_or(0),
            rows: end,
            numbers: outputs * columns,
            groups,
            columns,
        }
    }

    /// Its only group, where there is one alone.
    pub fn only(&self) -> Option<&Group> {
        match &self.groups[..] {
            [group] => Some(group),
            _ => None,
        }
    }
}

/// `activation(bias + sum of x weights)` of all outputs.
pub(super) struct Forward<'a> {
    pub groups: &'a Groups,
    /// Input images, of so many numbers each.
    pub x: (&'a [f32], usize),
    pub weights: &'a Panels,
    /// One a column.
    pub bias: &'a [f32],
    pub activation: Activation,
}

/// Sums being made.
struct Making<'a> {
    of: Forward<'a>,
    y: &'a mut [MaybeUninit<f32>],
}

/// Places, counted over the images, that all rows of weights pass over together. What they read is copied side by side: numbers a pixel's
/// channels apart would fall into a few of a cache's sets. A vector of derivatives of each and a tile's rows fill half of 32 KB.
const PLACES: usize = 128;
/// The most rows of a tile.
const ROWS: usize = 12;

/// `gradients = sum of x dy`, the sum over places and images in their order.
pub(super) struct Weights<'a> {
    pub groups: &'a Groups,
    /// Input images, of so many numbers each.
    pub x: (&'a [f32], usize),
    /// Of as many output images.
    pub dy: &'a [f32],
    pub gradients: &'a mut [f32],
    /// Where each row of weights starts among the gradients.
    pub rows: &'a [usize],
}

impl Forward<'_> {
    /// The output images.
    pub fn work(self) -> Vec<f32> {
        self.work_on(Isa::best())
    }

    /// Any instruction set: the bits are the same.
    fn work_on(self, isa: Isa) -> Vec<f32> {
        let groups = self.groups;
        let images = self.x.0.len() / self.x.1;
        assert!(self.bias.len() == groups.columns);
        assert!(groups.reach <= self.x.1 && groups.rows == self.weights.rows);
        let columns = groups.columns.next_multiple_of(LANES);
        assert!(self.weights.values.len() == self.weights.rows * columns);
        let count = images * groups.numbers;
        let mut y = Vec::with_capacity(count);
        isa.dispatch(Making {
            of: self,
            y: &mut y.spare_capacity_mut()[..count],
        });
        // SAFETY: every output is in one of the groups (`Groups::new`), of every image, and all of its numbers have been written.
        unsafe { y.set_len(count) };
        y
    }
}

impl Weights<'_> {
    pub fn work(self) {
        self.work_on(Isa::best());
    }

    /// Any instruction set: the bits are the same.
    fn work_on(self, isa: Isa) {
        let groups = self.groups;
        let images = self.x.0.len() / self.x.1;
        assert!(self.dy.len() == images * groups.numbers);
        assert!(groups.reach <= self.x.1 && groups.rows == self.rows.len());
        let furthest = self.gradients.len().checked_sub(groups.columns);
        assert!((self.rows.iter()).all(|row| furthest.is_some_and(|furthest| *row <= furthest)));
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

impl Kernel for Making<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let (groups, weights) = (self.of.groups, self.of.weights);
        let columns = groups.columns;
        let panel_numbers = weights.rows * LANES;
        let images = self.of.x.0.len() / self.of.x.1;
        for first in (0..columns).step_by(LANES) {
            let panel = &weights.values[first / LANES * panel_numbers..][..panel_numbers];
            for group in &groups.groups {
                let count = images * group.places.len();
                let mut place = 0;
                while place < count {
                    let size = at_once::<V>(count - place);
                    let at = (first, columns - first);
                    // SAFETY: pieces lie in the images and rows, as `work` has checked, outputs in an image of theirs, as `Groups::new`
                    // has, and there are as many of these as of input images; `y` is borrowed alone.
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

impl Making<'_> {
    /// Columns from number `column` on, `count` of them at the most, of `M` outputs from number `first` on, counted over the images.
    ///
    /// # Safety
    /// As [`Forward::work`] and [`Groups::new`] check; there are so many outputs.
    #[inline(always)]
    unsafe fn outputs<V: Vector, const M: usize>(
        &mut self,
        group: &Group,
        panel: &[f32],
        first: usize,
        (column, count): (usize, usize),
    ) {
        let (x, of_image) = (self.of.x, self.of.groups.numbers);
        let mut from = [x.0.as_ptr(); M];
        let mut to = [self.y.as_mut_ptr().cast::<f32>(); M];
        let (mut image, mut place) = (first / group.places.len(), first % group.places.len());
        for m in 0..M {
            // SAFETY: the caller vouches for the places.
            unsafe {
                let [input, output] = *group.places.get_unchecked(place);
                from[m] = from[m].add(image * x.1 + input as usize);
                to[m] = to[m].add(image * of_image + output as usize + column);
            }
            place += 1;
            if place == group.places.len() {
                (image, place) = (image + 1, 0);
            }
        }
        // SAFETY: the caller vouches for the pieces, the bias has a number a column.
        unsafe {
            let bias = load::<V>(self.of.bias.as_ptr().add(column), count);
            let sums = sums::<V, M>(from, &group.runs, panel.as_ptr(), bias);
            for m in 0..M {
                store(self.of.activation.of(sums[m]), to[m], count);
            }
        }
    }
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let (columns, of_x, of_dy) = (self.groups.columns, self.x.1, self.groups.numbers);
        let images = self.x.0.len() / of_x;
        let mut x = [0.0; PLACES * ROWS];
        // `[panel, place, LANES]`, the last panel filled up with zeros.
        let mut dy = vec![0.0; PLACES * columns.next_multiple_of(LANES)];
        let mut starts = Vec::with_capacity(PLACES);
        let no_places = |group: &&Group| images * group.places.len() == 0;
        let rows = (self.groups.groups.iter().filter(no_places)).flat_map(|group| &group.runs);
        for row in rows.flat_map(|run| &self.rows[run.row..][..run.count]) {
            self.gradients[*row..][..columns].fill(0.0);
        }
        for group in &self.groups.groups {
            let mut is_first = true;
            let all = (0..images).flat_map(|image| {
                let start = [image * of_x, image * of_dy];
                let place =
                    move |[x, dy]: &[u32; 2]| [start[0] + *x as usize, start[1] + *dy as usize];
                group.places.iter().map(place)
            });
            let mut all = all.peekable();
            while all.peek().is_some() {
                starts.clear();
                for (place, [x, start]) in all.by_ref().take(PLACES).enumerate() {
                    starts.push(x);
                    let of_place = self.dy[start..][..columns].chunks(LANES);
                    for (panel, of_place) in of_place.enumerate() {
                        dy[(panel * PLACES + place) * LANES..][..of_place.len()]
                            .copy_from_slice(of_place);
                    }
                }
                for run in &group.runs {
                    let mut row = 0;
                    while row < run.count {
                        let size = at_once::<V>(run.count - row);
                        let at = (run.start + row, run.row + row, is_first);
                        let (x, dy) = (&mut x, &dy[..]);
                        // SAFETY: `work` has checked that all places and pieces lie in the images and rows, and rows among the
                        // gradients; there are at most `PLACES` places, and so many numbers in every panel of `dy`.
                        unsafe {
                            match size {
                                12 if V::TILE_ROWS >= 12 => self.rows::<V, 12>(&starts, at, x, dy),
                                6 if V::TILE_ROWS >= 6 => self.rows::<V, 6>(&starts, at, x, dy),
                                4 => self.rows::<V, 4>(&starts, at, x, dy),
                                2 => self.rows::<V, 2>(&starts, at, x, dy),
                                _ => self.rows::<V, 1>(&starts, at, x, dy),
                            }
                        }
                        row += size;
                    }
                }
                is_first = false;
            }
        }
    }
}

impl Weights<'_> {
    /// `M` rows from `row` on, all columns, by the numbers from `start` on after each place in `x` and by `dy` as [`run`](Kernel::run)
    /// has copied it: their first terms, or added to those before.
    ///
    /// # Safety
    /// As [`work`](Self::work) checks, of at most [`PLACES`] places counted over the images; `dy` has so many in every panel.
    #[inline(always)]
    unsafe fn rows<V: Vector, const M: usize>(
        &mut self,
        places: &[usize],
        (start, row, is_first): (usize, usize, bool),
        x: &mut [f32; PLACES * ROWS],
        dy: &[f32],
    ) {
        // SAFETY: the caller vouches for rows and places, M is at most ROWS.
        unsafe {
            let from = self.x.0.as_ptr().add(start);
            let x = x.as_mut_ptr();
            for (i, place) in places.iter().enumerate() {
                x.add(i * M).copy_from_nonoverlapping(from.add(*place), M);
            }
            let columns = self.groups.columns;
            for (panel, column) in (0..columns).step_by(LANES).enumerate() {
                let count = columns - column;
                let mut to = [self.gradients.as_mut_ptr(); M];
                let mut sums = [V::splat(0.0); M];
                for m in 0..M {
                    to[m] = to[m].add(self.rows.get_unchecked(row + m) + column);
                    if !is_first {
                        sums[m] = load(to[m], count);
                    }
                }
                let dy = dy.as_ptr().add(panel * PLACES * LANES);
                for i in 0..places.len() {
                    let (x, dy) = (x.add(i * M), V::load(dy.add(i * LANES)));
                    for (m, sum) in sums.iter_mut().enumerate() {
                        *sum = V::splat(*x.add(m)).fma(dy, *sum);
                    }
                }
                for m in 0..M {
                    store(sums[m], to[m], count);
                }
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
    fn groups() -> Groups {
        let run = |start, row, count| Run { start, row, count };
        let group = |from: u32, to: u32, count: u32, runs: Vec<Run>| Group {
            places: (0..count).map(|i| [from + 2 * i, to + 19 * i]).collect(),
            runs,
        };
        let groups = vec![
            group(0, 0, 7, vec![run(0, 0, 13), run(20, 13, 3)]),
            group(1, 7 * 19, 5, vec![run(5, 16, 8)]),
            // Nobody reads these rows.
            group(0, 0, 0, vec![run(0, 24, 3)]),
        ];
        Groups::new(groups, 19)
    }

    #[test]
    fn every_instruction_set_finds_the_same_bits() {
        let (groups, columns, images, of_x, of_y) = (groups(), 19, 3, 40, 12 * 19);
        let weights = numbers(27 * columns, 1);
        let panels = Panels::new(27, columns, |row, column| weights[row * columns + column]);
        let (x, dy, bias) = (
            numbers(images * of_x, 2),
            numbers(images * of_y, 3),
            numbers(columns, 4),
        );
        // Rows of gradients the other way round.
        let rows: Vec<usize> = (0..27).rev().map(|row| row * columns).collect();
        let mut found = Vec::new();
        for isa in Isa::available() {
            let y = Forward {
                groups: &groups,
                x: (&x, of_x),
                weights: &panels,
                bias: &bias,
                activation: Activation::Leaky(0.3),
            }
            .work_on(isa);
            // What was there before is gone.
            let mut gradients = numbers(27 * columns, 5);
            Weights {
                groups: &groups,
                x: (&x, of_x),
                dy: &dy,
                gradients: &mut gradients,
                rows: &rows,
            }
            .work_on(isa);
            found.push((y, gradients));
        }
        // From the definition.
        let (mut y, mut gradients) = (vec![0.0f64; images * of_y], vec![0.0f64; 27 * columns]);
        for image in 0..images {
            for group in &groups.groups {
                for [from, to] in &group.places {
                    for (column, bias) in bias.iter().enumerate() {
                        let out = image * of_y + *to as usize + column;
                        let mut sum = f64::from(*bias);
                        for run in &group.runs {
                            for i in 0..run.count {
                                let x = f64::from(x[image * of_x + *from as usize + run.start + i]);
                                let row = run.row + i;
                                sum += x * f64::from(weights[row * columns + column]);
                                gradients[rows[row] + column] += x * f64::from(dy[out]);
                            }
                        }
                        y[out] = if sum > 0.0 { sum } else { 0.3 * sum };
                    }
                }
            }
        }
        for (found_y, found_gradients) in &found {
            assert_eq!((found_y, found_gradients), (&found[0].0, &found[0].1));
            for (found, want) in found_y.iter().zip(&y) {
                assert!((f64::from(*found) - want).abs() < 1e-5, "{found} {want}");
            }
            for (found, want) in found_gradients.iter().zip(&gradients) {
                assert!((f64::from(*found) - want).abs() < 1e-5, "{found} {want}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "groups.rows == self.rows.len()")]
    fn pieces_beyond_the_rows_are_refused() {
        Weights {
            groups: &groups(),
            x: (&[0.0; 40], 40),
            dy: &[0.0; 228],
            gradients: &mut [0.0; 27 * 19],
            rows: &[0; 26],
        }
        .work();
    }

    #[test]
    #[should_panic(expected = "furthest")]
    fn rows_beyond_the_gradients_are_refused() {
        Weights {
            groups: &groups(),
            x: (&[0.0; 40], 40),
            dy: &[0.0; 228],
            gradients: &mut [0.0; 19],
            rows: &[[0; 26].as_slice(), &[1]].concat(),
        }
        .work();
    }

    #[test]
    #[should_panic(expected = "is_there")]
    fn outputs_that_are_there_twice_are_refused() {
        let group = Group {
            places: vec![[0, 0], [1, 19], [2, 19]],
            runs: Vec::new(),
        };
        Groups::new(vec![group], 19);
    }

    #[test]
    #[should_panic(expected = "rows.start")]
    fn rows_of_two_groups_are_refused() {
        let group = |to| Group {
            places: vec![[0, to]],
            runs: vec![Run {
                start: 0,
                row: 0,
                count: 2,
            }],
        };
        Groups::new(vec![group(0), group(19)], 19);
    }
}
