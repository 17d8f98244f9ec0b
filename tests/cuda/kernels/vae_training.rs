//! What a VAE in training has beside its layers: batches, codes, and of its classifier what is left out and the cross entropy.

use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::families::vae::cuda::ops::BatchRows;
use sarm::families::vae::cuda::ops::classifier::{CrossEntropy, Dropout};
use sarm::families::vae::cuda::ops::gather::{Gather, LONELY, Resident};
use sarm::families::vae::cuda::ops::latent::{Latent, LatentDelta};
use sarm::random::{Purpose, unit, words};

use crate::kernels::case::{Case, Demand, Output, Prepared, Size, poisoned};
use crate::kernels::likelihood::Dice;

/// Resident images, and steps that were done before the chunk: beyond 32 bits.
const RESIDENT: usize = 50;
const BEFORE: u64 = (3 << 32) + 7;
/// The chunk's third batch is the one that is done.
const CURSOR: usize = 2;

/// Cases of `kernels/vae/{gather,latent,classifier}.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    match size {
        Size::Small => vec![
            gather(7, 35, 0, 5),
            gather(3, 625, 1, 12),
            // More conditions than there are channels in a piece.
            gather(4, 130, 9, 3),
            latent(70, 1, true),
            latent(5, 12, true),
            latent(9, 7, false),
            dropout(3, 35, [5, 8], 0.2),
            dropout(2, 49, [16, 16], 0.5),
            cross_entropy(70, true),
            cross_entropy(5, false),
        ],
        Size::Full => vec![
            gather(1024, 625, 1, 12),
            latent(1024, 12, true),
            dropout(1024, 169, [32, 32], 0.2),
            cross_entropy(1024, true),
        ],
    }
}

/// Which rows a batch has, on the device, and there alone.
pub struct Rows {
    pub rows: Vec<u32>,
    pub of: BatchRows,
    pub memory: (Memory<u32>, Memory<u32>, Memory<u64>),
    /// What its noise is drawn under.
    pub stream: u64,
}

/// `trains`: with the noise of a step, else with that of images that are judged.
pub fn rows(device: &Arc<dyn Device>, images: usize, trains: bool) -> Rows {
    let cursor = if trains { CURSOR } else { 0 };
    let all: Vec<u32> = (0..images * (cursor + 1))
        .map(|i| (i * 31 % RESIDENT) as u32)
        .collect();
    let memory = (
        Memory::from(device, &all).unwrap(),
        Memory::from(device, &[CURSOR as u32]).unwrap(),
        Memory::from(device, &[BEFORE]).unwrap(),
    );
    let if_trains = |address: Address| if trains { address } else { Address::NULL };
    Rows {
        rows: all[cursor * images..].to_vec(),
        of: BatchRows {
            rows: memory.0.address(),
            cursor: if_trains(memory.1.address()),
            before: if_trains(memory.2.address()),
        },
        memory,
        stream: if trains {
            BEFORE + CURSOR as u64
        } else {
            u64::MAX
        },
    }
}

pub fn case(name: String, prepare: impl Fn(&Arc<dyn Device>) -> Prepared + 'static) -> Case {
    Case {
        name,
        prepare: Box::new(prepare),
    }
}

pub fn prepared(
    launches: Vec<sarm::device::cuda::device::Launch>,
    outputs: Vec<Output>,
    bytes: usize,
    memory: impl std::any::Any,
) -> Prepared {
    Prepared {
        launches,
        outputs,
        demand: Demand {
            matrix_operations: 0.0,
            bytes: bytes as f64,
        },
        memory: vec![Box::new(memory)],
    }
}

pub fn round(v: f64) -> f64 {
    f64::from(bf16::from_f64(v).to_f32())
}

fn gather(images: usize, pixels: usize, told: usize, latents: usize) -> Case {
    let name = format!("vae/gather/{images}x{pixels}+{told}");
    case(name, move |device| {
        let mut dice = Dice::new(3);
        let (mut start, mut pixel, mut value) = (vec![0u64], vec![], vec![]);
        for _ in 0..RESIDENT {
            let nonzero: Vec<usize> = (0..pixels).filter(|_| dice.unit() < 0.2).collect();
            pixel.extend(nonzero.iter().map(|p| *p as u16));
            value.extend(nonzero.iter().map(|_| 0.1 + dice.unit()));
            start.push(pixel.len() as u64);
        }
        let conditions: Vec<f32> = (0..RESIDENT * told).map(|_| dice.normal()).collect();
        let rows = rows(device, images, true);
        let channels = (1 + told).next_multiple_of(8);
        let code_pitch = (latents + told).next_multiple_of(8);
        let resident = (
            Memory::from(device, &start).unwrap(),
            Memory::from(device, &pixel).unwrap(),
            Memory::from(device, &value).unwrap(),
            Memory::from(device, &conditions).unwrap(),
        );
        let input = Arc::new(poisoned::<bf16>(device, images * pixels * channels));
        let lonely = Arc::new(poisoned::<bf16>(device, images * pixels * LONELY));
        let target = Arc::new(poisoned::<f32>(device, images * pixels));
        let code = Arc::new(Memory::from(device, &vec![bf16::ONE; images * code_pitch]).unwrap());
        let launch = Gather {
            resident: Resident {
                start: resident.0.address(),
                pixel: resident.1.address(),
                value: resident.2.address(),
                conditions: resident.3.address(),
            },
            rows: rows.of,
            images,
            pixels,
            told,
            input: input.address(),
            channels,
            lonely: lonely.address(),
            target: target.address(),
            code: code.address(),
            latents,
            code_pitch,
        };
        let (mut of_input, mut of_lonely, mut of_target, mut of_code) =
            (vec![], vec![], vec![], vec![]);
        for row in &rows.rows {
            let row = *row as usize;
            let conditions = conditions[row * told..][..told]
                .iter()
                .map(|v| f64::from(*v));
            let mut dense = vec![0.0; pixels];
            for entry in start[row]..start[row + 1] {
                dense[usize::from(pixel[entry as usize])] = f64::from(value[entry as usize]);
            }
            for x in &dense {
                let all = [*x].into_iter().chain(conditions.clone()).map(round);
                of_input.extend(all.chain(std::iter::repeat(0.0)).take(channels));
                of_lonely.extend([round(*x), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
            }
            of_target.extend(dense);
            of_code.extend(vec![1.0; latents]);
            let rest = conditions.map(round).chain(std::iter::repeat(0.0));
            of_code.extend(rest.take(code_pitch - latents));
        }
        let outputs = vec![
            Output::exactly("input", &input, of_input),
            Output::exactly("lonely", &lonely, of_lonely),
            Output::exactly("target", &target, of_target),
            Output::exactly("code", &code, of_code),
        ];
        let bytes = images * (pixels * (2 * channels + 2 * LONELY + 4) + 2 * code_pitch);
        let memory = (resident, rows.memory, (input, lonely, target, code));
        prepared(vec![launch.launch()], outputs, bytes, memory)
    })
}

fn latent(images: usize, latents: usize, trains: bool) -> Case {
    let what = if trains { "" } else { "/judged" };
    let name = format!("vae/latent/{images}x{latents}{what}");
    case(name, move |device| {
        let mut dice = Dice::new(4);
        let pitch = (2 * latents).next_multiple_of(8);
        let input_pitch = (latents + 1).next_multiple_of(8);
        let weight = 0.7f32;
        let codes: Vec<f32> = (0..images * pitch).map(|_| dice.normal()).collect();
        let by_input: Vec<f32> = (0..images * input_pitch)
            .map(|_| 0.1 * dice.normal())
            .collect();
        let rows = rows(device, images, trains);
        let on_device = [&codes, &by_input].map(|v| Memory::from(device, v).unwrap());
        let input = Arc::new(Memory::from(device, &vec![bf16::ONE; images * input_pitch]).unwrap());
        let cost = Arc::new(poisoned::<f32>(device, images));
        let delta = Arc::new(poisoned::<bf16>(device, images * pitch));
        let forward = Latent {
            rows: rows.of,
            images,
            latents,
            codes: on_device[0].address(),
            pitch,
            input: input.address(),
            input_pitch,
            cost: cost.address(),
            weight,
        };
        let back = LatentDelta {
            of: forward,
            by_input: on_device[1].address(),
            delta: delta.address(),
        };
        let scale = f64::from(weight) / images as f64;
        let (mut of_input, mut of_cost, mut of_delta) = (vec![], vec![], vec![]);
        for (image, row) in rows.rows.iter().enumerate() {
            let number = |i: usize| f64::from(codes[image * pitch + i]);
            let noise = |i: usize| {
                let w = words(rows.stream, Purpose::Vae, u64::from(*row), i as u32 / 2);
                let whole = |w: u32| (f64::from(w) + 0.5) / 4_294_967_296.0;
                let radius = (-2.0 * whole(w[0]).ln()).sqrt();
                let angle = std::f64::consts::TAU * whole(w[2]);
                if i.is_multiple_of(2) {
                    radius * angle.cos()
                } else {
                    radius * angle.sin()
                }
            };
            let drawn = |i: usize| number(i) + (0.5 * number(latents + i)).exp() * noise(i);
            of_input.extend((0..input_pitch).map(|i| if i < latents { drawn(i) } else { 1.0 }));
            let divergence = (0..latents).map(|i| {
                let (m, v) = (number(i), number(latents + i));
                0.5 * (v.exp() + m * m - 1.0 - v)
            });
            of_cost.push(f64::from(weight) * divergence.sum::<f64>());
            let by = |i: usize| f64::from(by_input[image * input_pitch + i]);
            of_delta.extend((0..pitch).map(|i| match i {
                i if i < latents => by(i) + scale * number(i),
                i if i < 2 * latents => {
                    let (v, i) = (number(i), i - latents);
                    0.5 * (by(i) * noise(i) * (0.5 * v).exp() + scale * (v.exp() - 1.0))
                }
                _ => 0.0,
            }));
        }
        let rounded = |values: &[f64]| values.iter().map(|v| round(*v)).collect::<Vec<_>>();
        let single = of_cost.iter().map(|v| v * (1.0 + 1e-6)).collect();
        let (naive_input, naive_delta) = (rounded(&of_input), rounded(&of_delta));
        let outputs = vec![
            Output::of("input", &input, of_input, naive_input),
            Output::of("cost", &cost, of_cost, single),
            Output::of("delta", &delta, of_delta, naive_delta),
        ];
        let bytes = images * (4 * pitch + 2 * input_pitch + 4);
        let memory = (on_device, rows.memory, (input, cost, delta));
        prepared(
            vec![forward.launch(), back.launch()],
            outputs,
            bytes,
            memory,
        )
    })
}

/// `channels`: those that somebody has, and all.
fn dropout(images: usize, pixels: usize, channels: [usize; 2], rate: f32) -> Case {
    let name = format!("vae/dropout/{images}x{pixels}x{channels:?}/{rate}");
    case(name, move |device| {
        const SEED: u64 = 77;
        let [channels, up] = channels;
        let mut dice = Dice::new(9);
        let values: Vec<bf16> = (0..images * pixels * up)
            .map(|_| bf16::from_f32(dice.normal()))
            .collect();
        let rows = rows(device, images, true);
        let on_device = Arc::new(Memory::from(device, &values).unwrap());
        let launch = Dropout {
            rows: rows.of,
            values: on_device.address(),
            pixels: (images * pixels) as u64,
            channels,
            channels_up: up,
            layer: 2,
            rate,
            seed: SEED,
        };
        let step = rows.stream + 1;
        let expected = values.iter().enumerate().map(|(at, value)| {
            let (pixel, channel) = (at / up, at % up);
            let place = (pixel * channels + channel) as u64;
            let w = words(SEED ^ step.rotate_left(32), Purpose::Dropout, place / 4, 2);
            let kept = 1.0 / (1.0 - rate);
            match channel < channels {
                true if unit(w[place as usize % 4]) < rate => 0.0,
                true => f64::from(bf16::from_f32(value.to_f32() * kept).to_f32()),
                false => f64::from(value.to_f32()),
            }
        });
        let expected = expected.collect();
        let outputs = vec![Output::exactly("values", &on_device, expected)];
        let bytes = images * pixels * up * 4;
        prepared(
            vec![launch.launch()],
            outputs,
            bytes,
            (on_device, rows.memory),
        )
    })
}

fn cross_entropy(images: usize, trains: bool) -> Case {
    let what = if trains { "" } else { "/judged" };
    let name = format!("vae/cross_entropy/{images}{what}");
    case(name, move |device| {
        let mut dice = Dice::new(10);
        let rows = rows(device, images, trains);
        let classes: Vec<u32> = (0..RESIDENT).map(|i| (i % 3 == 0).into()).collect();
        // Nearly certain ones among them.
        let odds: Vec<f32> = (0..images)
            .map(|i| dice.normal() * [1.0, 40.0][i % 2])
            .collect();
        let spread: Vec<f32> = (odds.iter())
            .flat_map(|v| [*v, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0])
            .collect();
        let on_device = (
            Memory::from(device, &classes).unwrap(),
            Memory::from(device, &spread).unwrap(),
        );
        let [cost, right] = [(); 2].map(|()| Arc::new(poisoned::<f32>(device, images)));
        let delta = Arc::new(poisoned::<bf16>(device, images * LONELY));
        let launch = CrossEntropy {
            rows: rows.of,
            images,
            classes: on_device.0.address(),
            odds: on_device.1.address(),
            cost: cost.address(),
            right: right.address(),
            delta: if trains {
                delta.address()
            } else {
                Address::NULL
            },
        };
        let (mut of_cost, mut of_right, mut of_delta) = (vec![], vec![], vec![]);
        for (row, odds) in rows.rows.iter().zip(&odds) {
            let (is, odds) = (classes[*row as usize] == 1, f64::from(*odds));
            let against = if is { -odds } else { odds };
            of_cost.push(against.max(0.0) + (-against.abs()).exp().ln_1p());
            of_right.push(if (odds > 0.0) == is { 1.0 } else { 0.0 });
            let chance = 1.0 / (1.0 + (-odds).exp());
            of_delta.push((chance - if is { 1.0 } else { 0.0 }) / images as f64);
            of_delta.extend([0.0; 7]);
        }
        let single = of_cost.iter().map(|v| v * (1.0 + 1e-6)).collect();
        let rounded = of_delta.iter().map(|v| round(*v)).collect();
        let mut outputs = vec![
            Output::of("cost", &cost, of_cost, single),
            Output::exactly("right", &right, of_right),
        ];
        if trains {
            outputs.push(Output::of("delta", &delta, of_delta, rounded));
        }
        let memory = (on_device, rows.memory, (cost, right, delta));
        prepared(vec![launch.launch()], outputs, images * 32, memory)
    })
}
