//! What the cases of both likelihoods share: pixels, the answer from the library's own formulas, device memory.

use std::any::Any;
use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::families::sarm::cuda::ops::cells::{Batch, StageOutput, parts};
pub use sarm::families::sarm::cuda::ops::gather::CERTAIN;
use sarm::likelihood::gate;
use sarm::numeric::Real;

use crate::kernels::case::{Output, poisoned};

/// Random numbers, cheap enough for gigabytes of them (Numerical Recipes' linear congruential generator).
pub struct Dice(u32);

impl Dice {
    pub fn new(seed: u32) -> Self {
        Self(seed.wrapping_mul(2_654_435_761).wrapping_add(12345))
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }

    /// Near enough to a normal distribution of standard deviation 1.
    pub fn normal(&mut self) -> f32 {
        (0..4).map(|_| self.unit() - 0.5).sum::<f32>() * 1.7
    }
}

/// What a likelihood is taken of.
#[derive(Debug, Clone)]
pub struct Pixels {
    pub images: usize,
    /// Pixels and numbers of padding of each stage.
    pub stages: Vec<(usize, usize)>,
    pub occupancy: f32,
}

impl Pixels {
    /// The paper's jets: a centre of 3 x 3 pixels and the other 616.
    pub fn jets(images: usize) -> Self {
        Self {
            images,
            stages: vec![(9, 0), (616, 0)],
            occupancy: 0.1,
        }
    }

    pub fn places(&self) -> usize {
        self.stages.iter().map(|s| s.0).sum()
    }

    pub fn all_parts(&self) -> usize {
        self.stages.iter().map(|s| parts(s.0)).sum()
    }

    pub fn pitch(&self, stage: usize, numbers: usize) -> usize {
        let (pixels, padding) = self.stages[stage];
        (pixels * numbers).next_multiple_of(8) + padding
    }

    /// Bytes that must move: a sector of 32 bytes for each gate, all numbers of a positive pixel, the targets,
    /// the derivatives.
    pub fn bytes(&self, numbers: usize) -> f64 {
        let pixels = (self.images * self.places()) as f64;
        let (row, occupancy) = (4.0 * numbers as f64, f64::from(self.occupancy));
        pixels * (row.min(32.0) * (1.0 - occupancy) + row * occupancy + 4.0 + row / 2.0)
    }

    /// Targets `[images, places]`: 0, or bits of what `positive` gives.
    pub fn targets(&self, dice: &mut Dice, mut positive: impl FnMut(&mut Dice) -> u32) -> Vec<u32> {
        (0..self.images * self.places())
            .map(|_| {
                if dice.unit() < self.occupancy {
                    positive(dice)
                } else {
                    0
                }
            })
            .collect()
    }

    /// Numbers of every stage; those of one pixel from `pixel`. Padding is not to be read: NaN.
    pub fn outputs(
        &self,
        numbers: usize,
        dice: &mut Dice,
        mut pixel: impl FnMut(&mut Dice, &mut [f32]),
    ) -> Vec<Vec<f32>> {
        (0..self.stages.len())
            .map(|s| {
                let pitch = self.pitch(s, numbers);
                let mut rows = vec![f32::NAN; self.images * pitch];
                // Images repeat beyond what a test looks at: benches are large.
                let distinct = self.images.min(64) * pitch;
                for row in rows[..distinct].chunks_exact_mut(pitch) {
                    for numbers in row[..self.stages[s].0 * numbers].chunks_exact_mut(numbers) {
                        pixel(dice, numbers);
                    }
                }
                for from in (distinct..rows.len()).step_by(distinct) {
                    let count = distinct.min(rows.len() - from);
                    rows.copy_within(..count, from);
                }
                rows
            })
            .collect()
    }
}

/// A result for every image: costs, and derivatives by all numbers of all stages.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub nll: Vec<f64>,
    pub delta: Vec<Vec<f64>>,
}

/// Which pixel: its stage, and where its target is.
pub struct At {
    pub stage: usize,
    pub target: usize,
}

/// The likelihood in `T`, image by image: `values(at, target, numbers, derivatives)` is that of a positive pixel.
///
/// Derivatives are of the mean and stored as `store` does.
pub fn answer<T: Real>(
    pixels: &Pixels,
    numbers: usize,
    targets: &[u32],
    outputs: &[Vec<T>],
    store: fn(f64) -> f64,
    mut values: impl FnMut(At, u32, &[T], &mut [T]) -> T,
) -> Answer {
    let scale = T::of(1.0 / pixels.images as f64);
    let mut nll = vec![T::of(0.0); pixels.images];
    let mut first = 0;
    let mut delta = Vec::new();
    let mut gradient = vec![T::of(0.0); numbers - 1];
    for (s, (count, _)) in pixels.stages.iter().enumerate() {
        let pitch = pixels.pitch(s, numbers);
        let mut out = vec![0.0; outputs[s].len()];
        for (image, nll) in nll.iter_mut().enumerate() {
            for i in 0..*count {
                let at = image * pitch + i * numbers;
                let place = At {
                    stage: s,
                    target: image * pixels.places() + first + i,
                };
                let target = targets[place.target];
                let side = T::of(match target {
                    0 => -1.0,
                    CERTAIN => 0.0,
                    _ => 1.0,
                });
                let row = &outputs[s][at..at + numbers];
                let (cost, slope) = gate(row[0], side);
                *nll += cost;
                out[at] = store((slope * scale).to_f64());
                if target == 0 || target == CERTAIN {
                    continue;
                }
                *nll += values(place, target, &row[1..], &mut gradient);
                for (to, g) in out[at + 1..at + numbers].iter_mut().zip(&gradient) {
                    *to = store((*g * scale).to_f64());
                }
            }
        }
        first += count;
        delta.push(out);
    }
    Answer {
        nll: nll.iter().map(|v| v.to_f64()).collect(),
        delta,
    }
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

pub fn as_bf16(v: f64) -> f64 {
    f64::from(bf16::from_f32(v as f32).to_f32())
}

/// Device memory of a likelihood's case.
pub struct Buffers {
    pub batch: Batch,
    pub stages: Vec<StageOutput>,
    nll: Arc<Memory<f32>>,
    delta: Vec<Arc<Memory<bf16>>>,
    operands: (Memory<u32>, Vec<Memory<f32>>),
}

impl Buffers {
    pub fn new(
        device: &Arc<dyn Device>,
        pixels: &Pixels,
        numbers: usize,
        targets: &[u32],
        outputs: &[Vec<f32>],
        gradient: bool,
    ) -> Self {
        let target = Memory::from(device, targets).unwrap();
        let nll = Arc::new(poisoned::<f32>(device, pixels.all_parts() * pixels.images));
        let batch = Batch {
            target: target.address(),
            nll: nll.address(),
            places: pixels.places(),
            images: pixels.images,
        };
        let (mut stages, mut delta, mut memory, mut first_place) = (vec![], vec![], vec![], 0);
        for (s, output) in outputs.iter().enumerate() {
            let output = Memory::from(device, output).unwrap();
            if gradient {
                delta.push(Arc::new(poisoned::<bf16>(device, output.len())));
            }
            stages.push(StageOutput {
                output: output.address(),
                delta: delta.get(s).map_or(Address::NULL, |d| d.address()),
                pitch: pixels.pitch(s, numbers),
                first_place,
                pixels: pixels.stages[s].0,
            });
            first_place += pixels.stages[s].0;
            memory.push(output);
        }
        Self {
            batch,
            stages,
            nll,
            delta,
            operands: (target, memory),
        }
    }

    /// Costs summed over parts, and derivatives of every stage.
    pub fn outputs(
        &self,
        exact: &Answer,
        naive: &Answer,
        differences: Vec<Vec<(usize, f64)>>,
    ) -> Vec<Output> {
        let memory = Arc::clone(&self.nll);
        let images = self.batch.images;
        let nll = Output {
            name: "nll",
            read: Box::new(move || {
                let parts = memory.to_vec().unwrap();
                let of = |i| parts.iter().skip(i).step_by(images);
                (0..images)
                    .map(|i| of(i).map(|v| f64::from(*v)).sum())
                    .collect()
            }),
            exact: exact.nll.clone(),
            naive: naive.nll.clone(),
            differences: Vec::new(),
        };
        let mut all = vec![nll];
        for (s, memory) in self.delta.iter().enumerate() {
            let (exact, naive) = (exact.delta[s].clone(), naive.delta[s].clone());
            all.push(Output {
                differences: differences.get(s).cloned().unwrap_or_default(),
                ..Output::of("delta", memory, exact, naive)
            });
        }
        all
    }

    pub fn keep(self) -> Box<dyn Any> {
        Box::new((self.operands, self.nll, self.delta))
    }
}

/// The same numbers in float64.
pub fn widen(outputs: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let wide = |row: &Vec<f32>| row.iter().map(|v| f64::from(*v)).collect();
    outputs.iter().map(wide).collect()
}

/// Central difference of `mean` by number `i` of `values`.
pub fn difference(values: &mut [f64], i: usize, mean: &mut dyn FnMut(&[f64]) -> f64) -> f64 {
    const STEP: f64 = 1e-5;
    let before = values[i];
    let mut at = |v: f64| {
        values[i] = v;
        mean(values)
    };
    let slope = (at(before + STEP) - at(before - STEP)) / (2.0 * STEP);
    values[i] = before;
    slope
}

/// Central differences by some of the numbers of each stage that have derivatives.
pub fn differences(
    outputs: &mut [Vec<f64>],
    exact: &Answer,
    mean: impl Fn(&[Vec<f64>]) -> f64,
) -> Vec<Vec<(usize, f64)>> {
    (0..outputs.len())
        .map(|s| {
            let moving: Vec<usize> = (0..outputs[s].len())
                .filter(|i| exact.delta[s][*i] != 0.0)
                .collect();
            let some = moving.iter().step_by(moving.len() / 10 + 1);
            some.map(|i| {
                let mut row = outputs[s].clone();
                let mut of = |row: &[f64]| {
                    outputs[s].copy_from_slice(row);
                    mean(outputs)
                };
                (*i, difference(&mut row, *i, &mut of))
            })
            .collect()
        })
        .collect()
}
