//! One operation of the CUDA engine at one shape: what to launch, what must come out, what it costs.
//!
//! The same table of cases is a test (against float64), a gradient check (against finite differences)
//! and a bench (`benches/kernels.rs`), on the emulation or on a card. A new operation is one more
//! file beside this one and one line in [`table`](super::table).

use std::any::Any;
use std::sync::Arc;

use bytemuck::Pod;
use sarm::device::cuda::device::{Device, Launch, Memory};
pub use sarm::device::cuda::ops::Demand;

/// Shapes for the emulation, or for a card's bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Small and ragged: every branch, in a fraction of a second under emulation.
    Small,
    /// The paper's networks at the batch sizes that count.
    Full,
}

/// Puts the operands of an operation on a device.
pub type Prepare = dyn Fn(&Arc<dyn Device>) -> Prepared;

/// One operation at one shape.
pub struct Case {
    /// `operation/shape`, unique.
    pub name: String,
    /// Random operands on the device, outputs poisoned (all bits 1, a NaN), and what must come out.
    pub prepare: Box<Prepare>,
}

/// A case on a device.
pub struct Prepared {
    /// What to launch, in this order.
    pub launches: Vec<Launch>,
    /// What comes out. Empty where the shape is for benches alone.
    pub outputs: Vec<Output>,
    /// What it costs, for benches.
    #[allow(dead_code)]
    pub demand: Demand,
    /// The memory that the launches use: held, not read.
    #[allow(dead_code)]
    pub memory: Vec<Box<dyn Any>>,
}

/// One result of an operation.
pub struct Output {
    /// Its name, for messages.
    pub name: &'static str,
    /// Reads it off the device.
    pub read: Box<dyn Fn() -> Vec<f64>>,
    /// The same in float64, from the operands as the device holds them.
    pub exact: Vec<f64>,
    /// The same by a plain loop in the kernel's own precision (f32 sums, bf16 stores where it stores bf16).
    pub naive: Vec<f64>,
    /// Central differences of the float64 function at some indices of `exact`, where this is a gradient.
    pub differences: Vec<(usize, f64)>,
}

/// What a kernel writes, as a number that is compared.
pub trait Number: Pod {
    fn number(self) -> f64;
}

macro_rules! number {
    ($($type:ty),*) => {
        $(impl Number for $type {
            fn number(self) -> f64 {
                f64::from(self)
            }
        })*
    };
}
number!(f32, f64, u16, u32, half::bf16);

impl Output {
    /// All of `memory`.
    pub fn of<T: Number>(
        name: &'static str,
        memory: &Arc<Memory<T>>,
        exact: Vec<f64>,
        naive: Vec<f64>,
    ) -> Self {
        let memory = Arc::clone(memory);
        let read = move || {
            memory
                .to_vec()
                .unwrap()
                .into_iter()
                .map(T::number)
                .collect()
        };
        Self {
            name,
            read: Box::new(read),
            exact,
            naive,
            differences: Vec::new(),
        }
    }

    /// All of `memory`, which must come out exactly.
    pub fn exactly<T: Number>(
        name: &'static str,
        memory: &Arc<Memory<T>>,
        expected: Vec<f64>,
    ) -> Self {
        Self::of(name, memory, expected.clone(), expected)
    }

    /// Check the result that the device holds: finite everywhere, and at most twice as far from float64 as
    /// the naive version, by root mean square and at the worst place, plus rounding of float32.
    pub fn check(&self, case: &str) -> Result<(), String> {
        let found = (self.read)();
        if found.len() != self.exact.len() || self.naive.len() != self.exact.len() {
            return Err(format!("{case}: {}: lengths differ", self.name));
        }
        let scale = self.exact.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let errors = |of: &[f64]| {
            let mut worst = (0usize, 0.0f64);
            let mut square = 0.0;
            for (i, (a, b)) in of.iter().zip(&self.exact).enumerate() {
                let e = (a - b).abs();
                square += e * e;
                // A NaN is the worst of all.
                let e = if e.is_nan() { f64::INFINITY } else { e };
                if e > worst.1 {
                    worst = (i, e);
                }
            }
            ((square / of.len().max(1) as f64).sqrt(), worst)
        };
        let (rms, (at, most)) = errors(&found);
        let (naive_rms, (_, naive_most)) = errors(&self.naive);
        let rounding = 4.0 * f64::from(f32::EPSILON) * scale;
        if !(rms <= 2.0 * naive_rms + rounding && most <= 2.0 * naive_most + 2.0 * rounding) {
            return Err(format!(
                "{case}: {}: error {rms:.3e} rms, {most:.3e} at {at} (found {}, exact {}); a naive version: {naive_rms:.3e}, {naive_most:.3e}",
                self.name, found[at], self.exact[at],
            ));
        }
        for (i, difference) in &self.differences {
            let exact = self.exact[*i];
            if (exact - difference).abs() > 1e-5 * scale.max(difference.abs()) {
                return Err(format!(
                    "{case}: {}[{i}]: gradient {exact}, finite difference {difference}",
                    self.name
                ));
            }
        }
        Ok(())
    }
}

/// Memory of `len` values whose every bit is 1: a NaN in bf16 and f32, so that what is not written shows.
pub fn poisoned<T: Pod>(device: &Arc<dyn Device>, len: usize) -> Memory<T> {
    let memory = Memory::zeros(device, len).unwrap();
    memory.fill(0xFF).unwrap();
    memory
}
