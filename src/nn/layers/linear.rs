//! Layers that read a whole image.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{Derivatives, Matrix, add, add_product, derivatives, numbers};

/// Units that read all values of an image, their bias, and perhaps a ReLU.
///
/// Arguments: `[images, from]`, weights `[from, to]`, bias `[to]`; result `[images, to]`.
pub(crate) struct Linear {
    pub from: usize,
    pub to: usize,
    pub relu: bool,
    /// Whether the derivative by the input is wanted: not of the first layer.
    pub inner: bool,
}

/// Images, or rows of the weights' derivative, of one task of a linear layer: many, since each packs the other factor.
const TASK: usize = 64;

impl Linear {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
        let (from, to) = (self.from, self.to);
        let mut y = vec![0.0; x.len() / from * to];
        (y.par_chunks_mut(TASK * to).zip(x.par_chunks(TASK * from))).for_each(|(y, x)| {
            y.chunks_exact_mut(to).for_each(|y| y.copy_from_slice(bias));
            let rows = x.len() / from;
            add_product(
                y,
                (rows, from, to),
                Matrix {
                    data: x,
                    strides: (from, 1),
                },
                Matrix {
                    data: weights,
                    strides: (to, 1),
                },
            );
            if self.relu {
                y.iter_mut().for_each(|y| *y = y.max(0.0));
            }
        });
        y
    }

    fn backward(&self, x: &[f32], weights: &[f32], y: &[f32], dy: &[f32]) -> Derivatives {
        let (from, to) = (self.from, self.to);
        let images = x.len() / from;
        let delta: Vec<f32> = (y.iter().zip(dy))
            .map(|(y, dy)| if self.relu && *y <= 0.0 { 0.0 } else { *dy })
            .collect();
        let mut found = Derivatives {
            x: vec![0.0; if self.inner { x.len() } else { 0 }],
            weights: vec![0.0; from * to],
            bias: vec![0.0; to],
        };
        delta
            .chunks_exact(to)
            .for_each(|delta| add(&mut found.bias, delta));
        (found.weights.par_chunks_mut(TASK * to).enumerate()).for_each(|(task, part)| {
            let transposed = Matrix {
                data: &x[task * TASK..],
                strides: (1, from),
            };
            add_product(
                part,
                (part.len() / to, images, to),
                transposed,
                Matrix {
                    data: &delta,
                    strides: (to, 1),
                },
            );
        });
        (found
            .x
            .par_chunks_mut(TASK * from)
            .zip(delta.par_chunks(TASK * to)))
        .for_each(|(dx, delta)| {
            let rows = delta.len() / to;
            let transposed = Matrix {
                data: weights,
                strides: (1, to),
            };
            add_product(
                dx,
                (rows, to, from),
                Matrix {
                    data: delta,
                    strides: (to, 1),
                },
                transposed,
            );
        });
        found
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(
            numbers(x, x_layout)?,
            numbers(weights, weights_layout)?,
            numbers(bias, bias_layout)?,
        );
        let images = y.len() / self.to;
        Ok((CpuStorage::F32(y), Shape::from((images, self.to))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weights: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let arguments = [x, weights, bias, y, dy];
        derivatives(arguments, self.inner, |x, weights, y, dy| {
            self.backward(x, weights, y, dy)
        })
    }
}
