//! Random layers, on the host and on a device.

use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Device, Memory};
use sarm::families::sarm::cuda::ops::linear::{Layer, Matrix};

use super::Spec;
use crate::kernels::case::{Number, Output, poisoned};

/// Numbers in -1 .. 1 that look random and are bf16.
pub fn values(count: usize, salt: u32) -> Vec<f32> {
    let mut state = u64::from(salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let unit = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            bf16::from_f32(unit).to_f32()
        })
        .collect()
}

/// Elements from one row to the next, sometimes more than needed.
fn pitch(columns: u32, salt: u32) -> u32 {
    columns.next_multiple_of(8) + salt % 2 * 8
}

/// A layer with everything that the three operations want of it, as the device holds it.
pub struct Host {
    pub layer: Layer,
    /// `[rows, columns]`, masked ones 0.
    pub weights: Vec<f32>,
    /// `[rows]`
    pub bias: Vec<f32>,
    /// `[images, columns]`
    pub input: Vec<f32>,
    /// `[images, columns]`, pre-activations of the layer below.
    pub before: Vec<f32>,
    /// `[images, rows]`
    pub delta: Vec<f32>,
    /// Of the matrices with `columns` and with `rows` columns.
    pub column_pitch: u32,
    pub row_pitch: u32,
}

impl Host {
    /// One for each layer of a launch.
    pub fn all(specs: &[Spec], images: u32) -> Vec<Self> {
        let numbered = specs.iter().zip(0..);
        numbered
            .map(|(s, i)| Self::new(*s, images, 10 * i))
            .collect()
    }

    pub fn new(spec: Spec, images: u32, salt: u32) -> Self {
        let (rows, columns) = (spec.rows as usize, spec.columns as usize);
        let images = images as usize;
        let mut weights = values(rows * columns, salt + 1);
        for (r, row) in weights.chunks_exact_mut(columns).enumerate() {
            row[spec.mask.read(r as u32, spec.columns) as usize..].fill(0.0);
        }
        // Pre-activations well into both tails.
        let mut before = values(images * columns, salt + 4);
        before.iter_mut().for_each(|v| *v *= 4.0);
        // And where a careless formula overflows.
        for (v, extreme) in before.iter_mut().skip(1).zip([1e20f32, -1e20, 40.0, -40.0]) {
            *v = bf16::from_f32(extreme).to_f32();
        }
        Self {
            layer: Layer {
                rows: spec.rows,
                columns: spec.columns,
                pitch: pitch(spec.columns, salt),
                mask: spec.mask,
            },
            weights,
            bias: values(rows, salt + 2),
            input: values(images * columns, salt + 3),
            before,
            delta: values(images * rows, salt + 5),
            column_pitch: pitch(spec.columns, salt + 1),
            row_pitch: pitch(spec.rows, salt),
        }
    }

    pub fn read(&self, row: usize) -> usize {
        self.layer.mask.read(row as u32, self.layer.columns) as usize
    }

    pub fn rows(&self) -> usize {
        self.layer.rows as usize
    }

    pub fn columns(&self) -> usize {
        self.layer.columns as usize
    }

    pub fn weight(&self, row: usize, column: usize) -> f32 {
        self.weights[row * self.columns() + column]
    }
}

/// A bf16 matrix on the device. Padding is NaN: no kernel may use it.
pub fn upload(
    device: &Arc<dyn Device>,
    values: &[f32],
    columns: usize,
    pitch: u32,
) -> Memory<bf16> {
    let mut padded = vec![bf16::NAN; values.len() / columns * pitch as usize];
    for (to, from) in padded
        .chunks_exact_mut(pitch as usize)
        .zip(values.chunks_exact(columns))
    {
        for (t, f) in to.iter_mut().zip(from) {
            *t = bf16::from_f32(*f);
        }
    }
    Memory::from(device, &padded).unwrap()
}

pub fn matrix<T: bytemuck::Pod>(memory: &Memory<T>, pitch: u32) -> Matrix {
    Matrix {
        address: memory.address(),
        pitch,
    }
}

/// A result matrix `[images, columns]` on the device, all bits 1 until it is written.
pub struct ResultMatrix<T> {
    pub memory: Arc<Memory<T>>,
    pub columns: usize,
    pub pitch: u32,
}

impl<T: Number> ResultMatrix<T> {
    pub fn new(device: &Arc<dyn Device>, images: u32, columns: usize, pitch: u32) -> Self {
        Self {
            memory: Arc::new(poisoned(device, images as usize * pitch as usize)),
            columns,
            pitch,
        }
    }

    pub fn matrix(&self) -> Matrix {
        matrix(&self.memory, self.pitch)
    }
}

/// The results of all problems, one after another; and that nothing but zeros was written beside them.
pub fn outputs<T: Number>(
    name: &'static str,
    results: &[ResultMatrix<T>],
    (exact, naive): (Vec<f64>, Vec<f64>),
    differences: Vec<(usize, f64)>,
) -> Vec<Output> {
    let all: Vec<_> = results
        .iter()
        .map(|r| (Arc::clone(&r.memory), r.columns, r.pitch as usize))
        .collect();
    let beside = all.clone();
    let read = move || {
        let mut list = Vec::new();
        for (memory, columns, pitch) in &all {
            for row in memory.to_vec().unwrap().chunks_exact(*pitch) {
                list.extend(row[..*columns].iter().map(|v| v.number()));
            }
        }
        list
    };
    // The kernels write four values at a time.
    let stray = move || {
        let mut count = 0;
        for (memory, columns, pitch) in &beside {
            for row in memory.to_vec().unwrap().chunks_exact(*pitch) {
                let (padding, beyond) =
                    row[*columns..].split_at(columns.next_multiple_of(4) - columns);
                let untouched = |v: &&T| v.number().is_nan();
                count += padding.iter().filter(|v| v.number() != 0.0).count();
                count += beyond.len() - beyond.iter().filter(untouched).count();
            }
        }
        vec![count as f64]
    };
    vec![
        Output {
            name,
            read: Box::new(read),
            exact,
            naive,
            differences,
        },
        Output {
            name: "values written beside the results",
            read: Box::new(stray),
            exact: vec![0.0],
            naive: vec![0.0],
            differences: Vec::new(),
        },
    ]
}

/// GELU and its derivative, tanh form.
pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + tanh_argument(x).tanh())
}

pub fn gelu_derivative(x: f64) -> f64 {
    let t = tanh_argument(x).tanh();
    let slope = (2.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044_715 * x * x);
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope
}

fn tanh_argument(x: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)
}

/// bf16 as a kernel would store it.
pub fn stored(x: f32) -> f64 {
    f64::from(bf16::from_f32(x).to_f32())
}
