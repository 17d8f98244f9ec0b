//! Where the windows of a convolution lie.

use super::Size;

/// Windows that run over a large image, one for each place of a small one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// The image that they run over.
    pub large: Size,
    /// Places of the windows, down and across.
    pub small: [usize; 2],
    /// Rows and columns of a window.
    pub side: usize,
    /// Rows, and columns, from one window to the next.
    pub stride: usize,
    /// Rows above the image, and columns left of it, where the first window starts: they hold zeros.
    pub before: [usize; 2],
}

/// What lies under the windows at the edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// The image alone.
    Valid,
    /// Zeros, so that there are `ceil(length / stride)` windows; of an odd number of rows the one more comes last, as in
    /// TensorFlow and Keras.
    Same,
}

/// Outputs that add up their inputs alike: those of one phase of a stride, or all. The first of each pair is of rows, the second of
/// columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phase {
    /// How many outputs there are.
    pub count: [usize; 2],
    /// The input at the first place of the first output's sum: negative above and left of the image.
    pub from: [isize; 2],
    /// Inputs from the sum of one output to the next.
    pub from_step: usize,
    /// The first output.
    pub to: [usize; 2],
    /// From one output to the next.
    pub to_step: usize,
    /// Places in a window that the inputs of a sum are under, in their order.
    pub taps: [Vec<usize>; 2],
}

impl Phase {
    /// Rows above the image, or columns left of it, that sums reach into.
    pub fn before(&self, i: usize) -> usize {
        self.from[i].min(0).unsigned_abs()
    }

    /// Where the last sum ends, of inputs with `before` rows, or columns, in front of them.
    pub fn end(&self, i: usize, before: usize) -> usize {
        match self.count[i] {
            0 => 0,
            count => self.first(i, before) + (count - 1) * self.from_step + self.taps[i].len(),
        }
    }

    /// `before` is no less than [`before`](Self::before).
    fn first(&self, i: usize, before: usize) -> usize {
        (before as isize + self.from[i]).unsigned_abs()
    }

    /// First input of each sum, counted with the rows and columns `before` the image, and output.
    pub fn places(&self, before: [usize; 2]) -> impl Iterator<Item = ([usize; 2], [usize; 2])> {
        let first = [0, 1].map(|i| self.first(i, before[i]));
        let (count, to) = (self.count, self.to);
        let (from_step, to_step) = (self.from_step, self.to_step);
        (0..count[0] * count[1]).map(move |n| {
            let n = [n / count[1], n % count[1]];
            let from = [0, 1].map(|i| first[i] + n[i] * from_step);
            (from, [0, 1].map(|i| to[i] + n[i] * to_step))
        })
    }

    /// Places in a window of `side`, in the order of a sum.
    pub fn places_in_window(&self, side: usize) -> impl Iterator<Item = usize> {
        let [rows, columns] = &self.taps;
        (rows.iter()).flat_map(move |row| columns.iter().map(move |column| row * side + column))
    }
}

impl Window {
    /// What the places of the small image add up of the large one.
    pub fn down(&self) -> Phase {
        Phase {
            count: self.small,
            from: self.before.map(|before| -(before as isize)),
            from_step: self.stride,
            to: [0; 2],
            to_step: 1,
            taps: [(); 2].map(|()| (0..self.side).collect()),
        }
    }

    /// What the pixels of the large image add up of the small one, of windows at least as long as their stride.
    pub fn up(&self) -> Vec<Phase> {
        let (side, stride) = (self.side, self.stride);
        debug_assert!(side >= stride, "pixels that no window covers");
        let lengths = [self.large.height, self.large.width];
        let phase = |phase: usize| {
            let phases = [phase / stride, phase % stride];
            // The last first: they meet the places of the small image in ascending order.
            let taps = phases.map(|p| (p..side).step_by(stride).rev().collect::<Vec<_>>());
            // A pixel `p` rows below the first window's first is under the windows `p / stride`, one before, and so on.
            let to = [0, 1].map(|i| (phases[i] + stride - self.before[i] % stride) % stride);
            Phase {
                count: [0, 1].map(|i| lengths[i].saturating_sub(to[i]).div_ceil(stride)),
                from: [0, 1].map(|i| {
                    let last = (to[i] + self.before[i]) / stride;
                    last as isize + 1 - taps[i].len() as isize
                }),
                from_step: 1,
                to,
                to_step: stride,
                taps,
            }
        };
        (0..stride * stride).map(phase).collect()
    }

    /// Windows over `large`; `None` where none fits.
    pub fn over(large: Size, side: usize, stride: usize, padding: Padding) -> Option<Self> {
        if side == 0 || stride == 0 {
            return None;
        }
        let along = |length: usize| match padding {
            Padding::Valid => Some((length.checked_sub(side)? / stride + 1, 0)),
            Padding::Same => {
                let count = length.div_ceil(stride);
                let all = (count.checked_sub(1)? * stride + side).saturating_sub(length);
                Some((count, all / 2))
            }
        };
        let (rows, above) = along(large.height)?;
        let (columns, left) = along(large.width)?;
        Some(Self {
            large,
            small: [rows, columns],
            side,
            stride,
            before: [above, left],
        })
    }

    /// Places of one image.
    pub fn places(&self) -> usize {
        self.small[0] * self.small[1]
    }

    /// Call `pair(window, pixel, place in the window)` for every pixel that a window covers.
    pub fn pairs(&self, mut pair: impl FnMut(usize, usize, usize)) {
        let [rows, columns] = self.small;
        // Row, or column, of the image that lies in a row, or column, of a window.
        let inside = |window: usize, within: usize, before: usize, length: usize| {
            (window * self.stride + within)
                .checked_sub(before)
                .filter(|at| *at < length)
        };
        for window in 0..rows * columns {
            for tap in 0..self.side * self.side {
                let row = inside(
                    window / columns,
                    tap / self.side,
                    self.before[0],
                    self.large.height,
                );
                let column = inside(
                    window % columns,
                    tap % self.side,
                    self.before[1],
                    self.large.width,
                );
                if let (Some(row), Some(column)) = (row, column) {
                    pair(window, row * self.large.width + column, tap);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(length: usize, side: usize, stride: usize, padding: Padding) -> (usize, usize) {
        let size = Size {
            height: length,
            width: length,
            channels: 1,
        };
        let window = Window::over(size, side, stride, padding).unwrap();
        (window.small[0], window.before[0])
    }

    #[test]
    fn windows_lie_as_in_keras() {
        // Rows, and zeros above, by tensorflow 2.x's rule of "same".
        for (length, side, stride, want) in [
            (25, 3, 1, (25, 1)),
            (25, 3, 2, (13, 1)),
            (13, 3, 2, (7, 1)),
            (14, 3, 2, (7, 0)),
            (28, 3, 2, (14, 0)),
            (25, 11, 2, (13, 5)),
            (13, 5, 2, (7, 2)),
            (7, 5, 2, (4, 2)),
            (28, 4, 1, (28, 1)),
        ] {
            assert_eq!(
                starts(length, side, stride, Padding::Same),
                want,
                "{length} {side} {stride}"
            );
        }
        assert_eq!(starts(28, 4, 1, Padding::Valid), (25, 0));
        let small = Size {
            height: 3,
            width: 3,
            channels: 1,
        };
        assert_eq!(Window::over(small, 4, 1, Padding::Valid), None);
    }
}
