//! Gradients of the weights of what is left, and what becomes of them.

use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::families::sarm::cuda::ops::cells::{Batch, StageOutput};
use sarm::families::sarm::cuda::ops::left::{LeftChange, LeftUpdate};
use sarm::families::sarm::cuda::ops::levels::Moments;
use sarm::numeric::Real;

use crate::kernels::case::{Case, Demand, Output, Prepared, Size, poisoned};
use crate::kernels::levels::adam;
use crate::kernels::likelihood::{CERTAIN, Dice, Pixels};
use crate::kernels::mixture::left;

struct Shape {
    pixels: Pixels,
    components: usize,
    functions: usize,
    /// A step of Adam, or the gradient itself.
    adam: bool,
}

/// Cases of `kernels/sarm/left.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    let shape = |images, stages: &[(usize, usize)], components, functions, adam| Shape {
        pixels: Pixels {
            images,
            stages: stages.to_vec(),
            occupancy: 0.3,
        },
        components,
        functions,
        adam,
    };
    let shapes = match size {
        Size::Small => vec![
            shape(1, &[(1, 0)], 1, 1, false),
            shape(5, &[(9, 8), (21, 0)], 5, 6, false),
            shape(300, &[(3, 0), (4, 16)], 2, 8, true),
            shape(600, &[(2, 0)], 40, 7, false),
            shape(3, &[(1, 0); 18], 2, 3, true),
        ],
        Size::Full => [128, 1024, 8192]
            .map(|images| Shape {
                pixels: Pixels::jets(images),
                ..shape(images, &[], 5, 6, true)
            })
            .into(),
    };
    let case = |shape: Shape| Case {
        name: format!(
            "left/{}x{:?}/k{}/{} functions{}",
            shape.pixels.images,
            shape.pixels.stages.iter().map(|s| s.0).collect::<Vec<_>>(),
            shape.components,
            shape.functions,
            if shape.adam { "/adam" } else { "" },
        ),
        prepare: Box::new(move |device| prepare(device, &shape, size)),
    };
    shapes.into_iter().map(case).collect()
}

fn prepare(device: &Arc<dyn Device>, shape: &Shape, size: Size) -> Prepared {
    let (pixels, numbers) = (&shape.pixels, 1 + 3 * shape.components);
    let left = left(shape.functions);
    let mut dice = Dice::new(5);
    let mut targets = pixels.targets(&mut dice, |dice| (dice.unit() + 0.1).to_bits());
    for image in targets.chunks_exact_mut(pixels.places()).step_by(3) {
        image[pixels.places() * 4 / 5..].fill(CERTAIN);
    }
    // From all of it down to nothing, of some the sign of a pixel that takes it.
    let limits: Vec<f32> = (targets.iter())
        .map(|target| {
            let limit = 80.0 * dice.unit() * dice.unit().powi(12);
            match *target != 0 && dice.unit() < 0.3 {
                true => -limit,
                false => limit,
            }
        })
        .collect();
    // As a likelihood leaves them: the values of a zero have none, and nothing has where all is certain.
    let mut first = 0;
    let mut delta: Vec<Vec<bf16>> = Vec::new();
    for (s, (count, _)) in pixels.stages.iter().enumerate() {
        let pitch = pixels.pitch(s, numbers);
        let mut of_stage = vec![bf16::ZERO; pixels.images * pitch];
        for (image, row) in of_stage.chunks_exact_mut(pitch).enumerate() {
            for pixel in 0..*count {
                let target = targets[image * pixels.places() + first + pixel];
                let some = match target {
                    CERTAIN => 0,
                    0 => 1,
                    _ => numbers,
                };
                for d in &mut row[pixel * numbers..][..some] {
                    *d = bf16::from_f32(dice.normal() * 0.1);
                }
            }
        }
        first += count;
        delta.push(of_stage);
    }
    let target = Memory::from(device, &targets).unwrap();
    let limit = Memory::from(device, &limits).unwrap();
    let deltas: Vec<Memory<bf16>> = (delta.iter())
        .map(|delta| Memory::from(device, delta).unwrap())
        .collect();
    let sizes: Vec<usize> = (pixels.stages.iter())
        .map(|(count, _)| count * numbers * shape.functions)
        .collect();
    // Parameters and moments as of some steps already made; or nothing.
    let mut random =
        |len: usize| -> Vec<f32> { (0..len).map(|_| (dice.unit() + 0.1) * 1e-2).collect() };
    let before: Vec<[Vec<f32>; 3]> = (sizes.iter())
        .map(|len| std::array::from_fn(|_| random(*len)))
        .collect();
    let after: Vec<[Arc<Memory<f32>>; 3]> = (before.iter())
        .map(|of_stage| {
            std::array::from_fn(|i| {
                Arc::new(match shape.adam {
                    true => Memory::from(device, &of_stage[i]).unwrap(),
                    false => poisoned(device, of_stage[i].len()),
                })
            })
        })
        .collect();
    // What decaying weights keep, 0.5, is nothing to these.
    let rates = [[0.0f32; 3], [1e-3, 1.7, 0.5]];
    let cursor = Memory::from(device, &[1u32]).unwrap();
    let rate_memory = Memory::from(device, &rates.concat()).unwrap();
    let mut first_place = 0;
    let stages: Vec<(StageOutput, LeftChange)> = (pixels.stages.iter().enumerate())
        .map(|(s, (count, _))| {
            let [value, first, second] = after[s].each_ref().map(|memory| memory.address());
            let output = StageOutput {
                output: Address::NULL,
                delta: deltas[s].address(),
                pitch: pixels.pitch(s, numbers),
                first_place,
                pixels: *count,
            };
            first_place += count;
            let change = match shape.adam {
                true => LeftChange::Adam(Moments {
                    value,
                    first,
                    second,
                }),
                false => LeftChange::Store(value),
            };
            (output, change)
        })
        .collect();
    let launches = LeftUpdate {
        left,
        batch: Batch {
            target: target.address(),
            nll: Address::NULL,
            places: pixels.places(),
            images: pixels.images,
        },
        limit: limit.address(),
        numbers,
        stages: &stages,
        rates: rate_memory.address(),
        cursor: cursor.address(),
    }
    .launches();
    let mut outputs = Vec::new();
    if size == Size::Small {
        let exact = gradient::<f64>(shape, &delta, &limits);
        let naive = gradient::<f32>(shape, &delta, &limits);
        for (s, (exact, naive)) in exact.into_iter().zip(naive).enumerate() {
            if !shape.adam {
                let naive = naive.iter().map(|v| f64::from(*v)).collect();
                outputs.push(Output::of("gradient", &after[s][0], exact, naive));
                continue;
            }
            let [value, first, second] = &before[s];
            let exact = adam(value, first, second, &exact, rates[1]);
            let naive = adam(value, first, second, &naive, rates[1]);
            let names = ["weights", "first moments", "second moments"];
            for (i, (exact, naive)) in exact.into_iter().zip(naive).enumerate() {
                outputs.push(Output::of(names[i], &after[s][i], exact, naive));
            }
        }
    }
    let cells = (pixels.images * pixels.places()) as f64;
    let occupancy = f64::from(pixels.occupancy);
    Prepared {
        launches,
        outputs,
        demand: Demand {
            matrix_operations: 0.0,
            // Targets, what is left, a sector of derivatives; all derivatives of a positive pixel.
            bytes: cells * (8.0 + 32.0 + occupancy * 2.0 * numbers as f64),
        },
        memory: vec![
            Box::new((target, limit, deltas, after)),
            Box::new((cursor, rate_memory)),
        ],
    }
}

/// Of each stage: sums over images of derivatives times functions.
fn gradient<T: Real>(shape: &Shape, delta: &[Vec<bf16>], limits: &[f32]) -> Vec<Vec<T>> {
    let (pixels, numbers) = (&shape.pixels, 1 + 3 * shape.components);
    let left = left(shape.functions);
    let mut first = 0;
    let mut all = Vec::new();
    for (s, (count, _)) in pixels.stages.iter().enumerate() {
        let pitch = pixels.pitch(s, numbers);
        let mut sums = vec![T::of(0.0); count * numbers * left.terms];
        for image in 0..pixels.images {
            for pixel in 0..*count {
                let limit = limits[image * pixels.places() + first + pixel];
                let functions = left.functions(left.place::<T>(limit.abs()));
                for number in 0..numbers {
                    let at = pixel * numbers + number;
                    let slope = T::of(delta[s][image * pitch + at].to_f64());
                    for (f, function) in functions[..left.terms].iter().enumerate() {
                        sums[at * left.terms + f] += slope * *function;
                    }
                }
            }
        }
        first += count;
        all.push(sums);
    }
    all
}
