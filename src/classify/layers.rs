//! The two layers whose derivatives candle 0.11 lacks or does slowly on a CPU, as operations on its tape.
//!
//! Its convolution goes back through a convolution as large as the image, and its pooling has no derivative unless the
//! stride is the window. Here a convolution is one matrix product per image, whose unrolled input fits the cache.
//! All sums run in an order that the number of threads does not change.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

/// Width and height of a convolution's and of a pooling's window.
pub(super) const WINDOW: usize = 3;
/// Pixels of a window.
pub(super) const WINDOW_PIXELS: usize = WINDOW * WINDOW;
/// Images of one task: derivatives of the weights are summed in tasks, then over tasks.
const TASK: usize = 8;

/// Size of a layer's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Size {
    pub fn numbers(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// After a window has run over it, with so many channels; `None` where the window does not fit.
    pub fn after_window(&self, channels: usize) -> Option<Self> {
        Some(Self {
            channels,
            height: self.height.checked_sub(WINDOW - 1).filter(|h| *h > 0)?,
            width: self.width.checked_sub(WINDOW - 1).filter(|w| *w > 0)?,
        })
    }
}

/// A 3 x 3 convolution of stride 1 without padding, its bias, and a ReLU.
///
/// Arguments: `[images, channels, height, width]`, weights `[filters, channels * 9]`, bias `[filters]`; result
/// `[images, filters, height - 2, width - 2]`.
pub(super) struct Convolution {
    pub input: Size,
    pub output: Size,
    /// Whether the derivative by the input is wanted: not of the first layer.
    pub inner: bool,
}

/// A matrix of `rows x columns` numbers, element (r, c) at `r * strides.0 + c * strides.1`.
struct Matrix<'a> {
    data: &'a [f32],
    strides: (usize, usize),
}

/// `to += a b`, `to` row-major `[m, n]`, the sum over `k`.
fn add_product(to: &mut [f32], (m, k, n): (usize, usize, usize), a: Matrix, b: Matrix) {
    let last =
        |rows: usize, columns: usize, (r, c): (usize, usize)| (rows - 1) * r + (columns - 1) * c;
    assert!(m > 0 && k > 0 && n > 0 && to.len() == m * n);
    assert!(last(m, k, a.strides) < a.data.len() && last(k, n, b.strides) < b.data.len());
    let stride = |s: usize| s as isize;
    // SAFETY: the assertions above say that every element of the three matrices lies in its slice; `to` is borrowed
    // for writing, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            1,
            stride(n),
            true,
            a.data.as_ptr(),
            stride(a.strides.1),
            stride(a.strides.0),
            b.data.as_ptr(),
            stride(b.strides.1),
            stride(b.strides.0),
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
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

fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// Derivatives by a convolution's arguments; `x` empty where it is not wanted.
struct Derivatives {
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// The numbers of a tensor that lie in one run.
fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a layer's argument is not contiguous")
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// `rule` on the numbers of `tensor`.
fn with_numbers<T>(tensor: &Tensor, rule: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => rule(numbers(storage, layout)?),
        _ => bail!("a layer's argument is not on the CPU"),
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
        let found = with_numbers(x, |x_numbers| {
            with_numbers(weights, |weights| {
                with_numbers(y, |y| {
                    with_numbers(dy, |dy| Ok(self.backward(x_numbers, weights, y, dy)))
                })
            })
        })?;
        let device = x.device();
        let dx = self
            .inner
            .then(|| Tensor::from_vec(found.x, x.shape(), device))
            .transpose()?;
        Ok((
            dx,
            Some(Tensor::from_vec(found.weights, weights.shape(), device)?),
            Some(Tensor::from_vec(found.bias, bias.shape(), device)?),
        ))
    }
}

/// The largest number under a 3 x 3 window of stride 1 without padding. Of equal ones the first in row-major order has
/// the derivative.
///
/// Argument `[images, channels, height, width]`, result `[images, channels, height - 2, width - 2]`.
pub(super) struct Pool {
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
