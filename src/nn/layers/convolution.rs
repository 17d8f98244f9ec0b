//! Convolutions as matrix products.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    Derivatives, Matrix, Size, WINDOW, WINDOW_PIXELS, add, add_product, derivatives, numbers,
};

/// Images of one task: derivatives of the weights are summed in tasks, then over tasks.
const TASK: usize = 8;

/// A 3 x 3 convolution of stride 1 without padding, its bias, and a ReLU.
///
/// Arguments: `[images, channels, height, width]`, weights `[filters, channels * 9]`, bias `[filters]`; result
/// `[images, filters, height - 2, width - 2]`.
pub(crate) struct Convolution {
    pub input: Size,
    pub output: Size,
    /// Whether the derivative by the input is wanted: not of the first layer.
    pub inner: bool,
}

impl Convolution {
    /// Numbers under all windows of one input channel, for one output channel.
    fn places(&self) -> usize {
        self.output.height * self.output.width
    }

    fn terms(&self) -> usize {
        self.input.channels * WINDOW_PIXELS
    }

    /// Call `copy(start in the unrolled image, start in the image)` for every run of a row's pixels.
    fn runs(&self, mut copy: impl FnMut(usize, usize)) {
        let (width, places) = (self.output.width, self.places());
        for channel in 0..self.input.channels {
            for k in 0..WINDOW_PIXELS {
                let term = channel * WINDOW_PIXELS + k;
                for row in 0..self.output.height {
                    let from = (channel * self.input.height + row + k / WINDOW) * self.input.width
                        + k % WINDOW;
                    copy(term * places + row * width, from);
                }
            }
        }
    }

    /// `unrolled [terms, places]`: column p holds what the window at p sees.
    fn unroll(&self, image: &[f32], unrolled: &mut [f32]) {
        let width = self.output.width;
        self.runs(|to, from| unrolled[to..][..width].copy_from_slice(&image[from..][..width]));
    }

    /// The transpose of [`unroll`](Self::unroll), added to `image`.
    fn roll(&self, unrolled: &[f32], image: &mut [f32]) {
        let width = self.output.width;
        self.runs(|from, to| {
            for (to, from) in image[to..][..width]
                .iter_mut()
                .zip(&unrolled[from..][..width])
            {
                *to += from;
            }
        });
    }

    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
        let (places, terms) = (self.places(), self.terms());
        let (inputs, outputs) = (self.input.numbers(), self.output.numbers());
        let mut y = vec![0.0; x.len() / inputs * outputs];
        (y.par_chunks_mut(TASK * outputs)
            .zip(x.par_chunks(TASK * inputs)))
        .for_each(|(y, x)| {
            let mut unrolled = vec![0.0; terms * places];
            for (y, x) in y.chunks_exact_mut(outputs).zip(x.chunks_exact(inputs)) {
                for (y, bias) in y.chunks_exact_mut(places).zip(bias) {
                    y.fill(*bias);
                }
                self.unroll(x, &mut unrolled);
                let weights = Matrix {
                    data: weights,
                    strides: (terms, 1),
                };
                let unrolled = Matrix {
                    data: &unrolled,
                    strides: (places, 1),
                };
                add_product(y, (self.output.channels, terms, places), weights, unrolled);
                y.iter_mut().for_each(|y| *y = y.max(0.0));
            }
        });
        y
    }

    fn backward(&self, x: &[f32], weights: &[f32], y: &[f32], dy: &[f32]) -> Derivatives {
        let (places, terms, filters) = (self.places(), self.terms(), self.output.channels);
        let (inputs, outputs) = (self.input.numbers(), self.output.numbers());
        let mut dx = vec![0.0; if self.inner { x.len() } else { 0 }];
        // Without a derivative by the input each task gets an empty piece of it.
        let tasks = x.len().div_ceil(TASK * inputs);
        let mut pieces: Vec<&mut [f32]> = dx.chunks_mut(TASK * inputs).collect();
        pieces.resize_with(tasks, Default::default);
        let parts: Vec<(Vec<f32>, Vec<f32>)> = (pieces.into_par_iter())
            .zip(x.par_chunks(TASK * inputs))
            .zip(y.par_chunks(TASK * outputs))
            .zip(dy.par_chunks(TASK * outputs))
            .map(|(((dx, x), y), dy)| {
                let (mut dweights, mut dbias) = (vec![0.0; filters * terms], vec![0.0; filters]);
                let (mut unrolled, mut delta) = (vec![0.0; terms * places], vec![0.0; outputs]);
                let images = x
                    .chunks_exact(inputs)
                    .zip(y.chunks_exact(outputs).zip(dy.chunks_exact(outputs)));
                for (i, (x, (y, dy))) in images.enumerate() {
                    for (delta, (y, dy)) in delta.iter_mut().zip(y.iter().zip(dy)) {
                        *delta = if *y > 0.0 { *dy } else { 0.0 };
                    }
                    for (dbias, delta) in dbias.iter_mut().zip(delta.chunks_exact(places)) {
                        *dbias += delta.iter().sum::<f32>();
                    }
                    self.unroll(x, &mut unrolled);
                    let deltas = || Matrix {
                        data: &delta,
                        strides: (places, 1),
                    };
                    let transposed = Matrix {
                        data: &unrolled,
                        strides: (1, places),
                    };
                    add_product(
                        &mut dweights,
                        (filters, places, terms),
                        deltas(),
                        transposed,
                    );
                    if self.inner {
                        unrolled.fill(0.0);
                        let transposed = Matrix {
                            data: weights,
                            strides: (1, terms),
                        };
                        add_product(
                            &mut unrolled,
                            (terms, filters, places),
                            transposed,
                            deltas(),
                        );
                        self.roll(&unrolled, &mut dx[i * inputs..][..inputs]);
                    }
                }
                (dweights, dbias)
            })
            .collect();
        let mut found = Derivatives {
            x: dx,
            weights: vec![0.0; filters * terms],
            bias: vec![0.0; filters],
        };
        for (weights, bias) in parts {
            add(&mut found.weights, &weights);
            add(&mut found.bias, &bias);
        }
        found
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "convolution"
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
        let images = y.len() / self.output.numbers();
        let Size {
            channels,
            height,
            width,
        } = self.output;
        Ok((
            CpuStorage::F32(y),
            Shape::from((images, channels, height, width)),
        ))
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
