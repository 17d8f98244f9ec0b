//! Maxima of windows.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{Size, WINDOW, WINDOW_PIXELS, numbers, with_numbers};

/// Channels of images that one task takes at least.
const TASK: usize = 8;

/// The largest number under a 3 x 3 window of stride 1 without padding. Of equal ones the first in row-major order has
/// the derivative.
///
/// Argument `[images, channels, height, width]`, result `[images, channels, height - 2, width - 2]`.
pub(crate) struct Pool {
    pub input: Size,
    pub output: Size,
}

impl Pool {
    /// Call `at(place in the output, place of its largest number in the input)` for one channel.
    fn largest(&self, x: &[f32], mut at: impl FnMut(usize, usize)) {
        let width = self.input.width;
        for row in 0..self.output.height {
            for column in 0..self.output.width {
                let corner = row * width + column;
                let mut best = corner;
                for k in 1..WINDOW_PIXELS {
                    let place = corner + k / WINDOW * width + k % WINDOW;
                    if x[place] > x[best] {
                        best = place;
                    }
                }
                at(row * self.output.width + column, best);
            }
        }
    }
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let [inputs, outputs] = [self.input, self.output].map(|s| s.height * s.width);
        let mut y = vec![0.0; x.len() / inputs * outputs];
        (y.par_chunks_mut(outputs).zip(x.par_chunks(inputs)))
            .with_min_len(TASK)
            .for_each(|(y, x)| self.largest(x, |to, from| y[to] = x[from]));
        let Size {
            channels,
            height,
            width,
        } = self.output;
        let images = y.len() / self.output.numbers();
        Ok((
            CpuStorage::F32(y),
            Shape::from((images, channels, height, width)),
        ))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let [inputs, outputs] = [self.input, self.output].map(|s| s.height * s.width);
        let dx = with_numbers(x, |x| {
            with_numbers(dy, |dy| {
                let mut dx = vec![0.0; x.len()];
                (dx.par_chunks_mut(inputs).zip(x.par_chunks(inputs)))
                    .zip(dy.par_chunks(outputs))
                    .with_min_len(TASK)
                    .for_each(|((dx, x), dy)| self.largest(x, |from, to| dx[to] += dy[from]));
                Ok(dx)
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}
