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

    /// Numbers under one window.
    pub fn terms(&self) -> usize {
        self.side * self.side * self.large.channels
    }

    /// Call `run(start under the windows, start in the image, numbers)` for every piece of a row that a window covers; what
    /// lies outside the image is left out.
    fn runs(&self, mut run: impl FnMut(usize, usize, usize)) {
        let channels = self.large.channels;
        let [rows, columns] = self.small;
        for place in 0..rows * columns {
            let [top, left] = [place / columns, place % columns].map(|p| p * self.stride);
            // Columns of the window that lie in the image.
            let first = self.before[1].saturating_sub(left);
            let last = self
                .side
                .min((self.large.width + self.before[1]).saturating_sub(left));
            if first >= last {
                continue;
            }
            for down in 0..self.side {
                let Some(row) = (top + down).checked_sub(self.before[0]) else {
                    continue;
                };
                if row >= self.large.height {
                    break;
                }
                let column = left + first - self.before[1];
                run(
                    place * self.terms() + (down * self.side + first) * channels,
                    (row * self.large.width + column) * channels,
                    (last - first) * channels,
                );
            }
        }
    }

    /// Call `pair(window, pixel, place in the window)` for every pixel that a window covers.
    pub fn pairs(&self, mut pair: impl FnMut(usize, usize, usize)) {
        let channels = self.large.channels;
        self.runs(|under, pixel, numbers| {
            let (window, first) = (under / self.terms(), under % self.terms() / channels);
            for i in 0..numbers / channels {
                pair(window, pixel / channels + i, first + i);
            }
        });
    }

    /// `unrolled [places, side, side, channels]`, which held zeros: what each window sees.
    pub fn unroll(&self, image: &[f32], unrolled: &mut [f32]) {
        self.runs(|to, from, numbers| {
            unrolled[to..][..numbers].copy_from_slice(&image[from..][..numbers]);
        });
    }

    /// The transpose of [`unroll`](Self::unroll), added to `image`.
    pub fn roll(&self, unrolled: &[f32], image: &mut [f32]) {
        self.runs(|from, to, numbers| {
            let windows = &unrolled[from..][..numbers];
            for (to, from) in image[to..][..numbers].iter_mut().zip(windows) {
                *to += from;
            }
        });
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

    #[test]
    fn rolling_is_the_transpose_of_unrolling() {
        let large = Size {
            height: 5,
            width: 4,
            channels: 2,
        };
        for (side, stride, padding) in [
            (3, 2, Padding::Same),
            (3, 1, Padding::Same),
            (2, 1, Padding::Valid),
            (5, 3, Padding::Same),
        ] {
            let Some(window) = Window::over(large, side, stride, padding) else {
                panic!("{side} fits")
            };
            let number = |i: usize| ((i * 37 + 11) % 101) as f32 - 50.0;
            let image: Vec<f32> = (0..large.numbers()).map(number).collect();
            let all = window.places() * window.terms();
            let other: Vec<f32> = (0..all).map(|i| number(3 * i + 5)).collect();
            let (mut unrolled, mut rolled) = (vec![0.0; all], vec![0.0; image.len()]);
            window.unroll(&image, &mut unrolled);
            window.roll(&other, &mut rolled);
            let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
            // Whole numbers: exact.
            assert_eq!(dot(&unrolled, &other), dot(&image, &rolled));
        }
    }
}
