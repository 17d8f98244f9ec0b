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

impl Window {
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
