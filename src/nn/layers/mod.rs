//! Layers as operations on candle's tape, in place of candle's own whose derivatives are slow on a CPU or missing.
//!
//! In candle 0.11, the derivative of a convolution is a convolution as large as the image, pooling has no derivative unless the
//! stride equals the window, and a matrix product always computes the derivative with respect to the images, too. Here a
//! convolution is one matrix product per image, whose unrolled input fits the cache, and a ReLU is part of the layer before
//! it. The order of all sums is independent of the number of threads.

mod convolution;
mod linear;
mod matrix;
mod pool;

pub(crate) use convolution::Convolution;
pub(crate) use linear::Linear;
pub(crate) use pool::Pool;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

use super::Size;
use matrix::{Matrix, add_product};

/// Width and height of a convolution's and of a pooling's window.
pub(crate) const WINDOW: usize = 3;
/// Pixels of a window.
pub(crate) const WINDOW_PIXELS: usize = WINDOW * WINDOW;

impl Size {
    /// After a window has run over it, with so many channels; `None` where the window does not fit.
    pub fn after_window(&self, channels: usize) -> Option<Self> {
        Some(Self {
            channels,
            height: self.height.checked_sub(WINDOW - 1).filter(|h| *h > 0)?,
            width: self.width.checked_sub(WINDOW - 1).filter(|w| *w > 0)?,
        })
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

/// The values of a contiguous tensor.
pub(crate) fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a layer's argument is not contiguous")
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// `rule` on the values of `tensor`.
fn with_numbers<T>(tensor: &Tensor, rule: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => rule(numbers(storage, layout)?),
        _ => bail!("a layer's argument is not on the CPU"),
    }
}

/// What `rule` returns for the values of x, weights, y and dy, as tensors; `arguments`: x, weights, bias, y, dy.
fn derivatives(
    [x, weights, bias, y, dy]: [&Tensor; 5],
    inner: bool,
    rule: impl FnOnce(&[f32], &[f32], &[f32], &[f32]) -> Derivatives,
) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
    let found = with_numbers(x, |x| {
        with_numbers(weights, |weights| {
            with_numbers(y, |y| with_numbers(dy, |dy| Ok(rule(x, weights, y, dy))))
        })
    })?;
    let device = x.device();
    let dx = inner.then(|| Tensor::from_vec(found.x, x.shape(), device));
    Ok((
        dx.transpose()?,
        Some(Tensor::from_vec(found.weights, weights.shape(), device)?),
        Some(Tensor::from_vec(found.bias, bias.shape(), device)?),
    ))
}
